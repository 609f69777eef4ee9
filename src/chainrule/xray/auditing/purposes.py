"""How a rule differs from the gradient: on purpose, where it is exact for something simple."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray.auditing.findings import Purpose
from chainrule.xray.auditing.probe import Probe, close

__all__ = ["alike", "difference", "purpose"]
__dir__ = __all__.copy


def purpose(probe: Probe, position: int, points: Sequence[Any]) -> Purpose:
    """Return what a rule that differs is for, "" where it is exact for nothing simple.

    - the function returns its input as it is: whatever the rule does to the gradient is meant;
    - it is a step function, whose derivative is 0 with respect to everything: the rule is the
      gradient of something else, the identity where it passes the gradient on;
    - the rule is exact for a small incoming gradient, and gives less than the exact one for a
      large one: it clips.

    Args:
      probe: the function.
      position: which of its gradients.
      points: where it was run.
    """
    number = probe.wrt[position]
    if _is_identity(probe, number, points[0]):
        return _of_identity(probe, position, points)
    flat = [p.true is not None and not any(np.any(g) for g in p.true) for p in points]
    if all(flat):
        passed = all(_passes(probe, position, point) for point in points)
        return "straight-through" if passed else "surrogate"
    return "clipped" if all(_clips(probe, position, point) for point in points) else ""


def _is_identity(probe: Probe, number: int, point: Any) -> bool:
    """Tell whether a function returns its input as it is, whatever that is."""
    x = point.inputs[number]
    rng = np.random.default_rng(0)
    for size in (1.0, 100.0):
        other = jnp.asarray(size * rng.normal(size=np.shape(x)), x.dtype)
        made = probe.plain([*point.inputs[:number], other, *point.inputs[number + 1 :]])
        if not any(np.shape(y) == np.shape(x) and np.array_equal(other, y) for y in made):
            return False
    return True


def _of_identity(probe: Probe, position: int, points: Sequence[Any]) -> Purpose:
    if not any(np.any(point.rule[position]) for point in points):
        return "stopped"
    ratios = []
    for point in points:
        g, made = _incoming(point, position), point.rule[position]
        if g is None:
            return "clipped"
        some = np.abs(g) > 0
        ratio = made[some] / g[some]
        ratios += [ratio.min(), ratio.max()] if ratio.size else []
    if not ratios or max(ratios) - min(ratios) > 1e-3 * max(map(abs, ratios)):
        return "clipped"
    return "reversed" if ratios[0] < 0 else "scaled"


def _incoming(point: Any, position: int) -> Any:
    """Return the incoming gradient that has the shape of an input's, None if there is none."""
    shape = np.shape(point.rule[position])
    fitting = [np.asarray(g, np.float64) for g in point.gs if np.shape(g) == shape]
    return fitting[0] if fitting else None


def _passes(probe: Probe, position: int, point: Any) -> bool:
    g, made = _incoming(point, position), point.rule[position]
    return g is not None and bool(np.all((made == g) | (made == 0)))


def _clips(probe: Probe, position: int, point: Any) -> bool:
    if point.true is None:
        return False
    itemsize = np.dtype(point.inputs[probe.wrt[position]].dtype).itemsize
    largest = max(float(np.max(np.abs(np.asarray(g, np.float64)), initial=0)) for g in point.gs)
    size = 1e-3 / max(largest, 1e-30)
    small = [jnp.asarray(size * np.asarray(g, np.float64), g.dtype) for g in point.gs]
    _, rule, _ = probe.by_rule(point.inputs, small)
    true = probe.true(point.inputs, small)
    if true is None:
        return False
    made = np.asarray(rule[position], np.float64)
    exact = close(made, true[position], itemsize) | ~np.isfinite(true[position])
    least = np.abs(point.rule[position]) <= np.abs(point.true[position]) * (1 + 1e-3) + 1e-6
    return bool(exact.all() and np.any(made) and least.all())


def alike(rule: Any, true: Any) -> tuple[float, str]:
    """Return how many times a gradient a rule gives, and that in words; NaN if it is no factor."""
    large = np.abs(true) > 1e-2 * np.max(np.abs(true))
    ratios = rule[large] / true[large] if large.any() else np.full(2, np.nan)
    factor = float(np.median(ratios))
    if not np.ptp(ratios) <= 2e-2 * max(abs(factor), 1e-30):
        return math.nan, "another gradient"
    negative = abs(factor + 1) < 1e-2
    return (
        factor,
        "the negative of its gradient" if negative else f"{factor:.4g} times its gradient",
    )


def difference(probe: Probe, position: int, point: Any) -> tuple[float, str]:
    """Return by which factor a rule is wrong, NaN if by none, and what it gives instead, in words.

    Args:
      probe: the function.
      position: which of its gradients.
      point: where it was run.
    """
    rule, whole = point.rule[position], point.true
    true = np.where(np.isfinite(whole[position]), whole[position], 0.0)
    itemsize = np.dtype(point.inputs[probe.wrt[position]].dtype).itemsize
    if not np.any(rule):
        return math.nan, "no gradient, as if the function ignored it"
    if not np.any(true):
        return math.nan, "a gradient, and the function does not depend on it"
    factor, what = alike(rule, true)
    if math.isfinite(factor):
        return factor, what
    for what, other in _rearranged(true):
        if np.shape(other) == np.shape(rule) and np.all(close(rule, other, itemsize)):
            return math.nan, what
    for k, other in enumerate(whole):
        same = k != position and np.shape(other) == np.shape(rule)
        if same and np.all(close(rule, other, itemsize)):
            return math.nan, f"the gradient of its input {probe.wrt[k]}"
    return math.nan, "another gradient"


def _rearranged(true: Any) -> list[tuple[str, Any]]:
    found = []
    if np.ndim(true) >= 2:
        found.append(("its gradient transposed", np.swapaxes(true, -1, -2)))
    for axis in range(np.ndim(true)):
        for step in (1, -1):
            what = f"its gradient off by one step along axis {axis}"
            found.append((what, np.roll(true, step, axis)))
            found.append((what, _shifted(true, step, axis)))
        found.append((f"its gradient reversed along axis {axis}", np.flip(true, axis)))
    return found


def _shifted(x: Any, step: int, axis: int) -> Any:
    moved = np.roll(x, step, axis)
    edge = [slice(None)] * np.ndim(x)
    edge[axis] = slice(0, 1) if step > 0 else slice(-1, None)
    moved[tuple(edge)] = 0
    return moved
