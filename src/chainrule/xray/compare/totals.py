"""Two records of which nothing can run again: what agrees, and the first that does not."""

import math
from typing import Any

import jax.numpy as jnp

from chainrule.xray.compare.errors import Error, between, of_stats
from chainrule.xray.compare.rows import Row
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.graph import Slot
from chainrule.xray.record import Record
from chainrule.xray.stats import Stats, stats

__all__ = ["totals"]
__dir__ = __all__.copy

_UNITS = 64.0  # in the last place: there is no condition to be found


def totals(first: Record, second: Record, pairing: Pairing) -> tuple[list[Row], dict[str, float]]:
    """Return a row for each array that differs, and the errors of results and gradients.

    An operator parts where its inputs agree and its result does not; of the others the own error is
    not known.
    """
    errors = {
        slot: _error(first.value(given.slot), second.value(slot))
        for slot, given in pairing.slots.items()
    }
    rows = []
    for node in second.nodes:
        slots = [
            Slot(node.index, k) for k in range(len(node.avals)) if Slot(node.index, k) in errors
        ]
        worst = max((errors[slot].relative for slot in slots), default=0.0)
        if not worst:
            continue
        allowed = _allowed(node)
        came = [errors[slot].relative for slot in node.inputs if slot in errors]
        clean = all(error <= allowed for error in came)
        other = first.nodes[pairing.slots[slots[0]].slot.node]
        rows.append(
            Row(
                node=node.index, label=node.label, op=node.op, line=node.line, other=other.label,
                other_line=other.line, phase="forward", own=worst if clean else math.nan,
                inherited=0.0 if clean else worst, tolerance=allowed,
                parts=clean and worst > allowed,
            )
        )  # fmt: skip
    results = {}
    for k, (x, y) in enumerate(zip(first.outputs, second.outputs, strict=False)):
        name = "the result" if len(second.outputs) == 1 else f"result {k}"
        results[name] = _error(first.value(x), second.value(y)).relative
    for node in second.nodes:
        given = pairing.slots.get(Slot(node.index, 0))
        if node.is_argument and given is not None and node.cotangent is not None:
            g = first.nodes[given.slot.node].cotangent
            if g is not None:
                results[f"the gradient of {node.label}"] = _error(g, node.cotangent).relative
    return rows, results


def _allowed(node: Any) -> float:
    dtype = node.avals[0].dtype
    if not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    largest = max((math.prod(aval.shape) for aval in node.avals), default=1)
    return _UNITS * float(jnp.finfo(dtype).eps) * math.sqrt(math.log2(largest + 2))


def _error(true: Any, found: Any) -> Error:
    if true is None or found is None:  # random keys, of which there are no statistics
        return Error()
    if isinstance(true, Stats) or isinstance(found, Stats):
        return of_stats(_stats(true), _stats(found))
    return between(true, found)


def _stats(x: Any) -> Stats:
    return x if isinstance(x, Stats) else stats(x)
