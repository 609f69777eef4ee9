"""The names of classes: those of ImageNet, of the digits, and those that a file lists."""

import functools
import os
import pathlib

from chainrule import _files, _require

__all__ = ["DIGITS", "imagenet", "read"]
__dir__ = __all__.copy

DIGITS = tuple("0123456789")
"""The names of the ten digits."""

_MOST = 2**24  # bytes of a list of names


@functools.cache
def imagenet() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet, in the order of VGG16's outputs.

    They are torchvision's; ``imagenet/LICENSE`` beside this module says where they come from.

    Example:
      >>> names = imagenet()
      >>> len(names), names[0], names[281], names[999]
      (1000, 'tench', 'tabby', 'toilet tissue')
    """
    return read(pathlib.Path(__file__).parent / "imagenet" / "names.txt")


def read(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names in a text file, one a line, that of class 0 first.

    Args:
      path: a file in UTF-8; spaces around a name are dropped.

    Returns:
      The names.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it has more than 16 MiB or is no UTF-8, it is empty, or a line of it is.
    """
    path = _require.path("path", path)
    try:
        lines = _files.read(path, most=_MOST).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    names = tuple(line.strip() for line in lines)
    if "" in names or not names:
        where = f"line {names.index('') + 1}" if names else "the file"
        raise ValueError(f"{path}: {where} is empty: expected the name of a class on every line")
    return names
