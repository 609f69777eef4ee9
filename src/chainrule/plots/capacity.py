"""Pictures of what hidden units can do: errors against their number, fits, templates of digits."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chainrule.plots.style import (
    BLACK,
    BLUE,
    COLORS,
    CYCLE,
    GREY,
    VERMILLION,
    FigureError,
    grid,
    styled,
)

__all__ = ["Errors", "errors", "fits", "surfaces", "templates"]
__dir__ = __all__.copy

_DASHES = ("-", "--", ":", "-.")  # to tell lines apart where they coincide


class Errors(NamedTuple):
    """The errors of networks of several sizes on one function.

    Attributes:
      title: which function.
      drawn: activation to ``[sizes, seeds]``, with the hidden units as they were drawn.
      trained: the same after training.
      written: ``[sizes]``, of the network that is written down; None where there is none.
      affine: of the best affine function.
    """

    title: str
    drawn: Mapping[str, np.ndarray]
    trained: Mapping[str, np.ndarray]
    written: np.ndarray | None
    affine: float


@styled
def errors(units: Sequence[int], rows: Sequence[Sequence[Errors]]) -> Figure:
    """Draw errors against the number of hidden units, a dot a seed and a line through the medians.

    Args:
      units: the sizes.
      rows: the panels, row by row, all rows of one length.

    Returns:
      The figure.
    """
    columns = len(rows[0])
    figure, axes = grid(
        len(rows), columns, width=7.2, height=2.1 * len(rows) + 0.7, sharex=True, sharey="row"
    )
    for row, panels in zip(axes, rows, strict=True):
        for ax, panel in zip(row, panels, strict=True):
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.axhline(panel.affine, color=GREY, lw=0.9)
            colors = itertools.cycle(CYCLE)
            for (name, trained), color in zip(panel.trained.items(), colors, strict=False):
                drawn = np.median(panel.drawn[name], axis=1)
                ax.plot(units, drawn, "--", color=color, lw=0.9)
                ax.plot(units, np.median(trained, axis=1), color=color)
                ax.plot(units, trained, ".", ms=4, mew=0, alpha=0.6, color=color)
            if panel.written is not None:
                ax.plot(units, panel.written, ":", color=BLACK, lw=1.2)
            ax.set_title(panel.title)
            ax.set_xticks(units, units)
            ax.minorticks_off()
        row[0].set_ylabel("error / standard deviation")
    for ax in axes[-1]:
        ax.set_xlabel("hidden units")
    lines = [
        Line2D([], [], color=color, marker=".", ms=4, mew=0, label=f"{name}, trained")
        for color, name in zip(itertools.cycle(CYCLE), rows[0][0].trained, strict=False)
    ]
    lines += [
        Line2D([], [], color=color, ls="--", lw=0.9, label=f"{name}, drawn")
        for color, name in zip(itertools.cycle(CYCLE), rows[0][0].drawn, strict=False)
    ]
    if any(panel.written is not None for panels in rows for panel in panels):
        lines.append(Line2D([], [], color=BLACK, ls=":", lw=1.2, label="ReLU, written down"))
    lines.append(Line2D([], [], color=GREY, lw=0.9, label="affine: any number"))
    # Down the columns: trained beside drawn.
    figure.legend(handles=lines, loc="outside lower center", ncols=3)
    return figure


@styled
def fits(
    inputs: np.ndarray,
    targets: Mapping[str, np.ndarray],
    outputs: Mapping[str, Mapping[int, np.ndarray]],
) -> Figure:
    """Draw functions on an interval and what networks make of them, a panel a function and a size.

    Args:
      inputs: ``[points]``, in order.
      targets: title of the function to its values, ``[points]``.
      outputs: activation to number of units to outputs, ``[functions, points]``.

    Returns:
      The figure.
    """
    sizes = list(next(iter(outputs.values())))
    figure, axes = grid(
        len(targets),
        len(sizes),
        width=7.2,
        height=1.6 * len(targets) + 0.7,
        sharex=True,
        sharey="row",
    )
    for i, (title, values) in enumerate(targets.items()):
        for ax, size in zip(axes[i], sizes, strict=True):
            ax.plot(inputs, values, color=COLORS["landscape"], lw=3, alpha=0.5)
            for (color, style), found in zip(_looks(), outputs.values(), strict=False):
                ax.plot(inputs, found[size][i], style, color=color, lw=1)
        axes[i, 0].set_ylabel(title)
    for ax, size in zip(axes[0], sizes, strict=True):
        ax.set_title(f"{size} units")
    for ax in axes[-1]:
        ax.set_xlabel("$x$")
    lines = [Line2D([], [], color=COLORS["landscape"], lw=3, alpha=0.5, label="function")]
    for (color, style), name in zip(_looks(), outputs, strict=False):
        lines.append(Line2D([], [], color=color, ls=style, lw=1, label=name))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    return figure


@styled
def surfaces(
    target: np.ndarray, outputs: Mapping[str, Mapping[int, np.ndarray]], *, title: str
) -> Figure:
    """Draw a function on the unit square and what networks make of it, on one scale of colours.

    Args:
      target: ``[side, side]``, its values; the first axis is x, the second y.
      outputs: activation to number of units to outputs, ``[side, side]``.
      title: which function.

    Returns:
      The figure.
    """
    sizes = list(next(iter(outputs.values())))
    figure, axes = grid(
        len(outputs),
        len(sizes) + 1,
        width=7.2,
        height=len(outputs) * 7.2 / (len(sizes) + 2) + 0.7,
        sharex=True,
        sharey=True,
    )
    scale = {"vmin": target.min(), "vmax": target.max(), "cmap": "cividis"}
    for row, (name, found) in zip(axes, outputs.items(), strict=True):
        pictures = {f"{name}, {size} units": values for size, values in found.items()}
        for ax, (words, values) in zip(row, ({title: target} | pictures).items(), strict=True):
            image = ax.imshow(values.T, origin="lower", extent=(0, 1, 0, 1), **scale)
            ax.set_title(words)
            ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
            ax.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        row[0].set_ylabel("$y$")
    for ax in axes[-1]:
        ax.set_xlabel("$x$")
    figure.colorbar(image, ax=axes, label="value", shrink=0.8, extend="both")
    return figure


@styled
def templates(
    kernels: Mapping[str, np.ndarray],
    weights: np.ndarray,
    *,
    shape: tuple[int, int] = (28, 28),
    count: int = 8,
) -> Figure:
    """Draw what the hidden units of a network with one output look for, and what each adds to it.

    The units with the largest output weights, in the order of their size. An image shows the
    weights of a unit on the pixels, red where ink excites it and blue where ink inhibits it; the
    bar below is its weight in the output.

    Args:
      kernels: what is drawn, a row each on a scale of its own, symmetric about 0: title to
        ``[height * width, units]``, for example the hidden kernel, and what training changed in it.
      weights: ``[units]``, of the output.
      shape: height and width in pixels.
      count: how many units to draw; fewer when there are not so many.

    Returns:
      The figure.

    Raises:
      ValueError: the shapes do not fit one another.

    Example:
      >>> kernel = np.arange(24.0).reshape(12, 2)
      >>> figure = templates({"kernel": kernel}, np.array([-1.0, 3.0]), shape=(3, 4))
      >>> [ax.get_title(loc="left") for ax in figure.axes][:2]
      ['unit 1', 'unit 0']
    """
    expected = (shape[0] * shape[1], len(weights))
    wrong = {title: kernel.shape for title, kernel in kernels.items() if kernel.shape != expected}
    if wrong:
        raise FigureError(
            f"with {len(weights)} weights and images of {shape} a kernel is {expected}, not {wrong}"
        )
    chosen = np.argsort(-np.abs(weights), kind="stable")[:count]
    rows = len(kernels)
    figure, axes = grid(
        rows + 1,
        len(chosen),
        width=7.2,
        height=0.95 * rows + 0.55,
        height_ratios=[6] * rows + [1],
    )
    for row, (title, kernel) in zip(axes, kernels.items(), strict=False):
        limit = np.abs(kernel[:, chosen]).max() or 1.0
        for ax, unit in zip(row, chosen, strict=True):
            picture = kernel[:, unit].reshape(shape)
            image = ax.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        figure.colorbar(image, ax=row, aspect=9, label="weight")
        row[0].set_ylabel(title)
    widest = np.abs(weights).max() or 1.0
    for above, ax, unit in zip(axes[0], axes[-1], chosen, strict=True):
        above.set_title(f"unit {unit}", size=7, pad=3)
        ax.barh(0, weights[unit], color=VERMILLION if weights[unit] > 0 else BLUE, height=1)
        ax.axvline(0, color=BLACK, lw=0.6)
        ax.set(xlim=(-widest, widest), ylim=(-0.6, 0.6), xticks=[], yticks=[])
        ax.set_xlabel(f"{weights[unit]:+.2f}".replace("-", "\N{MINUS SIGN}"), size=7)
        ax.spines[:].set_visible(False)
    axes[-1, 0].set_ylabel("output")
    return figure


def _looks() -> Iterator[tuple[str, str]]:
    return zip(itertools.cycle(CYCLE), itertools.cycle(_DASHES), strict=False)
