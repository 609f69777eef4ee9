r"""Distances between points, with the gradient 0 where two points are equal, and unit vectors.

A pair of equal points is no rare case: a network that answers one point for all inputs, or a pair
of an image with itself, has nothing but such pairs. Written down plainly, the gradient of their
distance is 0 / 0. Here it is 0, as in `chainrule.ops.elementary.norm`, on which these are built.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from chainrule.ops.elementary import norm, norm_backward

__all__ = [
    "euclidean",
    "euclidean_backward",
    "pairwise",
    "pairwise_backward",
    "unit",
    "unit_backward",
]


def _check_shapes(name: str, a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"{name}: points {a.shape} and {b.shape} differ: give both one shape, [..., dim], or "
            "take pairwise for all against all"
        )


def euclidean(
    a: Float[Array, "*batch dim"], b: Float[Array, "*batch dim"]
) -> Float[Array, "*batch"]:
    r"""Return the Euclidean distance of corresponding points, with the gradient 0 at equal points.

    .. math::
      d = \|a - b\|

    Args:
      a: points along the last axis.
      b: as many.

    Returns:
      One distance a pair of points.

    Raises:
      ValueError: the shapes differ; nothing broadcasts in silence.

    Example:
      >>> import jax
      >>> a, b = jnp.array([[3.0, 4.0], [1.0, 1.0]]), jnp.array([[0.0, 0.0], [1.0, 1.0]])
      >>> euclidean(a, b)
      Array([5., 0.], dtype=float32)
      >>> jax.grad(lambda a: jnp.sum(euclidean(a, b)))(a)
      Array([[0.6, 0.8],
             [0. , 0. ]], dtype=float32)
    """
    _check_shapes("euclidean", a, b)
    return norm(a - b)


def euclidean_backward(
    g: Float[Array, "*batch"], a: Float[Array, "*batch dim"], b: Float[Array, "*batch dim"]
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
    r"""Return :math:`g (a - b) / d` for a, minus that for b, and 0 where the two are equal."""
    gradient = norm_backward(g, a - b)
    return gradient, -gradient


def pairwise(
    a: Float[Array, "rows dim"], b: Float[Array, "columns dim"]
) -> Float[Array, "rows columns"]:
    r"""Return the squared distances of all points to all others, by one matrix product.

    .. math::
      d_{ij}^2 = \|a_i\|^2 + \|b_j\|^2 - 2 a_i^\top b_j

    Squared, because the root of a difference of nearly equal numbers is inaccurate near 0, and the
    order is the same. Rounding below 0 is cut off.

    Args:
      a: one point a row.
      b: one point a row.

    Returns:
      One squared distance a pair, at least 0.

    Raises:
      ValueError: the points have different dimensions.

    Example:
      >>> a, b = jnp.array([[0.0, 0.0], [3.0, 4.0]]), jnp.array([[3.0, 0.0]])
      >>> pairwise(a, b)
      Array([[ 9.],
             [16.]], dtype=float32)
    """
    if a.shape[-1:] != b.shape[-1:]:
        raise ValueError(f"pairwise: points {a.shape} and {b.shape} have different dimensions")
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None, :]
    distances = squares - 2 * a @ b.T
    return jnp.where(distances < 0, 0, distances)


def pairwise_backward(
    g: Float[Array, "rows columns"],
    a: Float[Array, "rows dim"],
    b: Float[Array, "columns dim"],
) -> tuple[Float[Array, "rows dim"], Float[Array, "columns dim"]]:
    r"""Return :math:`2 \sum_j g_{ij} (a_i - b_j)` and :math:`2 \sum_i g_{ij} (b_j - a_i)`."""
    by_a = 2 * (jnp.sum(g, axis=1)[:, None] * a - g @ b)
    by_b = 2 * (jnp.sum(g, axis=0)[:, None] * b - g.T @ a)
    return by_a, by_b


def unit(inputs: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    r"""Divide each vector by its length; 0 stays 0.

    .. math::
      u = x / \|x\|

    At the origin, where no direction is better than another, value and gradient are 0.

    Args:
      inputs: x, vectors along the last axis.

    Returns:
      Vectors of length 1, or 0.

    Example:
      >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
      Array([[0.6, 0.8],
             [0. , 0. ]], dtype=float32)
    """
    length = norm(inputs)[..., None]
    return jnp.where(length == 0, 0, inputs / jnp.where(length == 0, 1, length))


def unit_backward(
    g: Float[Array, "*batch dim"], inputs: Float[Array, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    r"""Return :math:`(g - u u^\top g) / \|x\|`: what does not point along the vector; 0 at 0."""
    length, u = norm(inputs)[..., None], unit(inputs)
    across = g - u * jnp.sum(u * g, axis=-1, keepdims=True)
    return jnp.where(length == 0, 0, across / jnp.where(length == 0, 1, length))


def __dir__() -> list[str]:
    return sorted(__all__)
