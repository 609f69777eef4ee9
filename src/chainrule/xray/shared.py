"""Arguments that are used more than once, with the gradient of each use."""

import dataclasses
import itertools

import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Slot
from chainrule.xray.inside import enter, scan_constants
from chainrule.xray.record import Edge, Entry, Record
from chainrule.xray.slices import Part, meet, part, written
from chainrule.xray.words import below, brief

__all__ = ["AllShared", "Shared", "shared"]
__dir__ = __all__.copy

_STEPS = "every step of a loop"


@dataclasses.dataclass(frozen=True, eq=False)
class Shared:
    """An argument that is used more than once.

    Attributes:
      node: the argument; its `cotangent` is the sum over the uses.
      uses: each use, with what it contributes.
      lines: the line of source of each use; of the use in a scan, one for each of its steps; in a
        loop inside a custom rule, one for all.
    """

    node: Entry
    uses: tuple[Edge, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        rows = zip(self.lines, (edge.contribution for edge in self.uses), strict=True)
        parts = [f"  {below(line)}: {brief(part)}" for line, part in rows]
        return "\n".join([f"{self.node.label}: {brief(self.node.cotangent)}", *parts])


class AllShared(tuple[Shared, ...]):
    """Every argument that is used more than once; printed, one line each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(_row, self)) or "no argument is used more than once"


def _row(one: Shared) -> str:
    gradient = "no gradient"
    if one.node.cotangent is not None:
        gradient = f"gradient {' '.join(brief(one.node.cotangent).split())}"
    count = f"{len(one.uses)} uses" if len(one.uses) > 1 else f"used at {_STEPS}"
    return f"{one.node.label}: {count}, {gradient}"


def shared(record: Record) -> AllShared:
    """Return every argument that is used more than once, in the order of the arguments.

    Left out is what was not differentiated, and of which every use takes another part, as each
    layer takes its own of a stacked weight. A scan uses its constants, the weights of a recurrent
    network say, at every step.

    Example:
      >>> from chainrule import xray
      >>> print(shared(xray.xray(lambda x, y: x * x * y, 3.0, 2.0).record))
      x: 2 uses, gradient 12.
    """
    found = []
    for node in (record.nodes[k] for k in record.wanted):
        slot = Slot(node.index, 0)
        edges = [Edge(*slot, *use, record.contribution(use)) for use in record.readers[slot]]
        uses = [each for edge in edges for each in _each_step(record, edge)]
        pairs = itertools.combinations((_part(record, edge) for edge, _ in uses), 2)
        if any(meet(*pair) for pair in pairs) or any(_STEPS in line for _, line in uses):
            found.append(Shared(node, *zip(*uses, strict=True)))
    return AllShared(found)


def _part(record: Record, edge: Edge) -> Part | None:
    if edge.target is None or edge.position:
        return None
    return part(record, record.nodes[edge.target])


def _each_step(record: Record, edge: Edge) -> list[tuple[Edge, str]]:
    if edge.target is None:
        return [(edge, "the result")]
    node = record.nodes[edge.target]
    constant = edge.position < scan_constants(node) and edge.contribution is not None
    if not constant or record.keep != "values" or record.steps is not None:
        of = "" if edge.position else written(record, node)
        known = node.equation is not None and edge.contribution is not None
        if known and _jax.repeats(node.equation, edge.position):
            of = _STEPS  # of a loop in a custom rule, whose steps are summed up there
        return [(edge, f"{node.line}, {of}" if of else node.line)]
    parts = np.asarray(enter(record, node).nodes[edge.position].cotangent)  # read without a program
    return [
        (dataclasses.replace(edge, contribution=g), f"{node.line}, step {t}")
        for t, g in enumerate(parts)
    ]
