"""Two records of which nothing can run again: what agrees, and the first that does not."""

import math

import jax.numpy as jnp

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.rows import Row, row
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["totals"]
__dir__ = __all__.copy

_UNITS = 64.0  # in the last place: there is no condition to be found


def totals(first: Record, second: Record, pairing: Pairing) -> list[Row]:
    """Return a row for each array that differs.

    An operator parts where its inputs agree and its result does not; of the others the own error is
    not known.
    """
    errors = {
        slot: between(first.value(given.slot), second.value(slot)).relative
        for slot, given in pairing.slots.items()
    }
    rows = []
    for node in second.nodes:
        slots = [s for k in range(len(node.avals)) if (s := Slot(node.index, k)) in errors]
        worst = max((errors[slot] for slot in slots), default=0.0)
        if not worst:
            continue
        allowed = _allowed(node)
        clean = all(errors.get(slot, 0.0) <= allowed for slot in node.inputs)
        errs = {"own": worst, "inherited": 0.0} if clean else {"own": math.nan, "inherited": worst}
        other = first.nodes[pairing.slots[slots[0]].slot.node]
        parts = clean and worst > allowed
        rows.append(row(node, other, phase="forward", tolerance=allowed, parts=parts, **errs))
    return rows


def _allowed(node: Entry) -> float:
    dtype = node.avals[0].dtype
    if not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    largest = max((math.prod(aval.shape) for aval in node.avals), default=1)
    return _UNITS * float(jnp.finfo(dtype).eps) * math.sqrt(math.log2(largest + 2))
