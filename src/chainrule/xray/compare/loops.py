"""Loops of two programs: which belong together, and what of their bodies is the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.given import Given, Piece
from chainrule.xray.compare.near import orders
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.graph import Slot
from chainrule.xray.inside import scan_constants
from chainrule.xray.record import Entry, Record

__all__ = ["ends", "first_step", "length", "parted", "same_arguments", "states"]
__dir__ = __all__.copy


def parted(first: Record, second: Record, slots: Mapping[Slot, Given]) -> dict[int, int]:
    """Return the loops of the second program that hand on an array without a counterpart.

    Each with the loop of the first that makes what else it makes, or that takes most of what it
    takes.
    """
    found: dict[int, int] = {}
    made = {slot.node: given.slot.node for slot, given in slots.items()}
    for b in second.nodes:
        outputs = [s for k in range(len(b.avals)) if second.readers[s := Slot(b.index, k)]]
        if b.op not in ("scan", "while") or all(s in slots for s in outputs):
            continue
        loops = [a.index for a in first.nodes if a.op == b.op]
        mine = {slots[slot].slot for slot in b.inputs if slot in slots}
        free = [i for i in loops if i not in made.values()]
        shared = {i: len(mine & set(first.nodes[i].inputs)) for i in free}
        best = max(shared, key=lambda i: shared[i], default=None)
        if made.get(b.index) in loops:
            found[b.index] = made[b.index]
        elif best is not None and 2 * shared[best] > len(mine):
            found[b.index] = best
    return found


def states(
    first: Record, second: Record, pairs: Sequence[tuple[int, int]]
) -> list[dict[Slot, Given]]:
    """Return what a state may be that is one array in one program and several in the other.

    Args:
      first: the body of the first program.
      second: that of the second.
      pairs: the numbers of the arguments that are the same.

    Returns:
      One for each axis along which the shapes allow the several to be stacked; none is [{}].
    """
    rows = [
        [n for n in r.nodes if n.is_argument and n.index not in {pair[k] for pair in pairs}]
        for k, r in enumerate((first, second))
    ]
    few, many = sorted(rows, key=len)
    found: list[dict[Slot, Given]] = []
    shape = tuple(few[0].avals[0].shape) if len(few) == 1 < len(many) else ()
    for axis, size in enumerate(shape):
        part = shape[:axis] + shape[axis + 1 :]
        one, slots = (
            Slot(few[0].index, 0),
            [Slot(n.index, 0) for n in many if tuple(n.avals[0].shape) == part],
        )
        if size != len(slots):
            continue
        along = axis + (first.steps is not None)  # the steps lead
        if few is rows[1]:
            found.append({one: Given(slots[0], None, tuple(slots[1:]), along)})
        else:
            pieces = (Given(one, piece=Piece(along, k, size)) for k in range(size))
            found.append(dict(zip(slots, pieces, strict=True)))
    return found or [{}]


def ends(first: Record, second: Record, carried: Mapping[Slot, Given]) -> dict[Slot, Given]:
    """Return the results of the second program that are results of the first.

    Args:
      first: the first program, or a body.
      second: the second.
      carried: what `states` returns of them; a loop hands it on before all else.
    """
    one, two = list(first.outputs), list(second.outputs)
    found: dict[Slot, Given] = {}
    state = next(iter(carried.values()), None)
    if state is not None and len(one) == len(two) + len(state.more):
        count = len(state.slots)
        found[two[0]] = state._replace(slot=one[0], more=tuple(one[1:count]))
        one, two = one[count:], two[1:]
    elif state is not None and len(two) == len(one) + len(carried) - 1:
        parts = zip(two, carried.values(), strict=False)
        found |= {y: given._replace(slot=one[0]) for y, given in parts}
        one, two = one[1:], two[len(carried) :]
    for x, y in zip(one, two, strict=True) if len(one) == len(two) else ():
        shapes = (r.nodes[s.node].avals[s.output].shape for r, s in ((first, x), (second, y)))
        if first.nodes[x.node].kind == "operator":
            found[y] = Given(x, next(orders(*map(tuple, shapes)), None))
    return found


def length(node: Entry) -> float:
    """Return how many steps a scan takes, over which rounding adds up; 1 of another node."""
    if node.op == "scan" and not node.custom and node.equation is not None:
        return float(node.equation.params.get("length") or 1)
    return 1.0


def same_arguments(pairing: Pairing, a: Entry, b: Entry) -> list[tuple[int, int]]:
    """Return which arguments of the bodies of two nodes are the same."""
    branch = a.op == "cond"  # its first input says which, and is none of the body's
    left, right = list(a.inputs)[branch:], list(b.inputs)[branch:]
    found: list[tuple[int, int]] = []
    one, two = scan_constants(a) or 0, scan_constants(b) or 0
    for k, slot in enumerate(right):
        given = pairing.slots.get(slot)
        free = [i for i, s in enumerate(left) if all(i != pair[0] for pair in found)]
        same = [i for i in free if given is not None and left[i] == given.slot]
        # Carries, and what a scan takes step by step, come after constants.
        loops = a.op == "scan" and not a.custom
        if loops and k >= two and len(left) - one == len(right) - two:
            same = [k - two + one] if k - two + one in free else []
        elif loops:
            same = [i for i in same if (i < one) == (k < two)]
        if same:
            found.append((same[0], k))
    return found


def first_step(true: Any, found: Any, allowed: float) -> int:
    """Return the first step of a loop at which an error is more than allowed."""
    errors = (between(x, y).relative for x, y in zip(true, found, strict=True))
    return next((t for t, error in enumerate(errors) if error > allowed), 0)
