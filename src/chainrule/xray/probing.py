"""The flow along a training run."""

from collections.abc import Callable
from typing import Any

from chainrule import _require
from chainrule.xray.call import record
from chainrule.xray.flow import flow

__all__ = ["probe"]
__dir__ = __all__.copy


def probe(
    loss: Callable[..., Any], *args: Any, **settings: Any
) -> Callable[[Any], dict[str, float]]:
    """Return a function from parameters to the flow of a loss, as one flat record.

    Call it with the parameters as often as wanted, on the same arguments every time: a fixed batch.
    It compiles at the first call; a loop that does not call it does not pay for it.

    Args:
      loss: a function of the parameters and the arguments.
      *args: the arguments after the parameters.
      **settings: those of `xray`.

    Returns:
      ``record(params) -> {"activation_rms/layer1": ..., "gradient_norm/layer1": ..., ...}``, see
      `chainrule.xray.flow.Flow.numbers`: what an ``evaluate`` of `chainrule.training.fit` returns.

    Example:
      >>> import jax.numpy as jnp
      >>> record = probe(lambda w, x: jnp.sum(jnp.tanh(x @ w)), jnp.ones((1, 2)))
      >>> found = record(jnp.array([[0.5], [0.5]]))
      >>> {name: round(value, 4) for name, value in found.items()}
      {'activation_rms/w': 0.7616, 'gradient_norm/w': 1.0, 'saturated/w': 0.0}
    """
    _require.function("loss", loss, "of the parameters and the arguments")
    wanted = {"argnums": 0} | settings

    def numbers(params: Any) -> dict[str, float]:
        return flow(record(loss, (params, *args), **wanted)).numbers()

    return numbers
