"""One step of a training that is over, looked into from the newest checkpoint before it."""

import functools
import os

import jax
import jax.numpy as jnp
import optax

from chainrule import _require
from chainrule.data.batches import Batches
from chainrule.training import loop
from chainrule.training.checkpoints import identity
from chainrule.training.checkpoints.session import Session
from chainrule.training.checkpoints.store import Checkpoints
from chainrule.training.feed import Feed
from chainrule.training.flight import Flight
from chainrule.training.step import Augment, TrainingLoss, TrainState
from chainrule.xray.recorder import Autopsy

__all__ = ["autopsy"]
__dir__ = __all__.copy


def autopsy(
    checkpoints: Checkpoints,
    step: int,
    train_state: TrainState,
    loss: TrainingLoss,
    optimizer: optax.GradientTransformation,
    batches: Batches,
    *,
    augment: Augment | None = None,
    accumulate: int = 1,
    recorder: str | os.PathLike[str] | None = None,
) -> Autopsy:
    """Look into one step of a training, from the newest checkpoint before it.

    The steps in between run as they ran in `fit`, bit for bit. If one of them is not finite, it is
    the one that is looked into.

    Args:
      checkpoints: of that training, opened with ``resume=True``.
      step: the number of the step, from 0.
      train_state: a state of that training, for its form; what `fit` was given.
      loss: what `fit` was given, as all that follows.
      optimizer: as there.
      batches: as there.
      augment: as there.
      accumulate: as there.
      recorder: a folder, in which ``step-<number>`` is written; None writes nothing.

    Returns:
      What was found out; print it.

    Raises:
      ValueError: there is no checkpoint before that step, or it belongs to another training.
    """
    _require.index("step", step)
    _require.instance("checkpoints", checkpoints, Checkpoints, "what training.Checkpoints returns")
    before = [at for at in checkpoints.steps() if at <= step]
    if not before:
        raise ValueError(
            f"no checkpoint in {checkpoints.folder} is of a step before {step}: there are those of "
            f"{checkpoints.steps()}"
        )
    what = {"loss": loss, "optimizer": optimizer, "augment": augment, "accumulate": accumulate}
    run = functools.partial(loop.run_steps, **what, skip_nonfinite=0, mesh=None)
    feed = Feed(batches, None)
    batch = feed.shapes(step)
    known = identity.describe(train_state, batch, batches, **what)
    session = Session(checkpoints, known, batches.per_epoch)
    carry = session.at(loop.begin(train_state, loss, augment, batch, batches.per_epoch), before[-1])
    while (at := int(carry.train_state.step)) < step and not carry.stopped:
        if at % batches.per_epoch == 0:
            carry = carry.replace(log=jax.tree.map(loop.unknown, carry.log))
        end = (at // batches.per_epoch + 1) * batches.per_epoch
        carry = run(carry, *feed(at, min(step, end)))
    if not carry.stopped:
        # The call takes what it is given; of a step that is finite, the start is looked into too.
        after = run(jax.tree.map(jnp.copy, carry), *feed(step, step + 1))
        carry = carry.replace(log=after.log)
    found = Flight(recorder, batches, **what).look(carry)
    if found.autopsy is None:
        raise ValueError(str(found))
    return found.autopsy
