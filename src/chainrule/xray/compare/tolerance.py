"""What honest rounding may do: of how many terms a number is a sum, and what to say beyond that."""

import math
from typing import Any

from chainrule.xray.compare.sweep import Made
from chainrule.xray.record import Record

__all__ = ["terms", "told"]
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


def told(true: Any, found: Any) -> str:
    """Return in words how two arrays differ that no norm can tell apart."""
    shapes = getattr(true, "shape", ()), getattr(found, "shape", ())
    if shapes[0] != shapes[1]:
        return f"its shape is {list(shapes[1])}, not {list(shapes[0])}"
    return "it is finite in one of them only"
