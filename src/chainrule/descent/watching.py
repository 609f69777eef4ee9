"""A descent and its stability together, read every few steps or at the end of every epoch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from chainrule import _require
from chainrule.descent import updates
from chainrule.descent._arguments import Batch, Loss, curved
from chainrule.descent._reading import readings
from chainrule.descent._step import at_step
from chainrule.descent.curvature import stability
from chainrule.descent.trace import Trace

__all__ = ["Watched", "watch", "watcher"]
__dir__ = __all__.copy

_MOST_STEPS = 2**28  # four numbers are kept of each, 4 GiB


class Watched(NamedTuple):
    """A descent whose stability was read at steps 0, ``every``, ..., never beyond its last one.

    Attributes:
      trace: as `gradient_descent` returns it, without the parameters of every step.
      at: ``[readings]``, after how many steps each reading was taken.
      sharpness: ``[readings]``, the largest eigenvalue of the Hessian.
      critical: ``[readings]``, the sharpness at which the step would be at its edge.
      ratio: ``[readings]``, one over the other: above 1 the step is unstable.
      start: the parameters it began from.
    """

    trace: Trace
    at: Int[Array, " readings"]
    sharpness: Float[Array, " readings"]
    critical: Float[Array, " readings"]
    ratio: Float[Array, " readings"]
    start: PyTree = None


def watch(
    loss: Loss,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    every: int,
    batch: Batch | None = None,
    key: Array | None = None,
) -> Watched:
    """Descend, and measure on the way how far each step is from its edge of stability.

    The descent is that of `gradient_descent`, in one compiled program. What a reading says is what
    `stability` measures; each starts from the vectors that the one before found, so that it takes a
    few products with the Hessian, not dozens.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given; twice
        differentiable in reverse mode.
      params: the start, any pytree of floating-point arrays.
      optimizer: any optax optimizer.
      steps: how many updates, at least 0.
      every: how many steps from one reading to the next, at least 1.
      batch: a function of the step that returns its mini-batch, see `gradient_descent`. Each
        reading is of the loss of that step's batch: it scatters from batch to batch, and noise
        holds the sharpness below the critical one.
      key: for the vectors that the first reading starts from; the same each time without one.

    Returns:
      The `Watched`, of ``steps // every + 1`` readings. After a divergence they are NaN.

    Raises:
      ValueError: as `gradient_descent` and `stability`.

    Example:
      >>> from chainrule import landscapes
      >>> found = watch(landscapes.two_well, jnp.array(-0.5), optax.sgd(0.125), 20, every=10)
      >>> found.at.tolist(), found.critical.tolist()
      ([0, 10, 20], [16.0, 16.0, 16.0])
      >>> found.sharpness.round(1).tolist()
      [-0.5, 4.6, 4.6]
    """
    steps = _require.count("steps", steps, least=0, most=_MOST_STEPS)
    every = _require.count("every", every, most=_MOST_STEPS)
    params, optimizer = curved(loss, params, batch), updates.checked(optimizer)
    if key is not None:
        _require.one_key(key)
    value = at_step(loss, batch, jnp.int32(0))(params)
    _require.within("the loss at params", value)
    return _watch(params, key, loss, optimizer, steps, every, batch)._replace(start=params)


def watcher(
    loss: Loss, optimizer: optax.GradientTransformation, *, batch: PyTree = None
) -> Callable[[Any], dict[str, float]]:
    """Return a function for ``evaluate`` of `training.fit` that reads the stability of its steps.

    It starts afresh at every reading, so that the records of a resumed training are the same.

    Args:
      loss: ``loss(params)`` or ``loss(params, batch)``, a scalar: without the state, key and
        metrics of a training's loss.
      optimizer: the one of the training.
      batch: the examples on which to measure, the same each time.

    Returns:
      A function of a training's state that returns ``sharpness``, ``critical`` and ``ratio``.

    Example:
      >>> from chainrule import training
      >>> optimizer = optax.sgd(0.5)
      >>> start = training.create(jnp.array(1.0), optimizer, key=jax.random.key(0))
      >>> watcher(lambda w: 3 * w**2, optimizer)(start)
      {'sharpness': 6.0, 'critical': 4.0, 'ratio': 1.5}
    """
    _require.function("loss", loss, "of the parameters")
    updates.checked(optimizer)

    def evaluate(train_state: Any) -> dict[str, float]:
        found = stability(loss, train_state.params, optimizer, train_state.opt_state, batch=batch)
        return {name: float(getattr(found, name)) for name in ("sharpness", "critical", "ratio")}

    return evaluate


@functools.partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _watch(params, key, loss, optimizer, steps, every, batch):  # type: ignore[no-untyped-def]
    start = (params, updates.init(optimizer, params))
    read = readings(start, jnp.int32(0), key, loss, optimizer, steps, every, batch)
    trace, at, sharpness, ratio = read
    return Watched(trace, at, sharpness, sharpness / ratio, ratio)
