"""When the loop saves its checkpoints, and how it resumes from one."""

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule._files import JSON
from chainrule.training import interrupt
from chainrule.training.carry import Carry
from chainrule.training.checkpoints.manifest import Manifest
from chainrule.training.checkpoints.store import Checkpoints

__all__ = ["Session"]
__dir__ = __all__.copy


class Session:
    """The checkpoints of one call of `chainrule.training.fit`; without any, nothing happens.

    At the end of the block it waits for what is being written.

    Args:
      checkpoints: where they are, or None.
      identity: what the training is, see `chainrule.training.checkpoints.identity`.
      per_epoch: the number of steps in an epoch.
    """

    def __init__(
        self, checkpoints: Checkpoints | None, identity: Mapping[str, JSON], per_epoch: int
    ):
        self._checkpoints = checkpoints
        self._identity = dict(identity)
        self._per_epoch = per_epoch

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, raised: object, *_: object) -> None:
        if self._checkpoints is not None:
            # Of two errors, the one that ended the block is raised.
            with contextlib.suppress(OSError) if raised else contextlib.nullcontext():
                self._checkpoints.wait()

    def _of(self, carry: Carry) -> dict[str, Any]:
        return self._identity | {"metrics": sorted(carry.log)}

    def next_after(self, step: int) -> int:
        """Return the first step after this one at which to save within an epoch."""
        every = None if self._checkpoints is None else self._checkpoints.every
        return sys.maxsize if every is None else (step // every + 1) * every

    def save_within(self, carry: Carry, signal: int | None) -> None:
        """Save within an epoch, if a checkpoint is due or a signal came."""
        step = int(carry.train_state.step)
        due = signal is not None or step == self.next_after(step - 1)
        if due and step % self._per_epoch:
            self.save(carry, signal)

    def save(
        self,
        carry: Carry,
        signal: int | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Save, and end the training if a signal came.

        Raises:
          Interrupted: a signal came; the state is saved.
        """
        if self._checkpoints is None:
            return
        at = int(carry.train_state.step) % self._per_epoch
        progress = {
            "log": {name: values.tolist()[:at] for name, values in carry.log.items()},
            "failures": int(carry.failures),
        }
        self._checkpoints.save(
            carry.train_state, identity=self._of(carry), progress=progress, record=record
        )
        if signal is not None:
            self._checkpoints.wait()
            self.end(carry, signal)

    def end(self, carry: Carry, signal: int | None) -> None:
        """End the training if a signal came; its state has been saved.

        Raises:
          Interrupted: a signal came.
        """
        if self._checkpoints is not None and signal is not None:
            ended = interrupt.Interrupted(signal)
            print(
                f"{ended.signal.name}: saved step {int(carry.train_state.step)} in "
                f"{self._checkpoints.folder}, from where it can be resumed",
                file=sys.stderr,
            )
            raise ended

    def resume(self, carry: Carry) -> Carry | None:
        """Return what was saved, in the form of ``carry``; None if the training is a new one."""
        if self._checkpoints is None or not self._checkpoints.resume:
            return None
        return self._restored(self._checkpoints, carry, None)

    def at(self, carry: Carry, step: int) -> Carry:
        """Return what was saved at a step, in the form of ``carry``."""
        if self._checkpoints is None:
            raise ValueError("there are no checkpoints")
        return self._restored(self._checkpoints, carry, step)

    def _restored(self, checkpoints: Checkpoints, carry: Carry, step: int | None) -> Carry:
        state, manifest = checkpoints.restore(
            carry.train_state,
            identity=self._of(carry),
            verify=lambda manifest: self._progress(manifest, carry),
            step=step,
        )
        log, failures = self._progress(manifest, carry)
        filled = {name: carry.log[name].at[: len(known)].set(known) for name, known in log.items()}
        return Carry(state, filled, failures, carry.stopped)

    def _progress(
        self, manifest: Manifest, carry: Carry
    ) -> tuple[dict[str, np.ndarray], jax.Array]:
        """Return the log up to the step and the failures, and refuse what `save` did not write."""
        try:
            said = manifest.progress["log"]
            log = {
                name: np.asarray([float(x) for x in said[name]], np.float32) for name in carry.log
            }
            failures = np.asarray(manifest.progress["failures"], np.int32)
            lengths = {len(known) for known in log.values()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"its progress is {error!r}") from None
        if lengths != {manifest.step % self._per_epoch} or failures.shape or failures < 0:
            raise ValueError(f"its progress has {lengths} steps and {failures} failures")
        return log, jnp.asarray(failures)
