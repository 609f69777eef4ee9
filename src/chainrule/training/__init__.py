"""Mini-batch training: one pure step, one loop that can be stopped and taken up at every step.

>>> import jax, jax.numpy as jnp, optax
>>> from chainrule import losses, training
>>> from chainrule.data.batches import Batches
>>> from chainrule.models import mlp
>>> def loss(params, state, batch, key):
...     value = losses.squared_error(mlp.apply(params, batch["inputs"]), batch["targets"])
...     return value, (state, {})
>>> inputs = jnp.linspace(-1, 1, 64)[:, None]
>>> batches = Batches({"inputs": inputs, "targets": inputs**2}, 16, key=jax.random.key(0))
>>> optimizer = optax.adam(0.01)
>>> params = mlp.init(jax.random.key(1), (1, 32, 1))
>>> start = training.create(params, optimizer, key=jax.random.key(2))
>>> records = []
>>> end = training.fit(start, loss, optimizer, batches, epochs=30, report=records.append)
>>> len(records), int(end.step), records[-1]["loss"] < 0.2 * records[0]["loss"]
(30, 120, True)

The parts know nothing of models: a model is whatever the loss calls. Training emits records, one
dict an epoch, and `chainrule.runs` writes them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.training import devices
    from chainrule.training.checkpoints.store import Checkpoints
    from chainrule.training.evaluation import predict
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
    "create",
    "devices",
    "fit",
    "load_weights",
    "make_step",
    "optimizer",
    "predict",
    "save_weights",
]

# Loaded when they are named: who launches processes waits for neither JAX nor Orbax.
_HOMES = {
    "Checkpoints": "checkpoints.store",
    "Interrupted": "interrupt",
    "NonFiniteError": "loop",
    "Progress": "progress",
    "TrainState": "step",
    "create": "step",
    "fit": "loop",
    "load_weights": "weights",
    "make_step": "step",
    "optimizer": "optimizers",
    "predict": "evaluation",
    "save_weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in ("devices", "export", "launch"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
