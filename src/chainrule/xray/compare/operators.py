"""The operators of a program, each compiled by itself, once for all that are alike."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.compare.ways import Way
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.passes import Numbers, of_operators
from chainrule.xray.record import Record, entries, fields_of
from chainrule.xray.rerun import in_dtype

__all__ = ["Operators", "recorded"]
__dir__ = __all__.copy

_KEPT = 4096  # compiled operators, forward and back
_Backward = Callable[[Sequence[Any], Sequence[Any]], list[Any]]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """What operators have in common that run as one compiled program.

    Attributes:
      same: the primitive and its settings.
      dtype: in which it computes; None for its own.
      axes: of each input the one that runs over the steps of a loop, None of a constant; None of an
        operator outside.
      steps: of the loop.
      node: one of them.
    """

    same: Any
    dtype: _jax.Into | None
    axes: tuple[int | None, ...] | None
    steps: int
    node: Vertex = dataclasses.field(compare=False)

    def function(self) -> Callable[..., list[Any]]:
        operator = in_dtype(self.node, self.dtype)
        if self.axes is None:
            return operator
        if 0 in self.axes:
            return jax.vmap(lambda *one: list(operator(*one)), self.axes)
        return lambda *x: [jnp.broadcast_to(y, (self.steps, *y.shape)) for y in operator(*x)]


class Operators:
    """The operators of a graph, to run one by one.

    Args:
      graph: the graph.
      way: in which dtype, and where.
      steps: of the loop whose body it is: every array but a constant leads with that axis.
    """

    def __init__(self, graph: Graph, way: Way, steps: int | None = None) -> None:
        self.graph, self.way, self.steps = graph, way, steps
        self._kinds: dict[int, _Kind] = {}

    def forward(self, index: int, inputs: Sequence[Any]) -> list[Any]:
        """Return what an operator makes of some arrays."""
        if self.reshapes(index):
            return [_jax.reshaped(inputs[0], self.graph.nodes[index].avals[0].shape)]
        with self.way.context():
            return _forward(self._kind(index))(*self.way.put(list(inputs)))

    def back(
        self, index: int, inputs: Sequence[Any], wrt: Sequence[int], gs: Mapping[int, Any]
    ) -> list[Any]:
        """Return what an operator adds to the gradients of its inputs.

        Args:
          index: its number.
          inputs: what it takes.
          wrt: the numbers of the inputs.
          gs: the gradients of its outputs by their numbers; those of the others are 0.

        Returns:
          One array for each number in ``wrt``; None where it is 0 whatever the numbers are.
        """
        if self.reshapes(index) and list(wrt) == [0]:
            return [_jax.reshaped(gs[0], np.shape(inputs[0]))]
        with self.way.context():
            ready = _backward(self._kind(index), tuple(wrt), tuple(gs))
            return ready(*self.way.put((list(inputs), list(gs.values()))))

    def reshapes(self, index: int) -> bool:
        """Tell whether an operator hands on a large array, and only in another shape."""
        plain = self.steps is None and self.way.dtype is None and self.way.device is None
        return plain and _jax.only_reshapes(self.graph.nodes[index].equation)

    def pull(
        self,
        chunk: Sequence[int],
        values: Callable[[Slot], Any],
        flowing: Callable[[int], Collection[int]],
        gradients: dict[Slot, Any],
        fixed: Collection[Slot] = (),
    ) -> dict[Slot, Any]:
        """Go back through some operators, and return what each adds to what it takes.

        Args:
          chunk: their numbers, in the order of execution.
          values: returns what an operator takes.
          flowing: returns the numbers of the inputs through which an operator hands gradients on.
          gradients: of what they make; those of what they take are added.
          fixed: slots whose gradients are all given.

        Returns:
          The contributions: by node and number of the input.
        """
        found: dict[Slot, Any] = {}
        for i in reversed(chunk):
            node = self.graph.nodes[i]
            slots = (Slot(i, k) for k in range(len(node.avals)))
            gs = {s.output: gradients[s] for s in slots if s in gradients}
            wrt = list(flowing(i)) if gs else []
            parts = self.back(i, list(map(values, node.inputs)), wrt, gs) if wrt else ()
            for k, part in zip(wrt, parts, strict=True):
                if part is None:
                    continue
                found[Slot(i, k)] = part
                if (slot := node.inputs[k]) not in fixed:
                    gradients[slot] = gradients[slot] + part if slot in gradients else part
        return found

    def _kind(self, index: int) -> _Kind:
        if index not in self._kinds:
            node, axes = self.graph.nodes[index], None
            if self.steps is not None:
                fixed = (self.graph.nodes[slot.node].kind == "constant" for slot in node.inputs)
                axes = tuple(None if x else 0 for x in fixed)
            same, bare = _jax.kind(node.equation), Vertex(**fields_of(node))
            # What is compiled stays, and so would the arrays of an entry.
            self._kinds[index] = _Kind(same, self.way.dtype, axes, self.steps or 0, bare)
        return self._kinds[index]


@functools.lru_cache(_KEPT)
def _forward(kind: _Kind) -> Callable[..., list[Any]]:
    function = kind.function()
    return _jax.compile_alone(lambda *inputs: list(function(*inputs)))


@functools.lru_cache(_KEPT)
def _backward(kind: _Kind, wrt: tuple[int, ...], live: tuple[int, ...]) -> _Backward:
    function = kind.function()

    def back(inputs: Sequence[Any], gs: Sequence[Any]) -> list[Any]:
        def chosen(*some: Any) -> list[Any]:
            full = list(inputs)
            for k, x in zip(wrt, some, strict=True):
                full[k] = x
            outputs = list(function(*full))
            return [outputs[k] for k in live]

        outputs, vjp = jax.vjp(chosen, *(inputs[k] for k in wrt))
        cast = [jnp.asarray(g, y.dtype) for g, y in zip(gs, outputs, strict=True)]
        closed = jax.make_jaxpr(vjp)(cast)
        nonzero = _jax.reached(closed, [True] * len(cast))
        parts = zip(_jax.evaluate(closed, cast), nonzero, strict=True)
        return [part if hit else None for part, hit in parts]

    return _jax.compile_alone(back)


def recorded(base: Record, way: Way) -> Record:
    """Return the record of a program, run another way.

    Args:
      base: its record, compiled as the program is, or of what is inside a node of it; it keeps
        values.
      way: in a dtype or not, compiled or not, on a device.
    """
    plain = way.dtype is None and way.compiled
    if plain and way.device is None:
        return base
    program = base.program if plain else functools.partial(_run, base, way)
    with way.context():
        given = [way.put(node.value) for node in base.nodes if node.is_argument]
        given = [x if hasattr(x, "size") else jnp.asarray(x) for x in given]
        starts = tuple(way.put(list(base.starts)))
        numbers = program(given, starts)
    parameters = [node.index for node in base.nodes if node.kind == "parameter"]
    notes = {node.index: node.note for node in base.nodes if node.note}
    nodes = entries(base, numbers, given, keep="values", notes=notes, parameters=parameters)
    return dataclasses.replace(base, nodes=nodes, starts=starts, compiled=way.compiled)


def _run(base: Record, way: Way, arguments: Sequence[Any], starts: Sequence[Any]) -> Numbers:
    """Run a program operator by operator, forward and back: what flows is known of its record."""
    operators, given = Operators(base, way, base.steps), iter(arguments)
    values: list[tuple[Any, ...]] = []

    def value(slot: Slot) -> Any:
        return values[slot.node][slot.output]

    def flowing(index: int) -> list[int]:
        parts = base.nodes[index].contributions
        return [k for k, part in enumerate(parts) if part is not None]

    for i, node in enumerate(base.nodes):
        if node.is_argument:
            values.append((_into(next(given), way),))
        elif node.kind == "constant":
            values.append((node.constant,))
        else:
            values.append(tuple(operators.forward(i, list(map(value, node.inputs)))))
    gradients: dict[Slot, Any] = {}
    for slot, g in zip(base.outputs, starts, strict=True):
        if base.nodes[slot.node].cotangents[slot.output] is not None:
            gradients[slot] = gradients[slot] + g if slot in gradients else _into(g, way)
    chunk = [node.index for node in base.nodes if node.kind == "operator"]
    parts = operators.pull(chunk, value, flowing, gradients)

    def row(of: dict[Slot, Any], index: int, count: int) -> tuple[Any, ...]:
        return tuple(of.get(Slot(index, k)) for k in range(count))

    cotangents = [row(gradients, i, len(node.avals)) for i, node in enumerate(base.nodes)]
    contributions = [row(parts, i, len(node.inputs)) for i, node in enumerate(base.nodes)]
    return of_operators(base, Numbers(values, cotangents, contributions))


def _into(x: Any, way: Way) -> Any:
    return x if x is None or way.dtype is None else _jax.widen(x, way.dtype)
