"""Arguments on which programs break: zeros, equal rows, constant columns, ends of ranges, masks."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from chainrule.xray.auditing.candidates import reach
from chainrule.xray.auditing.ranges import Range
from chainrule.xray.record import Entry, Record

__all__ = ["Input", "said", "variants"]
__dir__ = __all__.copy


class Input(NamedTuple):
    """Other numbers for some of the arguments.

    Attributes:
      text: what they are, in words.
      arrays: by the numbers of the arguments.
    """

    text: str
    arrays: Mapping[int, Any]


def said(x: float) -> str:
    """Return a number as a program writes it."""
    return f"{x:.6g}"


def variants(
    record: Record,
    numbers: Collection[int],
    values: Collection[float],
    perhaps: Collection[float] = (),
) -> Iterator[Input]:
    """Yield other arguments, the smallest changes first, within the widened range of each array.

    Args:
      record: the record.
      numbers: the arguments that may change.
      values: numbers that an operator cannot take.
      perhaps: numbers that may become one of these on the way.
    """
    nodes = [record.nodes[k] for k in sorted(numbers)]
    nodes = [n for n in nodes if _is_number(n) and np.size(n.value)]
    room = {n.index: reach(record, n) for n in nodes}
    floats = [n for n in nodes if jnp.issubdtype(n.avals[0].dtype, jnp.floating)]
    others = [n for n in nodes if n not in floats]
    for node in others:
        yield from _of_integers(node, room[node.index])
    for value in sorted({0.0, *values}, key=abs):
        for node in floats:
            if room[node.index].low <= value <= room[node.index].high:
                yield from _filled(node, value)
    for node in floats:
        yield from _equal(node)
    for k, node in enumerate(floats):
        for other in floats[k + 1 :]:
            if np.shape(other.value) == np.shape(node.value):
                yield from _pairs(node, other, room[other.index])
    zero = [n for n in floats if room[n.index].low <= 0 <= room[n.index].high]
    if len(zero) > 1:
        names = ", ".join(n.label for n in zero)
        yield Input(f"{names} = 0", {n.index: _like(n, np.zeros(np.shape(n.value))) for n in zero})
    for node in floats:
        for value in room[node.index].low, room[node.index].high, *sorted(perhaps, key=abs):
            if np.isfinite(value) and room[node.index].low <= value <= room[node.index].high:
                full = _like(node, np.full(np.shape(node.value), value))
                yield Input(f"{_all(node)} = {said(value)}", {node.index: full})


def _is_number(node: Entry) -> bool:
    dtype = node.avals[0].dtype
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def _like(node: Entry, x: Any) -> Any:
    return jnp.asarray(x, node.avals[0].dtype)


def _all(node: Entry) -> str:
    return f"every element of {node.label}" if np.size(node.value) > 1 else node.label


def _of_integers(node: Entry, room: Range) -> Iterator[Input]:
    x = np.asarray(node.value)
    for value in dict.fromkeys((0, room.high, room.low)):
        if not room.low <= value <= room.high or not np.isfinite(value):
            continue
        number = bool(value) if x.dtype == bool else int(value)
        if x.ndim:
            first = x.copy()
            first[0] = number
            part = f"{node.label}[0]" if x.ndim == 1 else f"every element of {node.label}[0]"
            yield Input(f"{part} = {number}", {node.index: _like(node, first)})
        full = np.full(x.shape, number)
        yield Input(f"{_all(node)} = {number}", {node.index: _like(node, full)})


def _filled(node: Entry, value: float) -> Iterator[Input]:
    x = np.asarray(node.value, np.float64)
    if x.ndim:
        first = x.copy()
        first.flat[0] = value
        index = ", ".join("0" for _ in x.shape)
        yield Input(f"{node.label}[{index}] = {said(value)}", {node.index: _like(node, first)})
    if x.ndim > 1:
        row = x.copy()
        row[0] = value
        text = f"every element of {node.label}[0] = {said(value)}"
        yield Input(text, {node.index: _like(node, row)})
        column = x.copy()
        column[..., 0] = value
        text = f"every element of {node.label}[..., 0] = {said(value)}"
        yield Input(text, {node.index: _like(node, column)})
    full = np.full(x.shape, value)
    yield Input(f"{_all(node)} = {said(value)}", {node.index: _like(node, full)})


def _equal(node: Entry) -> Iterator[Input]:
    x = np.asarray(node.value)
    if x.ndim and len(x) > 1:
        pair = x.copy()
        pair[1] = pair[0]
        yield Input(f"{node.label}[1] = {node.label}[0]", {node.index: _like(node, pair)})
    if x.ndim > 1:
        rows = np.broadcast_to(x[:1], x.shape)
        text = f"every row of {node.label} = its first row"
        yield Input(text, {node.index: _like(node, rows)})
        constant = np.broadcast_to(x[..., :1], x.shape)
        text = f"every row of {node.label} constant, as its first element"
        yield Input(text, {node.index: _like(node, constant)})
    if x.ndim > 1 and x.shape[-1] == x.shape[-2]:
        unit = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
        yield Input(f"{node.label} = the unit matrix", {node.index: _like(node, unit)})
    if x.size > 1:
        full = np.full(x.shape, x.flat[0])
        text = f"every element of {node.label} = {said(float(x.flat[0]))}"
        yield Input(text, {node.index: _like(node, full)})


def _pairs(node: Entry, other: Entry, room: Range) -> Iterator[Input]:
    a, b = np.asarray(node.value), np.asarray(other.value)
    if not (a.size and room.low <= a.min() and a.max() <= room.high):
        return
    if a.ndim > 1:
        row = b.copy()
        row[0] = a[0]
        yield Input(f"{other.label}[0] = {node.label}[0]", {other.index: _like(other, row)})
    yield Input(f"{other.label} = {node.label}", {other.index: _like(other, a)})
