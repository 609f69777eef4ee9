"""What goes wrong without a NaN: integers that overflow, indices out of range."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray.auditing.candidates import Candidate
from chainrule.xray.auditing.findings import Reached, Trap
from chainrule.xray.auditing.inputs import Input
from chainrule.xray.evidence import EXACT
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["silent"]
__dir__ = __all__.copy


def silent(
    record: Record, candidates: Sequence[Candidate], reached: Reached, given: Input
) -> Iterator[Trap]:
    """Yield what goes wrong in a record without a NaN.

    Args:
      record: the record of the input.
      candidates: where to look.
      reached: how the input was found.
      given: the input.
    """
    for one in candidates:
        node = record.nodes[one.node]
        why = ""
        if one.kind == "overflow":
            why = _overflow(record, node)
        elif one.kind == "index":
            why = _out_of_range(record, node)
        if why:
            arrays = {record.nodes[k].label: x for k, x in given.arrays.items()}
            within = node.within if node.within != node.line else ""
            yield Trap(node.op, node.line, within, why, reached, given.text, arrays)


def _overflow(record: Record, node: Entry) -> str:
    exact = EXACT.get(node.op)
    if exact is None:
        return ""
    dtype = node.avals[0].dtype
    with np.errstate(all="ignore"):
        true = np.asarray(exact(node, *(np.asarray(x, np.float64) for x in record.taken(node))))
    got = np.asarray(record.value(Slot(node.index, 0)))
    wrong = np.abs(true - got) > jnp.iinfo(dtype).max
    if not wrong.any():
        return ""
    first = tuple(np.argwhere(wrong)[0])
    return f"{true[first]:.0f} does not fit {dtype} and becomes {got[first]}"


def _out_of_range(record: Record, node: Entry) -> str:
    """Return which index lies outside of its axis, and what is read instead; "" if none does."""
    taken: Any = record.taken(node)
    table, sizes = np.shape(taken[0]), node.equation.params["slice_sizes"]
    if node.op == "gather":
        axes = node.equation.params["dimension_numbers"].start_index_map
        rows = [np.asarray(taken[1])[..., k] for k in range(len(axes))]
    else:
        axes, rows = range(len(table)), [np.asarray(x) for x in taken[1:]]
    for axis, row in zip(axes, rows, strict=True):
        wrong = (row < 0) | (row > table[axis] - sizes[axis])
        if wrong.any():
            index = int(row[wrong][0])
            span = f" of {sizes[axis]} elements from" if sizes[axis] > 1 else ""
            return (
                f"index out of range:{span} {index} on an axis of size {table[axis]}; "
                f"{_instead(node)}"
            )
    return ""


def _instead(node: Entry) -> str:
    if node.op == "gather" and "FILL" in str(node.equation.params["mode"]):
        return "NaN is read, or the smallest integer"
    return "another element is read without a word"
