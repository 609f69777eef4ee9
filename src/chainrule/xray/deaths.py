"""Where the gradient dies: in which operator, on which line, why, and what gets none therefore."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.xray.arrivals import is_zero
from chainrule.xray.elements import plain
from chainrule.xray.graph import Slot
from chainrule.xray.obstacles import why
from chainrule.xray.record import Entry, Record, measured
from chainrule.xray.stops import PASSES, Stop, Stops
from chainrule.xray.words import below

__all__ = ["Death", "Deaths", "Lacking", "find"]
__dir__ = __all__.copy

_CHANCE = 0.05, 1e-4  # of an argument's elements: fewer may get next to none, or none, by chance
_TIME = 60.0  # seconds; what has not been tried then is not known
_SHOWN = 6  # arguments in the text


@dataclasses.dataclass(frozen=True)
class Lacking:
    """An argument that gets no gradient, or next to none, in some of its elements.

    Attributes:
      name: its path.
      count: in how many elements.
      size: of how many.
      exact: whether it is exactly 0 there; else at most a thousandth of what it would be.
    """

    name: str
    count: int
    size: int
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.name} ({'all' if self.count == self.size else self.count} of {self.size})"


@dataclasses.dataclass(frozen=True)
class Death:
    """An operator into which a gradient comes and out of which none goes, for most elements.

    None is exactly 0; out of a tanh or a sigmoid, at most a thousandth of what comes in.

    Attributes:
      node: the number of its node in the record; of what is inside a loop, that of the loop.
      op: the operator.
      line: ``file.py:line (function)`` in the user's code.
      within: the line inside an installed library that it came through, "" if none.
      share: of the elements into which a gradient comes, out of how many none goes, from 0 to 1.
      count: how many those are, in all steps of a loop together; where it makes integers, to which
        no gradient comes, all of them.
      why: the reason, in this call.
      arguments: which arguments get no gradient because of it: those that would if one went out
        here, and those behind them that get none at all.
    """

    node: int
    op: str
    line: str
    within: str
    share: float
    count: int
    why: str
    arguments: tuple[Lacking, ...]

    @property
    def harmless(self) -> bool:
        """Whether no argument lacks a gradient because of it, as far as that is known."""
        return not self.arguments

    def __str__(self) -> str:
        share = "" if self.share == 1 else f", {100 * self.share:.0f} %"
        elements = f"{self.count} element{'s' * (self.count != 1)}"
        text = [below(self.line), f"  the gradient dies in {self.op} ({elements}{share})"]
        text.append(f"  why: {self.why}")
        for exact, how in ((True, "no gradient"), (False, "next to no gradient")):
            if some := [str(one) for one in self.arguments if one.exact is exact]:
                more = [f"and {len(some) - _SHOWN} more"] if len(some) > _SHOWN else []
                text.append(f"  {how} gets to: {', '.join([*some[:_SHOWN], *more])}")
        if self.within:
            text.append(f"  inside: {below(self.within)}")
        return "\n".join(text)


@dataclasses.dataclass(frozen=True)
class Deaths(Sequence[Death]):
    """Every death, the one that takes most of the arguments' gradients first.

    Attributes:
      found: the deaths; after those of consequence the harmless ones.
      unreached: the arguments from which no path leads to the result.
      zero: the arguments whose gradient is exactly 0 in every element.
      every: whether those are all that the function was differentiated with respect to.
      closed: the labels of the loops that are too large to look into.
      unknown: the arguments whose gradient would come through an operator that none passes.
      late: whether the time was over before that had been tried of all.
      decided: whether it was tried out which arguments lack a gradient because of which death; with
        statistics only it cannot be.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import xray
      >>> def loss(w, x):
      ...     return jnp.sum(jnp.round(w * x) ** 2)
      >>> deaths = xray.xray(loss, jnp.array([1.2, 3.4]), jnp.ones(2), argnums=0).deaths()
      >>> deaths[0].op, deaths[0].why, str(deaths[0].arguments[0])
      ('round', 'it jumps from step to step: between them its derivative is 0', 'w (all of 2)')
    """

    found: tuple[Death, ...] = ()
    unreached: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    every: bool = False
    decided: bool = True
    closed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    late: bool = False

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, k: Any) -> Any:
        return self.found[k]

    @property
    def matter(self) -> bool:
        """Whether some argument lacks a gradient."""
        return bool(self.unreached or self.zero or any(not death.harmless for death in self.found))

    @property
    def paragraphs(self) -> tuple[tuple[str, Death | None], ...]:
        """What is said, part by part, each with the death that it is about."""
        rows: dict[str, Death] = {}  # of the steps of an unrolled loop, one
        for one in self.found:
            if not one.harmless or not self.decided:
                rows.setdefault(str(one), one)
        return (*rows.items(), *((text, None) for text in self._end()))

    def __str__(self) -> str:
        return "\n\n".join(text for text, _ in self.paragraphs)

    def _end(self) -> list[str]:
        said = []
        if self.unreached:
            said.append(f"no path leads to the result from {', '.join(self.unreached)}")
        if self.every:
            said.append("every gradient is exactly 0")
        elif self.zero:
            said.append(f"exactly 0 is the gradient of {', '.join(self.zero)}")
        if not self.decided:
            said.append(
                "only statistics are kept: which arguments lack a part of their gradient, and what "
                "is inside of loops, is unknown"
            )
        elif not (self.matter or self.closed or self.unknown or self.late):
            said.append("no operator was found in which a gradient dies on its way to an argument")
        if self.late:
            said.append("the time was over before all had been tried: there may be more")
        if self.unknown:
            said.append(f"unknown is the gradient of {', '.join(self.unknown)}")
        if self.closed:
            said.append(f"too large to look into: {', '.join(self.closed)}")
        quiet = [one for one in self.found if one.harmless]
        if quiet and self.decided and not self.late:
            lines = ", ".join(dict.fromkeys(f"{one.op} at {below(one.line)}" for one in quiet[:3]))
            more = f", and {len(quiet) - 3} more" if len(quiet) > 3 else ""
            said.append(f"none goes out of {lines}{more}: no argument lacks one therefore")
        return said


def find(record: Record) -> Deaths:
    """Return where gradients die in a record.

    Raises:
      ValueError: the record holds no gradients.
    """
    if not record.wanted:
        raise ValueError(
            f"{record.function} was recorded without gradients: call xray with gradients=True, and "
            "an argument of floats"
        )
    record = record if record.runs else measured(record)
    wanted = [record.nodes[i] for i in record.wanted if not record.nodes[i].note]
    zero = [node for node in wanted if is_zero(node.cotangent) and _size(record, node)]
    whole = record.keep == "values"
    stops = Stops(record, whole and any(_some_zero(node.cotangent) for node in wanted))
    lacking: list[dict[int, Lacking]] = [{} for _ in stops.found]
    late = whole and _try(record, stops, lacking)
    explained = {i for row in lacking for i in row}
    unreached, sums = [], []
    for node in zero:
        if Slot(node.index, 0) not in stops.arrivals.upstream:
            unreached.append(node)
        elif node.index not in explained:
            ends, cancelled = stops.arrivals.ends(node.index)
            size = _size(record, node)
            all_of_it = Lacking(node.label, size, size)
            for stop, row in zip(stops.found, lacking, strict=True):
                if stop.outer in ends:
                    row[node.index] = all_of_it
            sums += [_sum(record, slot, all_of_it) for slot in cancelled if not ends]
    rows = list(zip(stops.found, lacking, strict=True))
    kept = [(stop, row) for stop, row in rows if row or not whole or stop.share == 1]
    deaths = [(_death(record, *row), _rank(row, rows, stops)) for row in kept]
    deaths += [(one, (False, -_weight(one), False)) for one in sums]
    return Deaths(
        found=tuple(death for death, _ in sorted(deaths, key=lambda pair: pair[1])),
        unreached=tuple(node.label for node in unreached),
        zero=tuple(node.label for node in zero if node not in unreached),
        every=len(zero) == len(record.wanted),
        unknown=tuple(record.nodes[i].label for i in record.wanted if record.nodes[i].note),
        decided=whole,
        closed=tuple(stops.closed),
        late=late,
    )


_Row = tuple[Stop, Mapping[int, Lacking]]


def _rank(row: _Row, rows: Sequence[_Row], stops: Stops) -> tuple[bool, int, bool]:
    """Return what the deaths are sorted by: what follows from another one comes after it."""
    stop, lacking = row
    follows = False
    if stop.node.op in ("mul", "dot_general"):
        factors = [slot for k, slot in enumerate(stop.node.inputs) if k not in stop.inputs]
        behind = {slot.node for slot in stops.arrivals.behind(stop.record, factors)}
        others = (one for one, found in rows if found and one.record is stop.record)
        follows = any(one.node.index in behind for one in others)
    return follows, -sum(one.count for one in lacking.values()), stop.by_jumps


def _some_zero(g: Any) -> bool:
    return g is None or not np.all(plain(g))


def _weight(death: Death) -> int:
    return sum(one.count for one in death.arguments)


def _size(record: Record, node: Entry) -> int:
    return math.prod(node.avals[0].shape) * (1 if record.steps is None else record.steps)


def _death(record: Record, stop: Stop, lacking: Mapping[int, Lacking]) -> Death:
    node = stop.node
    return Death(
        node=stop.outer,
        op=node.op,
        line=node.line or record.nodes[stop.outer].line,
        within=node.within if node.within != node.line else "",
        share=stop.share,
        count=stop.count,
        why=why(stop),
        arguments=tuple(lacking[i] for i in sorted(lacking)),
    )


def _sum(record: Record, slot: Slot, argument: Lacking) -> Death:
    """Return the death of gradients that add up to nothing."""
    node = record.nodes[slot.node]
    uses = record.readers[slot]
    lines = [record.nodes[use.node].line for use in uses if use.node is not None]
    return Death(
        node=slot.node,
        op=f"the sum of the gradients of {node.label}",
        line=node.line or next(iter(lines), ""),
        within="",
        share=1.0,
        count=_size(record, node),
        why=f"what its {len(uses)} uses contribute adds up to exactly 0",
        arguments=(argument,),
    )


def _try(record: Record, stops: Stops, lacking: Sequence[dict[int, Lacking]]) -> bool:
    """Let a gradient out of every stop, and see which arguments get one that had none.

    Out of all of them together first, then out of either half, where that makes a difference.

    Returns:
      Whether the time was over before all had been tried.
    """
    reach, end = stops.reach(), time.monotonic() + _TIME
    todo = [list(range(len(stops.found)))]
    while todo:
        if time.monotonic() > end:
            return True
        some = todo.pop()
        gained = _gained(record, stops, [stops.found[k] for k in some], reach) if some else {}
        if len(some) == 1:
            lacking[some[0]].update(gained)
        elif gained:
            todo += [some[len(some) // 2 :], some[: len(some) // 2]]
    return False


def _gained(
    record: Record, stops: Stops, some: Sequence[Stop], reach: Callable[[Sequence[Stop]], list[Any]]
) -> dict[int, Lacking]:
    found = {}
    partly = any(stop.partly for stop in some)
    for i, new in zip(stops.wanted, reach(some), strict=True):
        node = record.nodes[i]
        if new is None or node.note:
            continue
        had = np.zeros_like(new) if node.cotangent is None else np.abs(plain(node.cotangent))
        gone = (new > 0) & (had <= (PASSES if partly else 0.0) * new)
        count = int(gone.sum())
        exact = not had[gone].any()
        if count > _CHANCE[exact] * gone.size:
            found[i] = Lacking(node.label, count, new.size, exact)
    return found
