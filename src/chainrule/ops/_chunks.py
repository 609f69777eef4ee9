"""A function of many samples, applied to as many at a time as fit into the cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def wide(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to compute in: as in XLA, half precision is for inputs and outputs only.

    A kernel's gradient is a sum over all positions, for which half precision is too coarse.
    """
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


def divisor(size: int, fit: int) -> int:
    """Return the largest divisor of a size that is at most so large, or 1."""
    return max((n for n in range(1, min(size, fit) + 1) if size % n == 0), default=1)


def in_chunks(f: Callable[[Array], Array], inputs: Array, values: int, limit: int) -> Array:
    """Apply f to some samples at a time, in `wide` precision.

    Fetching fresh memory takes longer than filling it: a loop reuses its memory.

    Args:
      f: of ``[samples, ...]``, to ``[samples, ...]``.
      inputs: ``[batch, ...]``.
      values: how many intermediate numbers f computes of one sample.
      limit: how many bytes they may take, of all samples of a chunk.

    Returns:
      ``[batch, ...]``, in the dtype of the inputs.
    """
    batch, dtype = inputs.shape[0], inputs.dtype

    def some(samples: Array) -> Array:
        return f(samples.astype(wide(dtype))).astype(dtype)

    # Under `jax.export` the size of a batch may be symbolic: then it goes in one piece.
    if not isinstance(batch, int):
        return some(inputs)
    size = divisor(batch, limit // max(1, values * wide(dtype).itemsize))
    if size >= batch:
        return some(inputs)
    # In the backward pass a chunk is computed again: else the intermediates of all would be kept.
    some = jax.checkpoint(some, prevent_cse=False)
    outputs = lax.map(some, inputs.reshape(batch // size, size, *inputs.shape[1:]))
    return outputs.reshape(batch, *outputs.shape[2:])
