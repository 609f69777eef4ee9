"""Data parallelism: the batch is sharded over many devices, and the program stays the same.

A mesh has one axis, ``"batch"``. Given the sharding of the batch and of the parameters, XLA does
the rest: a mean over the batch, in the loss or in batch statistics, is taken over all devices, and
a batch size that they do not divide is padded and masked by the compiler. Random numbers are the
same on any number of devices with JAX's default generator, threefry, but not with ``rbg``.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from chainrule import _require
from chainrule.training.step import unwrap_key, wrap_key

__all__ = ["agree", "mesh", "put", "replicate", "shard", "spread"]
__dir__ = __all__.copy


def mesh(count: int | None = None) -> Mesh:
    """Return a mesh of devices, those of all processes.

    Args:
      count: how many; None takes all.

    Raises:
      ValueError: the count is above the number of devices, or below one.

    Example:
      >>> dict(mesh(1).shape)
      {'batch': 1}
    """
    devices = jax.devices()
    if count is not None:
        flag = f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        why = f"there are so many ({devices[0].platform}), and {flag} splits a CPU"
        devices = devices[: _require.count("count", count, most=len(devices), why=why)]
    # Auto: the default, Explicit, refuses gathers and products that this library uses.
    return jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copy a tree to every device; leaves that lie on this mesh already stay as they are.

    Of several processes, each must hold the same tree.
    """
    _check(tree, mesh)
    return jax.tree.map(lambda leaf: put(leaf, mesh, PartitionSpec()), tree)


def shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Shard the parameters, or a whole training state: every device holds a part of each array.

    Each leaf is split along its longest axis that the number of devices divides, and copied to all
    devices if there is none. XLA gathers what a layer needs when it needs it, which trades
    communication for memory (Rajbhandari et al., "ZeRO", 2020).

    Example:
      >>> one = mesh(1)
      >>> shard({"kernel": np.zeros((2, 6), np.float32)}, one)["kernel"].sharding.spec[1]
      'batch'
    """
    _check(tree, mesh)

    def split(leaf: Any) -> jax.Array:
        fits = [axis for axis, n in enumerate(np.shape(leaf)) if n and n % mesh.size == 0]
        longest = max(fits, key=lambda axis: np.shape(leaf)[axis], default=None)
        spec = [] if longest is None else [None] * longest + ["batch"]
        return put(leaf, mesh, PartitionSpec(*spec))

    return jax.tree.map(split, tree)


def spread(batch: PyTree, mesh: Mesh | None) -> PyTree:
    """Shard a batch over the devices, whatever its size; for use inside a compiled function."""
    if mesh is None:
        return batch
    _check(batch, mesh)
    if any(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(batch)):
        raise ValueError("every leaf of the batch must have an axis for the samples")
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("batch")))


def _check(tree: PyTree, mesh: Mesh) -> None:
    _require.instance("mesh", mesh, Mesh, "what training.devices.mesh returns")
    _require.leaves("tree", tree)


def agree(number: int) -> int:
    """Return the largest number that any process has, the same in all of them."""
    _require.index("number", number)
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def put(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Put one array, the same in every process, on a mesh; one that lies there already stays."""
    sharding = getattr(leaf, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
        return leaf
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(unwrap_key(leaf))
    return wrap_key(
        jax.make_array_from_callback(host.shape, sharding, lambda index: host[index]), leaf
    )
