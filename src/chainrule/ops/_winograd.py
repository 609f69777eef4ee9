r"""Winograd's minimal filtering: a convolution by 3 x 3 weights with a quarter of the products.

Along one axis, four neighbouring outputs of three weights w depend on six inputs x, and are

.. math::
  y = A^\top \left[ (G w) \odot (B^\top x) \right]

with six products instead of twelve; along two axes it is 36 instead of 144. Over the channels, the
products are one of matrices for each of the 36 places (Lavin & Gray, 2016, F(4 x 4, 3 x 3)).

The constants range from 1/24 to 8, and rounding is larger than in the plain sum: see `ERROR`.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from chainrule.ops._chunks import in_chunks, wide
from chainrule.ops.windows import Window, pad

ERROR = 3e-5
"""The largest error of float32 outputs, relative to the largest output.

With normal inputs and kernels of variance 2 / fan-in, 8e-6 to 2.2e-5 were seen with 128 to 512
channels, and 5e-7 to 8e-7 of the plain sum (3 seeds, against float64).
"""

TILE = 4
"""Outputs of a tile, along an axis."""

_INPUTS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUTS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
_SPAN = len(_INPUTS)
_BYTES = 128 * 2**20


def conv(
    inputs: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 _ _"],
    window: Window,
    finite: Bool[Array, ""],
    otherwise: Callable[[Array, Array, Window], Array],
    *,
    back: bool = False,
) -> Float[Array, "batch rows columns _"]:
    """Convolve by 3 x 3 weights with stride 1, without holes.

    Args:
      inputs: ``[batch, height, width, channels]``.
      kernel: ``[3, 3, channels, features]``.
      window: the placement of the kernel.
      finite: whether to filter: a NaN would spread to the whole tile, and so would an infinity.
      otherwise: the convolution to use if not.
      back: whether this is the transpose, from ``[batch, rows, columns, features]`` to
        ``[batch, height, width, channels]``: with the flipped kernel, summed over the features.

    Returns:
      ``[batch, rows, columns, features]``. The transposes with respect to the inputs and to the
      kernel, and the transposes of these, are as fast.
    """
    channels, features = kernel.shape[-2:][:: -1 if back else 1]
    rows, columns = (-(-size // TILE) for size in window.outputs)
    fit = [
        (lo, TILE * (tiles - 1) + _SPAN - size - lo)
        for tiles, size, (lo, _) in zip((rows, columns), window.inputs, window.padding, strict=True)
    ]
    kernel = kernel.astype(wide(kernel.dtype))
    flipped = jnp.flip(kernel, (0, 1)) if back else kernel
    weights = [_sums(_KERNEL, list(row)) for row in _sums(_KERNEL, list(flipped))]
    # The product itself sums over the other axis: transposing the kernel would take longer than
    # the product.
    over = (((1,), (1 if back else 0,)), ((), ()))

    def fast(inputs: Array) -> Array:
        padded = pad(inputs, fit)
        products = [
            [
                lax.dot_general(tiles.reshape(-1, channels), weight, over).reshape(
                    -1, rows, columns, features
                )
                for tiles, weight in zip(
                    _sums(_INPUTS, _places(row, 2, columns)), line, strict=True
                )
            ]
            for row, line in zip(_sums(_INPUTS, _places(padded, 1, rows)), weights, strict=True)
        ]
        across = [_sums(_OUTPUTS, line) for line in products]
        down = [_sums(_OUTPUTS, list(line)) for line in zip(*across, strict=True)]
        # down[j][i] is the output in row i and column j of every tile.
        tiled = jnp.stack([jnp.stack(line, 3) for line in zip(*down, strict=True)], 2)
        outputs = tiled.reshape(-1, TILE * rows, TILE * columns, features)
        return outputs[:, : window.outputs[0], : window.outputs[1]]

    def slow(inputs: Array) -> Array:
        return otherwise(inputs, jnp.swapaxes(flipped, -1, -2) if back else kernel, window)

    def some(inputs: Array) -> Array:
        # The branch is also a barrier: XLA would compute the sums again wherever the next layer
        # uses them.
        return lax.cond(finite, fast, slow, inputs)

    return in_chunks(some, inputs, _SPAN**2 * rows * columns * channels, _BYTES)


def _places(inputs: Array, axis: int, tiles: int) -> list[Array]:
    """Return the slices at each place of all tiles along an axis; neighbouring tiles overlap."""
    end = TILE * (tiles - 1) + 1
    return [lax.slice_in_dim(inputs, n, n + end, TILE, axis) for n in range(_SPAN)]


def _sums(matrix: Sequence[Sequence[float | int]], arrays: Sequence[Array]) -> list[Array]:
    """Multiply a constant matrix by a vector of arrays, leaving out the zeros."""
    sums = []
    for row in matrix:
        terms = [
            array if factor == 1 else array * jnp.asarray(factor, array.dtype)
            for factor, array in zip(row, arrays, strict=True)
            if factor
        ]
        sums.append(sum(terms[1:], start=terms[0]))
    return sums
