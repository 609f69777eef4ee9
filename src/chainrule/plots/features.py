"""Pictures of features made by hand: exclusive or, edges, histograms of gradients, error curves."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from chainrule.plots.style import BLACK, COLORS, CYCLE, GREY, grid, styled

__all__ = [
    "convergence",
    "edges",
    "error_by_features",
    "error_by_samples",
    "exclusive_or",
    "histograms",
    "shifts",
]
__dir__ = __all__.copy

_CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
_MARKERS = "osD^v<>"
_SPAN = (-0.35, 1.35)  # of u and v in the picture of exclusive or


@styled
def exclusive_or(weights: np.ndarray) -> Figure:
    r"""Draw why no line separates exclusive or, and how the product of its inputs helps.

    Left, the two classes in the plane: an affine function with the right signs at the corners would
    have them along both diagonals, and these cross. In the middle, the product as height, on the
    surface ``uv``, and the plane that separates the corners there. Right, the sigmoid of that
    linear function seen from above: it is one half where the plane cuts the surface.

    Args:
      weights: ``[4]``, weights of u, v, uv and 1; that of uv not 0.

    Returns:
      The figure.

    Example:
      >>> figure = exclusive_or(np.array([4.0, 4.0, -8.0, -2.0]))
      >>> len(figure.axes)  # three panels and a scale
      4
    """
    figure = Figure(figsize=(7.2, 2.8), layout=ConstrainedLayoutEngine(h_pad=0.08))
    panels: dict[str, Any] = figure.subplot_mosaic(
        [["plane", "lifted", "above"]], per_subplot_kw={"lifted": {"projection": "3d"}}
    )
    plane, lifted, above = panels["plane"], panels["lifted"], panels["above"]
    plane.plot([0, 1], [0, 1], color=COLORS["negative"], lw=2, alpha=0.6)
    plane.plot([0, 1], [1, 0], color=COLORS["positive"], lw=2, alpha=0.6)
    plane.annotate(
        "0 and 1 at once", (0.5, 0.5), (0.5, 1.15), ha="center", arrowprops={"arrowstyle": "->"}
    )
    plane.set_title("no line separates them")
    _lifted(lifted, weights)
    image = _from_above(above, weights)
    figure.colorbar(image, ax=above, label="sigmoid", shrink=0.75)
    for value, marker, color in ((0, "s", COLORS["negative"]), (1, "o", COLORS["positive"])):
        corners = _CORNERS[_CORNERS.sum(axis=1) % 2 == value]
        style = {"ls": "", "marker": marker, "mfc": color, "mec": BLACK, "mew": 0.5, "ms": 7}
        for ax in (plane, above):
            ax.plot(*corners.T, **style, label=f"{value}")
        lifted.plot(*corners.T, corners.prod(axis=1), **style)
    for ax in (plane, above):
        ax.set(xlim=_SPAN, ylim=_SPAN, xticks=(0, 1), yticks=(0, 1), aspect="equal")
        ax.set_xlabel("$u$")
        ax.set_ylabel("$v$")
    figure.legend(*plane.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _lifted(ax: Any, weights: np.ndarray) -> None:
    """Draw the product as height, and the plane on which the linear function is 0."""
    a, b, c, d = weights

    def height(u: Any, v: Any) -> Any:
        return -(a * u + b * v + d) / c

    u, v = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6))
    ax.plot_wireframe(u, v, u * v, color=GREY, lw=0.5)
    ax.plot_surface(u, v, height(u, v), color=COLORS["model"], alpha=0.3)
    for corner in _CORNERS:
        ends = corner.prod(), height(*corner)
        ax.plot(*corner[:, None].repeat(2, axis=1), ends, ":", color=BLACK, lw=1)
    ax.view_init(elev=16, azim=-72)
    ax.set_xlabel("$u$", labelpad=-10)
    ax.set_ylabel("$v$", labelpad=-10)
    ax.set_zlabel("$uv$", labelpad=-10)
    ax.set(xticks=(0, 1), yticks=(0, 1), zticks=(0, 1))
    ax.tick_params(pad=-4)
    ax.set_title("a plane does, with $uv$ as height")


def _from_above(ax: Axes, weights: np.ndarray) -> AxesImage:
    """Draw the sigmoid of the linear function over the plane of the inputs."""
    a, b, c, d = weights
    u, v = np.meshgrid(*[np.linspace(*_SPAN, 201)] * 2)
    probability = 1 / (1 + np.exp(-(a * u + b * v + c * u * v + d)))
    image = ax.imshow(
        probability,
        extent=(*_SPAN, *_SPAN),
        origin="lower",
        cmap="RdBu_r",
        vmin=0,
        vmax=1,
        alpha=0.75,
    )
    ax.contour(u, v, probability, [0.5], colors=BLACK, linewidths=1.2)
    ax.set_title("the plane's sigmoid, from above")
    return image


@styled
def edges(images: np.ndarray, horizontal: np.ndarray, vertical: np.ndarray) -> Figure:
    """Draw images and their two kinds of edges side by side, an image a row.

    Args:
      images: ``[n, height, width]``, black where largest.
      horizontal: the same shape; red where the image grows downwards, blue where it shrinks.
      vertical: the same shape; red where it grows to the right, blue where it shrinks.

    Returns:
      The figure.

    Example:
      >>> len(edges(*np.ones((3, 2, 4, 4))).axes)
      7
    """
    figure, axes = grid(len(images), 3, width=5.6, height=1.7 * len(images) + 0.3)
    limit = max(np.abs(horizontal).max(), np.abs(vertical).max())
    for row, columns in zip(axes, zip(images, horizontal, vertical, strict=True), strict=True):
        row[0].imshow(columns[0], cmap="gray_r")
        for ax, edge in zip(row[1:], columns[1:], strict=True):
            drawn = ax.imshow(edge, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for ax, name in zip(axes[0], ("digit", "horizontal edges", "vertical edges"), strict=True):
        ax.set_title(name)
    figure.colorbar(drawn, ax=axes[:, 1:], label="response, units of the image", shrink=0.8)
    for ax in axes.flat:
        _frame(ax)
    return figure


@styled
def histograms(images: np.ndarray, votes: Mapping[int, np.ndarray]) -> Figure:
    """Draw the histogram of every cell as a star of edges over its image.

    A stroke lies along the edge, across the gradient that voted for it; its length is its share of
    the largest vote of the image.

    Args:
      images: ``[n, height, width]``, black where largest.
      votes: side of a cell in pixels to ``[n, rows, columns, orientations]``; cells that reach
        beyond the image do so equally on both sides.

    Returns:
      The figure, an image a row and a size of cells a column.

    Example:
      >>> figure = histograms(np.ones((1, 28, 28)), {8: np.ones((1, 4, 4, 9))})
      >>> len(figure.axes)
      2
    """
    figure, axes = grid(
        len(images), 1 + len(votes), width=1.9 * (1 + len(votes)), height=1.9 * len(images) + 0.3
    )
    for row, image in zip(axes, images, strict=True):
        row[0].imshow(image, cmap="gray_r")
    axes[0, 0].set_title("digit")
    for column, (side, cells) in zip(axes.T[1:], votes.items(), strict=True):
        column[0].set_title(f"cells of {side} x {side} pixels")
        for ax, image, vote in zip(column, images, cells, strict=True):
            ax.imshow(image, cmap="gray_r", alpha=0.25)
            rows, columns, orientations = vote.shape
            first = [(s - n * side) / 2 for s, n in zip(image.shape, (rows, columns), strict=True)]
            y = (first[0] + (np.arange(rows) + 0.5) * side - 0.5)[:, None, None]
            x = (first[1] + (np.arange(columns) + 0.5) * side - 0.5)[None, :, None]
            angle = (np.arange(orientations) + 0.5) * np.pi / orientations
            reach = 0.5 * side * vote / (vote.max() or 1)
            across = np.stack([-np.sin(angle) * reach, np.cos(angle) * reach], axis=-1)
            middle = np.stack(np.broadcast_arrays(x, y, reach)[:2], axis=-1)
            strokes = np.stack([middle - across, middle + across], axis=-2).reshape(-1, 2, 2)
            ax.add_collection(LineCollection(list(strokes), color=COLORS["value"], lw=0.8))
            ax.set_xlim(first[1] - 0.5, image.shape[1] - first[1] - 0.5)
            ax.set_ylim(image.shape[0] - first[0] - 0.5, first[0] - 0.5)
    for ax in axes.flat:
        _frame(ax)
    return figure


@styled
def error_by_features(
    features: np.ndarray,
    errors: Mapping[str, np.ndarray],
    *,
    colors: Sequence[str] = CYCLE,
    floor: tuple[str, float] | None = None,
) -> Figure:
    """Draw errors against the number of features: a line through the means, a dot a seed.

    Args:
      features: ``[counts]``, how many.
      errors: name to ``[seeds, counts]`` errors, fractions.
      colors: of the names, in order and then again.
      floor: an error to compare with, and its name.

    Returns:
      The figure.

    Example:
      >>> found = {"test": np.array([[0.06, 0.03]])}
      >>> figure = error_by_features(np.array([784, 1784]), found, floor=("always no", 0.0974))
      >>> len(figure.axes[0].lines)
      3
    """
    figure, axes = grid(width=4.8, height=3.0)
    ax = axes[0, 0]
    _error_curves(ax, features, errors, colors)
    ax.set_xscale("log")
    ax.set_xticks(features, [f"{n:,}" for n in features])
    ax.xaxis.set_minor_locator(NullLocator())
    if floor is not None:
        name, error = floor
        ax.axhline(100 * error, color=COLORS["reference"], lw=0.9, ls="--")
        ax.text(features[-1], 100 * error, f"{name}: {100 * error:.2f} %", ha="right", va="bottom")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("number of features")
    ax.legend()
    return figure


@styled
def error_by_samples(samples: np.ndarray, errors: Mapping[str, np.ndarray]) -> Figure:
    """Draw errors against the number of training samples, both logarithmic.

    Args:
      samples: ``[sizes]``, how many.
      errors: name to ``[seeds, sizes]`` errors, fractions.

    Returns:
      The figure.

    Example:
      >>> figure = error_by_samples(np.array([100, 1000]), {"pixels": np.array([[0.3, 0.1]])})
      >>> figure.axes[0].get_ylabel()
      'error, %'
    """
    figure, axes = grid(width=4.8, height=3.0)
    ax = axes[0, 0]
    _error_curves(ax, samples, errors, CYCLE)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(samples, [f"{n:,}" for n in samples], rotation=30)
    ax.xaxis.set_minor_locator(NullLocator())
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50) if ax.get_ylim()[0] <= t <= ax.get_ylim()[1]]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("training samples")
    ax.legend()
    return figure


@styled
def shifts(
    pixels: np.ndarray, distances: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray]
) -> Figure:
    """Draw how far features move, and how a predictor fares, when its images are shifted.

    Args:
      pixels: ``[shifts]``, by how many.
      distances: name to ``[shifts]``, in units of the distance between two different images.
      errors: name to ``[shifts]`` errors, fractions.

    Returns:
      The figure.

    Example:
      >>> len(shifts(np.arange(2), {"pixels": np.zeros(2)}, {"pixels": np.zeros(2)}).axes)
      2
    """
    figure, axes = grid(1, 2, width=7.0, height=2.9)
    left, right = axes[0]
    looks = zip(itertools.cycle(CYCLE), itertools.cycle(_MARKERS), strict=False)
    for (color, marker), (name, distance) in zip(looks, distances.items(), strict=False):
        left.plot(pixels, distance, color=color, marker=marker, ms=4, label=name)
        right.plot(pixels, 100 * errors[name], color=color, marker=marker, ms=4, label=name)
    left.axhline(1, color=COLORS["reference"], lw=0.9, ls="--")
    left.text(pixels[0], 1, "another digit", va="bottom")
    left.set_ylabel("distance moved / between two digits")
    right.set_ylabel("error, %")
    for ax in (left, right):
        ax.set_xticks(pixels)
        ax.set_xlabel("shift, pixels")
        ax.set_ylim(bottom=0)
    left.legend()
    return figure


@styled
def convergence(excess: Mapping[str, np.ndarray]) -> Figure:
    """Draw how far above its minimum a loss is at each step.

    Args:
      excess: name to ``[steps + 1]``, the loss less its minimum, over the minimum; what is not
        positive is left out.

    Returns:
      The figure.

    Example:
      >>> figure = convergence({"descent": np.array([1.0, 0.1, 0.0])})
      >>> figure.axes[0].lines[0].get_ydata()
      array([1. , 0.1, nan])
    """
    figure, axes = grid(width=4.8, height=3.0)
    ax = axes[0, 0]
    for color, (name, values) in zip(itertools.cycle(CYCLE), excess.items(), strict=False):
        ax.plot(np.where(values > 0, values, np.nan), color=color, label=name)
    ax.set_yscale("log")
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(left=0)
    ax.set_xlabel("step")
    ax.set_ylabel("loss above the closed form, relative")
    ax.legend()
    return figure


def _error_curves(
    ax: Axes, numbers: np.ndarray, errors: Mapping[str, np.ndarray], colors: Sequence[str]
) -> None:
    looks = zip(itertools.cycle(colors), itertools.cycle(_MARKERS), strict=False)
    for (color, marker), (name, values) in zip(looks, errors.items(), strict=False):
        ax.plot(numbers, 100 * values.mean(axis=0), "-", color=color)
        dots = np.broadcast_to(numbers, values.shape)
        style: dict[str, Any] = {"color": color, "ms": 4, "mew": 0, "alpha": 0.7}
        ax.plot(dots.ravel(), 100 * values.ravel(), marker, **style, label=name)
    ax.set_ylabel("error, %")


def _frame(ax: Axes) -> None:
    ax.set(xticks=(), yticks=())
    ax.spines[["top", "right"]].set_visible(True)
