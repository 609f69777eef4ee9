"""Optimizers from names and numbers, as they come from a command line, checked."""

import difflib
import inspect
import math
import numbers
from collections.abc import Iterable
from typing import Any

import optax

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
"""By name, from optax."""
SCHEDULES = ("constant", "cosine", "linear")
"""How a learning rate goes on."""


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

    The rate rises from 0 to ``eta`` in ``warmup`` steps, in a line, and then stays there, or falls
    to 0 at ``steps`` in a line or as :math:`\eta (1 + \cos \pi s) / 2`, s from 0 to 1.

    Args:
      name: ``"sgd"``, ``"adam"``, ...: one of `OPTIMIZERS`.
      eta: the learning rate, positive.
      schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
      steps: of the whole training, warm-up included, for a schedule that falls.
      warmup: how many of them the rate rises for.
      clip: the Euclidean norm to which a longer gradient is shortened first; None leaves it.
      settings: optax's own for this optimizer, ``momentum=0.9`` for example.

    Raises:
      ValueError: an unknown name (with those it resembles) or a number out of range.

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
    make = OPTIMIZERS[_known("optimizer", name, OPTIMIZERS)]
    allowed = [p for p in inspect.signature(make).parameters if p != "learning_rate"]
    for setting in settings:
        _known(f"setting of {name}", setting, allowed)
    _known("schedule", schedule, SCHEDULES)
    if not isinstance(eta, numbers.Real) or not (eta > 0 and math.isfinite(eta)):
        raise ValueError(f"eta={eta!r}: a learning rate is a number, positive and finite")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip={clip}: the largest norm of a gradient is positive")
    if warmup < 0 or (steps is not None and warmup >= steps):
        raise ValueError(f"warmup={warmup}: it takes at least 0 and fewer than all steps, {steps}")
    made = make(_schedule(eta, schedule, steps, warmup), **settings)
    return made if clip is None else optax.chain(optax.clip_by_global_norm(clip), made)


def _schedule(eta: float, schedule: str, steps: int | None, warmup: int) -> Any:
    if schedule == "constant":
        after = optax.constant_schedule(eta)
    elif steps is None:
        raise ValueError(f"schedule={schedule!r} falls to 0 at the last step: say steps")
    elif schedule == "linear":
        after = optax.linear_schedule(eta, 0.0, steps - warmup)
    else:
        after = optax.cosine_decay_schedule(eta, steps - warmup)
    if not warmup:
        return eta if schedule == "constant" else after
    return optax.join_schedules([optax.linear_schedule(0.0, eta, warmup), after], [warmup])


def _known(what: str, name: str, names: Iterable[str]) -> str:
    names = sorted(names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
        raise ValueError(f"unknown {what} {name!r}: {hint}")
    return name
