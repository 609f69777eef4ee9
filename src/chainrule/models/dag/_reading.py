"""Reading a graph without running it: its order, weights, names and texts."""

import functools
import graphlib
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax

from chainrule import _require
from chainrule.models.dag.graph import Graph, Node


def check_graph(graph: object) -> None:
    """Check that something is a graph, so that its nodes can be read.

    Raises:
      ValueError: it is no mapping of names to nodes, or a node's inputs are no tuple of names.
    """
    _require.instance("graph", graph, Mapping, "a mapping of names to nodes")
    problems = []
    for name, node in cast(Mapping[str, Any], graph).items():
        if not isinstance(node, Node):
            problems.append(f"node {name!r} is {_require.kind(node)}: make it a Node")
        elif isinstance(node.inputs, str):
            problems.append(
                f"node {name!r}: its inputs are the string {node.inputs!r}: write a tuple, "
                f"({node.inputs!r},)"
            )
        elif not isinstance(node.inputs, tuple | list) or not all(
            isinstance(source, str) for source in node.inputs
        ):
            problems.append(
                f"node {name!r}: its inputs are {node.inputs!r}: write names in a tuple"
            )
        elif not isinstance(node.params, str | None):
            problems.append(f"node {name!r}: its weight is {node.params!r}: write its name")
        elif not callable(node.op):
            problems.append(f"node {name!r}: its operator is {_require.kind(node.op)}: no function")
    if problems:
        raise problems_found(problems)


def check_arrays(name: str, arrays: object) -> None:
    """Check that something is a nested mapping of arrays, numbers, keys or their shapes."""
    _require.instance(name, arrays, Mapping, "a mapping of names to arrays")
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        if not hasattr(leaf, "dtype") and not isinstance(leaf, numbers.Number):
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} must be an array, not {_require.kind(leaf)}")


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
    check_graph(graph)
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
    """Return the sentence on a cycle."""
    return f"a cycle, {' -> '.join(cycle)}: no node can take what is computed from it"


def problems_found(problems: Sequence[str]) -> ValueError:
    """Return one error for all problems of a graph."""
    if len(problems) == 1:
        return ValueError(f"1 problem with the graph: {problems[0]}")
    lines = "".join(f"\n- {problem}" for problem in problems)
    return ValueError(f"{len(problems)} problems with the graph:{lines}")


def look_up(params: Any, name: str) -> Any:
    """Return the value at ``"block1/conv2"`` in nested dicts, None where there is none."""
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
