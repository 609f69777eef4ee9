"""Checkpoints: a training that can be taken up where it was, to the bit, or not at all.

Orbax writes and restores the arrays, of many hosts too and in the background; what it does not
check stands in a manifest (`chainrule.training.checkpoints.manifest`). A checkpoint is a folder
``step-00001200``, which gets this name when all of it is on the disk.
"""

import concurrent.futures
import contextlib
import fcntl
import functools
import logging
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from chainrule.training.checkpoints import manifest
from chainrule.training.checkpoints.manifest import DamagedError, Manifest
from chainrule.training.step import TrainState, as_it_was, storable

JSON = Any
PyTree = Any


class Restored(NamedTuple):
    """A training as it was.

    Attributes:
      train_state: its state.
      manifest: what the checkpoint says of itself.
    """

    train_state: TrainState
    manifest: Manifest


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    What may be saved and what may be resumed, and where, is said once, here; `fit` does the rest.

    Attributes:
      folder: where they are.
      every: after how many steps one is saved, beside the one at the end of each epoch.
      resume: whether the training goes on from what is there.

    Args:
      folder: made if there is none.
      keep: how many of the last ones are kept, at least 1.
      best: the name of an entry of the records; the checkpoint of the epoch with the best one is
        kept too.
      mode: whether the best is the smallest or the largest.
      every: steps; None saves at the end of each epoch only.
      resume: go on from the newest one that is whole. Without it the folder must hold none: what
        is there is neither overwritten nor mixed with another training's.
      identity: settings that make the training what it is (JSON): the rate of the optimizer, for
        example, which nothing else shows. The data, the batches and the key are added by `fit`.

    Raises:
      ValueError: a setting is out of range, there are checkpoints though ``resume`` is not asked
        for, or another process writes to the folder.
      FileNotFoundError: there are none to resume from.

    Example:
      >>> import tempfile, optax
      >>> from chainrule.training import create
      >>> start = create({"w": jnp.ones(2)}, optax.sgd(0.1), key=jax.random.key(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with Checkpoints(folder, identity={"eta": 0.1}) as checkpoints:
      ...         checkpoints.save(start)
      ...     with Checkpoints(folder, identity={"eta": 0.1}, resume=True) as checkpoints:
      ...         checkpoints.restore(start).train_state.params
      {'w': Array([1., 1.], dtype=float32)}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep: int = 3,
        best: str | None = None,
        mode: Literal["min", "max"] = "min",
        every: int | None = None,
        resume: bool = False,
        identity: Mapping[str, JSON] | None = None,
    ):
        if keep < 1 or (every is not None and every < 1):
            raise ValueError(f"keep={keep} and every={every}: both must be at least 1")
        if mode not in ("min", "max"):
            raise ValueError(f"mode={mode!r}: expected 'min' or 'max'")
        self.folder = pathlib.Path(folder).absolute()
        self.every = every
        self.resume = resume
        self._keep, self._best, self._mode = keep, best, mode
        self._identity = dict(identity or {})
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._leads = jax.process_index() == 0
        self._lock = _lock(self.folder) if self._leads else None
        if resume and not self.steps():
            self.close()
            raise FileNotFoundError(
                f"no checkpoint in {self.folder}: to begin anew, ask for no resumption"
            )
        if not resume and self.steps():
            self.close()
            raise ValueError(
                f"{self.folder} holds the checkpoint of step {self.steps()[-1]}: resume it, or "
                "name another folder"
            )
        if self._leads:
            for left in self.folder.glob("*.partial"):
                shutil.rmtree(left)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being written, and let others use the folder."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def steps(self) -> list[int]:
        """Return the steps of which there is a checkpoint, in order."""
        names = (re.fullmatch(r"step-(\d{8,})", path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def best(self) -> int | None:
        """Return the step of the best one; None without one, or where no ``best`` is asked for."""
        values = {}
        for step in self.steps():
            with contextlib.suppress(DamagedError):
                record = manifest.read(self._path(step)).record or {}
                # NaN, a word in JSON, is never the best.
                if isinstance(value := record.get(self._best or ""), int | float):
                    values[step] = value
        # Of two that are equal the earlier one.
        choose = {"min": min, "max": max}[self._mode]
        return choose(values, key=lambda step: values[step]) if values else None

    def save(
        self,
        train_state: TrainState,
        *,
        identity: Mapping[str, JSON] | None = None,
        progress: Mapping[str, JSON] | None = None,
        record: Mapping[str, JSON] | None = None,
    ) -> None:
        """Save a state in the background: it is copied first, and one is written at a time.

        Args:
          train_state: the state.
          identity: what the training is, beside what was said when the folder was opened.
          progress: what else is needed to go on, JSON.
          record: the record of the epoch that ended here.

        Raises:
          ValueError: the record has no entry called ``best``.
          OSError: the one before could not be written. Those before that are as they were.
        """
        if self._best is not None and record is not None and self._best not in record:
            raise ValueError(f"best={self._best!r}: the records hold {sorted(record)}, not this")
        self.wait()
        step = int(train_state.step)
        if step in self.steps():
            return
        # Of its own: the buffers of the state go into the next step.
        tree = jax.tree.map(lambda leaf: jnp.copy(storable(leaf)), train_state)
        says = Manifest(
            step,
            self._identity | dict(identity or {}),
            manifest.describe(tree),
            dict(progress or {}),
            None if record is None else dict(record),
            files={},
        )
        partial = self._path(step).with_suffix(".partial")
        try:
            self._check_space(tree)
            self._orbax.save(partial / "arrays", tree)
        except Exception as error:
            raise self._failed(step, error) from error
        self._pending = self._writer.submit(self._finish, partial, says)

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
          OSError: what was could not be.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def restore(
        self,
        like: TrainState,
        *,
        identity: Mapping[str, JSON] | None = None,
        step: int | None = None,
    ) -> Restored:
        """Read a state back, all of it checked.

        Args:
          like: a state of the same training, for the structure, shapes, dtypes and placement.
          identity: as in `save`.
          step: which one; None takes the newest, and where that is damaged, with a warning, the
            one before. The damaged one is renamed to ``.damaged``.

        Raises:
          ValueError: it is another training's (all that differs is listed), a newer version wrote
            it, or there is none that is whole.
        """
        self.wait()
        damage: dict[int, str] = {}
        for at in self.steps()[::-1] if step is None else [step]:
            try:
                says = manifest.read(self._path(at))
                manifest.check_files(self._path(at), says)
            except DamagedError as error:
                damage[at] = str(error)
                continue
            state = self._read(self._path(at), says, like, identity or {})
            for newer, problem in damage.items():
                warnings.warn(f"{problem}: going back to step {at}", stacklevel=2)
                self._set_aside(newer)
            return Restored(state, says)
        raise ValueError("no checkpoint is whole: " + "; ".join(damage.values()))

    def _read(
        self, path: pathlib.Path, says: Manifest, like: TrainState, identity: Mapping[str, JSON]
    ) -> TrainState:
        tree = jax.tree.map(storable, like)
        wrong = manifest.differences(says.identity, self._identity | dict(identity))
        wrong += manifest.differences(says.arrays, manifest.describe(tree))
        if wrong:
            raise ValueError(f"{path} is of another training: " + "; ".join(wrong))
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
        )
        restored = self._orbax.restore(path / "arrays", wanted)
        return jax.tree.map(as_it_was, restored, like)

    def _set_aside(self, step: int) -> None:
        """Make room for a new checkpoint of this step."""
        if self._leads:
            aside = self._path(step).with_suffix(".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            self._path(step).rename(aside)

    def _finish(self, partial: pathlib.Path, says: Manifest) -> None:
        try:
            self._orbax.wait_until_finished()
            if self._leads:
                manifest.write(partial, says)
                partial.rename(self._path(says.step))
                _sync(self.folder)
                self._prune()
        except Exception as error:
            raise self._failed(says.step, error) from error

    def _check_space(self, tree: PyTree) -> None:
        # Said before, not found on the way: a full disk breaks more than this.
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise OSError(f"it takes {size} bytes, and {free} are free")

    def _failed(self, step: int, error: Exception) -> OSError:
        self.__dict__.pop("_orbax", None)  # one that failed raises the same for ever
        for left in self.folder.glob("*.partial"):
            shutil.rmtree(left, ignore_errors=True)
        # The libraries below name every file on the way; the reason comes last.
        reason = str(error).splitlines()[0].rsplit(": ", 1)[-1] if str(error) else repr(error)
        return OSError(
            f"the checkpoint of step {step} could not be written to {self.folder} ({reason}); "
            f"those of steps {self.steps()} are as they were"
        )

    def _prune(self) -> None:
        steps = self.steps()
        for step in {*steps[: -self._keep]} - {self.best()}:
            # Under another name first: a folder of that name is whole at every moment.
            gone = self._path(step).with_suffix(".partial")
            self._path(step).rename(gone)
            shutil.rmtree(gone)

    @functools.cached_property
    def _orbax(self) -> Any:
        # A second to import: only who saves waits for it.
        import orbax.checkpoint

        # What goes wrong is raised to us; its logs would bury the one line that says it.
        logging.getLogger("absl").addFilter(_not_of_orbax)
        return orbax.checkpoint.StandardCheckpointer()

    def _path(self, step: int) -> pathlib.Path:
        return self.folder / f"step-{step:08d}"


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _lock(folder: pathlib.Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(
            f"{folder} is being written by another process: wait for it, or name another folder"
        ) from None
    return descriptor


def _sync(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
