"""What the functions on descents have in common: a loss, its parameters and its batches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from chainrule import _require

Loss = Callable[..., Float[Array, ""]]
"""``loss(params)`` or ``loss(params, batch)``, one number."""

Batch = Callable[[Array], PyTree]
"""From the step, an int32 scalar, to its mini-batch."""


def checked(loss: Any, params: PyTree, batch: Batch | None = None) -> PyTree:
    """Return the parameters as JAX's arrays; refuse what cannot be descended on."""
    cure = f"it comes first, and params, here {_require.kind(params)}, second"
    _require.function("loss", loss, "of the parameters", cure)
    params = _require.floating(params)
    if batch is not None:
        _require.function("batch", batch, "of the step")
    _require.scalar_loss(loss, *shapes(params, batch))
    return params


def shapes(params: PyTree, batch: Batch | None) -> tuple[Any, ...]:
    """Return what a loss is called with, a batch by its shapes."""
    return (params,) if batch is None else (params, jax.eval_shape(batch, jnp.int32(0)))
