"""Optimizers by name, with a schedule and clipping, from settings as a command line gives them."""

import inspect
from typing import Any

import optax

from chainrule import _require

__all__ = ["OPTIMIZERS", "SCHEDULES", "optimizer"]
__dir__ = __all__.copy

OPTIMIZERS = {
    "adabelief": optax.adabelief,
    "adagrad": optax.adagrad,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lamb": optax.lamb,
    "lion": optax.lion,
    "nadam": optax.nadam,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
}
"""Optax's optimizers, by name."""
SCHEDULES = ("constant", "cosine", "linear")
"""How the learning rate changes after the warm-up."""

# The ranges of optax's settings, which it does not check.
_FRACTIONS = ("b1", "b2", "decay", "momentum")
_AT_LEAST_0 = ("eps", "eps_root", "initial_accumulator_value", "initial_scale", "weight_decay")
_FLAGS = ("bias_correction", "centered", "eps_in_sqrt", "nesterov")


def optimizer(
    name: str,
    eta: float,
    *,
    schedule: str = "constant",
    steps: int | None = None,
    warmup: int = 0,
    clip: float | None = None,
    **settings: Any,
) -> optax.GradientTransformation:
    r"""Return one of optax's optimizers, with a schedule and clipping.

    The rate rises linearly from 0 to ``eta`` in ``warmup`` steps. Then it stays there, or falls to
    0 at ``steps``: linearly, or as :math:`\eta (1 + \cos \pi s) / 2` with s from 0 to 1.

    Args:
      name: ``"sgd"``, ``"adam"``, ...: one of `OPTIMIZERS`.
      eta: the learning rate, positive; with a schedule its peak.
      schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
      steps: the length of the whole training, warm-up included; needed by a schedule that falls.
      warmup: how many of these steps the rate rises for.
      clip: the largest Euclidean norm of the gradient: a longer one is scaled down to it before the
        optimizer. None does not clip.
      settings: optax's own for this optimizer, for example ``momentum=0.9``.

    Raises:
      ValueError: an unknown name (the message says which one was perhaps meant), or a number out of
        range.

    Example:
      >>> import jax.numpy as jnp
      >>> sgd = optimizer("sgd", 0.5, schedule="linear", steps=4, clip=1.0)
      >>> state, gradient = sgd.init(jnp.zeros(2)), jnp.asarray([3.0, 4.0])
      >>> for _ in range(5):
      ...     update, state = sgd.update(gradient, state)
      ...     print(update)
      [-0.3 -0.4]
      [-0.225 -0.3  ]
      [-0.15 -0.2 ]
      [-0.075 -0.1  ]
      [-0. -0.]
    """
    _require.one_of("optimizer", name, OPTIMIZERS)
    make = OPTIMIZERS[name]
    known = inspect.signature(make).parameters
    for setting, value in settings.items():
        _require.one_of(f"setting of {name}", setting, sorted(known.keys() - {"learning_rate"}))
        if value is not None or known[setting].default is not None:
            _check(setting, value)
    _require.one_of("schedule", schedule, SCHEDULES)
    _require.real("eta", eta, above=0.0, why="it is a learning rate")
    if clip is not None:
        _require.real("clip", clip, above=0.0, why="it is the largest norm of the gradient")
    if steps is not None:
        _require.count("steps", steps)
    most, why = (None, "") if steps is None else (steps - 1, f"the training has {steps} steps")
    _require.count("warmup", warmup, least=0, most=most, why=why)
    made = make(_schedule(eta, schedule, steps, warmup), **settings)
    return made if clip is None else optax.chain(optax.clip_by_global_norm(clip), made)


def _check(setting: str, value: Any) -> None:
    if setting in _FRACTIONS:
        _require.real(setting, value, least=0, below=1)
    elif setting in _AT_LEAST_0:
        _require.real(setting, value, least=0)
    elif setting in _FLAGS:
        _require.flag(setting, value)


def _schedule(eta: float, schedule: str, steps: int | None, warmup: int) -> Any:
    if schedule == "constant":
        after = optax.constant_schedule(eta)
    elif steps is None:
        raise ValueError(f"schedule={schedule!r} falls to 0 at the end: give steps, the length")
    elif schedule == "linear":
        after = optax.linear_schedule(eta, 0.0, steps - warmup)
    else:
        after = optax.cosine_decay_schedule(eta, steps - warmup)
    if not warmup:
        return eta if schedule == "constant" else after
    return optax.join_schedules([optax.linear_schedule(0.0, eta, warmup), after], [warmup])
