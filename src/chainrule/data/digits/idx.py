"""IDX, the format of the original files: a magic number, the sizes, the bytes.

::

    00 00 08 dd | dd sizes, 32 bits each, big-endian | unsigned bytes, last axis fastest

``08`` stands for unsigned bytes and ``dd`` is the number of dimensions, so that an image file
begins with 2051 and a label file with 2049. Whether a file is compressed is seen from its first
bytes, not from its name: browsers unpack ``.gz`` files and keep the name.

Source: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", section
"File formats for the MNIST database".
"""

import gzip
import hashlib
import io
import math
import struct
import zlib
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

__all__ = ["File", "read", "sha256", "write"]

File = Path | Traversable
"""A file or folder on disk, or inside an installed package."""

_GZIP = b"\x1f\x8b"
_DEFLATE_RATIO = 1032  # a compressed byte never stands for more than 1032 bytes (zlib's FAQ)


def _magic(rank: int) -> int:
    return 0x0800 | rank


def _header(array: UInt8[np.ndarray, "..."]) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", _magic(array.ndim), *array.shape)


def sha256(array: UInt8[np.ndarray, "..."]) -> str:
    """Return the SHA-256 of an array's IDX file, uncompressed.

    The header follows from the shape, so the digest is that of the content of the file which the
    array was read from, whichever way that is compressed: ``gzip -dc FILE | sha256sum``.

    Args:
      array: unsigned bytes of any shape.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> sha256(np.arange(3, dtype=np.uint8))[:16]
      'b42326e576482897'
    """
    digest = hashlib.sha256(_header(array))
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write(path: Path, array: UInt8[np.ndarray, "..."]) -> None:
    """Write an array as an IDX file, compressed when the name ends in ``.gz``.

    The same array gives the same bytes every time: no name and no time go into the file.

    Args:
      path: the file to write.
      array: unsigned bytes of any shape.
    """
    content = _header(array) + array.tobytes()
    if path.suffix == ".gz":
        packed = io.BytesIO()
        # gzip.compress would leave a byte that names the operating system to zlib.
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
            stream.write(content)
        content = packed.getvalue()
    path.write_bytes(content)


def read(file: File, rank: int) -> UInt8[np.ndarray, "..."]:
    """Read an IDX file of unsigned bytes, compressed or not.

    No memory is set aside on the header's word: what it promises is compared with what is there.

    Args:
      file: the file.
      rank: the number of dimensions that are expected: 3 for images, 1 for labels.

    Returns:
      The array, uint8, of the shape in the header.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, cut short, damaged, too long, or not an IDX file of this rank.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "labels.gz")
      ...     write(path, np.array([5, 0, 4], np.uint8))
      ...     read(path, rank=1)
      array([5, 0, 4], dtype=uint8)
    """
    raw = file.read_bytes()
    offset = 4 * (1 + rank)
    head, _ = _content(file, raw, offset)
    magic = int.from_bytes(head[:4], "big")
    if len(head) >= 4 and magic != _magic(rank):
        raise ValueError(
            f"{file} starts with {head[:4]!r} = {magic}, where an IDX file of {rank} dimensions "
            f"starts with {_magic(rank)}: {_guess(head)}"
        )
    if len(head) < offset:
        raise ValueError(f"{file} holds {len(head)} bytes, where the header alone takes {offset}")
    shape = struct.unpack(f">{rank}I", head[4:])
    size = offset + math.prod(shape)
    promise = f"{file} promises {' x '.join(map(str, shape))} items = {size} bytes"
    most = len(raw) * (_DEFLATE_RATIO if raw.startswith(_GZIP) else 1)
    if size > most:
        raise ValueError(f"{promise}, but {len(raw)} bytes on disk cannot hold more than {most}")
    content, whole = _content(file, raw, size + 1)
    if len(content) < size:
        raise ValueError(f"{promise}, but holds only {len(content)}: it was cut short")
    if len(content) > size:
        raise ValueError(f"{promise}, but goes on for at least {len(content)}")
    if not whole:
        raise ValueError(f"{promise}, but its gzip checksum is missing or other bytes follow it")
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape).copy()


def _content(file: File, raw: bytes, limit: int) -> tuple[bytes, bool]:
    """Return the first bytes of the content, and whether a checksum has confirmed the whole."""
    if not raw.startswith(_GZIP):
        return raw[:limit], True
    # Not gzip.decompress: it has no limit, raises without a count when cut short, and takes b"".
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(raw, limit)
    except zlib.error as error:
        raise ValueError(f"{file} ({len(raw)} bytes) is a damaged gzip file: {error}") from error
    return content, stream.eof and not stream.unused_data


def _guess(head: bytes) -> str:
    if head.lstrip().startswith(b"<"):
        return "this looks like a web page saved under the file's name"
    if head.startswith(b"\0\0\x08"):
        return "are images and labels swapped?"
    return "this is no such file"


def __dir__() -> list[str]:
    return sorted(__all__)
