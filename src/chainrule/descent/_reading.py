"""A descent whose stability is read on the way, each search from what the one before found."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from chainrule.descent import _krylov
from chainrule.descent._arguments import Batch, Loss
from chainrule.descent._response import measure
from chainrule.descent._step import advance, at_step
from chainrule.descent.trace import Trace

# Of the search: it starts from one vector, that of the reading before, and is done after four
# products if that is near enough.
_START, _SIZE, _SWEEPS = 1, 4, 60


def readings(
    start: tuple[PyTree, PyTree],
    first: Array,
    key: Array | None,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    steps: int,
    every: int,
    batch: Batch | None,
) -> tuple[Trace, Array, Array, Array]:
    """Descend from the parameters and the state that were there at step ``first``, and read.

    Returns:
      The trace, the steps that were read, and the sharpness and the ratio there.
    """
    fresh = _krylov.start(start[0], _START, key)

    def read(at, params, state, vectors):  # type: ignore[no-untyped-def]
        # A touch of the first vectors: what grows anew may be orthogonal to what was found.
        plain, own = (jnp.where(jnp.isfinite(one), one, 0) + 0.01 * fresh for one in vectors)
        found = measure(at, params, optimizer, state, plain, own, size=_SIZE, sweeps=_SWEEPS)
        return tuple(one.vectors for one in found), tuple(one.values[0] for one in found)

    def step(carry, t):  # type: ignore[no-untyped-def]
        (params, state), vectors = carry
        at = at_step(loss, batch, first + t)
        unread = (jnp.full((), jnp.nan, fresh.dtype),) * 2
        vectors, numbers = jax.lax.cond(
            t % every == 0,
            lambda: read(at, params, state, vectors),
            lambda: (vectors, unread),
        )
        after, loss_now, norm = advance(at, optimizer, (params, state), t < steps)
        return (after, vectors), (loss_now, norm, *numbers)

    carry, columns = jax.lax.scan(step, (start, (fresh, fresh)), jnp.arange(steps + 1))
    losses, norms, sharpness, ratio = columns
    sharpness, ratio = sharpness[::every], ratio[::every]
    at = first + jnp.arange(0, steps + 1, every)
    trace = Trace(losses, norms, None, carry[0][0])
    return trace, at, sharpness, ratio
