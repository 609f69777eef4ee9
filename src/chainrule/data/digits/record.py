"""Digits with their provenance, and the normalisation that the notes apply to them."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from chainrule import _require

__all__ = [
    "CLASSES",
    "Digits",
    "Provenance",
    "Standardized",
    "check",
    "describe",
    "first",
    "standardize",
]
__dir__ = __all__.copy

CLASSES = 10
"""Labels are 0 to 9."""


class Provenance(NamedTuple):
    """Where a set of digits comes from: two runs used the same data if ``sha256`` agrees.

    Attributes:
      source: ``"embedded"``, ``"idx"`` or ``"tfds"``.
      split: ``"train"`` or ``"test"``.
      files: the files that were read.
      sha256: of ``"images"`` and ``"labels"``, each in the order given and written as an
        uncompressed IDX file (see `chainrule.data.digits.idx.sha256`).
      sizes: the number of digits in each split of the source.
      order: ``"original"`` when row i is row i of the published files, else what shuffled them.
    """

    source: str
    split: str
    files: tuple[str, ...]
    sha256: dict[str, str]
    sizes: dict[str, int]
    order: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON would give it back."""
        return self._asdict() | {"files": list(self.files)}


class Digits(NamedTuple):
    """Handwritten digits on the host.

    Attributes:
      images: uint8 ``[N, 28, 28]``, 0 for paper and 255 for ink.
      labels: int32 ``[N]``, 0 to 9.
      provenance: where they come from.
    """

    images: UInt8[np.ndarray, "n 28 28"]
    labels: Int32[np.ndarray, " n"]
    provenance: Provenance


class Standardized(NamedTuple):
    """Inputs of mean 0 and standard deviation 1, and the statistics of the images they came from.

    Attributes:
      inputs: float32 ``[N, H * W]``.
      mean: of all pixels of the images that the statistics were taken from, 0 to 255.
      std: their unbiased standard deviation, above 0.
    """

    inputs: Float32[np.ndarray, "n pixels"]
    mean: float
    std: float


def check(
    images: UInt8[np.ndarray, "..."],
    labels: UInt8[np.ndarray, "..."],
    *,
    images_from: object,
    labels_from: object,
) -> None:
    """Check that arrays are digits with their labels.

    Args:
      images: what should be ``[N, 28, 28]``.
      labels: what should be ``[N]``, 0 to 9.
      images_from: the file to name when the images are wrong.
      labels_from: the file to name when the labels are wrong.

    Raises:
      ValueError: no digits at all, images of another size, counts that differ, or a label that is
        not a digit.
    """
    if images.shape[1:] != (28, 28):
        size = " x ".join(map(str, images.shape[1:]))
        raise ValueError(f"{images_from} holds images of {size} pixels, expected 28 x 28")
    if len(images) != len(labels):
        raise ValueError(
            f"{images_from} holds {len(images)} images, {labels_from} holds {len(labels)} labels: "
            "the counts must be the same"
        )
    if len(labels) == 0:
        raise ValueError(f"{labels_from} holds 0 labels, expected at least 1")
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise ValueError(
            f"{labels_from} holds the label {labels[wrong[0]]} at row {wrong[0]}, "
            f"expected 0 to {CLASSES - 1}"
        )


def standardize(
    images: UInt8[np.ndarray, "n h w"],
    *,
    mean: float | None = None,
    std: float | None = None,
) -> Standardized:
    r"""Flatten images and scale them to mean 0 and standard deviation 1 over all pixels together.

    .. math::
      x = (\text{images} - \mu) / \sigma, \qquad
      \sigma^2 = \frac{1}{M - 1} \sum_m (\text{images}_m - \mu)^2

    with one mean and one *unbiased* standard deviation for all M = N H W pixels, as in the notes.
    Test images are scaled with the statistics of the training images.

    Args:
      images: uint8 ``[N, H, W]``.
      mean: the mean to subtract; given with ``std``, or neither is, and the images determine both.
      std: the standard deviation to divide by, above 0.

    Returns:
      The inputs ``[N, H * W]`` with the mean and the standard deviation that were used.

    Raises:
      ValueError: images of another dtype without statistics; one statistic without the other; or a
        standard deviation that is not positive (all pixels of ``images`` are equal).

    Example:
      >>> images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
      >>> train = standardize(images)
      >>> train.mean, train.std
      (3.5, 2.449489742783178)
      >>> test = standardize(images[:1], mean=train.mean, std=train.std)
      >>> test.inputs
      array([[-1.4288690..., -1.0206207..., -0.6123724..., -0.2041241...]], dtype=float32)
    """
    if not isinstance(images, np.ndarray) or images.ndim != 3:
        found = f"of shape {images.shape}" if hasattr(images, "shape") else _require.kind(images)
        raise ValueError(f"images must be a NumPy array [N, H, W], not {found}")
    if mean is None and images.dtype != np.uint8:
        raise ValueError(
            f"images of dtype {images.dtype}: the statistics are those of bytes, uint8 from 0 to "
            "255; give mean and std of other numbers yourself"
        )
    if (mean is None) != (std is None):
        raise ValueError(f"mean={mean} and std={std}: give both, or neither")
    if mean is None or std is None:
        mean, std = _statistics(images)
    _require.real("mean", mean)
    _require.real("std", std, above=0, why="where all pixels are equal it is 0")
    inputs = images.reshape(len(images), -1).astype(np.float32)
    inputs -= np.float32(mean)
    inputs /= np.float32(std)
    return Standardized(inputs, mean, std)


def _statistics(images: UInt8[np.ndarray, "..."]) -> tuple[float, float]:
    # Integer sums are exact, and need no copy of all images in double precision.
    count = images.size
    total = int(images.sum(dtype=np.int64))
    squares = int(np.square(images, dtype=np.uint16).sum(dtype=np.int64))
    if count < 2:
        raise ValueError(f"an unbiased standard deviation takes 2 pixels or more, got {count}")
    return total / count, math.sqrt((count * squares - total**2) / (count * (count - 1)))


def first(digits: Digits, count: int) -> Digits:
    """Keep the first ``count`` digits.

    Args:
      digits: any digits.
      count: 1 to as many as there are.

    Raises:
      ValueError: the count is below 1, or above the number of digits.

    Example:
      >>> from chainrule import data
      >>> data.first(data.mnist("train", source="embedded"), 1000).images.shape
      (1000, 28, 28)
    """
    record, there = _digits(digits).provenance, len(digits.labels)
    what = f"there are {there} {record.split} digits in source {record.source}"
    count = _require.count("count", count, most=there, why=what)
    return digits._replace(images=digits.images[:count], labels=digits.labels[:count])


def describe(digits: Digits) -> str:
    """Describe a set of digits and where it comes from, in a few lines.

    Args:
      digits: any digits.

    Returns:
      Lines of text: number and source, labels per class, checksums, files.
    """
    record = _digits(digits).provenance
    sizes = ", ".join(f"{split} {size}" for split, size in record.sizes.items())
    per_class = np.bincount(digits.labels, minlength=CLASSES)
    return "\n".join(
        [
            f"{record.split}: {len(digits.images)} digits of 28 x 28 pixels, source "
            f"{record.source} ({sizes}), order {record.order}",
            f"  labels 0 to 9: {' '.join(map(str, per_class))}",
            *(f"  sha256 of the {part}: {digest}" for part, digest in record.sha256.items()),
            *(f"  read from {file}" for file in record.files),
        ]
    )


def _digits(value: Digits) -> Digits:
    _require.instance("digits", value, Digits, "what data.mnist returns")
    return value
