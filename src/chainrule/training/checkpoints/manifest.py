"""What a checkpoint holds and whether it is complete: its files, its arrays, its training.

Orbax restores a flipped byte without an error, casts dtypes, and takes an empty folder for the
latest checkpoint. So every checkpoint has a ``manifest.json``, written last. It lists the size and
the SHA-256 of every file, its own SHA-256, and what the training was, so that no other training
resumes from it.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from chainrule import _files
from chainrule._files import JSON

__all__ = [
    "FORMAT",
    "MAX_BYTES",
    "NAME",
    "DamagedError",
    "Manifest",
    "check_files",
    "describe",
    "differences",
    "read",
    "write",
]
__dir__ = __all__.copy

FORMAT = 2
"""The version of the format; any other is refused."""
NAME = "manifest.json"
"""The name of the file in every checkpoint."""
MAX_BYTES = 2**28
"""No manifest is longer: it holds a number a metric and step of one epoch, and no arrays."""


class DamagedError(ValueError):
    """A checkpoint differs from what was written."""


class Manifest(NamedTuple):
    """What a checkpoint says about itself.

    Attributes:
      step: how many steps were taken.
      identity: what the training is: data, seeds, settings.
      arrays: ``[dtype, shape]`` of every array, by its path in the tree.
      progress: what the loop needs to resume beside the arrays.
      record: that of the epoch that ended here, if one did.
      files: ``[bytes, SHA-256]`` of every file, by its path in the folder.
    """

    step: int
    identity: dict[str, JSON]
    arrays: dict[str, JSON]
    progress: dict[str, JSON]
    record: dict[str, JSON] | None
    files: dict[str, JSON]


def write(folder: pathlib.Path, manifest: Manifest) -> None:
    """Hash all files in a folder, bring them to the disk, and add the manifest."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            entry = [path.stat().st_size, _files.sha256(path)]
            files[path.relative_to(folder).as_posix()] = entry
            _files.sync(path)
    # The digest is that of the plain JSON which will be read.
    content = _files.plain({"format": FORMAT, **manifest._replace(files=files)._asdict()})
    _files.write(folder / NAME, _files.dumps({"sha256": _digest(content), "content": content}))


def read(folder: pathlib.Path) -> Manifest:
    """Read the manifest of a checkpoint.

    Raises:
      DamagedError: it is missing, or differs from what was written.
      ValueError: another version of this package wrote it.
    """
    path = folder / NAME
    try:
        whole = _files.loads(_files.read(path, most=MAX_BYTES))
        content, expected = whole["content"], whole["sha256"]
        if _digest(content) != expected:
            raise DamagedError("its content is not what was written")
        _check(content)
    except FileNotFoundError:
        raise DamagedError(f"{folder} has no {NAME}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    if content["format"] != FORMAT:
        raise ValueError(
            f"{folder} has the format {content['format']}, and this version reads {FORMAT}: use "
            f"{'a newer' if content['format'] > FORMAT else 'the older'} version of chainrule"
        )
    return Manifest(**{name: content[name] for name in Manifest._fields})


def check_files(folder: pathlib.Path, manifest: Manifest) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
      DamagedError: files are missing or differ from what was written; all of them are listed.
    """
    wrong = []
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif (found := path.stat().st_size) != size:
            wrong.append(f"{name} has {found} bytes, not {size}")
        elif _files.sha256(path) != digest:
            wrong.append(f"{name} ({size} bytes) is not what was written")
    if wrong:
        raise DamagedError(f"{folder} is damaged: " + "; ".join(wrong))


def describe(tree: PyTree) -> dict[str, JSON]:
    """Return ``{path: [dtype, shape]}`` of the arrays in a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path).lstrip("."): [str(leaf.dtype), list(leaf.shape)]
        for path, leaf in leaves
    }


def differences(saved: Mapping[str, JSON], wanted: Mapping[str, JSON]) -> list[str]:
    """List the differences between what was saved and what is there now, by nested names."""
    saved, wanted = dict(_flat(saved)), dict(_flat(_files.plain(wanted)))
    return [
        f"{name}: {saved.get(name, 'nothing')} in the checkpoint, "
        f"{wanted.get(name, 'nothing')} here"
        for name in sorted({*saved, *wanted})
        if saved.get(name) != wanted.get(name)
    ]


_KINDS: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "identity": dict,
    "arrays": dict,
    "progress": dict,
    "record": (dict, type(None)),
    "files": dict,
}


def _check(content: JSON) -> None:
    """Refuse what no version wrote, though its digest is right."""
    if not _is_count(content["format"]):
        raise ValueError(f"format {content['format']!r}")
    if content["format"] != FORMAT:
        return
    wrong = [name for name, kind in _KINDS.items() if not isinstance(content[name], kind)]
    if wrong or not _is_count(content["step"]):
        raise ValueError(f"of another kind: {', '.join(wrong or ['step'])}")
    for name, entry in content["files"].items():
        size, digest = entry
        outside = pathlib.PurePosixPath(name).is_absolute() or ".." in name.split("/")
        if outside or not _is_count(size) or not isinstance(digest, str):
            raise ValueError(f"the entry of the file {name!r} is {entry!r}")


def _is_count(value: JSON) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flat(tree: Mapping[str, JSON], path: str = "") -> Iterator[tuple[str, JSON]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _digest(content: JSON) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
