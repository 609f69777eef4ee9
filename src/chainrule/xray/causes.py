"""Why an operator makes a NaN or an Inf out of good numbers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Case",
    "Cause",
    "Event",
    "always",
    "born_inf",
    "born_nan",
    "both_zero",
    "explain",
    "first",
    "negative",
    "norm_at_zero",
    "second",
]
__dir__ = __all__.copy

_TRAP = "traps.html#the-where-trap of the book"


class Event(NamedTuple):
    """One operator at the first element where something bad was born.

    Attributes:
      op: the operator.
      cases: the known cases of this operator, forward or backward.
      singular: whether the operator has points where it is infinite or undefined.
      dtype: of the bad array.
      inputs: the operator's inputs there; None where no one element belongs to that place.
      g: the incoming gradient there; None forward, or where no one element belongs.
      backward: whether the gradient is bad and not the value.
      nan: whether NaN was born, else Inf.
      of_squares: whether the first input is a sum of squares, as in a norm.
      choice: ``file.py:line`` of the `jax.numpy.where` that rejects this element, "" if none does.
      hidden: whether the bad value stays out of the result, but not out of the gradients.
      seen: why, where the numbers show it; "" where they do not.
      size: that it is a finite number too large for its dtype, "" where it is not.
      follows: whether an infinity came in.
      before: what went wrong before it, "" if nothing is known.
    """

    op: str
    cases: "Sequence[Case]"
    singular: bool
    dtype: Any
    inputs: Sequence[Any]
    g: Any
    backward: bool
    nan: bool
    of_squares: bool
    choice: str
    hidden: bool
    seen: str = ""
    size: str = ""
    follows: bool = False
    before: str = ""


class Cause(NamedTuple):
    """Why it happened. What to write instead is tried by `Nonfinite.cures`."""

    reason: str

    @property
    def rule(self) -> str:
        """The former name of ``reason``."""
        return self.reason


class Case(NamedTuple):
    """One known way to make a NaN or an Inf.

    Attributes:
      applies: tells whether an event is of this kind.
      reason: in words; ``{x}`` stands for the inputs, ``{dtype}`` for the type.
    """

    applies: Callable[[Event], bool]
    reason: str


def explain(event: Event) -> Cause:
    """Return why something was born."""
    zero = event.backward and event.nan and _is(event.g, 0)
    if zero and event.choice:
        return Cause(
            f"the where trap: the branch that jnp.where at {event.choice} did not choose still "
            f"receives the gradient 0, the derivative of {event.op} is infinite there, and "
            f"0 * inf = NaN ({_TRAP})"
        )
    if event.backward and event.nan and event.g is not None and not np.isfinite(event.g):
        return Cause("0 * inf: the incoming gradient is already infinite and meets a factor 0")
    reason = _look_up(event) + event.before
    if zero:
        return Cause(f"{reason}, and 0 * inf = NaN")
    if event.hidden and event.choice:
        hides = f"jnp.where at {event.choice} hides it from the result but not from the gradient"
        return Cause(f"{reason}; {hides} (the where trap: {_TRAP})")
    if event.hidden:
        return Cause(f"{reason}; it does not show in the result, but in a gradient")
    return Cause(reason)


def _look_up(event: Event) -> str:
    if event.seen:
        return event.seen
    for case in event.cases:
        if case.applies(event):
            return case.reason.format(x=_show(event.inputs), dtype=event.dtype)
    if event.size:
        return event.size
    if event.backward and event.nan and event.follows:
        return "an infinity that was born before comes in"
    if event.backward and not event.nan and not event.singular:
        return f"the gradient is infinite, or exceeds the largest {event.dtype}"
    if event.backward:
        return f"the derivative of {event.op} is infinite or undefined here"
    if event.singular and all(x is None for x in event.inputs):
        # Only statistics are kept, and the element that did it is not known.
        return (
            f"{event.op} is infinite or undefined somewhere in the range of its inputs: record "
            'with keep="values" to see where'
        )
    if not event.nan:
        return f"the result is infinite, or exceeds the largest {event.dtype}"
    return f"{event.op} is undefined here"


def _show(inputs: Sequence[Any]) -> str:
    known = [f"{float(x):.6g}" for x in inputs if x is not None and not np.iscomplexobj(x)]
    return ", ".join(known)


def _is(x: Any, *values: int) -> bool:
    return x is not None and bool(np.any([x == v for v in values]))


def first(*values: int) -> Callable[[Event], bool]:
    """Return a test for events whose first input is one of these values."""
    return lambda e: _is(e.inputs[0], *values)


def second(*values: int) -> Callable[[Event], bool]:
    """Return a test for events whose second input is one of these values."""
    return lambda e: len(e.inputs) > 1 and _is(e.inputs[1], *values)


def negative(event: Event) -> bool:
    """Tell whether the first input is negative."""
    return event.inputs[0] is not None and bool(event.inputs[0] < 0)


def always(event: Event) -> bool:
    """Apply to every event of the operator."""
    return True


def both_zero(event: Event) -> bool:
    """Tell whether the first two inputs are 0."""
    return first(0)(event) and second(0)(event)


def norm_at_zero(event: Event) -> bool:
    """Tell whether the first input is a sum of squares that is 0."""
    return event.of_squares and first(0)(event)


def born_nan(event: Event) -> bool:
    """Tell whether a NaN was born."""
    return event.nan


def born_inf(event: Event) -> bool:
    """Tell whether an Inf was born."""
    return not event.nan
