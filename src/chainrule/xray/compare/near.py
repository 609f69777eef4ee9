"""Arrays that are nearly the same, in whatever layout."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.given import Given, Piece
from chainrule.xray.compare.keys import transparent
from chainrule.xray.elements import numbers
from chainrule.xray.graph import Slot
from chainrule.xray.record import Record
from chainrule.xray.stats import Stats, stats

__all__ = ["NEAR", "Values", "floats", "is_exchanged", "order", "orders", "shuffled", "sizes"]
__dir__ = __all__.copy

NEAR = 1e-4
"""The relative error of arrays that are taken to be the same, if little else is asked of them."""

_ANY = 1e-5  # of what may be any array: ``x + 1e-5`` is not ``x``
_COPY = 2e-7  # of an argument
_COUNTS = (2, 3, 4)  # into how many equal parts an array may be cut
_MOST = 2**22  # elements of an array that is cut

_Print = tuple[tuple[int, ...], tuple[float, ...]]
_Known = tuple[Slot, Piece | None, tuple[float, ...]]


class Values:
    """The arrays of a record, to be found by their numbers, in whatever layout."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._known: dict[tuple[bool, tuple[int, ...]], list[_Known]] = {}

    def _slots(self) -> Iterator[Slot]:
        for node in self.record.nodes:
            if node.values and (
                node.is_argument or (node.kind == "operator" and not transparent(node))
            ):
                yield from (Slot(node.index, k) for k in range(len(node.values)))

    def find(self, x: Any) -> list[tuple[float, Given]]:
        """Return what is nearly an array, with the error, nearest first.

        That may be arrays one after the other, or a part of one, where nothing is all of it.
        """
        return self._near(x) or self._several(x) or self._near(x, cut=True)

    def turned(self, x: Any) -> list[tuple[float, Given]]:
        """Return what has nearly an array's numbers, but another sign or axes exchanged."""
        if (array := floats(x)) is None:
            return []
        found = self._near(-array)
        rows = [(error, given._replace(negative=True)) for error, given in found]
        return rows or self._near(x, exchanged=True)

    def _near(
        self, x: Any, cut: bool = False, exchanged: bool = False
    ) -> list[tuple[float, Given]]:
        if (found := _print(x)) is None:
            return []
        shape, about = found
        rows = []
        for slot, piece, other in self._of(shape, cut):
            if all(abs(p - q) <= 4 * _ANY * about[0] for p, q in zip(about, other, strict=True)):
                true = np.asarray(numbers(self.record.value(slot)))
                if piece is not None:
                    true = np.split(true, piece.parts, piece.axis)[piece.number]
                copy = self.record.nodes[slot.node].is_argument
                axes = order(true, x, _COPY if copy else _ANY)
                if axes is not False and exchanged == is_exchanged(axes, true, x):
                    turned = true if axes is None else np.transpose(true, axes)
                    error = between(turned.reshape(np.shape(x)), x).relative
                    rows.append((error, Given(slot, axes, piece=piece)))
        return sorted(rows, key=lambda row: row[0])

    def _several(self, x: Any) -> list[tuple[float, Given]]:
        """Return arrays that make this one, one after the other along an axis."""
        if (array := floats(x)) is None:
            return []
        for axis, count in _cuts(array.shape):
            rows: list[list[tuple[float, Given]]] = []
            for part in np.split(array, count, axis):
                near = self._near(part)
                if rows:
                    near = [one for one in near if one[1].axes == rows[0][0][1].axes]
                if not near:
                    break
                rows.append(near)
            found = [row[0] for row in rows]
            slots = [given.slot for _, given in found]
            if len(found) == count and len(set(slots)) == count:
                given = Given(slots[0], found[0][1].axes, tuple(slots[1:]), axis)
                return [(max(error for error, _ in found), given)]
        return []

    def _of(self, shape: tuple[int, ...], cut: bool) -> list[_Known]:
        """Return the arrays of a shape in any layout, or the parts of arrays that are of it."""
        if (cut, shape) not in self._known:
            rows = (
                self._parts(slot, shape) if cut else self._one(slot, shape)
                for slot in self._slots()
            )
            self._known[cut, shape] = [row for found in rows for row in found]
        return self._known[cut, shape]

    def _one(self, slot: Slot, shape: tuple[int, ...]) -> Iterator[_Known]:
        x = self.record.value(slot)
        if sizes(np.shape(x)) == shape and (found := _print(x)) is not None:
            yield slot, None, found[1]

    def _parts(self, slot: Slot, shape: tuple[int, ...]) -> Iterator[_Known]:
        x = self.record.value(slot)
        whole = np.shape(x)
        for axis, count in _cuts(whole) if math.prod(whole) <= _MOST else ():
            part = (*whole[:axis], whole[axis] // count, *whole[axis + 1 :])
            if sizes(part) != shape or math.prod(part) < 2 or (array := numbers(x)) is None:
                continue
            for k, piece in enumerate(np.split(array, count, axis)):
                if (found := _print(piece)) is not None:
                    yield slot, Piece(axis, k, count), found[1]


def floats(x: Any) -> np.ndarray | None:
    """Return an array of floats as NumPy knows it, None of all else."""
    array = None if x is None or isinstance(x, Stats) else numbers(x)
    return array if array is not None and array.dtype.kind == "f" else None


def _cuts(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    for axis, size in enumerate(shape):
        yield from ((axis, count) for count in _COUNTS if size % count == 0 and size)


def sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return what does not depend on the order of axes, nor on axes of length 1."""
    return tuple(sorted(n for n in shape if n != 1))


def _print(x: Any) -> _Print | None:
    """Return what does not depend on the order of axes, None of an array that says too little."""
    if (array := floats(x)) is None or not array.size:
        return None
    about = stats(array)
    plain = about.min == about.max and (array.size > 1 or float(64 * about.min).is_integer())
    if about.nans or about.infs or plain:
        return None
    size = about.norm / math.sqrt(array.size)
    return sizes(array.shape), (size, about.mean, about.min, about.max)


def order(true: Any, found: Any, near: float = NEAR) -> Any:
    """Return in which order of axes one array is nearly another: None as it is, False in none."""
    a, b = numbers(true), numbers(found)
    if a is None or b is None or a.size != b.size:
        return False
    for axes in orders(a.shape, b.shape):
        turned = a if axes is None else a.transpose(axes)
        if between(turned.reshape(b.shape), b).relative <= near:
            return axes
    return False


def shuffled(true: Any, found: Any) -> bool:
    """Tell whether two arrays hold nearly the same elements, in any order."""
    a, b = floats(true), floats(found)
    if a is None or b is None or a.size != b.size:
        return False
    return between(np.sort(a, axis=None), np.sort(b, axis=None)).relative <= NEAR


def is_exchanged(axes: Any, true: Any, found: Any) -> bool:
    """Tell whether axes are in another order though the shapes are the same: it may be wrong."""
    return axes is not None and np.shape(true) == np.shape(found)


def orders(one: tuple[int, ...], two: tuple[int, ...]) -> Iterator[tuple[int, ...] | None]:
    """Yield the orders of axes in which an array of one shape has another: None as it is first."""
    if one == two or [n for n in one if n != 1] == [n for n in two if n != 1]:
        yield None
    plain = tuple(range(len(one)))
    if len(one) == len(two) <= 5:
        for axes in itertools.permutations(plain):
            if axes != plain and tuple(one[k] for k in axes) == two:
                yield axes
