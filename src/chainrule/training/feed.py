"""What the compiled loop reads its batches from: samples on the device, and their indices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from chainrule.data.batches import Batches
from chainrule.training import devices

__all__ = ["Feed"]
__dir__ = __all__.copy

# A source is read for this many steps at a time: always the same number, so that one compiled
# program serves all.
_STEPS_AT_A_TIME = 16


class Feed:
    """The samples of the next steps, and the indices of each batch among them.

    Arrays are put on the device once. A source is read some steps ahead. The order of an epoch is
    drawn once, however many calls take its steps.

    Args:
      batches: the samples, and the batch of every step.
      mesh: the devices to which the samples are copied, or None.
    """

    def __init__(self, batches: Batches, mesh: Mesh | None):
        self._batches = batches
        self._copy = functools.partial(devices.replicate, mesh=mesh) if mesh else lambda tree: tree
        self._base = self._until = 0  # the steps whose samples have been read
        self._epoch = -1  # the one whose order has been drawn
        if batches.in_memory:
            self._data = self._copy(jax.tree.map(jnp.asarray, batches.data))

    def shapes(self, step: int) -> PyTree:
        """Return the shapes and dtypes of a batch, those of any step."""
        data, order, _ = self(step, step)
        return jax.eval_shape(
            lambda data, rows: jax.tree.map(lambda leaf: leaf[rows], data), data, order[0]
        )

    def __call__(self, step: int, stop: int) -> tuple[PyTree, jax.Array, int]:
        """Return samples, the indices of each batch among them, and the step they suffice for.

        Args:
          step: the next step.
          stop: the step to end at, within the same epoch.

        Returns:
          A pytree of arrays ``[M, ...]``; int32 indices into it ``[per_epoch, size]``, valid for
          the steps from ``step`` on and below the third value; that value, at most ``stop``.
        """
        epoch, at = divmod(step, self._batches.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._batches.order(epoch)
        order = self._order
        if self._batches.in_memory:
            return self._data, order, stop
        if not self._base <= step < self._until:
            # Fewer steps are left at the end of an epoch: its last batch is repeated.
            ahead = np.minimum(np.arange(at, at + _STEPS_AT_A_TIME), len(order) - 1)
            rows = np.asarray(order)[ahead]
            samples = self._batches.read(rows.ravel())
            self._data = self._copy(jax.tree.map(jnp.asarray, samples))
            places = np.zeros(order.shape, np.int32)
            places[ahead] = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
            self._places = jnp.asarray(places)
            self._base, self._until = step, step + min(_STEPS_AT_A_TIME, len(order) - at)
        return self._data, self._places, min(stop, self._until)
