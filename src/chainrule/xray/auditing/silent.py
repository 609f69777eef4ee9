"""What goes wrong without a NaN: integers that overflow, indices out of range."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray.auditing.candidates import Candidate
from chainrule.xray.auditing.findings import Reached, Trap
from chainrule.xray.auditing.inputs import Input
from chainrule.xray.bodies import ClosedError
from chainrule.xray.evidence import EXACT
from chainrule.xray.inside import at_step, enter
from chainrule.xray.record import Entry, Record

__all__ = ["silent"]
__dir__ = __all__.copy

_STEPS = 8  # of a loop, at which integers are looked at


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
        whys = []
        if one.kind in ("overflow", "index"):
            whys = [(node, _why(node, record.taken(node)))]
        elif one.kind == "integers":
            whys = list(_inside(record, node))
        for where, why in whys:
            if why:
                arrays = {record.nodes[k].label: x for k, x in given.arrays.items()}
                within = where.within if where.within != where.line else ""
                within = within or (node.line if where is not node else "")
                yield Trap(where.op, where.line, within, why, reached, given.text, arrays)


def _inside(record: Record, node: Entry) -> Iterator[tuple[Entry, str]]:
    """Yield what goes wrong in a loop or a branch, at some of its steps."""
    with contextlib.suppress(ClosedError):
        inner = enter(record, node)
        for one in inner.nodes:
            if one.op in EXACT or one.op in ("gather", "dynamic_slice"):
                steps = [None] if inner.steps is None else range(min(inner.steps, _STEPS))
                for step in steps:
                    there, taken = one, inner.taken(one)
                    if step is not None:
                        there, taken = at_step(inner, one, taken, step)
                    if why := _why(there, taken):
                        yield one, why
                        break


def _why(node: Entry, taken: Sequence[Any]) -> str:
    """Return what is wrong with an integer operator, or with an index; "" if nothing is."""
    if node.op in ("gather", "dynamic_slice"):
        return _out_of_range(node, taken)
    dtype = node.avals[0].dtype
    exact = EXACT.get(node.op)
    if exact is None or not jnp.issubdtype(dtype, jnp.signedinteger):
        return ""
    with np.errstate(all="ignore"):
        true = np.asarray(exact(node, *(np.asarray(x, np.float64) for x in taken)))
    got = np.asarray(node.values[0])
    wrong = np.abs(true - got) > jnp.iinfo(dtype).max
    if not wrong.any():
        return ""
    first = tuple(np.argwhere(wrong)[0])
    return f"{true[first]:.0f} does not fit {dtype} and becomes {got[first]}"


def _out_of_range(node: Entry, taken: Sequence[Any]) -> str:
    """Return which index lies outside of its axis, and what is read instead; "" if none does."""
    if node.op == "gather" and "CLIP" in str(node.equation.params["mode"]):
        return ""
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
