"""To which arrays of a record a gradient comes, those included for which JAX computes none."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.elements import plain
from chainrule.xray.graph import Graph, Slot, active, differentiable
from chainrule.xray.passes import run
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats

__all__ = ["Arrivals", "again", "is_zero", "made"]
__dir__ = __all__.copy


class Arrivals:
    """Where gradients come in one record.

    Args:
      record: the record.
      wanted: the numbers of its arguments to which gradients have to go.
      results: which of its results that are integers something depends on that gets a gradient.
      carried: of the body of a loop, result number to the argument that it becomes.
      thorough: whether to compute the gradients that JAX leaves out: those of steps and of what
        follows integers, because none goes on from there. Without them, one is taken to come
        wherever something depends on it that gets one.

    Attributes:
      record: the record, with those gradients.
      depends: the arrays that depend on what is wanted.
      upstream: the arrays that the result depends on.
      unknown: the arrays whose gradient is not known: not computed, or beyond a while, which has
        none.
      came: the arrays to which a gradient comes; of integers, those that decide about an array to
        which one does.
    """

    def __init__(
        self,
        record: Record,
        wanted: Collection[int],
        results: Collection[int],
        carried: Mapping[int, int],
        thorough: bool,
    ) -> None:
        self.carried = carried
        self.depends = self._depending(record, wanted)
        rows = enumerate(record.outputs)
        ends = [slot for k, slot in rows if record.starts[k] is not None or k in results]
        self.upstream = self.behind(record, ends)
        self.unknown = {
            slot
            for slot in self.depends & self.upstream
            if differentiable(record.nodes[slot.node].avals[slot.output])
        } - active(record, record.wanted)
        self.record = record
        if thorough and self.unknown:
            self.record, self.unknown = _with_gradients(record, self.unknown)
        self.came = self._arrived(set(results))

    def comes(self, node: Entry) -> bool:
        """Tell whether a gradient comes to an output of a node."""
        return any(slot in self.came for slot in made(node))

    def is_float(self, slot: Slot) -> bool:
        """Tell whether an array can carry a gradient."""
        return differentiable(self.record.nodes[slot.node].avals[slot.output])

    def behind(self, graph: Graph, slots: Collection[Slot]) -> set[Slot]:
        """Return the arrays that some depend on, these included, in earlier steps of a loop too."""
        found, before = set(slots), -1
        while len(found) > before:
            before = len(found)
            for i in reversed(range(len(graph.nodes))):
                node = graph.nodes[i]
                if any(Slot(i, k) in found for k in range(len(node.avals))):
                    found.update(node.inputs)
            found |= {graph.outputs[k] for k, i in self.carried.items() if Slot(i, 0) in found}
        return found

    def _depending(self, record: Record, wanted: Collection[int]) -> set[Slot]:
        found, before = {Slot(i, 0) for i in wanted}, -1
        while len(found) > before:
            before = len(found)
            for node in record.nodes:
                if any(slot in found for slot in node.inputs):
                    found.update(made(node))
            found |= {Slot(i, 0) for k, i in self.carried.items() if record.outputs[k] in found}
        return found

    def _arrived(self, results: set[int]) -> set[Slot]:
        while True:
            came: set[Slot] = set()
            for node in reversed(self.record.nodes):
                came.update(slot for slot in made(node) if self._arrives(slot, came, results))
            # What an integer decides in the next step of a loop, it decides in this one.
            carried = [k for k, i in self.carried.items() if Slot(i, 0) in came]
            more = {k for k in carried if not self.is_float(self.record.outputs[k])}
            if more <= results:
                return came
            results |= more

    def _arrives(self, slot: Slot, came: set[Slot], results: set[int]) -> bool:
        node = self.record.nodes[slot.node]
        floats = differentiable(node.avals[slot.output])
        if floats and slot not in self.unknown:
            return not is_zero(node.cotangents[slot.output] if node.cotangents else None)
        for use in self.record.readers[slot]:
            if use.node is None:
                hit = self.record.starts[use.position] is not None or use.position in results
            else:
                reader = self.record.nodes[use.node]
                hit = any(s in came and (self.is_float(s) or not floats) for s in made(reader))
                hit = hit and not (floats and reader.known.flat)
            if hit:
                return True
        return False

    def ends(self, start: int) -> tuple[set[int], set[Slot]]:
        """Follow what depends on an argument to where a gradient comes.

        Returns:
          The operators that let none through, and the arrays to which some comes that adds up to 0.
        """
        stops: set[int] = set()
        sums: set[Slot] = set()
        seen, todo = {Slot(start, 0)}, [Slot(start, 0)]
        while todo:
            slot = todo.pop()
            for use in self.record.readers[slot] if slot in self.upstream else ():
                if use.node is None:
                    continue
                node = self.record.nodes[use.node]
                if not self.comes(node):
                    new = [s for s in made(node) if s not in seen]
                    seen.update(new)
                    todo += new
                elif is_zero(node.contributions[use.position]):
                    stops.add(node.index)
                else:
                    sums.add(slot)
        return stops, sums


def is_zero(g: Any) -> bool:
    """Tell whether a gradient is exactly 0; None is."""
    if isinstance(g, Stats):
        return not (g.norm or g.nans or g.infs)
    return g is None or not np.any(plain(g))


def made(node: Entry) -> Iterator[Slot]:
    """Yield what a node makes."""
    return (Slot(node.index, k) for k in range(len(node.avals)))


def again(record: Record, f: Callable[[Any, Any], Any]) -> Callable[[Sequence[Any]], Any]:
    """Return a function of gradients that runs a record again, in a loop every step by itself.

    Args:
      record: the record; it keeps values.
      f: what to run, a function of the arguments and of a list of gradients.
    """
    taken = [jnp.asarray(node.value) for node in record.nodes if node.is_argument]
    every = f if record.steps is None else jax.vmap(f)
    ready = _jax.compile_whole(every) if record.compiled else _jax.quiet(every)
    return lambda starts: ready(taken, list(starts))


def _with_gradients(record: Record, missing: Collection[Slot]) -> tuple[Record, set[Slot]]:
    """Return a record with the gradients of some more arrays, and those that have none."""
    notes: dict[int, str] = {}

    def backward(taken: Sequence[Any], starts: Sequence[Any]) -> tuple[Any, Any]:
        found = run(record, taken, starts, record.wanted, notes, also=missing)
        return found.cotangents, found.contributions

    gradients, parts = again(record, backward)(record.starts)
    nodes = []
    for node, row, own in zip(record.nodes, gradients, parts, strict=True):
        uses = zip(node.inputs, own or (None,) * len(node.inputs), strict=True)
        contributions = tuple(
            gradients[slot.node][slot.output] if len(record.readers[slot]) == 1 else part
            for slot, part in uses
        )
        nodes.append(dataclasses.replace(node, cotangents=row, contributions=contributions))
    lost = {slot for slot in missing if slot.node in notes}
    return dataclasses.replace(record, nodes=tuple(nodes)), lost
