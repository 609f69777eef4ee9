"""The two passes over a graph: activations forward, gradients backward."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from chainrule._arrays import AnyArray
from chainrule.models.dag._reading import (
    check_arrays,
    check_graph,
    in_order,
    look_up,
    name_of,
    text,
)
from chainrule.models.dag.checker import check
from chainrule.models.dag.graph import Graph, Node

__all__ = ["Gradients", "backward", "by_vjp", "forward"]
__dir__ = __all__.copy


class Gradients(NamedTuple):
    """The gradients of the backward pass; None for what has no gradient: integers and keys.

    Attributes:
      params: with respect to every parameter, a tree like the parameters; 0 where nothing uses it.
      activations: with respect to every activation, the inputs included; 0 where none arrives.
      contributions: ``{weight: {node: ...}}``, what each use adds to the gradient of a weight.
    """

    params: PyTree
    activations: dict[str, Any]
    contributions: dict[str, dict[str, Any]]


def forward(graph: Graph, params: PyTree, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Compute every activation.

    Args:
      graph: the nodes, in any order.
      params: the weights, a nested dict.
      inputs: name to array.

    Returns:
      Name to activation: the inputs, then the nodes, each after what it takes.

    Raises:
      ValueError: what `check` finds.
    """
    order = check(graph, params, inputs)
    activations = {name: jnp.asarray(array) for name, array in inputs.items()}
    for name in order:
        if name in graph:
            op, arrays, weight = _resolve(graph[name], params, activations)
            with jax.named_scope(name):  # what profiles and x-rays call it
                activations[name] = op(weight, *arrays)
    return activations


def backward(
    graph: Graph, params: PyTree, activations: Mapping[str, AnyArray], g: Mapping[str, Any]
) -> Gradients:
    """Propagate gradients from the outputs to the inputs, summed over every use.

    The rule of an operator that no gradient reaches is not called.

    Args:
      graph: the nodes.
      params: as they were in `forward`.
      activations: what `forward` returned.
      g: the incoming gradients, ``{output: gradient of its shape}``: any nodes or inputs.

    Returns:
      The gradients with respect to parameters and activations, and each use's contribution to those
      of the weights.

    Raises:
      ValueError: g does not fit its output, the activations are of another graph, or the gradients
        of a rule do not fit its operator's inputs, with the name of the node.
    """
    _check_backward(graph, params, activations, g)
    by_name: dict[str, Any] = {name: jnp.asarray(gradient) for name, gradient in g.items()}
    total = jax.tree.map(lambda _: None, params)
    contributions: dict[str, dict[str, Any]] = {}
    for name in reversed(in_order(graph)):
        if name not in by_name:
            continue
        node = graph[name]
        op, arrays, weight = _resolve(node, params, activations)
        rule = getattr(op, "backward", None) or functools.partial(by_vjp, op)
        gradients = rule(by_name[name], weight, *arrays)
        _check_rule(name, node, (weight, *arrays), gradients)
        by_weight, *by_inputs = gradients
        for source, part in zip(node.inputs, by_inputs, strict=True):
            if part is not None:
                by_name[source] = _plus(None, by_name.get(source), part)
        if node.params is not None:
            contributions.setdefault(node.params, {})[name] = by_weight
            _add_at(total, node.params, weight, by_weight)
    return Gradients(
        params=jax.tree.map(_or_zero, params, total),
        activations={n: _or_zero(array, by_name.get(n)) for n, array in activations.items()},
        contributions=contributions,
    )


def _resolve(
    node: Node, params: PyTree, activations: Mapping[str, AnyArray]
) -> tuple[Callable[..., Any], list[Array], Any]:
    weight = None if node.params is None else look_up(params, node.params)
    return node.op, [activations[name] for name in node.inputs], weight


def by_vjp(op: Callable[..., Any], g: AnyArray, params: Any, *inputs: AnyArray) -> tuple[Any, ...]:
    """Return the gradients of an operator's weight and inputs by `jax.vjp`, None for integers."""
    _, pull = jax.vjp(op, params, *inputs)
    # JAX's gradient of an integer, of the empty dtype float0, is none.
    return jax.tree.map(lambda x: None if x.dtype == jax.dtypes.float0 else x, pull(g))


def _plus(_: Any, total: Any, part: Any) -> Any:
    if total is None or part is None:
        return part if total is None else total
    return total + part


def _add_at(tree: Any, name: str, weight: Any, part: Any) -> None:
    *path, last = name.split("/")
    for key in path:
        tree = tree[key]
    tree[last] = jax.tree.map(_plus, weight, tree[last], part)


def _or_zero(x: Any, gradient: Any) -> Any:
    if gradient is None and jnp.issubdtype(jax.typeof(x).dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return gradient


def _check_backward(
    graph: Graph, params: PyTree, activations: Mapping[str, AnyArray], g: Mapping[str, Any]
) -> None:
    check_graph(graph)
    for name, arrays in (("params", params), ("activations", activations), ("g", g)):
        check_arrays(name, arrays)
    if missing := [name for name in graph if name not in activations]:
        raise ValueError(f"no activations of {missing}: pass what forward returned for this graph")
    for name, node in graph.items():
        if node.params is not None and look_up(params, node.params) is None:
            raise ValueError(
                f"node {name!r} uses the weight {node.params!r}, which is not in params"
            )
    for name, gradient in g.items():
        if name not in activations:
            raise ValueError(f"g of {name!r}, which is not among {list(activations)}")
        found, wanted = jax.typeof(gradient), jax.typeof(activations[name])
        if not jnp.issubdtype(wanted.dtype, jnp.inexact):
            raise ValueError(f"g of {name!r}: {wanted.str_short()} has no gradient")
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"g of {name!r} is {found.str_short()}: it must be {wanted.str_short()}, as it is"
            )


def _check_rule(name: str, node: Node, things: Sequence[Any], gradients: Sequence[Any]) -> None:
    """Raise unless there is a gradient of its shape for the weight and for every input."""

    def fits(x: Any, gradient: Any) -> bool:
        return gradient is None or (jnp.shape(x), x.dtype) == (jnp.shape(gradient), gradient.dtype)

    try:
        right = len(things) == len(gradients) and all(
            jax.tree.leaves(jax.tree.map(fits, tuple(things), tuple(gradients)))
        )
    except (TypeError, ValueError):  # trees that differ
        right = False
    if not right:
        raise ValueError(
            f"node {name!r}: the rule of {name_of(node.op)} returns "
            f"{text(gradients)} as gradients of (weight, *inputs) "
            f"{text(things)}: they must agree one by one"
        )
