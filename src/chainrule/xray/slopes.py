"""The slopes of a changed program: differences in float64, beside the gradient that it computed."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import rerun
from chainrule.xray.elements import numbers
from chainrule.xray.record import Record
from chainrule.xray.rerun import Change, Place

__all__ = ["Slopes", "Wide", "change", "gradients", "results", "weighed", "wide"]
__dir__ = __all__.copy

Wide = Callable[[Any, Mapping[int, Any]], float]
"""A program in float64: from a setting and arguments, by their numbers, to its weighed result."""

_STEP = 6e-6  # of a central difference in float64
_DIRECTIONS = 8
_ELEMENTS = 64
_NOISE = {2: 0.1, 4: 1e-3, 8: 1e-6}  # of the largest gradient, by the bytes of its numbers


def wide(
    record: Record, changes: Mapping[Place, Change], fixed: Mapping[int, Any] | None = None
) -> Wide:
    """Return a changed program as a function in float64, of a setting and arguments.

    Args:
      record: the record; its cotangents weigh the results.
      changes: what stands in for which operator.
      fixed: which elements of some arguments are 0, whatever is given.
    """
    forward = rerun.results(record, changes, jnp.float64)

    def value(setting: Any, arguments: Mapping[int, Any]) -> float:
        masks = fixed or {}
        given = {k: np.where(masks[k], 0, x) if k in masks else x for k, x in arguments.items()}
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            return weighed(record, forward(setting, given))

    return value


def weighed(record: Record, made: Sequence[Any]) -> float:
    """Return the sum of some results, each weighed with the cotangent given for it."""
    total = 0.0
    for g, x in zip(record.starts, made, strict=True):
        if g is not None:
            with np.errstate(all="ignore"):
                total += float(np.sum(np.asarray(g, np.float64) * np.asarray(x, np.float64)))
    return total


def results(record: Record) -> list[Any]:
    """Return the results as NumPy knows them."""
    return [x for slot in record.outputs if (x := numbers(record.value(slot))) is not None]


def gradients(record: Record) -> list[Any]:
    """Return the gradients of the arguments, where there are any."""
    found = (record.nodes[k].cotangent for k in record.wanted)
    return [numbers(g) for g in found if g is not None]


def change(before: list[Any], after: list[Any], record: Record) -> tuple[float, float, float]:
    """Return the largest change of what was finite, in units in the last place too, and the scale.

    Args:
      before: the results of the record.
      after: those of a changed program.
      record: the record.
    """
    largest = ulps = scale = 0.0
    for a, b, slot in zip(before, after, record.outputs, strict=True):
        good = np.isfinite(a) & np.isfinite(b)
        if not good.any() or a.dtype.kind not in "fc":
            continue
        off = np.abs(a[good].astype(complex) - b[good])
        size = np.abs(a[good].astype(complex))
        dtype = record.nodes[slot.node].avals[slot.output].dtype
        unit = float(jnp.finfo(dtype).eps) * np.maximum(size, float(jnp.finfo(dtype).tiny))
        largest, ulps = max(largest, off.max()), max(ulps, (off / unit).max())
        scale = max(scale, size.max())
    return float(largest), float(ulps), float(scale)


class Slopes:
    """The slopes of one program in float64, along single elements and random directions.

    Args:
      record: the record of the program. Elements whose gradient is not finite come first.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.keys = [
            k
            for k in record.wanted
            if record.nodes[k].cotangent is not None
            and jnp.issubdtype(record.nodes[k].avals[0].dtype, jnp.floating)
        ]
        start = self._flat(record.nodes[k].value for k in self.keys)
        bad = ~np.isfinite(self._flat(record.nodes[k].cotangent for k in self.keys))
        self._nearest = np.argsort(~bad, kind="stable")[:_ELEMENTS]
        self._original = wide(record, {})
        self._known: dict[int, tuple[float, ...]] = {}
        self.true = self._value(self._original, None, start) if start.size else np.nan
        self.start = start

    def _direction(self, number: int) -> Any:
        d = np.zeros(self.start.size)
        if number < len(self._nearest):
            d[self._nearest[number]] = 1.0
            return d
        return np.random.default_rng(number).normal(size=d.size)

    def _flat(self, arrays: Any) -> Any:
        flat = [np.ravel(np.asarray(numbers(x), np.float64)) for x in arrays]
        return np.concatenate(flat) if flat else np.zeros(0)

    def _value(self, f: Any, setting: Any, x: Any) -> float:
        shapes = [self.record.nodes[k].avals[0].shape for k in self.keys]
        parts = np.split(x, np.cumsum([math.prod(s) for s in shapes])[:-1])
        given = {k: p.reshape(s) for k, p, s in zip(self.keys, parts, shapes, strict=True)}
        return float(f(setting, given))

    def error(self, changed: Record, f: Any, setting: Any, start: Any, until: float) -> Any:
        """Return how far a gradient is from the slopes at worst, relative to them.

        Where the program itself is smooth, its own slopes count, else those of the changed one. At
        a kink any number between the two one-sided slopes will do; a side on which the value
        jumps, or is not finite, has none.

        Args:
          changed: the record of the changed program, with its gradients.
          f: the changed program in float64.
          setting: its setting.
          start: other arguments, by their numbers.
          until: when to stop.

        Returns:
          The error, and how many slopes it rests on.
        """
        values = (start.get(k, self.record.nodes[k].value) for k in self.keys)
        x = self._flat(values)
        slope = self._flat(changed.nodes[k].cotangent for k in self.keys)
        worst, n = 0.0, 0
        size = jnp.dtype(self.record.nodes[self.keys[0]].avals[0].dtype).itemsize
        noise = _NOISE[size] * np.abs(slope).max() + 1e-12
        here = self._value(f, setting, x)
        for number in range(len(self._nearest) + _DIRECTIONS):
            d = self._direction(number)
            if time.monotonic() > until and n:
                break
            if number not in self._known:
                self._known[number] = self._sides(self._original, None, self.start, d, self.true)
            sides = self._known[number]
            if len(sides) < 2 or not _smooth(*sides):
                sides = self._sides(f, setting, x, d, here)
            if sides:
                least = noise * np.abs(d).max()
                worst, n = max(worst, _off(sides, float(slope @ d), least)), n + 1
        return worst, n

    def _sides(self, f: Any, setting: Any, x: Any, d: Any, here: float) -> tuple[float, ...]:
        """Return the one-sided slopes along a direction, as far as there are any."""
        sides = []
        for sign in (1, -1) if np.isfinite(here) else ():
            there = self._value(f, setting, x + sign * _STEP * d)
            jumps = False
            if abs(there - here) > 1e-3 * (1 + abs(here)):
                near = self._value(f, setting, x + sign * 1e-3 * _STEP * d)
                jumps = not abs(near - here) < 0.5 * abs(there - here)
            if np.isfinite(there) and not jumps:
                sides.append(sign * (there - here) / _STEP)
        return tuple(sides)


def _smooth(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-2 * max(abs(one), abs(other))


def _off(sides: tuple[float, ...], slope: float, least: float) -> float:
    """Return how far a slope is from the sides, relative to them; less than the least is noise."""
    low, high = min(sides), max(sides)
    if len(sides) == 2 and _smooth(low, high):
        low = high = (low + high) / 2
    return max(low - slope, slope - high, 0.0) / max(abs(low), abs(high), abs(slope), least)
