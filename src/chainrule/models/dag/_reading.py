"""What can be read off a graph without running it: orders, weights, names and texts."""

import functools
import graphlib
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.models.dag.graph import Graph


def in_order(graph: Graph) -> list[str]:
    """Return the nodes, each after what it takes.

    Raises:
      ValueError: a cycle.
    """
    names, cycles = sort(graph)
    if cycles:
        raise problems_found([cycle_text(cycle) for cycle in cycles])
    return names


def sort(graph: Graph) -> tuple[list[str], list[list[str]]]:
    """Return the nodes in order, and the cycles that had to be cut for it."""
    takes = {name: {s: None for s in node.inputs if s in graph} for name, node in graph.items()}
    cycles: list[list[str]] = []
    while True:
        try:
            return list(graphlib.TopologicalSorter(takes).static_order()), cycles
        except graphlib.CycleError as error:
            cycle = error.args[1]
            cycles.append(cycle)
            del takes[cycle[1]][cycle[0]]


def cycle_text(cycle: list[str]) -> str:
    return f"a cycle, {' -> '.join(cycle)}: no node can take what is computed from it"


def problems_found(problems: Sequence[str]) -> ValueError:
    if len(problems) == 1:
        return ValueError(f"1 problem with the graph: {problems[0]}")
    lines = "".join(f"\n- {problem}" for problem in problems)
    return ValueError(f"{len(problems)} problems with the graph:{lines}")


def look_up(params: Any, name: str) -> Any:
    """Return what stands below ``"block1/conv2"`` in nested dicts, None where nothing does."""
    for key in name.split("/"):
        if not isinstance(params, Mapping) or key not in params:
            return None
        params = params[key]
    return params


def name_of(op: Any) -> str:
    """Return what an operator is called in equations and messages."""
    while isinstance(op, functools.partial):
        op = op.func
    return getattr(op, "__name__", type(op).__name__)


def text(tree: Any) -> str:
    """Return a tree with the dtype and shape of every array in its place."""
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{key}: {text(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, tuple | list):
        return "(" + ", ".join(map(text, tree)) + ")"
    if hasattr(tree, "dtype"):
        return f"{tree.dtype}[{','.join(map(str, tree.shape))}]"
    return repr(tree)
