"""What the loop carries from one compiled call to the next."""

from typing import Any

import flax.struct

from chainrule.training.step import TrainState


class Loop(flax.struct.PyTreeNode):
    """What the loop carries: enough to go on from anywhere within an epoch.

    Attributes:
      train_state: the training itself.
      log: float32 ``[per_epoch]`` for every metric, NaN for the steps of the epoch to come.
      failures: int32 ``[]``, the steps in a row, up to now, that were not finite.
      stopped: bool ``[]``, whether there were too many of them.
    """

    train_state: TrainState
    log: dict[str, Any]
    failures: Any
    stopped: Any
