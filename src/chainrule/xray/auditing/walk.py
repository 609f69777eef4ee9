"""Every operator of a record, those in loops and branches too, each with the record around it."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from chainrule.xray.bodies import ClosedError, fits_easily
from chainrule.xray.inside import at_step, branch, can_enter, enter
from chainrule.xray.record import Entry, Record
from chainrule.xray.rerun import Place

__all__ = ["Site", "sites"]
__dir__ = __all__.copy


class Site(NamedTuple):
    """One operator.

    Attributes:
      record: the record that it stands in.
      node: the operator there.
      place: where it stands in the whole record.
      around: the lines of the loops and branches around it, outermost first.
    """

    record: Record
    node: Entry
    place: Place
    around: tuple[str, ...]

    def taken(self, step: int | None) -> tuple[Entry, list[Any]]:
        """Return the operator and what it took, inside a loop at one of its steps."""
        if self.record.steps is None:
            return self.node, self.record.taken(self.node)
        return at_step(self.record, self.node, self.record.taken(self.node), step)

    @property
    def steps(self) -> tuple[int | None, ...]:
        """Which steps to look at: the first, the last and one between; None outside of loops."""
        count = self.record.steps
        return (None,) if count is None else tuple(sorted({0, count // 2, count - 1} - {-1}))


def sites(record: Record, place: Place = (), around: tuple[str, ...] = ()) -> Iterator[Site]:
    """Yield every operator of a record, in the order of execution, and after a loop its body's.

    Of a loop inside a loop the first step is looked at, of a cond the branch taken. What cannot be
    run again by itself is left out.

    Args:
      record: the record; it keeps values.
      place: where the record stands, in one around it.
      around: the lines of what is around it.
    """
    for node in record.nodes:
        if node.kind != "operator":
            continue
        yield Site(record, node, (*place, node.index), around)
        if node.custom or not can_enter(node) or record.steps == 0 or not fits_easily(node):
            continue
        step = None if record.steps is None else 0
        into = (*place, node.index)
        if node.op == "cond":
            into = (*into, branch(record, node, step))
        with contextlib.suppress(ClosedError):
            yield from sites(enter(record, node, step), into, (*around, node.line))
