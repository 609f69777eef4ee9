"""From two records to rows: which errors an operator makes itself, and which of them are errors."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from chainrule.xray.bodies import ClosedError
from chainrule.xray.compare.back import lead, shares
from chainrule.xray.compare.blame import blamed, mended, written
from chainrule.xray.compare.errors import NONE, Error, between
from chainrule.xray.compare.keys import transparent, varies
from chainrule.xray.compare.loops import first_step, length, same_arguments
from chainrule.xray.compare.operators import recorded
from chainrule.xray.compare.pairing import pair
from chainrule.xray.compare.rows import LOST, Row, row
from chainrule.xray.compare.sweep import Made, Pairing, Sweep
from chainrule.xray.compare.tolerance import terms, told
from chainrule.xray.compare.ways import Way
from chainrule.xray.graph import Slot
from chainrule.xray.inside import can_enter, enter, enter_backward
from chainrule.xray.record import Entry, Record

__all__ = ["Judge"]
__dir__ = __all__.copy

_UNITS = 8.0  # in the last place: what another library, or another order, may differ by


@dataclasses.dataclass
class _Own:
    """What one operator does by itself, in one direction."""

    error: float = 0.0
    rest: float = 0.0
    out: float = 0.0  # of its results in the second run
    tolerance: float = 0.0
    parts: bool = False
    step: int | None = None
    note: str = ""


class Judge:
    """The errors of a second execution against a first.

    Args:
      first: the record that counts as true.
      second: the other.
      pairing: what of them belongs together.
      ways: how each of them ran.
      mixed: whether they compute in two dtypes on purpose, so that the coarser one counts.
      whole: whether they are no insides of loops, whose arguments inherit what came before.
    """

    def __init__(
        self,
        first: Record,
        second: Record,
        pairing: Pairing,
        ways: tuple[Way, Way],
        mixed: bool,
        whole: bool = True,
    ) -> None:
        self.first, self.second, self.pairing = first, second, pairing
        self.ways, self.mixed = ways, mixed
        self.whole = whole
        self.sweep = Sweep(first, second, pairing, ways[1])
        self._total: dict[Slot, Error] = {}
        self._units: dict[int, float] = {}

    @property
    def eps(self) -> float:
        """One unit in the last place of the results, relative."""
        ends = {slot.node for slot in self.second.outputs}
        return max(map(self._eps, ends), default=0.0)

    def rows(self) -> list[Row]:
        """Return one row an operator, forward, then backward from the end."""
        found: dict[tuple[bool, int], _Own] = {}
        for made in self.sweep.run():
            own = found.setdefault((made.backward, made.node), _Own())
            self._add(own, made)
        rows = [self._opened(self._row(b, k, own), k, own) for (b, k), own in found.items()]
        forward = [one for one in rows if one.phase == "forward"]
        backward = [one for one in rows if one.phase == "backward"]
        backward += (written(self.second, one) for one in shares(self.sweep, self.eps, _UNITS))
        forward += self._loops.values()
        forward += self._arguments() if self.whole else ()
        return [*sorted(forward, key=lambda r: r.node), *sorted(backward, key=lambda r: -r.node)]

    def lead(self) -> Row | None:
        """Return a guess where gradients part, if no row is known to."""
        found = lead(self.sweep)
        return found and written(self.second, found)

    def total(self, slot: Slot) -> Error:
        """Return the error of an array of the second run."""
        if slot not in self._total:
            node = self.second.nodes[slot.node]
            known = slot in self.pairing.slots and bool(node.values)
            self._total[slot] = self._felt(slot, node.values[slot.output]) if known else NONE
        return self._total[slot]

    def _felt(self, slot: Slot, ran: Any) -> Error:
        return between(
            *(self.sweep.felt(slot, ran) if self.mixed else (self.sweep.true(slot), ran))
        )

    def _of(self, node: Entry) -> Entry | None:
        slots = (Slot(node.index, k) for k in range(len(node.avals)))
        found = [self.pairing.slots[slot] for slot in slots if slot in self.pairing.slots]
        nodes = [self.first.nodes[given.slot.node] for given in found]
        # Of a loop one result may stand where the first takes its own apart.
        return next((n for n in nodes if n.op == node.op), nodes[0] if nodes else None)

    def _eps(self, index: int) -> float:
        """Return one unit in the last place, relative, of what an operator makes."""
        if index not in self._units:
            node = self.second.nodes[index]
            other = self._of(node) or node
            floats = [k for k, a in enumerate(node.avals) if jnp.issubdtype(a.dtype, jnp.inexact)]
            pairs = [
                (self.ways[0].eps(other, k), self.ways[1].eps(node, k))
                for k in floats
                if k < len(other.avals)
            ]
            self._units[index] = max(map(max if self.mixed else min, pairs), default=0.0)
        return self._units[index]

    def _add(self, own: _Own, made: Made) -> None:
        node = self.second.nodes[made.node]
        if made.backward:
            of = self.first.nodes[self.pairing.nodes[made.node]]
            true = of.contributions[made.number]
            ran = node.contributions[made.number]
        else:
            true, ran = self.sweep.true(Slot(made.node, made.number)), node.values[made.number]
        error = between(true, made.array)
        if ran is None or self.first is self.second:  # of its inside there is but one record
            rest = out = NONE
        elif made.array is ran:
            rest, out = NONE, error
        else:
            out = between(true, ran)
            rest = between(made.array, ran) if error.norm or error.bad else out
        if self.mixed and not made.backward:
            out = self._felt(Slot(made.node, made.number), ran)
        eps = self._eps(made.node)
        allowed, parts = self._allowed(made, node, error, eps, true)
        if parts or error.relative >= own.error:
            own.error, own.tolerance = error.relative, allowed
        if error.bad and not own.note:
            own.note = told(true, made.array)
        if parts and self.first.steps is not None and self.first.over == "steps":
            step = first_step(true, made.array, allowed)
            own.step = step if own.step is None else min(step, own.step)
        if not made.backward:
            self._total[Slot(made.node, made.number)] = out
        own.rest = max(own.rest, rest.norm / error.scale if error.scale else rest.relative)
        own.out = max(own.out, out.relative)
        own.parts = own.parts or parts

    def _allowed(
        self, made: Made, node: Entry, error: Error, eps: float, true: Any
    ) -> tuple[float, bool]:
        """Return what the own error may be, relative, and whether it is more."""
        if error.norm == 0 and not error.bad:
            return _UNITS * eps, False
        if not eps:  # numbers that are exact, and comparisons
            return 0.0, not self.mixed
        units = _UNITS * math.sqrt(terms(self.second, made, true))
        plain = units * eps
        if error.within(plain * error.scale, plain * error.top):
            return plain, False
        norm, most = self.sweep.spread(made, eps)
        norm, most = max(plain * error.scale, units * norm), max(plain * error.top, units * most)
        parts = not error.within(norm, most)
        return (norm / error.scale if error.scale else math.inf), parts

    def _came_in(self, node: Entry, backward: bool) -> float:
        slots = [s for s in node.inputs if s in self.pairing.slots]
        errors = [self.total(s).relative for s in slots]
        if backward:
            of = self.first.nodes[self.pairing.nodes[node.index]]
            pairs = zip(of.cotangents, node.cotangents, strict=True)
            errors += [between(x, y).relative for x, y in pairs if x is not None and y is not None]
        return max(errors, default=0.0)

    def _row(self, backward: bool, index: int, own: _Own) -> Row:
        node, other = self.second.nodes[index], self._of(self.second.nodes[index])
        came, out = self._came_in(node, backward), min(own.out, 1.0)
        eps = self._eps(index)
        both = 0 < came < math.inf and 0 < own.out < math.inf
        kept = transparent(node) or node.known.part  # its elements lost nothing here
        lost = math.log2(out / max(min(came, 1.0), eps)) if out and eps and not kept else 0.0
        region = [] if backward else self.sweep.region(index)
        own.parts = own.parts and not any(k in self._loops for k in region)  # it is made there
        looked = own.parts and not backward
        among, before = blamed(self.sweep, index, region, _UNITS * eps) if looked else ([index], ())
        nodes, short = self.second.nodes, looked and index in self.pairing.short
        places = sorted({*(among or [index]), *before})
        lines = tuple(dict.fromkeys(line for k in places if (line := nodes[k].line)))
        sure = bool(among) and index not in self.pairing.weak and len(lines) < 2
        note = own.note or "the first has operators there that it has not" * short
        if len(lines) > 1 and (cure := mended(self.sweep, index, region, own.tolerance)):
            among, lines, note, sure = [cure[0]], (), cure[1], False
        named = nodes[max(among or before)]
        return row(
            named,
            other,
            phase="backward" if backward else "forward",
            own=own.error,
            inherited=own.rest,
            tolerance=own.tolerance,
            amplified=math.log2(own.out / came) if both else math.nan,
            lost=max(lost, 0.0),
            parts=own.parts,
            between=tuple(nodes[k].label for k in among if k != named.index),
            lines=lines if len(lines) > 1 else (),
            step=own.step,
            sure=sure,
            note=note,
        )

    def _opened(self, row: Row, index: int, own: _Own) -> Row:
        """Return the row of what parts first inside a loop, a branch or a function with a rule."""
        node, other = self.second.nodes[index], self._of(self.second.nodes[index])
        if other is None or not can_enter(node):
            return row
        if self.mixed and row.lost > LOST and row.phase == "forward":
            with contextlib.suppress(ClosedError):
                return self._lost(row, node, other)
        if not own.parts:
            return row
        if node.op != other.op or not can_enter(other):
            return row if other.custom else written(self.second, row)
        adds_up = dataclasses.replace(row, parts=row.own > row.tolerance * length(node))
        if self.first.steps is not None:
            return adds_up
        try:
            found = self._inside(node, other, row.phase)
        except ClosedError as error:
            return dataclasses.replace(adds_up, note=str(error))
        known = all(s in self.pairing.slots or not varies(self.second, s) for s in node.inputs)
        if found is None and row.phase == "forward" and not known:  # it is made before
            return adds_up
        if found is None:  # what rounding adds up to, step by step
            return dataclasses.replace(row, parts=False, tolerance=max(row.tolerance, row.own))
        return dataclasses.replace(found, lost=row.lost, sure=row.sure and found.sure)

    def _lost(self, row: Row, node: Entry, other: Entry) -> Row:
        """Return the row of what loses digits first inside a node, on what each step takes."""
        sides = (self.first, other, self.ways[0]), (self.second, node, self.ways[1])
        plain = [
            all(x.dtype == aval.dtype for x, aval in zip(n.values, n.avals, strict=True))
            for _, n, _ in sides
        ]
        if self.first.steps is not None or not any(plain):
            return row
        (record, there, way), (_, _, another) = sides if plain[0] else sides[::-1]
        one = enter(record, there)
        two = recorded(one, another)
        rows = Judge(one, two, pair(one, two), (way, another), True, False).rows()
        lost = (one for one in rows if one.phase == "forward" and one.lost > LOST)
        return next((one.inside(node, other) for one in lost), row)

    def _inside(self, node: Entry, other: Entry, phase: str) -> Row | None:
        """Return the row of what parts first inside two nodes, None where nothing does."""
        rule = node.custom and phase == "backward"  # what that computes is there going forward
        look, phase = (enter_backward, "forward") if rule else (enter, phase)
        one = look(self.first, other)
        two = one if node.equation is other.equation else look(self.second, node)
        arguments = None if one is two or rule else same_arguments(self.pairing, other, node)
        judge = Judge(one, two, pair(one, two, arguments), self.ways, self.mixed, False)
        rows = (row for row in judge.rows() if row.parts and row.phase == phase)
        found = next((row.inside(node, other) for row in rows), None)
        return found and dataclasses.replace(found, phase="backward" if rule else found.phase)

    @functools.cached_property
    def _loops(self) -> dict[int, Row]:
        """What parts in loops that take the same as others, but hand on other arrays."""
        found: dict[int, Row] = {}
        for k, i in self.pairing.loops.items() if self.whole else ():
            with contextlib.suppress(ClosedError):
                row = self._inside(self.second.nodes[k], self.first.nodes[i], "forward")
                found |= {} if row is None else {k: row}
        return found

    def _arguments(self) -> Iterator[Row]:
        for node in self.second.nodes:
            if not node.is_argument or (slot := Slot(node.index, 0)) not in self.pairing.slots:
                continue
            error = self.total(slot)
            allowed = _UNITS * self._eps(node.index)
            if error.relative > 0:
                other = self.first.nodes[self.pairing.slots[slot].slot.node]
                yield row(
                    node,
                    other,
                    phase="forward",
                    own=error.relative,
                    inherited=0.0,
                    tolerance=allowed,
                    parts=error.relative > allowed,
                    note="the two were called with other numbers",
                )
