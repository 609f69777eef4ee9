"""Descents that the explorer shows as they were recorded: sweeps over a problem, checked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["VERDICTS", "Problem", "Sweep", "check"]
__dir__ = __all__.copy

VERDICTS = ("diverged", "converged", "oscillating", "descending")
"""Those of `chainrule.descent.verdict`, in the order of their numbers in the page."""


class Sweep(NamedTuple):
    """The recorded descents of one optimizer from one start, a lane for each rate.

    Attributes:
      optimizer: what it is called.
      start: what the start is called.
      loss: ``[lanes, steps + 1]``.
      grad_norm: ``[lanes, steps + 1]``.
      verdicts: ``[lanes]``, of `VERDICTS`.
      edges: predicted edges by what they are called; infinity for none, NaN for no prediction.
      counts: other things over the steps by name, each ``[lanes, steps + 1]``; the first of them is
        drawn beside the loss.
    """

    optimizer: str
    start: str
    loss: np.ndarray
    grad_norm: np.ndarray
    verdicts: Sequence[str]
    edges: Mapping[str, float]
    counts: Mapping[str, np.ndarray]


class Problem(NamedTuple):
    """What was descended on, with all sweeps over it: each optimizer from each start.

    Attributes:
      name: for file names.
      title: for the reader.
      about: a sentence or two.
      rates: ``[lanes]``, ascending.
      sweeps: every optimizer from every start, over these rates.
      chosen: the rates that A and B begin with; the nearest of ``rates`` are taken.
      floor: the lowest loss there is; losses are drawn above it, on a logarithmic scale.
    """

    name: str
    title: str
    about: str
    rates: np.ndarray
    sweeps: Sequence[Sweep]
    chosen: tuple[float, float]
    floor: float = 0.0


def check(problem: Problem) -> None:
    """Refuse a problem whose sweeps do not fit its rates, its steps or each other.

    Raises:
      ValueError: it says all that does not.
    """
    where = f"problem {problem.name!r}"
    if not problem.sweeps or not problem.sweeps[0].counts:
        raise ValueError(f"{where} has no sweep, or no counts: there is nothing to draw")
    _check_rates(problem, where)
    first = problem.sweeps[0]
    points = (len(problem.rates), *np.shape(first.loss)[1:])
    wrong = [text for one in problem.sweeps for text in _mismatches(one, first, points)]
    pairs = {(sweep.optimizer, sweep.start) for sweep in problem.sweeps}
    full = len({optimizer for optimizer, _ in pairs}) * len({start for _, start in pairs})
    if not len(pairs) == full == len(problem.sweeps):
        wrong.append(f"{len(problem.sweeps)} sweeps, but each optimizer from each start is {full}")
    if wrong:
        raise ValueError(f"{where}: " + "; ".join(wrong))


def _check_rates(problem: Problem, where: str) -> None:
    rates, chosen = np.asarray(problem.rates), np.asarray(problem.chosen)
    known = rates.ndim == 1 and rates.size and rates.dtype.kind in "biuf"
    if not known or not (np.isfinite(rates).all() and rates[0] > 0 and (np.diff(rates) > 0).all()):
        raise ValueError(f"{where}: rates must be positive and ascending, not {rates}")
    if chosen.shape != (2,) or not (np.isfinite(chosen).all() and (chosen > 0).all()):
        raise ValueError(f"{where}: chosen must be two positive rates, not {problem.chosen}")
    if not math.isfinite(problem.floor):
        raise ValueError(f"{where}: floor must be a finite number, not {problem.floor}")


def _mismatches(sweep: Sweep, first: Sweep, points: tuple[int, ...]) -> Iterator[str]:
    """Say what of a sweep does not fit the rates, the steps and the first sweep."""
    label = f"{sweep.optimizer} from {sweep.start}"
    due: dict[str, tuple[Any, tuple[int, ...]]] = {
        "loss": (sweep.loss, points),
        "grad_norm": (sweep.grad_norm, points),
        "verdicts": (sweep.verdicts, points[:1]),
    }
    due |= {name: (values, points) for name, values in sweep.counts.items()}
    for name, (values, shape) in due.items():
        if np.shape(values) != shape:
            yield f"{name} of {label} has shape {np.shape(values)}, not {shape}"
    if list(sweep.counts) != list(first.counts):
        yield f"{label} counts {list(sweep.counts)}, not {list(first.counts)}"
