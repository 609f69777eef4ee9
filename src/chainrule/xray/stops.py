"""Where a gradient comes into an operator and none goes out of it, loops and branches included."""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.arrivals import Arrivals, again, is_zero, made
from chainrule.xray.bodies import ClosedError
from chainrule.xray.elements import plain
from chainrule.xray.graph import Slot, differentiable
from chainrule.xray.inside import branch, enter
from chainrule.xray.passes import run
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats

__all__ = ["PASSES", "Stop", "Stops"]
__dir__ = __all__.copy

MOST = 0.5  #: of the elements into which a gradient comes
PASSES = 1e-3  #: of a gradient; where a squashing function lets no more through, it has died


@dataclasses.dataclass(frozen=True, eq=False)
class Stop:
    """An operator that stops a gradient on the way to what the record differentiates.

    Attributes:
      record: the record that it stands in: of a loop its body.
      node: the operator.
      outer: the number of its node in the record that was asked about; of what is inside a loop,
        that of the loop.
      inputs: the numbers of the inputs to which no gradient goes, or too little for most elements.
      where: the elements of its output in which a gradient comes and dies; None for all.
      count: how many those are.
      share: of how many, from 0 to 1.
      cut: the arrays of the record that was asked about to which it lets nothing through.
      out: what would go to them if it let through what comes; empty of statistics.
      branch: the number of a cond's branch that was taken and does not use them; else None.
    """

    record: Record
    node: Entry
    outer: int
    inputs: tuple[int, ...]
    where: Any
    count: int
    share: float
    cut: tuple[Slot, ...]
    out: Mapping[Slot, Any]
    branch: int | None = None

    @property
    def partly(self) -> bool:
        """Whether some of a gradient goes out, if too little."""
        part = self.node.contributions[self.inputs[0]]
        whole = is_zero(part) or isinstance(part, Stats) or self.where is None
        return not whole and bool(plain(part)[self.where].any())

    @property
    def by_jumps(self) -> bool:
        """Whether it makes integers, to which no gradient comes."""
        return not any(differentiable(aval) for aval in self.node.avals)


class Stops:
    """The stops of one record.

    Args:
      record: the record.
      thorough: as for `Arrivals`, and so the others.

    Attributes:
      arrivals: where gradients come.
      wanted: the numbers of the arguments to which they have to go.
      found: the stops, in the order of the backward pass.
      closed: the labels of the loops that are too large to look into.
    """

    def __init__(
        self,
        record: Record,
        thorough: bool,
        wanted: Collection[int] | None = None,
        results: Collection[int] = (),
        carried: Mapping[int, int] | None = None,
    ) -> None:
        self.wanted = tuple(record.wanted if wanted is None else wanted)
        self.thorough = thorough
        self.arrivals = Arrivals(record, self.wanted, results, carried or {}, thorough)
        self.record = self.arrivals.record
        self.closed: list[str] = []
        self.found: list[Stop] = []
        for node in reversed(self.record.nodes):
            if node.kind == "operator" and not node.note and self.arrivals.comes(node):
                inner = list(self._inside(node))
                covered = {slot for stop in inner for slot in stop.cut}
                self.found += [*inner, *self._at(node, covered)]

    def _at(self, node: Entry, covered: Collection[Slot]) -> Iterator[Stop]:
        """Yield the stops that a node is, for what those inside it do not cut off."""
        if node.op == "while":  # it passes none, so that what dies has died before
            return
        flat = node.known.flat or not any(map(self.arrivals.is_float, made(node)))
        dead = {
            k: where
            for k, slot in enumerate(node.inputs)
            if slot in self.arrivals.depends and slot not in covered
            if self.arrivals.is_float(slot) and self._elements(slot)
            if flat or slot not in self.arrivals.unknown
            if (where := _dead(node, k)) is not None
        }
        came = _came(node)
        if whole := tuple(k for k, where in dead.items() if where is True):
            yield self._stop(node, whole, None, came, 1.0)
        for k, where in dead.items():
            if isinstance(where, float):  # of statistics only the share is known
                count, share = round(where * came), where
            elif where is not True:
                count = int(where.sum())
                share = count / max(came, 1)
            if where is not True and share >= MOST:
                yield self._stop(node, (k,), where, count, share)

    def _elements(self, slot: Slot) -> int:
        return math.prod(self.record.nodes[slot.node].avals[slot.output].shape)

    def _stop(
        self, node: Entry, inputs: tuple[int, ...], where: Any, count: int, share: float
    ) -> Stop:
        cut = tuple(dict.fromkeys(node.inputs[k] for k in inputs))
        out = self._out(node, cut, where) if self.record.keep == "values" else {}
        cond = node.op == "cond" and not node.custom and bool(out) and self.record.steps is None
        return Stop(
            record=self.record,
            node=node,
            outer=node.index,
            inputs=inputs,
            where=None if isinstance(where, float) else where,
            count=count,
            share=share,
            cut=cut,
            out=out,
            branch=branch(self.record, node) if cond else None,
        )

    def _out(self, node: Entry, cut: Sequence[Slot], where: Any) -> dict[Slot, Any]:
        """Return what would go out of a stop, if it went."""
        rng = np.random.default_rng(0)
        g, out = node.cotangents[0], {}
        for slot in cut:
            shape = np.shape(self.record.value(slot))
            # At random and no less than what came, so that no two of them cancel on the way.
            out[slot] = 1 + rng.random(shape, np.float32)
            if g is not None and np.shape(g) == shape:
                out[slot] *= np.abs(plain(g)) * (True if where is None else where)
        return out

    def _inside(self, node: Entry) -> Iterator[Stop]:
        """Yield the stops in the body of a loop, or in the branch that a cond took."""
        if node.custom or node.op not in ("scan", "cond") or self.record.keep != "values":
            return
        step = None if self.record.steps is None else _busiest(node)
        try:
            body = enter(self.record, node, step)
        except ClosedError:
            self.closed.append(node.label)
            return
        first = 1 if node.op == "cond" else 0  # which branch to take comes before what it takes
        consts, carried, start = len(node.inputs), {}, 0
        if node.op == "scan":
            _, consts, carries, _, reverse = _jax.scan_layout(node.equation)
            carried = {k: consts + k for k in range(carries)}
            start = -1 if reverse else 0
        depends = self.arrivals.depends
        wanted = [k - first for k, s in enumerate(node.inputs) if k >= first and s in depends]
        wanted = [k for k in wanted if self.arrivals.is_float(node.inputs[k + first])]
        results = [slot.output for slot in made(node) if slot in self.arrivals.came]
        inner = Stops(body, self.thorough, wanted, results, carried)
        self.closed += inner.closed
        reach = inner.reach() if inner.found else None
        for stop in inner.found:
            behind = inner.arrivals.behind(body, stop.cut)
            out: dict[Slot, Any] = {}
            for k, g in zip(wanted, reach([stop]), strict=True):
                if g is None:
                    continue
                if body.steps is not None and k < consts + len(carried):
                    g = g.sum(0) if k < consts else g[start]
                if step is not None:
                    whole = np.zeros((self.record.steps, *g.shape), g.dtype)
                    whole[step] = g
                    g = whole
                slot = node.inputs[k + first]
                out[slot] = out.get(slot, 0) + g
            cut = dict.fromkeys(node.inputs[k + first] for k in wanted if Slot(k, 0) in behind)
            yield dataclasses.replace(stop, outer=node.index, cut=tuple(cut), out=out)

    def reach(self) -> Callable[[Sequence[Stop]], list[Any]]:
        """Return what the wanted arguments would get if some stops let all through.

        None for what those would not reach.
        """
        record = self.record
        slots = list(dict.fromkeys(slot for stop in self.found for slot in stop.out))
        if not slots:
            return lambda stops: [None] * len(self.wanted)
        graph = dataclasses.replace(record, outputs=tuple(slots), program=None)
        dtypes = [record.nodes[slot.node].avals[slot.output].dtype for slot in slots]
        zeros = [np.zeros(np.shape(record.value(slot))) for slot in slots]

        def backward(taken: Sequence[Any], starts: Sequence[Any]) -> list[Any]:
            found = run(graph, taken, starts, self.wanted, {})
            return [found.cotangents[i][0] for i in self.wanted]

        ready = again(record, backward)

        def of(stops: Sequence[Stop]) -> list[Any]:
            outs = [[stop.out[slot] for stop in stops if slot in stop.out] for slot in slots]
            rows = zip(outs, zeros, dtypes, strict=True)
            found = ready([jnp.asarray(sum(out, zero), dtype) for out, zero, dtype in rows])
            return [None if g is None else np.abs(plain(g)) for g in found]

        return of


def _dead(node: Entry, k: int) -> Any:
    """Return in which elements no gradient goes to an input: a mask, True for all, or None.

    Of statistics, the share of them.
    """
    part, g = node.contributions[k], node.cotangents[0]
    if is_zero(part):
        return True
    known = node.known
    elementwise = known.elementwise or node.op == "select_n" or (node.custom and known.activation)
    if not elementwise or g is None or part.shape != g.shape:
        return None
    if isinstance(part, Stats):
        return float((part.zeros - g.zeros) / (1.0 - g.zeros)) if part.zeros > g.zeros else None
    came, goes = np.abs(plain(g)), np.abs(plain(part))
    where = (came > 0) & (goes <= (PASSES * came if known.ends is not None else 0.0))
    return where if where.any() else None


def _came(node: Entry) -> int:
    """Return into how many elements of an operator's outputs a gradient comes."""
    count = 0
    for g in node.cotangents:
        if isinstance(g, Stats):
            count += round((1 - g.zeros) * int(np.prod(g.shape)))
        elif g is not None:
            count += int(np.count_nonzero(plain(g)))
    return count or sum(int(np.prod(x.shape)) for x in node.values if x is not None)


def _busiest(node: Entry) -> int:
    """Return the step of a loop at which the largest gradient comes to a node inside it."""
    arrays = [np.abs(plain(g)) for g in node.cotangents if g is not None]
    sizes = [array.reshape(len(array), -1).sum(1) for array in arrays]
    return int(np.argmax(np.sum(sizes, axis=0))) if sizes else 0
