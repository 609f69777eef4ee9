"""The loop: many steps in one compiled call, the data on the device, one record an epoch."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from chainrule.data.batches import Batches
from chainrule.training import devices, interrupt
from chainrule.training.carry import Loop
from chainrule.training.checkpoints.session import Saves
from chainrule.training.checkpoints.store import Checkpoints
from chainrule.training.feed import Feed
from chainrule.training.step import Augment, Loss, TrainState, make_step

PyTree = Any
Record = dict[str, Any]
"""The numbers of one epoch."""

#: How long the device works before Python gets a word in: short enough to answer a signal, long
#: enough that a call costs nothing.
SECONDS_A_CALL = 0.5


class NonFiniteError(ArithmeticError):
    """A step led to a NaN or an infinity, in the loss, the parameters or the state.

    Attributes:
      train_state: the last finite one, from which that step was tried.
    """

    def __init__(self, message: str, train_state: TrainState):
        super().__init__(message)
        self.train_state = train_state


def fit(
    train_state: TrainState,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batches: Batches,
    epochs: int,
    *,
    augment: Augment | None = None,
    evaluate: Callable[[TrainState], Record] | None = None,
    report: Callable[[Record], object] | None = None,
    tick: Callable[[int, int], object] | None = None,
    accumulate: int = 1,
    skip_nonfinite: int = 0,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | None = None,
) -> TrainState:
    """Train until ``epochs`` epochs are done, counted from step 0, whatever step the state is at.

    Calls with the same ``loss``, ``optimizer`` and ``augment``, compared by identity, and equal
    shapes compile once. How many steps one compiled call takes is a matter of time, and changes no
    bit of the result: the program takes its number as an argument.

    Args:
      train_state: where to start, see `chainrule.training.create`; not changed, not consumed.
      loss: see `chainrule.training.make_step`.
      optimizer: the one that the state was created with.
      batches: the samples, and the batch of every step; the remainder of an epoch is dropped.
        Arrays are put on the device whole, a source is read 16 steps at a time.
      epochs: how many there are in all, at least 1.
      augment: ``augment(key, batch) -> batch``, compiled into the step.
      evaluate: ``evaluate(train_state) -> dict``, called after every epoch; what it returns joins
        the record.
      report: called with one record an epoch: ``epoch`` (from 1), ``step``, ``seconds`` of the
        steps alone, ``compile_seconds`` apart, ``examples_per_second``, the mean over the epoch
        of each metric (``loss``, ``grad_norm`` and those of the loss), ``skipped`` where
        ``skip_nonfinite`` is given, and what ``evaluate`` returned.
      tick: called as ``tick(step, steps)`` about twice a second, see `chainrule.training.Progress`.
      accumulate: see `chainrule.training.make_step`.
      skip_nonfinite: how many steps in a row may be not finite. Such a step changes nothing but
        the count of the steps, so that the next batch follows.
      checkpoints: where the training is saved, at the end of each epoch after its ``report``, and
        from where it is resumed. A resumed training is the whole one to the bit, its records too
        but for the times. SIGTERM and SIGINT are answered as described below.
      mesh: devices over which each batch is spread, see `chainrule.training.devices`. The data and
        the state are copied to all of them, unless they are spread over the mesh already.

    Returns:
      The state after the last step.

    With checkpoints, the first SIGTERM or SIGINT ends the call in progress (half a second) and
    raises `Interrupted`, a `SystemExit` with the code 143 or 130, when the state is saved; a second
    Ctrl-C stops at once.

    Raises:
      ValueError: a setting is out of range, the state is past the last epoch, the loss returns
        something else than it should, or the checkpoints are another training's.
      NonFiniteError: one step more than ``skip_nonfinite`` in a row was not finite. It holds the
        last finite state, which is saved too.
      OSError: a checkpoint could not be written.

    Example:
      >>> from chainrule.training import create
      >>> def loss(params, state, batch, key):
      ...     return jnp.mean((params - batch) ** 2), (state, {"middle": jnp.mean(batch)})
      >>> optimizer = optax.sgd(0.25)
      >>> batches = Batches(jnp.asarray([1.0, 3.0, 5.0, 7.0]), 2, key=jax.random.key(0))
      >>> start = create(jnp.asarray(0.0), optimizer, key=jax.random.key(1))
      >>> end = fit(start, loss, optimizer, batches, 2, report=lambda r: print(
      ...     r["epoch"], r["step"], r["loss"], r["middle"]))
      1 2 14.625 4.0
      2 4 5.3515625 4.0
      >>> int(end.step), float(end.params)
      (4, 3.8125)
    """
    if not isinstance(train_state, TrainState):
        raise ValueError(
            "train_state must be what training.create returns, not a "
            f"{type(train_state).__name__}: the order is train_state, loss, optimizer, batches, "
            "epochs"
        )
    _check_count("epochs", epochs, 1)
    _check_count("accumulate", accumulate, 1)
    _check_count("skip_nonfinite", skip_nonfinite, 0)
    settings = {
        "loss": loss,
        "optimizer": optimizer,
        "augment": augment,
        "accumulate": accumulate,
        "skip_nonfinite": skip_nonfinite,
        "mesh": mesh,
    }
    feed = Feed(batches, mesh)
    loop = _begin(train_state, loss, augment, feed, batches)
    if mesh is not None:
        loop = devices.replicate(loop, mesh)
    first = int(train_state.step) % batches.per_epoch
    saves = Saves(checkpoints, batches, train_state.key)
    if (resumed := saves.resume(loop)) is not None:
        loop, first = resumed, 0
    steps, step = epochs * batches.per_epoch, int(loop.train_state.step)
    if step > steps:
        raise ValueError(
            f"the state is at step {step}, past the {steps} steps of {epochs} epochs of "
            f"{batches.per_epoch} batches: epochs counts from step 0"
        )
    with saves, interrupt.caught(checkpoints is not None) as caught:
        while step < steps:
            epoch, begun = step // batches.per_epoch, step
            end = (epoch + 1) * batches.per_epoch
            data, order, _ = feed(step, step)
            clock = time.perf_counter()
            # A call for no step compiles where that is needed, and else takes no time.
            loop = _run(loop, data, order, step, **settings)
            jax.block_until_ready(loop)
            compile_seconds = time.perf_counter() - clock
            clock, count = time.perf_counter(), 1
            while step < end:
                called = time.perf_counter()
                stop = min(step + count, end, saves.next_after(step))
                data, order, stop = feed(step, stop)
                loop = _run(loop, data, order, stop, **settings)
                step = int(loop.train_state.step)
                if loop.stopped:
                    saves.save(loop)
                    raise _stopped(loop, batches.per_epoch, skip_nonfinite)
                if tick is not None:
                    tick(step, steps)
                signal = caught.agreed()
                if step < end and (signal is not None or step == saves.next_after(step - 1)):
                    saves.save(loop, signal)
                count = _next_count(count, time.perf_counter() - called)
            seconds = time.perf_counter() - clock
            record: Record = {
                "epoch": epoch + 1,
                "step": step,
                "seconds": seconds,
                "compile_seconds": compile_seconds,
                "examples_per_second": (step - begun) * batches.size / seconds,
                **_means(loop.log, first, skip_nonfinite > 0),
            }
            loop, first = loop.replace(log=jax.tree.map(_unknown, loop.log)), 0
            found = {} if evaluate is None else evaluate(loop.train_state)
            if twice := record.keys() & found.keys():
                raise ValueError(
                    f"evaluate returns {sorted(twice)}, which are the loop's: rename them"
                )
            record |= found
            if report is not None:
                report(record)
            # After the report: of a record that is lost the epoch is run again, not the reverse.
            saves.save(loop, caught.agreed(), record)
    return loop.train_state


def _begin(
    train_state: TrainState, loss: Loss, augment: Augment | None, feed: Feed, batches: Batches
) -> Loop:
    # The loop consumes its state at every call: this copy, so that the caller keeps his.
    train_state = jax.tree.map(jnp.copy, train_state)

    # The rows of a batch are [size], or [size, 2] of pairs.
    step = int(train_state.step)
    data, order, _ = feed(step, step)

    def metrics(train_state: TrainState, data: PyTree) -> Any:
        batch = jax.tree.map(lambda leaf: leaf[order[0]], data)
        return make_step(loss, optax.set_to_zero(), augment=augment)(train_state, batch)[1]

    state = train_state.replace(opt_state=optax.set_to_zero().init(train_state.params))
    names = jax.eval_shape(metrics, state, data)
    log = {name: jnp.full(batches.per_epoch, jnp.nan) for name in names}
    return Loop(train_state, log, jnp.int32(0), jnp.asarray(False))


def _unknown(values: jax.Array) -> jax.Array:
    # Not full_like, which would put it on one device.
    return values * jnp.nan


@functools.partial(
    jax.jit,
    static_argnames=("loss", "optimizer", "augment", "accumulate", "skip_nonfinite", "mesh"),
    donate_argnums=0,
)
def _run(
    loop: Loop,
    data: PyTree,
    order: jax.Array,
    stop: int | jax.Array,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    augment: Augment | None,
    accumulate: int,
    skip_nonfinite: int,
    mesh: Mesh | None,
) -> Loop:
    """Take the steps up to ``stop``, within one epoch.

    A loop with a length that is data, and not a scan, is one program for every length: also a
    resumed run goes through the very same instructions, to the bit.
    """
    step = make_step(loss, optimizer, augment=augment, accumulate=accumulate)

    def body(loop: Loop) -> Loop:
        before = loop.train_state
        at = before.step % len(order)
        batch = jax.tree.map(lambda leaf: leaf[order[at]], data)
        after, metrics = step(before, devices.spread(batch, mesh))
        finite = _finite((metrics["loss"], after.params, after.state))
        failures = jnp.where(finite, 0, loop.failures + 1)
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (after.params, after.opt_state, after.state),
            (before.params, before.opt_state, before.state),
        )
        stopped = failures > skip_nonfinite
        return Loop(
            TrainState(before.step + jnp.where(stopped, 0, 1), *kept, before.key),
            {name: loop.log[name].at[at].set(metrics[name]) for name in loop.log},
            failures,
            stopped,
        )

    return jax.lax.while_loop(
        lambda loop: (loop.train_state.step < stop) & ~loop.stopped, body, loop
    )


def _finite(tree: PyTree) -> jax.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.all(jnp.isfinite(x)) for x in leaves])


def _next_count(count: int, seconds: float) -> int:
    """Return how many steps the next call takes, after one of so many in so many seconds."""
    if jax.process_count() > 1:
        return 16  # by the clock, every process would choose another number
    return max(1, min(2 * count, int(count * SECONDS_A_CALL / max(seconds, 1e-9))))


def _means(log: dict[str, Any], first: int, skipping: bool) -> Record:
    # In double precision and over the whole epoch, whatever calls it was cut into.
    names = sorted(log, key=lambda name: (name != "loss", name))
    rows = {name: np.asarray(log[name], np.float64)[first:] for name in names}
    taken = np.isfinite(rows["loss"])
    means = {
        name: float(values[taken].mean()) if taken.any() else math.nan
        for name, values in rows.items()
    }
    return means | ({"skipped": int((~taken).sum())} if skipping else {})


def _stopped(loop: Loop, per_epoch: int, skip_nonfinite: int) -> NonFiniteError:
    step = int(loop.train_state.step)
    at = step % per_epoch
    found = {name: float(loop.log[name][at]) for name in ("loss", "grad_norm")}
    again = f", the last of {skip_nonfinite + 1} in a row" if skip_nonfinite else ""
    return NonFiniteError(
        f"step {step} (batch {at} of epoch {step // per_epoch + 1}) is not finite{again}: "
        f"{', '.join(f'{name} {value:g}' for name, value in found.items())}. "
        "The last finite state is kept; lower the learning rate, clip the gradient, or ask "
        "chainrule.xray where it was born",
        loop.train_state,
    )


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an int of at least {least}, not {value!r}")
