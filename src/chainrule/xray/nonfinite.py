"""Where NaN and Inf are born: in which operator, on which line, forward or backward, and why."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.xray.births import Birth, Nonfinite
from chainrule.xray.causes import Event, explain
from chainrule.xray.elements import Bad, element_at, fits, numbers, text
from chainrule.xray.graph import Slot
from chainrule.xray.inside import TooLargeError, can_open, is_rule, runs_backward
from chainrule.xray.paths import Paths

if TYPE_CHECKING:
    from chainrule.xray.nodes import Node
    from chainrule.xray.record import Report

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
        self.values = [[Bad(x) for x in self._values(node)] for node in report.nodes]
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
        self._opened: dict[tuple[int, int | None], tuple[Birth, ...]] = {}

    def _values(self, node: "Node") -> Sequence[Any]:
        """Give the constants of a loop, too, one copy a step."""
        steps = self.report.steps
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
            if (n.kind in ("input", "parameter") and bad)
            or (n.kind == "constant" and bad.nan and n.avals[0].shape)
        ]
        return Nonfinite(
            births=(*forward, *backward),
            arguments=tuple(n.label for n in named),
            reaches=tuple(self._results()),
            compiled=self.report.compiled,
        )

    def _inside(self, node: "Node", phase: Literal["forward", "backward"]) -> list[Birth]:
        """Return the births in a node: of a loop, a cond or a rule those in its body, if any."""
        own = list(self._forward(node) if phase == "forward" else self._backward(node))
        bad = any(self.values[node.index]) or any(self.parts[node.index])
        # What a rule makes inside is its own affair, as long as nothing of it comes out.
        if not can_open(node) or not bad or (is_rule(node) and not own):
            return own
        step = own[0].steps[0] if own and self.report.steps is not None else None
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

    def _births_inside(self, node: "Node", step: int | None) -> tuple[Birth, ...]:
        if self.report.keep != "values" or (step is None and self.report.steps is not None):
            return ()
        if (node.index, step) not in self._opened:
            try:
                births = self.report.open(node, step).nonfinite().births
            except TooLargeError:
                births = ()
            self._opened[node.index, step] = births
        return self._opened[node.index, step]

    def _results(self) -> Iterator[str]:
        if any(self.values[s.node][s.output] for s in self.report.outputs):
            yield "the result"
        for node in self.nodes:
            if node.kind in ("input", "parameter") and any(self.cotangents[node.index]):
                yield f"the gradient of {node.name}"

    def _forward(self, node: "Node") -> Iterator[Birth]:
        if node.kind != "operator":
            return
        inputs = [self.values[s.node][s.output] for s in node.inputs]
        if node.index not in self._written:  # who takes a NaN that is written there gives it birth
            written = [
                s.node in self._written and bad.nan
                for s, bad in zip(node.inputs, inputs, strict=True)
            ]
            inputs = [Bad(None) if w else bad for w, bad in zip(written, inputs, strict=True)]
        for k, out in enumerate(self.values[node.index]):
            if out:
                yield from self._born(node, out, inputs, "forward", node.values[k])
                break

    def _backward(self, node: "Node") -> Iterator[Birth]:
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
            uses = self._uses.get(Slot(node.index, k), [])
            if uses and total:
                yield from self._born(node, total, uses, "backward", node.cotangents[k], add=True)

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

    def _born(
        self,
        node: "Node",
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
            (add or node.op in _ELEMENTWISE)
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
        if self.report.steps is None:
            return np.asarray(any(getattr(bad, kind) for bad in arrays))
        test = np.isnan if kind == "nan" else np.isinf
        found = np.zeros(self.report.steps, bool)
        for bad in arrays:
            if getattr(bad, kind):
                found |= test(bad.array).any(axis=tuple(range(1, bad.array.ndim)))
        return found.reshape(-1, *(1 for _ in shape[1:]))

    def _birth(
        self,
        node: "Node",
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
        taken = [self.nodes[s.node].values[s.output] for s in node.inputs]
        g = node.cotangents[0] if phase == "backward" else None
        if bad.array is None:
            count = array.nans if nan else array.infs
        else:
            count = int(where.sum())
            index = tuple(int(i) for i in np.argwhere(where)[0])
        if self.report.steps is not None:
            steps, index, shape = index[:1], index[1:], shape[1:]
            fixed = [self.nodes[s.node].kind == "constant" for s in node.inputs]
            taken = [x if c else x[steps] for x, c in zip(taken, fixed, strict=True)]
            g = None if g is None else g[steps]
        elements = [element_at(x, shape, index) for x in taken]
        g_element = element_at(g, shape, index)
        op = f"the sum of the gradients of {node.label}" if add else node.op
        in_result, in_gradient = self.paths.reach(node.index, phase)
        event = Event(
            op="add" if add else node.op,
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

    def _first_use(self, node: "Node") -> str:
        return next((n.line for n in self.nodes if any(s.node == node.index for s in n.inputs)), "")
