"""How far two arrays are apart, measured on the host in float64, piece by piece."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.elements import numbers
from chainrule.xray.stats import Stats

__all__ = ["DRAWS", "NONE", "STEPS", "Error", "between", "moved", "of_stats"]
__dir__ = __all__.copy

DRAWS = 3
"""How often inputs are moved to find a condition."""
STEPS = 8.0
"""By how many units in the last place."""

_PIECE = 2**18  # elements
_FILLS, _LEAST = 1e4, 0.1  # times the largest element that differs, or this
_FAR = 1e150  # its square is finite


class Error(NamedTuple):
    """The error of an array against another.

    Attributes:
      norm: Euclidean, of the difference.
      most: the largest difference.
      scale: the norm of the array that it is an error of, where both are finite, without equal
        elements that dwarf all that differ.
      top: the largest element of that.
      bad: how many elements are finite in one of them only, or other infinities.
    """

    norm: float = 0.0
    most: float = 0.0
    scale: float = 0.0
    top: float = 0.0
    bad: int = 0

    @property
    def relative(self) -> float:
        """The norm of the difference over that of the array; infinite where one is not finite."""
        if self.bad:
            return math.inf
        if self.norm == 0:
            return 0.0
        return self.norm / self.scale if self.scale else math.inf


NONE = Error()
"""No error at all."""


def between(true: Any, found: Any) -> Error:
    """Return the error of an array against another of the same shape.

    Example:
      >>> between(np.array([3.0, 4.0]), np.array([3.0, 4.5])).relative
      0.1
    """
    a, b = numbers(true), numbers(found)
    if a is None or b is None:  # random keys
        a, b = (_key_data(x) for x in (true, found))
    if a.shape != b.shape:
        return Error(bad=max(a.size, b.size, 1))
    a, b = a.reshape(-1), b.reshape(-1)
    rows = [_piece(a[i : i + _PIECE], b[i : i + _PIECE]) for i in range(0, a.size, _PIECE)]
    if not rows:
        return NONE
    norms, mosts, scales, tops, bads = zip(*rows, strict=True)
    return Error(math.hypot(*norms), max(mosts), math.hypot(*scales), max(tops), sum(bads))


def _piece(a: np.ndarray, b: np.ndarray) -> Error:
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    same = a.dtype == b.dtype and bool(np.array_equal(a, b))  # of NaN it is not, and no matter
    with np.errstate(all="ignore"):
        a = a.astype(wide)
        b = a if same else b.astype(wide)
        finite = np.isfinite(a) & np.isfinite(b)
        bad = 0
        if not finite.all():
            alike = finite | (a == b) | (np.isnan(a) & np.isnan(b))
            bad = int(a.size - np.count_nonzero(alike))
            a, b = a[finite], b[finite]
        size, far = np.abs(a), np.abs(b - a)
        if (differs := far > 0).any():  # what masks are filled with says nothing of the rest
            size[~differs & (size > _FILLS * max(_top(size[differs]), _LEAST))] = 0
        return Error(_norm(far), _top(far), _norm(size), _top(size), bad)


def _norm(x: np.ndarray) -> float:
    top = _top(x)
    unit = top if top > _FAR or 0 < top < 1 / _FAR else 1.0
    return float(np.sqrt(np.sum(np.square(x / unit)))) * unit if x.size else 0.0


def _top(x: np.ndarray) -> float:
    return float(x.max(initial=0.0))


def _key_data(x: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(x))


def of_stats(true: Stats, found: Stats) -> Error:
    """Return the error that the statistics of two arrays show at least."""
    if true.shape != found.shape or (true.nans, true.infs) != (found.nans, found.infs):
        return Error(bad=1)
    count = max(math.prod(true.shape), 1)
    far = [abs(found.norm - true.norm), abs(found.mean - true.mean) * math.sqrt(count)]
    ends = [abs(found.min - true.min), abs(found.max - true.max)]
    finite = [x for x in ends if math.isfinite(x)]
    top = max(abs(true.min), abs(true.max))
    return Error(max([*far, *finite]), max(finite, default=0.0), true.norm, top, 0)


def moved(x: Any, step: float, draw: np.random.Generator) -> Any:
    """Return an array each of whose elements is a little larger or smaller, at random."""
    if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.inexact):
        return x
    array = np.asarray(x)
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    with np.errstate(all="ignore"):
        return (wide * (1 + step * draw.choice((-1.0, 1.0), array.shape))).astype(array.dtype)
