"""When the loop saves its checkpoints, and how it resumes from one."""

import contextlib
import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.data.batches import Batches
from chainrule.training import interrupt
from chainrule.training.carry import Carry
from chainrule.training.checkpoints.store import Checkpoints

__all__ = ["Session"]


class Session:
    """The checkpoints of one call of `chainrule.training.fit`; without any, nothing happens.

    At the end of the block it waits for what is being written.

    Args:
      checkpoints: where they are, or None.
      batches: those of the training.
      key: that of its steps.
    """

    def __init__(self, checkpoints: Checkpoints | None, batches: Batches, key: jax.Array):
        self._checkpoints = checkpoints
        self._per_epoch = batches.per_epoch
        if checkpoints is not None:
            self._identity = {
                "batch size": batches.size,
                "samples": batches.samples,
                "key of the batches": jax.random.key_data(batches.key).tolist(),
                "key of the steps": jax.random.key_data(key).tolist(),
                "sha256 of the data": _sha256(batches),
            }

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
            "log": {name: np.asarray(values)[:at].tolist() for name, values in carry.log.items()},
            "failures": int(carry.failures),
        }
        self._checkpoints.save(
            carry.train_state, identity=self._of(carry), progress=progress, record=record
        )
        if signal is not None:
            self._checkpoints.wait()
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
        state, manifest = self._checkpoints.restore(carry.train_state, identity=self._of(carry))
        log = {}
        for name, values in carry.log.items():
            known = np.asarray([float(x) for x in manifest.progress["log"][name]], np.float32)
            log[name] = values.at[: len(known)].set(known)
        return Carry(state, log, jnp.int32(manifest.progress["failures"]), carry.stopped)


def _sha256(batches: Batches) -> dict[str, str]:
    # A source may be larger than the memory: a thousand samples of it, evenly spaced.
    rows = np.unique(np.linspace(0, batches.samples - 1, 1000).astype(int))
    data = batches.data if batches.in_memory else batches.read(rows)
    leaves = jax.tree_util.tree_leaves_with_path(data)
    return {
        f"data{jax.tree_util.keystr(path)}": hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
        for path, leaf in leaves
    }


def __dir__() -> list[str]:
    return sorted(__all__)
