"""Files that appear whole or not at all, folders with one writer, strict JSON, text for a terminal.

A file is written under a random name that nobody can have taken, brought to the disk, and renamed:
who reads it sees the old one or the new one, also after a power cut.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

JSON = Any
"""What JSON can hold: None, bool, int, float, str, lists and dicts of them."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written that takes the place of ``path`` when the block ends.

    If the block raises, nothing is left and what was at ``path`` stays. A symbolic link there is
    replaced, not followed.

    Args:
      path: where the file will be; its folder must exist.

    Yields:
      The open file, binary; its ``name`` is the path it has meanwhile, in the same folder.

    Raises:
      OSError: it cannot be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with replacing(f"{folder}/a.txt") as file:
      ...         _ = file.write(b"whole")
      ...     os.listdir(folder)
      ['a.txt']
    """
    path = pathlib.Path(path)
    if not path.name:
        raise ValueError(f"{str(path)!r} names a folder: give the name of a file")
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.partial")
    # Exclusive: a file or a link that somebody laid there is an error, never opened.
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with open(partial, "w+b", opener=lambda *_: descriptor) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a whole file in the place of one that was there; text in UTF-8, see `replacing`."""
    with replacing(path) as file:
        file.write(content if isinstance(content, bytes) else encoded(content))


def encoded(text: str) -> bytes:
    r"""Return text in UTF-8; what is not Unicode, as in a file name of other bytes, is escaped.

    The escapes are those of JSON, so that a name comes back from a JSON file as it was.

    Example:
      >>> encoded("caf\udce9")
      b'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to be read, and refuse what would wait for ever: a pipe, a device, a socket.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no regular file.
    """
    # Without blocking, or the opening of a pipe itself would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is no regular file: nothing is read from it")
    return open(path, "rb", opener=lambda *_: descriptor)


def read(path: str | os.PathLike[str], *, most: int) -> bytes:
    """Read a whole file, and refuse one of more than ``most`` bytes before reading it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is larger, or no regular file.
    """
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise ValueError(f"{path} has {size} bytes: expected at most {most}")
        return file.read()


def sync(path: str | os.PathLike[str]) -> None:
    """Bring a file to the disk, or the names in a folder after one was made or changed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


class Lock:
    """A folder that one process writes to, from now until `release`, or until the process ends.

    Args:
      folder: must exist.

    Raises:
      ValueError: another process, or another lock of this one, holds it.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self._descriptor: int | None = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ValueError(
                f"{folder} is being written by another process: wait for it, or name another folder"
            ) from None

    def check(self, folder: str | os.PathLike[str]) -> None:
        """Refuse to go on where the folder is no longer the one that is held.

        Raises:
          FileNotFoundError: it was renamed, removed or replaced.
        """
        held = None if self._descriptor is None else os.fstat(self._descriptor)
        with contextlib.suppress(OSError):
            if held is not None and os.path.samestat(held, os.stat(folder)):
                return
        raise FileNotFoundError(
            f"{folder} was renamed, removed or replaced while it was being written: nothing is "
            "written to that name any more"
        )

    def release(self) -> None:
        """Let others have the folder; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


def dumps(value: JSON, *, indent: int | None = 2) -> str:
    """Return strict JSON of a value: NaN and infinities as words, what JSON has not as text.

    Example:
      >>> print(dumps({"loss": np.float32(0.5), "peak": float("inf")}))
      {
        "loss": 0.5,
        "peak": "inf"
      }
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def loads(text: str | bytes) -> JSON:
    """Read strict JSON: a bare NaN or Infinity is a ValueError, as any other error is."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("lists or objects nested too deeply") from None


def plain(value: JSON) -> JSON:
    """Return a value as JSON holds it: NumPy's numbers as numbers, NaN and infinities as words."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their scalars
        return plain(value.tolist())
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def printable(text: object) -> str:
    r"""Return text as a terminal may show it: what would move its cursor or turn its letters is
    escaped.

    Names come from files, and files from anywhere: an escape sequence in one could rewrite the
    screen, a right-to-left mark could hide an ending.

    Example:
      >>> printable("loss \x1b[31m red"), printable("Größe, 大きさ")
      ('loss \\x1b[31m red', 'Größe, 大きさ')
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def _refuse(token: str) -> JSON:
    raise ValueError(f"a bare {token}")
