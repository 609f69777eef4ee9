"""Where NaN and Inf are born: in which operator, on which line, forward or backward, and why."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.xray.births import Birth, Nonfinite
from chainrule.xray.causes import Event, explain
from chainrule.xray.graph import Slot
from chainrule.xray.inside import can_open
from chainrule.xray.stats import Stats

if TYPE_CHECKING:
    from chainrule.xray.record import Node, Report

# Of these, element i of the result depends on element i of the inputs alone.
_ELEMENTWISE = frozenset(
    {
        "add",
        "sub",
        "mul",
        "div",
        "rem",
        "pow",
        "integer_pow",
        "max",
        "min",
        "neg",
        "abs",
        "exp",
        "exp2",
        "expm1",
        "log",
        "log1p",
        "sqrt",
        "rsqrt",
        "cbrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "logistic",
        "erf",
        "erfc",
        "erf_inv",
        "lgamma",
        "digamma",
        "square",
        "sign",
        "floor",
        "ceil",
        "round",
        "clamp",
        "convert_element_type",
        "reduce_precision",
        "nextafter",
        "stop_gradient",
    }
)

# A sum of squares stays one through these.
_PASSING = frozenset(
    {"reduce_sum", "div", "mul", "add", "reshape", "broadcast_in_dim", "squeeze", "select_n"}
    | {"convert_element_type"}
)


class _Bad:
    """NaN and Inf of an array, found once."""

    def __init__(self, x: Any) -> None:
        self.array: Any = None
        if x is None:
            self.nan = self.inf = False
        elif isinstance(x, Stats):
            self.nan, self.inf = x.nans > 0, x.infs > 0
        else:
            self.array = _numbers(x)
            finite = self.array is None or np.isfinite(self.array).all()
            self.nan = not finite and bool(np.isnan(self.array).any())
            self.inf = not finite and bool(np.isinf(self.array).any())

    def __bool__(self) -> bool:
        return self.nan or self.inf


def _numbers(x: Any) -> np.ndarray | None:
    """The array as NumPy knows it; None for keys. Floats that NumPy has no ufuncs for widen."""
    if "key<" in str(getattr(x, "dtype", "")):
        return None
    array = np.asarray(x)
    return array if array.dtype.kind in "fcbiu" else array.astype(np.float32)


def find(report: "Report") -> Nonfinite:
    """Return every birth of a NaN or an Inf in a report."""
    return _Search(report).run()


class _Search:
    def __init__(self, report: "Report") -> None:
        self.report = report
        self.nodes = report.nodes
        self.values = [[_Bad(x) for x in node.values] for node in report.nodes]
        self.cotangents = [[_Bad(g) for g in node.cotangents] for node in report.nodes]
        self.parts = [
            [
                self.cotangents[s.node][s.output]
                if part is report.nodes[s.node].cotangents[s.output]
                else _Bad(part)
                for s, part in zip(node.inputs, node.contributions, strict=True)
            ]
            for node in report.nodes
        ]

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
            inputs = [_Bad(None) if w else bad for w, bad in zip(written, inputs, strict=True)]
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
    def _uses(self) -> dict[Slot, list[_Bad]]:
        uses: dict[Slot, list[_Bad]] = {}
        for node in self.nodes:
            for slot, part in zip(node.inputs, self.parts[node.index], strict=True):
                uses.setdefault(slot, []).append(part)
        for slot, start in zip(self.report.outputs, self.report.starts, strict=True):
            uses.setdefault(slot, []).append(_Bad(start))
        return uses

    def _births(
        self,
        node: "Node",
        bad: _Bad,
        before: Sequence[_Bad],
        incoming: Sequence[_Bad],
        phase: Literal["forward", "backward"],
        array: Any,
        outputs: Sequence[_Bad],
    ) -> Iterator[Birth]:
        """NaN is born where no NaN came in; Inf where neither NaN nor Inf did."""
        elementwise = node.op in _ELEMENTWISE and bad.array is not None
        shape = np.shape(bad.array)
        arrays = [b.array for b in before if b.array is not None]
        if elementwise and all(_fits(a.shape, shape) for a in arrays):
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
        bad: _Bad,
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
        elements = [_element(x, shape, index) for x in taken]
        g = _element(gradients[0], shape, index) if gradients else None
        op = f"the sum of the gradients of {node.label}" if add else node.op
        in_result, in_gradient = self._reach(node.index, phase)
        event = Event(
            op="add" if add else node.op,
            dtype=array.dtype,
            inputs=elements,
            g=g if not add else None,
            backward=phase == "backward" and not add,
            nan=nan,
            of_squares=self._of_squares(node),
            masked=self._is_masked(node.index),
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
            inputs=tuple(_text(x, e) for x, e in zip(taken, elements, strict=True)),
            g=_text(gradients[0], g) if gradients and gradients[0] is not None else "",
            cause=explain(event),
            follows=follows,
            harmless=not (in_result or in_gradient),
        )

    def _first_use(self, node: "Node") -> str:
        return next((n.line for n in self.nodes if any(s.node == node.index for s in n.inputs)), "")

    def _of_squares(self, node: "Node") -> bool:
        """Whether the first input is a sum of squares, perhaps shifted, scaled or reshaped."""
        while node.inputs:
            node = self.nodes[node.inputs[-1 if node.op == "select_n" else 0].node]
            square = node.op in ("square", "integer_pow") or (
                node.op == "mul" and len(set(node.inputs)) == 1
            )
            if square:
                return True
            if node.op not in _PASSING:
                return node.op == "dot_general"
        return False

    def _is_masked(self, start: int) -> bool:
        """Whether a choice between two arrays is made downstream."""
        seen, todo = {start}, [start]
        while todo:
            for reader in self._readers.get(todo.pop(), ()):
                if self.nodes[reader].op == "select_n":
                    return True
                if reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return False

    def _reach(self, start: int, phase: str) -> tuple[bool, bool]:
        """Follow what is bad: whether it gets to the result, and to an argument's gradient."""
        in_result = in_gradient = False
        ends = {s.node for s in self.report.outputs if self.values[s.node][s.output]}
        seen: set[tuple[int, bool]] = set()
        todo = [(start, phase == "backward")] + ([(start, True)] if phase == "forward" else [])
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            i, backward = state
            node = self.nodes[i]
            if backward:
                in_gradient |= node.kind in ("input", "parameter") and any(self.cotangents[i])
                todo += [
                    (s.node, True)
                    for s, part in zip(node.inputs, self.parts[i], strict=True)
                    if part
                ]
            else:
                in_result |= i in ends
                for reader in self._readers.get(i, ()):
                    if any(self.values[reader]):
                        todo.append((reader, False))
                    todo.append((reader, True))
        return in_result, in_gradient

    @functools.cached_property
    def _readers(self) -> dict[int, list[int]]:
        readers: dict[int, list[int]] = {}
        for node in self.nodes:
            for slot in node.inputs:
                readers.setdefault(slot.node, []).append(node.index)
        return readers


def _element(x: Any, shape: tuple[int, ...], index: tuple[int, ...]) -> Any:
    """The element that belongs to a place of another array, None if there is none."""
    if x is None or isinstance(x, Stats):
        return None
    array = _numbers(x)
    if array is None:
        return None
    if array.ndim == 0:
        return array[()]
    if not _fits(array.shape, shape) or len(index) != array.ndim:
        return None
    return array[tuple(0 if n == 1 else i for i, n in zip(index, array.shape, strict=True))]


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array broadcasts to a shape as operators do it: same rank, or a scalar."""
    same = len(shape) == len(whole) and all(m in (1, n) for m, n in zip(shape, whole, strict=True))
    return same or shape == ()


def _text(x: Any, element: Any) -> str:
    if element is not None:
        return f"{element:.6g}" if np.ndim(element) == 0 else str(element)
    if isinstance(x, Stats):
        return (
            f"{x.dtype}{list(x.shape)} from {x.min:.4g} to {x.max:.4g}, {x.nans} NaN, {x.infs} Inf"
        )
    array = _numbers(x)
    if array is None:
        return "key"
    if array.size <= 6:
        return np.array2string(array, precision=4, separator=", ").replace("\n", "")
    with np.errstate(all="ignore"):
        return f"{array.dtype}{list(array.shape)} from {array.min():.4g} to {array.max():.4g}"
