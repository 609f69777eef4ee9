"""What the loop carries from one compiled call to the next."""

from typing import Any

import flax.struct

from chainrule.training.step import TrainState

__all__ = ["Carry"]
__dir__ = __all__.copy


class Carry(flax.struct.PyTreeNode):
    """What the loop carries: enough to resume at any step of an epoch.

    Attributes:
      train_state: the training itself.
      log: float32 ``[per_epoch]`` for every metric, NaN for the steps of the epoch not yet taken.
      failures: int32 ``[]``, how many steps in a row, up to now, were not finite.
      stopped: bool ``[]``, whether that were too many.
    """

    train_state: TrainState
    log: dict[str, Any]
    failures: Any
    stopped: Any
