"""A few numbers about an array, the same on the host and inside a compiled program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_PIECE = 2**16  # elements


class Stats(NamedTuple):
    """What is kept of an array when the array itself is not.

    Attributes:
      shape: of the array.
      dtype: of the array, its name.
      min: smallest finite element; of complex numbers, all four are about their moduli.
      mean: of the finite elements.
      max: largest finite element.
      norm: Euclidean, of the finite elements.
      zeros: share of exact zeros, from 0 to 1.
      nans: how many elements are NaN.
      infs: how many elements are plus or minus infinity.
    """

    shape: tuple[int, ...]
    dtype: str
    min: Any
    mean: Any
    max: Any
    norm: Any
    zeros: Any
    nans: Any
    infs: Any


def measure(x: Any, xp: Any = np) -> Any:
    """Return min, mean, max, norm, share of zeros, NaNs and Infs of an array, stacked.

    Args:
      x: array, numbers of any kind.
      xp: numpy on the host, jax.numpy inside a traced program.

    Returns:
      Seven float32 numbers.
    """
    if x.size == 0:
        return xp.zeros(7, dtype=xp.float32)
    x = xp.abs(x) if jnp.issubdtype(x.dtype, jnp.complexfloating) else x
    x = x if x.dtype in (np.float32, np.float64) else x.astype(xp.float32)
    nans, infs = xp.isnan(x), xp.isinf(x)
    good = ~(nans | infs)
    count = xp.maximum(good.sum(), 1)
    finite = xp.where(good, x, xp.zeros_like(x))
    top = xp.abs(finite).max()
    unit = finite / xp.where(top > 0, top, xp.ones_like(top))  # squares neither over- nor underflow
    parts = (
        xp.where(good, x, xp.full_like(x, xp.inf)).min(),
        finite.sum() / count.astype(x.dtype),
        xp.where(good, x, xp.full_like(x, -xp.inf)).max(),
        top * xp.sqrt((unit * unit).sum()),
        (x == 0).mean(),
        nans.sum(),
        infs.sum(),
    )
    return xp.stack([xp.asarray(part).astype(xp.float32) for part in parts])


@jax.jit
def measure_in_parts(x: Any) -> Any:
    """Return what `measure` does, through a piece of memory that does not grow with the array."""
    flat = x.reshape(-1)
    pieces = flat.size // _PIECE
    if pieces < 2:
        return measure(flat, jnp)
    starts = jnp.arange(pieces) * _PIECE
    rows = jax.lax.map(
        lambda start: measure(jax.lax.dynamic_slice(flat, (start,), (_PIECE,)), jnp), starts
    )
    sizes = np.full(pieces, _PIECE, np.float32)
    if rest := flat.size % _PIECE:
        rows = jnp.concatenate([rows, measure(flat[-rest:], jnp)[None]])
        sizes = np.append(sizes, np.float32(rest))
    low, mean, high, norm, zeros, nans, infs = rows.T
    finite = sizes - nans - infs
    top = jnp.where(norm.max() > 0, norm.max(), 1.0)
    parts = (
        low.min(),
        (mean * (finite / jnp.maximum(finite.sum(), 1))).sum(),
        high.max(),
        top * jnp.sqrt(((norm / top) ** 2).sum()),
        (zeros * (sizes / sizes.sum())).sum(),
        nans.sum(),
        infs.sum(),
    )
    return jnp.stack(parts)


def is_number(x: Any) -> bool:
    """Tell whether an array holds numbers, and not, say, random keys."""
    return bool(jnp.issubdtype(x.dtype, jnp.number) or jnp.issubdtype(x.dtype, jnp.bool_))


def stats(aval: Any, measured: Any) -> Stats:
    """Join the shape and dtype of an array with what `measure` returns or returned of it."""
    if measured.shape == tuple(aval.shape):  # the array itself
        measured = measure(np.asarray(measured))
    low, mean, high, norm, zeros, nans, infs = (float(v) for v in np.asarray(measured))
    return Stats(
        tuple(aval.shape), str(aval.dtype), low, mean, high, norm, zeros, int(nans), int(infs)
    )
