"""Backward through what has no operator of its own in the first program: array by array."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.compare.errors import DRAWS, STEPS, Error, between, moved
from chainrule.xray.compare.rows import Row
from chainrule.xray.compare.sweep import Sweep
from chainrule.xray.graph import Slot, differentiable

__all__ = ["shares"]
__dir__ = __all__.copy

_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError)


class _Share(NamedTuple):
    """What operators without one counterpart each add to the gradient of an array.

    Attributes:
      node: the first of them that reads the array.
      error: of their share, relative to the whole gradient.
      spread: how far it moves as everything they take moves by a unit in the last place.
    """

    node: int
    error: Error
    spread: Error


def shares(sweep: Sweep, eps: float, factor: float) -> Iterator[Row]:
    """Yield a row for each array whose gradient is shared out by operators without a counterpart.

    Args:
      sweep: the two programs.
      eps: one unit in the last place, relative.
      factor: how many units an honest error may be of a sum of one term.
    """
    for share in _shares(sweep, eps):
        node, error = sweep.second.nodes[share.node], share.error
        units = factor * math.sqrt(max((n for aval in node.avals for n in aval.shape), default=1))
        norm = units * max(share.spread.norm, eps * error.scale)
        most = units * max(share.spread.most, eps * error.top)
        given = sweep.pairing.slots.get(Slot(node.index, 0))
        other = None if given is None else sweep.first.nodes[given.slot.node]
        if error.norm or error.bad:
            yield Row(
                node=node.index,
                label=node.label,
                op=node.op,
                line=node.line,
                other="" if other is None else other.label,
                other_line="" if other is None else other.line,
                phase="backward",
                own=error.relative,
                tolerance=norm / error.scale if error.scale else math.inf,
                parts=bool(error.bad) or error.norm > norm or error.most > most,
                sure=node.index not in sweep.pairing.weak,
            )


def _shares(sweep: Sweep, eps: float) -> Iterator[_Share]:
    """Yield the gradients that operators hand back which take other arrays than their counterpart.

    They get the first program's gradients of what they make, and the first's arrays; what they add
    to the gradient of an array is compared with what the rest of the first's operators adds.

    Args:
      sweep: the two programs.
      eps: one unit in the last place, relative.
    """
    first, second, pairing = sweep.first, sweep.second, sweep.pairing
    some = [i for i in sorted(sweep.able) if i not in pairing.nodes]
    if not some or not first.wanted or sweep.steps is not None:
        return
    inputs = sweep.gather(some)
    reads = {
        slot: x
        for slot, x in inputs.items()
        if slot in pairing.slots
        and differentiable(second.nodes[slot.node].avals[slot.output])
        and _true(sweep, slot) is not None
    }
    made = [Slot(i, k) for i in some for k in range(len(second.nodes[i].avals))]
    gs = {
        slot: g
        for slot in made
        if slot in pairing.slots and (g := _cotangent(sweep, slot)) is not None
    }
    if (
        not reads
        or not gs
        or {s for slot in reads for s in pairing.slots[slot].slots} != _read(sweep)
    ):
        return  # the two share out a gradient otherwise, and its parts are not the same
    rest = {slot: x for slot, x in inputs.items() if slot not in reads}

    def run(arrays: Sequence[Any], gradients: Sequence[Any]) -> Any:
        def outputs(arrays: Sequence[Any]) -> list[Any]:
            values = rest | dict(zip(reads, arrays, strict=True))
            kept: dict[Slot, Any] = {}
            for i in some:
                for k, y in enumerate(sweep.operate(i, values, {})[0]):
                    kept[Slot(i, k)] = y
            return [kept[slot] for slot in gs]

        out, pull = jax.vjp(outputs, list(arrays))
        pairs = zip(gradients, out, strict=True)
        return pull([jnp.asarray(g, y.dtype).reshape(y.shape) for g, y in pairs])[0]

    ready = sweep.way.whole(run)
    try:
        found = ready(list(reads.values()), list(gs.values()))
    except _NO_DERIVATIVE:  # a loop that JAX cannot go back through, say
        return
    draw = np.random.default_rng(0)
    draws = [
        ready(*([moved(x, STEPS * eps, draw) for x in row.values()] for row in (reads, gs)))
        for _ in range(DRAWS)
    ]
    for k, (slot, array) in enumerate(zip(reads, found, strict=True)):
        true, whole = _true(sweep, slot)
        error = between(true, array)
        scale = between(whole, whole)
        far = [between(array, one[k]) for one in draws]
        most = max(one.most for one in far) / STEPS
        spread = Error(max(one.norm for one in far) / STEPS, most)
        reader = next(u.node for u in second.readers[slot] if u.node in some)
        yield _Share(reader, error._replace(scale=scale.scale, top=scale.top), spread)


def _read(sweep: Sweep) -> set[Slot]:
    """Return the arrays with a counterpart that the first's operators without one each read."""
    known = {slot for given in sweep.pairing.slots.values() for slot in given.slots}
    direct = set(sweep.pairing.nodes.values())
    return {
        slot
        for node in sweep.first.nodes
        if node.kind == "operator" and node.index not in direct
        for slot, part in zip(node.inputs, node.contributions, strict=True)
        if slot in known and part is not None
    }


def _cotangent(sweep: Sweep, slot: Slot) -> Any:
    """Return the first's gradient of an array, in the layout of the second."""
    return sweep.pairing.slots[slot].array(_gradient(sweep), sweep.shape(slot))


def _gradient(sweep: Sweep) -> Callable[[Slot], Any]:
    return lambda slot: sweep.first.nodes[slot.node].cotangents[slot.output]


def _true(sweep: Sweep, slot: Slot) -> tuple[Any, Any] | None:
    """Return what the first's operators without one counterpart each add, and the whole gradient.

    None where that is not known, or another shape.
    """
    first, given = sweep.first, sweep.pairing.slots[slot]
    direct = set(sweep.pairing.nodes.values())

    def rest(one: Slot) -> Any:
        uses = [u for u in first.readers[one] if u.node is not None and u.node not in direct]
        g = _gradient(sweep)(one)
        if g is None or any(first.nodes[u.node].note for u in uses if u.node is not None):
            return None
        parts = [np.asarray(part) for u in uses if (part := first.contribution(u)) is not None]
        return sum(parts, np.zeros(np.shape(g), np.asarray(g).dtype))

    shape = sweep.shape(slot)
    total, whole = given.array(rest, shape), _cotangent(sweep, slot)
    if total is None or whole is None or np.shape(total) != shape:
        return None
    return total, whole
