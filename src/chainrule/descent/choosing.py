"""A learning rate chosen by short descents, most of which are given up, with its evidence."""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from chainrule import _require
from chainrule.descent import _krylov, updates
from chainrule.descent._arguments import Batch, Loss, curved
from chainrule.descent._response import measure
from chainrule.descent._step import advance, at_step
from chainrule.descent.trace import Trace
from chainrule.descent.updates import OptimizerFactory
from chainrule.descent.verdicts import Verdict, verdict

__all__ = ["Choice", "Sure", "choose"]
__dir__ = __all__.copy

Sure = Literal["flat", "peaked", "cliff", "open"]
"""How sure a choice is: see `Choice`."""

_PARTS = 16  # in which a descent runs; after the second and the sixth some are given up
_LANES = 2  # that run together, so that one program serves any number of them
_BELOW, _ABOVE = 300.0, 30.0  # how far the first rates reach from the edge
_PROBE = 1e-6  # a rate at which a step changes nothing, to measure an edge with
_ALIKE = 0.02  # of what the best descent won: ends as near as that are alike


class Choice(NamedTuple):
    """A learning rate, and what it rests on.

    Attributes:
      rate: the one whose descent ended lowest.
      low: the lowest of the rates around it that were run to the end and ended alike, within 2 % of
        what the best one won.
      high: the highest of them.
      sure: ``"open"`` if the rate is the lowest or the highest that was tried, so that a better one
        may lie beyond; ``"cliff"`` if the next higher one diverged; ``"flat"`` if those run to the
        end on either side ended alike; else ``"peaked"``.
      edge: the rate beyond which the first steps are unstable; NaN if it is not known.
      rates: ``[lanes]``, all that were tried, ascending.
      ran: ``[lanes]``, how many steps each was given.
      trace: of all of them, ``[lanes, steps + 1]``, NaN from where one was given up.
      verdicts: one a lane, of the steps it was given.
      cost: steps that were taken, and what the edge cost, over those of 200 whole descents.
    """

    rate: float
    low: float
    high: float
    sure: Sure
    edge: float
    rates: np.ndarray
    ran: np.ndarray
    trace: Trace
    verdicts: tuple[Verdict, ...]
    cost: float

    def to_html(self, *, title: str = "A learning rate and its evidence") -> str:
        """Return a page of every rate that was tried, which needs no network.

        Args:
          title: its heading.

        Returns:
          The text of one file; see `chainrule.descent.evidence.page`.

        Raises:
          ValueError: the title is no text.

        Example:
          >>> found = choose(lambda w: w**2, jnp.array(1.0), None, 16)
          >>> found.to_html(title="Mine").startswith("<!DOCTYPE html>")
          True
        """
        from chainrule.descent import evidence  # it builds on what stands here

        return evidence.page(self, title=title)


def choose(
    loss: Loss,
    params: PyTree,
    batches: Batch | None,
    steps: int,
    *,
    optimizer: OptimizerFactory = optax.sgd,
    budget: float = 0.05,
    key: Array | None = None,
) -> Choice:
    """Choose a learning rate by successive halving, for a small share of what a sweep would cost.

    Many rates, spread around the edge, are run for an eighth of the steps; rates between the best
    of these are added; a third go on to three eighths, and half of those to the end. Last, rates
    between the best ones are run whole. All run in one compiled program.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` where there are batches; twice
        differentiable in reverse mode.
      params: the start, any pytree of floating-point arrays.
      batches: a function of the step that returns its mini-batch, see `gradient_descent`, or None.
        With it a lane counts by the mean of its last losses, without by the last one.
      steps: how long a descent with the rate shall be, at least 16.
      optimizer: a function from a learning rate to an optax optimizer.
      budget: the share of what 200 whole descents cost, from 0.025 to 1.
      key: for the vectors that the search for the edge starts from; the same each time without one.

    Returns:
      The `Choice`.

    Raises:
      ValueError: as `sweep`, or the budget or the steps are out of range, or no rate leaves the
        loss finite.

    References:
      Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
      optimization", AISTATS 2016.

    Example:
      >>> def bowl(w):
      ...     return 2 * w["u"] ** 2 + w["v"] ** 2 / 10
      >>> start = {"u": jnp.array(1.0), "v": jnp.array(1.0)}
      >>> found = choose(bowl, start, None, 100)
      >>> round(found.edge, 3), 0.4 < found.rate < 0.5, found.sure, found.cost < 0.05
      (0.5, True, 'flat', True)
    """
    steps = _require.count("steps", steps, least=_PARTS, most=2**28)
    budget = _require.real("budget", budget, least=0.025, most=1)
    params = curved(loss, params, batches)
    _require.function("optimizer", optimizer, "of the learning rate", "give optax.sgd itself")
    if key is not None:
        _require.one_key(key)
    _require.within("the loss at params", at_step(loss, batches, jnp.int32(0))(params))
    race = _Race(loss, params, batches, steps, optimizer)
    edge, cost = _edge(race, key)
    unit = budget * 200 * _PARTS - cost * _PARTS / steps  # parts of a descent that may be run
    near = edge if 0 < edge < math.inf else 0.1
    race.run(np.geomspace(near / _BELOW, near * _ABOVE, _even(unit / 10)), 2)
    race.run(race.between(_even(unit / 20)), 2)
    race.run(race.best(_even(unit / 20)), 6)
    race.run(race.best(_even(unit / 40)), _PARTS)
    left = int((unit - race.parts) / _PARTS) // _LANES * _LANES
    if left > 0:
        race.run(race.between(left), _PARTS)
    return race.choice(edge, cost)


def _even(lanes: float) -> int:
    """Return a number of lanes that fills its groups, at most this one but for the first group."""
    return max(int(lanes) // _LANES, 1) * _LANES


class _Lane:
    """One rate: where its descent stands, and what it recorded."""

    def __init__(self, rate: float, carry: PyTree) -> None:
        self.rate, self.carry, self.parts = rate, carry, 0
        self.columns: list[np.ndarray] = []

    def column(self, which: int, steps: int) -> np.ndarray:
        return np.concatenate([part[which] for part in self.columns])[: steps + 1]


class _Race:
    """All lanes, by their rates; each is run part by part, and stops where it is given up."""

    def __init__(
        self, loss: Loss, params: PyTree, batch: Batch | None, steps: int, optimizer: Any
    ) -> None:
        self.params, self.steps, self.parts = params, steps, 0
        self.settings = (loss, optimizer, batch, steps, math.ceil((steps + 1) / _PARTS))
        self.lanes: dict[float, _Lane] = {}

    def run(self, rates: Any, to: int) -> None:
        """Run the lanes of some rates until each has had so many parts."""
        rates = [float(np.float32(rate)) for rate in rates]
        for i in range(0, len(rates), _LANES):
            group = (rates[i : i + _LANES] * _LANES)[:_LANES]  # the last one may not be full
            etas = jnp.asarray(group, jnp.float32)
            if group[0] not in self.lanes:
                begun = _begin(self.params, etas, self.settings[1])
                lanes = [_Lane(*one) for one in zip(group, begun, strict=True)]
            else:
                lanes = [self.lanes[rate] for rate in group]
            for part in range(lanes[0].parts, to):
                first = jnp.int32(part * self.settings[-1])
                carries, columns = _part(
                    [lane.carry for lane in lanes], etas, first, *self.settings
                )
                for k, lane in enumerate(lanes):
                    lane.carry = carries[k]
                    if lane.parts == part:
                        lane.columns.append(np.asarray(columns[k], np.float64))
                        lane.parts += 1
                self.parts += _LANES
            self.lanes |= {lane.rate: lane for lane in lanes}

    def score(self, lane: _Lane) -> float:
        """Return what a lane counts by."""
        _, _, batch, steps, size = self.settings
        losses = lane.column(0, steps)
        # Two in a row, as many oscillate; a finished one is what its last loss is.
        last = size if batch is not None else 1 if lane.parts == _PARTS else 2
        return float(np.mean(losses[-last:])) if np.isfinite(losses).all() else math.inf

    def best(self, count: int) -> list[float]:
        """Return the best rates of the lanes that have come farthest."""
        farthest = max(lane.parts for lane in self.lanes.values())
        lanes = [lane for lane in self.lanes.values() if lane.parts == farthest]
        return [lane.rate for lane in sorted(lanes, key=self.score)[:count]]

    def between(self, count: int) -> list[float]:
        """Return new rates on both sides of the best one, up to its neighbours, or beyond all."""
        (best,) = self.best(1)
        known = sorted(self.lanes)
        k = known.index(best)
        low = known[k - 1] if k else best**2 / known[1]
        high = known[k + 1] if k + 1 < len(known) else best**2 / known[-2]
        below = np.geomspace(best, low, count // 2 + (1 if k else 0) + 1)[1:]
        above = np.geomspace(best, high, count - count // 2 + (1 if known[-1] > best else 0) + 1)
        made = [*below[: count // 2], *above[1 : count - count // 2 + 1]]
        return [float(rate) for rate in made]

    def choice(self, edge: float, cost: float) -> Choice:
        """Return the best of the finished lanes, and all that was seen."""
        steps, lanes = self.steps, [self.lanes[rate] for rate in sorted(self.lanes)]
        scores = np.array([self.score(one) for one in lanes])
        done = np.flatnonzero([one.parts == _PARTS for one in lanes])
        equal = np.flatnonzero(scores[done] == scores[done].min())
        place = int(equal[len(equal) // 2])
        k = int(done[place])
        start = float(lanes[k].column(0, steps)[0])
        if not scores[k] <= start:
            tried = f"{lanes[0].rate:.3g} to {lanes[-1].rate:.3g}"
            raise ValueError(f"no rate from {tried} ends below the loss at the start, {start:.6g}")
        alike = scores[done] - scores[k] <= _ALIKE * (start - scores[k])
        low = place - int(np.argmin([*alike[:place][::-1], False]))
        high = place + int(np.argmin([*alike[place + 1 :], False]))
        loss, norm = (np.full((len(lanes), steps + 1), math.nan) for _ in range(2))
        for i, lane in enumerate(lanes):
            for column, which in ((loss, 0), (norm, 1)):
                own = lane.column(which, steps)
                column[i, : len(own)] = own
        ran = np.array([len(one.column(0, steps)) - 1 for one in lanes])
        words = tuple(
            verdict(_trace(loss[i, : n + 1], norm[i, : n + 1], None))[0] for i, n in enumerate(ran)
        )
        sure: Sure = "flat" if low < place < high else "peaked"
        if k in (0, len(lanes) - 1):
            sure = "open"
        elif words[k + 1] == "diverged":
            sure = "cliff"
        share = (self.parts / _PARTS + cost / steps) / 200
        rates = np.array([one.rate for one in lanes], np.float32)
        ends = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one.carry[0] for one in lanes))
        around = lanes[done[low]].rate, lanes[done[high]].rate
        trace = _trace(loss, norm, ends)
        return Choice(lanes[k].rate, *around, sure, edge, rates, ran, trace, words, share)


def _trace(loss: Any, norm: Any, ends: PyTree) -> Trace:
    return Trace(loss, norm, None, ends)


@functools.partial(jax.jit, static_argnums=2)
def _begin(params, etas, optimizer):  # type: ignore[no-untyped-def]
    return [(params, updates.init(updates.from_rate(optimizer, eta), params)) for eta in etas]


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def _part(carries, etas, first, loss, optimizer, batch, steps, size):  # type: ignore[no-untyped-def]
    def lane(carry: Any, eta: Array) -> Any:
        made = updates.from_rate(optimizer, eta)

        def step(carry: Any, t: Array) -> Any:
            carry, *numbers = advance(at_step(loss, batch, t), made, carry, t < steps)
            return carry, jnp.stack(numbers)

        carry, columns = jax.lax.scan(step, carry, first + jnp.arange(size))
        return carry, columns.T

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    ends, columns = jax.vmap(lane)(stacked, etas)
    return [jax.tree.map(lambda leaf, k=k: leaf[k], ends) for k in range(len(carries))], columns


def _edge(race: _Race, key: Array | None) -> tuple[float, float]:
    """Return the rate beyond which the first steps are unstable, and what it cost in steps."""
    loss, optimizer, batch, *_ = race.settings
    ratio, products = jax.device_get(_probed(race.params, key, loss, optimizer, batch))
    cost = 1 + 3.0 * int(products)  # a product costs at most three gradients
    if math.isnan(ratio):
        return math.nan, cost
    return _PROBE / float(ratio) if ratio > 0 else math.inf, cost


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _probed(params, key, loss, optimizer, batch):  # type: ignore[no-untyped-def]
    """Measure the second step: before its first an adaptive optimizer has no edge."""
    made, second = (
        updates.from_rate(optimizer, jnp.float32(_PROBE)),
        at_step(loss, batch, jnp.int32(1)),
    )
    carry = (params, updates.init(made, params))
    (params, state), *_ = advance(at_step(loss, batch, jnp.int32(0)), made, carry, jnp.array(True))
    rows = _krylov.start(params, 1, key)
    plain, own = measure(second, params, made, state, rows, rows, size=8, sweeps=2)
    return own.values[0], plain.products + own.products
