"""Mini-batch training: one pure step, and one loop that can be stopped and resumed at every step.

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

Training knows nothing of models: a model is what the loss calls. It reports records, one dict an
epoch, and `chainrule.runs` writes them.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.training._public import *  # noqa: F403 - they are listed there


def __getattr__(name: str) -> Any:
    # With the first name that is used: a launcher of processes waits for neither JAX nor Orbax.
    if importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    public = importlib.import_module(f"{__name__}._public")
    globals().update({one: getattr(public, one) for one in ("__all__", *public.__all__)})
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__getattr__("__all__"))
