"""Pictures of photographs: what a classifier says of them, and which pixels speak for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from chainrule.plots.style import COLORS, SKY, FigureError, grid, styled

__all__ = ["answers", "reasons"]
__dir__ = __all__.copy

_PLAIN: dict[str, Any] = {"parse_math": False}  # names come from files: a $ is no formula


@styled
def answers(
    images: Sequence[np.ndarray],
    names: Sequence[Sequence[str]],
    probabilities: Sequence[np.ndarray],
    *,
    titles: Sequence[str] = (),
) -> Figure:
    """Draw photographs, and beside each the likeliest classes with their probabilities.

    Args:
      images: ``[height, width, 3]`` or ``[height, width, 1]``, bytes, or numbers from 0 to 1.
      names: of the classes, for every image the likeliest first.
      probabilities: of these classes, from 0 to 1.
      titles: of the images.

    Returns:
      The figure.

    Example:
      >>> figure = answers([np.zeros((8, 8, 3))], [["cat", "dog"]], [np.array([0.9, 0.1])])
      >>> [text.get_text() for text in figure.axes[1].texts]
      ['cat', '90.0 %', 'dog', '10.0 %']
    """
    pairs = 1 if len(images) < 3 else 2
    lines = -(-len(images) // pairs)
    figure, axes = grid(
        lines, 2 * pairs, width=3.5 * pairs, height=1.5 * lines, width_ratios=[1.25, 2.0] * pairs
    )
    cells = axes.reshape(-1, 2)
    for left, right in cells[len(images) :]:
        left.axis("off")
        right.axis("off")
    labels = list(titles) or [""] * len(images)
    for (left, right), image, title, classes, shares in zip(
        cells, images, labels, names, probabilities, strict=False
    ):
        _show(left, image)
        right.set_title(title if len(title) <= 26 else f"{title[:25]}…", **_PLAIN)
        for place, (name, share) in enumerate(zip(classes, shares, strict=True)):
            right.barh(place, share, color=SKY, alpha=0.55, height=0.86)
            right.text(0.015, place, name, va="center", size=7.5, **_PLAIN)
            right.text(1.0, place, f"{100 * share:.1f} %", va="center", ha="right", size=7.5)
        right.set(xlim=(0, 1), ylim=(max(len(classes), 5) - 0.5, -0.5), xticks=(), yticks=())
        right.spines[:].set_visible(False)
    return figure


@styled
def reasons(image: np.ndarray, maps: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw which pixels speak for a class, over the photograph in grey.

    Args:
      image: ``[height, width, 3]`` or ``[height, width, 1]``, bytes, or numbers from 0 to 1.
      maps: name to ``[height, width]``; vermillion speaks for the class and blue against it, the
        stronger the further from 0. Each has a scale of its own, which the largest thousandth of
        its numbers exceeds.
      title: of the photograph.

    Returns:
      The figure.

    Example:
      >>> figure = reasons(np.zeros((8, 8, 3)), {"gradient": np.eye(8)}, title="tabby 87 %")
      >>> [ax.get_title("left") for ax in figure.axes]
      ['tabby 87 %', 'gradient']
    """
    figure, axes = grid(1, 1 + len(maps), width=1.75 * (1 + len(maps)), height=2.0)
    _show(axes[0, 0], image)
    axes[0, 0].set_title(title, **_PLAIN)
    ground = _colours(image).mean(axis=2, keepdims=True) * 0.45 + 0.55
    for ax, (name, values) in zip(axes[0, 1:], maps.items(), strict=True):
        if values.shape != image.shape[:2]:
            raise FigureError(
                f"maps: {name!r} has shape {values.shape}, and the image {image.shape[:2]}: "
                "enlarge it"
            )
        limit = np.quantile(np.abs(values), 0.999) or np.abs(values).max() or 1.0
        strength = np.clip(np.abs(values) / limit, 0, 1)[:, :, None]
        ink = np.where(
            values[:, :, None] > 0, to_rgb(COLORS["positive"]), to_rgb(COLORS["negative"])
        )
        _show(ax, ground * (1 - strength) + ink * strength)
        ax.set_title(name)
    return figure


def _colours(image: np.ndarray) -> np.ndarray:
    """Return an image as ``[height, width, 3]`` numbers from 0 to 1."""
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise FigureError(f"image {image.shape}: expected [height, width, 3] or of one channel")
    numbers = image / 255 if image.dtype == np.uint8 else image
    return np.broadcast_to(numbers, (*image.shape[:2], 3))


def _show(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(np.clip(_colours(image), 0, 1), interpolation="nearest")
    ax.set(xticks=(), yticks=())
    ax.spines[:].set_visible(False)
