"""IDX, the format of the original files: a magic number, the sizes, the bytes.

::

    00 00 08 dd | dd sizes, 32 bits each, big-endian | unsigned bytes, last axis fastest

``08`` stands for unsigned bytes and ``dd`` is the number of dimensions, so that an image file
begins with 2051 and a label file with 2049. Whether a file is compressed follows from its first
bytes, not from its name: browsers unpack ``.gz`` files and keep the name.

Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", section
"File formats for the MNIST database".
"""

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import UInt8

from chainrule import _files, _require

__all__ = ["File", "read", "sha256", "write"]
__dir__ = __all__.copy

File = Path | Traversable
"""A file or folder on disk, or inside an installed package."""

_GZIP = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # a compressed byte never stands for more than 1032 bytes (zlib's FAQ)
_MOST_BYTES = 2**30  # MNIST's largest file has 47 million
_MOST_NAMES = 2**16  # what a gzip header may add, a name and a comment
_PIECE = 2**16


def _magic(rank: int) -> int:
    return 0x0800 | rank


def _header(array: UInt8[np.ndarray, "..."]) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", _magic(array.ndim), *array.shape)


def _bytes(array: object) -> UInt8[np.ndarray, "..."]:
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        found = f"of {array.dtype}" if hasattr(array, "dtype") else _require.kind(array)
        raise ValueError(f"array must be a NumPy array of uint8, not {found}")
    return array


def sha256(array: UInt8[np.ndarray, "..."]) -> str:
    """Return the SHA-256 of an array's IDX file, uncompressed.

    The header follows from the shape, so the digest is that of the content of the file that the
    array was read from, however that is compressed: ``gzip -dc FILE | sha256sum``.

    Args:
      array: unsigned bytes of any shape.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> sha256(np.arange(3, dtype=np.uint8))[:16]
      'b42326e576482897'
    """
    array = _bytes(array)
    digest = hashlib.sha256(_header(array))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(path: str | os.PathLike[str], array: UInt8[np.ndarray, "..."]) -> None:
    """Write an array as an IDX file, compressed when the name ends in ``.gz``.

    The same array gives the same bytes every time: no name and no time go into the file.

    Args:
      path: the file to write.
      array: unsigned bytes of any shape.
    """
    path, array = _require.path("path", path), _bytes(array)
    content = _header(array) + array.tobytes()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        # gzip.compress would leave a byte that names the operating system to zlib.
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
            stream.write(content)
        content = packed.getvalue()
    _files.write(path, content)


def read(file: File, rank: int, *, item: tuple[int, ...] | None = None) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, compressed or not.

    The header is checked before the content is read: what it promises must fit what is on disk, and
    nothing is read beyond it.

    Args:
      file: the file.
      rank: the number of dimensions that are expected: 3 for images, 1 for labels.
      item: the expected shape of each item, for example ``(28, 28)``; None takes any.

    Returns:
      The array, uint8, of the shape in the header.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, cut short, damaged, too long, no regular file, or not an IDX
        file of this rank and item.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "labels.gz")
      ...     write(path, np.array([5, 0, 4], np.uint8))
      ...     read(path, rank=1)
      array([5, 0, 4], dtype=uint8)
    """
    _require.count("rank", rank, most=255)
    _require.instance("file", file, Path | Traversable, "a pathlib.Path or a file in a package")
    with _files.open_regular(file) if isinstance(file, Path) else file.open("rb") as stream:
        packed, on_disk = stream.read(2) == _GZIP, stream.seek(0, os.SEEK_END)
        shape = _shape(file, _content(file, stream, 4 * (1 + rank), packed)[0], rank)
        size = 4 * (1 + rank) + math.prod(shape)
        promise = f"{file} promises {_times(shape)} items = {size} bytes"
        if item is not None and shape[1:] != item:
            raise ValueError(f"{file} holds items of {_times(shape[1:])}, expected {_times(item)}")
        most = on_disk * (_DEFLATE_RATIO if packed else 1)
        if size > most:
            raise ValueError(f"{promise}, but {on_disk} bytes on disk cannot hold more than {most}")
        if size > _MOST_BYTES:
            raise ValueError(f"{promise}, more than the {_MOST_BYTES} that are read")
        if on_disk > 2 * size + _MOST_NAMES:
            raise ValueError(f"{promise}, but goes on for {on_disk} bytes on disk")
        content, whole = _content(file, stream, size + 1, packed)
    if len(content) < size:
        raise ValueError(f"{promise}, but holds only {len(content)}: it was cut short")
    if len(content) > size:
        raise ValueError(f"{promise}, but goes on for at least {len(content)}")
    if not whole:
        raise ValueError(f"{promise}, but its gzip checksum is missing or other bytes follow it")
    return np.frombuffer(content, np.uint8, offset=4 * (1 + rank)).reshape(shape)


def _shape(file: File, head: bytes | bytearray, rank: int) -> tuple[int, ...]:
    magic = int.from_bytes(head[:4], "big")
    if len(head) >= 4 and magic != _magic(rank):
        raise ValueError(
            f"{file} starts with {bytes(head[:4])!r} = {magic}, where an IDX file of {rank} "
            f"dimensions starts with {_magic(rank)}: {_guess(head)}"
        )
    if len(head) < 4 * (1 + rank):
        raise ValueError(
            f"{file} holds {len(head)} bytes, where the header alone takes {4 * (1 + rank)}"
        )
    return struct.unpack(f">{rank}I", head[4:])


def _content(
    file: File, stream: IO[bytes] | io.BufferedIOBase, limit: int, packed: bool
) -> tuple[bytearray, bool]:
    """Return the first bytes of the content, and whether a checksum has confirmed the whole."""
    stream.seek(0)
    if not packed:
        return bytearray(stream.read(limit)), True
    # Not gzip.open: it reports neither how much a file that is cut short holds, nor what follows.
    content, unpacker = bytearray(), zlib.decompressobj(wbits=31)
    try:
        while len(content) < limit and not unpacker.eof and (piece := stream.read(_PIECE)):
            content += unpacker.decompress(piece, limit - len(content))
    except zlib.error as error:
        on_disk = stream.seek(0, os.SEEK_END)
        raise ValueError(f"{file} ({on_disk} bytes) is a damaged gzip file: {error}") from error
    return content, unpacker.eof and not unpacker.unused_data and not stream.read(1)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _guess(head: bytes | bytearray) -> str:
    if head.lstrip().startswith(b"<"):
        return "this looks like a web page saved under the file's name"
    if head.startswith(b"\0\0\x08"):
        return "are images and labels swapped?"
    return "this is no such file"
