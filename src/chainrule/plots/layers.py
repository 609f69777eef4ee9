"""Pictures of the flow through a network: layer after layer, and along a training run."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chainrule.plots.style import COLORS, CYCLE, ORANGE, PURPLE, FigureError, grid, styled

if TYPE_CHECKING:
    from chainrule.xray.flow import Flow

__all__ = ["along", "flow", "profiles"]
__dir__ = __all__.copy


@styled
def flow(flow: "Flow") -> Figure:
    """Draw the norms of every layer, and how many of its units are dead or saturated.

    Args:
      flow: what `chainrule.xray.Report.flow` returns.

    Returns:
      The figure.

    Raises:
      ValueError: there is no layer.
    """
    layers = flow.layers
    if not layers:
        raise FigureError("the flow has no layer: no product with a matrix of parameters was found")
    x = np.arange(len(layers))
    shares = {
        "dead": (ORANGE, [layer.dead for layer in layers]),
        "saturated": (PURPLE, [layer.saturated for layer in layers]),
    }
    shares = {
        name: (color, found)
        for name, (color, found) in shares.items()
        if any(share is not None for share in found)
    }
    rows = 2 + bool(shares)
    width = float(np.clip(0.35 * len(layers) + 1.5, 4.0, 10.0))
    figure, axes = grid(rows, 1, width=width, height=1.5 * rows + 0.6, sharex=True)
    panels: tuple[tuple[str, str, list[float | None]], ...] = (
        ("activation, rms", "value", [layer.activation_rms for layer in layers]),
        ("gradient, norm", "gradient", [layer.gradient_norm for layer in layers]),
    )
    for ax, (label, color, numbers) in zip(axes[:2, 0], panels, strict=True):
        # Where there is none, or 0, which no logarithm shows, the line has a gap.
        ax.plot(x, [number or np.nan for number in numbers], "o-", ms=4, color=COLORS[color])
        ax.set_yscale("log")
        ax.set_ylabel(label)
    for k, (name, (color, found)) in enumerate(shares.items()):
        percent = [0.0 if share is None else 100 * share for share in found]
        wide = 0.8 / len(shares)
        axes[2, 0].bar(x + wide * (k + 0.5) - 0.4, percent, wide, color=color, label=name)
    if shares:
        axes[2, 0].set_ylim(0, 100)
        axes[2, 0].set_ylabel("share, %")
        axes[2, 0].legend(loc="best")
    crowded = len(layers) > 8
    axes[-1, 0].set_xticks(x, [layer.name for layer in layers], rotation=90 if crowded else 0)
    axes[-1, 0].set_xlabel("layer, from the inputs to the outputs")
    return figure


@styled
def profiles(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    expected: Mapping[str, Mapping[str, np.ndarray]],
    label: str,
) -> Figure:
    """Draw a number of every layer for several networks, with the spread of their draws.

    Args:
      panels: title of a panel to the name of a network to ``[draws, layers]``, above 0.
      expected: the same to ``[layers]``, dotted, where something is expected.
      label: what the number is.

    Returns:
      The figure.
    """
    figure, axes = grid(1, len(panels), width=3.6 * len(panels), height=3.2, sharey=True)
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    colors = dict(zip(names, itertools.cycle(CYCLE), strict=False))
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, found in curves.items():
            x = 1 + np.arange(found.shape[1])
            ax.plot(x, np.median(found, axis=0), color=colors[name])
            ax.fill_between(x, found.min(0), found.max(0), color=colors[name], alpha=0.2, lw=0)
            if name in expected.get(title, {}):
                ax.plot(x, expected[title][name], ":", color=COLORS["reference"], lw=1.0)
        ax.set_yscale("log")
        ax.set_title(title)
        ax.set_xlabel("layer")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel(label)
    lines = [Line2D([], [], color=colors[name], label=name) for name in names]
    if any(expected.values()):
        lines.append(Line2D([], [], color=COLORS["reference"], ls=":", lw=1.0, label="expected"))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    return figure


@styled
def along(
    steps: np.ndarray,
    panels: Mapping[str, np.ndarray],
    losses: Mapping[str, np.ndarray],
    label: str = "gradient, norm",
) -> Figure:
    """Draw a number of every layer along training runs, with their losses above.

    Args:
      steps: ``[records]``.
      panels: name of a run to ``[records, layers]``.
      losses: name of a run to ``[records]``.
      label: what the number is.

    Returns:
      The figure; dark lines are layers near the inputs.
    """
    figure, axes = grid(
        2, len(panels), width=3.4 * len(panels), height=4.2, sharex=True, sharey="row"
    )
    shades = colormaps["viridis"]
    for (top, bottom), (name, found) in zip(axes.T, panels.items(), strict=True):
        top.plot(steps, losses[name], color=COLORS["value"])
        top.set_title(name)
        for layer in range(found.shape[1]):
            shade = shades(0.9 * layer / max(found.shape[1] - 1, 1))
            heights = np.where(found[:, layer] > 0, found[:, layer], np.nan)
            bottom.plot(steps, heights, color=shade, lw=0.9)
        bottom.set_yscale("log")
        bottom.set_xlabel("step")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel(label)
    last = next(iter(panels.values())).shape[1]
    lines = [
        Line2D([], [], color=shades(0.0), label="layer 1"),
        Line2D([], [], color=shades(0.9), label=f"layer {last}"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2)
    return figure
