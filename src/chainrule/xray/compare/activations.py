"""Arrays by name, from another library say, laid beside a program that should compute them."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from chainrule._files import printable
from chainrule.xray.compare.errors import between
from chainrule.xray.compare.given import Given
from chainrule.xray.compare.keys import transparent
from chainrule.xray.compare.near import order, orders, shuffled
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record, Trees

__all__ = ["match", "of_arrays"]
__dir__ = __all__.copy


def of_arrays(arrays: Mapping[str, Any]) -> Record:
    """Return arrays by name as a record of operators that take nothing.

    Raises:
      ValueError: something is no array of numbers.
    """
    nodes: list[Entry] = []
    for name, x in arrays.items():
        array = np.asarray(x)
        if array.dtype.hasobject or array.dtype.kind in "USM":
            raise ValueError(
                f"activation {printable(name)!r} is no array of numbers: {array.dtype}"
            )
        aval = jax.ShapeDtypeStruct(array.shape, array.dtype)
        nodes.append(
            Entry(
                kind="operator", op="activation", name=printable(name), avals=(aval,),
                index=len(nodes), values=(array,), cotangents=(None,), contributions=(),
            )
        )  # fmt: skip
    empty = jax.tree.structure(())
    return Record(
        function="activations", nodes=tuple(nodes), outputs=(), starts=(), wanted=(),
        trees=Trees((), empty), keep="values", compiled=True,
    )  # fmt: skip


def match(first: Record, second: Record) -> Pairing:
    """Return which arrays of a program the given ones are: by value, then by shape and order."""
    slots: dict[Slot, Given] = {}
    notes: list[str] = []
    lost: list[Entry] = []
    for a in first.nodes:
        near = [(b, axes) for b, axes in _near(a, second) if Slot(b.index, 0) not in slots]
        if near:
            b, axes = next((one for one in near if not transparent(one[0])), near[0])
            slots[Slot(b.index, 0)] = Given(Slot(a.index, 0), axes)
            if axes is not None:
                notes.append(f"{b.label} is {a.label} with its axes in the order {axes}")
        else:
            lost.append(a)
    weak = set()
    for a in lost:
        if (other := _shuffled(a, second)) is not None:
            notes.append(f"{other.label} holds the elements of {a.label} in another order")
        elif (found := _likely(a, first, second, slots)) is not None:
            b, axes = found
            slots[Slot(b.index, 0)] = Given(Slot(a.index, 0), axes)
            weak.add(b.index)
    return Pairing(slots, {}, frozenset(weak), tuple(notes))


def _operators(second: Record) -> Iterator[Entry]:
    return (b for b in second.nodes if b.kind == "operator" and len(b.values) > 0)


def _near(a: Entry, second: Record) -> Iterator[tuple[Entry, Any]]:
    for b in _operators(second):
        axes = order(a.value, b.value)
        if axes is not False:
            yield b, axes


def _shuffled(a: Entry, second: Record) -> Entry | None:
    """Return what holds the same elements in another order."""
    others = _operators(second) if np.size(a.value) >= 8 else ()
    return next((b for b in others if shuffled(a.value, b.value)), None)


def _likely(
    a: Entry, first: Record, second: Record, slots: Mapping[Slot, Given]
) -> tuple[Entry, Any] | None:
    """Return the operator of that shape between its neighbours whose result is the nearest."""
    places = {given.slot.node: slot.node for slot, given in slots.items()}
    known = [places[k] for k in sorted(places)]
    in_order = known == sorted(known)
    low = max((places[k] for k in places if k < a.index), default=-1) if in_order else -1
    high = min((places[k] for k in places if k > a.index), default=len(second.nodes))
    high = high if in_order else len(second.nodes)
    best: tuple[float, Entry, Any] | None = None
    for b in _operators(second):
        if not low < b.index < high or Slot(b.index, 0) in slots:
            continue
        for axes in orders(tuple(a.avals[0].shape), tuple(b.avals[0].shape)):
            x = a.value if axes is None else np.transpose(a.value, axes)
            error = between(np.reshape(x, b.avals[0].shape), b.value).relative
            if best is None or error < 0.999 * best[0]:
                best = error, b, axes
    return None if best is None else best[1:]
