"""What the compiled loop reads its batches from: samples on the device, and rows of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from chainrule.data.batches import Batches
from chainrule.training import devices

PyTree = Any

# Of a source, the samples of so many steps are on the device at a time: always as many, so that one
# program serves all.
_STEPS_AT_A_TIME = 16


class Feed:
    """The samples of the next steps, and where in them each batch stands.

    Arrays are put on the device once, and stay. A source is read ahead by some steps. The order of
    an epoch is drawn once, however many calls its steps are cut into.

    Args:
      batches: the samples, and the batch of every step.
      mesh: the devices to which the samples are copied, or None.
    """

    def __init__(self, batches: Batches, mesh: Mesh | None):
        self._batches = batches
        self._copy = functools.partial(devices.replicate, mesh=mesh) if mesh else lambda tree: tree
        self._base = self._until = 0  # the steps whose samples are there
        self._epoch = -1  # whose order is there
        if batches.in_memory:
            self._data = self._copy(jax.tree.map(jnp.asarray, batches.data))

    def __call__(self, step: int, stop: int) -> tuple[PyTree, jax.Array, int]:
        """Return the samples, their rows for each batch of the epoch, and how far they reach.

        Args:
          step: the next step.
          stop: where the steps would end, within the epoch.

        Returns:
          A pytree of arrays ``[M, ...]``, int32 rows of it ``[per_epoch, size]``, which hold for
          the batches from ``step`` up to the last number, at most ``stop``.
        """
        epoch, at = divmod(step, self._batches.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._batches.order(epoch)
        order = self._order
        if self._batches.in_memory:
            return self._data, order, stop
        if not self._base <= step < self._until:
            # The end of an epoch has fewer steps left: its last batch fills the place.
            ahead = np.minimum(np.arange(at, at + _STEPS_AT_A_TIME), len(order) - 1)
            rows = np.asarray(order)[ahead]
            samples = self._batches.read(rows.ravel())
            self._data = self._copy(jax.tree.map(jnp.asarray, samples))
            places = np.zeros(order.shape, np.int32)
            places[ahead] = np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
            self._places = jnp.asarray(places)
            self._base, self._until = step, step + min(_STEPS_AT_A_TIME, len(order) - at)
        return self._data, self._places, min(stop, self._until)
