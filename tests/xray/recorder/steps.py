"""Training steps that fail, as a user's module has them: a replay imports them from here."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

OPTIMIZER = optax.sgd(1e-2, momentum=0.5)


def loss(params, batch):
    difference = batch["a"] @ params["kernel"] - batch["b"] @ params["kernel"]
    distance = jnp.sqrt(jnp.sum(difference**2, axis=1))  # BORN
    return jnp.mean(distance)


@functools.partial(jax.jit, donate_argnums=0)
def pairs(state, batch):
    """A step of momentum that donates its state."""
    params, moments = state
    value, grads = jax.value_and_grad(loss)(params, batch)
    moved, moments = OPTIMIZER.update(grads, moments, params)
    state = optax.apply_updates(params, moved), moments
    return state, {"loss": value, "grad_norm": optax.tree.norm(grads)}


def example_args():
    return start(), batch(0)


def start():
    params = {"kernel": jnp.eye(3)}
    return params, OPTIMIZER.init(params)


def batch(seed, equal=()):
    """Eight pairs, some of them of equal points."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 8, 3)).astype(np.float32)
    b[list(equal)] = a[list(equal)]
    return {"a": a, "b": b}


@jax.jit
def plain(w, x):
    """A step that donates nothing, of a loss whose root fails for a negative number."""
    value, grad = jax.value_and_grad(lambda w: jnp.mean(jnp.sqrt(x @ w)))(w)
    return w - 0.01 * grad, value
