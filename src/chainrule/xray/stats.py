"""A few numbers about an array."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = ["Stats", "is_number", "stats"]
__dir__ = __all__.copy

_PIECE = 2**16  # elements, so that all passes over a piece find it in the cache
_SQUARES = 1e-15, 1e15  # between them the sum of a piece's squares neither over- nor underflows


class Stats(NamedTuple):
    """What is kept of an array when the array itself is not.

    Attributes:
      shape: of the array.
      dtype: of the array, its name.
      min: smallest finite element; of complex numbers, all four are about their moduli.
      mean: of the finite elements.
      max: largest finite element.
      norm: Euclidean, of the finite elements.
      zeros: share of exact zeros, from 0 to 1.
      nans: how many elements are NaN.
      infs: how many elements are plus or minus infinity.
    """

    shape: tuple[int, ...]
    dtype: str
    min: Any
    mean: Any
    max: Any
    norm: Any
    zeros: Any
    nans: Any
    infs: Any


def stats(x: Any) -> Stats:
    """Measure an array, piece by piece: next to no memory, and nothing to compile.

    Args:
      x: array, numbers of any kind.

    Returns:
      Its statistics; those of an empty array are 0.
    """
    array = np.asarray(x)
    flat = array.reshape(-1)
    rows = [_piece(flat[i : i + _PIECE]) for i in range(0, flat.size, _PIECE)]
    about = array.shape, str(getattr(x, "dtype", array.dtype))
    if not rows:
        return Stats(*about, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
    lows, sums, highs, norms, zeros, nans, infs = zip(*rows, strict=True)
    finite = flat.size - sum(nans) - sum(infs)
    return Stats(
        *about,
        min=min(lows),
        mean=sum(sums) / max(finite, 1),
        max=max(highs),
        norm=math.hypot(*norms),
        zeros=sum(zeros) / flat.size,
        nans=sum(nans),
        infs=sum(infs),
    )


def _piece(x: np.ndarray) -> tuple[float, float, float, float, int, int, int]:
    """Return smallest, sum, largest and norm of what is finite; how many zeros, NaNs and Infs."""
    x = np.abs(x) if x.dtype.kind == "c" else x
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    zeros, nans, infs = x.size - int(np.count_nonzero(x)), 0, 0
    low, high = x.min(), x.max()  # NaN as soon as one element is
    if not (np.isfinite(low) and np.isfinite(high)):
        nans, infs = int(np.isnan(x).sum()), int(np.isinf(x).sum())
        x = x[np.isfinite(x)]
        if not x.size:
            return math.inf, 0.0, -math.inf, 0.0, zeros, nans, infs
        low, high = x.min(), x.max()
    top = float(max(abs(low), abs(high)))
    unit = 1.0 if _SQUARES[0] < top < _SQUARES[1] or not top else top
    scaled = x if unit == 1.0 else x / x.dtype.type(unit)
    norm = unit * math.sqrt(float(scaled @ scaled))
    return float(low), float(x.sum(dtype=np.float64)), float(high), norm, zeros, nans, infs


def is_number(x: Any) -> bool:
    """Tell whether an array holds numbers, and not, say, random keys."""
    return bool(jnp.issubdtype(x.dtype, jnp.number) or jnp.issubdtype(x.dtype, jnp.bool_))
