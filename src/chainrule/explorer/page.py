"""The descent explorer: one page to play with learning rates, which shows recorded descents.

The page does no descending of its own. It gets every step of every lane of some sweeps, two hundred
rates each, and lets its reader choose among them: a rate, a start, an optimizer, two of each to
compare, step by step, with the quadratic model and the predicted edge beside them.

All arrays travel in the page as one block of float32, rounded to a number of bits and deflated:
losses and parameters to 16 significant bits (off by at most 1 in 65,536), slopes to 12 and the
sharpness, a guide for the eye, to 8; losses above a floor, which may differ from it only in their
last digits, are kept whole. Without the rounding a page of six
problems takes 5 MB, with it half of that.
"""

import base64
import html
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import contourpy
import numpy as np

from chainrule._html import resource

VERDICTS = ("diverged", "converged", "oscillating", "descending")
"""Those of `chainrule.descent.verdict`, in the order of their numbers in the page."""
CONTOURS = 16
"""Level lines of a landscape."""
VALUE, SLOPE, GUIDE, EXACT = 16, 12, 8, 24  #: significant bits


class Sweep(NamedTuple):
    """The recorded descents of one optimizer from one start, a lane for each rate.

    Attributes:
      optimizer: what it is called.
      start: what the start is called.
      loss: ``[lanes, steps + 1]``.
      grad_norm: ``[lanes, steps + 1]``.
      verdicts: ``[lanes]``, of `VERDICTS`.
      edges: predicted edges by what they are called; infinity for none, NaN for no prediction.
      factor: the edge times the sharpness: 2 for plain descent; NaN where none is predicted.
      params: ``[lanes, steps + 1, axes]``, or None.
      slopes: the gradient at the same points, or None.
      sharpness: ``[lanes, steps + 1]``, the largest eigenvalue of the Hessian there, or None.
      counts: other things over the steps by name, each ``[lanes, steps + 1]``.
    """

    optimizer: str
    start: str
    loss: np.ndarray
    grad_norm: np.ndarray
    verdicts: Sequence[str]
    edges: Mapping[str, float]
    factor: float
    params: np.ndarray | None = None
    slopes: np.ndarray | None = None
    sharpness: np.ndarray | None = None
    counts: Mapping[str, np.ndarray] = {}


class Problem(NamedTuple):
    """What one descends on, with all sweeps over it: each optimizer from each start.

    Attributes:
      name: for file names.
      title: for the reader.
      about: a sentence or two.
      rates: ``[lanes]``, ascending.
      sweeps: every optimizer from every start, over these rates.
      chosen: the rates that A and B begin with; the nearest of ``rates`` are taken.
      floor: the lowest loss there is; losses are drawn above it, on a logarithmic scale.
      axes: the names of the parameters: none, one or two.
      grid: with one axis ``(w [n], loss [n])``, with two ``(u [n], v [m], loss [m, n])``.
      minima: ``[k, axes]``, to be marked.
    """

    name: str
    title: str
    about: str
    rates: np.ndarray
    sweeps: Sequence[Sweep]
    chosen: tuple[float, float]
    floor: float = 0.0
    axes: tuple[str, ...] = ()
    grid: tuple[np.ndarray, ...] = ()
    minima: Sequence[Sequence[float]] = ()


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
    if not problems:
        raise ValueError("no problem to explore: pass at least one")
    block = _Block()
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


class _Block:
    """All arrays of a page, one after the other."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.length = 0

    def add(self, values: Any, bits: int) -> int:
        """Append an array, rounded to so many significant bits, and return where it begins."""
        at = self.length
        self.parts.append(_rounded(np.asarray(values, "<f4").ravel(), bits))
        self.length += self.parts[-1].size
        return at

    def packed(self) -> str:
        whole = np.concatenate(self.parts)
        # First bytes first: the sign and exponent of neighbours are alike, their last bits not.
        planes = whole.view(np.uint8).reshape(-1, 4).T
        return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Round float32 to the nearest that end in zeros, which pack to nothing."""
    spare = EXACT - bits
    if not spare:
        return values
    # In unsigned integers a carry out of the mantissa raises the exponent, as it should.
    whole = values.view(np.uint32)
    up = (whole.astype(np.uint64) + (1 << (spare - 1))) >> spare << spare
    kept = np.where(np.isfinite(values), up.astype(np.uint32), whole).view(np.float32)
    return np.where(np.isfinite(kept), kept, values)


def _problem(problem: Problem, block: _Block) -> dict[str, Any]:
    _check(problem)
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


def _picture(problem: Problem, block: _Block) -> dict[str, Any]:
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


def _sweep(sweep: Sweep, block: _Block, loss_bits: int) -> dict[str, Any]:
    def axes_first(values: np.ndarray | None, bits: int) -> int | None:
        return None if values is None else block.add(np.moveaxis(values, -1, 0), bits)

    sharpness = sweep.sharpness
    return {
        "optimizer": sweep.optimizer,
        "start": sweep.start,
        "loss": block.add(sweep.loss, loss_bits),
        # Where there are slopes their length is taken of them.
        "grad_norm": block.add(sweep.grad_norm, VALUE) if sweep.slopes is None else None,
        "verdicts": [VERDICTS.index(word) for word in sweep.verdicts],
        "edges": [[name, _number(edge)] for name, edge in sweep.edges.items()],
        "factor": _number(sweep.factor),
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


def _check(problem: Problem) -> None:
    where = f"problem {problem.name!r}"
    if not problem.sweeps or not (problem.axes or problem.sweeps[0].counts):
        raise ValueError(
            f"{where} has no sweep, or neither axes nor counts: there is nothing to draw"
        )
    if len(problem.axes) > 2 or len(problem.grid) != (0, 2, 3)[len(problem.axes)]:
        raise ValueError(
            f"{where} has {len(problem.axes)} axes and a grid of {len(problem.grid)} arrays: "
            "none goes with 0, one with 2 (w, loss), two with 3 (u, v, loss)"
        )
    first = problem.sweeps[0]
    points = (len(problem.rates), *np.shape(first.loss)[1:])
    wrong = [text for one in problem.sweeps for text in _mismatches(one, first, points, problem)]
    pairs = {(sweep.optimizer, sweep.start) for sweep in problem.sweeps}
    full = len({optimizer for optimizer, _ in pairs}) * len({start for _, start in pairs})
    if not len(pairs) == full == len(problem.sweeps):
        wrong.append(f"{len(problem.sweeps)} sweeps, but each optimizer from each start is {full}")
    if wrong:
        raise ValueError(f"{where}: " + "; ".join(wrong))


def _mismatches(
    sweep: Sweep, first: Sweep, points: tuple[int, ...], problem: Problem
) -> Iterator[str]:
    """Say what of a sweep does not fit the rates, the steps, the axes and the first sweep."""
    label = f"{sweep.optimizer} from {sweep.start}"
    due: dict[str, tuple[Any, tuple[int, ...]]] = {
        "loss": (sweep.loss, points),
        "grad_norm": (sweep.grad_norm, points),
        "verdicts": (sweep.verdicts, points[:1]),
    }
    due |= {name: (values, points) for name, values in sweep.counts.items()}
    if first.sharpness is not None:
        due["sharpness"] = (sweep.sharpness, points)
    if problem.axes:
        places = (*points, len(problem.axes))
        due |= {"params": (sweep.params, places), "slopes": (sweep.slopes, places)}
    for name, (values, shape) in due.items():
        if values is None:
            yield f"{label} has no {name}"
        elif np.shape(values) != shape:
            yield f"{name} of {label} has shape {np.shape(values)}, not {shape}"
    if list(sweep.counts) != list(first.counts):
        yield f"{label} counts {list(sweep.counts)}, not {list(first.counts)}"
