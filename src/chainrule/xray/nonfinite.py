"""Where NaN and Inf are born: in which operator, on which line, forward or backward, and why."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.xray.births import Birth, Nonfinite
from chainrule.xray.causes import Event, explain
from chainrule.xray.elements import Bad, element_at, fits, text
from chainrule.xray.graph import Slot
from chainrule.xray.inside import can_open
from chainrule.xray.paths import Paths

if TYPE_CHECKING:
    from chainrule.xray.record import Node, Report

# Of these, element i of the result depends on element i of the inputs alone.
# fmt: off
_ELEMENTWISE = frozenset(
    {"add", "sub", "mul", "div", "rem", "pow", "integer_pow", "max", "min", "neg", "abs",
     "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan",
     "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh",
     "logistic", "erf", "erfc", "erf_inv", "lgamma", "digamma", "square", "sign", "floor",
     "ceil", "round", "clamp", "convert_element_type", "reduce_precision", "nextafter",
     "stop_gradient"}
)
# fmt: on


def find(report: "Report") -> Nonfinite:
    """Return every birth of a NaN or an Inf in a report."""
    return _Search(report).run()


class _Search:
    def __init__(self, report: "Report") -> None:
        self.report = report
        self.nodes = report.nodes
        self.values = [[Bad(x) for x in node.values] for node in report.nodes]
        self.cotangents = [[Bad(g) for g in node.cotangents] for node in report.nodes]
        self.parts = [
            [
                self.cotangents[s.node][s.output]
                if part is report.nodes[s.node].cotangents[s.output]
                else Bad(part)
                for s, part in zip(node.inputs, node.contributions, strict=True)
            ]
            for node in report.nodes
        ]

        self.paths = Paths(report, self.values, self.cotangents, self.parts)

    def run(self) -> Nonfinite:
        forward = [b for node in self.nodes if node.kind == "operator" for b in self._forward(node)]
        backward = [b for node in reversed(self.nodes) for b in self._backward(node)]
        forward = [inner for birth in forward for inner in self._inside(birth)]
        backward = [inner for birth in backward for inner in self._inside(birth)]
        # An infinite constant is a mask or the start of a minimum; a NaN among them is an accident.
        named = [
            n
            for n in self.nodes
            for bad in self.values[n.index]
            if (n.kind in ("input", "parameter") and bad)
            or (n.kind == "constant" and bad.nan and n.avals[0].shape)
        ]
        return Nonfinite(
            births=(*forward, *backward),
            arguments=tuple(n.label for n in named),
            reaches=tuple(self._results()),
            compiled=self.report.compiled,
        )

    def _inside(self, birth: Birth) -> list[Birth]:
        """Replace a birth in a scan, a cond or a custom rule by those inside it."""
        node = self.nodes[birth.node]
        if self.report.keep != "values" or self.report.steps is not None or not can_open(node):
            return [birth]
        inner = self.report.open(node).nonfinite().births
        same = [b for b in inner if b.phase == birth.phase]
        return [dataclasses.replace(b, node=node.index, harmless=birth.harmless) for b in same] or [
            birth
        ]

    def _results(self) -> Iterator[str]:
        if any(self.values[s.node][s.output] for s in self.report.outputs):
            yield "the result"
        for node in self.nodes:
            if node.kind in ("input", "parameter") and any(self.cotangents[node.index]):
                yield f"the gradient of {node.name}"

    def _forward(self, node: "Node") -> Iterator[Birth]:
        inputs = [self.values[s.node][s.output] for s in node.inputs]
        if node.index not in self._written:  # who takes a NaN that is written there gives it birth
            written = [
                s.node in self._written and bad.nan
                for s, bad in zip(node.inputs, inputs, strict=True)
            ]
            inputs = [Bad(None) if w else bad for w, bad in zip(written, inputs, strict=True)]
        for k, out in enumerate(self.values[node.index]):
            if out:
                yield from self._births(node, out, inputs, [], "forward", node.values[k], [])
                break

    def _backward(self, node: "Node") -> Iterator[Birth]:
        inputs = [self.values[s.node][s.output] for s in node.inputs]
        outputs = self.values[node.index]
        incoming = self.cotangents[node.index]
        for k, part in enumerate(self.parts[node.index]):
            if part:
                before = [*inputs, *outputs, *incoming]
                found = list(
                    self._births(
                        node, part, before, incoming, "backward", node.contributions[k], outputs
                    )
                )
                yield from found
                if found:
                    return
        for k, total in enumerate(incoming):
            uses = self._uses.get(Slot(node.index, k), [])
            nan = total.nan and not any(use.nan for use in uses)
            if uses and (nan or (total and not any(uses))):
                follows = any(use.inf for use in uses)
                yield self._birth(
                    node, total, "backward", nan, node.cotangents[k], follows, add=True
                )

    @functools.cached_property
    def _written(self) -> set[int]:
        """The nodes made of nothing but the numbers in the program's text."""
        found: set[int] = set()
        for node in self.nodes:
            number = node.kind == "constant" and not node.avals[0].shape
            if number or (node.kind == "operator" and all(s.node in found for s in node.inputs)):
                found.add(node.index)
        return found

    @functools.cached_property
    def _uses(self) -> dict[Slot, list[Bad]]:
        uses: dict[Slot, list[Bad]] = {}
        for node in self.nodes:
            for slot, part in zip(node.inputs, self.parts[node.index], strict=True):
                uses.setdefault(slot, []).append(part)
        for slot, start in zip(self.report.outputs, self.report.starts, strict=True):
            uses.setdefault(slot, []).append(Bad(start))
        return uses

    def _births(
        self,
        node: "Node",
        bad: Bad,
        before: Sequence[Bad],
        incoming: Sequence[Bad],
        phase: Literal["forward", "backward"],
        array: Any,
        outputs: Sequence[Bad],
    ) -> Iterator[Birth]:
        """NaN is born where no NaN came in; Inf where neither NaN nor Inf did."""
        elementwise = node.op in _ELEMENTWISE and bad.array is not None
        shape = np.shape(bad.array)
        arrays = [b.array for b in before if b.array is not None]
        if elementwise and all(fits(a.shape, shape) for a in arrays):
            no = np.zeros(shape, bool)
            nan_before = functools.reduce(np.logical_or, map(np.isnan, arrays), no)
            inf_before = functools.reduce(np.logical_or, map(np.isinf, arrays), no)
            nan = np.isnan(bad.array) & ~nan_before
            inf = np.isinf(bad.array) & ~nan_before & ~inf_before
            if nan.any():
                yield self._birth(
                    node, bad, phase, True, array, bool((nan & inf_before).any()), nan
                )
            if inf.any():
                yield self._birth(node, bad, phase, False, array, False, inf)
            return
        nan_in, inf_in = any(b.nan for b in before), any(b.inf for b in before)
        if bad.nan and not nan_in:
            yield self._birth(node, bad, phase, True, array, inf_in)
        if bad.inf and not nan_in and not inf_in:
            yield self._birth(node, bad, phase, False, array, False)

    def _birth(
        self,
        node: "Node",
        bad: Bad,
        phase: Literal["forward", "backward"],
        nan: bool,
        array: Any,
        follows: bool,
        where: Any = None,
        add: bool = False,
    ) -> Birth:
        index: tuple[int, ...] = ()
        if bad.array is None:
            count = array.nans if nan else array.infs
        else:
            where = (np.isnan if nan else np.isinf)(bad.array) if where is None else where
            index = tuple(int(i) for i in np.argwhere(where)[0])
            count = int(where.sum())
        shape = tuple(array.shape)
        taken = [self.nodes[s.node].values[s.output] for s in node.inputs]
        gradients = list(node.cotangents) if phase == "backward" else []
        elements = [element_at(x, shape, index) for x in taken]
        g = element_at(gradients[0], shape, index) if gradients else None
        op = f"the sum of the gradients of {node.label}" if add else node.op
        in_result, in_gradient = self.paths.reach(node.index, phase)
        event = Event(
            op="add" if add else node.op,
            dtype=array.dtype,
            inputs=elements,
            g=g if not add else None,
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
            g=text(gradients[0], g) if gradients and gradients[0] is not None else "",
            cause=explain(event),
            follows=follows,
            harmless=not (in_result or in_gradient),
        )

    def _first_use(self, node: "Node") -> str:
        return next((n.line for n in self.nodes if any(s.node == node.index for s in n.inputs)), "")
