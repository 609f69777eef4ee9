"""Which operators stand together: by `jax.named_scope` and by function, as a tree of runs."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Union

import numpy as np

from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["Child", "Group", "tree"]
__dir__ = __all__.copy

_LARGEST = 48  # children; what has more is cut into parts
_TURNS = 24  # the same of what repeats
_LARGE = 40  # nodes; in a record that has more, what repeats is folded
_OFTEN = 4  # times
_MANY = 12  # operators outside of groups: fewer are no easier to read when they are folded
_PERIOD = 48  # children that repeat together, at most

Child = Union["Group", int]
"""A group, or the number of a node."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Operators that ran one after the other in one scope or one call of a function.

    A group is a run in the order of execution, so that groups drawn as one box each still form a
    graph without a cycle. Arguments and constants that only one group uses stand in it.

    Attributes:
      name: of the scope or the function; "first … last" of a part of a long run; "layer × 24".
      kind: "scope", "function", "call" of a jitted function or a library's, "part" of a long run,
        "repeat" for operators that ran many times, one after the other, "turn" for one such time.
      children: groups and numbers of nodes, operators in the order of execution.
      times: how often the operators of a "repeat" ran, else 0.
    """

    name: str
    kind: str
    children: tuple[Child, ...]
    times: int = 0

    def nodes(self) -> Iterator[int]:
        """Yield the number of every node inside."""
        for child in self.children:
            if isinstance(child, Group):
                yield from child.nodes()
            else:
                yield child


def tree(record: Record) -> tuple[Group, dict[int, str]]:
    """Return the groups of a record, inside one that has the name of the function.

    Args:
      record: the record.

    Returns:
      The groups; and, for an operator that has a scope for itself, the name of the scope, which is
      then no group.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from chainrule import xray
      >>> from chainrule.xray.groups import tree
      >>> def f(x):
      ...     with jax.named_scope("layer"):
      ...         y = jnp.tanh(2 * x)
      ...     return y + 1
      >>> tree(xray.xray(f, 0.5).record)[0].children[2]
      Group(name='layer', kind='scope', children=(1, 2, 3), times=0)
    """
    operators = [node for node in record.nodes if node.kind == "operator"]
    alone: dict[int, str] = {}
    children = _level([(node, node.path) for node in operators], alone)
    while len(children) == 1 and isinstance(children[0], Group):  # a jitted function is one call
        children = children[0].children
    root = Group(record.function, "function", children)
    if len(record.nodes) > _LARGE:
        root = _Folding(record).fold(root)
    root = _furnish(root, _homes(root, record))
    return dataclasses.replace(root, children=_cut(root, record)), alone


_Run = Sequence[tuple[Entry, Sequence[tuple[str, str]]]]


def _level(run: _Run, alone: dict[int, str]) -> tuple[Child, ...]:
    """Return the children of one level: the runs below the same next step of the path."""
    children: list[Child] = []
    for step, part in itertools.groupby(run, key=lambda item: item[1][0] if item[1] else None):
        rows = list(part)
        if step is None:
            children += [node.index for node, _ in rows]
            continue
        inner = _level([(node, path[1:]) for node, path in rows], alone)
        name, kind = step[0], step[1].partition(" ")[0]
        if all(node.within not in ("", node.line) for node, _ in rows):
            kind = "call"  # the scope of a library's module
        if len(inner) == 1:  # a group of one thing is that thing, under the outer name
            (only,) = inner
            if isinstance(only, Group):
                inner = only.children
                kind = "call" if only.kind == "call" else kind
            elif step[1].startswith("scope"):
                alone.setdefault(only, name)
        children += [Group(name, kind, inner)] if len(inner) > 1 else inner
    return tuple(children)


class _Folding:
    """Folds what repeats: layers of one kind, unrolled steps, the turns of a loop.

    Two children are alike if the same lines of the program made the same operators on the same
    shapes; of names, the numbers do not count.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.kinds: dict[Any, int] = {}

    def kind(self, child: Child) -> int:
        """Return one number for all children that are alike."""
        key: Any
        if isinstance(child, Group):
            key = (_unnumbered(child.name), child.times, *map(self.kind, child.children))
        else:
            node = self.record.nodes[child]
            taken = (self.record.nodes[slot.node].avals[slot.output] for slot in node.inputs)
            shapes = [(str(aval.dtype), aval.shape) for aval in (*taken, *node.avals)]
            key = (node.op, node.line, *shapes)
        return self.kinds.setdefault(key, len(self.kinds))

    def fold(self, group: Group) -> Group:
        """Return the group with everything folded, inner groups first."""
        inner = [self.fold(c) if isinstance(c, Group) else c for c in group.children]
        kinds = np.array([self.kind(child) for child in inner])
        # How many of the children from each on are as those one period later.
        runs = {p: _run_lengths(kinds[p:] == kinds[:-p]) for p in range(1, _PERIOD + 1)}
        children: list[Child] = []
        at = 0
        while at < len(inner):
            covered = {p: (n[at] // p + 1) * p for p, n in runs.items() if at < len(n)}
            least = 0 if isinstance(inner[at], Group) else _MANY
            often = {p: n for p, n in covered.items() if n >= max(_OFTEN * p, least)}
            if not often:
                children.append(inner[at])
                at += 1
                continue
            period = max(often, key=lambda p: (often[p], -p))
            children.append(_folded(inner[at : at + often[period]], period, self.record))
            at += often[period]
        return dataclasses.replace(group, children=tuple(children))


def _run_lengths(same: np.ndarray) -> list[int]:
    lengths: list[int] = []
    for one in reversed(same):
        lengths.append(lengths[-1] + 1 if one and lengths else int(one))
    return lengths[::-1]


def _folded(children: Sequence[Child], period: int, record: Record) -> Group:
    """Return children that repeat as one group of as many as there are times."""
    times = len(children) // period
    if period > 1:
        turns = [children[k : k + period] for k in range(0, len(children), period)]
        name = _part(turns[0], record, plain=True).name
        children = [Group(f"turn {k}", "turn", tuple(turn)) for k, turn in enumerate(turns, 1)]
    elif isinstance(children[0], Group):
        name = _unnumbered(children[0].name)
        if all(isinstance(c, Group) and c.name == children[0].name for c in children):
            groups = [c for c in children if isinstance(c, Group)]
            children = [
                dataclasses.replace(c, name=f"{c.name} {k}") for k, c in enumerate(groups, 1)
            ]
    else:
        name = record.nodes[children[0]].op
    return Group(f"{name} × {times}", "repeat", tuple(children), times)


def _unnumbered(name: str) -> str:
    return re.sub(r"[\s_.\[]*\d+\]?$", "", name) or name


def _homes(root: Group, record: Record) -> dict[int, list[int]]:
    """Return, under the identity of a group, the arguments and constants that only it uses."""
    paths: dict[int, tuple[int, ...]] = {}

    def visit(group: Group, path: tuple[int, ...]) -> None:
        for child in group.children:
            if isinstance(child, Group):
                visit(child, path if child.times else (*path, id(child)))  # all turns use it
            else:
                paths[child] = path

    visit(root, ())
    homes: dict[int, list[int]] = {}
    for node in record.nodes:
        if node.kind == "operator":
            continue
        # An input stands outside, whoever uses it.
        uses = record.readers[Slot(node.index, 0)] if node.kind != "input" else ()
        users = [() if use.node is None else paths[use.node] for use in uses]
        path: list[int] = []
        for steps in zip(*(users or [()]), strict=False):
            if len(set(steps)) > 1:
                break
            path.append(steps[0])
        homes.setdefault(path[-1] if path else id(root), []).append(node.index)
    return homes


def _furnish(group: Group, homes: dict[int, list[int]]) -> Group:
    children = (_furnish(c, homes) if isinstance(c, Group) else c for c in group.children)
    return dataclasses.replace(group, children=(*homes.get(id(group), ()), *children))


def _cut(group: Group, record: Record) -> tuple[Child, ...]:
    """Cut long rows into parts of about equal length, and those rows again."""
    children = [
        dataclasses.replace(c, children=_cut(c, record)) if isinstance(c, Group) else c
        for c in group.children
    ]
    largest = _TURNS if group.times else _LARGEST
    while len(children) > largest:
        parts = -(-len(children) // largest)
        size = -(-len(children) // parts)
        children = [
            _part(children[start : start + size], record) for start in range(0, len(children), size)
        ]
    return tuple(children)


def _part(children: Sequence[Child], record: Record, plain: bool = False) -> Group:
    """Return a part of a long run, named by its ends; ``plain`` without the numbers of nodes."""
    nodes = record.nodes
    first, last = (
        c.name if isinstance(c, Group) else nodes[c].op if plain else nodes[c].label
        for c in (children[0], children[-1])
    )
    first, last = first.partition(" … ")[0], last.rpartition(" … ")[2]
    return Group(f"{first} … {last}", "part", tuple(children))
