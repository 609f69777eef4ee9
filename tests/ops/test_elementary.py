import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.ops import elementary

X = jnp.array([[1.0, -2.0, 3.0], [5.0, 0.5, -4.0]])
Y = jnp.array([[10.0, -20.0, 3.0], [-5.0, 2.0, -4.0]])
G = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_add_distributes():
    np.testing.assert_array_equal(elementary.add(X, Y), [[11, -22, 6], [0, 2.5, -8]])
    by_x, by_y = elementary.add_backward(G, X, Y)
    np.testing.assert_array_equal(by_x, G)
    np.testing.assert_array_equal(by_y, G)


def test_multiply_switches():
    np.testing.assert_array_equal(elementary.multiply(X, Y), [[10, 40, 9], [-25, 1, 16]])
    by_x, by_y = elementary.multiply_backward(G, X, Y)
    np.testing.assert_array_equal(by_x, [[10, -40, 9], [-20, 10, -24]])
    np.testing.assert_array_equal(by_y, [[1, -4, 9], [20, 2.5, -24]])


def test_maximum_routes_and_a_tie_goes_to_the_first():
    np.testing.assert_array_equal(elementary.maximum(X, Y), [[10, -2, 3], [5, 2, -4]])
    by_x, by_y = elementary.maximum_backward(G, X, Y)
    np.testing.assert_array_equal(by_x, [[0, 2, 3], [4, 0, 6]])
    np.testing.assert_array_equal(by_y, [[1, 0, 0], [0, 5, 0]])
    by_jax = jax.jit(jax.grad(lambda x, y: jnp.sum(G * elementary.maximum(x, y)), argnums=(0, 1)))(
        X, Y
    )
    np.testing.assert_array_equal(by_jax[0], by_x)
    np.testing.assert_array_equal(by_jax[1], by_y)


@pytest.mark.parametrize("x", [jnp.nan, 1.0])
def test_maximum_with_nan_on_either_side_is_nan(x):
    y = 1.0 if np.isnan(x) else jnp.nan
    assert np.isnan(elementary.maximum(jnp.array(x), jnp.array(y)))


def test_a_branch_adds():
    # x * x: the gate sends x back along both of its wires.
    x = jnp.array([3.0, -4.0])
    by_first, by_second = elementary.multiply_backward(jnp.ones(2), x, x)
    np.testing.assert_array_equal(by_first + by_second, 2 * x)
    np.testing.assert_array_equal(elementary.square_backward(jnp.ones(2), x), 2 * x)


def test_square_on_numbers_written_out():
    np.testing.assert_array_equal(elementary.square(X), [[1, 4, 9], [25, 0.25, 16]])
    np.testing.assert_array_equal(elementary.square_backward(G, X), [[2, -8, 18], [40, 5, -48]])


@pytest.mark.parametrize("name", ["norm", "plain_norm"])
def test_the_norms_on_the_numbers_of_the_notes(name):
    operator, rule = getattr(elementary, name), getattr(elementary, f"{name}_backward")
    x = jnp.array([[1.0, 2.0, 2.0], [0.0, -6.0, 8.0]])
    np.testing.assert_allclose(operator(x), [3, 10], rtol=1e-6)
    np.testing.assert_allclose(rule(jnp.array([3.0, 10.0]), x), [[1, 2, 2], [0, -6, 8]], rtol=1e-6)


def test_at_the_origin_the_gradient_of_norm_is_0_and_of_plain_norm_nan():
    # One row at the origin, one beside it: the first must not spoil the second.
    x, g = jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.array([2.0, 5.0])
    for operator, rule, at_origin in (
        (elementary.norm, elementary.norm_backward, 0.0),
        (elementary.plain_norm, elementary.plain_norm_backward, jnp.nan),
    ):
        expected = [[at_origin, at_origin], [3, 4]]
        np.testing.assert_allclose(rule(g, x), expected, rtol=1e-6)
        by_jax = jax.jit(jax.grad(lambda x, f=operator: jnp.sum(g * f(x))))(x)
        np.testing.assert_allclose(by_jax, expected, rtol=1e-6)
        assert operator(x)[0] == 0


def test_the_second_derivative_of_norm_at_the_origin_is_finite():
    hessian = jax.jit(jax.hessian(elementary.norm))(jnp.zeros(3))
    np.testing.assert_array_equal(hessian, np.zeros((3, 3)))


@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e-20, 1.0, 1e20, 1e37])
def test_norm_where_squares_underflow_or_overflow(size):
    x = jnp.array([3.0, -4.0]) * size
    np.testing.assert_allclose(elementary.norm(x), 5 * size, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.grad(elementary.norm))(x), [0.6, -0.8], rtol=1e-6)
    by_rule = elementary.norm_backward(jnp.array(2.0), x)
    np.testing.assert_allclose(by_rule, [1.2, -1.6], rtol=1e-6)


def test_norm_rounds_as_the_plain_one_and_keeps_what_is_not_finite():
    x = jax.random.normal(jax.random.key(0), (200, 7))
    np.testing.assert_array_equal(elementary.norm(x), elementary.plain_norm(x))
    assert elementary.norm(jnp.array([jnp.inf, 1.0])) == jnp.inf
    assert np.isnan(elementary.norm(jnp.array([jnp.nan, 1.0])))


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_the_gradient_of_the_norm_neither_overflows_nor_underflows(size):
    x = jnp.array([3 * size, 4 * size])
    expected = [0.6 * size, 0.8 * size]
    np.testing.assert_allclose(elementary.norm_backward(jnp.array(size), x), expected, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["add", "multiply", "maximum"])
def test_the_gates_do_not_broadcast(name):
    with pytest.raises(ValueError, match=r"x \(3, 1\) against y \(3,\): .*jnp\.broadcast_to"):
        getattr(elementary, name)(jnp.ones((3, 1)), jnp.ones(3))
