"""Every operator of a second program, run on what the first one computed."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.compare.errors import DRAWS, STEPS, between, moved
from chainrule.xray.compare.given import Given
from chainrule.xray.compare.ways import Way
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import is_number

__all__ = ["Made", "Pairing", "Sweep"]
__dir__ = __all__.copy

_CHUNK = 2**28  # bytes that are made before they are measured


@dataclasses.dataclass(frozen=True)
class Pairing:
    """What of two programs belongs together.

    Attributes:
      slots: from the second program's arrays to those of the first.
      nodes: from operators of the second to those of the first that take the same arrays in the
        same places, so that their gradients can be compared one by one.
      weak: the numbers of the second's operators whose counterparts are made of other arrays.
      notes: what was done to match them.
      loops: from loops of the second to those of the first that take the same, but hand on other
        arrays.
      short: the numbers of the second's operators in whose place the first has several.
    """

    slots: Mapping[Slot, Given]
    nodes: Mapping[int, int]
    weak: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    loops: Mapping[int, int] = dataclasses.field(default_factory=dict)
    short: frozenset[int] = frozenset()


class Made(NamedTuple):
    """What an operator of the second program makes of the first's arrays.

    Attributes:
      node: its number.
      number: which output, or backward which input's contribution.
      backward: whether it is a contribution.
      array: the array.
    """

    node: int
    number: int
    backward: bool
    array: Any


class Sweep:
    """The operators of the second program on the arrays of the first.

    Args:
      first: the record whose arrays are taken.
      second: the record, or the graph, whose operators run.
      pairing: what belongs together.
      way: how they run.
    """

    def __init__(self, first: Record, second: Record, pairing: Pairing, way: Way) -> None:
        self.first, self.second, self.pairing, self.way = first, second, pairing, way
        self.steps = first.steps
        self._carried: dict[Slot, Any] = {}
        self.able = self._can_run()

    def true(self, slot: Slot) -> Any:
        """Return the first program's array for one of the second, in the second's layout."""
        return self.pairing.slots[slot].array(self.first.value, self.shape(slot))

    def shape(self, slot: Slot) -> tuple[int, ...]:
        """Return the shape of an array of the second program, inside a loop with its steps."""
        node = self.second.nodes[slot.node]
        lead = self.steps is not None and node.kind != "constant"
        shape = tuple(node.avals[slot.output].shape)
        return (self.steps or 0, *shape) if lead else shape

    def taken(self, slot: Slot) -> Any:
        """Return what an operator of the second program takes from the first's array."""
        x, aval = self.true(slot), self.second.nodes[slot.node].avals[slot.output]
        if not jnp.issubdtype(aval.dtype, jnp.inexact):
            return (
                x
                if getattr(x, "dtype", None) == aval.dtype or not is_number(aval)
                else (np.asarray(x).astype(aval.dtype))
            )
        into = self.way.dtype
        wants = aval.dtype if into is None or into is _jax.TF32 else into.dtype
        if into is None and wants != getattr(x, "dtype", wants) and self._only_converted(slot):
            return x
        if jnp.issubdtype(aval.dtype, jnp.complexfloating):
            wants = jnp.complex128 if self.way.wide else aval.dtype
        if getattr(x, "dtype", None) == wants:
            return x
        with np.errstate(all="ignore"):  # what is too large for the type becomes infinite
            return np.asarray(x).astype(wants)

    def _only_converted(self, slot: Slot) -> bool:
        """Whether only a change of its type reads an array, so that it need not be rounded."""
        readers = [use.node for use in self.second.readers[slot]]
        return all(
            k is not None and self.second.nodes[k].op == "convert_element_type" for k in readers
        )

    def run(self) -> Iterator[Made]:
        """Yield what each operator makes, forward, and what it hands back."""
        chunk: list[int] = []
        size = 0
        for node in self.second.nodes:
            if node.index not in self.able:
                continue
            chunk.append(node.index)
            size += sum(_bytes(aval) for aval in node.avals)
            if size > _CHUNK:
                yield from self._chunk(chunk)
                chunk, size = [], 0
        if chunk:
            yield from self._chunk(chunk)

    def _can_run(self) -> set[int]:
        """Return the operators that the shapes allow to run on the first program's arrays."""
        able: set[int] = set()
        for node in self.second.nodes:
            if node.kind == "operator" and all(self._fits(slot, able) for slot in node.inputs):
                able.add(node.index)
        return able

    def _fits(self, slot: Slot, able: set[int]) -> bool:
        node = self.second.nodes[slot.node]
        if slot not in self.pairing.slots:  # computed from what has a counterpart
            return node.kind != "operator" or slot.node in able
        given = self.pairing.slots[slot]
        shape = self.first.nodes[given.slot.node].avals[given.slot.output].shape
        return given.size(tuple(shape)) == math.prod(node.avals[slot.output].shape)

    def _pulls(self, index: int) -> tuple[list[int], list[int]]:
        """Return which inputs of an operator get a gradient to compare, and from which outputs."""
        if index not in self.pairing.nodes:
            return [], []
        node, of = self.second.nodes[index], self.first.nodes[self.pairing.nodes[index]]
        wrt = [
            k
            for k, (slot, part) in enumerate(zip(node.inputs, of.contributions, strict=True))
            if part is not None and self.shape(slot) == np.shape(part)
        ]
        live = [k for k, g in enumerate(of.cotangents) if g is not None]
        fits = all(np.shape(of.cotangents[k]) == self.shape(Slot(index, k)) for k in live)
        return (wrt, live) if wrt and live and fits else ([], [])

    def _chunk(self, chunk: Sequence[int]) -> Iterator[Made]:
        inputs = self.gather(chunk)
        gs: dict[Slot, Any] = {}
        for i in chunk:
            _, live = self._pulls(i)
            of = self.first.nodes[self.pairing.nodes.get(i, 0)]
            gs |= {Slot(i, k): of.cotangents[k] for k in live}
        slots, outs = list(inputs), list(gs)

        def program(arrays: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
            values = dict(zip(slots, arrays, strict=True))
            incoming = dict(zip(outs, gradients, strict=True))
            return [self.operate(i, values, incoming) for i in chunk]

        found = self.way.whole(program)(
            self.way.put(list(inputs.values())), self.way.put(list(gs.values()))
        )
        for i, (made, parts) in zip(chunk, found, strict=True):
            for k, array in enumerate(made):
                if Slot(i, k) in self.pairing.slots:
                    yield Made(i, k, False, array)
                elif self.second.readers[Slot(i, k)]:
                    self._carried[Slot(i, k)] = array
            for k, part in zip(self._pulls(i)[0], parts, strict=True):
                yield Made(i, k, True, part)

    def gather(
        self, chunk: Sequence[int], carried: Mapping[Slot, Any] | None = None
    ) -> dict[Slot, Any]:
        """Return what operators take from outside: the first's arrays, where there are any."""
        carried = self._carried if carried is None else carried
        inputs: dict[Slot, Any] = {}
        for i in chunk:
            for slot in self.second.nodes[i].inputs:
                node = self.second.nodes[slot.node]
                if slot in self.pairing.slots:
                    inputs[slot] = self.taken(slot)
                elif node.is_argument:
                    inputs[slot] = _array(node.value)
                elif node.kind == "operator" and slot.node not in chunk:
                    inputs[slot] = carried[slot]
        return inputs

    def operate(
        self, index: int, values: dict[Slot, Any], incoming: Mapping[Slot, Any]
    ) -> tuple[list[Any], list[Any]]:
        """Run one operator forward and back, and add what has no counterpart to the values."""
        node = self.second.nodes[index]
        inputs = [self._input(slot, values) for slot in node.inputs]
        wrt, live = self._pulls(index)
        operator = self._operator(node)
        parts: Sequence[Any] = []
        if not wrt or any(Slot(index, k) not in incoming for k in live):
            outputs = list(operator(*inputs))
        else:
            outputs, pull = _pull(operator, inputs, wrt, live)
            gs = [jnp.asarray(incoming[Slot(index, k)], outputs[k].dtype) for k in live]
            parts = pull(gs)
        for k, array in enumerate(outputs):
            if Slot(index, k) not in self.pairing.slots:
                values[Slot(index, k)] = array
        return outputs, list(parts)

    def _operator(self, node: Entry) -> Callable[..., list[Any]]:
        operator = self.way.operator(node)
        if self.steps is None:
            return operator
        constant = [self.second.nodes[slot.node].kind == "constant" for slot in node.inputs]
        if all(constant):
            return lambda *inputs: [
                jnp.broadcast_to(y, (self.steps or 0, *y.shape)) for y in operator(*inputs)
            ]
        axes = [None if fixed else 0 for fixed in constant]
        return lambda *inputs: jax.vmap(lambda *one: list(operator(*one)), axes)(*inputs)

    def _input(self, slot: Slot, values: Mapping[Slot, Any]) -> Any:
        node = self.second.nodes[slot.node]
        if slot in values:
            return values[slot]
        return (
            jnp.asarray(node.constant, node.avals[0].dtype)
            if is_number(node.avals[0])
            else node.constant
        )

    def alone(self, index: int) -> Any:
        """Return what an operator makes of just what its counterpart takes; None if it cannot."""
        node = self.second.nodes[index]
        given = self.pairing.slots.get(Slot(index, 0))
        if given is None or not given.whole:
            return None
        of = self.first.nodes[given.slot.node]
        if len(of.inputs) != len(node.inputs) or self.steps is not None:
            return None
        inputs = []
        for slot, other in zip(node.inputs, of.inputs, strict=True):
            aval = self.second.nodes[slot.node].avals[slot.output]
            x = self.first.value(other)
            if self.second.nodes[slot.node].kind == "constant":
                x = self.second.nodes[slot.node].constant
            if np.shape(x) != tuple(aval.shape) or not is_number(aval):
                return None
            inputs.append(np.asarray(x).astype(aval.dtype))
        return self.way.whole(lambda *x: list(self.way.operator(node)(*x)))(*inputs)[0]

    def region(self, index: int) -> list[int]:
        """Return an operator and those before it without a counterpart that it is made of."""
        found, todo = {index}, [index]
        while todo:
            for slot in self.second.nodes[todo.pop()].inputs:
                unmatched = slot not in self.pairing.slots
                operator = self.second.nodes[slot.node].kind == "operator"
                if unmatched and operator and slot.node not in found:
                    found.add(slot.node)
                    todo.append(slot.node)
        return sorted(found)

    def spread(self, made: Made, eps: float) -> tuple[float, float]:
        """Return how far an operator's result moves as its inputs move by a unit in the last place.

        Of what is made by several operators without counterparts, theirs move too. The norm of the
        change, and its largest element.
        """
        chunk = self.region(made.node)
        inputs = self.gather(chunk)
        wrt, live = self._pulls(made.node) if made.backward else ([], [])
        of = self.first.nodes[self.pairing.nodes.get(made.node, 0)]
        gs = [of.cotangents[k] for k in live]
        slots = list(inputs)
        noisy = [Slot(i, k) for i in chunk[:-1] for k in range(len(self.second.nodes[i].avals))]

        def program(arrays: Sequence[Any], gradients: Sequence[Any], noise: Sequence[Any]) -> Any:
            values = dict(zip(slots, arrays, strict=True))
            signs = dict(zip(noisy, noise, strict=True))
            incoming = {Slot(made.node, k): g for k, g in zip(live, gradients, strict=True)}
            for i in chunk:
                outputs, parts = self.operate(i, values, incoming)
                for k, y in enumerate(outputs[: len(self.second.nodes[i].avals)]):
                    if (slot := Slot(i, k)) in signs and slot in values and _jax.is_float(y):
                        values[slot] = y * jnp.asarray(1 + signs[slot], y.dtype)
            return parts[wrt.index(made.number)] if made.backward else outputs[made.number]

        ready = self.way.whole(program)
        noise_of = [0.0 for _ in noisy]
        plain = ready(list(inputs.values()), gs, noise_of)
        norm = most = 0.0
        draw = np.random.default_rng(0)
        step = STEPS * eps
        for _ in range(DRAWS):
            noise = [float(step * draw.choice((-1.0, 1.0))) for _ in noisy]
            arrays = [moved(x, step, draw) for x in inputs.values()]
            error = between(plain, ready(arrays, [moved(g, step, draw) for g in gs], noise))
            norm, most = max(norm, error.norm / STEPS), max(most, error.most / STEPS)
        return norm, most


def _pull(
    operator: Callable[..., list[Any]], inputs: list[Any], wrt: list[int], live: list[int]
) -> tuple[list[Any], Callable[[Sequence[Any]], Sequence[Any]]]:
    def chosen(*some: Any) -> tuple[list[Any], list[Any]]:
        full = list(inputs)
        for k, x in zip(wrt, some, strict=True):
            full[k] = x
        outputs = list(operator(*full))
        return [outputs[k] for k in live], outputs

    _, vjp, outputs = jax.vjp(chosen, *(inputs[k] for k in wrt), has_aux=True)
    return outputs, lambda gs: vjp(list(gs))


def _array(x: Any) -> Any:
    return x if hasattr(x, "size") else jnp.asarray(x)


def _bytes(aval: Any) -> int:
    return math.prod(aval.shape) * jnp.dtype(aval.dtype).itemsize if is_number(aval) else 0
