"""Mini-batches by index: a batch is a function of the key and the step, and of nothing else."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["Batches", "Source"]
__dir__ = __all__.copy


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
      dtype: what happens to leaves that are wider than JAX's arrays, NumPy's float64 and int64
        without ``jax_enable_x64``. ``"narrow"`` casts them to 32 bits, with a warning for each
        leaf; integers must fit. ``"keep"`` refuses them.

    Raises:
      ValueError: the leading axes differ, ``size`` is not between 1 and N, a leaf is no array of
        numbers, holds NaN or infinities, or does not fit 32 bits, or ``key`` is not a key.

    Example:
      >>> batches = Batches({"inputs": np.arange(10.0, dtype=np.float32)}, 4, key=jax.random.key(0))
      >>> batches.samples, batches.per_epoch
      (10, 2)
      >>> batches.order(0).tolist()
      [[0, 8, 2, 4], [1, 7, 9, 5]]
      >>> batches.indices(1).tolist(), batches(1)["inputs"].tolist()
      ([1, 7, 9, 5], [1.0, 7.0, 9.0, 5.0])
    """

    def __init__(
        self,
        data: PyTree,
        size: int,
        *,
        key: PRNGKeyArray,
        dtype: Literal["narrow", "keep"] = "narrow",
    ):
        _require.one_key(key)
        _require.one_of("dtype", dtype, ("narrow", "keep"))
        self._dtype = dtype
        self.in_memory = not isinstance(data, Source)
        if self.in_memory:
            data, self.samples = _checked(data, dtype)
        else:
            self.samples = len(data)
        self.data = data
        self.size = _require.count(
            "size", size, most=self.samples, why=f"there are {self.samples} samples"
        )
        self.key = key
        self.per_epoch = self.samples // self.size

    def order(self, epoch: int | Int[AnyArray, ""]) -> Int[Array, "per_epoch size"]:
        """Return the indices of the samples in every batch of an epoch, a batch a row."""
        _require.index("epoch", epoch)
        return _order(self.key, epoch, self.samples, self.size)

    def indices(self, step: int | Int[AnyArray, ""]) -> Int[Array, " size"]:
        """Return the indices of the samples in a step's batch; steps count on across epochs."""
        _require.index("step", step)
        return self.order(step // self.per_epoch)[step % self.per_epoch]

    def __call__(self, step: int | Int[AnyArray, ""]) -> PyTree:
        """Return the batch of a step."""
        rows = self.indices(step)
        if not self.in_memory:
            return jax.tree.map(jnp.asarray, self.read(rows))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], self.data)

    def read(self, rows: Int[AnyArray, "*rows"] | Int[np.ndarray, "*rows"]) -> PyTree:
        """Read samples of a source, on the host.

        Args:
          rows: the indices of the samples, of any shape.

        Returns:
          A pytree like one sample, its leaves ``[*rows, ...]``. Integers are cast to JAX's width
          without a warning: data sources of tensorflow-datasets have labels of 64 bits.

        Raises:
          ValueError: the source fails, or what it returns is not finite, of several shapes or too
            wide.
        """
        flat = np.asarray(rows).ravel()
        try:
            found = [jax.tree.map(np.asarray, x) for x in self.data.__getitems__(flat.tolist())]
            leaves = jax.tree_util.tree_map_with_path(
                lambda path, *one_each: _exact(_name(path), np.stack(one_each)), *found
            )
            leaves, _ = _checked(leaves, self._dtype)
        except Exception as error:  # every file format raises its own
            raise ValueError(
                f"the data source, {type(self.data).__name__} of {self.samples} samples, fails on "
                f"{len(flat)} of them from {flat[0]} on: {error}"
            ) from error
        return jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), leaves)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _order(key: Array, epoch: AnyArray, samples: int, size: int) -> Array:
    order = jax.random.permutation(jax.random.fold_in(key, epoch), samples)
    return order[: samples // size * size].reshape(-1, size).astype(jnp.int32)


def _checked(data: PyTree, dtype: str) -> tuple[PyTree, int]:
    """Return the samples in dtypes that JAX has now, and how many there are."""
    leaves = jax.tree_util.tree_leaves_with_path(data)
    named = {_name(path): leaf for path, leaf in leaves}
    shapes = {name: np.shape(leaf) for name, leaf in named.items()}
    lengths = {shape[:1] for shape in shapes.values()}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"every leaf of data must have the same leading axis, but the shapes are {shapes}"
        )
    if strange := [f"{name} is {_kind(leaf)}" for name, leaf in named.items() if _kind(leaf)]:
        raise ValueError(f"{', '.join(strange)}: samples must be arrays of numbers")
    wide = [name for name, leaf in named.items() if _dtype(leaf) != leaf.dtype]
    if wide and dtype == "keep":
        wide = [f"{name} is {named[name].dtype}" for name in wide]
        raise ValueError(f"{', '.join(wide)}: cast it to 32 bits, or set jax_enable_x64")
    broken = {name: _not_finite(leaf) for name, leaf in named.items()}
    if said := [f"{n}: {bad} numbers of {named[n].size}" for n, bad in broken.items() if bad]:
        raise ValueError(f"the data are not finite in {', '.join(said)}")
    for name in wide:
        named[name] = _narrow(name, named[name])
    ((length,),) = lengths
    return jax.tree.unflatten(jax.tree.structure(data), named.values()), length


def _kind(leaf: Any) -> str | None:
    """Return what a leaf is, if it is no array of numbers."""
    if not isinstance(leaf, np.ndarray | jax.Array):
        return _require.kind(leaf)
    kinds = (np.number, np.bool_, jax.dtypes.prng_key)
    known = any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)
    return (
        None if known and getattr(leaf.dtype, "char", "") not in ("g", "G") else str(leaf.dtype)
    )  # float128 is unknown


def _name(path: Any) -> str:
    return f"data{jax.tree_util.keystr(path)}"


def _dtype(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf.dtype if is_key else jax.dtypes.canonicalize_dtype(leaf.dtype)


def _narrow(name: str, leaf: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = _exact(name, leaf).astype(_dtype(leaf), copy=False)
    if bad := _not_finite(narrow):
        raise ValueError(f"{name}: {bad} numbers of {leaf.size} do not fit {narrow.dtype}")
    cure = "cast it yourself, or set jax_enable_x64"
    warnings.warn(f"{name} is {leaf.dtype}, cast to {narrow.dtype}: {cure}", stacklevel=4)
    return narrow


def _exact(name: str, leaf: np.ndarray) -> np.ndarray:
    """Return integers in JAX's width, and anything else unchanged."""
    if leaf.dtype.kind not in "iu":
        return leaf
    dtype = _dtype(leaf)
    least, most = (int(leaf.min()), int(leaf.max())) if leaf.size else (0, 0)
    if least < np.iinfo(dtype).min or most > np.iinfo(dtype).max:
        raise ValueError(f"{name}: integers from {least} to {most} do not fit {dtype}")
    return leaf.astype(dtype, copy=False)


def _not_finite(leaf: Any) -> int:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return 0
    # NumPy's arrays are checked by NumPy, without a copy to a device.
    numpy: Any = np if isinstance(leaf, np.ndarray) else jnp
    return int(leaf.size - numpy.isfinite(leaf).sum())
