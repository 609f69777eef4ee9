"""Operators of a graph, made of an operator on arrays or of a whole graph."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Array, PyTree

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models.dag._reading import check_graph, name_of
from chainrule.models.dag.graph import Graph
from chainrule.models.dag.passes import backward, by_vjp, forward
from chainrule.ops import backward_of

__all__ = ["Layer", "Operator", "layer", "operator"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Layer:
    """An operator on arrays as an operator of a graph: see `layer`.

    Attributes:
      operator: takes arrays by position and settings by keyword.
      settings: their names and values.
    """

    operator: Callable[..., Any]
    settings: tuple[tuple[str, Any], ...]

    @property
    def __name__(self) -> str:
        return name_of(self.operator)

    def __call__(self, params: PyTree, *inputs: AnyArray) -> Any:
        """Apply the operator to its arrays."""
        arrays, _ = self._arrange(params, inputs)
        return self.operator(*arrays, **dict(self.settings))

    def backward(self, g: AnyArray, params: PyTree, *inputs: AnyArray) -> tuple[Any, ...]:
        """Return the gradients of the weight and of each input, by the operator's own rule.

        Without a rule they are those of `jax.vjp`.
        """
        try:
            rule = backward_of(self.operator)
        except LookupError:
            return by_vjp(self, g, params, *inputs)
        arrays, slots = self._arrange(params, inputs)
        gradients = rule(g, *arrays, **dict(self.settings))
        gradients = gradients if len(arrays) > 1 else (gradients,)
        by_slot = dict(zip(slots, gradients, strict=True))
        by_inputs = [by_slot.pop(index) for index in range(len(inputs))]
        return by_slot if isinstance(params, Mapping) else by_slot.get(""), *by_inputs

    def _arrange(
        self, params: PyTree, inputs: Sequence[AnyArray]
    ) -> tuple[list[Array], list[str | int]]:
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
    """Make an operator of a graph of an operator on arrays and its rule.

    A weight that is a dict, such as ``{"kernel": ..., "bias": ...}``, is passed to the operator's
    arguments of these names, and the inputs take the other places in their order. A weight that is
    an array comes first.

    Args:
      operator: one of `chainrule.ops`, or any function that takes arrays by position.
      settings: passed by keyword, to the rule as well.

    Returns:
      A function ``op(params, *inputs)`` with a method ``backward(g, params, *inputs)``.

    Raises:
      ValueError: a setting that the operator does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.ops.linear import linear
      >>> op, ones = layer(linear), jnp.ones((2, 3))
      >>> params = {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}
      >>> op(params, ones).tolist()
      [[3.0], [3.0]]
      >>> by_params, by_inputs = op.backward(jnp.ones((2, 1)), params, ones)
      >>> {name: gradient.tolist() for name, gradient in by_params.items()}
      {'kernel': [[2.0], [2.0], [2.0]], 'bias': [2.0]}
    """
    _require.function("operator", operator, "of arrays")
    known = inspect.signature(operator).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    if not takes_any and (unknown := [name for name in settings if name not in known]):
        name = name_of(operator)
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

    def __call__(self, params: PyTree, *inputs: AnyArray) -> Array:
        """Return the activation of the output."""
        return self._forward(params, inputs)[self.output]

    def backward(self, g: AnyArray, params: PyTree, *inputs: AnyArray) -> tuple[Any, ...]:
        """Return the gradients of the weights and of each input, by `backward`."""
        activations = self._forward(params, inputs)
        gradients = backward(self.graph, params or {}, activations, {self.output: g})
        by_params = None if params is None else gradients.params
        return by_params, *(gradients.activations[name] for name in self.inputs)

    def _forward(self, params: PyTree, inputs: Sequence[AnyArray]) -> dict[str, Array]:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{len(inputs)} inputs for the {len(self.inputs)} {self.inputs}")
        return forward(self.graph, params or {}, dict(zip(self.inputs, inputs, strict=True)))


def operator(graph: Graph, inputs: tuple[str, ...], output: str) -> Operator:
    """Make an operator of a graph of another, inner graph.

    The inner weights are those below the name of the outer node's weight: for
    ``Node(op, ("x",), "branch")`` the inner weight ``"w"`` is ``params["branch"]["w"]``.

    Args:
      graph: the inner graph.
      inputs: the names of its inputs, in the order in which the outer node lists its own.
      output: the node whose activation is returned.

    Returns:
      A function ``op(params, *inputs)`` with a method ``backward(g, params, *inputs)``.

    Raises:
      ValueError: the output is no node of the graph, or two inputs have one name.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule.models.dag import Node
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
    check_graph(graph)
    if not isinstance(output, str) or output not in graph:
        raise ValueError(f"output {output!r} is not among the nodes {list(graph)}")
    if not isinstance(inputs, tuple | list) or not all(isinstance(name, str) for name in inputs):
        raise ValueError(f"inputs must be a tuple of names, not {inputs!r}")
    if len(set(inputs)) < len(inputs):
        raise ValueError(f"inputs {inputs}: a name twice, give each its own")
    return Operator(graph, tuple(inputs), output)
