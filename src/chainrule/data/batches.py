"""Mini-batches by index: a batch is a function of the key and the step, and of nothing else."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from chainrule import _require

__all__ = ["Batches", "Source"]


@runtime_checkable
class Source(Protocol):
    """Samples that are read on demand: what ``tfds.data_source`` returns."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitems__(self, rows: Sequence[int], /) -> Sequence[PyTree]:
        """Return some of them, each a pytree of numbers and arrays."""


class Batches:
    """Samples, and which of them make up the batch of every step.

    Epoch ``e`` takes the samples in an order drawn from ``fold_in(key, e)``, ``size`` at a time.
    The remainder at the end of that order, fewer than ``size`` samples, is *dropped*: other samples
    in every epoch. There is no position to save: a run that resumes at a step sees the batches
    that the uninterrupted run would have seen.

    Attributes:
      data: a pytree of arrays with one leading axis, ``[N, ...]``, or a source.
      size: the number of samples in a batch.
      key: draws the orders.
      samples: N.
      in_memory: whether the data are arrays.
      per_epoch: the number of batches in an epoch, ``N // size``.

    Args:
      data: the samples, as NumPy's arrays or on a device, not copied; or a `Source` with random
        access, for example a data source of tensorflow-datasets, of which only the samples of the
        next steps are read. The order is the same for both.
      size: from 1 to N.
      key: draws the orders.

    Raises:
      ValueError: the leading axes differ, ``size`` is not between 1 and N, a leaf holds NaN or
        infinities or is wider than JAX's arrays are now (float64 without ``jax_enable_x64``), or
        ``key`` is not a key.

    Example:
      >>> batches = Batches({"inputs": np.arange(10.0, dtype=np.float32)}, 4, key=jax.random.key(0))
      >>> batches.samples, batches.per_epoch
      (10, 2)
      >>> batches.order(0).tolist()
      [[0, 8, 2, 4], [1, 7, 9, 5]]
      >>> batches.indices(1).tolist(), batches(1)["inputs"].tolist()
      ([1, 7, 9, 5], [1.0, 7.0, 9.0, 5.0])
    """

    def __init__(self, data: PyTree, size: int, *, key: PRNGKeyArray):
        _require.one_key(key)
        self.in_memory = not isinstance(data, Source)
        self.samples = _length(data) if self.in_memory else len(data)
        self.data = data
        self.size = _require.count(
            "size", size, most=self.samples, why=f"there are {self.samples} samples"
        )
        self.key = key
        self.per_epoch = self.samples // self.size

    def order(self, epoch: int | Int[Array, ""]) -> Int[Array, "per_epoch size"]:
        """Return the indices of the samples in every batch of an epoch, a batch a row."""
        return _order(self.key, epoch, self.samples, self.size)

    def indices(self, step: int | Int[Array, ""]) -> Int[Array, " size"]:
        """Return the indices of the samples in a step's batch; steps count on across epochs."""
        return self.order(step // self.per_epoch)[step % self.per_epoch]

    def __call__(self, step: int | Int[Array, ""]) -> PyTree:
        """Return the batch of a step."""
        rows = self.indices(step)
        if not self.in_memory:
            return jax.tree.map(jnp.asarray, self.read(rows))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], self.data)

    def read(self, rows: Int[Array, "*rows"] | Int[np.ndarray, "*rows"]) -> PyTree:
        """Read samples of a source, on the host.

        Args:
          rows: the indices of the samples, of any shape.

        Returns:
          A pytree like one sample, its leaves ``[*rows, ...]``. Integers are narrowed to JAX's
          width.

        Raises:
          ValueError: the source fails, or what it returns is not finite, of several shapes or too
            wide.
        """
        flat = np.asarray(rows).ravel()
        try:
            found = [jax.tree.map(np.asarray, x) for x in self.data.__getitems__(flat.tolist())]
            leaves = jax.tree.map(lambda *one_each: _narrow(np.stack(one_each)), *found)
        except Exception as error:  # every file format raises its own
            raise ValueError(
                f"the data source, {type(self.data).__name__} of {self.samples} samples, fails on "
                f"{len(flat)} of them from {flat[0]} on: {error}"
            ) from error
        _length(leaves)
        return jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), leaves)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _order(key: Array, epoch: Array, samples: int, size: int) -> Array:
    order = jax.random.permutation(jax.random.fold_in(key, epoch), samples)
    return order[: samples // size * size].reshape(-1, size).astype(jnp.int32)


def _length(data: PyTree) -> int:
    leaves = jax.tree_util.tree_leaves_with_path(data)
    shapes = {f"data{jax.tree_util.keystr(path)}": np.shape(leaf) for path, leaf in leaves}
    lengths = {shape[:1] for shape in shapes.values()}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(f"every leaf must have the same leading axis, but the shapes are {shapes}")
    wide = [
        f"data{jax.tree_util.keystr(path)} is {leaf.dtype}"
        for path, leaf in leaves
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype
    ]
    if wide:
        raise ValueError(f"{', '.join(wide)}: cast it to 32 bits, or set jax_enable_x64")
    broken = [
        f"data{jax.tree_util.keystr(path)}: {bad} numbers of {leaf.size}"
        for path, leaf in leaves
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and (bad := _not_finite(leaf))
    ]
    if broken:
        raise ValueError(f"the data are not finite in {', '.join(broken)}")
    return math.prod(lengths.pop())


def _narrow(leaf: np.ndarray) -> np.ndarray:
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if leaf.dtype.kind in "iu" and not (leaf == leaf.astype(dtype)).all():
        raise ValueError(f"whole numbers up to {np.abs(leaf).max()} do not fit {dtype}")
    return leaf.astype(dtype) if leaf.dtype.kind in "iu" else leaf


def _not_finite(leaf: Any) -> int:
    # NumPy's arrays are checked by NumPy, without a copy to a device.
    numpy: Any = np if isinstance(leaf, np.ndarray) else jnp
    return int(leaf.size - numpy.isfinite(leaf).sum())


def __dir__() -> list[str]:
    return sorted(__all__)
