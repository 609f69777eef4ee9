"""The descent explorer: one page to play with learning rates.

Two descents are compared in it, step by step, at rates and with optimizers that its reader chooses.
On a landscape the page computes them, from any start and at any rate and momentum: it holds the
equations of the loss, and runs them on the engine of the living graph. Of anything larger, such as
a network, it shows recorded sweeps, whose every step it holds.
"""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import contourpy
import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _require
from chainrule._html import resource
from chainrule.explorer.block import EXACT, LINE, VALUE, Block
from chainrule.explorer.landscape import Landscape, programs
from chainrule.explorer.landscape import check as check_landscape
from chainrule.explorer.problem import VERDICTS, Problem, Sweep, check
from chainrule.xray.live.equations import CannotLiveError

__all__ = ["CONTOURS", "SCRIPTS", "page"]
__dir__ = __all__.copy

CONTOURS = 16
"""How many level lines of a landscape are drawn."""

SCRIPTS = (
    ("chainrule.xray.page", "special.js"),
    ("chainrule.xray.page", "engine.js"),
    ("chainrule.explorer", "descents.js"),
    ("chainrule.explorer", "page.js"),
)
"""The scripts, by package: the engine of the living graph, what descends with it, and the page."""

_GRID = 241  # points an axis: fine enough for the floor of a narrow valley


def page(
    problems: Sequence[Landscape | Problem], *, title: str = "Play with learning rates"
) -> str:
    """Return the page: it needs no network and nothing beside it.

    Args:
      problems: what to choose from; the first one is shown first.
      title: its heading.

    Raises:
      ValueError: there is no problem; or what a landscape has does not fit its axes, or its loss
        cannot be computed in a page; or the arrays of a recorded problem do not fit its rates or
        its steps, or an optimizer is missing from a start.

    Example:
      >>> loss = lambda w: w[0] ** 2 / 2
      >>> rates = (0.02, 4.0), (0.5, 1.9)
      >>> live = Landscape("half", "half", "", loss, ("w",), [[1.0]], *rates, 40, [(-2.0, 2.0)])
      >>> loss = np.asarray([[2.0, 0.5], [2.0, 8.0]])
      >>> words, edges = ("descending", "diverged"), {"edge at the start": 2.0}
      >>> one = Sweep("sgd", "w = 2", loss, loss, words, edges, {"errors": loss > 1})
      >>> recorded = Problem("demo", "a demo", "", np.asarray([0.5, 3.0]), [one], (0.5, 3.0))
      >>> page([live, recorded]).startswith("<!DOCTYPE html>")
      True
    """
    problems = _require.several(
        "problems", problems, Landscape | Problem, "explorer.Landscape or explorer.Problem"
    )
    _require.text("title", title)
    if not problems:
        raise ValueError("no problem to explore: pass at least one of problems")
    block = Block()
    described = {
        "verdicts": VERDICTS,
        "problems": [_problem(problem, block) for problem in problems],
    }
    # "<" could end the element that the text stands in.
    text = json.dumps(described, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    filled = resource("page.html", __package__)
    for name, value in (
        ("title", html.escape(title)),
        ("style", resource("_html.css") + resource("page.css", __package__)),
        ("script", "".join(resource(name, package) for package, name in SCRIPTS)),
        ("recorded", block.packed()),
        ("described", text),  # last: it holds the words of others
    ):
        filled = filled.replace("{{" + name + "}}", value)
    return filled


def _problem(problem: Landscape | Problem, block: Block) -> dict[str, Any]:
    if isinstance(problem, Landscape):
        return _landscape(problem, block)
    check(problem)
    rates = np.asarray(problem.rates, np.float32)
    optimizers = list(dict.fromkeys(sweep.optimizer for sweep in problem.sweeps))
    starts = list(dict.fromkeys(sweep.start for sweep in problem.sweeps))
    distances = [np.abs(np.log(rates / np.float32(eta))) for eta in problem.chosen]
    return {
        "name": problem.name,
        "title": problem.title,
        "about": problem.about,
        "kind": "network",
        "rates": block.add(rates, EXACT),
        "count": len(rates),
        "steps": int(np.shape(problem.sweeps[0].loss)[1]) - 1,
        "chosen": [int(d.argmin()) for d in distances],
        "floor": float(problem.floor),
        "axes": [],
        "counts": list(problem.sweeps[0].counts),
        "optimizers": optimizers,
        "starts": starts,
        # Above a floor the loss is shown by what it has in excess, which may be its last digits.
        "sweeps": [
            _sweep(sweep, block, EXACT if problem.floor else VALUE) for sweep in problem.sweeps
        ],
    }


def _sweep(sweep: Sweep, block: Block, loss_bits: int) -> dict[str, Any]:
    return {
        "optimizer": sweep.optimizer,
        "start": sweep.start,
        "loss": block.add(sweep.loss, loss_bits),
        "grad_norm": block.add(sweep.grad_norm, VALUE),
        "verdicts": [VERDICTS.index(word) for word in sweep.verdicts],
        "edges": [[name, _number(edge)] for name, edge in sweep.edges.items()],
        "counts": [block.add(values, VALUE) for values in sweep.counts.values()],
    }


def _landscape(one: Landscape, block: Block) -> dict[str, Any]:
    check_landscape(one)
    try:
        slope, curvature = programs(one)
    except CannotLiveError as why:
        raise ValueError(
            f"landscape {one.name!r} cannot be descended on in a page, for {why}: record sweeps by "
            "chainrule.descent.sweep, and show them as an explorer.Problem"
        ) from None
    loss = jax.jit(jax.vmap(one.loss))
    axes = [np.linspace(low, high, _GRID, dtype=np.float32) for low, high in one.window]
    points = jnp.stack(jnp.meshgrid(*axes), axis=-1)
    grid = np.asarray(loss(points.reshape(-1, len(axes)))).reshape(points.shape[:-1])
    floor = one.floor
    if floor is None:
        lowest = min(0.0, float(np.nanmin(grid)))
        floor = float(loss(jnp.asarray(one.minima, np.float32))[0]) if len(one.minima) else lowest
    return {
        "name": one.name,
        "title": one.title,
        "about": one.about,
        "kind": ("line", "plane")[len(axes) - 1],
        "rates": list(map(float, one.rates)),
        "count": one.lanes,
        "steps": one.steps,
        "chosen": list(map(float, one.chosen)),
        "floor": floor,
        "axes": one.axes,
        "counts": [],
        "starts": [list(map(float, one.starts[k])) for k in (0, -1)],
        "minima": [[float(x) for x in point] for point in one.minima],
        "window": [[float(low), float(high)] for low, high in one.window],
        "slope": slope,
        "curvature": curvature,
        **_picture(axes, grid, floor, block),
    }


def _picture(
    axes: Sequence[np.ndarray], grid: np.ndarray, floor: float, block: Block
) -> dict[str, Any]:
    if len(axes) == 1:
        return {"curve": [block.add(axes[0], VALUE), block.add(grid, VALUE), _GRID]}
    above = np.asarray(grid, np.float64) - floor
    levels = np.geomspace(1e-4, 1, CONTOURS, endpoint=False) * above.max()
    generator = contourpy.contour_generator(axes[0], axes[1], above)
    lines = [line for level in levels for line in generator.lines(level)]
    at = block.add(np.concatenate([*lines, np.empty((0, 2))]), LINE)
    return {"contours": {"at": at, "lengths": [len(line) for line in lines]}}


def _number(value: float) -> float | str | None:
    """Return what JSON can hold: infinity as a word, NaN as nothing."""
    if math.isnan(value):
        return None
    return "inf" if math.isinf(value) else float(value)
