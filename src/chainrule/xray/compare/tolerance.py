"""What honest rounding may do: of how many terms a number is a sum, and what to say beyond that."""

import math
from typing import Any

from chainrule.xray.compare.errors import between
from chainrule.xray.compare.sweep import Made, Pairing
from chainrule.xray.inside import scan_constants
from chainrule.xray.record import Entry, Record

__all__ = ["first_step", "length", "same_arguments", "terms", "told"]
__dir__ = __all__.copy


def terms(second: Record, made: Made, true: Any) -> float:
    """Return of about how many products or terms each element is a sum.

    Args:
      second: the record of the operator.
      made: what it made, forward or backward.
      true: what it should be.
    """
    node = second.nodes[made.node]
    inputs = [second.nodes[s.node].avals[s.output] for s in node.inputs]
    sizes = [math.prod(aval.shape) for aval in inputs]
    size = max(math.prod(getattr(true, "shape", ()) or ()), 1)
    if node.known.elementwise and not made.backward:
        return 1.0
    if node.known.product:
        both = sizes[0] * sizes[1] * math.prod(node.avals[0].shape)
        if node.op == "dot_general":  # [N, K] and [K, M]: (N K M)², as of both ways back
            return max(math.sqrt(both) / size, 1.0)
        return max(sizes[1] / max(node.avals[0].shape[-1], 1), max(sizes) / size, 1.0)
    largest = max((n for aval in inputs for n in aval.shape), default=1)
    many = max([size, *sizes, *(math.prod(aval.shape) for aval in node.avals)]) / size
    deep = 1.0 if node.known.elementwise or node.known.copies else float(largest)
    return max(many, deep, 1.0)


def length(node: Entry) -> float:
    """Return how many steps a scan takes, over which rounding adds up; 1 of another node."""
    if node.op == "scan" and not node.custom and node.equation is not None:
        return float(node.equation.params.get("length") or 1)
    return 1.0


def told(true: Any, found: Any) -> str:
    """Return in words how two arrays differ that no norm can tell apart."""
    shapes = getattr(true, "shape", ()), getattr(found, "shape", ())
    if shapes[0] != shapes[1]:
        return f"its shape is {list(shapes[1])}, not {list(shapes[0])}"
    return "it is finite in one of them only"


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
