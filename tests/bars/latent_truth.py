"""What plain JAX and NumPy say of the programs of `tests.bars.latent_programs`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.bars.latent_programs import Loss, Trap

Args = tuple[Any, ...]


def rule_error(f: Loss, args: Args, seed: int = 0) -> float:
    """Return how far the gradient is from central differences in float64, relative to them.

    In three random directions of all arguments at once; the largest.
    """
    with jax.enable_x64(True):
        args = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), args)
        leaves, tree = jax.tree.flatten(args)
        value = jax.jit(lambda leaves: f(*tree.unflatten(leaves)))
        gradients = jax.grad(value)(leaves)
        rng = np.random.default_rng(seed)
        errors = []
        for _ in range(3):
            way = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]
            ahead, behind = (
                value([leaf + step * one for leaf, one in zip(leaves, way, strict=True)])
                for step in (1e-6, -1e-6)
            )
            difference = (ahead - behind) / 2e-6
            slope = sum(jnp.vdot(one, of) for one, of in zip(way, gradients, strict=True))
            errors.append(float(abs(slope - difference) / (abs(difference) + 1e-3)))
    return max(errors)


def finite(f: Loss, args: Args) -> bool:
    """Return whether the value is, and all gradients are, finite."""
    value, gradients = jax.value_and_grad(f, argnums=floats(args), allow_int=True)(*args)
    leaves = [value, *jax.tree.leaves(gradients)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def floats(args: Args) -> tuple[int, ...]:
    """Return the numbers of the arguments that are of floating point numbers."""
    return tuple(
        number
        for number, arg in enumerate(args)
        if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(arg))
    )


def widened(array: Any) -> tuple[Any, Any]:
    """Return the least and the greatest of an array's range, widened once to both sides."""
    low, high = np.min(array), np.max(array)
    if np.issubdtype(np.asarray(array).dtype, np.bool_):
        return low, high
    return low - (high - low), high + (high - low)


def within(args: Args, provoke: Args) -> bool:
    """Return whether arguments are like others, and each within its range widened once."""
    pairs = zip(jax.tree.leaves(args), jax.tree.leaves(provoke), strict=True)
    return all(
        old.shape == new.shape
        and old.dtype == new.dtype
        and bool(np.all((new >= widened(old)[0]) & (new <= widened(old)[1])))
        for old, new in pairs
    )


def snaps(trap: Trap) -> bool:
    """Return whether a trap does what it is said to, at the arguments that provoke it."""
    if trap.kind == "integer overflow":
        return overflows(trap) and not overflows(trap, trap.args)
    if not finite(trap.f, trap.provoke):
        return True
    return trap.kind == "gather" and int(np.max(trap.provoke[-1])) >= 4


def overflows(trap: Trap, args: Args | None = None) -> bool:
    """Return whether the value is another one with 64 bits."""
    args = trap.provoke if args is None else args
    value = float(trap.f(*args))
    with jax.enable_x64(True):
        wide = [
            jax.tree.map(lambda leaf: np.asarray(leaf, f"{leaf.dtype.kind}8"), arg) for arg in args
        ]
        return not abs(float(trap.f(*wide)) - value) <= 1e-3 * abs(value)


def stays_finite(f: Loss, args: Args, draws: int, seed: int = 0) -> bool:
    """Return whether it is finite at random arguments in their ranges, widened once."""
    rng = np.random.default_rng(seed)
    leaves, tree = jax.tree.flatten(args)
    many = [_drawn(leaf, draws, rng) for leaf in leaves]
    argnums = floats(args)

    def one(leaves: list[Any]) -> Any:
        value, gradients = jax.value_and_grad(f, argnums)(*tree.unflatten(leaves))
        return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradients))])

    return bool(jax.jit(jax.vmap(one))(many).all())


def _drawn(leaf: Any, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws from the widened range, one in ten of them with all elements the same."""
    leaf = np.asarray(leaf)
    low, high = widened(leaf)
    shape = (draws, *leaf.shape)
    if leaf.dtype.kind == "f":
        made = rng.uniform(low, high, shape).astype(leaf.dtype)
        made[::7] = made[::7].flat[0]
        made[3::11] = 0.0 if low <= 0 <= high else low
        made[5::13] = np.where(rng.random(made[5::13].shape) < 0.5, low, high)
        return made
    return rng.integers(low, high, shape, endpoint=True).astype(leaf.dtype)
