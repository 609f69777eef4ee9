"""Pictures of a window that slides: what each output reads of the inputs, and with which weight."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from chainrule.plots._player import played
from chainrule.plots.style import BLACK, GREY, grid, styled

__all__ = ["Slide", "animation", "positions"]
__dir__ = __all__.copy

_MOST_FRAMES = 400
_NARROWEST = 8  # columns that a title fits over
_MOST_DIGITS = 144  # cells of a panel beyond which no numbers fit


class Slide(NamedTuple):
    """An operator on one sample, ready to be drawn.

    Any operator with one axis of space or two, of any settings: what it reads is found by the
    gradient, as ``jax.jacobian(operator)(inputs)``, and not by a formula. To see the padding read,
    put it around the inputs before.

    Attributes:
      inputs: ``[*space, channels]``.
      outputs: ``[*outputs, features]``.
      weights: ``[*outputs, features, *space, channels]``, the derivative of each output with
        respect to each input: of a convolution the weights of its kernel, of a maximum 1 where it
        was found.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    weights: np.ndarray


@styled
def positions(
    slides: Mapping[str, Slide], at: Mapping[str, tuple[int, ...]] | None = None
) -> Figure:
    """Draw one position of several windows, each in rows of its own: what one output reads.

    Args:
      slides: the operators by name.
      at: the output that is shown of each, ``(*position, feature)``; of the others the first
        feature in the middle.

    Returns:
      The figure: red where the weight is positive, blue where it is negative.

    Raises:
      ValueError: the arrays of one do not fit each other, or it has no output there.

    Example:
      >>> x = np.arange(4.0)[:, None]
      >>> double = Slide(x, 2 * x, 2 * np.eye(4).reshape(4, 1, 4, 1))
      >>> [ax.get_title("left") for ax in positions({"double": double}).axes]
      ['double: inputs, 4', 'outputs, 4']
    """
    planes = {name: _plane(name, slide) for name, slide in slides.items()}
    figure, axes = _grid(list(planes.values()))
    first = 0
    for name, one in planes.items():
        rows = axes[first : first + _rows(one)]
        first += len(rows)
        _draw(rows, one, _chosen(name, slides[name], (at or {}).get(name)), None, f"{name}: ")
    _same_cells(axes)
    return figure


@styled
def animation(slide: Slide, title: str) -> str:
    """Return a page that plays every position of the window, one output after the other.

    Args:
      slide: the operator.
      title: what it is.

    Returns:
      A self-contained HTML page with controls.

    Raises:
      ValueError: its arrays do not fit each other, or there are more than 400 outputs.
    """
    one = _plane(title, slide)
    places = [*np.ndindex(one.outputs.shape)]
    if len(places) > _MOST_FRAMES:
        raise ValueError(
            f"{title}: {len(places)} outputs {slide.outputs.shape}, more than {_MOST_FRAMES}: "
            "play a smaller one"
        )
    figure, axes = _grid([one])

    def draw(frame: int) -> list[Any]:
        for ax in axes.flat:
            ax.clear()
        _draw(axes, one, places[frame], frame, "")
        _same_cells(axes)
        return []

    return played(figure, draw, len(places), title)


def _plane(name: str, slide: Slide) -> Slide:
    """Return a slide with two axes of space, the first of length 1 if it has one."""
    inputs, outputs, weights = (np.asarray(array) for array in slide)
    axes = inputs.ndim - 1
    if axes not in (1, 2) or outputs.ndim != inputs.ndim:
        raise ValueError(
            f"{name}: inputs {inputs.shape} and outputs {outputs.shape}: they must be [*space, "
            "channels] with one axis of space or two, of one sample"
        )
    if weights.shape != outputs.shape + inputs.shape:
        raise ValueError(
            f"{name}: weights {weights.shape}: they must be {outputs.shape + inputs.shape}, as "
            "jax.jacobian of the operator gives them"
        )
    if axes == 1:
        return Slide(inputs[None], outputs[None], weights[None, :, :, None])
    return Slide(inputs, outputs, weights)


def _chosen(name: str, slide: Slide, at: tuple[int, ...] | None) -> tuple[int, ...]:
    *space, features = np.shape(slide.outputs)
    place = (*(n // 2 for n in space), 0) if at is None else tuple(at)
    if len(place) != len(space) + 1 or not all(
        0 <= i < n for i, n in zip(place, (*space, features), strict=True)
    ):
        raise ValueError(f"{name}: no output {place} among {np.shape(slide.outputs)}")
    return (0,) * (2 - len(space)) + place


def _rows(one: Slide) -> int:
    return max(one.inputs.shape[2], one.outputs.shape[2])


def _grid(planes: list[Slide]) -> tuple[Figure, np.ndarray]:
    """Return two columns of panels: on the left the channels, on the right the features."""
    heights = [
        max(one.inputs.shape[0], one.outputs.shape[0]) + 1.4
        for one in planes
        for _ in range(_rows(one))
    ]
    widths = [max(_NARROWEST, *(one[side].shape[1] for one in planes)) for side in (0, 1)]
    return grid(
        len(heights),
        2,
        width=0.3 * (sum(widths) + 2),
        height=0.3 * sum(heights) + 0.2,
        height_ratios=heights,
        width_ratios=widths,
    )


def _draw(
    axes: np.ndarray, one: Slide, place: tuple[int, ...], done: int | None, name: str
) -> None:
    """Draw what one output reads; of the outputs those up to a number, None for all."""
    reads = one.weights[place]
    limit = np.abs(one.weights).max() or 1.0
    for row, (left, right) in enumerate(axes):
        if row < one.inputs.shape[2]:
            of = f", channel {row}" * (one.inputs.shape[2] > 1)
            _cells(left, one.inputs[:, :, row], reads[:, :, row] / limit)
            left.set_title(f"{name * (row == 0)}inputs, {_size(one.inputs)}{of}")
        else:
            left.set_axis_off()
        if row < one.outputs.shape[2]:
            of = f", feature {row}" * (one.outputs.shape[2] > 1)
            shown = np.arange(one.outputs.size).reshape(one.outputs.shape)[:, :, row]
            values = one.outputs[:, :, row]
            values = values if done is None else np.where(shown <= done, values, np.nan)
            _cells(right, values, np.zeros(values.shape))
            right.set_title(f"outputs, {_size(one.outputs)}{of}")
            if row == place[2]:
                corner = (place[1] - 0.5, place[0] - 0.5)
                right.add_patch(Rectangle(corner, 1, 1, fill=False, ec=BLACK, lw=2, zorder=3))
        else:
            right.set_axis_off()


def _same_cells(axes: np.ndarray) -> None:
    """Give all panels of a column the room of the widest, and those of a row of the highest."""
    for pair in axes:
        low = max(ax.get_ylim()[0] for ax in pair if ax.axison)
        for ax, column in zip(pair, axes.T, strict=True):
            ax.set_xlim(-0.5, max(other.get_xlim()[1] for other in column if other.axison))
            ax.set_ylim(low, -0.5)
            ax.set_anchor("NW")


def _size(array: np.ndarray) -> str:
    return " x ".join(str(n) for n in array.shape[:2] if n > 1 or array.shape[0] > 1)


def _cells(ax: Axes, values: np.ndarray, weights: np.ndarray) -> None:
    """Draw numbers in cells, coloured by their weight; what is not read stays white."""
    ax.imshow(weights, cmap="RdBu_r", vmin=-1.6, vmax=1.6)
    height, width = values.shape
    ax.set(xticks=np.arange(width), yticks=np.arange(height))
    ax.hlines(np.arange(height + 1) - 0.5, -0.5, width - 0.5, color=GREY, lw=0.4)
    ax.vlines(np.arange(width + 1) - 0.5, -0.5, height - 0.5, color=GREY, lw=0.4)
    ax.tick_params(length=0, labelsize=6, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    if values.size <= _MOST_DIGITS:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                ax.text(column, row, f"{value:.3g}", ha="center", va="center", size=6)
