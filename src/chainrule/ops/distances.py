r"""Distances between points, with the gradient 0 where two points are equal, and unit vectors.

Pairs of equal points are not rare: an image paired with itself is one, and a network that maps all
inputs to one point has no others. By the plain formula the gradient of their distance is 0 / 0.
Here it is 0, as in `chainrule.ops.elementary.norm`, on which these are built.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops.elementary import norm, norm_backward

__all__ = [
    "euclidean",
    "euclidean_backward",
    "pairwise",
    "pairwise_backward",
    "unit",
    "unit_backward",
]
__dir__ = __all__.copy


def euclidean(
    a: Float[AnyArray, "*batch dim"], b: Float[AnyArray, "*batch dim"]
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
      ValueError: the shapes differ; nothing is broadcast silently.

    Example:
      >>> import jax
      >>> a, b = jnp.array([[3.0, 4.0], [1.0, 1.0]]), jnp.array([[0.0, 0.0], [1.0, 1.0]])
      >>> euclidean(a, b)
      Array([5., 0.], dtype=float32)
      >>> jax.grad(lambda a: jnp.sum(euclidean(a, b)))(a)
      Array([[0.6, 0.8],
             [0. , 0. ]], dtype=float32)
    """
    _check_points(a, b)
    return norm(a - b)


def euclidean_backward(
    g: Float[AnyArray, "*batch"], a: Float[AnyArray, "*batch dim"], b: Float[AnyArray, "*batch dim"]
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch dim"]]:
    r"""Return :math:`g (a - b) / d` for a, minus that for b, and 0 where the two are equal."""
    _check_points(a, b)
    gradient = norm_backward(g, a - b)
    return gradient, -gradient


def pairwise(
    a: Float[AnyArray, "rows dim"], b: Float[AnyArray, "columns dim"]
) -> Float[Array, "rows columns"]:
    r"""Return the squared distances of all points to all others, by one matrix product.

    .. math::
      d_{ij}^2 = \|a_i\|^2 + \|b_j\|^2 - 2 a_i^\top b_j

    They stay squared, because the root of a difference of nearly equal numbers is inaccurate near
    0, and their order is the same. What rounding leaves below 0 becomes 0.

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
    _check_rows(a, b)
    squares = jnp.sum(a * a, axis=1)[:, None] + jnp.sum(b * b, axis=1)[None, :]
    distances = squares - 2 * a @ b.T
    return jnp.where(distances < 0, 0, distances)


def pairwise_backward(
    g: Float[AnyArray, "rows columns"],
    a: Float[AnyArray, "rows dim"],
    b: Float[AnyArray, "columns dim"],
) -> tuple[Float[Array, "rows dim"], Float[Array, "columns dim"]]:
    r"""Return :math:`2 \sum_j g_{ij} (a_i - b_j)` and :math:`2 \sum_i g_{ij} (b_j - a_i)`."""
    _check_rows(a, b)
    _require.incoming(g, (len(a), len(b)))
    by_a = 2 * (jnp.sum(g, axis=1)[:, None] * a - g @ b)
    by_b = 2 * (jnp.sum(g, axis=0)[:, None] * b - g.T @ a)
    return by_a, by_b


def unit(inputs: Float[AnyArray, "*batch dim"]) -> Float[Array, "*batch dim"]:
    r"""Divide each vector by its length; 0 stays 0.

    .. math::
      u = x / \|x\|

    At the origin, which has no direction, value and gradient are 0.

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
    g: Float[AnyArray, "*batch dim"], inputs: Float[AnyArray, "*batch dim"]
) -> Float[Array, "*batch dim"]:
    r"""Return :math:`(g - u u^\top g) / \|x\|`: the part across the vector; 0 at 0."""
    _require.arrays(inputs=inputs)
    _require.incoming(g, inputs.shape)
    length, u = norm(inputs)[..., None], unit(inputs)
    across = g - u * jnp.sum(u * g, axis=-1, keepdims=True)
    return jnp.where(length == 0, 0, across / jnp.where(length == 0, 1, length))


def _check_points(a: AnyArray, b: AnyArray) -> None:
    _require.floats(a=a, b=b)
    _require.same_shape("[..., dim], or take pairwise for all against all", a=a, b=b)


def _check_rows(a: AnyArray, b: AnyArray) -> None:
    _require.floats(a=a, b=b)
    if (a.ndim, b.ndim) != (2, 2) or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"pairwise: a {a.shape} and b {b.shape}: they must be [rows, dim] and [columns, dim], "
            "points of one dimension"
        )
