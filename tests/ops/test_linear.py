import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.ops import linear

INPUTS = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
KERNEL = jnp.array([[1.0, -1.0, 2.0, 0.0], [0.0, 3.0, -2.0, 1.0]])
BIAS = jnp.array([10.0, 20.0, 30.0, 40.0])


def test_linear_on_numbers_written_out():
    np.testing.assert_array_equal(
        linear.linear(INPUTS, KERNEL, BIAS),
        [[11, 25, 28, 42], [13, 29, 28, 44], [15, 33, 28, 46]],
    )


def test_the_gradients_of_linear_on_numbers_written_out():
    g = jnp.array([[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    by_inputs, by_kernel, by_bias = linear.linear_backward(g, INPUTS, KERNEL, BIAS)
    np.testing.assert_array_equal(by_inputs, [[1, 2], [-1, 3], [2, -3]])
    np.testing.assert_array_equal(by_kernel, [[1, 3, 5, -3], [2, 4, 6, -2]])
    np.testing.assert_array_equal(by_bias, [1, 1, 1, 1])


def test_matvec_and_its_gradients_on_the_numbers_of_the_notes():
    # ||W x||^2: the gradient that comes in is 2 q.
    matrix, vector = jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])
    q = linear.matvec(matrix, vector)
    np.testing.assert_allclose(q, [0.22, 0.26], rtol=1e-6)
    by_matrix, by_vector = linear.matvec_backward(2 * q, matrix, vector)
    np.testing.assert_allclose(by_matrix, [[0.088, 0.176], [0.104, 0.208]], rtol=1e-6)
    np.testing.assert_allclose(by_vector, [-0.112, 0.636], rtol=1e-6)


def test_the_gradient_of_a_sum_over_minibatches_is_the_sum_of_their_gradients():
    inputs = jax.random.normal(jax.random.key(0), (7, 2))
    g = jax.random.normal(jax.random.key(1), (7, 4))
    _, kernel, bias = linear.linear_backward(g, inputs, KERNEL, BIAS)
    _, kernel1, bias1 = linear.linear_backward(g[:3], inputs[:3], KERNEL, BIAS)
    _, kernel2, bias2 = linear.linear_backward(g[3:], inputs[3:], KERNEL, BIAS)
    np.testing.assert_allclose(kernel, kernel1 + kernel2, rtol=1e-5)
    np.testing.assert_allclose(bias, bias1 + bias2, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_gradient_of_a_large_kernel_from_few_samples_is_the_product(batch, monkeypatch):
    monkeypatch.setattr(linear, "_LARGE", 12)
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((batch, 5), (5, 4), (4,), (batch, 4))
    x, w, b, g = (
        jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes, strict=True)
    )

    def back(*arrays):
        return jax.vjp(linear.linear, *arrays[:3])[1](arrays[3])

    found = jax.jit(back)(x, w, b, g)
    assert "custom_jvp" in str(jax.make_jaxpr(linear.linear)(x, w, b))
    outer = jnp.float32(x).T @ jnp.float32(g)
    assert found[1].dtype == jnp.bfloat16
    np.testing.assert_allclose(found[1].astype(jnp.float32), outer, rtol=0.01, atol=0.01)
    forward = jax.jvp(lambda w: linear.linear(x, w, b), (w,), (w,))[1]
    expected = jnp.float32(x) @ jnp.float32(w)
    np.testing.assert_allclose(forward.astype(jnp.float32), expected, rtol=0.01, atol=0.02)
    monkeypatch.setattr(linear, "_FEW", batch - 1)
    assert "custom_jvp" not in str(jax.make_jaxpr(lambda *a: linear.linear(*a))(x, w, b))


def test_what_does_not_change_makes_no_nan_of_an_infinity(monkeypatch):
    monkeypatch.setattr(linear, "_LARGE", 4)
    x, w, b = (jnp.ones(shape, jnp.bfloat16) for shape in ((2, 2), (2, 2), (2,)))
    change, infinite = jnp.ones_like(x), x.at[0, 0].set(jnp.inf)
    by_inputs = jax.jvp(lambda x: linear.linear(x, w, b), (infinite,), (change,))[1]
    by_kernel = jax.jvp(lambda w: linear.linear(x, w, b), (infinite,), (change,))[1]
    np.testing.assert_array_equal([by_inputs, by_kernel], np.full((2, 2, 2), 2))


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"inputs \(3, 2\), kernel \(4, 2\) and bias \(2,\) do not"
    ):
        linear.linear(INPUTS, KERNEL.T, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"bias \(2,\) do not fit"):
        linear.linear(INPUTS, KERNEL, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"inputs \(2,\), kernel \(2, 4\)"):
        linear.linear(jnp.zeros(2), KERNEL, BIAS)
    with pytest.raises(ValueError, match=r"matrix \(2, 4\) and vector \(2,\) do not fit"):
        linear.matvec(KERNEL, jnp.zeros(2))
