"""Backward through what has no operator of its own in the first program: array by array."""

import collections
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule.xray.compare.errors import Error, Move, between, condition, draws
from chainrule.xray.compare.keys import transparent
from chainrule.xray.compare.near import NEAR
from chainrule.xray.compare.rows import Row, row
from chainrule.xray.compare.sweep import Sweep
from chainrule.xray.graph import Graph, Slot, differentiable

__all__ = ["lead", "shares"]
__dir__ = __all__.copy

_DIFFERS = 10 * NEAR
_NO_DERIVATIVE = (NotImplementedError, ValueError, TypeError)


class _Shares(NamedTuple):
    """What operators without one counterpart add to the gradients of arrays, all together.

    Attributes:
      some: their numbers.
      reads: the arrays, of the first program.
      gs: the first's gradients of what they make.
      wrt: of each operator the inputs through which it hands gradients on.
    """

    some: list[int]
    reads: dict[Slot, Any]
    gs: dict[Slot, Any]
    wrt: dict[int, list[int]]


def shares(sweep: Sweep, eps: float, factor: float) -> Iterator[Row]:
    """Yield a row for each array whose gradient is shared out by operators without a counterpart.

    They get the first program's gradients of what they make, and the first's arrays; what they add
    to the gradient of an array is compared with what the rest of the first's operators adds.

    Args:
      sweep: the two programs.
      eps: one unit in the last place, relative.
      factor: how many units an honest error may be of a sum of one term.
    """
    if (asked := _asked(sweep)) is None:
        return
    try:
        found = _run(sweep, asked)
    except _NO_DERIVATIVE:  # a loop that JAX cannot go back through, say
        return

    def errors(move: Move) -> dict[Slot, Error]:
        return {slot: between(found[slot], x) for slot, x in _run(sweep, asked, move).items()}

    moved = functools.cache(lambda: list(draws(errors, eps)))
    for slot, array in found.items():
        true, whole = _true(sweep, slot)
        error, scale = between(true, array), between(np.zeros_like(whole), whole)
        if not (error.norm or error.bad):
            continue
        some = (u.node for u in sweep.second.readers[slot] if u.node in asked.wrt)
        node = sweep.second.nodes[next(some)]
        units = factor * math.sqrt(max((n for aval in node.avals for n in aval.shape), default=1))
        norm, most = units * eps * scale.norm, units * eps * scale.most
        if error.norm > norm or error.most > most:
            far = condition(one[slot] for one in moved())
            norm, most = max(norm, units * far[0]), max(most, units * far[1])
        given = sweep.pairing.slots.get(Slot(node.index, 0))
        other = None if given is None else sweep.first.nodes[given.slot.node]
        yield row(
            node,
            other,
            phase="backward",
            own=error._replace(scale=scale.norm).relative,
            tolerance=norm / scale.norm if scale.norm else math.inf,
            parts=bool(error.bad) or error.norm > norm or error.most > most,
            sure=node.index not in sweep.pairing.weak,
        )


def lead(sweep: Sweep) -> Row | None:
    """Return the row of the last operator behind which gradients agree, and nowhere before it.

    It is a guess: the two may share out a gradient in other ways.
    """
    second, slots = sweep.second, sweep.pairing.slots
    count = collections.Counter((given.slots, given.piece) for given in slots.values())

    @functools.cache
    def off(slot: Slot) -> float:
        given, mine = slots.get(slot), second.nodes[slot.node].cotangents[slot.output]
        if given is None or mine is None or count[given.slots, given.piece] > 1:
            return math.nan
        true = _cotangent(sweep, slot)
        return math.nan if true is None else between(true, mine).relative

    @functools.cache
    def agrees(index: int) -> bool:
        """Tell whether a gradient agrees of what a node makes, or of what that is made of."""
        slots = [Slot(index, k) for k in range(len(second.nodes[index].avals))]
        return any(off(s) <= NEAR for s in slots) or any(map(agrees, before(index)))

    def origin(slot: Slot) -> Slot:
        """Return what an array is that is only laid out otherwise for its one reader."""
        while slot not in slots and len(second.readers[slot]) == 1:
            if not transparent(node := second.nodes[slot.node]):
                break
            slot = node.inputs[0]
        return slot

    def before(index: int) -> set[int]:
        return {slot.node for slot in second.nodes[index].inputs}

    for index in range(len(second.nodes)):  # so that no call of `agrees` goes deep
        agrees(index)
    for node in reversed(second.nodes):
        here = any(off(Slot(node.index, k)) <= NEAR for k in range(len(node.avals)))
        for slot in map(origin, node.inputs) if here else ():
            if len(second.readers[slot]) == 1 and off(slot) > _DIFFERS and not agrees(slot.node):
                return row(node, None, phase="backward", own=off(slot), parts=True, sure=False)
    return None


def _asked(sweep: Sweep) -> _Shares | None:
    """Return what shares out gradients, None where nothing does, or otherwise than in the first."""
    first, second, slots = sweep.first, sweep.second, sweep.pairing.slots
    some = [i for i in sorted(sweep.able) if i not in sweep.pairing.nodes]
    if not some or not first.wanted or sweep.steps is not None:
        return None
    inputs = dict.fromkeys(s for i in some for s in second.nodes[i].inputs if s in slots)
    reads = {
        s: sweep.taken(s) for s in inputs if _is_float(second, s) and _true(sweep, s) is not None
    }
    made = [Slot(i, k) for i in some for k in range(len(second.nodes[i].avals))]
    gs = {s: g for s in made if s in slots and (g := _cotangent(sweep, s)) is not None}
    if not reads or not gs or {s for slot in reads for s in slots[slot].slots} != _read(sweep):
        return None  # the two share out a gradient otherwise, and its parts are not the same
    flowing, wrt = set(reads), {}
    for i in some:
        node = second.nodes[i]
        wrt[i] = [k for k, s in enumerate(node.inputs) if s in flowing and _is_float(second, s)]
        outputs = (Slot(i, k) for k in range(len(node.avals)) if wrt[i])
        flowing |= {s for s in outputs if s not in slots}
    return _Shares(some, reads, gs, wrt)


def _run(sweep: Sweep, asked: _Shares, move: Move | None = None) -> dict[Slot, Any]:
    """Return what is added to the gradient of each array, where all that is taken is moved."""
    nodes, gradients, values = sweep.second.nodes, dict(asked.gs), {}
    if move is not None:
        values = {s: move(x) for s, x in asked.reads.items()}
        gradients = {s: move(g) for s, g in asked.gs.items()}

    slots = sweep.pairing.slots
    for i in asked.some:
        made = {Slot(i, k): y for k, y in enumerate(sweep.make(i, values))}
        values |= {s: y for s, y in made.items() if s not in slots}
    parts = sweep.operators.pull(
        asked.some, lambda s: sweep.value(s, values), asked.wrt.__getitem__, gradients, slots
    )
    found = {s: np.zeros(np.shape(x), x.dtype) for s, x in asked.reads.items()}
    for (i, k), part in parts.items():
        if (slot := nodes[i].inputs[k]) in found:
            found[slot] = found[slot] + np.asarray(part)
    return found


def _is_float(graph: Graph, slot: Slot) -> bool:
    return differentiable(graph.nodes[slot.node].avals[slot.output])


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
