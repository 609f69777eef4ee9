"""Figures from arrays: every function takes numbers and returns a figure, and shows nothing.

One module a subject. They are the only importers of matplotlib, and use its figures without
pyplot: there is no current figure, no window and nothing to close. Save one with
``figure.savefig`` or `chainrule.runs.Run.save_figure`.

The colours are those of Okabe and Ito, which the colour-blind can tell apart, and mean the same in
every figure: see `COLORS`.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

BLACK, GREY = "#000000", "#8c8c8c"
"""For what is no lane and no class."""
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
"""After Okabe and Ito."""
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
"""After Okabe and Ito, too."""

COLORS = {
    "value": BLUE,  # what is computed forward: losses, iterates, activations
    "gradient": VERMILLION,  # what comes back
    "model": ORANGE,  # the quadratic model, predictions
    "landscape": GREY,
    "reference": BLACK,  # floors, edges, the notes' numbers
    "train": BLUE,
    "test": VERMILLION,
    "negative": BLUE,  # classes, weights and cells of heat-maps by their sign
    "positive": VERMILLION,
    "0.125": BLUE,  # the two learning rates that are compared throughout
    "0.5": VERMILLION,
}
"""What each colour means."""
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)  #: lanes, classes, in this order

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
"""The settings of matplotlib under which everything is drawn: see `styled`."""

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with the package's style, and leave the caller's settings as they were."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def grid(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 3.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes ``[rows, columns]``; sizes in inches, 7 fill a book's page."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


# Last, because it is drawn with the names above: `plots.flow(report.flow())`.
from chainrule.plots.layers import flow as flow  # noqa: E402
