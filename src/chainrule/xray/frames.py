"""The groups of a picture: in which group each node stands, which start open, what repeats."""

from collections.abc import Iterator
from typing import TypedDict

from chainrule.xray.groups import Child, Group
from chainrule.xray.record import Record

__all__ = ["Frame", "frames"]
__dir__ = __all__.copy

_OPEN = 40  # nodes; a larger graph starts with groups closed
_FEW = 24  # boxes, which such a one may have at the start
_CLOSED = ("call", "part", "repeat")  # whose insides are not the reader's own


class Frame(TypedDict):
    """A group.

    Attributes:
      id: its number.
      name: of the scope or the function.
      kind: "scope", "function", "call", "part", "repeat" or "turn", as of a `Group`.
      parent: the number of the group around it, None outside all of them.
      size: how many nodes stand in it.
      times: how often the operators of a "repeat" ran, else 0.
      note: in what those times differ.
      open: whether it starts open.
    """

    id: int
    name: str
    kind: str
    parent: int | None
    size: int
    times: int
    note: str
    open: bool


def frames(root: Group, record: Record) -> tuple[list[Frame], dict[int, int | None]]:
    """Return the groups as rows, and the row of each node's group, None outside all of them.

    Args:
      root: the groups, from `chainrule.xray.groups.tree`.
      record: the record that they are of.
    """
    rows: list[Frame] = []
    homes: dict[int, int | None] = {}
    opened = _opened(root)

    def visit(group: Group, index: int | None) -> None:
        for child in group.children:
            if not isinstance(child, Group):
                homes[child] = index
                continue
            row: Frame = {
                "id": len(rows),
                "name": child.name,
                "kind": child.kind,
                "parent": index,
                "size": sum(1 for _ in child.nodes()),
                "times": child.times,
                "note": _differ(child, record) if child.times else "",
                "open": id(child) in opened,
            }
            rows.append(row)
            visit(child, row["id"])

    visit(root, None)
    return rows, homes


def _opened(root: Group) -> set[int]:
    """Return which groups start open, by identity, none of those that others wrote.

    All of a small graph; of a large one as many depths as make few boxes. A single group that holds
    everything starts open either way.
    """
    small = sum(1 for _ in root.nodes()) <= _OPEN
    shown: set[int] = set()
    level, boxes = [root], len(root.children)
    while inner := [g for group in level for g in _groups(group) if g.kind not in _CLOSED]:
        boxes += sum(len(group.children) - 1 for group in inner)
        single = level == [root] and len(inner) == 1
        if not (small or single or boxes <= _FEW):
            break
        shown |= {id(group) for group in inner}
        level = inner
    return shown


def _differ(group: Group, record: Record) -> str:
    """Say what differs between the times that a group of operators ran."""
    parameters = {node.index for node in record.nodes if node.kind == "parameter"}
    sets = [
        {slot.node for n in _within(turn) for slot in record.nodes[n].inputs} & parameters
        for turn in _turns(group)
    ]
    if not any(sets):
        return "they differ in their values"
    same = all(one == sets[0] for one in sets)
    return f"they {'share' if same else 'differ in'} their parameters"


def _turns(group: Group) -> Iterator[Child]:
    """Yield what ran once of a group that repeats, whichever parts it was cut into."""
    for child in group.children:
        if isinstance(child, Group) and child.kind == "part":
            yield from _turns(child)
        else:
            yield child


def _within(child: Child) -> Iterator[int]:
    return child.nodes() if isinstance(child, Group) else iter((child,))


def _groups(group: Group) -> Iterator[Group]:
    return (child for child in group.children if isinstance(child, Group))
