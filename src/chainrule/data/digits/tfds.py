"""MNIST as a prepared dataset of tensorflow-datasets, written and read without TensorFlow.

TFDS shuffles when it writes: "the first 1,000 digits" differ from those of the original files. So
this source is used only if it is named.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _require
from chainrule.data.digits import files, idx
from chainrule.data.digits.record import Digits, Provenance, check

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VERSION", "directory", "prepare", "read"]
__dir__ = __all__.copy

VERSION = "3.0.1"
"""The version of tensorflow-datasets' ``mnist``."""
_CHUNK = 1000  # digits a request: several times faster than one by one


def directory(tfds_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return where a TFDS directory has the prepared MNIST, whether it exists or not.

    Args:
      tfds_dir: the TFDS directory; without it ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``,
        the defaults of tensorflow-datasets.

    Returns:
      The path of ``mnist/3.0.1`` in it.
    """
    if tfds_dir is None:
        tfds_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return _require.path("tfds_dir", tfds_dir).expanduser() / "mnist" / VERSION


def read(tfds_dir: str | os.PathLike[str] | None, split: str) -> Digits:
    """Read one split of a prepared TFDS directory; never uses the network.

    Args:
      tfds_dir: the TFDS directory, see `directory`.
      split: ``"train"`` or ``"test"``.

    Returns:
      The digits in the order in which TFDS wrote them.

    Raises:
      FileNotFoundError: no MNIST is prepared there.
      ValueError: it cannot be read, is damaged, or holds something else.
    """
    _require.one_of("split", split, files.ORIGINALS)
    folder = directory(tfds_dir)
    # Where nothing is prepared, TFDS would use the network, or return an empty dictionary.
    sizes = _sizes(folder)
    import tensorflow_datasets

    try:
        source = tensorflow_datasets.data_source(
            f"mnist:{VERSION}", split=split, data_dir=folder.parents[1], download=False
        )
        records = []
        for start in range(0, sizes[split], _CHUNK):
            rows = range(start, min(start + _CHUNK, sizes[split]))
            records += source.__getitems__(list(rows))
        images = np.stack([record["image"][:, :, 0] for record in records])
        labels = np.array([record["label"] for record in records], np.uint8)
    except Exception as error:  # array_record, protobuf and PIL raise their own
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot read the {sizes[split]} {split} digits that {folder} should hold: {reason}; "
            "remove that folder and run `chainrule data prepare` again"
        ) from error
    check(images, labels, images_from=folder, labels_from=folder)
    record = Provenance(
        source="tfds",
        split=split,
        files=tuple(str(file) for file in sorted(folder.glob(f"mnist-{split}.*"))),
        sha256={"images": idx.sha256(images), "labels": idx.sha256(labels)},
        sizes=sizes,
        order=f"shuffled by tfds mnist:{VERSION}",
    )
    return Digits(images, labels.astype(np.int32), record)


def prepare(
    data_dir: str | os.PathLike[str], tfds_dir: str | os.PathLike[str] | None = None
) -> Path:
    """Write the TFDS directory from the original files.

    Any program reads the result with ``tfds.data_source("mnist:3.0.1", data_dir=tfds_dir,
    download=False)``. The folder gets its name once it is complete. One that is already there is
    not changed.

    Args:
      data_dir: the folder of the four original files, see `chainrule.data.digits.files.find`.
      tfds_dir: the TFDS directory to write to, see `directory`.

    Returns:
      The folder ``mnist/3.0.1`` in the TFDS directory.

    Raises:
      FileNotFoundError: some of the four files are not in ``data_dir``.
      ValueError: a file is damaged, or the folder already there holds other numbers of digits.
    """
    folder = directory(tfds_dir)
    originals = _require.path("data_dir", data_dir).expanduser()
    splits = {split: files.read(originals, split) for split in files.ORIGINALS}
    if not folder.exists():
        _write(splits, folder.parents[1])
    sizes = {split: len(digits.images) for split, digits in splits.items()}
    prepared = _sizes(folder)
    if prepared != sizes:
        raise ValueError(
            f"{folder} is already there with {prepared} digits, {data_dir} holds {sizes}: "
            "remove the first, or prepare into another directory"
        )
    return folder


def _sizes(folder: Path) -> dict[str, int]:
    """Return the number of digits in each split of a prepared folder, from its own record."""
    info = folder / "dataset_info.json"
    if not info.is_file():
        if folder.exists():
            raise FileNotFoundError(f"{folder} has no {info.name}: remove it and prepare again")
        leftovers = [path.name for path in sorted(folder.parent.glob("incomplete.*"))]
        raise FileNotFoundError(
            f"no prepared MNIST in {folder}: `chainrule data prepare` makes one from the four "
            "original files"
            + (f"; {', '.join(leftovers)} is of a prepare that did not end" if leftovers else "")
        )
    try:
        splits = json.loads(info.read_text())["splits"]
        sizes = {split["name"]: sum(map(int, split["shardLengths"])) for split in splits}
        return {split: sizes[split] for split in files.ORIGINALS}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{info} does not tell the sizes of train and test: {error!r}") from error


def _write(splits: dict[str, Digits], tfds_dir: Path) -> None:
    import PIL.Image
    from tensorflow_datasets.image_classification import mnist as stock

    # The stock builder reads files and encodes arrays with TensorFlow; PIL images need none. TFDS
    # names the data set after the class; mypy does not see the base.
    class MNIST(stock.MNIST, skip_registration=True):  # type: ignore[call-arg]
        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {split: self._generate_examples(digits) for split, digits in splits.items()}

        def _generate_examples(self, digits: Digits) -> "Iterator[tuple[int, dict[str, Any]]]":
            pairs = zip(digits.images, digits.labels.tolist(), strict=True)
            for row, (image, label) in enumerate(pairs):
                yield row, {"image": PIL.Image.fromarray(image), "label": label}

    with tempfile.TemporaryDirectory() as downloads:  # stays empty, but TFDS needs one
        try:
            builder = MNIST(data_dir=tfds_dir, file_format="array_record")
            builder.download_and_prepare(download_dir=downloads)
        except OSError:
            # Another process has prepared it in the meantime.
            if not (tfds_dir / "mnist" / VERSION / "dataset_info.json").is_file():
                raise
