"""Checkpoints: a training resumes from the newest complete one, bit for bit, or not at all.

Orbax writes and restores the arrays, in the background and from many hosts; what it does not check
is in a manifest (`chainrule.training.checkpoints.manifest`). A checkpoint is a folder
``step-00001200``, which gets this name once all of it is on the disk.
"""

import concurrent.futures
import contextlib
import functools
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from chainrule import _require
from chainrule._files import JSON
from chainrule.training.checkpoints import identity as identities
from chainrule.training.checkpoints import manifest
from chainrule.training.checkpoints.folder import ARRAYS, Folder
from chainrule.training.checkpoints.manifest import DamagedError, Manifest
from chainrule.training.step import TrainState, unwrap_key, wrap_key

__all__ = ["Checkpoints", "Restored"]
__dir__ = __all__.copy


class Restored(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      train_state: the state of the training.
      manifest: what the checkpoint says about itself.
    """

    train_state: TrainState
    manifest: Manifest


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Attributes:
      folder: where they are.
      every: after how many steps one is saved, beside the one at the end of each epoch.
      resume: whether the training resumes from what is there.

    Args:
      folder: made if it does not exist.
      keep: how many of the newest are kept, at least 1.
      best: the name of an entry of the records; the checkpoint of the epoch with the best value is
        kept too.
      mode: whether the smallest or the largest value is the best.
      every: steps; None saves at the end of each epoch only.
      resume: resume from the newest complete checkpoint, bit for bit. Without it the folder must
        hold none: what is there is neither overwritten nor mixed with another training.
      identity: settings that define the training and that `fit` cannot see, as JSON. What it sees
        is listed in `chainrule.training.checkpoints.identity`.
      accept: what may differ from the checkpoint that is resumed: ``"optimizer"``, for example to
        lower the learning rate after a spike, ``"loss"``, ``"augment"``, ``"accumulate"``,
        ``"compiler options"``, or a name in ``identity``.

    Raises:
      ValueError: a setting is out of range, there are checkpoints and ``resume`` is not set, or
        another process writes to the folder.
      FileNotFoundError: there is no checkpoint to resume from.

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
        accept: Iterable[str] = (),
    ):
        self.folder = _require.path("folder", folder).absolute()
        self.every = every if every is None else _require.count("every", every)
        _require.flag("resume", resume)
        self.resume = resume
        self._keep, self._best, self._mode = _require.count("keep", keep), best, mode
        _require.one_of("mode", mode, ("min", "max"))
        _require.instance("identity", identity, Mapping | None, "a dict")
        self._identity = dict(identity or {})
        _require.instance("accept", accept, list | tuple | set | frozenset, "a list of names")
        self._accept = tuple(accept)
        for name in self._accept:
            _require.one_of("accept", name, (*identities.CHANGEABLE, *self._identity))
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None
        self._leads = jax.process_index() == 0
        self._folder = Folder(self.folder, writes=self._leads)
        if resume and not self.steps():
            self.close()
            raise FileNotFoundError(
                f"no checkpoint in {self.folder}: to start a new training, leave out resume"
            )
        if not resume and self.steps():
            self.close()
            raise ValueError(
                f"{self.folder} holds the checkpoint of step {self.steps()[-1]}: resume it, or "
                "name another folder"
            )
        if self._leads:
            self._folder.clear()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being written, and release the folder to others."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            self._folder.release()

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, in order."""
        return self._folder.steps()

    def best(self) -> int | None:
        """Return the step of the best checkpoint; None if there is none, or without ``best``."""
        values = {}
        for step in self.steps():
            with contextlib.suppress(ValueError):
                record = manifest.read(self._folder.checkpoint(step)).record or {}
                # NaN is text in JSON, and never the best.
                if isinstance(value := record.get(self._best or ""), int | float):
                    values[step] = value
        # The first of equal values.
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
        """Save a copy of a state in the background, one checkpoint at a time.

        Args:
          train_state: the state.
          identity: what defines the training, beside what `Checkpoints` was given.
          progress: what else is needed to resume, JSON.
          record: the record of the epoch that ended here.

        Raises:
          ValueError: the record has no entry called ``best``.
          OSError: the previous checkpoint could not be written; those before it are unchanged.
        """
        if self._best is not None and record is not None and self._best not in record:
            raise ValueError(f"best={self._best!r} is no entry of the records: {sorted(record)}")
        self.wait()
        step = int(train_state.step)
        # A copy: the next step consumes the buffers of the state.
        tree = jax.tree.map(lambda leaf: jnp.copy(unwrap_key(leaf)), train_state)
        says = Manifest(
            step,
            self._identity | dict(identity or {}),
            manifest.describe(tree),
            dict(progress or {}),
            None if record is None else dict(record),
            files={},
        )
        try:
            if step in self.steps():
                return
            self._check_space(tree)
            if self._leads:
                self._folder.begin(step)
            self._orbax.save(self._folder.partial(step) / ARRAYS, tree)
        except Exception as error:
            raise self._failed(step, error) from error
        self._pending = self._writer.submit(self._finish, says)

    def wait(self) -> None:
        """Wait until nothing is being written any more.

        Raises:
          OSError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def restore(
        self,
        like: TrainState,
        *,
        identity: Mapping[str, JSON] | None = None,
        verify: Callable[[Manifest], object] = bool,
        step: int | None = None,
    ) -> Restored:
        """Load a state, all of it verified.

        Args:
          like: a state of the same training, for the structure, shapes, dtypes and sharding.
          identity: as in `save`.
          verify: looks at the manifest; it raises a ValueError if its ``progress`` is not what was
            saved, and the checkpoint counts as damaged.
          step: which checkpoint; None takes the newest, and the one before if that is damaged, with
            a warning. The damaged one is renamed to ``.damaged``.

        Raises:
          ValueError: it belongs to another training (the message lists all that differs), a newer
            version wrote it, or no checkpoint is complete.
        """
        self.wait()
        damage: dict[int, str] = {}
        for at in self.steps()[::-1] if step is None else [step]:
            try:
                restored = self._read(at, like, identity or {}, verify)
            except DamagedError as error:
                damage[at] = str(error)
                continue
            for newer, problem in damage.items():
                warnings.warn(f"{problem}: going back to step {at}", stacklevel=2)
                if self._leads:
                    self._folder.set_aside(newer)
            return restored
        raise ValueError("no checkpoint is complete: " + "; ".join(damage.values()))

    def _read(
        self,
        step: int,
        like: TrainState,
        identity: Mapping[str, JSON],
        verify: Callable[[Manifest], object],
    ) -> Restored:
        path, tree = self._folder.checkpoint(step), jax.tree.map(unwrap_key, like)
        says = manifest.read(path)
        if says.step != step:
            raise DamagedError(f"{path} is the checkpoint of step {says.step} under another name")
        manifest.check_files(path, says)
        here = self._identity | dict(identity)
        wrong = identities.differences(says.identity, here, self._accept)
        wrong += manifest.differences(says.arrays, manifest.describe(tree))
        if wrong:
            raise ValueError(f"{path} belongs to another training: " + "; ".join(wrong))
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
        )
        try:
            verify(says)
            restored = self._orbax.restore(path / ARRAYS, wanted)
        except Exception as error:  # of crafted files: Orbax and TensorStore raise their own
            raise DamagedError(f"{path} is damaged: {_reason(error)}") from error
        return Restored(jax.tree.map(wrap_key, restored, like), says)

    def _finish(self, says: Manifest) -> None:
        try:
            self._orbax.wait_until_finished()
            if self._leads:
                manifest.write(self._folder.partial(says.step), says)
                self._folder.publish(says.step)
                for step in {*self.steps()[: -self._keep]} - {self.best()}:
                    self._folder.remove(step)
        except Exception as error:
            raise self._failed(says.step, error) from error

    def _check_space(self, tree: PyTree) -> None:
        # Before anything is written: a full disk breaks more than this checkpoint.
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise OSError(f"it needs {size} bytes, and {free} are free")

    def _failed(self, step: int, error: Exception) -> OSError:
        self.__dict__.pop("_orbax", None)  # a checkpointer that failed raises the error again
        there: object = "before"
        with contextlib.suppress(OSError):  # the folder may be gone
            self._folder.clear()
            there = self.steps()
        return OSError(
            f"the checkpoint of step {step} could not be written to {self.folder} "
            f"({_reason(error)}); those of steps {there} are unchanged"
        )

    @functools.cached_property
    def _orbax(self) -> Any:
        # It takes a second to import: only a training that saves waits for it.
        import orbax.checkpoint

        # Its errors are raised to us; its logs would bury the one line that matters.
        logging.getLogger("absl").addFilter(_not_of_orbax)
        return orbax.checkpoint.StandardCheckpointer()


def _reason(error: Exception) -> str:
    """Return what went wrong in one line, without the names of files that libraries add."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = next(iter(str(error).splitlines()), "") or repr(error)
    parts = [part for part in first.split(": ") if not part.lstrip("'\"").startswith("/")]
    return parts[-1] if parts else first


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname
