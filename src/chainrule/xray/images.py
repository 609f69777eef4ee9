"""Arrays that look like images, activation maps or kernels, as tiles beside each other."""

from typing import NamedTuple

import numpy as np

__all__ = ["Tiles", "tiles"]
__dir__ = __all__.copy

_SMALLEST, _KERNEL = 5, 11  # sides: of an image at least, of a kernel at most
_ALONE, _SIDE = 96, 24  # pixels along a tile, alone and among others
_COUNT = 16  # tiles


class Tiles(NamedTuple):
    """What is drawn of an array.

    Attributes:
      pixels: numbers ``[rows, columns]``, or colours from 0 to 255 ``[rows, columns, 3]``.
      shows: what that is, in words.
    """

    pixels: np.ndarray
    shows: str


def tiles(array: np.ndarray) -> Tiles | None:
    """Return an array as tiles, None where it does not look like images or kernels.

    Images are ``[N, H, W, C]`` whose sides are alike, kernels ``[h, w, C, D]`` with small sides.
    Three channels are colours, every other channel is a tile of its own.

    Args:
      array: of real numbers, of any shape.

    Example:
      >>> tiles(np.zeros((2, 8, 8, 20))).shows
      'the first 16 of 20 channels of sample 1 of 2, 8 × 8 each: red above 0, blue below'
      >>> tiles(np.zeros((3, 3, 1, 4))).pixels.shape, tiles(np.zeros((4, 4)))
      ((7, 7), None)
    """
    if array.ndim != 4 or array.dtype.kind not in "biuf" or not array.size:
        return None
    a, b, c, d = array.shape
    if a == b <= _KERNEL and not b == c >= _SMALLEST:
        stack, what, colours = np.moveaxis(array, 3, 0), f"{d} kernels", c == 3
        stack = stack if colours else stack[..., :1]
        what += "" if colours or c == 1 else f" of channel 1 of {c}"
    elif min(b, c) >= _SMALLEST and max(b, c) <= 2 * min(b, c):
        colours = d == 3
        stack = array if colours or d == 1 else np.moveaxis(array[0], 2, 0)[..., None]
        what = f"{a} samples" if colours or d == 1 else f"{d} channels of sample 1 of {a}"
    else:
        return None
    count = min(len(stack), _COUNT)
    if count < len(stack):
        what = f"the first {count} of {what}"
    high, wide = stack.shape[1:3]
    every = -(-max(high, wide) // (_ALONE if count == 1 else _SIDE))
    x = np.asarray(stack[:count, ::every, ::every], np.float64)
    seen = "" if every == 1 else f", every pixel number {every}"
    if colours:
        return Tiles(_grid(_colours(x), 255.0), f"{what}, {high} × {wide} each{seen}: in colour")
    shows = f"{what}, {high} × {wide} each{seen}: red above 0, blue below"
    return Tiles(_grid(x, 0.0)[..., 0], shows)


def _colours(x: np.ndarray) -> np.ndarray:
    """Stretch numbers to colours, the least to 0 and the largest to 255; black where bad."""
    good = np.isfinite(x)
    low, high = x[good].min(initial=np.inf), x[good].max(initial=-np.inf)
    if not low < high:
        return np.where(good, 128.0, 0.0)
    return np.where(good, 255 * (np.where(good, x, low) - low) / (high - low), 0.0)


def _grid(x: np.ndarray, gap: float) -> np.ndarray:
    """Lay tiles in rows, one pixel apart."""
    count, high, wide, depth = x.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    grid = np.full((down * (high + 1) - 1, across * (wide + 1) - 1, depth), gap)
    for k, tile in enumerate(x):
        top, left = k // across * (high + 1), k % across * (wide + 1)
        grid[top : top + high, left : left + wide] = tile
    return grid
