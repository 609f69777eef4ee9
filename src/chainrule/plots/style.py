"""The colours and settings that all figures share, and the grid they are drawn on."""

import functools
import itertools
import numbers
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from chainrule import _require
from chainrule.plots._arguments import FigureError, checked

__all__ = [
    "BLACK",
    "BLUE",
    "COLORS",
    "CYCLE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RATES",
    "SKY",
    "STYLE",
    "VERMILLION",
    "YELLOW",
    "FigureError",
    "grid",
    "rate_colors",
    "styled",
]
__dir__ = __all__.copy

BLACK, GREY = "#000000", "#8c8c8c"
"""For what is neither a line of its own nor a class."""
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
"""After Okabe and Ito."""
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
"""The others of Okabe and Ito."""

COLORS = {
    "value": BLUE,  # computed forward: losses, iterates, activations
    "gradient": VERMILLION,  # computed backward
    "model": ORANGE,  # the quadratic model, predictions
    "landscape": GREY,
    "reference": BLACK,  # floors, edges, the notes' numbers
    "train": BLUE,
    "test": VERMILLION,
    "negative": BLUE,  # classes, weights and cells of heat-maps by their sign
    "positive": VERMILLION,
}
"""What each colour means."""
RATES = {0.125: BLUE, 0.5: VERMILLION}
"""The colours of the two learning rates that are compared throughout."""
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""The colours of lines, lanes and classes, in this order."""

STYLE = {
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.titlesize": 10,
    "font.size": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "chainrule",  # the same figure is the same file
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
"""The settings of matplotlib under which every figure is drawn: see `styled`."""

_MOST = 1000  # rows, columns, inches

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with the package's style, and leave the caller's settings as they were.

    Arguments may be anything that NumPy makes arrays of.

    Raises:
      FigureError: what was given makes no figure, a ValueError.
    """

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            drawn: R = checked(draw, args, kwargs)
            return drawn

    return wrapped


def grid(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 3.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes ``[rows, columns]``; sizes in inches, 7 fill a book's page.

    Raises:
      ValueError: there is no row or no column, a size is not positive, one of them is above 1,000,
        or matplotlib's ``subplots`` does not take one of the options.
    """
    _require.count("rows", rows, most=_MOST)
    _require.count("columns", columns, most=_MOST)
    _require.real("width", width, above=0, most=_MOST)
    _require.real("height", height, above=0, most=_MOST)
    figure = Figure(figsize=(width, height), layout="constrained")
    try:
        return figure, figure.subplots(rows, columns, squeeze=False, **options)
    except (TypeError, ValueError) as error:
        raise FigureError(f"options of subplots, {', '.join(options)}: {error}") from error


def rate_colors(etas: Iterable[float]) -> list[str]:
    """Return a colour for each learning rate: its own, see `RATES`, or the next free one.

    Raises:
      ValueError: these are no numbers.

    Example:
      >>> rate_colors([0.5, 0.01]) == [VERMILLION, BLUE]
      True
    """
    rates = [float(eta) for eta in _require.several("etas", etas, numbers.Real, "learning rates")]
    taken = {RATES[eta] for eta in rates if eta in RATES}
    free = itertools.cycle(color for color in CYCLE if color not in taken)
    colors = {eta: RATES.get(eta) or next(free) for eta in dict.fromkeys(rates)}
    return [colors[eta] for eta in rates]
