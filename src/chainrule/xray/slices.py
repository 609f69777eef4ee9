"""Which part of an array an operator takes, as ``[1]`` or ``[:, 2:4]``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.xray.record import Entry, Record

__all__ = ["Part", "meet", "part", "written"]
__dir__ = __all__.copy

Part = tuple[range, ...]
"""The indices along each axis."""


def part(record: Record, node: Entry) -> Part | None:
    """Return which part of its first input a node takes, None if that is not known.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import xray
      >>> record = xray.xray(lambda w: jnp.sum(w[1, :2]), jnp.ones((3, 4))).record
      >>> part(record, record.nodes[1]), written(record, record.nodes[1])
      ((range(1, 2), range(0, 2)), '[1, :2]')
    """
    if node.custom or node.op not in ("slice", "dynamic_slice") or node.equation is None:
        return None
    params = node.equation.params
    if node.op == "slice":
        starts, ends = params["start_indices"], params["limit_indices"]
        return tuple(map(range, starts, ends, params["strides"] or [1] * len(starts)))
    if record.keep != "values" or record.steps is not None:
        return None
    sizes, shape = params["slice_sizes"], _shape(record, node)
    rows = zip((record.value(slot) for slot in node.inputs[1:]), sizes, shape, strict=True)
    starts = [int(np.clip(int(start), 0, whole - size)) for start, size, whole in rows]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))


def written(record: Record, node: Entry) -> str:
    """Return the part that a node takes as one writes it, "" if that is not known."""
    if (taken := part(record, node)) is None:
        return ""
    axes = [_axis(r, size) for r, size in zip(taken, _shape(record, node), strict=True)]
    while len(axes) > 1 and axes[-1] == ":":
        axes.pop()
    return f"[{', '.join(axes)}]"


def meet(one: Part | None, other: Part | None) -> bool:
    """Tell whether two parts of an array have an element in common, None being the whole."""
    if one is None or other is None:
        return True
    return all(any(i in b for i in a) for a, b in zip(one, other, strict=True))


def _shape(record: Record, node: Entry) -> Sequence[int]:
    slot = node.inputs[0]
    shape: Sequence[int] = record.nodes[slot.node].avals[slot.output].shape
    return shape


def _axis(indices: range, size: int) -> str:
    if len(indices) == 1 != size:
        return str(indices.start)
    ends: list[Any] = [indices.start or "", indices.stop if indices.stop < size else ""]
    return ":".join(map(str, ends + [indices.step] * (indices.step > 1)))
