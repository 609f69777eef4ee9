r"""The gates of a computational graph, the square and the norm.

What a gate does to the gradient ``g`` that comes in from above:

- `add` distributes: both inputs get ``g``;
- `multiply` switches: each input gets ``g`` times the value of the other;
- `maximum` routes: the larger input gets ``g``, the other 0.

The gradient of a value that is used twice is the sum over its uses; no gate is needed for it.

Example:
  The chain rule by hand on :math:`f = (x + y) z` at (-2, 5, -4), from the last gate to the first:

  >>> x, y, z = jnp.array([-2.0, 5.0, -4.0])
  >>> q = add(x, y)
  >>> float(multiply(q, z))
  -12.0
  >>> g_q, g_z = multiply_backward(jnp.array(1.0), q, z)
  >>> g_x, g_y = add_backward(g_q, x, y)
  >>> [float(gradient) for gradient in (g_x, g_y, g_z)]
  [-4.0, -4.0, 3.0]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = [
    "add",
    "add_backward",
    "maximum",
    "maximum_backward",
    "multiply",
    "multiply_backward",
    "norm",
    "norm_backward",
    "plain_norm",
    "plain_norm_backward",
    "square",
    "square_backward",
]
__dir__ = __all__.copy

_BROADCAST = "bring both to one with jnp.broadcast_to, whose gradient is the sum"


def _check(x: AnyArray, y: AnyArray) -> None:
    _require.floats(x=x, y=y)
    _require.same_shape(_BROADCAST, x=x, y=y)


def _check_rule(g: AnyArray, x: AnyArray, y: AnyArray) -> None:
    _check(x, y)
    _require.incoming(g, x.shape)


def add(x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Add two arrays of one shape, x + y.

    Raises:
      ValueError: the shapes differ; nothing is broadcast silently.

    Example:
      >>> add(jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0]))
      Array([11., 22.], dtype=float32)
    """
    _check(x, y)
    return jnp.add(x, y)


def add_backward(
    g: Float[AnyArray, "*shape"], x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Return (g, g): the gate distributes."""
    _check_rule(g, x, y)
    g = jnp.asarray(g)
    return g, g


def multiply(x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    r"""Multiply two arrays of one shape element by element, :math:`x \odot y`.

    Raises:
      ValueError: the shapes differ; nothing is broadcast silently.

    Example:
      >>> multiply(jnp.array([1.0, 2.0]), jnp.array([10.0, 20.0]))
      Array([10., 40.], dtype=float32)
    """
    _check(x, y)
    return jnp.multiply(x, y)


def multiply_backward(
    g: Float[AnyArray, "*shape"], x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Return :math:`(g \odot y, g \odot x)`: the gate switches."""
    _check_rule(g, x, y)
    return jnp.multiply(g, y), jnp.multiply(g, x)


def _first_wins(
    x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]
) -> Bool[Array, "*shape"]:
    # NaN compares as false: without the second term maximum(nan, 1) would be 1.
    return jnp.greater_equal(x, y) | jnp.isnan(x)


def maximum(x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Keep the larger of two arrays of one shape, element by element; a tie goes to the first.

    `jax.numpy.maximum` has the same values, but halves the gradient at a tie.

    Raises:
      ValueError: the shapes differ; nothing is broadcast silently.

    Example:
      >>> maximum(jnp.array([1.0, 20.0]), jnp.array([10.0, 2.0]))
      Array([10., 20.], dtype=float32)
    """
    _check(x, y)
    return jnp.where(_first_wins(x, y), x, y)


def maximum_backward(
    g: Float[AnyArray, "*shape"], x: Float[AnyArray, "*shape"], y: Float[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Return :math:`(g \odot 1_{x \ge y}, g \odot 1_{x < y})`: the gate routes."""
    _check_rule(g, x, y)
    first = _first_wins(x, y)
    return jnp.where(first, g, 0), jnp.where(first, 0, g)


def square(inputs: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Square every element.

    Example:
      >>> square(jnp.array([1.0, -3.0]))
      Array([1., 9.], dtype=float32)
    """
    _require.floats(inputs=inputs)
    return jnp.square(inputs)


def square_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`2 g \odot x`."""
    _require.floats(inputs=inputs)
    _require.incoming(g, inputs.shape)
    return jnp.multiply(2 * g, inputs)


def norm(inputs: Float[AnyArray, "*batch dim"]) -> Float[Array, "*batch"]:
    r"""Return the Euclidean norm over the last axis, with the gradient 0 at the origin.

    .. math::
      \|x\| = \sqrt{\textstyle\sum_i x_i^2}

    The norm has a corner at the origin, where every vector of length at most 1 is a subgradient; 0
    is the one that leaves two equal points where they are. `plain_norm` gives NaN there.

    The squares neither underflow nor overflow: a vector is first divided by a power of two near its
    largest element, which rounds nothing.

    Args:
      inputs: x, vectors along the last axis.

    Returns:
      One length a vector.

    Example:
      >>> norm(jnp.array([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]))
      Array([3., 0.], dtype=float32)
    """
    _check_vectors(inputs)
    scale = _power_of_two_near(inputs)
    squared = jnp.sum(jnp.square(inputs / scale), axis=-1)
    at_origin = squared == 0
    # The inner where keeps the root off 0: the outer one alone would leave 0 * inf = NaN behind.
    return scale[..., 0] * jnp.where(at_origin, 0, jnp.sqrt(jnp.where(at_origin, 1, squared)))


def _power_of_two_near(inputs: Float[AnyArray, "*batch dim"]) -> Float[Array, "*batch 1"]:
    """Return the power of two at or below the largest size in each vector; a constant to jax."""
    sizes = jnp.abs(jax.lax.stop_gradient(inputs))
    largest = jnp.max(sizes, axis=-1, keepdims=True, initial=0)
    # Between these there is no 0, no infinity and nothing subnormal, and ldexp is finite.
    limits = jnp.finfo(inputs.dtype)
    largest = jnp.clip(largest, limits.tiny, limits.max / 4)
    return jnp.ldexp(jnp.ones_like(largest), jnp.frexp(largest)[1] - 1)


def norm_backward(
    g: Float[AnyArray, "*batch"], inputs: Float[AnyArray, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    r"""Return :math:`g \, x / \|x\|`, and 0 at the origin."""
    _check_vectors(inputs)
    _require.incoming(g, inputs.shape[:-1])
    length = norm(inputs)[..., None]
    return jnp.divide(inputs, jnp.where(length == 0, 1, length)) * g[..., None]


def plain_norm(inputs: Float[AnyArray, "*batch dim"]) -> Float[Array, "*batch"]:
    """Return the Euclidean norm over the last axis by its formula.

    At the origin its gradient is NaN: 0 from the square times infinity from the root. It is here
    for comparison; use `norm`.

    Example:
      >>> import jax
      >>> plain_norm(jnp.array([1.0, 2.0, 2.0]))
      Array(3., dtype=float32)
      >>> jax.grad(plain_norm)(jnp.zeros(2)), jax.grad(norm)(jnp.zeros(2))
      (Array([nan, nan], dtype=float32), Array([0., 0.], dtype=float32))
    """
    _check_vectors(inputs)
    return jnp.sqrt(jnp.sum(jnp.square(inputs), axis=-1))


def plain_norm_backward(
    g: Float[AnyArray, "*batch"], inputs: Float[AnyArray, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    r"""Return :math:`g \, x / \|x\|`, which is 0 / 0 = NaN at the origin."""
    _check_vectors(inputs)
    _require.incoming(g, inputs.shape[:-1])
    return jnp.multiply(g[..., None], inputs) / plain_norm(inputs)[..., None]


def _check_vectors(inputs: AnyArray) -> None:
    _require.floats(inputs=inputs)
    if inputs.ndim == 0:
        raise ValueError("inputs of shape (): they must be vectors along the last axis")
