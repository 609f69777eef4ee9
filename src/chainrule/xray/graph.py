"""The graph of one call: which operator takes what from where, before any number is known."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax, _lines
from chainrule.xray.primitives import Primitive, known

__all__ = ["Graph", "Slot", "Use", "Vertex", "active", "build", "differentiable"]
__dir__ = __all__.copy


class Slot(NamedTuple):
    """One array: output number ``output`` of the node number ``node``."""

    node: int
    output: int


class Use(NamedTuple):
    """Who reads a slot: the node number ``node`` as input number ``position``.

    ``node`` is None where it is a result of the function, and ``position`` which one.
    """

    node: int | None
    position: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Vertex:
    """An argument, a constant or an operator of a graph.

    Attributes:
      kind: "parameter" (an argument inside a dict, a list or another container, or one that argnums
        names), "input" (another argument), "constant" or "operator".
      op: the primitive (``"mul"``), the function that has a custom rule (``"relu"``), or the kind.
      custom: whether it is a function that has a custom rule.
      name: the path of an argument (``"params['layer1']['kernel']"``), else "".
      inputs: the slot behind each input, one per use.
      avals: shape and dtype of each output.
      line: ``file:line (function)`` in the user's code; "" for arguments and constants.
      within: the innermost line, which differs from ``line`` inside an installed library.
      outer: the user's outermost line, from which all of this was called.
      scope: the `jax.named_scope` around it, separated by slashes.
      calls: the jitted or rematerialized functions around it, outermost first.
      path: scopes and functions around it, outermost first, each with its kind ("scope",
        "function", or "call" of a jitted function or a library's) and what tells two calls apart.
      transforms: what made it out of another operator, outermost first: ("transpose", "jvp") of the
        backward pass of a `jax.grad` inside the function.
      equation: what JAX runs; None for arguments and constants.
      constant: the number of a constant.
    """

    kind: Literal["parameter", "input", "constant", "operator"]
    op: str
    custom: bool = False
    name: str = ""
    inputs: tuple[Slot, ...] = ()
    avals: tuple[Any, ...]
    line: str = ""
    within: str = ""
    outer: str = ""
    scope: str = ""
    calls: tuple[str, ...] = ()
    path: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    transforms: tuple[str, ...] = ()
    equation: Any = dataclasses.field(default=None, repr=False)
    constant: Any = dataclasses.field(default=None, repr=False)

    @property
    def is_argument(self) -> bool:
        """Whether it is an argument of the function."""
        return self.kind in ("parameter", "input")

    @property
    def known(self) -> Primitive:
        """What the table of `chainrule.xray.primitives` says of the operator."""
        return known(self.op, self.custom)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Arguments, constants and operators in the order of execution, and the slots of the results.

    Attributes:
      nodes: each reads only nodes before it.
      outputs: node and output number of each result, flat.
    """

    nodes: tuple[Vertex, ...]
    outputs: tuple[Slot, ...]

    @functools.cached_property
    def readers(self) -> dict[Slot, tuple[Use, ...]]:
        """Who reads each slot: operators in the order of execution, then results."""
        found: dict[Slot, list[Use]] = {slot: [] for slot in self.slots()}
        for index, node in enumerate(self.nodes):
            for position, slot in enumerate(node.inputs):
                found[slot].append(Use(index, position))
        for position, slot in enumerate(self.outputs):
            found[slot].append(Use(None, position))
        return {slot: tuple(uses) for slot, uses in found.items()}

    def slots(self) -> Iterator[Slot]:
        """Yield every output of every node."""
        for index, node in enumerate(self.nodes):
            for output in range(len(node.avals)):
                yield Slot(index, output)


class _Place(NamedTuple):
    calls: tuple[str, ...] = ()
    scope: str = ""
    line: str = ""  # of the call, or of the operator whose body this is: for what has none
    within: str = ""
    outer: str = ""
    library: bool = False  # whether this is the body of a library's function
    path: tuple[tuple[str, str], ...] = ()


class _Builder:
    def __init__(self, unroll: bool) -> None:
        self.unroll = unroll
        self.nodes: list[Vertex] = []
        self._constants: dict[int, Slot] = {}
        self._last: dict[tuple[tuple[str, str], ...], tuple[int, int]] = {}

    def add(self, node: Vertex) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def constant(self, value: Any) -> Slot:
        """One node for each array closed over, and one for each use of a plain number."""
        key = id(value)
        if key not in self._constants or not jnp.ndim(value):
            aval = jax.typeof(value)
            if not hasattr(value, "size"):
                value = np.asarray(value, aval.dtype)
            node = Vertex(kind="constant", op="constant", avals=(aval,), constant=value)
            index = self.add(node)
            self._constants[key] = Slot(index, 0)
        return self._constants[key]

    def told_apart(
        self, path: tuple[tuple[str, str], ...], calls: Sequence[_lines.Call]
    ) -> tuple[tuple[str, str], ...]:
        """Add calls to a path, those of one place in a loop with a number each.

        A function without a loop never goes back: where it does, it was called again.
        """
        for call in calls:
            key = (*path, call[:2])
            last, number = self._last.get(key, (call.place, 0))
            number += call.straight and call.place < last
            self._last[key] = call.place, number
            kind = "call" if call.library else "function"
            path = (*path, (call.name, f"{kind} {call.caller}:{number}"))
        return path

    def walk(
        self, closed: _jax.ClosedJaxpr, arguments: Sequence[Slot], place: _Place
    ) -> list[Slot]:
        where: dict[Any, Slot] = dict(zip(closed.jaxpr.invars, arguments, strict=True))
        where |= {
            v: self.constant(value)
            for v, value in zip(closed.jaxpr.constvars, closed.consts, strict=True)
        }

        def slot(v: Any) -> Slot:
            return self.constant(v.val) if isinstance(v, _jax.Literal) else where[v]

        for eqn in closed.jaxpr.eqns:
            inputs = [slot(v) for v in eqn.invars]
            here = _at(eqn, place)
            path = self.told_apart(here.path, _functions(eqn, place))
            body = _jax.group(eqn)
            steps = _jax.unrolled(eqn) if self.unroll else None
            if steps is not None:
                into = place._replace(scope=here.scope, line=here.line, outer=here.outer, path=path)
                outputs = self.walk(steps, inputs, into)
            elif body is None:
                node = Vertex(
                    kind="operator",
                    op=_jax.name(eqn),
                    custom=_jax.custom_rule(eqn) is not None,
                    inputs=tuple(inputs),
                    avals=tuple(v.aval for v in eqn.outvars),
                    line=here.line,
                    within=here.within,
                    outer=here.outer,
                    scope=here.scope,
                    calls=place.calls,
                    path=path,
                    transforms=_lines.transforms(eqn),
                    equation=eqn,
                )
                index = self.add(node)
                outputs = [Slot(index, k) for k in range(len(eqn.outvars))]
            else:
                call = (_jax.function_name(body), f"call {len(self.nodes)}")
                outputs = self.walk(body, inputs, _into(body, here, place, (*path, call)))
            where.update(zip(eqn.outvars, outputs, strict=True))
        return [slot(v) for v in closed.jaxpr.outvars]


def _at(eqn: Any, place: _Place) -> _Place:
    own = _lines.scope(eqn)
    scope = "/".join(part for part in (place.scope, own) if part)
    path = place.path + tuple((part, "scope") for part in own.split("/") if part)
    line, within, outer = _lines.lines(eqn)
    within = within or place.within or place.line
    outer = place.outer or outer
    return _Place(place.calls, scope, line or place.line or within, within, outer, path=path)


def _into(body: _jax.ClosedJaxpr, here: _Place, place: _Place, path: Any) -> _Place:
    calls = (*place.calls, _jax.function_name(body))
    library = place.library or _jax.is_library(body)
    return here._replace(calls=calls, library=library, path=path)


def _functions(eqn: Any, place: _Place) -> tuple[_lines.Call, ...]:
    """Return the plain Python functions below the last jitted one, each with its call."""
    if place.library:
        return ()
    functions = _lines.functions(eqn)
    if place.calls:
        names = [call.name for call in functions]
        last = place.calls[-1]
        below = len(names) - names[::-1].index(last) if last in names else max(len(names) - 1, 0)
        return functions[below:]
    return functions[1:]  # the first is the function that is recorded


def build(
    closed: _jax.ClosedJaxpr, names: Sequence[str], line: str = "", unroll: bool = False
) -> Graph:
    """Return the graph of a traced function.

    Args:
      closed: the function, traced.
      names: what to call each of its arguments.
      unroll: whether every step of a scan shows its operators.
      line: the line of the operator that it is the body of, "" of anything else.

    Returns:
      The graph; jit and remat are looked into, everything else is one node.
    """
    builder = _Builder(unroll)
    arguments = [
        Slot(builder.add(Vertex(kind="input", op="input", name=name, avals=(v.aval,))), 0)
        for name, v in zip(names, closed.jaxpr.invars, strict=True)
    ]
    library = bool(line) and _jax.is_library(closed)
    outputs = builder.walk(closed, arguments, _Place(line=line, library=library))
    return Graph(nodes=tuple(builder.nodes), outputs=tuple(outputs))


def differentiable(aval: Any) -> bool:
    """Tell whether an array of this type can carry a gradient."""
    return bool(jnp.issubdtype(aval.dtype, jnp.inexact))


def active(graph: Graph, wanted: Sequence[int], also: Collection[Slot] = ()) -> set[Slot]:
    """Return the slots between the wanted inputs, and others, and the results."""
    forward = {Slot(i, 0) for i in wanted} | set(also)
    for i, node in enumerate(graph.nodes):
        # jax.grad stops there, and so never asks what lies before for a derivative.
        if not node.known.flat and any(slot in forward for slot in node.inputs):
            forward |= {Slot(i, k) for k, a in enumerate(node.avals) if differentiable(a)}
    needed = set(graph.outputs) & forward
    for i in reversed(range(len(graph.nodes))):
        node = graph.nodes[i]
        if any(Slot(i, k) in needed for k in range(len(node.avals))):
            needed |= set(node.inputs) & forward
    return needed
