"""The outputs of a model for a whole data set, batch by batch."""

import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from chainrule import _require, compiling
from chainrule.training.devices import put

__all__ = ["predict"]
__dir__ = __all__.copy


def predict(
    apply_fn: Callable[[PyTree, PyTree], PyTree],
    params: PyTree,
    inputs: PyTree,
    *,
    size: int,
    mesh: Mesh | None = None,
    compiler_options: compiling.Options | None = None,
) -> PyTree:
    """Return ``apply_fn(params, inputs)`` for any number of inputs, ``size`` at a time.

    The output of a sample must not depend on the others in its batch, as in every model outside
    training. The last batch is padded with its last sample, and the padding dropped, so that one
    compiled program serves all. The parameters are arguments of that program: pass the same
    ``apply_fn`` each time, not a new lambda, and calls in every epoch compile once.

    Args:
      apply_fn: ``apply_fn(params, batch) -> outputs``, pytrees of arrays ``[size, ...]``.
      params: any pytree; with batch statistics for example ``(params, state)``.
      inputs: a pytree of arrays with one leading axis, ``[N, ...]``, on the host or a device.
      size: how many at a time, at least 1; on a mesh, rounded up to a multiple of its devices.
      mesh: devices over which each batch is sharded, see `chainrule.training.devices`.
      compiler_options: for the compiler, see `chainrule.compiling.options`; left out inside another
        trace.

    Returns:
      The outputs, ``[N, ...]``.

    Raises:
      ValueError: no inputs, leading axes that differ, a size below 1, or outputs without one row a
        sample.

    Example:
      >>> from chainrule.models import mlp
      >>> params = mlp.init(jax.random.key(0), (4, 3, 2))
      >>> predict(mlp.apply, params, jnp.ones((10, 4)), size=4).shape
      (10, 2)
    """
    _require.function("apply_fn", apply_fn, "(params, batch) -> outputs")
    _require.instance("mesh", mesh, Mesh | None, "what training.devices.mesh returns")
    _require.leaves("params", params)
    _require.leaves("inputs", inputs)
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(lengths) != 1 or not lengths - {(), (0,)}:
        raise ValueError(
            f"the leading axes of the inputs are {sorted(lengths)}: expected one, N > 0"
        )
    (samples,) = lengths.pop()
    size, settings = min(_require.count("size", size), samples), {}
    if mesh is not None:
        size += -size % mesh.size
        settings["out_shardings"] = NamedSharding(mesh, PartitionSpec())
    run = compiling.jit(apply_fn, compiler_options=compiler_options or {}, **settings)
    parts = []
    for start in range(0, samples, size):
        rows = np.minimum(np.arange(start, start + size), samples - 1)
        batch = jax.tree.map(operator.itemgetter(rows), inputs)
        if mesh is not None:
            batch = jax.tree.map(lambda leaf: put(leaf, mesh, PartitionSpec("batch")), batch)
        outputs = run(params, batch)
        if {np.shape(leaf)[:1] for leaf in jax.tree.leaves(outputs)} != {(len(rows),)}:
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(outputs)]
            raise ValueError(f"apply_fn must return arrays [{len(rows)}, ...], not of {shapes}")
        parts.append(jax.tree.map(operator.itemgetter(slice(samples - start)), outputs))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
