"""Figures from arrays: every function takes numbers and returns a figure, and shows nothing.

One module a subject. They are the only importers of matplotlib, and use its figures without
pyplot: there is no current figure, no window and nothing to close. Save one with
``figure.savefig`` or `chainrule.runs.Run.save_figure`.

The colours are those of Okabe and Ito, which colour-blind people can tell apart, and mean the same
in every figure: see `chainrule.plots.style.COLORS`.
"""

from chainrule.plots.layers import flow
from chainrule.plots.style import (
    COLORS,
    CYCLE,
    RATES,
    STYLE,
    FigureError,
    grid,
    rate_colors,
    styled,
)

__all__ = [
    "COLORS",
    "CYCLE",
    "RATES",
    "STYLE",
    "FigureError",
    "flow",
    "grid",
    "rate_colors",
    "styled",
]
__dir__ = __all__.copy
