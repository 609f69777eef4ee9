"""Pictures of how a classifier learns and what it confuses."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from chainrule.plots.style import COLORS, CYCLE, GREY, VERMILLION, grid, styled

__all__ = ["confusion", "learning", "mistakes"]
__dir__ = __all__.copy

_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # of an axis of errors, in %


@styled
def learning(
    epochs: np.ndarray,
    errors: Mapping[str, np.ndarray],
    *,
    colors: Sequence[str] = CYCLE,
    targets: Mapping[str, float] | None = None,
) -> Figure:
    """Draw errors against epochs: a thin line a seed, a thick one through the means.

    Args:
      epochs: ``[epochs]``, how many were done.
      errors: name to ``[seeds, epochs]`` errors, fractions above 0.
      colors: of the names, in order and then again.
      targets: errors to compare with, by name.

    Returns:
      The figure.

    Example:
      >>> figure = learning(np.array([1, 2]), {"test": np.array([[0.02, 0.01]])})
      >>> figure.axes[0].get_ylabel()
      'error, %'
    """
    figure, axes = grid(width=4.8, height=3.0)
    ax = axes[0, 0]
    marker = "o" if len(epochs) == 1 else "none"  # one point has no line
    for color, (name, values) in zip(itertools.cycle(colors), errors.items(), strict=False):
        ax.plot(epochs, 100 * values.T, color=color, lw=0.6, alpha=0.6, marker=marker, ms=3)
        mean = 100 * values.mean(axis=0)
        ax.plot(epochs, mean, color=color, lw=1.8, marker=marker, label=name)
    for name, error in (targets or {}).items():
        ax.axhline(100 * error, color=COLORS["reference"], lw=0.9, ls="--")
        ax.text(epochs[-1], 100 * error, name, ha="right", va="bottom")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    low = max((tick for tick in _TICKS if tick <= low), default=low)  # a label at both ends
    high = min((tick for tick in _TICKS if tick >= high), default=high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_ylim(low, high)
    ax.minorticks_off()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("epochs")
    ax.set_ylabel("error, %")
    ax.legend()
    return figure


@styled
def confusion(counts: np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """Draw how many samples of each class were taken for which, the mistakes in colour.

    Args:
      counts: ``[classes, classes]``, a row a true class and a column a predicted one.
      names: of the classes; their numbers unless given.

    Returns:
      The figure.

    Example:
      >>> figure = confusion(np.array([[97, 3], [1, 99]]))
      >>> [text.get_text() for text in figure.axes[0].texts]
      ['97', '3', '1', '99']
    """
    classes = len(counts)
    names = [str(index) for index in range(classes)] if names is None else names
    side = 1.2 + 0.38 * classes
    figure, axes = grid(width=side, height=side)
    ax = axes[0, 0]
    mistakes = np.where(np.eye(classes, dtype=bool), np.nan, counts)
    most = max(np.nanmax(mistakes), 1)
    ax.imshow(mistakes, cmap="Oranges", vmin=0, vmax=1.2 * most)
    for row, column in np.ndindex(*counts.shape):
        right, number = row == column, counts[row, column]
        if right or number:
            ax.text(
                column,
                row,
                f"{number}",
                ha="center",
                va="center",
                color=GREY if right else "black",
                size=7 if right else 8,
            )
    ax.set_xticks(range(classes), names)
    ax.set_yticks(range(classes), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("taken for")
    ax.set_ylabel("is")
    total, wrong = counts.sum(), counts.sum() - np.trace(counts)
    ax.set_title(f"{wrong:,} mistakes in {total:,}: {wrong / total:.2%}")
    return figure


@styled
def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    probabilities: np.ndarray,
    *,
    columns: int = 8,
) -> Figure:
    r"""Draw samples that were taken for something else.

    Args:
      images: ``[n, height, width]``, black where largest.
      labels: ``[n]``, what they are.
      predictions: ``[n]``, what they were taken for.
      probabilities: ``[n]``, of that.
      columns: how many stand in a row.

    Returns:
      The figure.

    Example:
      >>> figure = mistakes(np.ones((1, 28, 28)), np.array([4]), np.array([9]), np.array([0.9]))
      >>> figure.axes[0].get_title()
      '4 taken for 9\n90 %'
    """
    rows = -(-len(images) // columns)
    figure, axes = grid(rows, columns, width=0.95 * columns, height=1.3 * rows)
    for ax in axes.flat:
        ax.axis("off")
    shown = zip(images, labels, predictions, probabilities, strict=True)
    for ax, (image, label, taken, probability) in zip(axes.flat, shown, strict=False):
        ax.imshow(image, cmap="gray_r")
        title = f"{label} taken for {taken}\n{probability:.0%}".replace("%", " %")
        ax.set_title(title, loc="center", size=7, color=VERMILLION)
    return figure
