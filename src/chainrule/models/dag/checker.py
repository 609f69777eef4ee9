"""Everything that can be wrong with a graph, found without computing anything."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainrule.models.dag._reading import (
    check_arrays,
    cycle_text,
    look_up,
    name_of,
    problems_found,
    sort,
    text,
)
from chainrule.models.dag.graph import Graph, Node

__all__ = ["check"]
__dir__ = __all__.copy

Shapes = dict[str, jax.ShapeDtypeStruct]


def check(
    graph: Graph,
    params: PyTree,
    inputs: Mapping[str, Any],
    outputs: str | Sequence[str] = (),
) -> dict[str, jax.ShapeDtypeStruct]:
    """Look for everything that is wrong with a graph, without computing anything.

    Args:
      graph: the nodes.
      params: the weights, a nested dict of arrays or of their shapes (`jax.ShapeDtypeStruct`).
      inputs: name to array, or to its shape.
      outputs: the names of what the graph is for.

    Returns:
      The shape of every activation, the inputs first, each node after what it takes.

    Raises:
      ValueError: with all problems at once: cycles, unknown inputs and weights, a node named like
        an input, an output that is missing or that no input reaches, shapes that do not meet, one
        weight name where two shapes are wanted, dtypes that would be promoted in silence.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.models.dag import Node, layer
      >>> from chainrule.ops.elementary import add
      >>> check({"s": Node(layer(add), ("x", "y"))}, {}, {"x": jnp.ones(2)}, "sum")
      Traceback (most recent call last):
      ValueError: 2 problems with the graph:
      - node 's' takes 'y', which is neither among the inputs ['x'] nor among the nodes ['s']
      - output 'sum' is not among the nodes ['s']
    """
    outputs = (outputs,) if isinstance(outputs, str) else outputs
    if not isinstance(outputs, Sequence) or not all(isinstance(name, str) for name in outputs):
        raise ValueError(f"outputs must be names of nodes, not {outputs!r}")
    check_arrays("inputs", inputs)
    check_arrays("params", {} if params is None else params)
    names, cycles = sort(graph)
    problems = [cycle_text(cycle) for cycle in cycles]
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
    problems += [said + _sharing(name, graph, shapes) for name, said in failures.items()]
    problems += _outputs(graph, names, inputs, outputs, bool(cycles))
    if problems:
        raise problems_found(problems)
    return shapes


class _Shapes:
    """The shapes that operators return, each traced once for the same inputs."""

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


def _unknown(name: str, graph: Graph, params: PyTree, inputs: Mapping[str, Any]) -> Iterator[str]:
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


def _call(node: Node, weight: Any, shapes: Shapes) -> str:
    arguments = ", ".join(f"{source} {text(shapes[source])}" for source in node.inputs)
    uses = "" if node.params is None else f"; {node.params} {text(weight)}"
    return f"{name_of(node.op)}({arguments}{uses})"


def _sharing(name: str, graph: Graph, shapes: Shapes) -> str:
    """Point to other uses of the weight that the node could not use."""
    weight = graph[name].params
    others = [n for n in graph if n in shapes and n != name and graph[n].params == weight]
    if weight is None or not others:
        return ""
    return (
        f" (the weight {weight!r} is shared, and its shape fits node {others[0]!r}: one name "
        "is one array; give a weight of another shape another name)"
    )


def _outputs(
    graph: Graph,
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


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return str(names) if len(names) <= 20 else f"{names[:20]} and {len(names) - 20} more"
