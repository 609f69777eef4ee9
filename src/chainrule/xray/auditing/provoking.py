"""Traps, provoked: only what was seen to break on this program, with the input that breaks it."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.xray import _jax, nonfinite
from chainrule.xray.auditing import candidates, newton
from chainrule.xray.auditing.candidates import Candidate
from chainrule.xray.auditing.findings import Reached, Trap
from chainrule.xray.auditing.growth import growing
from chainrule.xray.auditing.inputs import Input, variants
from chainrule.xray.auditing.silent import silent
from chainrule.xray.auditing.walk import sites
from chainrule.xray.births import Birth, Nonfinite
from chainrule.xray.elements import numbers
from chainrule.xray.record import Record
from chainrule.xray.rerun import replay

__all__ = ["Provoked", "provoke"]
__dir__ = __all__.copy

_WRITTEN = 6  # numbers
_SECONDS = 60.0  # nothing new is begun afterwards


@dataclasses.dataclass(frozen=True)
class Provoked:
    """The traps of a program.

    Attributes:
      traps: those that were provoked.
      tried: how many inputs were tried.
      late: whether the time was over before all were.
    """

    traps: tuple[Trap, ...]
    tried: int
    late: bool


@_jax.quiet
def provoke(record: Record) -> Provoked:
    """Return the traps of a program: what breaks with numbers that its arguments can be.

    Args:
      record: the record; it keeps values.
    """
    return _Search(record).run()


class _Search:
    """The search for traps in one program."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.candidates = candidates.find(record)
        self.again = replay(record)
        self.traps: list[Trap] = []
        self.tried = 0
        self.until = time.monotonic() + _SECONDS
        self.today: set[tuple[Any, ...]] = set()  # what is bad today, and does no harm

    def run(self) -> Provoked:
        """Try the numbers given, then structured ones, then a few Newton steps."""
        self._look(self.record, "as called", Input("", {}))
        self._structured()
        self._newton()
        for trap in growing(self.record):
            self._add(trap)
        late = time.monotonic() > self.until
        order = ("as called", "arguments", "operand")
        traps = sorted(self.traps, key=lambda trap: order.index(trap.reached))
        return Provoked(tuple(traps), self.tried, late)

    def _structured(self) -> None:
        touched = frozenset().union(*(c.arguments for c in self.candidates))
        values = {c.pole.value for c in self.candidates if c.pole is not None}
        inside = any(c.kind == "inside" for c in self.candidates)
        others = _quotients(self.record) if inside else ()
        for given in variants(self.record, touched, values, others) if touched else ():
            if time.monotonic() > self.until or not self._open():
                return
            self._try(given, "arguments")

    def _open(self) -> list[Candidate]:
        """Return the candidates on whose lines nothing was found so far."""
        lines = {trap.line for trap in self.traps}
        return [c for c in self.candidates if self.record.nodes[c.node].line not in lines]

    def _try(self, given: Input, reached: Reached) -> None:
        self.tried += 1
        if all(np.array_equal(x, self.record.nodes[k].value) for k, x in given.arrays.items()):
            return
        try:
            made = self.again(given.arrays)
        except Exception:  # it checks what it is given by itself, and refuses this
            return
        self._look(made, reached, given)

    def _newton(self) -> None:
        """Try Newton steps on each candidate that is a pole, then the operand itself."""
        steps = newton.Steps(self.record, [c for c in self._open() if c.pole is not None])
        for candidate in steps.candidates:
            if time.monotonic() > self.until:
                return
            if candidate not in self._open():
                continue
            for given in steps.inputs(candidate):
                self._try(given, "arguments")
            if candidate in self._open() and (set_there := steps.operand(candidate)) is not None:
                changed, given = set_there
                self._look(changed, "operand", given, candidate.node)

    def _look(
        self, record: Record, reached: Reached, given: Input, only: int | None = None
    ) -> None:
        """Add what breaks in a record."""
        for trap in silent(record, self.candidates, reached, given):
            self._add(trap)
        if not any(_fresh(record, {trap.line for trap in self.traps})):
            return
        found = nonfinite.find(record)
        if reached == "as called":
            self.today = {_key(birth) for birth in found.births if birth.harmless}
        for birth in _first(found, self.today):
            if only is None or birth.node == only:
                self._add(_trap(self.record, record, found, birth, reached, given))

    def _add(self, trap: Trap) -> None:
        if all(trap.line != other.line for other in self.traps):
            self.traps.append(trap)


def _quotients(record: Record) -> set[float]:
    """Return quotients of the numbers written inside of loops, where no Newton steps are taken.

    What a x - b makes 0 is one of them.
    """
    found = {1.0}
    for site in sites(record):
        if site.around:
            for node in site.record.nodes:
                if node.kind == "constant" and not node.avals[0].shape:
                    x = numbers(node.value)
                    if x is not None and x.dtype.kind == "f" and np.isfinite(x) and x:
                        found.add(abs(float(x)))
    some = sorted(found)[:_WRITTEN]
    both = {a / b for a in some for b in some}
    return both | {-x for x in both}


def _fresh(record: Record, lines: set[str]) -> Iterator[bool]:
    """Yield whether something bad comes of good numbers on a line where nothing was found."""
    bad = [[_is_bad(x) for x in node.values] for node in record.nodes]
    back = [[_is_bad(g) for g in node.cotangents] for node in record.nodes]
    for node in record.nodes:
        if node.kind != "operator" or node.line in lines:
            continue
        before = any(bad[s.node][s.output] for s in node.inputs)
        yield any(bad[node.index]) and not before
        parts = any(back[s.node][s.output] for s in node.inputs)
        yield parts and not any(back[node.index])


def _is_bad(x: Any) -> bool:
    array = None if x is None else numbers(x)
    return array is not None and array.dtype.kind in "fc" and not np.isfinite(array).all()


def _key(birth: Birth) -> tuple[Any, ...]:
    return birth.node, birth.phase, birth.kind, birth.op


def _first(found: Nonfinite, today: set[tuple[Any, ...]]) -> Sequence[Birth]:
    """Return the births that matter, that are new, and that follow from no other."""
    matter = [birth for birth in found.births if not birth.harmless]
    matter = [birth for birth in matter if _key(birth) not in today] or matter
    return [birth for birth in matter if not birth.follows] or matter


def _trap(
    record: Record,
    broken: Record,
    found: Nonfinite,
    birth: Birth,
    reached: Reached,
    given: Input,
) -> Trap:
    when = "in its gradient" if birth.phase == "backward" or birth.in_gradient else "in its value"

    def tries() -> str:
        cures = [cure for cure in found.cures() if getattr(cure, "birth", None) is not None]
        mine = [c for c in cures if getattr(c.birth, "line", "") == birth.line] or cures
        return str(mine[0]) if mine else ""

    node = record.nodes[birth.node]
    return Trap(
        op=birth.op,
        line=birth.line,
        within=birth.within or (node.line if node.line != birth.line else ""),
        why=f"{birth.kind} {when}: {birth.cause.reason}",
        reached=reached,
        how=given.text,
        arguments={record.nodes[k].label: x for k, x in given.arrays.items()},
        tries=None if reached == "operand" else tries,
    )
