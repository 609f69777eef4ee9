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
      costs: what is counted to its number for each of them; drawn is each one's share of the sum,
        with its number from half a per cent on.

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
        shares = 100 * np.asarray(numbers) / (sum(numbers) or 1)
        bars = ax.bar(range(count), shares, color=[colors[kind] for kind in kinds], width=0.7)
        ax.bar_label(bars, [f"{share:.0f} %" if share >= 0.5 else "" for share in shares], size=7)
        top = 1.3 * max(shares.max(), 1)
        ax.set(ylim=(0, top), yticks=[], title=f"{name}: {sum(numbers):,}")
        ax.spines["left"].set_visible(False)  # the numbers stand at the bars
    axes[-1, 0].set_xticks(range(count), list(outputs), rotation=90)
    handles = [Patch(color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure
