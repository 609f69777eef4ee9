"""Which operators stand together: by `jax.named_scope` and by function, as a tree of runs."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Union

from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["Child", "Group", "tree"]
__dir__ = __all__.copy

_LARGEST = 48  # children; what has more is cut into parts

Child = Union["Group", int]
"""A group, or the number of a node."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Operators that ran one after the other in one scope or one call of a function.

    A group is a run in the order of execution, so that groups drawn as one box each still form a
    graph without a cycle. Arguments and constants that only one group uses stand in it.

    Attributes:
      name: of the scope or the function; "first … last" of a part of a long run.
      kind: "scope", "function" or "part".
      children: groups and numbers of nodes, operators in the order of execution.
    """

    name: str
    kind: str
    children: tuple[Child, ...]

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
      >>> def f(x):
      ...     with jax.named_scope("layer"):
      ...         y = jnp.tanh(2 * x)
      ...     return y + 1
      >>> tree(xray.xray(f, 0.5).record)[0].children[2]
      Group(name='layer', kind='scope', children=(1, 2, 3))
    """
    operators = [node for node in record.nodes if node.kind == "operator"]
    alone: dict[int, str] = {}
    children = _level([(node, node.path) for node in operators], alone)
    while len(children) == 1 and isinstance(children[0], Group):  # a jitted function is one call
        children = children[0].children
    root = Group(record.function, "function", children)
    root = _furnish(root, _homes(root, record))
    return dataclasses.replace(root, children=_cut(root.children, record)), alone


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
        name, which = step
        kind = "scope" if which == "scope" else "function"
        if len(inner) == 1:  # a group of one thing is that thing, under the outer name
            (only,) = inner
            if isinstance(only, Group):
                inner = only.children
            elif kind == "scope":
                alone.setdefault(only, name)
        children += [Group(name, kind, inner)] if len(inner) > 1 else inner
    return tuple(children)


def _homes(root: Group, record: Record) -> dict[int, list[int]]:
    """Return, under the identity of a group, the arguments and constants that only it uses."""
    paths: dict[int, tuple[int, ...]] = {}

    def visit(group: Group, path: tuple[int, ...]) -> None:
        for child in group.children:
            if isinstance(child, Group):
                visit(child, (*path, id(child)))
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


def _cut(children: Sequence[Child], record: Record) -> tuple[Child, ...]:
    """Cut long rows into parts of about equal length, and those rows again."""
    children = [
        dataclasses.replace(c, children=_cut(c.children, record)) if isinstance(c, Group) else c
        for c in children
    ]
    while len(children) > _LARGEST:
        parts = -(-len(children) // _LARGEST)
        size = -(-len(children) // parts)
        children = [
            _part(children[start : start + size], record) for start in range(0, len(children), size)
        ]
    return tuple(children)


def _part(children: Sequence[Child], record: Record) -> Group:
    ends = (children[0], children[-1])
    first, last = (c.name if isinstance(c, Group) else record.nodes[c].label for c in ends)
    first, last = first.partition(" … ")[0], last.rpartition(" … ")[2]
    return Group(f"{first} … {last}", "part", tuple(children))
