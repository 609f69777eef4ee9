"""One function that returns the digits from any of their sources."""

import importlib.resources
import os
import sys
from pathlib import Path

from chainrule import _require
from chainrule.data.digits import files, tfds
from chainrule.data.digits.record import Digits

__all__ = ["mnist"]
__dir__ = __all__.copy

_SOURCES = ("auto", "idx", "embedded", "tfds")


def mnist(
    split: str, source: str = "auto", data_dir: str | os.PathLike[str] | None = None
) -> Digits:
    """Return one split of MNIST, with its provenance; never uses the network.

    ======== ================================================================================
    embedded the first 6,000 training and 1,000 test digits, inside the package
    idx      a folder with the four original files: ``data_dir``, else ``CHAINRULE_DATA``
    tfds     a TFDS directory with a prepared ``mnist:3.0.1``: ``data_dir``, else
             ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``; in another order
    auto     idx if a folder is named, else embedded; one line on stderr says which
    ======== ================================================================================

    Args:
      split: ``"train"`` or ``"test"``.
      source: one of the four above.
      data_dir: the folder of the source. A named folder must have the files: no other source is
        used in its place.

    Returns:
      Images uint8 ``[N, 28, 28]``, labels int32 ``[N]``, and where they come from.

    Raises:
      FileNotFoundError: the files are not where they should be.
      ValueError: an unknown split or source, or a file that is not what it should be.

    Example:
      >>> images, labels, provenance = mnist("train", source="embedded")
      >>> images.shape, images.dtype, labels[:5]
      ((6000, 28, 28), dtype('uint8'), array([5, 0, 4, 1, 9], dtype=int32))
      >>> provenance.sizes
      {'train': 6000, 'test': 1000}

    Source:
      Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits".
    """
    _require.one_of("split", split, files.ORIGINALS)
    _require.one_of("source", source, _SOURCES)
    if data_dir is not None:
        data_dir = _require.path("data_dir", data_dir)
    if source == "tfds":
        return tfds.read(data_dir, split)
    if source == "embedded":
        if data_dir is not None:
            raise ValueError(f"source='embedded' reads no folder, got data_dir={str(data_dir)!r}")
        return _embedded(split)
    named = data_dir if data_dir is not None else os.environ.get("CHAINRULE_DATA")
    if source == "idx" and not named:
        raise ValueError(
            "source='idx' needs data_dir, or CHAINRULE_DATA, to name the folder of the four files;"
            f" got data_dir={data_dir!r}, CHAINRULE_DATA={os.environ.get('CHAINRULE_DATA')!r}"
        )
    digits = files.read(Path(named).expanduser(), split) if named else _embedded(split)
    if source == "auto":
        origin = f"the files in {named}" if named else "the embedded sample"
        print(f"MNIST: {len(digits.images)} {split} digits from {origin}", file=sys.stderr)
    return digits


def _embedded(split: str) -> Digits:
    folder = importlib.resources.files("chainrule.data.digits") / "embedded"
    return files.read(folder, split, source="embedded")
