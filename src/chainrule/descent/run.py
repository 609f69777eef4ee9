"""Gradient descent in one compiled program: one run, or many learning rates at once."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from chainrule import _require
from chainrule._modules import Fixed, Whole, split
from chainrule.descent import updates
from chainrule.descent._arguments import Batch, Loss, checked, shapes
from chainrule.descent._step import advance, at_step
from chainrule.descent.trace import Trace
from chainrule.descent.updates import OptimizerFactory

__all__ = ["Rates", "gradient_descent", "sweep"]
__dir__ = __all__.copy

Rates = Float[Array, " lanes"] | Float[np.ndarray, " lanes"] | Sequence[float]
"""Learning rates, one a lane."""

_MAX_RECORD_BYTES = 2**30
# What the lanes that a CPU runs together may touch in one step.
_CACHE_BYTES = 2**25


def gradient_descent(
    loss: Loss,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    batch: Batch | None = None,
    record_params: bool = True,
    observe: Callable[[PyTree], PyTree] | None = None,
) -> Trace:
    """Descend from ``params`` and record every step, in one compiled `jax.lax.scan`.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given.
      params: the start, any pytree of floating-point arrays. What is none in a module, its
        activation function say, stays as it is.
      optimizer: any optax optimizer, its learning rate baked in.
      steps: how many updates, at least 0.
      batch: a function of the step (an int32 scalar) that returns its mini-batch. It is also called
        with ``steps``, for the loss at the final parameters.
      record_params: whether to keep the parameters of every step.
      observe: a function of the parameters whose result is kept at every step, for example the
        number of errors or the gradient.

    Returns:
      The `Trace`, every array with a leading axis ``steps + 1``.

    Raises:
      ValueError: the loss is not a floating-point scalar, a parameter is not floating-point,
        ``steps`` is no whole number of at least 0, the optimizer fails, or the record of the
        parameters and of what is observed would pass 1 GiB.

    Example:
      >>> from chainrule import landscapes
      >>> trace = gradient_descent(landscapes.quadratic, jnp.asarray(8.0), optax.sgd(0.5), 3)
      >>> trace.params.tolist(), trace.loss.tolist()
      ([8.0, 4.0, 2.0, 1.0], [32.0, 8.0, 2.0, 0.5])
    """
    steps = _require.count("steps", steps, least=0)
    params, loss, observe, fixed = _without_fixed(params, loss, observe)
    params, optimizer = checked(loss, params, batch), updates.checked(optimizer)
    _check_record(params, steps, 1, record_params, observe)
    return _whole(fixed, _single(params, loss, optimizer, steps, batch, record_params, observe))


def sweep(
    loss: Loss,
    params: PyTree,
    etas: Rates,
    steps: int,
    *,
    optimizer: OptimizerFactory = optax.sgd,
    batch: Batch | None = None,
    record_params: bool = False,
    observe: Callable[[PyTree], PyTree] | None = None,
) -> Trace:
    """Descend at many learning rates at once, in one compiled program.

    All lanes start from the same ``params`` and see the same batches in the same order. The rates
    are an argument of the program: another sweep of the same number of rates, with the same
    ``loss``, ``optimizer`` and ``steps``, compiles nothing. (The functions are compared by
    identity: make a `functools.partial` once, outside the call.)

    A lane that diverges holds infinities and NaNs and leaves the others alone.

    A CPU is fastest while its numbers fit into its caches: there the lanes of a large loss run in
    groups that do, one group after another, which bounds the memory too.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given.
      params: the common start, as for `gradient_descent`.
      etas: the learning rates, positive, a one-dimensional array or sequence.
      steps: how many updates, at least 0.
      optimizer: a function from a learning rate to an optax optimizer.
      batch: see `gradient_descent`.
      record_params: whether to keep the parameters of every step of every lane.
      observe: see `gradient_descent`.

    Returns:
      The `Trace`, every array with leading axes ``[len(etas), steps + 1]``, the leaves of
      ``final_params`` with ``len(etas)``.

    Raises:
      ValueError: as `gradient_descent`; or the rates are not a non-empty, one-dimensional array
        of positive finite numbers.

    Example:
      >>> from chainrule import landscapes
      >>> trace = sweep(landscapes.quadratic, jnp.asarray(1.0), jnp.asarray([0.5, 1.5, 2.5]), 4)
      >>> trace.final_params.tolist()
      [0.0625, 0.0625, 5.0625]
      >>> from chainrule.descent import verdict
      >>> verdict(trace)
      ('descending', 'descending', 'diverged')
    """
    steps = _require.count("steps", steps, least=0)
    params, loss, observe, fixed = _without_fixed(params, loss, observe)
    params = checked(loss, params, batch)
    cure = "give optax.sgd itself, for example, and the rates as etas"
    _require.function("optimizer", optimizer, "of the learning rate", cure)
    # Rates in the precision of the parameters, but never below float32.
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        try:
            etas = jnp.asarray(etas, dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"etas must be an array of learning rates, not {_require.kind(etas)}"
            ) from error
    if etas.ndim != 1 or etas.size == 0:
        raise ValueError(
            f"etas must be a non-empty one-dimensional array, but its shape is {etas.shape}"
        )
    if _require.is_concrete(etas):
        host = np.asarray(etas)
        bad = host[~(np.isfinite(host) & (host > 0))]
        if bad.size:
            raise ValueError(
                f"every learning rate must be positive and finite, but etas holds {bad.tolist()}"
            )
    _check_record(params, steps, etas.size, record_params, observe)
    return _whole(
        fixed, _lanes(params, etas, loss, optimizer, steps, batch, record_params, observe)
    )


def _without_fixed(params: PyTree, loss: Any, observe: Any) -> tuple[PyTree, Any, Any, Fixed]:
    """Return what a descent moves of a module, and functions of that; and what stays."""
    held, fixed = split(params)
    if not fixed.leaves:
        return params, loss, observe, fixed
    # What cannot be called is refused by its name.
    loss, observe = (Whole(f, (fixed,)) if callable(f) else f for f in (loss, observe))
    return held, loss, observe, fixed


def _whole(fixed: Fixed, trace: Trace) -> Trace:
    """Return a trace whose parameters have what stays in them."""
    kept = None if trace.params is None else fixed.whole(trace.params)
    return trace._replace(params=kept, final_params=fixed.whole(trace.final_params))


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6))
def _single(params, loss, optimizer, steps, batch, record_params, observe):  # type: ignore[no-untyped-def]
    return _descend(params, loss, optimizer, steps, batch, record_params, observe)


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5, 6, 7))
def _lanes(params, etas, loss, optimizer, steps, batch, record_params, observe):  # type: ignore[no-untyped-def]
    def lane(eta: Array) -> Trace:
        return _descend(
            params, loss, updates.from_rate(optimizer, eta), steps, batch, record_params, observe
        )

    lanes = etas.size
    groups = _groups(loss, params, lanes, batch)
    if groups == 1:
        return jax.vmap(lane)(etas)
    # Groups of one size compile once: the last one repeats a rate where it is not full.
    size = math.ceil(lanes / groups)
    filled = jnp.pad(etas, (0, groups * size - lanes), mode="edge").reshape(groups, size)
    trace = jax.lax.map(jax.vmap(lane), filled)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:lanes], trace)


def _groups(loss: Loss, params: PyTree, lanes: int, batch: Batch | None) -> int:
    """Return in how many groups the lanes of a sweep run."""
    if jax.default_backend() != "cpu":
        return 1
    jaxpr = jax.make_jaxpr(jax.value_and_grad(loss))(*shapes(params, batch))
    avals: list[Any] = [v.aval for eqn in jaxpr.eqns for v in eqn.outvars]
    touched = sum(aval.size * aval.dtype.itemsize for aval in avals)
    return math.ceil(lanes / max(1, min(lanes, _CACHE_BYTES // max(1, touched))))


def _descend(
    params: PyTree,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    steps: int,
    batch: Batch | None,
    record_params: bool,
    observe: Callable[[PyTree], PyTree] | None,
) -> Trace:
    def step(carry, t):  # type: ignore[no-untyped-def]
        params, _ = carry
        carry, *numbers = advance(at_step(loss, batch, t), optimizer, carry, t < steps)
        observed = None if observe is None else observe(params)
        return carry, (*numbers, params if record_params else None, observed)

    start = (params, updates.init(optimizer, params))
    (final, _), (losses, norms, *recorded) = jax.lax.scan(step, start, jnp.arange(steps + 1))
    return Trace(losses, norms, recorded[0], final, recorded[1])


def _check_record(
    params: PyTree,
    steps: int,
    lanes: int,
    record_params: bool,
    observe: Callable[[PyTree], PyTree] | None,
) -> None:
    _require.flag("record_params", record_params)
    if observe is not None:
        _require.function("observe", observe, "of the parameters")
    kept = (params if record_params else None, observe and jax.eval_shape(observe, params))
    bytes_a_point = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))
    size = bytes_a_point * (steps + 1) * lanes
    if size > _MAX_RECORD_BYTES:
        what, cure = ("the parameters", "pass record_params=False, or take fewer steps or rates")
        if observe is not None:
            what, cure = "what is kept", "keep less of them, or take fewer steps or rates"
        raise ValueError(
            f"recording {what} of {lanes} x {steps + 1} points takes "
            f"{size / 2**30:.2f} GiB, more than {_MAX_RECORD_BYTES / 2**30:.0f} GiB: {cure}"
        )
