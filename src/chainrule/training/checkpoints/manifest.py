"""What a checkpoint is and whether it is whole: the list of its files, arrays and origin.

Orbax restores a flipped byte without a word, casts dtypes, and takes an empty folder for the
latest. So every checkpoint has a ``manifest.json``, written last: with the SHA-256 of every file,
of itself too, and with what the training was, in order that nothing else goes on from it.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from chainrule.runs import dumps

JSON = Any
PyTree = Any

FORMAT = 1
"""Of checkpoints; another one is refused."""
NAME = "manifest.json"
"""Of the file in every checkpoint."""


class DamagedError(ValueError):
    """A checkpoint is not what was written."""


class Manifest(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
      step: how many steps were taken.
      identity: what the training was: data, seed, settings.
      arrays: ``[dtype, shape]`` of every array, by its path.
      progress: what the loop knows beside the arrays.
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
    """Hash all that is in a folder, bring it to the disk, and add the manifest."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                files[path.relative_to(folder).as_posix()] = _sha256(file)
                os.fsync(file.fileno())
    content = {"format": FORMAT, **manifest._replace(files=files)._asdict()}
    # Plain JSON first: the same values as those that will be read.
    content = json.loads(dumps(content))
    with open(folder / NAME, "w", encoding="utf-8") as file:
        file.write(dumps({"sha256": _digest(content), "content": content}))
        file.flush()
        os.fsync(file.fileno())


def read(folder: pathlib.Path) -> Manifest:
    """Read the manifest of a checkpoint.

    Raises:
      DamagedError: it is missing, or not what was written.
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
            "take a newer version of chainrule"
        )
    return Manifest(**{name: content[name] for name in Manifest._fields})


def check_files(folder: pathlib.Path, manifest: Manifest) -> None:
    """Hold every file of a checkpoint against its manifest.

    Raises:
      DamagedError: files are missing or not what was written; all of them are listed.
    """
    wrong = []
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
            continue
        with open(path, "rb") as file:
            if _sha256(file) != expected:
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
    """List how what was saved differs from what is there now, by nested names."""
    saved, wanted = dict(_flat(saved)), dict(_flat(json.loads(dumps(wanted))))
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


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: JSON) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
