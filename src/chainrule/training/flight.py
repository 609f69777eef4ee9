"""What `chainrule.training.fit` finds out about a step that is not finite; nothing runs before."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from chainrule import _require
from chainrule._files import printable
from chainrule.data.batches import Batches
from chainrule.training.carry import Carry
from chainrule.training.step import (
    Augment,
    TrainingLoss,
    TrainState,
    make_step,
    unwrap_key,
    wrap_key,
)
from chainrule.xray.recorder.autopsy import Failure, NonFiniteError, Part, examine
from chainrule.xray.recorder.calls import enter
from chainrule.xray.recorder.folder import told
from chainrule.xray.recorder.plan import plan
from chainrule.xray.recorder.samples import rows_of

__all__ = ["Flight"]
__dir__ = __all__.copy

_BATCH = (0, 1)  # the second argument of a step
_HISTORY = 20  # steps of which the numbers are kept


class Flight:
    """The recorder of one training.

    Args:
      folder: where a step that failed is written to; None writes nothing.
      batches: the samples, and the batch of every step.
      loss: see `chainrule.training.make_step`, as the three that follow.
      optimizer: as there.
      augment: as there.
      accumulate: as there.
      mesh: the devices over which each batch is sharded, or None.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        batches: Batches,
        *,
        loss: TrainingLoss,
        optimizer: optax.GradientTransformation,
        augment: Augment | None,
        accumulate: int,
        mesh: Mesh | None = None,
    ) -> None:
        self._mesh = mesh
        self.folder = None if folder is None else _require.path("recorder", folder).absolute()
        self._batches = batches
        self._loss, self._augment, self._accumulate = loss, augment, accumulate
        self._step = jax.jit(make_step(loss, optimizer, accumulate=accumulate))

    def look(self, carry: Carry) -> NonFiniteError:
        """Return what is found out about the step that did not end well, from its start.

        It is written down, too. What fails on the way is said, and raises nothing.
        """
        try:
            state = jax.tree.map(_here, carry.train_state)
            failure = self._failure(state, self._history(carry, state))
            found = examine(failure)
        except Exception as error:  # the training has an error of its own
            reason = printable(next(iter(str(error).splitlines()), type(error).__name__))
            return NonFiniteError(f"the recorder failed: {reason}")
        whole = failure.call if found.of_loss else None
        if self._mesh is not None and jax.process_count() > 1:
            owners = [self._owner(row) for row in found.samples.rows[:8]]
            note = [f"the samples lie in the parts of the processes {owners}"] * bool(owners)
            note += ["this is one of them"] * (jax.process_index() in owners)
            found = dataclasses.replace(found, notes=(*found.notes, *note))
        said = str(found) if self.folder is None else told(found, self.folder, whole)
        return NonFiniteError(said, found, failure.call)

    def _owner(self, row: int) -> int:
        """Return the process that holds a row of the batch."""
        devices = self._mesh.devices.flat if self._mesh is not None else ()
        return int(devices[row // -(-self._batches.size // len(devices))].process_index)

    def _history(self, carry: Carry, state: TrainState) -> dict[str, tuple[float, ...]]:
        at = int(state.step) % self._batches.per_epoch
        rows = {name: np.asarray(carry.log[name])[: at + 1] for name in ("loss", "grad_norm")}
        history = {name: tuple(values[-_HISTORY:].tolist()) for name, values in rows.items()}
        sizes = [np.max(np.abs(x), initial=0.0) for x in jax.tree.leaves(state.params)]
        return history | {"largest parameter before it": (float(np.max(sizes)),)}

    def _failure(self, state: TrainState, history: dict[str, tuple[float, ...]]) -> Failure:
        number = int(state.step)
        batch, key = self._batch(state, number)
        call = enter(self._step, (state, batch), {})
        rows = rows_of(call, [_BATCH])
        near = [at for at in (number - 1, number + 1) if at >= 0]
        others = [jax.tree.leaves(self._batch(state, at)[0]) for at in near]
        part = Part(self._loss, (state.params, state.state, batch, key))
        return Failure(
            number=number,
            call=call,
            plan=plan(call, call.run(), _watched),
            rows=rows,
            others=tuple(dict(zip(rows.leaves, other, strict=False)) for other in others),
            history=history,
            part=part if self._accumulate == 1 else None,
            of_data=tuple(np.asarray(self._batches.indices(number)).tolist()),
        )

    def _batch(self, state: TrainState, step: int) -> tuple[PyTree, Any]:
        """Return the batch of a step as the loss sees it, and its key."""
        keys = jax.random.split(jax.random.fold_in(state.key, step))
        batch = self._batches(step)
        return batch if self._augment is None else self._augment(keys[0], batch), keys[1]


def _watched(results: Any) -> dict[str, Any]:
    state, metrics = results
    return {"loss": metrics["loss"], "params": state.params, "state": state.state}


def _here(leaf: Any) -> jax.Array:
    """Return an array that lies on many devices as one on the first of this process."""
    return wrap_key(jnp.asarray(np.asarray(unwrap_key(leaf))), leaf)
