"""The names of `chainrule.training`, which loads them when the first one is used."""

from chainrule.training import devices
from chainrule.training.checkpoints.store import Checkpoints
from chainrule.training.evaluation import predict
from chainrule.training.from_checkpoint import autopsy
from chainrule.training.interrupt import Interrupted
from chainrule.training.loop import NonFiniteError, fit
from chainrule.training.optimizers import optimizer
from chainrule.training.progress import Progress
from chainrule.training.step import TrainState, create, make_step
from chainrule.training.weights import load_weights, save_weights

__all__ = [
    "Checkpoints",
    "Interrupted",
    "NonFiniteError",
    "Progress",
    "TrainState",
    "autopsy",
    "create",
    "devices",
    "fit",
    "load_weights",
    "make_step",
    "optimizer",
    "predict",
    "save_weights",
]
