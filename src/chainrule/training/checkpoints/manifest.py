"""What a checkpoint holds and whether it is complete: its files, its arrays, its training.

Orbax restores a flipped byte without an error, casts dtypes, and takes an empty folder for the
latest checkpoint. So every checkpoint has a ``manifest.json``, written last. It lists the SHA-256
of every file and of itself, and what the training was, so that no other training resumes from it.
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
    "NAME",
    "DamagedError",
    "Manifest",
    "check_files",
    "describe",
    "differences",
    "read",
    "write",
]

FORMAT = 1
"""The version of the format; a newer one is refused."""
NAME = "manifest.json"
"""The name of the file in every checkpoint."""


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
      files: the SHA-256 of every file, by its path in the folder.
    """

    step: int
    identity: dict[str, JSON]
    arrays: dict[str, JSON]
    progress: dict[str, JSON]
    record: dict[str, JSON] | None
    files: dict[str, str]


def write(folder: pathlib.Path, manifest: Manifest) -> None:
    """Hash all files in a folder, bring them to the disk, and add the manifest."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = _files.sha256(path)
            _files.sync(path)
    # The digest is that of the plain JSON which will be read.
    content = _files.plain({"format": FORMAT, **manifest._replace(files=files)._asdict()})
    _files.write(folder / NAME, _files.dumps({"sha256": _digest(content), "content": content}))


def read(folder: pathlib.Path) -> Manifest:
    """Read the manifest of a checkpoint.

    Raises:
      DamagedError: it is missing, or differs from what was written.
      ValueError: a newer version of this package wrote it.
    """
    try:
        whole = json.loads((folder / NAME).read_bytes())
        content, expected = whole["content"], whole["sha256"]
    except FileNotFoundError:
        raise DamagedError(f"{folder} has no {NAME}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder / NAME} is damaged: {error}") from None
    if _digest(content) != expected:
        raise DamagedError(f"{folder / NAME} is damaged: its content is not what was written")
    if content["format"] > FORMAT:
        raise ValueError(
            f"{folder} has the format {content['format']}, and this version reads up to {FORMAT}: "
            "use a newer version of chainrule"
        )
    return Manifest(**{name: content[name] for name in Manifest._fields})


def check_files(folder: pathlib.Path, manifest: Manifest) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
      DamagedError: files are missing or differ from what was written; all of them are listed.
    """
    wrong = []
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
            continue
        if _files.sha256(path) != expected:
            wrong.append(f"{name} ({path.stat().st_size} bytes) is not what was written")
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


def _flat(tree: Mapping[str, JSON], path: str = "") -> Iterator[tuple[str, JSON]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _digest(content: JSON) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def __dir__() -> list[str]:
    return sorted(__all__)
