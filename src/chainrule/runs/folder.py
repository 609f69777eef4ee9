"""The names of run folders: one of its own for every run, and none is ever overwritten."""

import contextlib
import itertools
import os
import pathlib
from collections.abc import Iterator

__all__ = ["PARTIAL", "claim", "finish", "stopped"]
__dir__ = __all__.copy

PARTIAL = ".partial"
"""The ending of a folder whose run is not finished."""


def one_name(what: str, name: object) -> str:
    """Return a name of a file or folder, and refuse what would lead elsewhere or could not be read.

    Args:
      what: what it is the name of, for the message.
      name: one part of a path.

    Raises:
      ValueError: it is empty, has a slash, is ``.`` or ``..``, or holds what no terminal shows.
    """
    if not isinstance(name, str) or not name or name in (".", "..") or "/" in name:
        raise ValueError(f"{what} must be the name of one file or folder, not {name!r}")
    if not name.isprintable():
        raise ValueError(f"{what} must be printable text, not {name!r}")
    return name


def claim(root: str | os.PathLike[str], experiment: str, name: str) -> pathlib.Path:
    """Make a folder for a run that starts; two may start in one second with the same seed.

    Raises:
      OSError: it cannot be made, as where nothing may be written.
    """
    folder = pathlib.Path(root) / experiment
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return next(filter(None, (_made(folder / f"{one}{PARTIAL}") for one in _candidates(name))))
    except OSError as error:
        raise type(error)(
            f"no run can be kept in {root}: {error.strerror}; give another folder as root, "
            "on a command line with --root"
        ) from error


def stopped(folder: str | os.PathLike[str], experiment: str) -> pathlib.Path:
    """Return the folder of a run that was stopped.

    Raises:
      ValueError: it is not one of this experiment.
    """
    path = pathlib.Path(folder).resolve()
    if not path.is_dir() or path.suffix != PARTIAL or path.parent.name != experiment:
        raise ValueError(
            f"{folder} is no stopped run of {experiment!r}: "
            f"name a folder <root>/{experiment}/<time>-s<seed>{PARTIAL}"
        )
    return path


def finish(partial: pathlib.Path) -> pathlib.Path:
    """Give the folder of a finished run its name, or the next one that is free."""
    for name in _candidates(partial.stem):
        target = partial.with_name(name)
        # Renaming onto a folder that holds a run fails, so that none is ever overwritten.
        with contextlib.suppress(OSError):
            return partial.rename(target)
        if not target.exists():
            return partial.rename(target)  # some other reason: say it
    raise AssertionError("unreachable: the names never end")


def _made(path: pathlib.Path) -> pathlib.Path | None:
    try:
        path.mkdir()
    except FileExistsError:
        return None
    return path


def _candidates(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))
