"""What the loop does with its checkpoints: when it saves, and how it takes up what was saved."""

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
from chainrule.training.carry import Loop
from chainrule.training.checkpoints.store import Checkpoints

PyTree = Any
Record = Mapping[str, Any]
"""The numbers of one epoch."""


class Saves:
    """What the loop does with its checkpoints, if it has some.

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

    def __enter__(self) -> None:
        pass

    def __exit__(self, raised: object, *_: object) -> None:
        if self._checkpoints is not None:
            # What is being written gets its end, but what was raised goes first.
            with contextlib.suppress(OSError) if raised else contextlib.nullcontext():
                self._checkpoints.wait()

    def _of(self, loop: Loop) -> dict[str, Any]:
        return self._identity | {"metrics": sorted(loop.log)}

    def next_after(self, step: int) -> int:
        """Return the first step after this one at which to save within an epoch."""
        every = None if self._checkpoints is None else self._checkpoints.every
        return sys.maxsize if every is None else (step // every + 1) * every

    def save(self, loop: Loop, signal: int | None = None, record: Record | None = None) -> None:
        """Save, and after a signal end the training."""
        if self._checkpoints is None:
            return
        at = int(loop.train_state.step) % self._per_epoch
        progress = {
            "log": {name: np.asarray(values)[:at].tolist() for name, values in loop.log.items()},
            "failures": int(loop.failures),
        }
        self._checkpoints.save(
            loop.train_state, identity=self._of(loop), progress=progress, record=record
        )
        if signal is not None:
            self._checkpoints.wait()
            ended = interrupt.Interrupted(signal)
            print(
                f"{ended.signal.name}: saved step {int(loop.train_state.step)} in "
                f"{self._checkpoints.folder}, from where it can be resumed",
                file=sys.stderr,
            )
            raise ended

    def resume(self, loop: Loop) -> Loop | None:
        """Return what was saved, in the place of what would begin; None where nothing is asked."""
        if self._checkpoints is None or not self._checkpoints.resume:
            return None
        state, manifest = self._checkpoints.restore(loop.train_state, identity=self._of(loop))
        log = {}
        for name, values in loop.log.items():
            known = np.asarray([float(x) for x in manifest.progress["log"][name]], np.float32)
            log[name] = values.at[: len(known)].set(known)
        return Loop(state, log, jnp.int32(manifest.progress["failures"]), loop.stopped)


def _sha256(batches: Batches) -> dict[str, str]:
    # Of a source, a thousand samples spread evenly: it may be larger than the memory.
    rows = np.unique(np.linspace(0, batches.samples - 1, 1000).astype(int))
    data = batches.data if batches.in_memory else batches.read(rows)
    leaves = jax.tree_util.tree_leaves_with_path(data)
    return {
        f"data{jax.tree_util.keystr(path)}": hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
        for path, leaf in leaves
    }
