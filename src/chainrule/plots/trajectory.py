"""Pictures of descents in one dimension, step by step: as frames, or played."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chainrule.plots._player import played
from chainrule.plots.style import BLACK, COLORS, grid, rate_colors, styled

__all__ = ["Trajectory", "animation", "frames"]
__dir__ = __all__.copy


class Trajectory(NamedTuple):
    """A descent in one dimension, ready to be drawn.

    Attributes:
      eta: the learning rate.
      w: ``[frames]``, the iterates, the start first.
      loss: ``[frames]``, the loss at each.
      slope: ``[frames]``, its derivative at each.
      model: ``[frames, points]``, the quadratic model at each, on the points of the landscape: see
        `chainrule.descent.quadratic_model`.
    """

    eta: float
    w: np.ndarray
    loss: np.ndarray
    slope: np.ndarray
    model: np.ndarray


@styled
def frames(series: Sequence[Trajectory], points: np.ndarray, landscape: np.ndarray) -> Figure:
    """Draw every frame of several descents in one dimension, twelve frames a series.

    Each panel shows the landscape, the iterates so far, the quadratic model at the last of them,
    and where its minimum, the next iterate, lies.

    Args:
      series: the descents, each drawn in rows of six panels.
      points: ``[points]``, where the landscape and the models are drawn, in order.
      landscape: ``[points]``, the loss there.

    Returns:
      The figure.
    """
    columns = 6
    rows = sum(-(-len(one.w) // columns) for one in series)
    figure, axes = grid(
        rows, columns, width=7.2, height=1.12 * rows + 0.6, sharex=True, sharey=True
    )
    low, high = _limits(landscape)
    row = 0
    for color, one in zip(rate_colors(one.eta for one in series), series, strict=True):
        for frame in range(-(-len(one.w) // columns) * columns):
            ax = axes[row + frame // columns, frame % columns]
            if frame >= len(one.w):
                ax.set_axis_off()
                continue
            _frame(ax, one, frame, points, landscape, color)
            ax.set_ylim(low, high)
            ax.text(0.96, 0.05, f"{frame}", transform=ax.transAxes, ha="right", size=7)
        axes[row, 0].set_title(f"$\\eta = {one.eta:g}$, from $w = {one.w[0]:g}$")
        row += -(-len(one.w) // columns)
    for ax in axes[:, 0]:
        ax.set_ylabel("loss")
    for ax in axes[-1]:
        ax.set_xlabel("$w$")
    figure.legend(
        handles=[
            Line2D([], [], color=COLORS["landscape"], label="loss"),
            Line2D([], [], color=COLORS["model"], label="quadratic model"),
            _dot("iterate $w_t$", mfc="white", mec=BLACK, ms=4.2, mew=0.8),
            _dot("its minimum, $w_{t+1}$", mfc="white", mec=COLORS["model"], ms=3.2),
        ],
        loc="outside lower center",
        ncols=4,
    )
    return figure


@styled
def animation(series: Sequence[Trajectory], points: np.ndarray, landscape: np.ndarray) -> str:
    """Return a page that plays the same frames, one panel a series; it needs no network.

    Args:
      series: the descents, all of the same number of frames.
      points: ``[points]``, where the landscape and the models are drawn, in order.
      landscape: ``[points]``, the loss there.

    Returns:
      A self-contained HTML page with controls.
    """
    figure, axes = grid(1, len(series), width=3.2 * len(series), height=2.9, sharey=True)
    low, high = _limits(landscape)

    colors = rate_colors(one.eta for one in series)

    def draw(frame: int) -> list[Any]:
        for ax, color, one in zip(axes[0], colors, series, strict=True):
            ax.clear()
            _frame(ax, one, frame, points, landscape, color)
            ax.set_ylim(low, high)
            ax.set_xlabel("$w$")
            ax.set_title(f"$\\eta = {one.eta:g}$, step {frame}: $w = {one.w[frame]:.4f}$")
        axes[0, 0].set_ylabel("loss")
        return []

    count = max(len(one.w) for one in series)
    about = (
        "Each panel is one learning rate: the loss in grey, and on it the steps so far. In amber "
        "the quadratic model at the present step; its lowest point, the open circle, is where the "
        "next step goes, and the loss that it promises there."
    )
    return played(figure, draw, count, "Descent on the two-well landscape", about)


def _dot(label: str, **style: Any) -> Line2D:
    return Line2D([], [], ls="", marker="o", label=label, **style)


def _limits(landscape: np.ndarray) -> tuple[float, float]:
    low, high = float(np.min(landscape)), float(np.max(landscape))
    return low - 0.22 * (high - low), high + 0.05 * (high - low)


def _frame(
    ax: Axes, one: Trajectory, frame: int, points: np.ndarray, landscape: np.ndarray, color: str
) -> None:
    ax.plot(points, landscape, color=COLORS["landscape"], lw=1)
    ax.plot(points, one.model[frame], color=COLORS["model"], lw=1)
    # The minimum of the model: it falls by half of what its slope promises.
    step = -one.eta * one.slope[frame]
    lowest = one.w[frame] + step, one.loss[frame] + one.slope[frame] * step / 2
    ax.plot(*lowest, "o", ms=3.2, mfc="white", mec=COLORS["model"])
    ax.plot(one.w[:frame], one.loss[:frame], ".", ms=3, color=color, alpha=0.4)
    ax.plot(one.w[frame], one.loss[frame], "o", ms=4.2, color=color, mec=BLACK, mew=0.4)
    ax.set_xlim(points[0], points[-1])
