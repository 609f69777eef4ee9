"""One step of any optax optimizer, for descents and for training.

Optimizers differ in what they need beside the gradient: a line search the loss as a function,
Polyak's rate its value, SAM the gradient as a function. `update` passes each optimizer the
arguments that it takes. An error of an optimizer becomes one ValueError.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, PyTree

from chainrule import _require

__all__ = ["OptimizerFactory", "checked", "from_rate", "init", "update"]
__dir__ = __all__.copy

OptimizerFactory = Callable[..., optax.GradientTransformation]
"""From a learning rate to an optimizer, as `optax.sgd`."""


def checked(optimizer: Any) -> optax.GradientTransformation:
    """Return an optimizer, and refuse a rate or a function that makes one."""
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"optimizer must be an optax optimizer, not {_require.kind(optimizer)}: give one with "
            "its learning rate, such as optax.sgd(0.1)"
        )
    return optimizer


def from_rate(factory: OptimizerFactory, eta: Float[Array, ""]) -> optax.GradientTransformation:
    """Return ``factory(eta)``.

    Args:
      factory: as `optax.sgd`.
      eta: the learning rate; inside a sweep it is traced.

    Raises:
      ValueError: the factory fails, branches on the rate, or returns something else.
    """
    with _one_sentence("optimizer(eta) fails"):
        optimizer = factory(eta)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"optimizer(eta) must return an optax optimizer, not {_require.kind(optimizer)}"
        )
    return optimizer


def init(optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    """Return the optimizer's state before the first step.

    Raises:
      ValueError: the optimizer does not take such parameters; the message has its own error.
    """
    with _one_sentence("optimizer.init fails on these params"):
        return optimizer.init(params)


def update(
    optimizer: optax.GradientTransformation,
    grads: PyTree,
    opt_state: PyTree,
    params: PyTree,
    *,
    value: Float[Array, ""],
    value_fn: Callable[[PyTree], Float[Array, ""]],
) -> tuple[PyTree, PyTree]:
    """Take one step of an optimizer.

    Args:
      optimizer: any optax optimizer.
      grads: the gradient at ``params``.
      opt_state: its state, from `init` or from the step before.
      params: the parameters.
      value: the loss at ``params``.
      value_fn: the loss as a function of the parameters, on the same batch.

    Returns:
      The new parameters and the optimizer's new state.

    Raises:
      ValueError: the optimizer fails; the message has its own error.

    Example:
      >>> import jax.numpy as jnp
      >>> loss, params = jnp.square, jnp.array(3.0)
      >>> optimizer = optax.polyak_sgd()
      >>> state = init(optimizer, params)
      >>> value, grads = jax.value_and_grad(loss)(params)
      >>> params, state = update(optimizer, grads, state, params, value=value, value_fn=loss)
      >>> float(params)
      1.5
    """
    extra: dict[str, Any] = {"value": value, "grad": grads, "value_fn": value_fn}
    takes = inspect.signature(optimizer.update).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values()):
        # For SAM's inner steps. Optimizers that take anything may contain a line search, which
        # refuses what it does not know.
        extra["grad_fn"] = lambda params, _: jax.grad(value_fn)(params)
        extra = {name: argument for name, argument in extra.items() if name in takes}
    # adam, schedules and others mix dtypes, which strict promotion would refuse.
    with (
        _one_sentence("optimizer.update fails on these gradients, state and params"),
        jax.numpy_dtype_promotion("standard"),
    ):
        updates, opt_state = optimizer.update(grads, opt_state, params, **extra)
        return optax.apply_updates(params, updates), opt_state


@contextlib.contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    try:
        yield
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            f"{what}: it branches in Python on a number that is traced, the step or, in a sweep, "
            "the learning rate: choose with jnp.where"
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: {str(error).partition(chr(10))[0]}") from error
