"""A landscape, on which the explorer's page descends itself: it holds the equations of the loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from chainrule import _require
from chainrule.xray.live.equations import Program, program

__all__ = ["Landscape", "check", "programs"]
__dir__ = __all__.copy

_MOST = 25  # points at once: a path of one alone waits for all of them
_ROOM = 200_000  # numbers at once, with those on the way


class Landscape(NamedTuple):
    """A loss of one or two parameters, and what of it is shown.

    Attributes:
      name: for file names.
      title: for the reader.
      about: a sentence or two.
      loss: ``loss(w [axes]) -> scalar``, of float32, twice differentiable in reverse mode.
      axes: what the parameters are called, one or two.
      starts: ``[1 or 2, axes]``: what A and B leave from, or both.
      rates: the lowest and the highest that a slider reaches.
      chosen: the two to begin with, of A and of B.
      steps: of each descent.
      window: ``[axes, 2]``, lowest and highest value of each axis; two have one scale, and fill the
        page where the first spans 1.42 times the second.
      minima: ``[k, axes]``, to be marked, the first one the lowest; none where they are not known.
      floor: the lowest loss there is; without one that of the first minimum, or else the lowest
        in the window if that is below 0. Losses are drawn above it, on a logarithmic scale.
      lanes: how many rates the picture of all rates has.
    """

    name: str
    title: str
    about: str
    loss: Callable[[jax.Array], jax.Array]
    axes: tuple[str, ...]
    starts: Sequence[Sequence[float]]
    rates: tuple[float, float]
    chosen: tuple[float, float]
    steps: int
    window: Sequence[tuple[float, float]]
    minima: Sequence[Sequence[float]] = ()
    floor: float | None = None
    lanes: int = 200


def check(one: Landscape) -> None:
    """Refuse a landscape whose parts do not fit its axes.

    Raises:
      ValueError: it says all that does not.
    """
    where, axes = f"landscape {one.name!r}", len(one.axes)
    if axes not in (1, 2):
        raise ValueError(f"{where} has {axes} axes: one or two can be drawn")
    _require.function(f"loss of {where}", one.loss, "of the parameters")
    _require.scalar_loss(one.loss, jax.ShapeDtypeStruct((axes,), np.float32))
    _require.count(f"steps of {where}", one.steps)
    _require.count(f"lanes of {where}", one.lanes, least=2)
    points = f"of {axes} finite {'number' if axes == 1 else 'numbers'} each"
    due: dict[str, tuple[str, tuple[int, ...], Callable[[Any], Any]]] = {
        "starts": (f"one or two points {points}", (-1, axes), lambda x: len(x) in (1, 2)),
        "minima": (f"points {points}", (-1, axes), len),
        "rates": ("two positive rates, ascending", (2,), lambda x: 0 < x[0] < x[1]),
        "chosen": ("two positive rates", (2,), lambda x: x.min() > 0),
        "window": (f"{axes} ascending pairs", (axes, 2), lambda x: np.diff(x).min() > 0),
    }
    if not len(one.minima):
        del due["minima"]
    given = {name: getattr(one, name) for name in due}
    wrong = [
        f"{name} must be {what}, not {given[name]}"
        for name, (what, shape, right) in due.items()
        if not _fits(given[name], shape, right)
    ]
    if one.floor is not None and not math.isfinite(one.floor):
        wrong.append(f"floor must be a finite number, not {one.floor}")
    if wrong:
        raise ValueError(f"{where}: " + "; ".join(wrong))


def _fits(values: Any, shape: tuple[int, ...], right: Callable[[Any], Any]) -> bool:
    try:
        found = np.asarray(values, float)
    except (TypeError, ValueError):  # ragged, or no numbers
        return False
    same = found.ndim == len(shape) and all(
        n in (-1, m) for n, m in zip(shape, found.shape, strict=True)
    )
    return same and bool(np.isfinite(found).all() and right(found))


def programs(one: Landscape) -> tuple[Program, Program]:
    """Return the loss with its gradient, and the Hessian, as programs of many points at once.

    Args:
      one: the landscape.

    Returns:
      ``[n, axes] -> loss [n], gradient [n, axes]`` and ``[n, axes] -> [n, axes, axes]``, each with
      an ``n`` of its own.

    Raises:
      CannotLiveError: the page has no rule for a primitive of these, or they take too many numbers.

    Example:
      >>> from chainrule import landscapes
      >>> rates = (0.02, 4.0), (0.5, 1.9)
      >>> half = landscapes.quadratic
      >>> one = Landscape("w", "w", "", half, ("w",), [[1.0]], *rates, 40, [(-2, 2)])
      >>> [program["types"][program["results"][0]] for program in programs(one)]
      [('float32', [25]), ('float32', [25, 1, 1])]
    """
    slope, curvature = jax.value_and_grad(one.loss), jax.jacrev(jax.grad(one.loss))
    return _of_many(slope, one, one.lanes), _of_many(curvature, one, one.steps + 2)


def _of_many(f: Callable[[jax.Array], Any], one: Landscape, most: int) -> Program:
    def of(count: int) -> Program:
        points = jax.ShapeDtypeStruct((count, len(one.axes)), np.float32)
        return program(jax.make_jaxpr(jax.vmap(f))(points))

    size = sum(math.prod(shape) for _, shape in of(1)["types"])
    return of(max(1, min(most, _MOST, _ROOM // size)))
