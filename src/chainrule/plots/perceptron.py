"""Pictures of the perceptron: its weights as an image, and its line after every change."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from chainrule.plots.style import BLACK, COLORS, GREY, FigureError, grid, styled

__all__ = ["changes", "weight_images"]
__dir__ = __all__.copy

_CLASSES = (
    (1, "o", COLORS["positive"], "$y = +1$"),
    (-1, "s", COLORS["negative"], "$y = -1$"),
)


@styled
def weight_images(weights: Mapping[str, np.ndarray], shape: tuple[int, int] = (28, 28)) -> Figure:
    """Draw weight vectors as images: red adds to the score, blue takes from it.

    Each image has its own scale, symmetric around zero.

    Args:
      weights: name to ``[height * width]``, one weight a pixel, row by row, without a bias.
      shape: height and width in pixels.

    Returns:
      The figure.

    Raises:
      ValueError: a vector has another length than the image has pixels.

    Example:
      >>> figure = weight_images({"last": np.arange(-6, 6)}, shape=(3, 4))
      >>> figure.axes[0].get_title(loc="left")
      'last'
    """
    figure, axes = grid(1, len(weights), width=3.4 * len(weights), height=2.9)
    for ax, (name, w) in zip(axes[0], weights.items(), strict=True):
        if w.shape != (shape[0] * shape[1],):
            raise FigureError(
                f"an image of shape {shape} has {shape[0] * shape[1]} weights, got shape {w.shape} "
                f"for {name!r}: leave the bias out"
            )
        limit = np.abs(w).max() or 1.0
        image = ax.imshow(w.reshape(shape), cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(image, ax=ax, label="weight", shrink=0.85)
        ax.set_title(name)
        ax.set_xlabel("column, pixels")
        ax.set_ylabel("row, pixels")
        ax.spines[["top", "right"]].set_visible(True)
    return figure


@styled
def changes(
    inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, columns: int = 4
) -> Figure:
    """Draw a two-dimensional set with the line ``w . x (+ b) = 0`` after every change.

    A panel a change: the example that was on the wrong side is circled, the line before the change
    is dashed, and the side where the class is +1 is shaded.

    Args:
      inputs: ``[N, 2]``.
      targets: -1 or +1, ``[N]``.
      weights: ``[steps, 2]``, or ``[steps, 3]`` with the bias last, the start included, as from
        `chainrule.models.perceptron.path`; steps that change nothing are left out.
      columns: panels in a row.

    Returns:
      The figure.

    Raises:
      ValueError: inputs or weights of another width, or weights that never change.

    Example:
      >>> inputs, targets = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1, -1])
      >>> figure = changes(inputs, targets, np.array([[0.0, 0.0], [2.0, 1.0], [1.0, -2.0]]))
      >>> len([ax for ax in figure.axes if ax.axison])
      2
    """
    if inputs.shape[1:] != (2,) or weights.shape[1:] not in ((2,), (3,)):
        raise FigureError(
            "inputs must be [N, 2] and weights [steps, 2] or [steps, 3], "
            f"got {inputs.shape} and {weights.shape}"
        )
    steps = np.flatnonzero((np.diff(weights, axis=0) != 0).any(axis=1)) + 1
    if not len(steps):
        raise FigureError(f"the weights never change: all {len(weights)} rows are {weights[0]}")
    columns = min(columns, len(steps))
    rows = -(-len(steps) // columns)
    figure, axes = grid(
        rows,
        columns,
        width=1.75 * columns + 0.4,
        height=1.75 * rows + 0.6,
        sharex=True,
        sharey=True,
    )
    span = np.ptp(inputs, axis=0).max() or 1.0
    low, high = inputs.min(axis=0) - 0.2 * span, inputs.max(axis=0) + 0.2 * span
    examples = np.hstack([inputs, np.ones((len(inputs), weights.shape[1] - 2))])

    for k, ax in enumerate(axes.flat):
        if k >= len(steps):
            ax.set_axis_off()
            continue
        before, after = weights[steps[k] - 1], weights[steps[k]]
        for sign, marker, color, label in _CLASSES:
            chosen = inputs[targets == sign]
            ax.plot(*chosen.T, marker, ms=4, color=color, mew=0, label=label)
        # The change is y x: its example is the one that explains it.
        wrong = np.abs(targets[:, None] * examples - (after - before)).sum(axis=1).argmin()
        ax.plot(*inputs[wrong], "o", ms=9, mfc="none", mec=BLACK, mew=1, label="mistake")
        if before[:2].any():
            point, along, _ = _line(before)
            ax.axline(point, point + along, color=GREY, lw=0.9, ls="--", label="before")
        if after[:2].any():
            point, along, normal = _line(after)
            far = 10 * np.abs([low, high, point]).max() + 10 * span
            corners = [point - far * along, point + far * along]
            side = np.array([*corners, corners[1] + far * normal, corners[0] + far * normal])
            ax.fill(*side.T, color=COLORS["positive"], alpha=0.1, lw=0)
            ax.axline(point, point + along, color=BLACK, lw=1.2, label="after")
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        ax.set_aspect("equal")
        ax.set_title(f"change {k + 1}")
        if k + columns >= len(steps):  # nothing below it
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("$x_1$")
    for ax in axes[:, 0]:
        ax.set_ylabel("$x_2$")
    # No panel need have everything: where the weights are 0 there is no line.
    named = (zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes.flat)
    handles = {label: handle for panel in named for handle, label in panel}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=5)
    return figure


def _line(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a point of the line, and unit vectors along it and towards its positive side."""
    length = np.hypot(*weights[:2])
    normal = weights[:2] / length
    return -weights[2:].sum() / length * normal, np.array([-normal[1], normal[0]]), normal
