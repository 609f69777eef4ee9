"""The elements of a record's arrays: which are not finite, and how to show one."""

from typing import Any

import numpy as np

from chainrule.xray.stats import Stats

__all__ = ["Bad", "element_at", "fits", "numbers", "plain", "text"]
__dir__ = __all__.copy


_BOOL = np.dtype(bool)


class Bad:
    """NaN and Inf of an array, found once."""

    def __init__(self, x: Any) -> None:
        self.array: Any = None
        if x is None:
            self.nan = self.inf = np.False_
        elif isinstance(x, Stats):
            self.nan, self.inf = np.bool_(x.nans > 0), np.bool_(x.infs > 0)
        else:
            self.array = numbers(x)
            finite = self.array is None or np.isfinite(self.array).all()
            self.nan = np.bool_(not finite and np.isnan(self.array).any())
            self.inf = np.bool_(not finite and np.isinf(self.array).any())

    def __bool__(self) -> bool:
        return bool(self.nan or self.inf)


def numbers(x: Any) -> np.ndarray | None:
    """Return the array as NumPy knows it, floats unknown to it widened; None for keys."""
    return plain(x) if isinstance(getattr(x, "dtype", _BOOL), np.dtype) else None


def plain(x: Any) -> np.ndarray:
    """Return an array of numbers as NumPy knows it, floats unknown to it widened."""
    array = np.asarray(x)
    return array if array.dtype.kind in "fcbiu" else array.astype(np.float32)


def element_at(x: Any, shape: tuple[int, ...], index: tuple[int, ...]) -> Any:
    """Return the element that belongs to a place of another array, None if there is none."""
    if x is None or isinstance(x, Stats):
        return None
    array = numbers(x)
    if array is None:
        return None
    if array.ndim == 0:
        return array[()]
    if not fits(array.shape, shape) or len(index) != array.ndim:
        return None
    return array[tuple(0 if n == 1 else i for i, n in zip(index, array.shape, strict=True))]


def fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Tell whether an array broadcasts to a shape as operators do it: same rank, or a scalar."""
    same = len(shape) == len(whole) and all(m in (1, n) for m, n in zip(shape, whole, strict=True))
    return same or shape == ()


def text(x: Any, element: Any) -> str:
    """Return an element as text, or the array where no one element belongs to the place."""
    if element is not None:
        return f"{element:.6g}" if np.ndim(element) == 0 else str(element)
    if isinstance(x, Stats):
        return (
            f"{x.dtype}{list(x.shape)} from {x.min:.4g} to {x.max:.4g}, {x.nans} NaN, {x.infs} Inf"
        )
    array = numbers(x)
    if array is None:
        return "key"
    if array.size <= 6:
        return np.array2string(array, precision=4, separator=", ").replace("\n", "")
    with np.errstate(all="ignore"):
        return f"{array.dtype}{list(array.shape)} from {array.min():.4g} to {array.max():.4g}"
