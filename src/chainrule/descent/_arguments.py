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


def curved(loss: Any, params: PyTree, batch: Batch | None = None) -> PyTree:
    """Return the parameters as `checked` does; refuse a loss that has no second derivative."""
    params = checked(loss, params, batch)

    def product(params: PyTree, *batches: PyTree) -> PyTree:
        _, pull = jax.vjp(jax.grad(lambda params: loss(params, *batches)), params)
        return pull(params)

    try:
        jax.eval_shape(product, *shapes(params, batch))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"loss cannot be differentiated twice: {str(error).partition('. ')[0]}. A while loop "
            "has no reverse mode: write a jax.lax.scan, or a fori_loop with fixed bounds"
        ) from error
    return params


def at_point(
    loss: Any, params: PyTree, batch: PyTree, key: Any
) -> tuple[PyTree, tuple[PyTree, ...]]:
    """Return the parameters and the examples where curvature is measured, or refuse them."""
    if callable(batch):
        raise ValueError("batch must be the examples, not a function of the step: give batch(step)")
    _require.leaves("batch", batch)
    params = curved(loss, params, None if batch is None else lambda step: batch)
    if key is not None:
        _require.one_key(key)
    batches = () if batch is None else (batch,)
    _require.within("the loss at params", loss(params, *batches))
    return params, batches


def hessian(loss: Loss, params: PyTree) -> Callable[[PyTree], PyTree]:
    """Return the products with the Hessian, in trees like ``params``."""
    # Reverse over reverse: forward mode would refuse any operator with a custom_vjp.
    _, pull = jax.vjp(jax.grad(loss), params)
    return lambda v: pull(v)[0]


def on_batches(loss: Loss, batches: tuple[PyTree, ...]) -> Loss:
    """Return the loss of these examples, if there are any, as a function of the parameters."""
    return lambda params: loss(params, *batches)


def shapes(params: PyTree, batch: Batch | None) -> tuple[Any, ...]:
    """Return what a loss is called with, a batch by its shapes."""
    return (params,) if batch is None else (params, jax.eval_shape(batch, jnp.int32(0)))
