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
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from chainrule import _files

__all__ = ["Tensors", "read", "write"]

_METADATA = "__metadata__"
"""The member of an ``.npz`` with the metadata as JSON; ``.safetensors`` has a field for it."""
_SHA256 = "sha256"


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
      ValueError: the path has another ending, or a dtype is one that such a file cannot hold.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write(f"{folder}/a.npz", {"kernel": np.ones((2, 3))}, {"made by": "hand"})
      ...     read(f"{folder}/a.npz").metadata
      {'made by': 'hand'}
    """
    path = _checked(path)
    # Not np.ascontiguousarray, which adds an axis to scalars; safetensors garbles strided arrays.
    host = {name: _native(np.asarray(array, order="C")) for name, array in arrays.items()}
    words = dict(metadata or {})
    words[_SHA256] = _digest(host, words)
    if path.suffix == ".npz":
        # NumPy has no bfloat16: it would write two bytes without a dtype.
        if strange := sorted(n for n, a in host.items() if a.dtype.kind not in "biufc"):
            raise ValueError(f"{path}: an .npz cannot hold {strange}: take .safetensors")
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
      ValueError: the path has another ending, or the file is damaged, of another kind, or a pickle.
    """
    path = _checked(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        arrays, words = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
    except (safetensors.SafetensorError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged, or no {path.suffix} file: {error}") from error
    expected = words.pop(_SHA256, None)
    if expected is not None and expected != (found := _digest(arrays, words)):
        raise ValueError(f"{path} is damaged: its content has the SHA-256 {found}, not {expected}")
    return Tensors(arrays, words)


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(
            f"{path} ends in {path.suffix!r}: arrays are kept in .safetensors or .npz files, and "
            "no pickle (.pt, .pth, .pkl) is ever opened, because opening one runs it"
        )
    return path


def _read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with open(path, "rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        raise ValueError(f"{path} is no .safetensors file but an archive, as of pickles: refused")
    with safetensors.safe_open(path, framework="np") as file:
        return file.get_tensors(), file.metadata() or {}


def _read_npz(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        if strange := [name for name in archive.namelist() if not name.endswith(".npy")]:
            raise ValueError(
                f"{path} is no .npz file but an archive of {strange[:3]}, as of pickles: refused"
            )
    with np.load(path, allow_pickle=False) as archive:
        arrays = {}
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                raise ValueError(f"{path}: {name!r} is refused: {error}") from error
    words = arrays.pop(_METADATA, None)
    return arrays, {} if words is None else json.loads(str(words))


def _native(array: np.ndarray) -> np.ndarray:
    """Return an array in the byte order of this machine, in which it is read back."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _digest(arrays: Mapping[str, np.ndarray], words: Mapping[str, str]) -> str:
    """Return the checksum of the metadata and of names, dtypes, shapes and bytes, by name."""
    digest = hashlib.sha256(json.dumps(dict(words), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        # As bytes: an extension dtype has no buffer.
        digest.update(np.atleast_1d(array).view(np.uint8).data)
    return digest.hexdigest()


def __dir__() -> list[str]:
    return sorted(__all__)
