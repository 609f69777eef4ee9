"""Pictures of an architecture: the sizes of what its layers hand on, and what they cost."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from chainrule.plots.style import CYCLE, GREY, grid, styled

__all__ = ["sizes"]
__dir__ = __all__.copy


@styled
def sizes(
    outputs: Mapping[str, tuple[int, ...]],
    kinds: Sequence[str],
    costs: Mapping[str, Sequence[int]],
) -> Figure:
    """Draw the layers from left to right as boxes, and their costs as bars below them.

    A box is as high as the image and, in logarithms, as wide as there are channels.

    Args:
      outputs: the name of every layer to the shape of what it hands on, ``(rows, ..., channels)``;
        the first one is the input.
      kinds: what each of them is, the layers of a kind have one colour.
      costs: what is counted to its number for each of them; 0 is left out.

    Returns:
      The figure.

    Example:
      >>> figure = sizes(
      ...     {"image": (28, 28, 1), "conv": (24, 24, 32)},
      ...     ["input", "conv"],
      ...     {"parameters": [0, 832], "multiply-adds": [0, 460_800]},
      ... )
      >>> len(figure.axes)
      3
    """
    count = len(outputs)
    figure, axes = grid(
        1 + len(costs),
        1,
        width=max(4.5, min(7.2, 1.2 + 0.55 * count)),
        height=2.2 + 0.95 * len(costs),
        sharex=True,
        height_ratios=[2.2] + [1] * len(costs),
    )
    colors = dict(zip(dict.fromkeys(kinds), itertools.cycle((GREY, *CYCLE)), strict=False))
    boxes = axes[0, 0]
    largest = max((shape[0] for shape in outputs.values() if len(shape) > 1), default=1)
    widest = max(shape[-1] for shape in outputs.values())
    for x, (shape, kind) in enumerate(zip(outputs.values(), kinds, strict=True)):
        # One row would be no more than a hair.
        height = max(shape[0] if len(shape) > 1 else 1, largest / 50)
        width = 0.08 + 0.8 * np.log(shape[-1]) / np.log(max(widest, 2))
        boxes.add_patch(
            Rectangle((x - width / 2, -height / 2), width, height, color=colors[kind], lw=0)
        )
        boxes.annotate(
            " x ".join(map(str, shape)),
            (x, height / 2),
            (0, 4),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
        )
    boxes.set_xlim(-0.6, count - 0.4)
    boxes.set_ylim(-0.52 * largest, 1.15 * largest)
    boxes.set_yticks([-largest / 2, largest / 2], ["0", str(largest)])
    boxes.spines["left"].set_bounds(-largest / 2, largest / 2)
    boxes.set_ylabel("rows")
    for ax in axes[:, 0]:
        ax.tick_params(axis="x", length=0)
    for ax, (name, numbers) in zip(axes[1:, 0], costs.items(), strict=True):
        seen = [(x, n) for x, n in enumerate(numbers) if n > 0]
        ax.bar(*zip(*seen, strict=True), color=[colors[kinds[x]] for x, _ in seen], width=0.7)
        ax.set_yscale("log")
        # Room for the bar that costs least, and above the one that costs most for its share.
        least, most = min(n for _, n in seen), max(n for _, n in seen)
        ax.set_ylim(least / 4, 4 * most * (most / least) ** 0.25)
        ax.minorticks_off()
        ax.set_title(f"{name}: {sum(numbers):,}")
        x = next(x for x, n in seen if n == most)
        ax.text(x, most, f"{most / sum(numbers):.0%}", ha="center", va="bottom")
    axes[-1, 0].set_xticks(range(count), list(outputs), rotation=90)
    handles = [Patch(color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
