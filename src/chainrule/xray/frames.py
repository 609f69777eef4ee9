"""The groups of a picture: in which group each node stands, which start open, what repeats."""

from collections.abc import Iterator
from typing import TypedDict

from chainrule.xray.groups import Child, Group
from chainrule.xray.record import Record

__all__ = ["Frame", "frames"]
__dir__ = __all__.copy

_OPEN = 40  # boxes; a larger graph starts with its groups closed
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
    everything = _boxes(root) <= _OPEN

    def visit(group: Group, index: int | None, shown: bool) -> None:
        inner = list(_groups(group))
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
                # A single group that holds everything starts open, what others wrote closed.
                "open": shown
                and child.kind not in _CLOSED
                and (everything or (index is None and len(inner) == 1)),
            }
            rows.append(row)
            visit(child, row["id"], row["open"])

    visit(root, None, True)
    return rows, homes


def _boxes(group: Group) -> int:
    """Return how many boxes are drawn of a group that is open."""
    return sum(
        _boxes(child) if isinstance(child, Group) and child.kind not in _CLOSED else 1
        for child in group.children
    )


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
