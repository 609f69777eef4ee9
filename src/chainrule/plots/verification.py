"""Pictures of verification: error rates, embeddings in the plane, the shares of the branches."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from chainrule.plots.style import COLORS, CYCLE, grid, styled

__all__ = ["error_rates", "plane", "shares"]
__dir__ = __all__.copy


@styled
def error_rates(panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Draw false rejects against false accepts, a panel a task and a line a method.

    Args:
      panels: title to method to (false accept rates, true accept rates).

    Returns:
      The figure; on the dotted diagonal the two rates are equal.
    """
    figure, axes = grid(1, len(panels), width=7.2, height=3.5)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for i, (name, (false, true)) in enumerate(curves.items()):
            style = ("-", "--", ":", "-.")[i % 4]
            ax.plot(false, 1 - true, style, color=CYCLE[i % len(CYCLE)], label=name)
        # A decade or two below the best rate at which both are equal.
        best = min(np.maximum(false, 1 - true).min() for false, true in curves.values())
        ends = [10 ** np.floor(np.log10(max(best, 1e-3)) - 1), 1]
        ax.plot(ends, ends, ":", color=COLORS["landscape"], lw=0.8)
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=title)
        ax.set(xlabel="false accepts", ylabel="false rejects")
        ax.legend(loc="lower left")
    return figure


@styled
def plane(points: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw embeddings in the plane, each class with its name at its middle.

    Args:
      points: ``[N, 2]``.
      labels: ``[N]``.

    Returns:
      The figure.
    """
    figure, axes = grid(1, 1, width=5.0, height=4.6)
    ax = axes[0, 0]
    for i, label in enumerate(np.unique(labels)):
        here = points[labels == label]
        color = CYCLE[i % len(CYCLE)]
        marker = ("o", "^", "s")[i // len(CYCLE) % 3]
        ax.plot(*here.T, marker, ms=2, mew=0, alpha=0.35, color=color)
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": color, "lw": 1}
        ax.text(*np.median(here, axis=0), str(label), ha="center", va="center", bbox=box)
    ax.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
    return figure


@styled
def shares(
    images: Mapping[str, np.ndarray], shares: Mapping[str, np.ndarray], total: np.ndarray
) -> Figure:
    """Draw what each branch adds to the gradient of shared kernels, and the sum.

    Args:
      images: branch to its image, ``[height, width]``.
      shares: branch to gradient, ``[h, w, kernels]``.
      total: their sum, ``[h, w, kernels]``.

    Returns:
      The figure, a row a branch and one for the sum, on one scale of colours.
    """
    rows = {**shares, "sum": total}
    limit = max(np.abs(row).max() for row in rows.values()) or 1.0
    figure, axes = grid(len(rows), total.shape[-1] + 1, width=7.2, height=1.15 * len(rows))
    for row, (name, kernels) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name)
        if name in images:
            row[0].imshow(images[name], cmap="Greys")
        else:
            row[0].text(0.5, 0.5, "+", size=20, ha="center", va="center")
            row[0].set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        for k in range(total.shape[-1]):
            picture = row[k + 1].imshow(kernels[..., k], cmap="RdBu_r", vmin=-limit, vmax=limit)
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    for k, ax in enumerate(axes[0, 1:]):
        ax.set_title(f"kernel {k}")
    figure.colorbar(picture, ax=axes, label="gradient", shrink=0.8)
    return figure
