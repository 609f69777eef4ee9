"""Custom rules held against their functions: autodiff of the body, and differences in float64."""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _custom, _jax
from chainrule.xray.auditing.comparing import Point, by_autodiff, by_differences
from chainrule.xray.auditing.findings import Rule
from chainrule.xray.auditing.probe import Probe, close, perturbed
from chainrule.xray.auditing.purposes import alike, difference, purpose
from chainrule.xray.auditing.walk import Site, sites
from chainrule.xray.graph import differentiable
from chainrule.xray.inside import asked
from chainrule.xray.record import Entry, Record

__all__ = ["Checked", "check"]
__dir__ = __all__.copy

_SHIFTS = (0.02, 0.1)  # of the numbers themselves, at the points close by
_REMEMBERED = 32  # functions
_SECONDS = 60.0  # nothing new is begun afterwards


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found of the rules of a program.

    Attributes:
      wrong: the rules that are wrong.
      meant: those that differ on purpose.
      unknown: what could not be checked, and why.
      count: how many calls of functions with a custom rule were looked at.
    """

    wrong: tuple[Rule, ...]
    meant: tuple[Rule, ...]
    unknown: tuple[str, ...]
    count: int


@_jax.quiet
def check(record: Record) -> Checked:
    """Check every custom rule of a record, those in loops and branches too.

    Args:
      record: the record; it keeps values. Without gradients in it, every float counts as asked for.
    """
    wrong: list[Rule] = []
    meant: list[Rule] = []
    unknown: list[str] = []
    count = 0
    until = time.monotonic() + _SECONDS
    for site in sites(record):
        if not site.node.custom:
            continue
        if time.monotonic() > until:
            unknown.append(f"the rules after {count}: the time was over")
            break
        count += 1
        try:
            found = _Examination(site).run()
        except Exception as error:  # a rule is somebody's code, and may raise what it likes
            what = str(error).strip().partition("\n")[0]
            unknown.append(f"{site.node.op} at {site.node.line}: {type(error).__name__}: {what}")
            continue
        for rule in found:
            known = meant if rule.purpose else wrong
            if all(_key(rule) != _key(other) for other in known):
                known.append(rule)
    return Checked(tuple(wrong), tuple(meant), tuple(dict.fromkeys(unknown)), count)


def _key(rule: Rule) -> tuple[str, ...]:
    return rule.function, rule.line, rule.argument, *rule.parts


_probes: dict[Any, Probe] = {}


def _probe(key: Any, node: Entry, wrt: Sequence[int], live: Sequence[int]) -> Probe:
    """Return what runs a function, compiled once for the next audit too; without its numbers."""
    if key not in _probes:
        while len(_probes) >= _REMEMBERED:
            del _probes[next(iter(_probes))]
        bare = dataclasses.replace(node, values=(), cotangents=(), contributions=())
        _probes[key] = Probe(bare, wrt, live)
    return _probes[key]


class _Examination:
    """One call of a function with a custom rule."""

    def __init__(self, site: Site) -> None:
        self.site, node = site, site.node
        asks = asked(site.record, node)
        live = [k for k, g in enumerate(node.cotangents) if g is not None]
        if not site.record.wanted:  # no gradient was recorded
            asks = [True] * len(node.inputs)
            live = [k for k, a in enumerate(node.avals) if differentiable(a)]
        slots = [site.record.nodes[s.node].avals[s.output] for s in node.inputs]
        self.wrt = [k for k, a in enumerate(slots) if asks[k] and _is_real(a)]
        self.live = [k for k in live if _is_real(node.avals[k])]
        self.avals = slots
        self.parts = _custom.rule_parts(node.equation)
        key = (
            _custom.identity(node.equation),
            node.op,
            str(slots),
            tuple(self.wrt),
            tuple(self.live),
        )
        self.probe = _probe(key, node, self.wrt, self.live)
        self.pairs: Any = ()  # what the rule gives and the slopes, where there is no derivative

    def run(self) -> list[Rule]:
        """Return what is wrong with the rule, or differs on purpose."""
        if not self.wrt or not self.live:
            return []
        found = list(self._broken())
        if any(not rule.argument for rule in found):  # it raises
            return found
        points = [p for step in self.site.steps for p in self._points(step)]
        found += self._values(points)
        for position in range(len(self.wrt)):
            found += self._gradient(position, points)
        return found

    def _broken(self) -> Iterator[Rule]:
        """Yield that the rule raises, or returns another dtype, before anything runs."""
        operator = _jax.function(self.site.node.equation)
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self.avals]
        gs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self._outgoing()]
        pairs = [(self.wrt, self.live)]
        if _custom.asks_for_zeros(self.site.node.equation):
            pairs += [([k], [n]) for k in self.wrt for n in self.live]
        for wrt, live in pairs:
            some = Probe(self.site.node, wrt, live)
            some_gs = [g for k, g in zip(self.live, gs, strict=True) if k in live]
            try:
                _, made = jax.eval_shape(
                    lambda x, g, some=some: some.pull(operator, x, g), shapes, some_gs
                )
            except (TypeError, ValueError, AttributeError, AssertionError) as error:
                yield self._raises(error, wrt, live)
                return
            for k, g in zip(wrt, made, strict=True):
                if g.dtype != self.avals[k].dtype:
                    yield self._rule(
                        wrt.index(k),
                        f"the rule of {self.site.node.op} gives {self._name(k)}, "
                        f"{self.avals[k].dtype}, a gradient of another dtype, {g.dtype}",
                    )

    def _raises(self, error: Exception, wrt: Sequence[int], live: Sequence[int]) -> Rule:
        what = str(error).strip().partition("\n")[0]
        zeros = "SymbolicZero" in str(error)
        why = f"the rule of {self.site.node.op} raises {type(error).__name__}: {what}"
        if zeros:
            names = " and ".join(self._name(k) for k in wrt)
            why = (
                f"the rule of {self.site.node.op} says symbolic_zeros=True and forgets them: it "
                f"raises where only {names} has a gradient, into output {live[0]}"
                f" ({type(error).__name__}: {what})"
            )
        part = f"{self.parts[-1].place} ({self.parts[-1].name})" if self.parts else ""
        return Rule(self.site.node.op, part, self._parts(), self.site.node.line, "", why)

    def _outgoing(self) -> list[Any]:
        return [self.site.node.avals[k] for k in self.live]

    def _points(self, step: int | None) -> Iterator[Point]:
        """Yield the arrays that the function really takes, and some close by."""
        node, taken = self.site.taken(step)
        rng = np.random.default_rng(0)
        pairs = zip(taken, self.avals, strict=True)
        inputs = [jnp.asarray(x, a.dtype) if _is_real(a) else jnp.asarray(x) for x, a in pairs]
        drawn = [jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in self._outgoing()]
        real = [node.cotangents[k] for k in self.live]
        good = all(g is not None and np.isfinite(_wide(g)).all() for g in real)
        if good and any(np.any(_wide(g)) for g in real):
            yield self._at("as called", inputs, real)
        yield self._at("as called", inputs, drawn)
        for size in _SHIFTS:
            moved = [perturbed(x, size, rng) if k in self.wrt else x for k, x in enumerate(inputs)]
            yield self._at("close by", moved, drawn)

    def _at(self, where: str, inputs: list[Any], gs: list[Any]) -> Point:
        outputs, rule, plain = self.probe.by_rule(inputs, gs)
        pairs = [[_wide(a[k]) for k in self.live] for a in (outputs, plain)]
        true = self.probe.true(inputs, gs)
        return Point(where, inputs, gs, pairs, [_wide(g) for g in rule], true)

    def _values(self, points: Sequence[Point]) -> Iterator[Rule]:
        """Yield that the rule makes another value than the function does without it."""
        for point in points:
            if point.true is None and point.where != "as called":
                continue
            made, plain = point.outputs
            for number, (a, b) in enumerate(zip(made, plain, strict=True)):
                itemsize = self._outgoing()[number].dtype.itemsize
                bad = ~close(a, b, itemsize) & np.isfinite(b)
                if bad.any():
                    at = np.unravel_index(np.argmax(np.where(bad, np.abs(a - b), -1)), np.shape(a))
                    by, true = float(a[at]), float(b[at])
                    factor = by / true if true else math.nan
                    why = (
                        f"under differentiation {self.site.node.op} has another value than "
                        f"without{_times(factor)}"
                    )
                    part = f"{self.parts[0].place} ({self.parts[0].name})" if self.parts else ""
                    index = tuple(int(i) for i in at)
                    more = (factor, index, by, true, "the function itself")
                    about = (self.site.node.op, part, self._parts(), self.site.node.line, "")
                    yield Rule(*about, why, *more)
                    return

    def _gradient(self, position: int, points: Sequence[Point]) -> list[Rule]:
        """Return what is wrong with the gradient of one input: the first point decides."""
        itemsize = self.avals[self.wrt[position]].dtype.itemsize
        for point in points:
            if point.true is None:
                if point.where != "as called":  # an approximation fits where it was made for
                    continue
                found, self.pairs = by_differences(self.probe, position, point, itemsize)
            else:
                found = by_autodiff(self.probe, position, point, itemsize)
            if found is None:
                continue
            index, by, true, method = found
            rule, shape = point.rule[position], self.avals[self.wrt[position]].shape
            known = purpose(self.probe, position, points)
            if point.true is None:
                ratio, what = alike(*self.pairs)
            else:
                ratio, what = difference(self.probe, position, point)
            if math.isnan(ratio) and true:
                ratio = by / true
            name = self._name(self.wrt[position])
            why = f"the rule of {self.site.node.op} gives {name} {what}"
            if point.where != "as called":
                why += "; at the numbers it was called with it is right, close by it is wrong"
            where = tuple(int(i) for i in np.unravel_index(index, shape)) if np.size(rule) else ()
            return [self._rule(position, why, ratio, where, by, true, method, known)]
        return []

    def _rule(
        self,
        position: int,
        why: str,
        factor: float = math.nan,
        worst: tuple[int, ...] = (),
        by: float = math.nan,
        true: float = math.nan,
        method: str = "",
        known: Any = "",
    ) -> Rule:
        lines = self.probe.line(position)
        line = lines[0] if lines else ""
        if not line and self.parts:
            line = f"{self.parts[-1].place} ({self.parts[-1].name})"
        cure = ""
        if method == "autodiff and differences" and not known:
            cure = (
                f"leave the rule out: the gradient that JAX derives of {self.site.node.op} agrees "
                "with differences here (tried)"
            )
        through = tuple(one for one in lines[1:4] if one not in self._parts())
        name = self._name(self.wrt[position])
        node = self.site.node
        about = (node.op, line or node.line, (*self._parts(), *through), node.line, name, why)
        return Rule(*about, factor, worst, by, true, method, known, cure)

    def _parts(self) -> tuple[str, ...]:
        return tuple(f"{part.place} ({part.name})" for part in self.parts)

    def _name(self, number: int) -> str:
        return _custom.input_names(self.site.node.equation)[number] or f"input {number}"


def _is_real(aval: Any) -> bool:
    return bool(jnp.issubdtype(aval.dtype, jnp.floating))


def _wide(x: Any) -> Any:
    return np.asarray(x, np.float64)


def _times(factor: float) -> str:
    return "" if not math.isfinite(factor) else f", {factor:.4g} times"
