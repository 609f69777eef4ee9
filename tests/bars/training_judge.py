"""What the recorder says of a training, against what is known of it."""

import pathlib
import warnings
from typing import Any, NamedTuple

import jax

from chainrule import training as trainings
from chainrule.xray.recorder import NonFiniteError, Recorder, folder, replay
from tests.bars.failing_trainings import Training

BARS = {"step": 0.97, "line": 0.97, "rows": 0.97, "all three": 0.97, "replay": 1.0}
"""The share of programs of which each must be right."""


class Judged(NamedTuple):
    """What was met, bar by bar, and what was said.

    Attributes:
      met: bar to whether it is met; a bar that is not about this training is missing.
      said: the error, or why there is none.
    """

    met: dict[str, bool]
    said: str


def recorded(training: Training, root: pathlib.Path) -> NonFiniteError | None:
    """Run a training under the recorder; return its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _run(training, root)
    except NonFiniteError as error:
        return error
    return None


def _run(training: Training, root: pathlib.Path) -> None:
    if training.flavour == "fit":
        state, loss, optimizer, batches, epochs = training.run.create()
        trainings.fit(state, loss, optimizer, batches, epochs, recorder=root)
        return
    step, state, batches = training.run.create()
    recorder = Recorder(root)
    watched = recorder.watch(step)
    for batch in batches:
        state, _ = watched(state, batch)
    recorder.finish()


def judge(training: Training, root: pathlib.Path) -> Judged:
    """Say which bars a training meets."""
    error = recorded(training, root)
    if error is None or error.autopsy is None:
        return Judged({"step": False, "all three": False}, f"no alarm, or no autopsy: {error}")
    met = {"step": error.step == training.step}
    if training.lines:
        met["line"] = bool(error.births) and _line(error.births[0].line, training) in training.lines
    elif training.phase == "data":
        met["line"] = bool(error.autopsy.data) and training.leaf in " ".join(error.autopsy.data)
    if not training.coupled:
        met["rows"] = error.samples == (training.rows or ())
        if training.sample is not None and error.samples:
            met["rows"] &= error.autopsy.of_data[error.samples[0]] == training.sample
    met["all three"] = all(met.values())
    return Judged(met | _replayed(root / f"step-{error.step}"), str(error))


def _replayed(path: pathlib.Path) -> dict[str, bool]:
    """Replay what says where its function is, and of which a folder can hold the arguments."""
    kept = folder.read(path)
    if kept.about["spec"] is None or kept.about["tree"] is None:
        return {}
    found = replay.replay(kept)
    return {"replay": bool(found.bad) and not found.differ}


def _line(line: str, training: Training) -> int:
    file, _, number = line.partition(" (")[0].rpartition(":")
    return int(number) if pathlib.Path(file).name == training.file.name else 0


def told(numbered: Any, training: Training, judged: Judged) -> str:
    """Return one line about a training, for those that miss something."""
    missed = ", ".join(bar for bar, met in judged.met.items() if not met)
    jax.clear_caches()
    return f"{numbered} {training.flavour} {training.kind}: {missed or 'right'}"
