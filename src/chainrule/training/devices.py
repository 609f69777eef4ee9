"""Many devices: the batch is spread over them, and the program stays the same.

A mesh has one axis, ``"batch"``. XLA is told where the batch lies and where the parameters lie,
and does the rest: a mean over the batch, in the loss or in batch statistics, is over all devices,
and a batch that they do not divide is filled up and masked by the compiler. What is random is the
same on any number of devices with JAX's default generator, threefry, and not with ``rbg``.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from chainrule.training.step import as_it_was, storable

PyTree = Any


def mesh(count: int | None = None) -> Mesh:
    """Return a mesh of some devices, of all processes.

    Args:
      count: how many; None takes all.

    Raises:
      ValueError: more than there are, or fewer than one.

    Example:
      >>> dict(mesh(1).shape)
      {'batch': 1}
    """
    devices = jax.devices()
    if count is not None and not 1 <= count <= len(devices):
        raise ValueError(
            f"{count} devices asked for, and there are {len(devices)} ({devices[0].platform}); "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} divides a CPU into as many"
        )
    devices = devices[:count]
    # Auto: the default, Explicit, refuses gathers and products that this library is written in.
    return jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put all of a tree on every device; what is spread over this mesh already stays where it is.

    In several processes every one of them must hold the same tree.
    """
    return jax.tree.map(lambda leaf: put(leaf, mesh, PartitionSpec()), tree)


def shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Spread the parameters and all that goes with them: every device holds a part of each array.

    Each leaf is cut along its longest axis that the number of devices divides, and copied to all
    devices where there is none. XLA gathers what a layer needs when it needs it: memory against
    communication (Rajbhandari et al., "ZeRO", 2020).

    Example:
      >>> one = mesh(1)
      >>> shard({"kernel": np.zeros((2, 6), np.float32)}, one)["kernel"].sharding.spec[1]
      'batch'
    """

    def cut(leaf: Any) -> jax.Array:
        fits = [axis for axis, n in enumerate(np.shape(leaf)) if n and n % mesh.size == 0]
        longest = max(fits, key=lambda axis: np.shape(leaf)[axis], default=None)
        spec = [] if longest is None else [None] * longest + ["batch"]
        return put(leaf, mesh, PartitionSpec(*spec))

    return jax.tree.map(cut, tree)


def spread(batch: PyTree, mesh: Mesh | None) -> PyTree:
    """Within a compiled function: spread a batch over the devices, whatever its size."""
    if mesh is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("batch")))


def from_each_process(rows: PyTree, mesh: Mesh) -> PyTree:
    """Make one set of samples from those that each process holds, in the order of the processes.

    Args:
      rows: a pytree of arrays ``[n, ...]``, of the same ``n`` in every process.
      mesh: of all processes.

    Returns:
      The same tree with leading axes n times the number of processes.

    Raises:
      ValueError: the processes hold different numbers of rows: without this each would believe in
        another size, and the results would silently differ.

    Example:
      >>> from_each_process(np.arange(4), mesh(1)).shape
      (4,)
    """
    lengths = sorted({len(leaf) for leaf in jax.tree.leaves(rows)})
    counts = multihost_utils.process_allgather(np.asarray([lengths[0], lengths[-1]], np.int32))
    if len(set(counts.ravel().tolist())) != 1:
        raise ValueError(
            f"the processes hold {counts.reshape(-1, 2)[:, 0].tolist()} rows: "
            "give each the same number, and every leaf one row a sample"
        )
    sharding = NamedSharding(mesh, PartitionSpec("batch"))
    total = lengths[0] * jax.process_count()
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(
            sharding, np.asarray(leaf), (total, *leaf.shape[1:])
        ),
        rows,
    )


def put(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """Put one array, the same in every process, on a mesh, unless it lies there already."""
    sharding = getattr(leaf, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh == mesh:
        return leaf
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(storable(leaf))
    return as_it_was(
        jax.make_array_from_callback(host.shape, sharding, lambda index: host[index]), leaf
    )
