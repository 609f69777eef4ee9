import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.ops import activations

X = jnp.array([[-2.0, 0.0, 3.0], [0.5, -0.25, -100.0]])
G = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    ("name", "settings", "outputs", "gradients"),
    [
        (
            "affine",
            {"scale": -2.0, "shift": 1.0},
            [[5, 1, -5], [0, 1.5, 201]],
            [[-2, -4, -6], [-8, -10, -12]],
        ),
        ("affine", {}, X, G),
        ("step", {}, [[0, 1, 1], [1, 0, 0]], np.zeros((2, 3))),
        (
            "sigmoid",
            {},
            [[0.11920292, 0.5, 0.95257413], [0.62245933, 0.4378235, 0]],
            [[0.10499359, 0.5, 0.13552998], [0.94001485, 1.23067041, 0]],
        ),
        (
            "tanh",
            {},
            [[-0.96402758, 0, 0.99505475], [0.46211716, -0.24491866, -1]],
            [[0.07065082, 2, 0.02959811], [3.14579093, 4.70007424, 0]],
        ),
        ("relu", {}, [[0, 0, 3], [0.5, 0, 0]], [[0, 0, 3], [4, 0, 0]]),
        (
            "leaky_relu",
            {"slope": 0.1},
            [[-0.2, 0, 3], [0.5, -0.025, -10]],
            [[0.1, 0.2, 3], [4, 0.5, 0.6]],
        ),
        (
            "elu",
            {"alpha": 2.0},
            [[-1.72932943, 0, 3], [0.5, -0.44239843, -2]],
            [[0.27067057, 4, 3], [4, 7.78800783, 0]],
        ),
    ],
)
def test_values_and_gradients_written_out(name, settings, outputs, gradients):
    operator, rule = getattr(activations, name), getattr(activations, f"{name}_backward")
    np.testing.assert_allclose(operator(X, **settings), outputs, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rule(G, X, **settings), gradients, rtol=2e-5, atol=1e-6)
    # The zero in X is the corner of relu, leaky_relu and elu: jax.grad picks the same slope.
    by_jax = jax.jit(jax.grad(lambda x: jnp.sum(G * operator(x, **settings))))(X)
    np.testing.assert_allclose(by_jax, gradients, rtol=2e-5, atol=1e-6)


def test_maxout_keeps_the_largest_of_its_neighbours_and_a_tie_goes_to_the_first():
    x = jnp.array([[1.0, 7.0, 2.0, 4.0, 4.0, 3.0], [-1.0, -2.0, -3.0, 0.0, 5.0, 5.0]])
    g = jnp.array([[10.0, 20.0], [30.0, 40.0]])
    np.testing.assert_array_equal(activations.maxout(x, pieces=3), [[7, 4], [-1, 5]])
    gradients = [[0, 10, 0, 20, 0, 0], [30, 0, 0, 0, 40, 0]]
    np.testing.assert_array_equal(activations.maxout_backward(g, x, pieces=3), gradients)
    by_jax = jax.jit(jax.grad(lambda x: jnp.sum(g * activations.maxout(x, pieces=3))))(x)
    np.testing.assert_array_equal(by_jax, gradients)
    np.testing.assert_array_equal(activations.maxout(x), [[7, 4, 4], [-1, 0, 5]])


def test_maxout_refuses_groups_that_do_not_divide_the_units():
    with pytest.raises(ValueError, match=r"inputs \(2, 6\): the units .* into groups of 4"):
        activations.maxout(jnp.zeros((2, 6)), pieces=4)
    with pytest.raises(ValueError, match="pieces must be an int of at least 1, not 0"):
        activations.maxout(jnp.zeros((2, 6)), pieces=0)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu", "elu"])
def test_values_and_gradients_stay_finite_for_huge_inputs(name):
    operator, rule = getattr(activations, name), getattr(activations, f"{name}_backward")
    x = jnp.array([-3e38, -1e4, -89.0, 89.0, 1e4, 3e38])
    assert jnp.all(jnp.isfinite(operator(x)))
    assert jnp.all(jnp.isfinite(rule(jnp.ones(6), x)))
    assert jnp.all(jnp.isfinite(jax.vmap(jax.grad(operator))(x)))


def test_elu_without_a_corner_meets_in_value_and_slope():
    around = jnp.array([-1e-4, 0.0, 1e-4])
    np.testing.assert_allclose(activations.elu_backward(jnp.ones(3), around), 1, atol=2e-4)


def test_the_jacobian_of_an_activation_is_diagonal():
    x = jnp.array([-1.5, 0.3, 2.0])
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu"):
        rule = getattr(activations, f"{name}_backward")
        jacobian = jax.jit(jax.jacobian(getattr(activations, name)))(x)
        np.testing.assert_allclose(jacobian, np.diag(rule(jnp.ones(3), x)), rtol=1e-5, atol=1e-7)
