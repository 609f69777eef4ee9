"""The four files of MNIST: their names, their checksums, and how to read a folder of them."""

from typing import NamedTuple

import numpy as np

from chainrule import _require
from chainrule.data.digits import idx
from chainrule.data.digits.idx import File
from chainrule.data.digits.record import Digits, Provenance, check

__all__ = ["ORIGINALS", "Original", "find", "read", "spellings"]
__dir__ = __all__.copy


class Original(NamedTuple):
    """One of the four files, as it was published.

    Attributes:
      name: its name, without ``.gz``.
      rank: the number of dimensions: 3 for images, 1 for labels.
      items: the number of images or labels in it.
      sha256: of its content, uncompressed.
      gz_bytes: the size of the compressed file.
      gz_sha256: of the compressed file, as tensorflow-datasets lists it.
    """

    name: str
    rank: int
    items: int
    sha256: str
    gz_bytes: int
    gz_sha256: str


ORIGINALS = {
    "train": {
        "images": Original(
            name="train-images-idx3-ubyte",
            rank=3,
            items=60_000,
            sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            gz_bytes=9_912_422,
            gz_sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        "labels": Original(
            name="train-labels-idx1-ubyte",
            rank=1,
            items=60_000,
            sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            gz_bytes=28_881,
            gz_sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    },
    "test": {
        "images": Original(
            name="t10k-images-idx3-ubyte",
            rank=3,
            items=10_000,
            sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            gz_bytes=1_648_877,
            gz_sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        "labels": Original(
            name="t10k-labels-idx1-ubyte",
            rank=1,
            items=10_000,
            sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            gz_bytes=4_542,
            gz_sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    },
}
"""The four files, by split and kind."""


def spellings(original: Original) -> tuple[str, ...]:
    """Return the names under which a file is published, the preferred one first.

    Args:
      original: one of `ORIGINALS`.

    Returns:
      Four file names.

    Example:
      >>> spellings(ORIGINALS["test"]["labels"])
      ('t10k-labels-idx1-ubyte.gz', 't10k-labels-idx1-ubyte',
       't10k-labels.idx1-ubyte.gz', 't10k-labels.idx1-ubyte')
    """
    names = (original.name, original.name.replace("-idx", ".idx"))
    return tuple(name + suffix for name in names for suffix in (".gz", ""))


def find(folder: File) -> dict[str, dict[str, File]]:
    """Find the four files in a folder.

    Args:
      folder: where they should be, each in any of its four `spellings`.

    Returns:
      The files by split and by part, as in `ORIGINALS`.

    Raises:
      FileNotFoundError: the folder or some of the files are not there; it lists all of them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: expected the four files of MNIST in it")
    found: dict[str, dict[str, File]] = {}
    missing = []
    for split, parts in ORIGINALS.items():
        found[split] = {}
        for part, original in parts.items():
            candidates = [folder / name for name in spellings(original)]
            present = [file for file in candidates if file.is_file()]
            if present:
                found[split][part] = present[0]
            else:
                missing.append(original.name)
    if missing:
        raise FileNotFoundError(
            f"the folder {folder} lacks {len(missing)} of the 4 files of MNIST: "
            f"{', '.join(missing)} (each may end in .gz); `chainrule data fetch` gets them"
        )
    return found


def read(folder: File, split: str, *, source: str = "idx") -> Digits:
    """Read one split from a folder of the four files.

    A file with as many items as MNIST's own must have MNIST's content, bit for bit. Smaller sets in
    the same format are read as they are; their provenance tells them apart.

    Args:
      folder: the folder, on disk or inside a package.
      split: ``"train"`` or ``"test"``.
      source: the name of the source, for the provenance.

    Returns:
      The digits in the order of the files.

    Raises:
      FileNotFoundError: the folder or some of the four files are not there.
      ValueError: a file is damaged or is not what its name says, images and labels differ in
        number, or a full-sized file does not have MNIST's checksum.
    """
    _require.one_of("split", split, ORIGINALS)
    files = find(folder)
    parts = ORIGINALS[split]
    images = idx.read(files[split]["images"], rank=3, item=(28, 28))
    labels = idx.read(files[split]["labels"], rank=1)
    arrays = {"images": images, "labels": labels}
    check(images, labels, images_from=files[split]["images"], labels_from=files[split]["labels"])
    digests = {part: idx.sha256(array) for part, array in arrays.items()}
    for part, original in parts.items():
        if len(arrays[part]) == original.items and digests[part] != original.sha256:
            raise ValueError(
                f"{files[split][part]} holds {original.items} items as MNIST does, but not the "
                f"same: the SHA-256 of its content is {digests[part]}, MNIST's {original.sha256}"
            )
    # The labels of the other split give its size; they are short.
    sizes = {name: len(idx.read(files[name]["labels"], rank=1)) for name in ORIGINALS}
    record = Provenance(
        source=source,
        split=split,
        files=tuple(str(file) for file in files[split].values()),
        sha256=digests,
        sizes=sizes,
        order="original",
    )
    return Digits(images, labels.astype(np.int32), record)
