"""The folder of a step that failed: plain files, whole or not at all; reading it runs no code.

``step.json`` says what failed, where and on what, ``report.txt`` what was found out,
``page.html`` shows it, ``record.xray`` is the record (`chainrule.xray.load` reads it), and
``arguments.safetensors`` holds what the function was called with: state, batch and key.
"""

import contextlib
import dataclasses
import os
import pathlib
import platform
import secrets
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jaxlib.version
import numpy as np

from chainrule import _files, _require
from chainrule._files import JSON, printable
from chainrule.data import tensors
from chainrule.xray.recorder import trees
from chainrule.xray.recorder.autopsy import Autopsy
from chainrule.xray.recorder.calls import Call

__all__ = ["Kept", "read", "surroundings", "told", "write"]
__dir__ = __all__.copy

_FORMAT = 1
_MOST = 2**26  # bytes of what is no array
_ABOUT, _REPORT, _PAGE = "step.json", "report.txt", "page.html"
_RECORD, _ARGUMENTS, _STEP = "record.xray", "arguments.safetensors", "step.safetensors"
_KINDS = {"leaves": list, "digests": dict, "surroundings": dict}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a folder says about a step that failed.

    Attributes:
      folder: where it is.
      step: the number of the step.
      text: what was found out.
      about: the content of ``step.json``.
      files: what else is in the folder.
    """

    folder: pathlib.Path
    step: int
    text: str
    about: dict[str, JSON]
    files: tuple[str, ...]

    def __str__(self) -> str:
        page = [f"page: {printable(self.folder / _PAGE)}"] if _PAGE in self.files else []
        return "\n\n".join([self.text.rstrip(), *page])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what the function was called with, by its path.

        Raises:
          ValueError: the folder does not hold it, or the file is damaged.
        """
        if _ARGUMENTS not in self.files:
            raise ValueError(f"{self.folder} does not hold what the function was called with")
        return tensors.read(self.folder / _ARGUMENTS).arrays


def write(found: Autopsy, root: pathlib.Path, whole: Call | None = None) -> pathlib.Path:
    """Write a step that failed into a new folder ``step-<number>``, which appears when it is whole.

    Args:
      found: what was found out.
      root: the folder to make it in; it is made, too. Of several processes, each makes its own
        ``process-<rank>`` in it.
      whole: what the whole step was called with, where its loss alone failed.

    Returns:
      The folder; with another number after it where that name is taken.

    Raises:
      OSError: it cannot be written; nothing is left then.
    """
    if jax.process_count() > 1:  # each writes its own part
        root = root / f"process-{jax.process_index()}"
    root.mkdir(parents=True, exist_ok=True)
    partial = root / f".step-{found.step}.{secrets.token_hex(8)}.partial"
    partial.mkdir()
    try:
        lost = _arrays(partial, found, whole)
        _files.write(partial / _REPORT, "\n\n".join(filter(None, [_text(found), *lost])) + "\n")
        files = {
            path.name: [path.stat().st_size, _files.sha256(path)]
            for path in sorted(partial.iterdir())
        }
        _files.write(partial / _ABOUT, _files.dumps(_about(found) | {"files": files}))
        _files.sync(partial)
        return _publish(partial, root / f"step-{found.step}")
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial)


def told(found: Autopsy, root: pathlib.Path, whole: Call | None = None) -> str:
    """Write a step, and return all that is said of it; that it could not be written, too."""
    try:
        return f"{found}\nsaved: {printable(write(found, root, whole))}"
    except Exception as error:  # whatever it is, the training's own error is what matters
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"{found}\nnothing was saved in {printable(root)}: {printable(reason)}"


def _publish(partial: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    for more in range(1000):
        name = path.with_name(path.name + (f"-{more + 1}" if more else ""))
        if not os.path.lexists(name):
            partial.rename(name)
            _files.sync(path.parent)
            return name
    raise FileExistsError(f"{path} and 999 names after it are taken")


def _arrays(partial: pathlib.Path, found: Autopsy, whole: Call | None) -> list[str]:
    """Write what is large; return what could not be written, and why."""
    lost: list[str] = []

    def attempt(name: str, make: Callable[[pathlib.Path], object]) -> None:
        try:
            make(partial / name)
        except OSError:
            raise  # nothing can be written at all
        except Exception as error:  # an array of a type that no such file holds
            (partial / name).unlink(missing_ok=True)
            lost.append(f"{name} was not written: {printable(error)}")

    attempt(_ARGUMENTS, lambda path: tensors.write(path, trees.arrays(found.call)))
    if whole is not None:
        attempt(_STEP, lambda path: tensors.write(path, trees.arrays(whole)))
    if (report := found.report) is not None:
        attempt(_RECORD, report.save)
        attempt(_PAGE, report.save)
    return lost


def _text(found: Autopsy) -> str:
    """Return all that was found out, with the deaths and the flow where there are gradients."""
    parts = [f"step {found.step} is not finite, in {found.function}", str(found)]
    if found.cures is not None and (len(found.cures) > 1 or found.cures.tried):
        parts.append(f"all cures that hold:\n\n{found.cures}" if found.cures else str(found.cures))
    if found.report is not None and found.report.record.wanted:
        with contextlib.suppress(Exception):  # said beside, and not what was asked
            deaths = found.report.deaths()
            parts += [str(deaths)] if deaths.matter else []
            parts.append(str(found.report.flow()))
    return "\n\n".join(parts)


def _about(found: Autopsy) -> dict[str, JSON]:
    call = found.call
    return {
        "format": _FORMAT,
        "step": found.step,
        "function": found.function,
        "of_loss": found.of_loss,
        "jitted": hasattr(call.step, "lower"),
        **trees.importable(call.step),
        "surroundings": surroundings(),
        "leaves": trees.leaves(call),
        "tree": trees.describe(call),
        "digests": dict(found.digests),
        "bad": list(found.bad),
        "births": [dataclasses.asdict(birth) for birth in found.births],
        "samples": dataclasses.asdict(found.samples),
        "of_data": list(found.of_data),
        "history": {name: list(row) for name, row in found.history.items()},
        "notes": list(found.notes),
    }


def surroundings() -> dict[str, JSON]:
    """Return what may change the bits of a result: versions, and the device."""
    import chainrule  # which is above this room

    device = jax.local_devices()[0]
    return {
        "chainrule": chainrule.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "python": platform.python_version(),
        "device": f"{device.platform} ({device.device_kind})",
        "processor": platform.machine(),
        "x64": jax.numpy.result_type(float) == np.float64,
    }


def read(folder: str | os.PathLike[str]) -> Kept:
    """Read the folder of a step that failed; nothing in it is run.

    Raises:
      FileNotFoundError: there is no such folder, or it is none of these.
      ValueError: it is damaged, or of another format.
    """
    folder = _require.path("folder", folder)
    if not (folder / _ABOUT).exists():
        raise FileNotFoundError(f"{folder} is no folder of a step that failed: it has no {_ABOUT}")
    try:
        about = _files.loads(_files.read(folder / _ABOUT, most=_MOST))
        if about["format"] != _FORMAT:
            raise ValueError(f"it has format {about['format']!r}, and this version reads {_FORMAT}")
        step, files = about["step"], about["files"]
        known = {_RECORD, _ARGUMENTS, _STEP, _REPORT, _PAGE}
        if type(step) is not int or step < 0 or not set(files) <= known or _REPORT not in files:
            raise ValueError(f"step {step!r} with the files {sorted(files)}")
        for name, kind in _KINDS.items():
            if not isinstance(about[name], kind):
                raise ValueError(f"{name} is {about[name]!r}"[:200])
        for name, (size, digest) in files.items():
            _check(folder / name, size, digest)
        text = _files.read(folder / _REPORT, most=_MOST).decode("utf-8")
    except (LookupError, TypeError, AttributeError, ValueError, OSError) as error:
        raise ValueError(f"{folder} cannot be read: {printable(error)}") from error
    lines = [printable(line) for line in text.splitlines()]
    return Kept(folder, step, "\n".join(lines), about, tuple(files))


def _check(path: pathlib.Path, size: Any, digest: Any) -> None:
    with _files.open_regular(path) as file:
        found = os.fstat(file.fileno()).st_size
    if found != size:
        raise ValueError(f"{path.name} has {found} bytes, not {size!r}")
    if _files.sha256(path) != digest:
        raise ValueError(f"{path.name} is not what was written")
