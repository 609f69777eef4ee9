"""Files of named arrays, ``.safetensors`` or ``.npz``, in which weights are stored. Never a pickle.

A pickle is a program: opening one runs it. So weights published as ``.pt``, ``.pth`` or ``.pkl``
are refused, under any file name. With PyTorch, convert them first:
``safetensors.torch.save_file(state_dict, "weights.safetensors")``.
"""

import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from chainrule import _files, _require

__all__ = ["Tensors", "read", "write"]
__dir__ = __all__.copy

_ENDINGS = (".safetensors", ".npz", ".xray")  # a record of the x-ray is safetensors, too
_METADATA = "__metadata__"
"""The member of an ``.npz`` with the metadata as JSON; ``.safetensors`` has a field for it."""
_SHA256 = "sha256"
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
    path = _checked(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    try:
        with _files.open_regular(path) as file:
            arrays, words = _read_npz(file) if path.suffix == ".npz" else _read_safetensors(file)
    except Exception as error:  # zip, zlib, json, NumPy and safetensors raise their own
        raise ValueError(f"{path} cannot be read as {path.suffix}: {error}") from error
    expected = words.pop(_SHA256, None)
    if expected is not None and expected != (found := _digest(arrays, words)):
        raise ValueError(f"{path} is damaged: its content has the SHA-256 {found}, not {expected}")
    return Tensors(arrays, words)


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
    path = _require.path("path", path)
    if path.suffix not in _ENDINGS:
        raise ValueError(
            f"{path} ends in {path.suffix!r}: arrays are kept in .safetensors or .npz files, and "
            "no pickle (.pt, .pth, .pkl) is ever opened, because opening one runs it"
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


def _read_safetensors(file: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, str]]:
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
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            content = np.fromfile(file, np.uint8, end - begin)
            arrays[name] = content.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
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


def _digest(arrays: Mapping[str, np.ndarray], words: Mapping[str, str]) -> str:
    """Return the checksum of the metadata and of names, dtypes, shapes and bytes, by name."""
    digest = hashlib.sha256(json.dumps(dict(words), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        # As bytes: an extension dtype has no buffer.
        digest.update(np.atleast_1d(array).view(np.uint8).data)
    return digest.hexdigest()
