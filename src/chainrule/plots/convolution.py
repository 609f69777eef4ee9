"""Pictures of convolutions: what filters make of an image, what an output sees, what is learned."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chainrule.plots.style import CYCLE, VERMILLION, grid, styled

__all__ = ["activations", "fields", "filtered", "kernels", "spread"]
__dir__ = __all__.copy

_SIGNED: dict[str, Any] = {"cmap": "RdBu_r"}  # as in `chainrule.plots.features`


@styled
def filtered(
    image: np.ndarray, kernels: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> Figure:
    """Draw kernels with their weights, and below each what it makes of an image.

    Args:
      image: ``[height, width]``, black where largest.
      kernels: name to ``[h, w]``.
      outputs: the same names to ``[height, width]``; drawn with their sign, red or blue, where the
        weights add up to 0, else like the image.

    Returns:
      The figure.

    Example:
      >>> figure = filtered(np.ones((9, 9)), {"same": np.ones((1, 1))}, {"same": np.ones((9, 9))})
      >>> [ax.get_title("left") for ax in figure.axes]
      ['', 'same', 'image', '']
    """
    count = 1 + len(kernels)
    figure, axes = grid(2, count, width=1.25 * count, height=2.75, height_ratios=[1, 1])
    axes[0, 0].axis("off")
    axes[1, 0].set_title("image")
    axes[1, 0].imshow(image, cmap="gray_r", vmin=0, vmax=image.max())
    signed = [name for name, kernel in kernels.items() if abs(kernel.sum()) < 1e-6]
    limit = max((np.abs(outputs[name]).max() for name in signed), default=1)
    for column, (name, kernel) in zip(axes.T[1:], kernels.items(), strict=True):
        column[0].set_title(name)
        _weights(column[0], kernel)
        if name in signed:
            column[1].imshow(outputs[name], vmin=-limit, vmax=limit, **_SIGNED)
        else:
            column[1].imshow(outputs[name], cmap="gray_r", vmin=0, vmax=image.max())
    for ax in axes.flat:
        _frame(ax)
    return figure


def _weights(ax: Axes, kernel: np.ndarray) -> None:
    limit = np.abs(kernel).max()
    ax.imshow(kernel, vmin=-1.5 * limit, vmax=1.5 * limit, **_SIGNED)
    # Fractions of one denominator, which the numbers would hide.
    share = next(
        n for n in (1, 2, 4, 8, 9, 16, 25, 0) if np.allclose(kernel * n, np.rint(kernel * n))
    )
    if share and len(kernel) <= 3:
        for (row, column), weight in np.ndenumerate(np.rint(kernel * share).astype(int)):
            ax.text(column, row, f"{weight}", ha="center", va="center", size=7)
    if share > 1:
        ax.set_xlabel(f"/ {share}")


@styled
def fields(
    gradients: Mapping[str, np.ndarray],
    boxes: Mapping[str, tuple[tuple[int, int], tuple[int, int]]],
) -> Figure:
    """Draw the gradient of one output with respect to the image, and the field that it can see.

    Args:
      gradients: name of a layer to ``[height, width]``, how large the gradient is at every pixel.
      boxes: the same names to ``((top, left), (rows, columns))`` of the field, which may reach
        beyond the image.

    Returns:
      The figure.

    Example:
      >>> figure = fields({"conv": np.eye(9)}, {"conv": ((3, 3), (3, 3))})
      >>> figure.axes[0].get_title("left")
      'conv: 3 x 3'
    """
    count = len(gradients)
    figure, axes = grid(1, count, width=1.45 * count + 0.5, height=2.0)
    for ax, (name, gradient) in zip(axes[0], gradients.items(), strict=True):
        drawn = ax.imshow(gradient / gradient.max(), cmap="gray_r", vmin=0, vmax=1)
        (top, left), (rows, columns) = boxes[name]
        ax.add_patch(
            Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, color=VERMILLION, lw=1.2)
        )
        height, width = gradient.shape
        ax.set(xlim=(-1.5, width + 0.5), ylim=(height + 0.5, -1.5))
        ax.set_title(f"{name}: {rows} x {columns}")
        _frame(ax)
    figure.colorbar(drawn, ax=axes[0], label="|gradient| / largest", shrink=0.75, pad=0.01)
    return figure


@styled
def spread(
    layers: np.ndarray, extents: Mapping[str, np.ndarray], deviations: Mapping[str, np.ndarray]
) -> Figure:
    """Draw how far an output sees, and how far its gradient lies around the middle, by depth.

    Args:
      layers: ``[depths]``, how many convolutions.
      extents: name to ``[depths]``, the side of the field.
      deviations: name to ``[depths]``, the standard deviation of the gradient along an axis.

    Returns:
      The figure.

    Example:
      >>> len(spread(np.arange(3), {"all": np.arange(3)}, {"some": np.arange(3)}).axes[0].lines)
      2
    """
    figure, axes = grid(width=5.2, height=3.2)
    ax = axes[0, 0]
    colors = itertools.cycle(CYCLE)
    for (name, values), color in zip(extents.items(), colors, strict=False):
        ax.plot(layers, values, "-o", ms=3.5, color=color, label=name)
    for (name, values), color in zip(deviations.items(), colors, strict=False):
        ax.plot(layers, values, "-s", ms=3.5, color=color, label=name)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("convolutions of 3 x 3")
    ax.set_ylabel("pixels")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def kernels(layers: Mapping[str, np.ndarray], *, columns: int = 8) -> Figure:
    """Draw the filters of a layer that sees one channel or three, before and after training say.

    Args:
      layers: name to kernels ``[h, w, features]``, where white is 0, red positive and blue
        negative; or ``[h, w, 3, features]`` of a layer that sees colours, drawn in them, where a
        medium grey is 0. Each filter has a scale of its own.
      columns: how many stand in a row.

    Returns:
      The figure.

    Raises:
      ValueError: kernels have other axes, or neither one channel nor three.

    Example:
      >>> len(kernels({"drawn": np.ones((5, 5, 8)), "in colour": np.ones((3, 3, 3, 8))}).axes)
      2
    """
    tables = {name: _filters(name, kernel) for name, kernel in layers.items()}
    figure, axes = grid(1, len(layers), width=3.4 * len(layers), height=2.1)
    for ax, (name, kernel) in zip(axes[0], tables.items(), strict=True):
        # A filter of zeros has no scale.
        largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
        scaled = kernel / np.where(largest == 0, 1, largest)
        if kernel.ndim == 3:
            ax.imshow(_mosaic(scaled, columns), vmin=-1, vmax=1, **_SIGNED)
        else:
            colours = [_mosaic((1 + scaled[:, :, c]) / 2, columns) for c in range(3)]
            # Between the filters there is nothing: the white of the page.
            ax.imshow(np.nan_to_num(np.stack(colours, axis=-1), nan=1.0))
        ax.set_title(name)
        _bare(ax)
    return figure


@styled
def activations(
    image: np.ndarray, layers: Mapping[str, np.ndarray], *, columns: int = 16
) -> Figure:
    """Draw what the channels of each layer make of an image.

    Args:
      image: ``[height, width]``, black where largest.
      layers: name to ``[rows, columns, channels]``; white is 0, red positive, blue negative, all
        channels of a layer on one scale.
      columns: how many channels stand in a row.

    Returns:
      The figure.

    Example:
      >>> len(activations(np.ones((28, 28)), {"conv1": np.ones((24, 24, 32))}).axes)
      2
    """
    mosaics = {name: _mosaic(maps, columns) for name, maps in layers.items()}
    heights = [6.2 * len(mosaic) / len(mosaic[0]) for mosaic in mosaics.values()]
    figure, axes = grid(
        1 + len(layers), 1, width=6.4, height=1.5 + sum(heights), height_ratios=[1.1, *heights]
    )
    axes[0, 0].imshow(image, cmap="gray_r")
    axes[0, 0].set_title("image")
    _bare(axes[0, 0])
    for ax, (name, mosaic) in zip(axes[1:, 0], mosaics.items(), strict=True):
        limit = np.nanmax(np.abs(mosaic))
        ax.imshow(mosaic, vmin=-limit, vmax=limit, **_SIGNED)
        rows, across, channels = layers[name].shape
        ax.set_title(f"{name}: {rows} x {across} x {channels}")
        _bare(ax)
        ax.axvspan(  # no channels, no gaps between them
            min(channels, columns) * (across + 1) - 1.5, mosaic.shape[1] - 0.5, color="white", lw=0
        )
    return figure


def _filters(name: str, kernel: np.ndarray) -> np.ndarray:
    """Return kernels as ``[h, w, features]``, or as ``[h, w, 3, features]`` of colours."""
    if kernel.ndim == 4 and kernel.shape[2] == 1:
        return kernel[:, :, 0]
    if kernel.ndim == 3 or (kernel.ndim == 4 and kernel.shape[2] == 3):
        return kernel
    raise ValueError(
        f"kernels: {name!r} has shape {kernel.shape}: expected [h, w, features], or with an axis "
        "of one channel or of three colours before the features"
    )


def _mosaic(maps: np.ndarray, columns: int) -> np.ndarray:
    """Lay ``[h, w, n]`` side by side with a pixel of nothing between them."""
    height, width, count = maps.shape
    rows = -(-count // columns)
    mosaic = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for index in range(count):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        mosaic[top : top + height, left : left + width] = maps[:, :, index]
    return mosaic


def _bare(ax: Axes) -> None:
    ax.set(xticks=(), yticks=(), facecolor="#d9d9d9")
    ax.spines[:].set_visible(False)


def _frame(ax: Axes) -> None:
    ax.set(xticks=(), yticks=())
    ax.spines[["top", "right"]].set_visible(True)
