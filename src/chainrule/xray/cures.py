"""Cures of one program, each run on it: the record again, with an expression for an operator.

What holds is measured: whether all is finite, what became of the values that were, and how far the
gradient is from differences of the cured function in float64.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax, slopes
from chainrule.xray.births import Birth, Cure, Cures, Datum, Tried
from chainrule.xray.edits import Edit, edits, factored, fused
from chainrule.xray.graph import Graph, Vertex
from chainrule.xray.passes import Operator
from chainrule.xray.record import Record
from chainrule.xray.rerun import Change, Place, prepare

__all__ = ["Site", "find"]
__dir__ = __all__.copy

_SECONDS = 40.0  # nothing new is begun afterwards
_PAIRS = 40
_MEASURED = 6  # cures of which the gradient is compared with differences
_TOLERANCE = {2: 0.3, 4: 1e-2, 8: 1e-4}  # of the gradient, by the bytes of its numbers
_SHIFT = 1e-2  # of itself: what a small epsilon may do to a result that was finite
_ULPS = 8


class Site(NamedTuple):
    """One birth, and the operator that would be written otherwise.

    Attributes:
      birth: the birth.
      graph: the graph that the operator stands in.
      number: of the operator there.
      place: of the operator in the whole record.
    """

    birth: Birth
    graph: Graph
    number: int
    place: Place


@dataclasses.dataclass(frozen=True, eq=False)
class _Candidate:
    birth: Birth
    place: Place
    edit: Edit


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """One run of the program, changed.

    Attributes:
      birth: what it is to cure.
      text: the code.
      record: of the changed program.
      wide: the changed program in float64, of a setting and arguments.
      setting: that of this run.
      arguments: those that it was given instead, by their numbers.
    """

    birth: Birth | Datum
    text: str
    record: Record
    wide: slopes.Wide
    setting: Any = None
    arguments: Any = None


class _Built:
    """A record with candidates built in: the setting of a run says which of them stand in."""

    def __init__(self, record: Record, candidates: Sequence[_Candidate]) -> None:
        self.there: dict[Place, list[_Candidate]] = {}
        for c in candidates:
            self.there.setdefault(c.place, []).append(c)
        nodes = list(record.nodes)
        for place, some in self.there.items():
            if slots := [slot for c in some for slot in c.edit.slots.values()]:
                node = nodes[place[0]]
                parts = (*node.contributions, *(None for _ in slots))
                nodes[place[0]] = dataclasses.replace(
                    node, inputs=(*node.inputs, *slots), contributions=parts
                )
        record = dataclasses.replace(record, nodes=tuple(nodes), program=None)
        changes = {place: self._change(k) for k, place in enumerate(self.there)}
        self.run = prepare(record, changes)
        self.wide = slopes.wide(record, changes)

    def _change(self, number: int) -> Change:
        some = list(self.there.values())[number]

        def change(operator: Operator, setting: Any) -> Operator:
            def stand_in(*inputs: Any) -> list[Any]:
                own = len(inputs) - sum(len(c.edit.slots) for c in some)
                branches: list[Operator] = [lambda *arrays: list(operator(*arrays[:own]))]
                ends = itertools.accumulate((len(c.edit.slots) for c in some), initial=own)
                for c, (first, last) in zip(some, itertools.pairwise(ends), strict=True):
                    branches.append(_branch(operator, c.edit, own, first, last))
                # Alone, without a choice: what it does not read then gets no gradient at all.
                alone = len(self.there) == len(some) == 1
                chosen: list[Any] = (
                    branches[1](*inputs)
                    if alone
                    else jax.lax.switch(setting[number], branches, *inputs)
                )
                return chosen

            return stand_in

        return change

    def trial(self, *chosen: _Candidate) -> _Trial:
        setting = np.zeros(len(self.there), np.int32)
        for c in chosen:
            setting[list(self.there).index(c.place)] = 1 + self.there[c.place].index(c)
        text = "\n".join(f"{_where(c.birth)}: {c.edit.text}" for c in chosen)
        return _Trial(chosen[0].birth, text, self.run(setting), self.wide, setting)


def _where(birth: Birth | Datum) -> str:
    return birth.line.partition(" (")[0].rpartition("/")[2]


def _branch(operator: Operator, edit: Edit, own: int, first: int, last: int) -> Operator:
    def branch(*arrays: Any) -> list[Any]:
        made = edit(operator, [*arrays[:own], *arrays[first:last]])
        like = jax.eval_shape(lambda *x: list(operator(*x)), *arrays[:own])
        return [jnp.asarray(y, old.dtype) for y, old in zip(made, like, strict=True)]

    return branch


@_jax.quiet
def find(
    record: Record,
    sites: Sequence[Site],
    data: Sequence[tuple[int, Datum]],
    births: Callable[[Record], Sequence[Site]],
    progress: Callable[[str], None],
) -> Cures:
    """Return the cures that hold, and what was tried besides.

    Args:
      record: the record; it keeps values.
      sites: its births, but for harmless ones and those of operators that cannot be changed.
      data: the arguments that were bad before anything ran, by their numbers.
      births: finds the sites of another record.
      progress: is told what is being tried.
    """
    judge = _Judge(record, progress)
    judge.all(_of_data(record, data))
    candidates = list(_candidates(record, sites))
    apart = [c for c in candidates if c.edit.apart]
    judge.all(_Built(record, [c]).trial(c) for c in apart)
    candidates = [c for c in candidates if c not in apart]
    if candidates:
        built = _Built(record, candidates)
        singles = [(c, built.trial(c)) for c in candidates]
        judge.all(trial for _, trial in singles)
        if not judge.held:
            pairs = (p for p in itertools.combinations(candidates, 2) if p[0].place != p[1].place)
            judge.all(built.trial(*pair) for pair in itertools.islice(pairs, _PAIRS))
        if not judge.held:
            judge.all(_next(record, singles, births, judge))
    if not judge.held or any(site.birth.lost for site in sites):
        judge.all(_wider(record, sites))
    held = sorted(judge.held, key=_order) or judge.partial
    return Cures(tuple(held), tuple(judge.tried), judge.late)


def _order(cure: Cure) -> tuple[Any, ...]:
    far = cure.off > _SHIFT
    return not cure.finite, far, not cure.same, round(cure.gradient_error, 3)


def _candidates(record: Record, sites: Sequence[Site]) -> Iterator[_Candidate]:
    seen = set()
    for site in sites:
        node, found = site.graph.nodes[site.number], []
        if len(site.place) == 1:
            elsewhere = list(fused(record, site.number))
            for i in factored(record, site.number):
                elsewhere += [(i, edit) for edit in edits(record, record.nodes[i])]
            found += [((i,), record, record.nodes[i], edit) for i, edit in elsewhere]
        found += [(site.place, site.graph, node, edit) for edit in edits(site.graph, node)]
        for place, graph, at, edit in found:
            if (place, edit.expression) not in seen and _fits(graph, at, edit):
                seen.add((place, edit.expression))
                yield _Candidate(site.birth, place, edit)


def _fits(graph: Graph, node: Vertex, edit: Edit) -> bool:
    """Tell whether an expression makes arrays of the shapes that the operator makes."""
    slots = (*node.inputs, *edit.slots.values())
    avals = [graph.nodes[s.node].avals[s.output] for s in slots]
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    try:
        made = jax.eval_shape(lambda *x: edit(_jax.function(node.equation), x), *shapes)
    except (TypeError, ValueError, IndexError):
        return False
    return [y.shape for y in made] == [aval.shape for aval in node.avals]


def _of_data(record: Record, data: Sequence[tuple[int, Datum]]) -> Iterator[_Trial]:
    for number, datum in data:
        x = jnp.asarray(record.nodes[number].value)
        bad = ~jnp.isfinite(x)
        given = {number: jnp.where(bad, 0, x)}
        cured = prepare(record, {}, arguments=given)(None)
        nodes = list(cured.nodes)
        if (g := nodes[number].cotangent) is not None:  # the data themselves are not moved
            nodes[number] = dataclasses.replace(nodes[number], cotangents=(jnp.where(bad, 0, g),))
        test = f"jnp.isfinite({datum.name})"
        text = f"{_where(datum)}: jnp.where({test}, {datum.name}, 0.0)"
        wide = slopes.wide(record, {}, {number: bad})
        yield _Trial(datum, text, dataclasses.replace(cured, nodes=tuple(nodes)), wide, None, given)


def _next(record: Record, singles: Any, births: Any, judge: "_Judge") -> Iterator[_Trial]:
    """Yield pairs of a cure and one of a birth that appears only once the first is cured."""
    for first, trial in singles[:3]:
        sites = births(trial.record)
        if not sites or any(site.place == first.place for site in sites):
            continue
        judge.partly(trial, tuple(site.birth for site in sites))
        others = [c for c in _candidates(record, sites) if c.place != first.place]
        if others:
            built = _Built(record, [first, *others])
            yield from (built.trial(first, other) for other in others)


def _wider(record: Record, sites: Sequence[Site]) -> Iterator[_Trial]:
    """Yield the program with a line, or all of it, in float32 where it has half the bits."""
    for site in sites:
        aval = site.graph.nodes[site.number].avals[0]
        if not jnp.issubdtype(aval.dtype, jnp.floating) or jnp.dtype(aval.dtype).itemsize > 2:
            continue
        line = [n.index for n in record.nodes if n.line == site.birth.line]
        parts = {"this line": line, "everything": range(len(record.nodes))}
        for what, part in parts.items():
            cured = prepare(record, {}, dtype=jnp.float32, within=part)(None)
            text = f"{_where(site.birth)}: compute {what} in float32, x.astype(jnp.float32)"
            yield _Trial(site.birth, text, cured, slopes.wide(record, {}))
        return


class _Judge:
    """Measures trials, and sorts them into cures that hold and those that were tried in vain."""

    def __init__(self, record: Record, progress: Callable[[str], None]) -> None:
        self.record, self.progress = record, progress
        self.held: list[Cure] = []
        self.partial: list[Cure] = []
        self.tried: list[Tried] = []
        self.until = time.monotonic() + _SECONDS
        self.late = False
        self.before = slopes.results(record)

    def all(self, trials: Any) -> None:
        promising = []
        for trial in trials:
            self.progress(trial.text)
            why, change, same = self._first(trial)
            if why:
                self.tried.append(Tried(trial.birth, trial.text, why))
            else:
                promising.append((trial, change, same))
            if time.monotonic() > self.until:
                self.late = True
                break
        promising.sort(key=lambda one: not one[2])
        for trial, change, same in promising[:_MEASURED]:
            self._second(trial, change, same)

    def _first(self, trial: _Trial) -> tuple[str, float, bool]:
        """Return why a trial fails, what it changed in a result that was finite, and if at all."""
        after = slopes.results(trial.record)
        if not all(np.isfinite(x).all() for x in after + slopes.gradients(trial.record)):
            return "something stays infinite or NaN", np.nan, False
        change, ulps, scale = slopes.change(self.before, after, self.record)
        lost = isinstance(trial.birth, Birth) and trial.birth.lost
        if change > _SHIFT * scale and not lost:
            return f"the result changes by {change:.3g}", change, False
        return "", change, ulps <= _ULPS

    def _second(self, trial: _Trial, change: float, same: bool) -> None:
        worst, n, true = 0.0, 0, np.nan
        if self.slopes.keys:
            worst, n = self.slopes.error(
                trial.record, trial.wide, trial.setting, trial.arguments or {}, self.until
            )
            true = self.slopes.true
            dtype = self.record.nodes[self.record.wanted[0]].avals[0].dtype
            if not worst <= _TOLERANCE.get(jnp.dtype(dtype).itemsize, 1e-2):
                why = f"the gradient is off by {worst:.2g} of itself"
                self.tried.append(Tried(trial.birth, trial.text, why))
                return
        off = abs(slopes.weighed(self.record, slopes.results(trial.record)) - true) / (
            1e-30 + abs(true)
        )
        more = (bool(same), float(change), float(worst), n, trial.record.grads, float(off))
        self.held.append(Cure(trial.birth, trial.text, True, *more))

    @functools.cached_property
    def slopes(self) -> slopes.Slopes:
        """Those of the program as it is, in float64."""
        return slopes.Slopes(self.record)

    def partly(self, trial: _Trial, births: tuple[Birth, ...]) -> None:
        """Note a cure after which other births appear."""
        part = (trial.birth, trial.text, False, False, np.nan, np.nan, 0, trial.record.grads)
        self.partial.append(Cure(*part, next=births))
