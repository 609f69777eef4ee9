import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import landscapes


@pytest.mark.usefixtures("x64")
def test_two_well_has_the_stationary_points_and_curvatures_its_docstring_states():
    roots = np.sort(np.roots([2, 0, -2, 0.2]).real)
    np.testing.assert_allclose(roots, [-1.0467, 0.1010, 0.9456], atol=5e-5)
    two_well = landscapes.two_well
    derivatives = jax.jit(lambda w: (two_well(w), jax.grad(two_well)(w), jax.hessian(two_well)(w)))
    for w, value, curvature in zip(
        roots, [-0.2048, 0.5101, 0.1947], [4.573, -1.939, 3.365], strict=True
    ):
        found = derivatives(jnp.asarray(w))
        np.testing.assert_allclose(found[0], value, atol=5e-5)
        assert abs(found[1]) < 1e-12
        np.testing.assert_allclose(found[2], curvature, atol=1e-3)


@pytest.mark.usefixtures("x64")
def test_rosenbrock_has_its_minimum_at_one_one_in_a_valley_2500_times_flatter_than_its_walls():
    minimum = jnp.ones(2)
    assert landscapes.rosenbrock(minimum) == 0
    np.testing.assert_array_equal(jax.grad(landscapes.rosenbrock)(minimum), [0, 0])
    eigenvalues = np.linalg.eigvalsh(jax.jit(jax.hessian(landscapes.rosenbrock))(minimum))
    np.testing.assert_allclose(eigenvalues, [0.3994, 1001.6], rtol=1e-4)


def test_quadratic_has_the_stated_curvature_in_every_direction():
    hessian = jax.jit(jax.hessian(lambda w: landscapes.quadratic(w, 2.5)))(jnp.arange(3.0))
    np.testing.assert_array_equal(hessian, 2.5 * np.eye(3))


def test_coupled_has_the_gradients_written_out_by_hand():
    a, b = 0.25, -2.0
    params = {"a": jnp.asarray(a), "b": jnp.asarray(b)}
    value, grads = jax.jit(jax.value_and_grad(landscapes.coupled))(params)
    assert value == (a - 1) ** 2 + (b + 1) ** 2 + (a - b) ** 2
    assert (grads["a"], grads["b"]) == (2 * (a - 1) + 2 * (a - b), 2 * (b + 1) - 2 * (a - b))
    value, grads = jax.value_and_grad(landscapes.coupled)(params, detach=True)
    assert value == (a - 1) ** 2 + (b + 1) ** 2 + (a - b) ** 2
    assert (grads["a"], grads["b"]) == (2 * (a - 1), 2 * (b + 1) - 2 * (a - b))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: landscapes.quadratic(3), "w must be an array of numbers, not an int"),
        (
            lambda: landscapes.quadratic(jnp.arange(3)),
            "w must be floating-point .* not int32",
        ),
        (lambda: landscapes.quadratic(jnp.ones(2), "x"), "curvature must be a finite number, not"),
        (lambda: landscapes.two_well(jnp.ones(2)), r"w \(2,\): it must be a scalar"),
        (lambda: landscapes.rosenbrock(jnp.ones(3)), r"w \(3,\): it must be two parameters"),
        (lambda: landscapes.coupled({"a": jnp.ones(())}), r"params holds \['a'\]: it must be two"),
        (lambda: landscapes.coupled(3), "params must be a dict of two scalars, .*, not an int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_parameters_of_another_shape_or_kind_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
