"""Pictures of backpropagation: arrays as heat-maps, and two descents that should be one."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from chainrule import _require
from chainrule.plots.descent import draw_points
from chainrule.plots.style import COLORS, GREY, grid, styled

__all__ = ["heatmaps", "traces"]
__dir__ = __all__.copy

# Of the heat-maps, in inches.
_GAP, _TITLE, _BAR, _EDGE = 0.3, 0.32, 0.12, 0.1


@styled
def heatmaps(
    rows: Sequence[Mapping[str, np.ndarray]], *, width: float = 7.0, digits: int | None = None
) -> Figure:
    """Draw rows of matrices, one cell a number: red above 0, blue below, white at 0.

    A row shares one scale, drawn at its end, and every cell of the figure has the same size.

    Args:
      rows: of each row, name to matrix ``[m, n]``; a name may hold mathematics.
      width: of the figure, in inches.
      digits: decimals to write into the cells, at most 16; by default nothing is written.

    Returns:
      The figure.

    Example:
      >>> figure = heatmaps([{"$W$": np.eye(3), "$x$": np.ones((3, 1))}])
      >>> [ax.get_title(loc="left") for ax in figure.axes[:2]]
      ['$W$', '$x$']
    """
    if digits is not None:
        digits = _require.count("digits", digits, least=0, most=16)
    room = width - 2 * _EDGE - _BAR - 0.45  # the numbers of the scale
    cell = min(
        (room - _GAP * len(row)) / sum(matrix.shape[1] for matrix in row.values()) for row in rows
    )
    heights = [cell * max(matrix.shape[0] for matrix in row.values()) for row in rows]
    height = sum(heights) + (_TITLE + _EDGE) * len(rows)
    figure = Figure(figsize=(width, height))

    def place(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    top = height
    for row, tall in zip(rows, heights, strict=True):
        top -= _TITLE + tall
        left = _EDGE
        largest = max(float(np.abs(matrix).max()) for matrix in row.values()) or 1.0
        for name, matrix in row.items():
            high, wide = cell * matrix.shape[0], cell * matrix.shape[1]
            ax = place(left, top + (tall - high) / 2, wide, high)
            image = ax.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
            ax.set(title=name, xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=GREY, linewidth=0.5)
            if digits is not None:
                _write(ax, matrix, largest, digits, size=min(8.0, 20 * cell))
            left += wide + _GAP
        bar = figure.colorbar(image, cax=place(left, top, _BAR, tall))
        bar.outline.set_linewidth(0.5)
        top -= _EDGE
    return figure


def _write(ax: Axes, matrix: np.ndarray, largest: float, digits: int, size: float) -> None:
    for (i, j), number in np.ndenumerate(matrix):
        dark = abs(number) > 0.6 * largest
        text = f"{number:z.{digits}f}".replace("-", "\N{MINUS SIGN}") if number else "0"
        color = "white" if dark else "black"
        ax.text(j, i, text, ha="center", va="center", size=size, color=color)


@styled
def traces(
    by_hand: np.ndarray,
    by_jax: np.ndarray,
    points: Mapping[str, Mapping[int, float]] | None = None,
) -> Figure:
    """Draw the losses of two descents from one start, and how far apart they are.

    Args:
      by_hand: ``[steps + 1]``, with the gradients of the rules.
      by_jax: ``[steps + 1]``, with those of `jax.grad`.
      points: losses to compare with, name to step to loss: those that somebody printed.

    Returns:
      The figure.

    Example:
      >>> figure = traces(np.array([1.0, 0.5, 0.25]), np.array([1.0, 0.5, 0.251]))
      >>> [ax.get_ylabel() for ax in figure.axes]
      ['mean squared error', 'relative difference of the two']
    """
    figure, ((left, right),) = grid(1, 2, width=7.0, height=2.6)
    left.plot(by_jax, color=COLORS["reference"], lw=4, alpha=0.3, label="jax.grad")
    left.plot(by_hand, color=COLORS["value"], lw=1, label="by hand")
    draw_points(left, points)
    left.set(yscale="log", xlabel="step", ylabel="mean squared error")
    left.legend()
    gap = np.abs(by_hand / by_jax - 1)
    # Where both are the same number there is nothing to draw on a logarithmic scale.
    right.plot(np.flatnonzero(gap), gap[gap > 0], ".", ms=2, color=COLORS["gradient"])
    place = right.get_yaxis_transform()  # a share of the width, and a difference
    for level, name in ((1e-3, "allowed"), (2.0**-23, "one unit in float32's last place")):
        right.axhline(level, color=COLORS["reference"], lw=0.8, ls="--", zorder=0)
        right.text(1, level / 3, name, ha="right", va="top", transform=place)
    right.set(yscale="log", xlabel="step", ylabel="relative difference of the two")
    right.set_xlim(0, len(gap) - 1)
    right.set_ylim(bottom=2.0**-23 / 12)  # room for the name of the lower line
    return figure
