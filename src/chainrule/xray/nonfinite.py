"""Where NaN and Inf are born: in which operator, on which line, forward or backward, and why."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from chainrule.xray import primitives
from chainrule.xray.births import Birth, Nonfinite
from chainrule.xray.causes import Event, explain
from chainrule.xray.elements import Bad, element_at, fits, numbers, text
from chainrule.xray.graph import Slot, Use
from chainrule.xray.inside import TooLargeError, can_enter, enter, runs_backward
from chainrule.xray.paths import Paths
from chainrule.xray.record import Entry, Record

__all__ = ["find"]


def find(record: Record) -> Nonfinite:
    """Return every birth of a NaN or an Inf in a record."""
    return _Search(record).run()


class _Search:
    def __init__(self, record: Record) -> None:
        self.record = record
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
        self._opened: dict[tuple[int, int | None], tuple[Birth, ...]] = {}

    def _values(self, node: Entry) -> Sequence[Any]:
        """Return the values of a node; of a constant in a loop, one copy a step."""
        steps = self.record.steps
        if steps is None or node.kind != "constant" or not node.avals[0].shape:
            return node.values
        array = numbers(node.value)
        return [array if array is None else np.broadcast_to(array, (steps, *array.shape))]

    def run(self) -> Nonfinite:
        forward = [b for node in self.nodes for b in self._inside(node, "forward")]
        backward = [b for node in reversed(self.nodes) for b in self._inside(node, "backward")]
        # An infinite constant is a mask or the start of a minimum; a NaN among them is an accident.
        named = [
            n
            for n in self.nodes
            for bad in self.values[n.index]
            if (n.is_argument and bad) or (n.kind == "constant" and bad.nan and n.avals[0].shape)
        ]
        return Nonfinite(
            births=(*forward, *backward),
            arguments=tuple(n.label for n in named),
            reaches=tuple(self._results()),
            compiled=self.record.compiled,
        )

    def _inside(self, node: Entry, phase: Literal["forward", "backward"]) -> list[Birth]:
        """Return the births in a node: those in the body of a loop, a cond or a custom rule."""
        own = list(self._forward(node) if phase == "forward" else self._backward(node))
        bad = any(self.values[node.index]) or any(self.parts[node.index])
        # What is bad inside a custom rule does not matter as long as it stays inside.
        if not can_enter(node) or not bad or (node.custom and not own):
            return own
        step = own[0].steps[0] if own and self.record.steps is not None else None
        around = () if step is None else (step,)
        harmless = not any(self.paths.reach(node.index, phase))
        found = [
            dataclasses.replace(
                b, node=node.index, steps=around + b.steps, harmless=b.harmless or harmless
            )
            for b in self._births_inside(node, step)
            if b.phase == phase
        ]
        last_first = (phase == "backward") != runs_backward(node)
        return sorted(found, key=lambda b: b.steps[:1], reverse=last_first) or own

    def _births_inside(self, node: Entry, step: int | None) -> tuple[Birth, ...]:
        if self.record.keep != "values" or (step is None and self.record.steps is not None):
            return ()
        if (node.index, step) not in self._opened:
            try:
                births = find(enter(self.record, node, step)).births
            except TooLargeError:
                births = ()
            self._opened[node.index, step] = births
        return self._opened[node.index, step]

    def _results(self) -> Iterator[str]:
        if any(self.values[s.node][s.output] for s in self.record.outputs):
            yield "the result"
        for node in self.nodes:
            if node.is_argument and any(self.cotangents[node.index]):
                yield f"the gradient of {node.name}"

    def _forward(self, node: Entry) -> Iterator[Birth]:
        if node.kind != "operator":
            return
        inputs = [self.values[s.node][s.output] for s in node.inputs]
        if (
            node.index not in self._written
        ):  # a NaN that the program writes out is born where it is used
            written = [
                s.node in self._written and bad.nan
                for s, bad in zip(node.inputs, inputs, strict=True)
            ]
            inputs = [Bad(None) if w else bad for w, bad in zip(written, inputs, strict=True)]
        for k, out in enumerate(self.values[node.index]):
            if out:
                yield from self._born(node, out, inputs, "forward", node.values[k])
                break

    def _backward(self, node: Entry) -> Iterator[Birth]:
        inputs = [self.values[s.node][s.output] for s in node.inputs]
        outputs = self.values[node.index]
        incoming = self.cotangents[node.index]
        for k, part in enumerate(self.parts[node.index]):
            if part:
                before = [*inputs, *outputs, *incoming]
                found = list(self._born(node, part, before, "backward", node.contributions[k]))
                yield from found
                if found:
                    return
        for k, total in enumerate(incoming):
            uses = [self._part(use) for use in self.record.readers[Slot(node.index, k)]]
            if uses and total:
                yield from self._born(node, total, uses, "backward", node.cotangents[k], add=True)

    @functools.cached_property
    def _written(self) -> set[int]:
        """The nodes that depend on nothing but numbers written in the program."""
        found: set[int] = set()
        for node in self.nodes:
            number = node.kind == "constant" and not node.avals[0].shape
            if number or (node.kind == "operator" and all(s.node in found for s in node.inputs)):
                found.add(node.index)
        return found

    def _part(self, use: Use) -> Bad:
        if use.node is None:
            return Bad(self.record.starts[use.position])
        return self.parts[use.node][use.position]

    def _born(
        self,
        node: Entry,
        bad: Bad,
        before: Sequence[Bad],
        phase: Literal["forward", "backward"],
        array: Any,
        add: bool = False,
    ) -> Iterator[Birth]:
        """NaN is born where no NaN came in; Inf where neither NaN nor Inf did."""
        shape = np.shape(bad.array)
        arrays = [b.array for b in before if b.array is not None]
        if (
            (add or node.known.elementwise)
            and bad.array is not None
            and all(fits(a.shape, shape) for a in arrays)
        ):
            no = np.zeros(shape, bool)
            nan_before = functools.reduce(np.logical_or, map(np.isnan, arrays), no)
            inf_before = functools.reduce(np.logical_or, map(np.isinf, arrays), no)
        else:
            nan_before, inf_before = (self._seen(kind, before, shape) for kind in ("nan", "inf"))
        nan_out, inf_out = bad.nan, bad.inf
        if bad.array is not None:
            nan_out, inf_out = np.isnan(bad.array), np.isinf(bad.array)
        nan = np.asarray(nan_out & ~nan_before)
        inf = np.asarray(inf_out & ~nan_before & ~inf_before)
        for is_nan, where in ((True, nan), (False, inf)):
            if where.any():
                follows = is_nan and bool((nan & inf_before).any())
                yield self._birth(node, bad, phase, is_nan, array, follows, where, add)

    def _seen(self, kind: Literal["nan", "inf"], arrays: Sequence[Bad], shape: Any) -> np.ndarray:
        """Whether any array has one anywhere; inside a loop, at which steps, ready to broadcast."""
        if self.record.steps is None:
            return np.asarray(any(getattr(bad, kind) for bad in arrays))
        test = np.isnan if kind == "nan" else np.isinf
        found = np.zeros(self.record.steps, bool)
        for bad in arrays:
            if getattr(bad, kind):
                found |= test(bad.array).any(axis=tuple(range(1, bad.array.ndim)))
        return found.reshape(-1, *(1 for _ in shape[1:]))

    def _birth(
        self,
        node: Entry,
        bad: Bad,
        phase: Literal["forward", "backward"],
        nan: bool,
        array: Any,
        follows: bool,
        where: np.ndarray,
        add: bool,
    ) -> Birth:
        index: tuple[int, ...] = ()
        steps: tuple[int, ...] = ()
        shape = tuple(array.shape)
        taken = self.record.taken(node)
        g = node.cotangents[0] if phase == "backward" else None
        if bad.array is None:
            count = array.nans if nan else array.infs
        else:
            count = int(where.sum())
            index = tuple(int(i) for i in np.argwhere(where)[0])
        if self.record.steps is not None:
            steps, index, shape = index[:1], index[1:], shape[1:]
            fixed = [self.nodes[s.node].kind == "constant" for s in node.inputs]
            taken = [x if c else x[steps] for x, c in zip(taken, fixed, strict=True)]
            g = None if g is None else g[steps]
        elements = [element_at(x, shape, index) for x in taken]
        g_element = element_at(g, shape, index)
        op = f"the sum of the gradients of {node.label}" if add else node.op
        in_result, in_gradient = self.paths.reach(node.index, phase)
        known = primitives.known("add") if add else node.known
        event = Event(
            op="add" if add else node.op,
            cases=known.backward if phase == "backward" and not add else known.forward,
            singular=known.singular,
            dtype=array.dtype,
            inputs=elements,
            g=None if add else g_element,
            backward=phase == "backward" and not add,
            nan=nan,
            of_squares=self.paths.is_of_squares(node),
            masked=self.paths.is_masked(node.index),
            hidden=phase == "forward" and in_gradient and not in_result,
        )
        return Birth(
            node=node.index,
            op=op,
            phase=phase,
            kind="NaN" if nan else "Inf",
            line=node.line or self._first_use(node),
            within=node.within if node.within != node.line else "",
            index=index,
            count=count,
            inputs=tuple(text(x, e) for x, e in zip(taken, elements, strict=True)),
            g="" if g is None else text(g, g_element),
            cause=explain(event),
            follows=follows,
            harmless=not (in_result or in_gradient),
            steps=steps,
        )

    def _first_use(self, node: Entry) -> str:
        slots = (Slot(node.index, k) for k in range(len(node.avals)))
        readers = [use.node for slot in slots for use in self.record.readers[slot]]
        return next((self.nodes[k].line for k in sorted(k for k in readers if k is not None)), "")


def __dir__() -> list[str]:
    return sorted(__all__)
