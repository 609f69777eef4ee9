"""Labelled images in IDX files that are not MNIST: Fashion-MNIST, and a user's own."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from chainrule import _require
from chainrule.data.digits import idx

__all__ = ["FASHION", "Labelled", "labelled"]
__dir__ = __all__.copy

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""The classes of Fashion-MNIST, in the order of its labels (Xiao, Rasul and Vollgraf, 2017)."""


class Labelled(NamedTuple):
    """Images with their labels, and where they come from.

    Attributes:
      images: uint8 ``[N, height, width]``, or with an axis of channels at the end.
      labels: int32 ``[N]``.
      names: of the classes, in the order of the labels.
      files: the two files.
      sha256: of the content of each, uncompressed: ``images`` and ``labels``.
    """

    images: UInt8[np.ndarray, "n ..."]
    labels: Int32[np.ndarray, " n"]
    names: tuple[str, ...]
    files: tuple[str, str]
    sha256: dict[str, str]


def labelled(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    channels: int | None = None,
    sha256: Mapping[str, str] | None = None,
) -> Labelled:
    """Read a file of images and the file of their labels.

    The headers are checked before anything is read, as for MNIST; see
    `chainrule.data.digits.idx`, which also writes such files.

    Args:
      images: an IDX file of unsigned bytes ``[N, height, width]``, compressed or not.
      labels: an IDX file ``[N]``.
      names: of the classes; None names them by their numbers, up to the largest label.
      channels: how many the images have along a fourth axis; None if there is no such axis.
      sha256: what the content of ``images``, of ``labels`` or of both must be, 64 hexadecimal
        digits each, see `chainrule.data.digits.idx.sha256`; None takes any.

    Returns:
      The `Labelled`.

    Raises:
      FileNotFoundError: a file is not there.
      ValueError: a file is damaged or no such IDX file, has other channels or another checksum;
        images and labels differ in number or are none; or a label has no name.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     a, b = pathlib.Path(folder, "images.gz"), pathlib.Path(folder, "labels")
      ...     idx.write(a, np.zeros((3, 32, 24), np.uint8))
      ...     idx.write(b, np.array([1, 0, 1], np.uint8))
      ...     found = labelled(a, b, names=["cat", "dog"])
      >>> found.images.shape, [found.names[k] for k in found.labels]
      ((3, 32, 24), ['dog', 'cat', 'dog'])
    """
    paths = {"images": _require.path("images", images), "labels": _require.path("labels", labels)}
    known = _known(sha256, paths)
    rank = 3 if channels is None else 4
    pixels = idx.read(paths["images"], rank)
    if channels is not None and pixels.shape[3] != _require.count("channels", channels):
        raise ValueError(f"{paths['images']} has {pixels.shape[3]} channels, not {channels}")
    arrays = {"images": pixels, "labels": idx.read(paths["labels"], 1)}
    found = {part: idx.sha256(array) for part, array in arrays.items()}
    for part, due in known.items():
        if found[part] != due:
            raise ValueError(
                f"{paths[part]}: the SHA-256 of its content is {found[part]}, not {due}"
            )
    if len(pixels) != len(arrays["labels"]) or not pixels.size:
        raise ValueError(
            f"{paths['images']} holds images {pixels.shape}, {paths['labels']} holds "
            f"{len(arrays['labels'])} labels: one label an image, and at least one image of a pixel"
        )
    largest = int(arrays["labels"].max())
    named = tuple(map(str, range(largest + 1))) if names is None else _names(names)
    if largest >= len(named):
        row = int(np.argmax(arrays["labels"] >= len(named)))
        raise ValueError(
            f"{paths['labels']} holds the label {arrays['labels'][row]} at row {row}, and there "
            f"are {len(named)} names, of 0 to {len(named) - 1}"
        )
    files = str(paths["images"]), str(paths["labels"])
    return Labelled(pixels, arrays["labels"].astype(np.int32), named, files, found)


def _names(names: Sequence[str]) -> tuple[str, ...]:
    found = _require.several("names", names, str, "texts, one a class")
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise ValueError(f"names: {twice!r} stands there twice: give each class a name of its own")
    return tuple(found)


def _known(sha256: Mapping[str, str] | None, paths: Mapping[str, object]) -> Mapping[str, str]:
    if sha256 is None:
        return {}
    _require.instance("sha256", sha256, Mapping, "a dict from 'images' and 'labels' to digests")
    for part, digest in sha256.items():
        _require.one_of("sha256", part, paths)
        if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
            raise ValueError(
                f"sha256[{part!r}] must be 64 hexadecimal digits in lower case, not {digest!r:.80}"
            )
    return sha256
