"""One pass of a descent: what it records, and the step that follows."""

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from chainrule.descent import updates
from chainrule.descent._arguments import Batch, Loss


def advance(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    carry: tuple[PyTree, PyTree],
    move: Array,
) -> tuple[tuple[PyTree, PyTree], Float[Array, ""], Float[Array, ""]]:
    """Return the parameters and the state one step on, the loss before it and the gradient's norm.

    Where ``move`` is False nothing moves: the last pass of a descent only records. Evaluating the
    loss after it would compile the loss twice.
    """
    params, state = carry
    value, grads = jax.value_and_grad(loss)(params)
    after = updates.update(optimizer, grads, state, params, value=value, value_fn=loss)
    carry = jax.tree.map(lambda new, old: jnp.where(move, new, old), after, carry)
    return carry, value, optax.tree.norm(grads)


def at_step(loss: Loss, batch: Batch | None, t: Array) -> Loss:
    """Return the loss of the mini-batch of a step."""
    return loss if batch is None else functools.partial(_on_batch, loss, batch(t))


def _on_batch(loss: Loss, batch: PyTree, params: PyTree) -> Float[Array, ""]:
    return loss(params, batch)
