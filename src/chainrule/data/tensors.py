"""Files of named arrays, ``.safetensors`` or ``.npz``, in which weights are stored. Never a pickle.

A pickle is a program: opening one runs it. So weights published as ``.pt``, ``.pth`` or ``.pkl``
are refused, under any file name. With PyTorch, convert them first:
``safetensors.torch.save_file(state_dict, "weights.safetensors")``.
"""

import hashlib
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from chainrule import _files, _require

__all__ = ["Looked", "Stored", "Tensors", "look", "pieces", "read", "write"]
__dir__ = __all__.copy

_ENDINGS = (".safetensors", ".npz", ".xray")  # a record of the x-ray is safetensors, too
_METADATA = "__metadata__"
"""The member of an ``.npz`` with the metadata as JSON; ``.safetensors`` has a field for it."""
_SHA256 = "sha256"
_CONVERT = """; with PyTorch, two lines convert the weights in it:
  weights = torch.load({old!r}, weights_only=True)
  safetensors.torch.save_file(weights, {new!r})"""
_PIECE = 2**24  # bytes read at a time
_DTYPES = {
    "BOOL": np.bool_,
    **{
        f"{kind[0].upper()}{8 * n}": f"{kind}{8 * n}"
        for kind in ("int", "uint")
        for n in (1, 2, 4, 8)
    },
    **{"F16": np.float16, "F32": np.float32, "F64": np.float64, "C64": np.complex64},
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
"""What the dtypes of ``.safetensors`` are in NumPy."""


class Tensors(NamedTuple):
    """The content of a file.

    Attributes:
      arrays: on the host, by name.
      metadata: text by name, for example what the arrays mean.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


class Stored(NamedTuple):
    """An array that is still in its file.

    Attributes:
      path: of the file, a ``.safetensors``.
      dtype: NumPy's.
      shape: of the array.
      offset: where its bytes begin.
    """

    path: pathlib.Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return the array, or its rows from ``first`` up to ``last``, without that one.

        Raises:
          ValueError: the file ends before them: it changed meanwhile.
        """
        rows = self.shape[0] if self.shape else 1
        last = rows if last is None else last
        row = int(np.prod(self.shape[1:], dtype=np.int64))
        with _files.open_regular(self.path) as file:
            file.seek(self.offset + first * row * self.dtype.itemsize)
            content = np.fromfile(file, np.uint8, (last - first) * row * self.dtype.itemsize)
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        try:
            return content.view(self.dtype).reshape(shape)
        except ValueError as error:
            raise ValueError(f"{self.path} changed while it was read: {error}") from error


class Looked(NamedTuple):
    """The content of a file, most of it still there.

    Attributes:
      arrays: by name.
      metadata: text by name.
    """

    arrays: dict[str, Stored | np.ndarray]
    metadata: dict[str, str]


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays with their checksum; a file of that name is replaced as a whole.

    Args:
      path: ends in ``.safetensors`` or ``.npz``.
      arrays: NumPy's or JAX's, by name.
      metadata: text by name.

    Raises:
      ValueError: the path has another ending, such a file cannot hold one of the dtypes, or a name
        is no text, or one that the file needs for itself.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write(f"{folder}/a.npz", {"kernel": np.ones((2, 3))}, {"made by": "hand"})
      ...     read(f"{folder}/a.npz").metadata
      {'made by': 'hand'}
    """
    path = _checked(path)
    _require.instance("arrays", arrays, Mapping, "a dict of arrays by name")
    _require.instance("metadata", metadata, Mapping | None, "a dict of text by name")
    host = {name: _host(name, array) for name, array in arrays.items()}
    words = dict(metadata or {})
    _check_names(host, words)
    words[_SHA256] = _digest(host, words)
    if path.suffix == ".npz":
        # Of a dtype that NumPy lacks, such as bfloat16, it would write bytes without their meaning.
        kinds = {name: array.dtype for name, array in host.items()}
        if lacks := [n for n, d in kinds.items() if d.isbuiltin == 2 or d.kind not in "biufc"]:
            raise ValueError(f"{path}: an .npz cannot hold {sorted(lacks)}: take .safetensors")
        with _files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
            # Not np.savez: no array could have the name of one of its arguments.
            for name, array in {_METADATA: np.array(json.dumps(words)), **host}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        return
    try:
        with _files.replacing(path) as file:
            safetensors.numpy.save_file(host, file.name, metadata=words)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error


def read(path: str | os.PathLike[str]) -> Tensors:
    """Read all arrays of a file.

    Args:
      path: ends in ``.safetensors`` or ``.npz``.

    Returns:
      The arrays and the metadata, without the checksum.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the path has another ending, or the file is damaged, of another kind, a pickle, or
        larger than the memory.
    """
    return Tensors(*_verified(path, whole=True))


def look(path: str | os.PathLike[str]) -> Looked:
    """Return what `read` does, but the arrays of a ``.safetensors`` still in their file.

    Its names, dtypes and shapes are there, and each array can be read when it is needed, by rows
    too: weights of half a gigabyte can be rearranged without holding them twice. A checksum is
    compared here, piece by piece.

    Args:
      path: as for `read`; the arrays of an ``.npz`` are read at once.

    Returns:
      `Stored` by name, or the arrays of an ``.npz``, and the metadata.

    Raises:
      FileNotFoundError: as for `read`, and so is ValueError.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write(f"{folder}/a.safetensors", {"kernel": np.ones((4, 3))})
      ...     kernel = look(f"{folder}/a.safetensors").arrays["kernel"]
      ...     kernel.shape, kernel.read(1, 3).shape
      ((4, 3), (2, 3))
    """
    return Looked(*_verified(path, whole=False))


def _verified(
    path: str | os.PathLike[str], *, whole: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    arrays: dict[str, Any]
    try:
        with _files.open_regular(path) as file:
            if path.suffix == ".npz":
                arrays, words = _read_npz(file)
            else:
                arrays, words = _look_safetensors(file)
        if whole:
            arrays = {n: a.read() if isinstance(a, Stored) else a for n, a in arrays.items()}
    except Exception as error:  # zip, zlib, json, NumPy and safetensors raise their own
        raise ValueError(f"{path} cannot be read as {path.suffix}: {error}") from error
    expected = words.pop(_SHA256, None)
    if expected is not None and expected != (found := _digest(arrays, words)):
        raise ValueError(f"{path} is damaged: its content has the SHA-256 {found}, not {expected}")
    return arrays, words


def pieces(array: Any) -> Iterator[np.ndarray]:
    """Yield the rows of an array, or of a `Stored` one, about 16 MiB of them at a time.

    Example:
      >>> [part.shape for part in pieces(np.zeros((3000, 4096), np.float32))]
      [(1024, 4096), (1024, 4096), (952, 4096)]
    """
    rows = array.shape[0] if array.shape else 0
    size = math.prod(array.shape) * array.dtype.itemsize
    step = max(1, rows * _PIECE // size) if size > _PIECE else max(1, rows)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        yield array.read(first, last) if isinstance(array, Stored) else array[first:last]
    if not array.shape:
        yield array.read() if isinstance(array, Stored) else array


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
    path = _require.path("path", path)
    if path.suffix not in _ENDINGS:
        pickled = path.suffix in (".pt", ".pth", ".pkl", ".bin")
        raise ValueError(
            f"{path} ends in {path.suffix!r}: arrays are kept in .safetensors or .npz files, and "
            "no pickle (.pt, .pth, .pkl) is ever opened, because opening one runs it"
            + (_CONVERT.format(old=path.name, new=f"{path.stem}.safetensors") if pickled else "")
        )
    return path


def _check_names(arrays: Mapping[str, Any], words: Mapping[str, str]) -> None:
    for text in (*arrays, *words, *words.values()):
        if not isinstance(text, str) or not _is_utf8(text):
            raise ValueError(f"names and metadata must be text in Unicode, not {text!r}")
    if _METADATA in arrays or _SHA256 in words:
        raise ValueError(
            f"an array {_METADATA!r} or a metadata entry {_SHA256!r}: the file has these names for "
            "itself, take others"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look_safetensors(file: BinaryIO) -> tuple[dict[str, Stored], dict[str, str]]:
    if file.read(4) == b"PK\x03\x04":
        raise ValueError("it is an archive, as of pickles")
    with safetensors.safe_open(file.name, framework="np") as checked:  # all sizes and offsets
        words = checked.metadata() or {}
    _fits(os.fstat(file.fileno()).st_size)
    file.seek(0)
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    start, arrays = file.tell(), {}
    for name, entry in header.items():
        if name != _METADATA:
            if entry["dtype"] not in _DTYPES:
                raise ValueError(f"{name!r} is {entry['dtype']}, which NumPy does not have")
            dtype, begin = np.dtype(_DTYPES[entry["dtype"]]), entry["data_offsets"][0]
            path, shape = pathlib.Path(file.name), tuple(entry["shape"])
            arrays[name] = Stored(path, dtype, shape, start + begin)
    return arrays, words


def _read_npz(file: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if strange := [name for name in names if not name.endswith(".npy")]:
            raise ValueError(f"it is an archive of {strange[:3]}, as of pickles")
        if len(set(names)) < len(names):
            raise ValueError("it holds two arrays of one name")
        _fits(sum(member.file_size for member in archive.infolist()))
        arrays = {}
        for name in names:
            with archive.open(name) as member:
                try:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                except (ValueError, MemoryError) as error:
                    raise ValueError(f"{name!r} is refused: {error}") from error
            arrays[name.removesuffix(".npy")] = array
    words = json.loads(str(arrays.pop(_METADATA, "{}")))
    return arrays, {str(name): str(text) for name, text in words.items()}


def _fits(size: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise ValueError(f"its arrays take {size} bytes, and this machine has {memory}")


def _host(name: str, array: Any) -> np.ndarray:
    """Return an array for the file: on the host, contiguous, in the byte order of this machine."""
    try:
        # Not np.ascontiguousarray, which adds an axis to scalars; safetensors garbles strided ones.
        found = np.asarray(array, order="C")
    except (TypeError, ValueError) as error:  # a key, a list of lists of several lengths
        raise ValueError(f"{name!r} must be an array of numbers: {error}") from error
    if found.dtype.hasobject:
        raise ValueError(f"{name!r} must be an array of numbers, not of {found.dtype}")
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _digest(arrays: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """Return the checksum of the metadata and of names, dtypes, shapes and bytes, by name."""
    digest = hashlib.sha256(json.dumps(dict(words), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        for part in pieces(array):
            # As bytes: an extension dtype has no buffer.
            digest.update(np.atleast_1d(part).view(np.uint8).data)
    return digest.hexdigest()
