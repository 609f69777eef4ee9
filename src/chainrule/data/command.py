"""What the verbs of ``chainrule data`` do."""

import pathlib

from chainrule import data
from chainrule._files import printable

__all__ = ["fetch", "prepare", "show"]
__dir__ = __all__.copy


def fetch(folder: pathlib.Path) -> None:
    """Download the four files of MNIST."""
    data.fetch(folder)
    print(f"the four files are in {printable(folder)}: set CHAINRULE_DATA or pass --data-dir")


def prepare(folder: pathlib.Path, tfds: pathlib.Path) -> None:
    """Make a TFDS directory from the four files."""
    data.prepare(folder, tfds)
    where = printable(tfds)
    print(f"prepared in {where}: read it with --source tfds --data-dir {where}")


def show(*, source: str = "auto", data_dir: pathlib.Path | None = None) -> None:
    """Describe the digits of a source, both splits."""
    for split in ("train", "test"):
        print(data.describe(data.mnist(split, source, data_dir)))
