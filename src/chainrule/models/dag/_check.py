"""The order in which the nodes of a graph are computed, and everything that can be wrong with it.

A graph is a mapping of nodes ``(op, inputs, params)``: see `chainrule.models.dag`.
"""

import contextlib
import functools
import graphlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Shapes = dict[str, jax.ShapeDtypeStruct]


def order(graph: Mapping[str, Any]) -> list[str]:
    """Return the nodes, each after what it takes.

    Raises:
      ValueError: a cycle.
    """
    names, cycles = _sort(graph)
    if cycles:
        raise _error([_cycle(cycle) for cycle in cycles])
    return names


def check(
    graph: Mapping[str, Any], params: Any, inputs: Mapping[str, Any], outputs: Sequence[str]
) -> Shapes:
    """Return the shapes of all activations, or raise: see `chainrule.models.dag.check`."""
    strings = [name for name, node in graph.items() if isinstance(node.inputs, str)]
    if strings:
        problems = [
            f"node {name!r}: its inputs are the string {graph[name].inputs!r}: "
            f"write a tuple, ({graph[name].inputs!r},)"
            for name in strings
        ]
        raise _error(problems)
    names, cycles = _sort(graph)
    problems = [_cycle(cycle) for cycle in cycles]
    problems += [
        f"node {name!r} is named like an input: rename one" for name in names if name in inputs
    ]
    weights: Any = jax.eval_shape(lambda tree: tree, params)
    shapes: Shapes = dict(jax.eval_shape(lambda tree: tree, dict(inputs)))
    for name in names:
        problems += _unknown(name, graph, weights, inputs)
    failures: dict[str, str] = {}
    shape_of = _Shapes()
    for name in names:
        node = graph[name]
        weight = None if node.params is None else look_up(weights, node.params)
        if name in inputs or (node.params is not None and weight is None):
            continue
        if all(source in shapes for source in node.inputs):
            found = shape_of(node.op, weight, [shapes[source] for source in node.inputs])
            if isinstance(found, str):
                failures[name] = f"node {name!r}, {_call(node, weight, shapes)}: {found}"
            else:
                shapes[name] = found
    problems += [text + _sharing(name, graph, shapes) for name, text in failures.items()]
    problems += _outputs(graph, names, inputs, outputs, bool(cycles))
    if problems:
        raise _error(problems)
    return shapes


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


class _Shapes:
    """What operators return, each asked once for the same shapes."""

    def __init__(self) -> None:
        self.known: dict[Any, jax.ShapeDtypeStruct | str] = {}

    def __call__(
        self, op: Callable[..., Any], weight: Any, arrays: list[Any]
    ) -> jax.ShapeDtypeStruct | str:
        """Return the shape of what the operator returns, or what is wrong."""
        leaves, tree = jax.tree.flatten((weight, arrays))
        try:
            hash(op)
            same: Any = op
        except TypeError:
            same = id(op)
        key = same, tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if key not in self.known:
            self.known[key] = _run(op, weight, arrays)
        return self.known[key]


def _run(op: Callable[..., Any], weight: Any, arrays: list[Any]) -> jax.ShapeDtypeStruct | str:
    floats = {
        leaf.dtype
        for leaf in jax.tree.leaves((weight, arrays))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    mixed = len(floats) > 1
    run = functools.partial(jax.eval_shape, op, weight, *arrays)
    try:
        with jax.numpy_dtype_promotion("standard") if mixed else contextlib.nullcontext():
            found = run()
    except ValueError as error:  # in several lines those of an inner graph
        return str(error).replace("\n", "\n  ")
    except Exception as error:  # an operator may raise anything
        return str(error).strip().partition("\n")[0] or type(error).__name__
    if not isinstance(found, jax.ShapeDtypeStruct):
        return f"returns {text(found)}: it must return one array"
    if mixed:
        try:
            with jax.numpy_dtype_promotion("strict"):
                run()
        except Exception:
            names = sorted(str(dtype) for dtype in floats)
            return f"mixes {' and '.join(names)}: cast to one dtype, in a node of its own"
    return found


def _sort(graph: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
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


def _cycle(cycle: list[str]) -> str:
    return f"a cycle, {' -> '.join(cycle)}: no node can take what is computed from it"


def _unknown(
    name: str, graph: Mapping[str, Any], params: Any, inputs: Mapping[str, Any]
) -> Iterator[str]:
    node = graph[name]
    for source in node.inputs:
        if source not in graph and source not in inputs:
            yield (
                f"node {name!r} takes {source!r}, which is neither among the inputs "
                f"{_few(inputs)} nor among the nodes {_few(graph)}"
            )
    if node.params is not None and look_up(params, node.params) is None:
        there = _few(params) if isinstance(params, Mapping) else params
        yield f"node {name!r} uses the weight {node.params!r}, which is not in params {there}"


def _call(node: Any, weight: Any, shapes: Shapes) -> str:
    arguments = ", ".join(f"{source} {text(shapes[source])}" for source in node.inputs)
    uses = "" if node.params is None else f"; {node.params} {text(weight)}"
    return f"{name_of(node.op)}({arguments}{uses})"


def _sharing(name: str, graph: Mapping[str, Any], shapes: Shapes) -> str:
    """Point to other uses of the weight that the node could not use."""
    weight = graph[name].params
    others = [n for n in graph if n in shapes and n != name and graph[n].params == weight]
    if weight is None or not others:
        return ""
    return (
        f" (the weight {weight!r} is shared, and its shape fits node {others[0]!r}: one name "
        "is one array; give a weight of another shape a name of its own)"
    )


def _outputs(
    graph: Mapping[str, Any],
    names: list[str],
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    cut: bool,
) -> list[str]:
    reached = set(inputs)
    for name in names:
        # What takes something unknown has been reported.
        if any(source in reached or source not in graph for source in graph[name].inputs):
            reached.add(name)
    problems = []
    for output in outputs:
        if output not in graph and output not in inputs:
            problems.append(f"output {output!r} is not among the nodes {_few(graph)}")
        elif output not in reached and not cut:  # a cycle that was cut explains it
            problems.append(
                f"output {output!r} is reached by none of the inputs {_few(inputs)}: "
                "it is the same whatever they are"
            )
    return problems


def _error(problems: Sequence[str]) -> ValueError:
    if len(problems) == 1:
        return ValueError(f"1 problem with the graph: {problems[0]}")
    lines = "".join(f"\n- {problem}" for problem in problems)
    return ValueError(f"{len(problems)} problems with the graph:{lines}")


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return str(names) if len(names) <= 20 else f"{names[:20]} and {len(names) - 20} more"
