"""The search for births in one record: which operator made which elements bad."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from chainrule.xray import _jax, born, primitives
from chainrule.xray.bodies import ClosedError, fits_easily
from chainrule.xray.born import Mask, Origin
from chainrule.xray.elements import Bad, fits, numbers
from chainrule.xray.graph import Slot, Use
from chainrule.xray.inside import branch, can_enter, enter, enter_backward, runs_backward
from chainrule.xray.paths import Paths
from chainrule.xray.record import Device, Entry, Record
from chainrule.xray.rerun import Place

__all__ = ["Found", "Search"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Bad elements of one array that its operator gave birth to.

    Attributes:
      search: of the record that the operator stands in.
      node: the operator, or whatever sums up gradients.
      outer: the number of the node in the record that was asked about: of what is inside a loop,
        that of the loop.
      place: where the operator stands, for a run of the record without this; None where no
        operator could be changed.
      phase: forward or backward.
      nan: whether they are NaN, else Inf.
      number: which output, or which input's contribution; None of what a function with a custom
        rule makes inside, of which all can be bad.
      array: the array.
      where: which of its elements, None where only statistics are kept.
      follows: whether infinities came in.
      total: whether it is a sum of gradients.
      index: the first of them, () where only statistics are kept; inside a loop its step comes
        first.
      steps: inside a loop the step that ran first, in a loop inside a loop the step of each.
    """

    search: "Search"
    node: Entry
    outer: int
    place: Place | None
    phase: Literal["forward", "backward"]
    nan: bool
    number: int | None
    array: Any
    where: Mask | None
    follows: bool
    total: bool = False
    index: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()


class Search:
    """The births in one record, and the ways from them."""

    def __init__(self, record: Record, place: Place, last_first: bool = False) -> None:
        self.record = record
        self.place = place
        self.last_first = last_first  # of a loop, whether its last step runs first
        self.nodes = record.nodes
        self.values = [[Bad(x) for x in self._values(node)] for node in record.nodes]
        self.cotangents = [[Bad(g) for g in node.cotangents] for node in record.nodes]
        self.parts = [
            [
                self.cotangents[s.node][s.output]
                if part is record.nodes[s.node].cotangents[s.output]
                else Bad(part)
                for s, part in zip(node.inputs, node.contributions, strict=True)
            ]
            for node in record.nodes
        ]
        self.paths = Paths(record, self.values, self.cotangents, self.parts)
        self._entered: dict[tuple[int, int | None, bool], list[Found]] = {}
        self._tainted: set[int] = set()  # what is bad because of a birth
        self.unseen: dict[int, str] = {}  # loops that look good from outside, and were not opened

    def _values(self, node: Entry) -> Sequence[Any]:
        """Return the values of a node; of a constant in a loop, one copy a step."""
        steps = self.record.steps
        if steps is None or node.kind != "constant" or not node.avals[0].shape:
            return node.values
        array = numbers(node.value)
        return [array if array is None else np.broadcast_to(array, (steps, *array.shape))]

    def run(self) -> list[Found]:
        """Return all births: forward in the order of execution, then backward."""
        forward = [b for node in self.nodes for b in self._in(node, "forward")]
        self._tainted = self.paths.below(b.outer for b in forward)
        return forward + [b for node in reversed(self.nodes) for b in self._in(node, "backward")]

    def arguments(self) -> Iterator[tuple[Entry, Bad]]:
        """Yield the arguments, and constants, that were bad before anything ran."""
        for node in self.nodes:
            for bad in self.values[node.index]:
                # An infinite constant is a mask or the start of a minimum.
                accident = node.kind == "constant" and bad.nan and node.avals[0].shape
                if (node.is_argument and bad) or accident:
                    yield node, bad

    def enters(self, node: Entry) -> str:
        """Return the first line, going backward, where a bad value gets into a gradient."""
        below = self.paths.below([node.index])
        for other in reversed(self.nodes):
            takes = any(s.node in below and self.values[s.node][s.output] for s in other.inputs)
            clean = not any(self.cotangents[other.index])
            if takes and clean and any(self.parts[other.index]):
                return other.line
        return ""

    def results(self) -> Iterator[str]:
        """Yield what is bad in the end."""
        if any(self.values[s.node][s.output] for s in self.record.outputs):
            yield "the result"
        for node in self.nodes:
            if node.is_argument and any(self.cotangents[node.index]):
                yield f"the gradient of {node.name}"

    def _in(self, node: Entry, phase: Literal["forward", "backward"]) -> list[Found]:
        """Return the births in a node: those in the body of a loop, a cond or a custom rule."""
        found = list(self._forward(node) if phase == "forward" else self._backward(node))
        bad = any(self.values[node.index]) or any(self.parts[node.index])
        # What is bad inside a custom rule does not matter as long as it stays inside.
        if not can_enter(node) or (node.custom and not found):
            return found
        if not bad and (node.op == "cond" or not self._looks_into(node)):
            return found
        step = found[0].steps[0] if found and self.record.steps is not None else None
        around = () if step is None else (step,)
        inner = [
            dataclasses.replace(b, outer=node.index, steps=around + b.steps)
            for b in self._inside(node, step, phase)
            if b.phase == phase
        ]
        last_first = (phase == "backward") != runs_backward(node) and node.op != "shard_map"
        return sorted(inner, key=lambda b: b.steps[:1], reverse=last_first) or found

    def _looks_into(self, node: Entry) -> bool:
        """Tell whether a loop that looks good from outside is opened, and note where it is not."""
        seen = self.record.keep == "values" and self.record.steps is None and fits_easily(node)
        if not seen:
            self.unseen[node.index] = node.label
        return seen

    def _inside(self, node: Entry, step: int | None, phase: str) -> list[Found]:
        if self.record.keep != "values" or (step is None and self.record.steps is not None):
            return []
        way_back = node.custom and phase == "backward"  # what a rule computes there
        if (key := (node.index, step, way_back)) not in self._entered:
            place = (*self.place, node.index)
            if node.op == "cond" and not node.custom:
                place = (*place, branch(self.record, node, step))
            births = []
            with contextlib.suppress(ClosedError):
                inside = enter_backward if way_back else enter
                search = Search(inside(self.record, node, step), place, runs_backward(node))
                births = search.run()
                if search.unseen and not way_back:
                    inner = ", ".join(search.unseen.values())
                    self.unseen[node.index] = f"{inner} in {node.label}"
            if node.custom:  # its operators cannot be changed, only the whole can
                mine = (*self.place, node.index)
                births = [dataclasses.replace(b, place=mine, number=None) for b in births]
            if way_back:
                births = [dataclasses.replace(b, phase="backward") for b in births]
            self._entered[key] = births
        return self._entered[key]

    def _forward(self, node: Entry) -> Iterator[Found]:
        if node.kind != "operator" or not any(self.values[node.index]):
            return
        # A NaN that the program writes out is born where it is used.
        trusted = [node.index not in self._written and s.node in self._written for s in node.inputs]
        inputs = [
            Bad(None) if good and bad.nan else bad
            for good, bad in zip(
                trusted, (self.values[s.node][s.output] for s in node.inputs), strict=True
            )
        ]
        origins = self._simple(node, self.values[node.index], inputs)
        if origins is None:
            origins = born.forward(self.record, node, trusted)
        for number, origin in enumerate(origins):
            if origin is not None:
                yield from self._found(node, "forward", number, node.values[number], origin)
                return

    def _backward(self, node: Entry) -> Iterator[Found]:
        made = self.parts[node.index]
        if any(made):
            outputs, incoming = self.values[node.index], self.cotangents[node.index]
            taken = [self.values[s.node][s.output] for s in node.inputs]
            origins = self._simple(node, made, [*taken, *outputs, *incoming])
            if origins is None:
                meant = [node.custom and s.node not in self._tainted for s in node.inputs]
                origins = born.backward(self.record, node, meant)
                if node.index in self._tainted:
                    pairs = zip(origins, made, strict=True)
                    origins = [born.after(node, origin, part, outputs) for origin, part in pairs]
            for number, origin in enumerate(origins):
                if origin is not None and (origin.nan.any() or origin.inf.any()):
                    array = node.contributions[number]
                    yield from self._found(node, "backward", number, array, origin)
                    return
        for number, total in enumerate(self.cotangents[node.index]):
            if not total:
                continue
            uses = [self._part(use) for use in self.record.readers[Slot(node.index, number)]]
            origins = self._simple(None, [total], uses)
            if uses and origins is not None and origins[0] is not None:
                array = node.cotangents[number]
                yield from self._found(node, "backward", number, array, origins[0], total=True)

    def _part(self, use: Use) -> Bad:
        if use.node is None:
            return Bad(self.record.starts[use.position])
        return self.parts[use.node][use.position]

    @functools.cached_property
    def _written(self) -> set[int]:
        """The nodes that depend on nothing but numbers written in the program."""
        found: set[int] = set()
        for node in self.nodes:
            number = node.kind == "constant" and not node.avals[0].shape
            if number or (node.kind == "operator" and all(s.node in found for s in node.inputs)):
                found.add(node.index)
        return found

    def _simple(
        self, node: Entry | None, made: Sequence[Bad], before: Sequence[Bad]
    ) -> list[Origin | None] | None:
        """Return the origins in what was made of other arrays; None if only a run can tell.

        Args:
          node: the operator; None for a sum.
          made: the arrays.
          before: what they were made of.
        """
        if self.record.keep != "values" or not any(before):
            return [self._by_array(bad, before) if bad else None for bad in made]
        known = primitives.known("add") if node is None else node.known
        arrays = [b.array for b in before if b.array is not None]
        shapes = [np.shape(bad.array) for bad in made if bad]
        if known.copies or (node is not None and can_enter(node) and not node.custom):
            return [self._by_array(bad, before) if bad else None for bad in made]
        if node is not None and _jax.is_collective(node.equation):
            return [self._by_array(bad, before, whole=True) if bad else None for bad in made]
        aligned = all(fits(a.shape, shape) for a in arrays for shape in shapes)
        if known.elementwise and not known.singular and aligned:
            return [born.aligned(bad.array, arrays) if bad else None for bad in made]
        return None

    def _by_array(self, bad: Bad, before: Sequence[Bad], whole: bool = False) -> Origin:
        """Return the origin in an array all of whose elements may depend on all of others.

        Inside a loop on those of the same step; on those of all devices if it is whole.
        """
        nan_before, inf_before = (self._seen(kind, before, bad.array) for kind in ("nan", "inf"))
        if whole:
            nan_before, inf_before = np.any(nan_before), np.any(inf_before)
        nan, inf = bad.nan, bad.inf
        if bad.array is not None:
            nan, inf = np.isnan(bad.array), np.isinf(bad.array)
        born_nan = np.asarray(nan & ~nan_before)
        return Origin(born_nan, np.asarray(inf & ~nan_before & ~inf_before), born_nan & inf_before)

    def _seen(self, kind: str, arrays: Sequence[Bad], like: Any) -> Mask:
        """Whether any array has one anywhere; inside a loop, at which steps, ready to broadcast."""
        if self.record.steps is None:
            return np.asarray(any(getattr(bad, kind) for bad in arrays))
        test = np.isnan if kind == "nan" else np.isinf
        found = np.zeros(self.record.steps, bool)
        for bad in arrays:
            if getattr(bad, kind):
                found |= test(bad.array).any(axis=tuple(range(1, bad.array.ndim)))
        return found.reshape(-1, *(1 for _ in np.shape(like)[1:]))

    def _found(
        self,
        node: Entry,
        phase: Literal["forward", "backward"],
        number: int,
        array: Any,
        origin: Origin,
        total: bool = False,
    ) -> Iterator[Found]:
        looped = self.record.steps is not None
        counted = Device if self.record.over == "devices" else int
        for nan, where in ((True, origin.nan), (False, origin.inf)):
            if not where.any():
                continue
            rows = np.argwhere(where)
            if looped and counted is int and (phase == "backward") != self.last_first:
                rows = rows[rows[:, 0] == rows[-1, 0]]
            first = tuple(map(int, rows[0]))
            yield Found(
                search=self,
                node=node,
                outer=node.index,
                place=(*self.place, node.index) if node.kind == "operator" and not total else None,
                phase=phase,
                nan=nan,
                number=number,
                array=array,
                where=where if self.record.keep == "values" else None,
                follows=nan and bool((where & origin.follows).any()),
                total=total,
                index=first,
                steps=tuple(map(counted, first[:1])) if looped else (),
            )

    def first_use(self, node: Entry) -> str:
        """Return the line of the first operator that reads a node."""
        slots = (Slot(node.index, k) for k in range(len(node.avals)))
        readers = [use.node for slot in slots for use in self.record.readers[slot]]
        return next((self.nodes[k].line for k in sorted(k for k in readers if k is not None)), "")
