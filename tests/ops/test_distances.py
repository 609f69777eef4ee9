import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.ops import distances


def test_at_equal_points_the_gradient_is_0_and_not_nan():
    a = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    b = a.at[1, 0].add(2)
    by_a, by_b = jax.jit(jax.grad(lambda a, b: jnp.sum(distances.euclidean(a, b)), (0, 1)))(a, b)
    np.testing.assert_array_equal(by_a, [[0, 0], [-1, 0]])
    np.testing.assert_array_equal(by_b, -by_a)
    rule = distances.euclidean_backward(jnp.ones(2), a, b)
    np.testing.assert_array_equal(rule, (by_a, by_b))


def test_the_unit_of_nothing_is_nothing():
    inputs = jnp.array([[0.0, 0.0], [0.0, -2.0]])
    np.testing.assert_array_equal(distances.unit(inputs), [[0, 0], [0, -1]])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(distances.unit(x))))(inputs)
    np.testing.assert_array_equal(gradient, [[0, 0], [0.5, 0]])
    np.testing.assert_array_equal(distances.unit_backward(jnp.ones((2, 2)), inputs), gradient)


def test_pairwise_is_never_negative():
    points = 1e3 * jax.random.normal(jax.random.key(0), (40, 8))
    squared = distances.pairwise(points, points)
    assert squared.min() >= 0
    direct = np.square(np.asarray(points)[:, None] - np.asarray(points)[None]).sum(-1)
    np.testing.assert_allclose(squared, direct, rtol=1e-4, atol=8)


@pytest.mark.usefixtures("unchecked")
def test_points_that_do_not_correspond_are_refused():
    with pytest.raises(ValueError, match=r"a \(3, 2\) against b \(2,\): .*pairwise"):
        distances.euclidean(jnp.ones((3, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match=r"a \(3, 2\) and b \(3, 4\): .* of one dim"):
        distances.pairwise(jnp.ones((3, 2)), jnp.ones((3, 4)))
