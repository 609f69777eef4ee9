"""The training loop: many steps a compiled call, the data on the device, one record an epoch."""

import functools
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from chainrule import _require, compiling
from chainrule.data.batches import Batches
from chainrule.descent import updates
from chainrule.training import devices, interrupt
from chainrule.training.carry import Carry
from chainrule.training.checkpoints import identity
from chainrule.training.checkpoints.session import Session
from chainrule.training.checkpoints.store import Checkpoints
from chainrule.training.feed import Feed
from chainrule.training.flight import Flight
from chainrule.training.step import Augment, TrainingLoss, TrainState, make_step
from chainrule.training.stopping import NonFiniteError, said, skipped, stopped

__all__ = ["SECONDS_A_CALL", "NonFiniteError", "Record", "begin", "fit", "run_steps", "unknown"]
__dir__ = __all__.copy

Record = dict[str, Any]
"""The numbers of one epoch."""
SECONDS_A_CALL = 0.5
"""The length of a compiled call: short enough to answer a signal, long enough to cost nothing."""


def fit(
    train_state: TrainState,
    loss: TrainingLoss,
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
    recorder: str | os.PathLike[str] | None = None,
    compiler_options: compiling.Options | None = None,
) -> TrainState:
    """Train until ``epochs`` epochs are done, counted from step 0 whatever step the state is at.

    Calls with the same ``loss``, ``optimizer`` and ``augment`` (the same objects) and equal shapes
    compile once. How many steps one compiled call takes depends on the clock and changes no bit of
    the result: the number is an argument of the program.

    Args:
      train_state: where to start, see `chainrule.training.create`; not changed, not consumed.
      loss: see `chainrule.training.make_step`.
      optimizer: the one that the state was created with.
      batches: the samples, and the batch of every step; the remainder of an epoch is dropped.
        Arrays are put on the device whole, a source is read 16 steps at a time.
      epochs: how many there are in all, at least 1.
      augment: ``augment(key, batch) -> batch``, compiled into the step.
      evaluate: ``evaluate(train_state) -> dict``, called after every epoch; what it returns is
        added to the record.
      report: called with one record an epoch: ``epoch`` (from 1), ``step``, ``seconds`` of the
        steps alone, ``compile_seconds``, ``examples_per_second``, the mean over the epoch of each
        metric (``loss``, ``grad_norm`` and those of the loss), ``skipped`` if ``skip_nonfinite`` is
        given, and what ``evaluate`` returned.
      tick: called as ``tick(step, steps)`` about twice a second, see `chainrule.training.Progress`.
      accumulate: see `chainrule.training.make_step`.
      skip_nonfinite: how many steps in a row may be non-finite. Such a step changes nothing but
        the step number, so that the next batch follows.
      checkpoints: where the training is saved, at the end of each epoch after its ``report``, and
        from where it resumes. A resumed training equals the uninterrupted one bit for bit, its
        records too except for their times. SIGTERM and SIGINT are handled as described below.
      mesh: devices over which each batch is sharded, see `chainrule.training.devices`. The data
        and the state are copied to all of them, unless they lie on the mesh already.
      recorder: a folder in which a step that is not finite is written down, as ``step-<number>``,
        once it was x-rayed: the line, the samples, what to write instead. Steps that are skipped,
        too. Until then it costs nothing.
      compiler_options: for the compiler, see `chainrule.compiling.options`. Numbers differ by
        rounding, so checkpoints belong to the options they were made with.

    Returns:
      The state after the last step.

    With checkpoints, the first SIGTERM or SIGINT ends the call in progress (half a second), saves
    the state and raises `Interrupted`, a `SystemExit` with the code 143 or 130. A second Ctrl-C
    stops at once.

    Raises:
      ValueError: a setting is out of range, the state is past the last epoch, the loss returns
        something else than it should, or the checkpoints belong to another training.
      NonFiniteError: more than ``skip_nonfinite`` steps in a row were non-finite. It holds the
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
    _check(train_state, batches, checkpoints, mesh, evaluate, report, tick)
    updates.checked(optimizer)
    why = f"with {batches.per_epoch} batches each, the steps are counted in 32 bits"
    _require.count("epochs", epochs, most=(2**31 - 1) // batches.per_epoch, why=why)
    _require.count("accumulate", accumulate)
    _require.index("skip_nonfinite", skip_nonfinite)
    what = {"loss": loss, "optimizer": optimizer, "augment": augment, "accumulate": accumulate}
    flight = None if recorder is None else Flight(recorder, batches, **what, mesh=mesh)
    # Each step that is not finite stops a call that is recorded: then it is looked into.
    skipping = skip_nonfinite if flight is None else 0
    given = compiler_options or {}
    _require.instance("compiler_options", given, Mapping, "what compiling.options() returns")
    options = tuple(sorted(given.items()))
    compiled = _run_steps_with(options) if options else run_steps
    run = functools.partial(compiled, **what, skip_nonfinite=skipping, mesh=mesh)
    step, steps = int(train_state.step), epochs * batches.per_epoch
    feed = Feed(batches, mesh)
    batch = feed.shapes(step)
    carry = begin(train_state, loss, augment, batch, batches.per_epoch)
    if mesh is not None:
        carry = devices.replicate(carry, mesh)
    first = step % batches.per_epoch
    known = identity.describe(train_state, batch, batches, **what) if checkpoints else {}
    if checkpoints and options:
        known["compiler options"] = ", ".join(f"{k}={v}" for k, v in options)
    session = Session(checkpoints, known, batches.per_epoch)
    if (resumed := session.resume(carry)) is not None:
        carry, first = resumed, 0
    if (step := int(carry.train_state.step)) > steps:
        raise ValueError(
            f"the state is at step {step}, past the {steps} steps of {epochs} epochs of "
            f"{batches.per_epoch} batches: epochs counts from step 0"
        )
    with interrupt.caught(checkpoints is not None) as caught, session:

        def after_call(carry: Carry) -> Carry:
            if carry.stopped and int(carry.failures) > skip_nonfinite:
                session.save(carry)
                found = None if flight is None else flight.look(carry)
                raise stopped(carry, batches.per_epoch, skip_nonfinite, found)
            if carry.stopped and flight is not None:
                warnings.warn(
                    f"{said(carry, batches.per_epoch)}\n{flight.look(carry)}", stacklevel=3
                )
                carry = skipped(carry, batches.per_epoch)
            if tick is not None:
                tick(int(carry.train_state.step), steps)
            session.save_within(carry, _agreed(caught))
            return carry

        while int(carry.train_state.step) < steps:
            carry, times = _epoch(run, carry, feed, session, after_call, batches)
            record = times | _means(carry.log, first, skip_nonfinite > 0)
            carry, first = carry.replace(log=jax.tree.map(unknown, carry.log)), 0
            record |= _evaluation(evaluate, carry.train_state, record)
            if report is not None:
                report(record)
            # After the report: if it is interrupted the epoch runs again, and no record is lost.
            session.save(carry, _agreed(caught), record)
    # After signals have got their handlers back: one that came until then was noted.
    session.end(carry, _agreed(caught))
    return carry.train_state


def _check(
    train_state: object,
    batches: object,
    checkpoints: object,
    mesh: object,
    evaluate: object,
    report: object,
    tick: object,
) -> None:
    for name, value, kind, maker in (
        ("train_state", train_state, TrainState, "training.create"),
        ("batches", batches, Batches, "Batches(samples, size, key=key)"),
        ("checkpoints", checkpoints, Checkpoints | None, "training.Checkpoints(folder)"),
        ("mesh", mesh, Mesh | None, "training.devices.mesh()"),
    ):
        order = "the order is train_state, loss, optimizer, batches, epochs"
        _require.instance(name, value, kind, f"what {maker} returns", order)
    for name, function, what in (
        ("evaluate", evaluate, "(train_state) -> dict"),
        ("report", report, "of a record"),
        ("tick", tick, "(step, steps)"),
    ):
        if function is not None:
            _require.function(name, function, what)


def _epoch(
    run: Callable[..., Carry],
    carry: Carry,
    feed: Feed,
    session: Session,
    after_call: Callable[[Carry], Carry],
    batches: Batches,
) -> tuple[Carry, Record]:
    """Take the steps up to the end of the epoch, and begin its record: where, and how fast."""
    step = begun = int(carry.train_state.step)
    epoch = step // batches.per_epoch + 1
    end, count, clock = epoch * batches.per_epoch, 1, time.perf_counter()
    # A call for no step: it compiles if that is needed, and takes no time otherwise.
    carry = jax.block_until_ready(run(carry, *feed(step, step)))
    ready = time.perf_counter()
    while step < end:
        called = time.perf_counter()
        stop = min(step + count, end, session.next_after(step))
        carry = run(carry, *feed(step, stop))
        carry = after_call(carry)
        step = int(carry.train_state.step)
        count = _next_count(count, time.perf_counter() - called)
    seconds = time.perf_counter() - ready
    return carry, {
        "epoch": epoch,
        "step": step,
        "seconds": seconds,
        "compile_seconds": ready - clock,
        "examples_per_second": (step - begun) * batches.size / seconds,
    }


def _evaluation(
    evaluate: Callable[[TrainState], Record] | None, train_state: TrainState, record: Record
) -> Record:
    found = {} if evaluate is None else evaluate(train_state)
    _require.instance("what evaluate returns", found, dict, "a dict")
    if twice := record.keys() & found.keys():
        raise ValueError(f"evaluate returns {sorted(twice)}, which are the loop's: rename them")
    return found


def _agreed(caught: interrupt.Caught) -> int | None:
    """Return the signal that came to any of the processes: all of them save, or none."""
    return devices.agree(caught.number or 0) or None


def begin(
    train_state: TrainState,
    loss: TrainingLoss,
    augment: Augment | None,
    batch: PyTree,
    per_epoch: int,
) -> Carry:
    """Return what the loop carries before its first call, for batches of these shapes."""
    # Every call consumes its carry: a copy, so that the caller's state stays valid.
    train_state = jax.tree.map(jnp.copy, train_state)
    still = optax.set_to_zero()
    state = train_state.replace(opt_state=still.init(train_state.params))
    _, names = jax.eval_shape(make_step(loss, still, augment=augment), state, batch)
    log = {name: jnp.full(per_epoch, jnp.nan) for name in names}
    return Carry(train_state, log, jnp.int32(0), jnp.asarray(False))


def unknown(values: jax.Array) -> jax.Array:
    """Return NaN in the place of every number of a log."""
    # Not full_like, which would put the result on one device.
    return values * jnp.nan


_JIT = {
    "static_argnames": ("loss", "optimizer", "augment", "accumulate", "skip_nonfinite", "mesh"),
    "donate_argnums": 0,
}


@functools.partial(jax.jit, **_JIT)
def run_steps(
    carry: Carry,
    data: PyTree,
    order: jax.Array,
    stop: int | jax.Array,
    *,
    loss: TrainingLoss,
    optimizer: optax.GradientTransformation,
    augment: Augment | None,
    accumulate: int,
    skip_nonfinite: int,
    mesh: Mesh | None,
) -> Carry:
    """Take the steps up to ``stop``, within one epoch.

    The length of a while loop is data, that of a scan is not: one program serves every length, so
    that a resumed run executes the very same instructions and agrees bit for bit.
    """
    step = make_step(loss, optimizer, augment=augment, accumulate=accumulate)

    def body(carry: Carry) -> Carry:
        before = carry.train_state
        at = before.step % len(order)
        batch = jax.tree.map(lambda leaf: leaf[order[at]], data)
        after, metrics = step(before, devices.spread(batch, mesh))
        finite = _finite((metrics["loss"], after.params, after.state))
        failures = jnp.where(finite, 0, carry.failures + 1)
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (after.params, after.opt_state, after.state),
            (before.params, before.opt_state, before.state),
        )
        stopped = failures > skip_nonfinite
        return Carry(
            TrainState(before.step + jnp.where(stopped, 0, 1), *kept, before.key),
            {
                name: values.at[at].set(jnp.asarray(metrics[name], values.dtype))
                for name, values in carry.log.items()
            },
            failures,
            stopped,
        )

    return jax.lax.while_loop(
        lambda carry: (carry.train_state.step < stop) & ~carry.stopped, body, carry
    )


@functools.cache
def _run_steps_with(options: tuple[tuple[str, Any], ...]) -> Callable[..., Carry]:
    """Return `run_steps`, compiled with these options."""
    return compiling.jit(inspect.unwrap(run_steps), compiler_options=dict(options), **_JIT)


def _finite(tree: PyTree) -> jax.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, [jnp.all(jnp.isfinite(x)) for x in leaves])


def _next_count(count: int, seconds: float) -> int:
    """Return how many steps the next call takes, after a call of ``count`` steps."""
    if jax.process_count() > 1:
        return 16  # by its own clock, every process would choose another number
    return max(1, min(2 * count, int(count * SECONDS_A_CALL / max(seconds, 1e-9))))


def _means(log: dict[str, Any], first: int, skipping: bool) -> Record:
    # In double precision over the whole epoch: the mean does not depend on where calls ended.
    names = sorted(log, key=lambda name: (name != "loss", name))
    rows = {name: np.asarray(log[name], np.float64)[first:] for name in names}
    taken = np.isfinite(rows["loss"])
    means = {
        name: float(values[taken].mean()) if taken.any() else math.nan
        for name, values in rows.items()
    }
    return means | ({"skipped": int((~taken).sum())} if skipping else {})
