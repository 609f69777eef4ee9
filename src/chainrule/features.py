r"""Features by hand: products of pairs, Sobel's edges, histograms of oriented gradients.

A feature map is a pure function of the inputs, without parameters. A linear predictor on top of it
is still linear in its weights, so that everything known about linear predictors holds, but no
longer linear in the inputs. Pair products make it more expressive; a histogram of gradients removes
what should not matter, such as the exact place of a stroke.

Images are ``[..., height, width]``, one channel, with any number of leading axes. Integers, such as
raw pixels, are turned into floats first: bytes would wrap around.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Real

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["NORMS", "hog", "pair_products", "pairs", "sobel"]
__dir__ = __all__.copy

NORMS = ("l2-hys", "l2", "none")
"""How `hog` normalises a block."""

_HYSTERESIS = 0.2  # where Lowe and Dalal and Triggs clip
_EPSILON = 1e-5  # scikit-image's
_TOGETHER = 128  # images whose intermediate values stay in the cache
_MOST_ORIENTATIONS = 360  # each is an operation of the program
_MOST_FEATURES = 2**14  # the table of all their pairs takes 2 GB


def pairs(key: PRNGKeyArray, features: int, count: int) -> Int[Array, "count 2"]:
    """Draw distinct pairs of distinct features.

    They are a uniform sample, without replacement, of the ``n (n - 1) / 2`` unordered pairs of two
    different features, in random order: no square, and no pair twice. The first ``m`` of ``count``
    pairs are such a sample too, so that one draw serves a growing number of features.

    Args:
      key: the source of the numbers.
      features: n, how many features there are to choose from.
      count: how many pairs, from 0 to ``n (n - 1) / 2``.

    Returns:
      Their indices ``u < v``, int32, one pair a row.

    Raises:
      ValueError: ``key`` is no key, or there are not that many pairs.

    Example:
      >>> drawn = pairs(jax.random.key(0), features=784, count=1000)
      >>> drawn.shape, bool((drawn[:, 0] < drawn[:, 1]).all())
      ((1000, 2), True)
    """
    _require.one_key(key)
    features = _require.count("features", features, least=0, most=_MOST_FEATURES)
    available = math.comb(features, 2)
    if not 0 <= _require.count("count", count, least=0) <= available:
        raise ValueError(
            f"pairs: {count} pairs of {features} features: there are {available} pairs of distinct "
            "features, ask for no more of them"
        )
    table = np.stack(np.triu_indices(features, 1), axis=1).astype(np.int32)
    return jnp.asarray(table)[jax.random.permutation(key, available)[:count]]


def pair_products(
    inputs: Real[AnyArray, "*batch features"], pairs: Int[AnyArray, "count 2"]
) -> Float[Array, "*batch count"]:
    r"""Multiply the two features of each pair.

    .. math::
      \phi_k(x) = x_{u_k} x_{v_k}

    A linear predictor on them is a quadratic form of ``x``. They are many: 10,000 products of
    60,000 digits are 2.4 GB. Call this on a block of the inputs at a time, as
    `chainrule.models.perceptron.fit` does with its argument ``features``.

    Args:
      inputs: x, one sample a row.
      pairs: the indices u and v, as `pairs` draws them, from 0 to ``features - 1``.

    Returns:
      The products, one a pair.

    Raises:
      ValueError: the pairs are not ``[count, 2]`` integers, or an index is no feature.

    Example:
      >>> pair_products(jnp.array([[2.0, 3.0, 5.0]]), jnp.array([[0, 1], [1, 2]]))
      Array([[ 6., 15.]], dtype=float32)
    """
    _require.arrays(inputs=inputs, pairs=pairs)
    if inputs.ndim == 0 or pairs.shape[1:] != (2,) or not jnp.issubdtype(pairs.dtype, jnp.integer):
        raise ValueError(
            f"pair_products: inputs {inputs.shape}, pairs {pairs.dtype} {pairs.shape}: they must "
            "be [..., features] and integers [count, 2]"
        )
    why = f"inputs {inputs.shape} have {inputs.shape[-1]} features"
    _require.within("pairs", pairs, least=0, most=inputs.shape[-1] - 1, why=why)
    x = _floats(inputs)
    return x[..., pairs[:, 0]] * x[..., pairs[:, 1]]


def sobel(
    images: Real[AnyArray, "*batch height width"],
) -> tuple[Float[Array, "*batch height width"], Float[Array, "*batch height width"]]:
    r"""Return the horizontal and the vertical edges: Sobel's two operators.

    .. math::
      \begin{pmatrix} -1 & -2 & -1 \\ 0 & 0 & 0 \\ 1 & 2 & 1 \end{pmatrix} \qquad
      \begin{pmatrix} -1 & 0 & 1 \\ -2 & 0 & 2 \\ -1 & 0 & 1 \end{pmatrix}

    The kernels are not flipped: a horizontal edge is positive where the image grows brighter
    downwards, a vertical one where it grows brighter to the right. Beyond the border the outermost
    pixels are repeated. A ramp that climbs by 1 a pixel gives 8.

    Args:
      images: in any unit.

    Returns:
      The horizontal and the vertical edges, of the shape of the images, in their unit.

    Raises:
      ValueError: the images have fewer than two axes, or an axis of channels.

    Example:
      >>> horizontal, vertical = sobel(jnp.array([[0.0, 0.0], [1.0, 1.0]]))
      >>> horizontal
      Array([[4., 4.],
             [4., 4.]], dtype=float32)
      >>> bool((vertical == 0).all())
      True

    References:
      Sobel and Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.
    """
    _check_images("sobel", images, smallest=1)
    x = _extend(_floats(images), (1, 1), (1, 1))
    down = x[..., 2:, :] - x[..., :-2, :]
    right = x[..., :, 2:] - x[..., :, :-2]
    horizontal = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    vertical = right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]
    return horizontal, vertical


def hog(
    images: Real[AnyArray, "*batch height width"],
    *,
    cell: int = 4,
    block: int = 2,
    orientations: int = 9,
    norm: str = "l2-hys",
) -> Float[Array, "*batch features"]:
    r"""Return histograms of oriented gradients.

    Every pixel has a gradient, by central differences, 0 across the image's border. It votes with
    the gradient's length for the gradient's orientation, an angle in [0, 180) degrees: an edge and
    its negative are the same. A cell is the mean vote of ``cell x cell`` pixels for each of the
    ``orientations``; a block is ``block x block`` neighbouring cells, normalised together; blocks
    overlap, one starts at every cell. With ``norm`` "l2-hys" the ``h`` of a block becomes

    .. math::
      h' = \min\!\left(\frac{h}{\sqrt{\|h\|^2 + \epsilon^2}},\ 0.2\right), \qquad
      \frac{h'}{\sqrt{\|h'\|^2 + \epsilon^2}}, \qquad \epsilon = 10^{-5}

    and with "l2" only the quotient. The values and their order are those of scikit-image's ``hog``.
    That drops the pixels that do not fill a cell; here such an image is first padded on all four
    sides with its outermost pixels, to the next multiple of the cell: 28 x 28 pixels in cells of 8
    become 32 x 32, two more on each side.

    The notes' rough recipe is ``hog(images, cell=8, block=1, norm="none")``, 144 features of a
    digit; the full one, after Dalal and Triggs, is the default, 1,296 features. Their Gaussian
    window on a block and their votes shared between neighbouring cells are left out, as they are
    in scikit-image.

    Differentiable: the orientation of a vote is piecewise constant, and its length has gradient 0
    where it is 0.

    Args:
      images: in any unit; the normalised blocks have none.
      cell: pixels on a side of a cell.
      block: cells on a side of a block.
      orientations: bins over 180 degrees, at most 360; the first begins at a gradient that points
        to the right.
      norm: one of `NORMS`.

    Returns:
      ``rows * columns * block * block * orientations`` features: the blocks row by row, in each the
      cells row by row, in each the orientations. Not negative.

    Raises:
      ValueError: the image is smaller than a cell, has fewer cells than a block or an axis of
        channels; a setting is below 1, or ``orientations`` above 360; the norm is unknown.

    Example:
      >>> images = jnp.tile(jnp.linspace(0.0, 1.0, 28), (10, 28, 1))
      >>> hog(images).shape, hog(images, cell=8, block=1, norm="none").shape
      ((10, 1296), (10, 144))
      >>> hog(images[0, :8, :8], block=1).round(3)
      Array([1., 0., 0., 0., 0., 0., 0., 0., 0., 1., ...], dtype=float32)

    References:
      Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
    """
    cell, block = _require.count("cell", cell), _require.count("block", block)
    orientations = _require.count("orientations", orientations, most=_MOST_ORIENTATIONS)
    _require.one_of("norm", norm, NORMS)
    _check_images("hog", images, smallest=cell)

    height, width = images.shape[-2:]
    rows, columns = -(-height // cell), -(-width // cell)
    if min(rows, columns) < block:
        raise ValueError(
            f"hog: an image of {height} x {width} pixels has {rows} x {columns} cells of {cell} x "
            f"{cell}, a block {block} x {block}: make the cells or the blocks smaller"
        )
    return _hog(_floats(images), cell=cell, block=block, orientations=orientations, norm=norm)


@functools.partial(jax.jit, static_argnames=("cell", "block", "orientations", "norm"))
def _hog(images: AnyArray, *, cell: int, block: int, orientations: int, norm: str) -> Array:
    def describe(image: AnyArray) -> Array:
        cells = _cells(image, cell, orientations)
        # The cells at each place of a block, for all blocks at once.
        rows, columns = (size - block + 1 for size in cells.shape[:2])
        places = itertools.product(range(block), repeat=2)
        blocks = jnp.concatenate([cells[i : i + rows, j : j + columns] for i, j in places], axis=-1)
        if norm != "none":
            blocks = _unit(blocks)
        if norm == "l2-hys":
            blocks = _unit(jnp.minimum(blocks, _HYSTERESIS))
        return blocks.ravel()

    batch, image = images.shape[:-2], images.shape[-2:]
    flat = images.reshape(math.prod(batch), *image)
    found = jax.lax.map(describe, flat, batch_size=_TOGETHER)
    return found.reshape(*batch, *found.shape[1:])


def _cells(image: AnyArray, cell: int, orientations: int) -> Array:
    """Return the mean votes of each cell, ``[rows, columns, orientations]``."""
    height, width = image.shape
    x = _extend(image, _halves(-height % cell), _halves(-width % cell))
    down = jnp.zeros_like(x).at[1:-1].set(x[2:] - x[:-2])
    right = jnp.zeros_like(x).at[:, 1:-1].set(x[:, 2:] - x[:, :-2])

    # The square root's gradient at 0 is infinite: there, take that of a constant.
    square = down * down + right * right
    length = jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))

    # The angle itself is not needed: turned into the upper half plane, a gradient has passed the
    # direction theta where their cross product is not negative.
    turn = jnp.where((down < 0) | ((down == 0) & (right < 0)), -1, 1).astype(x.dtype)
    down, right = turn * down, turn * right
    orientation = jnp.zeros(x.shape, jnp.int32)
    for k in range(1, orientations):
        theta = math.pi * k / orientations
        passed = down * math.cos(theta) >= right * math.sin(theta)
        orientation = orientation + passed.astype(jnp.int32)

    # Summed by slices, row by row and then column by column of all cells at once: a reduction over
    # an axis of so few is slow, and the votes of all pixels for all orientations are never held.
    bins, none = jnp.arange(orientations, dtype=jnp.int32), jnp.zeros((), x.dtype)
    strips = [(slice(i, None, cell), slice(None), None) for i in range(cell)]
    votes = sum(
        (jnp.where(orientation[s] == bins[None, None, :], length[s], 0) for s in strips), none
    )
    return sum((votes[:, j::cell] for j in range(cell)), none) / cell**2


def _unit(blocks: AnyArray) -> Array:
    """Divide each block by its length, softened so that an empty block stays 0."""
    return jnp.divide(
        blocks, jnp.sqrt(jnp.sum(blocks * blocks, axis=-1, keepdims=True) + _EPSILON**2)
    )


def _floats(x: AnyArray) -> Array:
    return jnp.asarray(x, x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float)


def _halves(amount: int) -> tuple[int, int]:
    return amount // 2, amount - amount // 2


def _extend(images: AnyArray, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    # Zeros would draw an edge around every image that is not black at its border.
    return jnp.pad(images, [*[(0, 0)] * (images.ndim - 2), rows, columns], mode="edge")


def _check_images(name: str, images: AnyArray, smallest: int) -> None:
    _require.arrays(images=images)
    if images.ndim < 2 or min(images.shape[-2:]) < smallest:
        raise ValueError(
            f"{name}: images of shape {images.shape}: they must be [..., height, width], without "
            f"an axis of channels, and at least {smallest} x {smallest} pixels"
        )
    # Images that are a few pixels wide and many high do not come in batches of many.
    if images.ndim > 2 and images.shape[-1] <= 4 < min(images.shape[-3:-1]):
        raise ValueError(
            f"{name}: images of shape {images.shape} have an axis of channels: take one channel, "
            "images[..., 0], their mean, images.mean(axis=-1), or each of them, "
            "jnp.moveaxis(images, -1, -3)"
        )
