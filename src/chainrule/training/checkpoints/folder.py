"""The folder of a training's checkpoints: what is in it, and what may be changed there."""

import itertools
import os
import pathlib
import re
import shutil

from chainrule import _files
from chainrule.training.checkpoints import manifest

__all__ = ["ARRAYS", "Folder"]
__dir__ = __all__.copy

ARRAYS = "arrays"
"""The part of a checkpoint that Orbax writes."""

# What a checkpoint consists of, while it is written too.
_PARTS = re.compile(rf"{ARRAYS}(\.orbax-checkpoint-tmp.*)?|\.?{re.escape(manifest.NAME)}.*")


class Folder:
    """The checkpoints in a folder that one process writes to.

    A checkpoint is a directory ``step-00001200``; while it is written or removed, its name is
    ``step-00001200.partial``. Nothing else is removed: no file, no link, no directory that has
    another name or holds anything else.

    Args:
      path: made if it does not exist.
      writes: whether this process writes to it. It then holds the folder until `release`.

    Raises:
      OSError: the folder cannot be made.
      ValueError: another process writes to it.
    """

    def __init__(self, path: pathlib.Path, *, writes: bool):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"the folder {path} cannot be made: {error.strerror}") from error
        self.path = path
        self._lock = _files.Lock(path) if writes else None

    def release(self) -> None:
        """Let other processes write to it."""
        if self._lock is not None:
            self._lock.release()

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, in order."""
        names = (re.fullmatch(r"step-(\d{8,})", path.name) for path in self.path.iterdir())
        return sorted(int(name[1]) for name in names if name and _is_real(self.path / name[0]))

    def checkpoint(self, step: int) -> pathlib.Path:
        """Return where the checkpoint of a step is."""
        return self.path / f"step-{step:08d}"

    def partial(self, step: int) -> pathlib.Path:
        """Return where it is while it is written or removed."""
        return self.path / f"step-{step:08d}.partial"

    def begin(self, step: int) -> None:
        """Make the directory to write in; what another process left of it is removed.

        Raises:
          OSError: it cannot be made, or something else has its name.
        """
        self._discard(self.partial(step))
        self.partial(step).mkdir()

    def publish(self, step: int) -> None:
        """Give what was written its name, and bring the name to the disk."""
        if os.path.lexists(self.checkpoint(step)):
            self.set_aside(step)
        self.partial(step).rename(self.checkpoint(step))
        _files.sync(self.path)

    def set_aside(self, step: int) -> None:
        """Rename what has the name of a checkpoint, to make room for a new one."""
        path = self.checkpoint(step)
        names = (path.with_suffix(f".damaged{n or ''}") for n in itertools.count())
        path.rename(next(name for name in names if not os.path.lexists(name)))

    def remove(self, step: int) -> None:
        """Remove a checkpoint, if there is nothing else in its directory."""
        if _is_ours(self.checkpoint(step)):
            # Renamed first: a directory called step-* is complete at every moment.
            self._discard(self.partial(step))
            self.checkpoint(step).rename(self.partial(step))
            shutil.rmtree(self.partial(step))

    def clear(self) -> None:
        """Remove what an interrupted process left half-written or half-removed."""
        for path in self.path.glob("step-*.partial"):
            if re.fullmatch(r"step-\d{8,}\.partial", path.name):
                self._discard(path)

    def _discard(self, path: pathlib.Path) -> None:
        if _is_ours(path):
            shutil.rmtree(path)


def _is_real(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_ours(path: pathlib.Path) -> bool:
    return _is_real(path) and all(_PARTS.fullmatch(part.name) for part in path.iterdir())
