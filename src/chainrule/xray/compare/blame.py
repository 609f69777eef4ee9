"""Which of several operators, or of a function's lines, may be to blame for what they make."""

import dataclasses
import itertools
from collections.abc import Sequence

from chainrule.xray.bodies import ClosedError
from chainrule.xray.compare.errors import between
from chainrule.xray.compare.rows import Row
from chainrule.xray.compare.sweep import Sweep
from chainrule.xray.graph import Slot
from chainrule.xray.inside import enter, enter_backward
from chainrule.xray.record import Entry, Record

__all__ = ["blamed", "written"]
__dir__ = __all__.copy


def blamed(sweep: Sweep, index: int, region: Sequence[int], allowed: float) -> Sequence[int]:
    """Return which of several operators may be to blame: their numbers.

    Not the last ones, if they do nothing wrong on what their counterparts take.

    Args:
      sweep: the two programs.
      index: the number of the last.
      region: the numbers of all, in the order of execution.
      allowed: what the error of one may be, relative.
    """
    if (given := sweep.pairing.slots.get(Slot(index, 0))) is None:
        return region
    rest, nodes = list(region), sweep.second.nodes
    of, b = sweep.first.nodes[given.slot.node], nodes[index]
    if not sweep.first.runs and not of.inputs:  # arrays by name
        return region[:1]
    while len(rest) > 1 and given.whole and _does_the_same(sweep, b, of, allowed):
        rest.remove(b.index)
        pairs = zip(b.inputs, of.inputs, strict=True)
        inner = [(nodes[s.node], x) for s, x in pairs if s.node in rest]
        if len(inner) != 1 or inner[0][0].index != rest[-1]:
            break
        b, of = inner[0][0], sweep.first.nodes[inner[0][1].node]
    return rest


def _does_the_same(sweep: Sweep, b: Entry, of: Entry, allowed: float) -> bool:
    """Tell whether an operator makes what another makes of what that takes."""
    if (made := sweep.alone(b, of)) is None:
        return False
    error = between(of.value, made)
    return error.within(allowed * error.scale, allowed * error.top)


def written(second: Record, row: Row) -> Row:
    """Return the row of a function that the first program has not, on the lines inside it."""
    node = second.nodes[row.node]
    if not (row.parts and node.custom) or (row.step is None) != (second.steps is None):
        return row
    try:
        look = enter if row.phase == "forward" else enter_backward
        inside = look(second, node, row.step)
    except ClosedError:
        return row
    known = tuple(dict.fromkeys(n.line for n in inside.nodes if n.line)) or (node.line,)
    rows = (known if line == node.line else (line,) for line in row.lines or (row.line,))
    lines = tuple(itertools.chain.from_iterable(rows))
    sure, several = row.sure and len(lines) == 1, lines if len(lines) > 1 else ()
    return dataclasses.replace(row, line=lines[-1], lines=several, sure=sure)
