"""How a descent went: a verdict in one word, and a summary in numbers."""

import math
from typing import Literal, NamedTuple

import numpy as np

from chainrule import _require
from chainrule.descent.trace import Trace

__all__ = ["Lane", "Verdict", "summary", "verdict"]
__dir__ = __all__.copy

Verdict = Literal["diverged", "converged", "oscillating", "descending"]
"""How a lane went: see `verdict`."""


class Lane(NamedTuple):
    """One lane of a trace in numbers.

    Attributes:
      verdict: see `verdict`.
      start: the loss before the first step.
      peak: the largest finite loss; NaN if there is none.
      peak_step: the number of steps after which the peak was first reached; -1 if there is none.
      final: the loss after the last step.
      ratio_to_best: ``final`` over the lowest finite final loss of the trace; NaN unless that is
        positive.
      first_nonfinite: the number of steps after which the loss was first NaN or infinite, or None.
    """

    verdict: Verdict
    start: float
    peak: float
    peak_step: int
    final: float
    ratio_to_best: float
    first_nonfinite: int | None


def verdict(trace: Trace) -> tuple[Verdict, ...]:
    """Say in one word how each lane went, by the first of these rules that holds.

    1. ``"diverged"``: some loss is not finite, or the final one is above the start.
    2. ``"converged"``: the final gradient norm is at most 1e-3 of the first one.
    3. ``"oscillating"``: in at least a quarter of the last tenth of the steps (rounded up, and at
       least two, so that a period of two is seen at either phase) the loss rises by more than
       1e-4 of its value before the step.
    4. ``"descending"``: otherwise.

    The rules know only the trace: a network whose units are all dead has no gradient and counts as
    converged, and a lane that spikes may end lowest. Read the word beside the numbers of `summary`.

    Args:
      trace: a `Trace`, of a single run or of a sweep.

    Returns:
      One word a lane; a tuple of one for a single run.

    Raises:
      ValueError: the trace has more than one axis of lanes.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import landscapes
      >>> from chainrule.descent import sweep
      >>> etas = jnp.asarray([0.01, 0.125, 0.5])
      >>> verdict(sweep(landscapes.two_well, jnp.asarray(-0.5), etas, 40))
      ('descending', 'converged', 'oscillating')
    """
    return tuple(_word(*lane) for lane in zip(*_as_lanes(trace), strict=True))


def summary(trace: Trace) -> tuple[Lane, ...]:
    """Say in numbers how each lane went: its `verdict`, start, peak, end, and the best lane's end.

    Args:
      trace: a `Trace`, of a single run or of a sweep.

    Returns:
      One `Lane` a lane; a tuple of one for a single run.

    Raises:
      ValueError: the trace has more than one axis of lanes.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import landscapes
      >>> from chainrule.descent import sweep
      >>> trace = sweep(landscapes.quadratic, jnp.asarray(2.0), jnp.asarray([0.5, 3.0]), 2)
      >>> for lane in summary(trace):
      ...     print(lane.verdict, lane.start, lane.peak, lane.peak_step, lane.final)
      descending 2.0 2.0 0 0.125
      diverged 2.0 32.0 2 32.0
    """
    losses, _ = _as_lanes(trace)
    finals = losses[:, -1]
    best = min((float(x) for x in finals if np.isfinite(x)), default=math.nan)
    lanes = []
    for word, loss in zip(verdict(trace), losses, strict=True):
        finite = np.isfinite(loss)
        peak_step = int(np.argmax(np.where(finite, loss, -np.inf))) if finite.any() else -1
        lanes.append(
            Lane(
                verdict=word,
                start=float(loss[0]),
                peak=float(loss[peak_step]) if finite.any() else math.nan,
                peak_step=peak_step,
                final=float(loss[-1]),
                ratio_to_best=float(loss[-1]) / best if best > 0 else math.nan,
                first_nonfinite=None if finite.all() else int(np.argmin(finite)),
            )
        )
    return tuple(lanes)


def _as_lanes(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    _require.instance("trace", trace, Trace, "what gradient_descent or sweep returns")
    losses, norms = np.asarray(trace.loss), np.asarray(trace.grad_norm)
    if losses.ndim not in (1, 2) or losses.shape != norms.shape:
        raise ValueError(
            "a trace holds loss and grad_norm [steps + 1] or [lanes, steps + 1], but their shapes "
            f"are {losses.shape} and {norms.shape}: take one sweep at a time"
        )
    return np.atleast_2d(losses), np.atleast_2d(norms)


def _word(loss: np.ndarray, grad_norm: np.ndarray) -> Verdict:
    if not np.isfinite(loss).all() or loss[-1] > loss[0]:
        return "diverged"
    if grad_norm[-1] <= 1e-3 * grad_norm[0]:
        return "converged"
    tail = loss[-1 - max(2, math.ceil((len(loss) - 1) / 10)) :]
    rises = np.diff(tail) > 1e-4 * np.abs(tail[:-1])
    return "oscillating" if rises.size and rises.mean() >= 0.25 else "descending"
