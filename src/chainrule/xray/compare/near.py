"""Arrays that are nearly the same, in whatever order of axes."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.keys import transparent
from chainrule.xray.elements import numbers
from chainrule.xray.record import Record
from chainrule.xray.stats import Stats

__all__ = ["NEAR", "Values", "order"]
__dir__ = __all__.copy

NEAR = 1e-4
"""The relative error of arrays that are taken to be the same."""

_Key = tuple[Any, ...]


class Values:
    """The arrays of a record, to be found by their numbers, in whatever order of axes."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._known: dict[_Key, list[tuple[int, tuple[float, ...]]]] = {}
        for node in record.nodes:
            if (
                node.kind == "operator"
                and not transparent(node)
                and node.values
                and (found := _print(node.value))
            ):
                shape, about = found
                self._known.setdefault(shape, []).append((node.index, about))

    def near(self, x: Any) -> Iterator[tuple[int, tuple[int, ...] | None, float]]:
        """Yield the nodes whose value is nearly an array, the order of its axes, and the error."""
        if (found := _print(x)) is None:
            return
        shape, about = found
        for index, other in self._known.get(shape, ()):
            close = (abs(p - q) <= 4 * NEAR * about[0] for p, q in zip(about, other, strict=True))
            true = self.record.nodes[index].value
            if all(close) and (axes := order(true, x)) is not False:
                turned = np.asarray(true) if axes is None else np.transpose(np.asarray(true), axes)
                yield index, axes, between(turned.reshape(np.shape(x)), x).relative


def _print(x: Any) -> tuple[_Key, tuple[float, ...]] | None:
    """Return what does not depend on the order of axes, None of an array that says too little."""
    array = None if x is None or isinstance(x, Stats) else numbers(x)
    if array is None or array.dtype.kind != "f" or array.size < 2:
        return None
    with np.errstate(all="ignore"):
        a = array.astype(np.float64)
        size = float(np.sqrt(np.mean(a * a)))
        ends = float(a.min()), float(a.max())
    if not math.isfinite(size) or ends[0] == ends[1]:
        return None
    return tuple(sorted(n for n in array.shape if n != 1)), (size, float(a.mean()), *ends)


def order(true: Any, found: Any) -> Any:
    """Return in which order of axes one array is nearly another: None as it is, False in none."""
    a, b = numbers(true), numbers(found)
    if a is None or b is None or a.size != b.size:
        return False
    if a.shape == b.shape and between(a, b).relative <= NEAR:
        return None
    if a.ndim != b.ndim or a.ndim > 5:
        squeezed = tuple(n for n in a.shape if n != 1) == tuple(n for n in b.shape if n != 1)
        near = squeezed and between(a.reshape(b.shape), b).relative <= NEAR
        return None if near else False
    for axes in itertools.permutations(range(a.ndim)):
        fits = tuple(a.shape[k] for k in axes) == b.shape and axes != tuple(range(a.ndim))
        if fits and between(a.transpose(axes), b).relative <= NEAR:
            return axes
    return False
