"""Every operator of a second program, run on what the first one computed."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.compare.errors import Move, between, condition, draws
from chainrule.xray.compare.given import Given
from chainrule.xray.compare.operators import Operators
from chainrule.xray.compare.ways import Way
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import is_number

__all__ = ["Made", "Pairing", "Sweep"]
__dir__ = __all__.copy


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
        self.operators = Operators(second, way, first.steps)
        self._carried: dict[Slot, Any] = {}
        self.able = self._can_run()

    def true(self, slot: Slot) -> Any:
        """Return the first program's array for one of the second, in the second's layout."""
        return self.pairing.slots[slot].array(self.first.value, self.shape(slot))

    def felt(self, slot: Slot, ran: Any) -> tuple[Any, Any]:
        """Return the first's array and the second's, only those elements that have a gradient.

        What does not reach the results, as elements that are sliced away, hides no lost digits.
        """
        true, given = self.true(slot), self.pairing.slots[slot].slot
        g = self.first.nodes[given.node].cotangents[given.output]
        if g is None or not 0 < np.count_nonzero(g) < np.size(g):
            return true, ran
        return np.where(np.asarray(g) != 0, true, 0), np.where(np.asarray(g) != 0, ran, 0)

    def shape(self, slot: Slot) -> tuple[int, ...]:
        """Return the shape of an array of the second program, inside a loop with its steps."""
        lead = self.steps is not None and self.second.nodes[slot.node].kind != "constant"
        shape = tuple(self._aval(slot).shape)
        return (self.steps or 0, *shape) if lead else shape

    def taken(self, slot: Slot) -> Any:
        """Return what an operator of the second program takes from the first's array."""
        x, aval, into = self.true(slot), self._aval(slot), self.way.dtype
        wants = aval.dtype
        if jnp.issubdtype(wants, jnp.complexfloating):
            wants = jnp.complex128 if self.way.wide else wants
        elif jnp.issubdtype(wants, jnp.floating):
            if into is None and self._only_converted(slot):
                return x
            wants = wants if into in (None, _jax.TF32) else into.dtype
        if getattr(x, "dtype", None) == wants or not is_number(aval):
            return x
        with np.errstate(all="ignore"):  # what is too large for the type becomes infinite
            return np.asarray(x).astype(wants)

    def _aval(self, slot: Slot) -> Any:
        return self.second.nodes[slot.node].avals[slot.output]

    def _only_converted(self, slot: Slot) -> bool:
        """Whether only a change of its type reads an array, so that it need not be rounded."""
        readers = [use.node for use in self.second.readers[slot]]
        nodes = (None if k is None else self.second.nodes[k].op for k in readers)
        return all(op == "convert_element_type" for op in nodes)

    def run(self) -> Iterator[Made]:
        """Yield what each operator makes, forward, and what it hands back."""
        for i in sorted(self.able):
            node = self.second.nodes[i]
            made = self.make(i, self._carried)
            for k, array in enumerate(made):
                if Slot(i, k) in self.pairing.slots:
                    yield Made(i, k, False, array)
                elif self.second.readers[Slot(i, k)]:
                    self._carried[Slot(i, k)] = array
            wrt, gs = self._pulls(i)
            parts = [node.contributions[k] for k in wrt]
            got = all(gs.get(k) is g for k, g in enumerate(node.cotangents))
            known = got and all(part is not None for part in parts)
            if wrt and not (known and self._is_same(i, self._carried)):
                inputs = [self.value(slot, self._carried) for slot in node.inputs]
                parts = self._back(i, inputs, wrt, gs)
            for k, part in zip(wrt, parts, strict=True):
                yield Made(i, k, True, part)

    def make(self, index: int, made: Mapping[Slot, Any]) -> Sequence[Any]:
        """Return what an operator makes of the first's arrays.

        Args:
          index: its number.
          made: arrays to take instead, and what has no counterpart.
        """
        node = self.second.nodes[index]
        if self._is_same(index, made):
            return node.values
        return self.operators.forward(index, [self.value(s, made) for s in node.inputs])

    def _is_same(self, index: int, made: Mapping[Slot, Any]) -> bool:
        """Tell whether an operator takes what it took in the second run, and so makes the same."""
        if self.first is self.second:  # the one record of a body, which runs in two ways
            return False
        return all(self._ran_on(slot, made) for slot in self.second.nodes[index].inputs)

    def _ran_on(self, slot: Slot, made: Mapping[Slot, Any]) -> bool:
        if slot in made:
            return made[slot] is self.second.value(slot)
        if (given := self.pairing.slots.get(slot)) is None:
            return self.second.nodes[slot.node].kind != "operator"
        plain = given.axes is None and given.whole
        return plain and self.first.value(given.slot) is self.second.value(slot)

    def _back(
        self, index: int, inputs: Sequence[Any], wrt: Sequence[int], gs: Mapping[int, Any]
    ) -> list[Any]:
        slots = (self.second.nodes[index].inputs[k] for k in wrt)
        pairs = zip(slots, self.operators.back(index, inputs, wrt, gs), strict=True)
        return [np.zeros(self.shape(s), np.float32) if part is None else part for s, part in pairs]

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

    def _pulls(self, index: int) -> tuple[list[int], dict[int, Any]]:
        """Return which inputs of an operator get a gradient to compare, and its outputs' own."""
        if index not in self.pairing.nodes:
            return [], {}
        node, of = self.second.nodes[index], self.first.nodes[self.pairing.nodes[index]]
        wrt = [
            k
            for k, (slot, part) in enumerate(zip(node.inputs, of.contributions, strict=True))
            if part is not None and self.shape(slot) == np.shape(part)
        ]
        gs = {k: g for k, g in enumerate(of.cotangents) if g is not None}
        fits = all(np.shape(g) == self.shape(Slot(index, k)) for k, g in gs.items())
        return (wrt, gs) if wrt and gs and fits else ([], {})

    def value(self, slot: Slot, made: Mapping[Slot, Any]) -> Any:
        """Return what is in a slot: of what was made, else the first's array, where there is one.

        Raises:
          KeyError: it is made by an operator without a counterpart, and was not.
        """
        node = self.second.nodes[slot.node]
        if slot in made:
            return made[slot]
        if slot in self.pairing.slots:
            return self.taken(slot)
        if node.is_argument:
            return _array(node.value)
        if node.kind == "operator":
            raise KeyError(slot)
        numbers = is_number(node.avals[0])
        return jnp.asarray(node.constant, node.avals[0].dtype) if numbers else node.constant

    def alone(self, node: Entry, of: Entry) -> Any:
        """Return what an operator makes of just what one of the first takes; None if it cannot."""
        if len(of.inputs) != len(node.inputs) or not of.values or self.steps is not None:
            return None
        inputs = []
        for slot, other in zip(node.inputs, of.inputs, strict=True):
            aval = self.second.nodes[slot.node].avals[slot.output]
            x = self.first.value(other)
            if self.second.nodes[slot.node].kind == "constant":
                x = self.second.nodes[slot.node].constant
            fits = np.shape(x) == tuple(aval.shape) or node.known.elementwise  # it may spread
            if not fits or not is_number(aval):
                return None
            inputs.append(np.asarray(x).astype(aval.dtype))
        with contextlib.suppress(TypeError):  # shapes that do not spread
            return self.operators.forward(node.index, inputs)[0]
        return None

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
        chunk, nodes, slots = self.region(made.node), self.second.nodes, self.pairing.slots
        given = dict.fromkeys(s for i in chunk for s in nodes[i].inputs)
        taken = {
            s: self.value(s, self._carried)
            for s in given
            if s in slots or nodes[s.node].is_argument
        }
        gs = self._pulls(made.node)[1] if made.backward else {}

        def run(move: Move) -> Any:
            values = {s: move(x) for s, x in taken.items()}
            for i in chunk[:-1]:
                for k, y in enumerate(self.make(i, values)):
                    if Slot(i, k) not in slots:
                        values[Slot(i, k)] = move(y, each=False)
            if not made.backward:
                return self.make(made.node, values)[made.number]
            inputs = [self.value(s, values) for s in nodes[made.node].inputs]
            changed = {k: move(g) for k, g in gs.items()}
            return self._back(made.node, inputs, [made.number], changed)[0]

        return condition(between(made.array, x) for x in draws(run, eps))


def _array(x: Any) -> Any:
    return x if hasattr(x, "size") else jnp.asarray(x)
