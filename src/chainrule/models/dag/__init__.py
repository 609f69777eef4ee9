r"""Networks as data: a graph of operators, run forward and backward.

A graph maps names to nodes, in any order. A node is an operator, the names of what it takes and the
name of its weight; an operator is called as ``op(params, *inputs)``, with ``params`` None where the
node names no weight, takes arrays and returns one array:

.. math::
  x^{(j)} = \phi^{(j)}(x^{(i)}, \ldots; w), \qquad i \in \text{inputs}(j)

Backward, from the outputs to the inputs, with :math:`J_{j | i}` the Jacobian of
:math:`\phi^{(j)}` by one of the things that it takes:

.. math::
  \frac{\partial \ell}{\partial x^{(i)}} =
    \sum_{j \text{ takes } i} J_{j | i}^\top \frac{\partial \ell}{\partial x^{(j)}}, \qquad
  \frac{\partial \ell}{\partial w} =
    \sum_{j \text{ uses } w} J_{j | w}^\top \frac{\partial \ell}{\partial x^{(j)}}

No Jacobian is built. An operator that has a method ``backward(g, params, *inputs)``, which returns
a tuple of one gradient for the weight and one for each input, is trusted with it: `layer` makes one
of an operator of `chainrule.ops` and the rule beside it, `operator` one of a whole graph. Any other
function falls back to `jax.vjp`.

A weight is shared by naming it twice: its gradient is the sum over its uses, and `Gradients` also
keeps every use's own part of it.

The walks are loops, so that depth is no matter: a chain of 10,000 nodes runs eagerly. Under
`jax.jit` they are over once traced and leave nothing behind. What takes time then is XLA: 1,000
nodes, forward and backward, were traced in 0.3 s and compiled in 4 (products element by element and
tanh) to 11 s (matrix products and tanh) of one core, the same as a flat function in 9 and 15 s.

Example:
  Two layers that share one weight, and what each of them does to it:

  >>> from chainrule.ops.activations import tanh
  >>> from chainrule.ops.linear import matvec
  >>> graph = {
  ...     "s": Node(layer(matvec), ("x",), "w"),
  ...     "h": Node(layer(tanh), ("s",)),
  ...     "y": Node(layer(matvec), ("h",), "w"),
  ... }
  >>> params, inputs = {"w": jnp.eye(2)}, {"x": jnp.array([0.5, -1.0])}
  >>> activations = forward(graph, params, inputs)
  >>> grads = backward(graph, params, activations, {"y": jnp.array([1.0, 0.0])})
  >>> grads.params["w"].round(2)[0].tolist()
  [0.85..., -1.54...]
  >>> {node: part.round(2)[0].tolist() for node, part in grads.contributions["w"].items()}
  {'y': [0.46..., -0.75...], 's': [0.38..., -0.78...]}
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from chainrule.models.dag import _check as _graph_check
from chainrule.ops import backward_of


class Node(NamedTuple):
    """One operator of a graph.

    Attributes:
      op: called as ``op(params, *inputs)``; returns one array. `layer` and `operator` make some.
      inputs: the names of what it takes, nodes or inputs of the graph.
      params: the name of its weight, ``"w1"`` or ``"block1/conv2"``, an array or a whole layer;
        without one the operator gets None.
    """

    op: Callable[..., Array]
    inputs: tuple[str, ...]
    params: str | None = None


Graph = Mapping[str, Node]
"""Nodes by name, in any order."""


class Gradients(NamedTuple):
    """What the backward pass leaves; None stands for what has no gradient: integers and keys.

    Attributes:
      params: the gradient by every parameter, a tree like the parameters; 0 where nothing uses it.
      activations: by every activation, the inputs included; 0 where no gradient arrives.
      contributions: ``{weight: {node: ...}}``, what each use adds to the gradient of a weight.
    """

    params: Any
    activations: dict[str, Any]
    contributions: dict[str, dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Layer:
    """An operator on arrays as one of a graph: see `layer`.

    Attributes:
      operator: takes arrays by position and settings by keyword.
      settings: their names and values.
    """

    operator: Callable[..., Any]
    settings: tuple[tuple[str, Any], ...]

    @property
    def __name__(self) -> str:
        return _graph_check.name_of(self.operator)

    def __call__(self, params: Any, *inputs: Array) -> Any:
        """Return what the operator makes of its arrays."""
        arrays, _ = self._arrange(params, inputs)
        return self.operator(*arrays, **dict(self.settings))

    def backward(self, g: Array, params: Any, *inputs: Array) -> tuple[Any, ...]:
        """Return the gradients of the weight and of each input, by the rule beside the operator.

        Without such a rule they are those of `jax.vjp`.
        """
        try:
            rule = backward_of(self.operator)
        except LookupError:
            return _by_vjp(self, g, params, *inputs)
        arrays, slots = self._arrange(params, inputs)
        gradients = rule(g, *arrays, **dict(self.settings))
        gradients = gradients if len(arrays) > 1 else (gradients,)
        by_slot = dict(zip(slots, gradients, strict=True))
        by_inputs = [by_slot.pop(index) for index in range(len(inputs))]
        return by_slot if isinstance(params, Mapping) else by_slot.get(""), *by_inputs

    def _arrange(self, params: Any, inputs: Sequence[Array]) -> tuple[list[Array], list[str | int]]:
        """Return the operator's arrays in its order, and the name or number of each."""
        if not isinstance(params, Mapping):
            first: dict[str | int, Any] = {} if params is None else {"": params}
            slots = first | dict(enumerate(inputs))
            return list(slots.values()), list(slots)
        slots, waiting = {}, list(enumerate(inputs))
        for parameter in inspect.signature(self.operator).parameters:
            if parameter in params:
                slots[parameter] = params[parameter]
            elif waiting:
                index, array = waiting.pop(0)
                slots[index] = array
            else:
                break
        if len(slots) < len(params) + len(inputs):
            names = list(inspect.signature(self.operator).parameters)
            raise ValueError(
                f"{self.__name__} takes {names}: there is no place for all of the weights "
                f"{sorted(params)} and {len(inputs)} input(s); a weight goes where its name stands"
            )
        return list(slots.values()), list(slots)


def layer(operator: Callable[..., Any], **settings: Any) -> Layer:
    """Make an operator on arrays, with the rule beside it, an operator of a graph.

    A weight that is a dict, as ``{"kernel": ..., "bias": ...}``, goes by its names to the
    operator's arguments, and the inputs take the other places in their order. A weight that is an
    array stands first.

    Args:
      operator: one of `chainrule.ops`, or any function that takes arrays by position.
      settings: passed on by keyword, to the rule as well.

    Returns:
      A function ``op(params, *inputs)`` with a method ``backward(g, params, *inputs)``.

    Raises:
      ValueError: a setting that the operator does not have.

    Example:
      >>> from chainrule.ops.linear import linear
      >>> op, ones = layer(linear), jnp.ones((2, 3))
      >>> params = {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}
      >>> op(params, ones).tolist()
      [[3.0], [3.0]]
      >>> by_params, by_inputs = op.backward(jnp.ones((2, 1)), params, ones)
      >>> {name: gradient.tolist() for name, gradient in by_params.items()}
      {'kernel': [[2.0], [2.0], [2.0]], 'bias': [2.0]}
    """
    known = inspect.signature(operator).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    if not takes_any and (unknown := [name for name in settings if name not in known]):
        name = _graph_check.name_of(operator)
        raise ValueError(f"{name} has no setting {unknown}: its arguments are {list(known)}")
    return Layer(operator, tuple(settings.items()))


@dataclasses.dataclass(frozen=True)
class Operator:
    """A graph as an operator of another: see `operator`.

    Attributes:
      graph: the inner graph.
      inputs: the names of its inputs, in the order in which the operator takes them.
      output: the node whose activation it returns.
    """

    graph: Graph
    inputs: tuple[str, ...]
    output: str

    @property
    def __name__(self) -> str:
        return "graph"

    def __call__(self, params: Any, *inputs: Array) -> Array:
        """Return the activation of the output."""
        return self._forward(params, inputs)[self.output]

    def backward(self, g: Array, params: Any, *inputs: Array) -> tuple[Any, ...]:
        """Return the gradients of the weights and of each input, by `backward`."""
        activations = self._forward(params, inputs)
        gradients = backward(self.graph, params or {}, activations, {self.output: g})
        by_params = None if params is None else gradients.params
        return by_params, *(gradients.activations[name] for name in self.inputs)

    def _forward(self, params: Any, inputs: Sequence[Array]) -> dict[str, Array]:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{len(inputs)} inputs for the {len(self.inputs)} {self.inputs}")
        return forward(self.graph, params or {}, dict(zip(self.inputs, inputs, strict=True)))


def operator(graph: Graph, inputs: tuple[str, ...], output: str) -> Operator:
    """Make a graph an operator of another graph.

    Its weights are those below the name that the outer node gives: ``Node(op, ("x",), "branch")``
    finds the inner weight ``"w"`` at ``params["branch"]["w"]``.

    Args:
      graph: the inner graph.
      inputs: the names of its inputs, in the order in which the outer node lists its own.
      output: the node whose activation is the result.

    Returns:
      A function ``op(params, *inputs)`` with a method ``backward(g, params, *inputs)``.

    Raises:
      ValueError: the output is no node of the graph, or two inputs have one name.

    Example:
      >>> from chainrule.ops.elementary import add, square
      >>> inner = operator({"s": Node(layer(square), ("x",))}, ("x",), "s")
      >>> outer = {
      ...     "a": Node(inner, ("x",)),
      ...     "b": Node(inner, ("a",)),
      ...     "y": Node(layer(add), ("a", "b")),
      ... }
      >>> float(forward(outer, {}, {"x": jnp.array(2.0)})["y"])
      20.0
    """
    if output not in graph:
        raise ValueError(f"output {output!r} is not among the nodes {list(graph)}")
    if len(set(inputs)) < len(inputs):
        raise ValueError(f"inputs {inputs}: a name twice, give each of them one of its own")
    return Operator(graph, inputs, output)


def check(
    graph: Graph,
    params: Any,
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
      >>> from chainrule.ops.elementary import add
      >>> check({"s": Node(layer(add), ("x", "y"))}, {}, {"x": jnp.ones(2)}, "sum")
      Traceback (most recent call last):
      ValueError: 2 problems with the graph:
      - node 's' takes 'y', which is neither among the inputs ['x'] nor among the nodes ['s']
      - output 'sum' is not among the nodes ['s']
    """
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    return _graph_check.check(graph, params, inputs, names)


def forward(graph: Graph, params: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
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
    graph: Graph, params: Any, activations: Mapping[str, Array], g: Mapping[str, Any]
) -> Gradients:
    """Walk back from the outputs, and sum what comes back from every use.

    An operator that no gradient reaches is not asked.

    Args:
      graph: the nodes.
      params: as they were in `forward`.
      activations: what `forward` returned.
      g: the incoming gradients, ``{output: gradient of its shape}``: any nodes or inputs.

    Returns:
      The gradients by parameters and activations, and each use's share of those by weights.

    Raises:
      ValueError: g that does not fit its output, activations of another graph, or a rule whose
        gradients do not fit what they are gradients of, with the name of the node.
    """
    _check_backward(graph, activations, g)
    by_name: dict[str, Any] = {name: jnp.asarray(gradient) for name, gradient in g.items()}
    total = jax.tree.map(lambda _: None, params)
    contributions: dict[str, dict[str, Any]] = {}
    for name in reversed(_graph_check.order(graph)):
        if name not in by_name:
            continue
        node = graph[name]
        op, arrays, weight = _resolve(node, params, activations)
        rule = getattr(op, "backward", None) or functools.partial(_by_vjp, op)
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


class Equations(NamedTuple):
    """The equations of a graph, as text.

    Attributes:
      forward: of every node, in the order of the forward pass.
      backward: of the gradient by every activation, in the order of the backward pass.
      params: of the gradient by every weight.
    """

    forward: dict[str, str]
    backward: dict[str, str]
    params: dict[str, str]


def equations(graph: Graph, output: str) -> Equations:
    r"""Write down what `forward` and `backward` compute, with the transposed Jacobian of each use.

    Args:
      graph: the nodes.
      output: the node whose gradient is wanted.

    Returns:
      Name to equation.

    Raises:
      ValueError: a cycle, or the output is no node.

    Example:
      >>> from chainrule.ops.elementary import multiply, square
      >>> graph = {"s": Node(layer(multiply), ("x",), "w"), "q": Node(layer(square), ("s",))}
      >>> for part in equations(graph, "q"):
      ...     print("\n".join(part.values()))
      s = multiply(x; w)
      q = square(s)
      dq/dq = 1
      dq/ds = (dq/ds)^T dq/dq
      dq/dx = (ds/dx)^T dq/ds
      dq/dw = (ds/dw)^T dq/ds
    """
    if output not in graph:
        raise ValueError(f"output {output!r} is not among the nodes {list(graph)}")
    order = _graph_check.order(graph)
    terms: dict[str, list[str]] = {output: []}
    weights: dict[str, list[str]] = {}
    for name in reversed(order):
        if name not in terms:
            continue
        node = graph[name]
        for source in dict.fromkeys(node.inputs):
            terms.setdefault(source, []).append(f"(d{name}/d{source})^T d{output}/d{name}")
        if node.params is not None:
            term = f"(d{name}/d{node.params})^T d{output}/d{name}"
            weights.setdefault(node.params, []).append(term)
    inputs = [name for name in terms if name not in graph]
    backwards = [*(name for name in reversed(order) if name in terms), *inputs]
    return Equations(
        forward={name: f"{name} = {_call(graph[name])}" for name in order},
        backward={n: f"d{output}/d{n} = " + (" + ".join(terms[n]) or "1") for n in backwards},
        params={name: f"d{output}/d{name} = " + " + ".join(of) for name, of in weights.items()},
    )


def _call(node: Node) -> str:
    weight = "" if node.params is None else f"; {node.params}"
    return f"{_graph_check.name_of(node.op)}({', '.join(node.inputs)}{weight})"


def _resolve(
    node: Node, params: Any, activations: Mapping[str, Array]
) -> tuple[Callable[..., Any], list[Array], Any]:
    weight = None if node.params is None else _graph_check.look_up(params, node.params)
    return node.op, [activations[name] for name in node.inputs], weight


def _by_vjp(op: Callable[..., Any], g: Array, params: Any, *inputs: Array) -> tuple[Any, ...]:
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


def _check_backward(graph: Graph, activations: Mapping[str, Array], g: Mapping[str, Any]) -> None:
    if missing := [name for name in graph if name not in activations]:
        raise ValueError(f"no activations of {missing}: pass what forward returned for this graph")
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
            f"node {name!r}: the rule of {_graph_check.name_of(node.op)} returns "
            f"{_graph_check.text(gradients)} as gradients of (weight, *inputs) "
            f"{_graph_check.text(things)}: they must agree one by one"
        )
