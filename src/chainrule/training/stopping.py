"""Steps that are not finite: the error that ends a training, and how one is skipped."""

import jax.numpy as jnp

from chainrule.training.carry import Carry
from chainrule.training.step import TrainState
from chainrule.xray import recorder as recorders

__all__ = ["NonFiniteError", "said", "skipped", "stopped"]
__dir__ = __all__.copy


class NonFiniteError(recorders.NonFiniteError):
    """A step led to a NaN or an infinity, in the loss, the parameters or the state.

    With a recorder it also has what `chainrule.xray.NonFiniteError` has: the births, and
    the samples that did it.

    Attributes:
      train_state: the last finite state, from which that step started.
    """

    def __init__(
        self,
        message: str,
        train_state: TrainState,
        found: recorders.NonFiniteError | None = None,
    ) -> None:
        super().__init__(message, *((found.autopsy, found.call) if found is not None else ()))
        self.train_state = train_state


def skipped(carry: Carry, per_epoch: int) -> Carry:
    """Return the carry after a step that changes nothing but its number, and counts in no mean."""
    state = carry.train_state
    at = int(state.step) % per_epoch
    return carry.replace(
        train_state=state.replace(step=state.step + 1),
        log={name: values.at[at].set(jnp.nan) for name, values in carry.log.items()},
        stopped=carry.stopped & False,
    )


def said(carry: Carry, per_epoch: int, again: str = "") -> str:
    """Return which step is not finite, and its numbers, in words."""
    step = int(carry.train_state.step)
    at = step % per_epoch
    found = {name: float(carry.log[name][at]) for name in ("loss", "grad_norm")}
    return (
        f"step {step} (batch {at} of epoch {step // per_epoch + 1}) is not finite{again}: "
        f"{', '.join(f'{name} {value:g}' for name, value in found.items())}"
    )


def stopped(
    carry: Carry, per_epoch: int, skip_nonfinite: int, found: recorders.NonFiniteError | None
) -> NonFiniteError:
    """Return the error that ends a training, with what a recorder found out, if there is one."""
    again = f", the last of {skip_nonfinite + 1} in a row" if skip_nonfinite else ""
    text = said(carry, per_epoch, again)
    if found is not None:
        return NonFiniteError(f"{text}\n{found}", carry.train_state, found)
    return NonFiniteError(
        f"{text}. The last finite state is kept; lower the learning rate, clip the gradient, or "
        "name with recorder= a folder: then the line and the sample are found",
        carry.train_state,
    )
