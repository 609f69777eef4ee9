"""A descent run again, to look at any of its steps and to go on from there in another way."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from chainrule.descent import _krylov, updates
from chainrule.descent._arguments import Batch, Loss
from chainrule.descent._reading import readings
from chainrule.descent._response import measure
from chainrule.descent._step import advance, at_step

NUDGE = 1e-4
"""Of each parameter: where so little decides whether a descent survives, rounding does."""


class Walk:
    """A descent that can be taken up at any of its steps."""

    def __init__(
        self,
        params: PyTree,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        batch: Batch | None,
        key: Array | None,
    ) -> None:
        self.settings = (loss, optimizer, batch)
        self.key = key
        self.known = {0: (params, updates.init(optimizer, params))}

    def at(self, step: int) -> tuple[PyTree, PyTree]:
        """Return the parameters and the state after so many steps."""
        if step not in self.known:
            first = max(t for t in self.known if t < step)
            bounds = jnp.int32(first), jnp.int32(step)
            self.known[step] = _onward(self.known[first], *bounds, *self.settings)
        return self.known[step]

    def gradient(self, step: int) -> tuple[float, PyTree]:
        """Return the loss and its gradient after so many steps."""
        loss, _, batch = self.settings
        value, grads = jax.device_get(_gradient(self.at(step)[0], jnp.int32(step), loss, batch))
        return float(value), grads

    def ratios(self, step: int, steps: int) -> np.ndarray:
        """Return the ratio at this step and at each of so many after it, ``[steps + 1]``."""
        start = (self.at(step), jnp.int32(step), self.key)
        return np.asarray(_ratios(*start, *self.settings, steps), np.float64)

    def move(self, step: int) -> tuple[PyTree, PyTree]:
        """Return the change of the next step, and the direction in which it is least stable."""
        start = (self.at(step), jnp.int32(step), self.key)
        return jax.device_get(_least_stable(*start, *self.settings))

    def shorter(self, step: int, factors: Sequence[float], steps: int) -> np.ndarray:
        """Return the losses of so many more steps, each multiplied by each of some factors.

        Each is run twice, the second time with every parameter moved by `NUDGE` of itself:
        ``[factors, 2, steps + 1]``.
        """
        start = (self.at(step), jnp.int32(step), jnp.asarray(factors, jnp.float32))
        return np.asarray(_shorter(*start, *self.settings, steps), np.float64)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _onward(carry, first, step, loss, optimizer, batch):  # type: ignore[no-untyped-def]
    def one(t, carry):  # type: ignore[no-untyped-def]
        return advance(at_step(loss, batch, t), optimizer, carry, jnp.array(True))[0]

    return jax.lax.fori_loop(first, step, one, carry)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _gradient(params, step, loss, batch):  # type: ignore[no-untyped-def]
    return jax.value_and_grad(at_step(loss, batch, step))(params)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _ratios(carry, first, key, loss, optimizer, batch, steps):  # type: ignore[no-untyped-def]
    return readings(carry, first, key, loss, optimizer, steps, 1, batch)[-1]


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _least_stable(carry, step, key, loss, optimizer, batch):  # type: ignore[no-untyped-def]
    params, state = carry
    at, rows = at_step(loss, batch, step), _krylov.start(params, 3, key)
    _, own = measure(at, params, optimizer, state, rows, rows, size=12, sweeps=60)
    after = advance(at, optimizer, carry, jnp.array(True))[0][0]
    return jax.tree.map(jnp.subtract, after, params), _krylov.unflat(params)(own.vectors[0])


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _shorter(carry, first, factors, loss, optimizer, batch, steps):  # type: ignore[no-untyped-def]
    vector, tree = _krylov.start(carry[0], 1, None)[0], _krylov.unflat(carry[0])
    signs = tree(jnp.sign(vector))

    def lane(factor: Array, nudge: Array) -> Array:
        def step(carry, t):  # type: ignore[no-untyped-def]
            at = at_step(loss, batch, first + t)
            (after, state), value, _ = advance(at, optimizer, carry, t < steps)

            def shorter(old: Array, new: Array) -> Array:
                return old + factor.astype(old.dtype) * (new - old)

            return (jax.tree.map(shorter, carry[0], after), state), value

        def moved(w: Array, sign: Array) -> Array:
            return w + nudge.astype(w.dtype) * sign * w

        begin = (jax.tree.map(moved, carry[0], signs), carry[1])
        return jax.lax.scan(step, begin, jnp.arange(steps + 1))[1]

    # One after the other: a lane alone has the arithmetic of the descent.
    return jax.lax.map(
        lambda factor: jnp.stack([lane(factor, jnp.array(by)) for by in (0.0, NUDGE)]), factors
    )
