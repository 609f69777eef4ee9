"""How far two arrays are apart, measured on the host in float64, piece by piece."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.elements import numbers
from chainrule.xray.record import Record, changed
from chainrule.xray.stats import Stats, stats

__all__ = ["NONE", "Error", "Move", "between", "condition", "draws", "equal", "shared"]
__dir__ = __all__.copy

_DRAWS = 3  # how often inputs are moved to find a condition
_STEPS = 8.0  # by how many units in the last place
Move = Callable[..., Any]
"""Moves an array by some units in the last place."""

_PIECE = 2**18  # elements
_LOOKED = 64  # elements that tell arrays apart before they are compared
_FILLS, _LEAST = 1e4, 0.1  # times the largest element that differs, or this
_FAR = 1e15  # its square is finite in float32
_NAN = np.array([math.nan])


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

    def within(self, norm: float, most: float) -> bool:
        """Tell whether its norm and its largest element are at most some numbers."""
        return not self.bad and self.norm <= norm and self.most <= most


NONE = Error()
"""No error at all."""


def between(true: Any, found: Any) -> Error:
    """Return the error of an array against another of the same shape.

    Of equal arrays nothing is measured; of statistics it is what they show at least.

    Example:
      >>> between(np.array([3.0, 4.0]), np.array([3.0, 4.5])).relative
      0.1
    """
    if true is None or found is None:  # random keys, of which there are no statistics
        return NONE
    if isinstance(true, Stats) or isinstance(found, Stats):
        return _of_stats(*(x if isinstance(x, Stats) else stats(x) for x in (true, found)))
    if equal(true, found):
        return NONE
    a, b = _plain(true), _plain(found)
    if a.shape != b.shape:
        return Error(bad=max(a.size, b.size, 1))
    a, b = a.reshape(-1), b.reshape(-1)
    rows = [_piece(a[i : i + _PIECE], b[i : i + _PIECE]) for i in range(0, a.size, _PIECE)]
    if not rows:
        return NONE
    norms, mosts, scales, tops, bads = zip(*rows, strict=True)
    return Error(math.hypot(*norms), max(mosts), math.hypot(*scales), max(tops), sum(bads))


def equal(one: Any, two: Any) -> bool:
    """Tell whether two arrays are the same, bit by bit."""
    if one is two:
        return True
    a, b = _plain(one), _plain(two)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.ctypes.data == b.ctypes.data and a.strides == b.strides:
        return True
    a, b = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (a, b))
    end = a.size - a.size % 8
    words, others = a[:end].view(np.uint64), b[:end].view(np.uint64)
    pieces = (slice(i, i + _PIECE) for i in range(0, end // 8, _PIECE))
    return np.array_equal(a[end:], b[end:]) and all(
        np.array_equal(words[one], others[one]) for one in pieces
    )


def shared(first: Record, second: Record) -> Record:
    """Return the second of two records with the arrays of the first where they are the same.

    They are found by a few of their elements, and then compared bit by bit.
    """
    known: dict[Any, list[Any]] = {}
    kept: dict[int, Any] = {}

    def keep(x: Any) -> None:
        if id(x) not in kept and (key := _some(x)) is not None:
            known.setdefault(key, []).append(x)
            kept[id(x)] = x

    def same(x: Any) -> Any:
        if id(x) not in kept:
            kept[id(x)] = next((y for y in known.get(_some(x), ()) if equal(x, y)), x)
        return kept[id(x)]

    changed(first, keep)
    return dataclasses.replace(second, nodes=changed(second, same))


def _some(x: Any) -> Any:
    """Return the type, the shape and a few elements of an array, None of statistics."""
    if isinstance(x, Stats) or not hasattr(x, "dtype"):
        return None
    array = _plain(x).reshape(-1)
    return x.dtype, np.shape(x), array[:: array.size // _LOOKED + 1].tobytes()


def _piece(a: np.ndarray, b: np.ndarray) -> Error:
    size, bad = a, 0
    with np.errstate(all="ignore"):
        far = b - a if a.dtype == b.dtype and a.dtype in (np.float32, np.float64) else _NAN
        most = _top(far)
        top = _top(a) if most < math.inf else math.inf
        # All is finite, and nothing as large as what a mask is filled with.
        if not top <= _FILLS * _LEAST:
            wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
            a, b = a.astype(wide), b.astype(wide)
            finite = np.isfinite(a) & np.isfinite(b)
            alike = finite | (a == b) | (np.isnan(a) & np.isnan(b))
            bad = int(a.size - np.count_nonzero(alike))
            size, far = np.abs(a[finite]), np.abs((b - a)[finite])
            if (differs := far > 0).any():  # what masks are filled with says nothing of the rest
                size[~differs & (size > _FILLS * max(_top(size[differs]), _LEAST))] = 0
            most, top = _top(far), _top(size)
        return Error(_norm(far, most), most, _norm(size, top), top, bad)


def _norm(x: np.ndarray, top: float) -> float:
    unit = 1.0 if 1 / _FAR < top < _FAR or not top else top
    scaled = x if unit == 1 else x / x.dtype.type(unit)
    return math.sqrt(float(scaled @ scaled)) * unit


def _top(x: np.ndarray) -> float:
    """Return the largest modulus, NaN if one element is."""
    return float(max(x.max(initial=0), -x.min(initial=0)))


def _plain(x: Any) -> np.ndarray:
    array = numbers(x)
    return np.asarray(jax.random.key_data(x)) if array is None else array


def _of_stats(true: Stats, found: Stats) -> Error:
    if true.shape != found.shape or (true.nans, true.infs) != (found.nans, found.infs):
        return Error(bad=1)
    count = max(math.prod(true.shape), 1)
    far = [abs(found.norm - true.norm), abs(found.mean - true.mean) * math.sqrt(count)]
    ends = [abs(found.min - true.min), abs(found.max - true.max)]
    finite = [x for x in ends if math.isfinite(x)]
    top = max(abs(true.min), abs(true.max))
    return Error(max([*far, *finite]), max(finite, default=0.0), true.norm, top, 0)


def draws(run: Callable[[Move], Any], eps: float) -> Iterator[Any]:
    """Yield what comes out as all that goes in moves by some units in the last place, at random.

    Args:
      run: takes what moves an array: each of its elements by itself, or (``each=False``) all alike.
      eps: one unit in the last place, relative.
    """
    draw = np.random.default_rng(0)

    def move(x: Any, each: bool = True) -> Any:
        if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        array = _plain(x)
        steps = (1 + _STEPS * eps * np.array([-1, 1])).astype(np.result_type(array, np.float32))
        signs = draw.integers(0, 2, array.shape if each else (), dtype=np.int8)
        with np.errstate(all="ignore"):
            return (array * steps.take(signs)).astype(np.asarray(x).dtype)

    return (run(move) for _ in range(_DRAWS))


def condition(far: Iterable[Error]) -> tuple[float, float]:
    """Return how far what `draws` yields is from what was not moved, of one unit in the last place.

    The norm of the change, and its largest element.
    """
    norms, mosts = zip(*((x.norm, x.most) for x in far), strict=True)
    return max(norms) / _STEPS, max(mosts) / _STEPS
