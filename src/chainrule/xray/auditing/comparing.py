"""The gradient of a rule against two others at one point: which elements are wrong."""

import dataclasses
from typing import Any

import numpy as np

from chainrule.xray.auditing.probe import Probe, close

__all__ = ["Point", "by_autodiff", "by_differences"]
__dir__ = __all__.copy

_MOST = 8  # elements of which slopes are taken one by one, where there is no derivative


@dataclasses.dataclass(frozen=True)
class Point:
    """One set of arrays that a function with a rule was run on.

    Attributes:
      where: "as called" or "close by".
      inputs: what it takes.
      gs: the incoming gradients.
      outputs: what it returns under its rule, and without.
      rule: the gradients that the rule gives.
      true: those of its body in float64, None where JAX has none.
    """

    where: str
    inputs: list[Any]
    gs: list[Any]
    outputs: list[Any]
    rule: list[Any]
    true: list[Any] | None


def by_autodiff(probe: Probe, position: int, point: Point, itemsize: int) -> Any:
    """Return where a gradient is wrong, by autodiff of the body and differences; None if nowhere.

    Args:
      probe: the function.
      position: which of its gradients.
      point: where it was run.
      itemsize: the bytes of a number of the input.

    Returns:
      The element, counted flat, what the rule gives there, what is true, and what says so.
    """
    rule, true = point.rule[position], point.true and point.true[position]
    picked = probe.suspects(rule, true, itemsize)
    if not picked.size:
        return None
    own = probe.by_body(point.inputs, point.gs)
    if own is not None:  # rounding in its dtype, and the rules of what it calls
        same = close(rule, own[position], itemsize).ravel()
        picked = picked[~same[picked]]
        if not picked.size:
            return None
    mine = np.ravel(rule)[picked]
    row = probe.slopes(point.inputs, point.gs, position, picked, mine)
    itself = close(np.float64(row.by_hand), np.float64(row.difference), itemsize)
    if row.verdict != "wrong" or itself:  # a kink, or what the function does
        return None
    method = "autodiff and differences"
    if not close(np.float64(row.autodiff), np.float64(row.difference), itemsize):
        method = "differences"
        if not np.isfinite(row.difference):
            return None
    return int(picked[row.worst[0]]), row.by_hand, row.difference, method


def by_differences(probe: Probe, position: int, point: Point, itemsize: int) -> tuple[Any, Any]:
    """Return the same by differences alone, and the pairs of numbers that it rests on.

    Args:
      probe: the function.
      position: which of its gradients.
      point: where it was run.
      itemsize: the bytes of a number of the input.
    """
    rule = np.ravel(point.rule[position])
    rng = np.random.default_rng(1)
    largest = np.argsort(-np.abs(rule), kind="stable")[: _MOST // 2]
    others = rng.permutation(rule.size)[: _MOST // 2]
    size = np.max(np.abs(rule), initial=0)
    found, pairs = None, []
    for index in dict.fromkeys([*largest.tolist(), *others.tolist()]):
        slopes = probe.differences(point.inputs, point.gs, position, index)
        if slopes is None:
            continue
        low, high, spread = slopes
        pairs.append((float(rule[index]), (low + high) / 2))
        relative = 2e-2 if itemsize >= 4 else 1e-1
        room = relative * max(abs(low), abs(high), size / 10) + 2 * spread
        if found is None and not low - room <= rule[index] <= high + room:
            found = index, *pairs[-1], "differences alone"
    return found, tuple(np.array(pairs).T) if pairs else ()
