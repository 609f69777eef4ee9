"""Operators without a counterpart, matched by their order: a guess where nothing else is known."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from chainrule.xray.compare.keys import token, transparent
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["guess"]
__dir__ = __all__.copy


def guess(
    first: Record, second: Record, nodes: Mapping[int, int], far: Collection[int]
) -> tuple[Entry, Entry] | None:
    """Return the first operator of a gap that both programs have there, in the same order.

    Args:
      first: the first program.
      second: the second.
      nodes: from operators of the second to their counterparts.
      far: those whose results are not those of their counterparts.
    """
    last, wrong = -1, _open(second, nodes, far)
    gap: list[Entry] = []
    for b in (*second.nodes, None):
        if b is not None and b.index not in nodes:
            gap += [b] * (b.index in wrong and not transparent(b))
        elif b is None or b.kind == "operator":
            end = None if b is None else nodes[b.index]
            if gap and (found := _fill(first, nodes, gap, last, end)) is not None:
                return found
            gap = []
            last = last if b is None else max(last, nodes[b.index])
    return None


def _open(second: Record, nodes: Mapping[int, int], far: Collection[int]) -> set[int]:
    """Return the operators without a counterpart of which something wrong may be made."""
    found: set[int] = set()
    for b in reversed(second.nodes):
        if b.kind == "operator" and b.index not in nodes:
            slots = [Slot(b.index, k) for k in range(len(b.avals))]
            readers = [use.node for slot in slots for use in second.readers[slot]]
            if any(k is None or k in far or k in found for k in readers):
                found.add(b.index)
    return found


def _fill(
    first: Record, nodes: Mapping[int, int], gap: Sequence[Entry], after: int, before: int | None
) -> tuple[Entry, Entry] | None:
    end = len(first.nodes) if before is None or before <= after else before
    taken = set(nodes.values())
    others = [
        a
        for a in first.nodes[after + 1 : end]
        if a.kind == "operator" and a.index not in taken and not transparent(a)
    ]
    for names in (True, False):
        one, two = ([token(n, names) for n in row] for row in (others, gap))
        match = difflib.SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks()[0]
        if match.size:
            return others[match.a], gap[match.b]
    return None
