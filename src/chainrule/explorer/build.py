"""The descent explorer: one page to play with learning rates, which shows recorded descents.

The page computes no descent of its own. It holds every step of every lane of some sweeps, two
hundred rates each. Its reader chooses among them: a rate, a start, an optimizer, two of each to
compare, step by step, with the quadratic model and the predicted edge beside them.
"""

import html
import json
import math
from collections.abc import Sequence
from typing import Any

import contourpy
import numpy as np

from chainrule import _require
from chainrule._html import resource
from chainrule.explorer.block import EXACT, GUIDE, SLOPE, VALUE, Block
from chainrule.explorer.problem import VERDICTS, Problem, Sweep, check

__all__ = ["CONTOURS", "page"]
__dir__ = __all__.copy

CONTOURS = 16
"""How many level lines of a landscape are drawn."""


def page(problems: Sequence[Problem], *, title: str = "Play with learning rates") -> str:
    """Return the page: it needs no network and nothing beside it.

    Args:
      problems: what to choose from; the first one is shown first.
      title: its heading.

    Raises:
      ValueError: there is no problem; or the arrays of one do not fit its rates, its steps or its
        axes; or an optimizer is missing from a start.

    Example:
      >>> loss = np.asarray([[2.0, 0.5], [2.0, 8.0]])
      >>> words, edges = ("descending", "diverged"), {"edge at the start": 2.0}
      >>> one = Sweep("sgd", "w = 2", loss, loss, words, edges, 2.0, counts={"errors": loss > 1})
      >>> demo = Problem("demo", "a demo", "", np.asarray([0.5, 3.0]), [one], (0.5, 3.0))
      >>> page([demo]).startswith("<!DOCTYPE html>")
      True
    """
    problems = _require.several("problems", problems, Problem, "explorer.Problem")
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
        ("script", resource("page.js", __package__)),
        ("recorded", block.packed()),
        ("described", text),  # last: it holds the words of others
    ):
        filled = filled.replace("{{" + name + "}}", value)
    return filled


def _problem(problem: Problem, block: Block) -> dict[str, Any]:
    check(problem)
    rates = np.asarray(problem.rates, np.float32)
    optimizers = list(dict.fromkeys(sweep.optimizer for sweep in problem.sweeps))
    starts = list(dict.fromkeys(sweep.start for sweep in problem.sweeps))
    distances = [np.abs(np.log(rates / np.float32(eta))) for eta in problem.chosen]
    return {
        "name": problem.name,
        "title": problem.title,
        "about": problem.about,
        "kind": ("network", "line", "plane")[len(problem.axes)],
        "rates": block.add(rates, EXACT),
        "count": len(rates),
        "steps": int(np.shape(problem.sweeps[0].loss)[1]) - 1,
        "chosen": dict(zip("ab", (int(d.argmin()) for d in distances), strict=True)),
        "floor": float(problem.floor),
        "axes": problem.axes,
        "counts": list(problem.sweeps[0].counts),
        "optimizers": optimizers,
        "starts": starts,
        "minima": [[float(x) for x in point] for point in problem.minima],
        **_picture(problem, block),
        # Above a floor the loss is shown by what it has in excess, which may be its last digits.
        "sweeps": [
            _sweep(sweep, block, EXACT if problem.floor else VALUE) for sweep in problem.sweeps
        ],
    }


def _picture(problem: Problem, block: Block) -> dict[str, Any]:
    if len(problem.axes) == 1:
        w, loss = problem.grid
        return {"curve": [block.add(w, VALUE), block.add(loss, VALUE), len(w)]}
    if len(problem.axes) == 2:
        u, v, loss = (np.asarray(part, np.float64) for part in problem.grid)
        above = loss - problem.floor
        levels = np.geomspace(1e-4, 1, CONTOURS, endpoint=False) * above.max()
        generator = contourpy.contour_generator(u, v, above)
        lines = [line for level in levels for line in generator.lines(level)]
        return {
            "window": [[float(u[0]), float(u[-1])], [float(v[0]), float(v[-1])]],
            "contours": {
                "at": block.add(np.concatenate([*lines, np.empty((0, 2))]), SLOPE),
                "lengths": [len(line) for line in lines],
            },
        }
    return {}


def _sweep(sweep: Sweep, block: Block, loss_bits: int) -> dict[str, Any]:
    def axes_first(values: np.ndarray | None, bits: int) -> int | None:
        return None if values is None else block.add(np.moveaxis(values, -1, 0), bits)

    sharpness, moves = sweep.sharpness, np.ndim(sweep.factor) > 0
    return {
        "optimizer": sweep.optimizer,
        "start": sweep.start,
        "loss": block.add(sweep.loss, loss_bits),
        # Where there are slopes their length is taken of them.
        "grad_norm": block.add(sweep.grad_norm, VALUE) if sweep.slopes is None else None,
        "verdicts": [VERDICTS.index(word) for word in sweep.verdicts],
        "edges": [[name, _number(edge)] for name, edge in sweep.edges.items()],
        "factor": None if moves else _number(float(sweep.factor)),
        "factors": block.add(sweep.factor, GUIDE) if moves else None,
        "params": axes_first(sweep.params, VALUE),
        "slopes": axes_first(sweep.slopes, SLOPE),
        "sharpness": None if sharpness is None else block.add(sharpness, GUIDE),
        "counts": [block.add(values, VALUE) for values in sweep.counts.values()],
    }


def _number(value: float) -> float | str | None:
    """Return what JSON can hold: infinity as a word, NaN as nothing."""
    if math.isnan(value):
        return None
    return "inf" if math.isinf(value) else float(value)
