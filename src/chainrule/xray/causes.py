"""Rules of thumb: why an operator makes a NaN or an Inf out of good numbers, and the cure."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Event(NamedTuple):
    """One operator at the first element where something bad was born.

    Attributes:
      op: the operator.
      dtype: of the bad array.
      inputs: the operator's inputs there; None where no one element belongs to that place.
      g: the incoming gradient there; None forward, or where no one element belongs.
      backward: whether the gradient is bad and not the value.
      nan: whether NaN was born, else Inf.
      of_squares: whether the first input is a sum of squares, as in a norm.
      masked: whether a `jax.numpy.where` chooses later between this and something else.
      hidden: whether the bad value stays out of the result, but not out of the gradients.
    """

    op: str
    dtype: Any
    inputs: Sequence[Any]
    g: Any
    backward: bool
    nan: bool
    of_squares: bool
    masked: bool
    hidden: bool


class Cause(NamedTuple):
    """Why it happened, and what to write instead."""

    rule: str
    cure: str


_DOUBLE_WHERE = (
    "the double where: safe = jnp.where(mask, x, 1.0); jnp.where(mask, f(safe), 0.0), "
    "so that f never sees the bad element"
)
_DENOMINATOR = (
    "jnp.where(d == 0, 0.0, n / jnp.where(d == 0, 1.0, d)); for the mean of a mask, divide by "
    "jnp.maximum(mask.sum(), 1)"
)
_LOG = (
    "compute in logarithms from the start (jax.nn.log_softmax, jax.nn.log_sigmoid, optax's losses "
    "from logits, jax.scipy.special.xlogy), or jnp.log(jnp.maximum(x, eps))"
)
_EXP = (
    "subtract the maximum first, as jax.nn.softmax and jax.nn.logsumexp do; jax.nn.sigmoid, "
    "softplus and log_sigmoid are safe for all x"
)
_UNIT = "jnp.clip(x, -1 + eps, 1 - eps), or for an angle jnp.arctan2(norm of cross, dot)"
_FINITE_MASK = (
    "mask with a large finite number (jnp.finfo(x.dtype).min) instead of -inf, or keep one "
    "finite element in every row"
)


def explain(event: Event) -> Cause:
    """Return the rule of thumb for a birth, and the cure."""
    zero = event.backward and event.nan and _is(event.g, 0)
    if zero and event.masked:
        return Cause(
            "the where trap: the branch that jnp.where did not choose still receives the gradient "
            f"0, the derivative of {event.op} is infinite there, and 0 * inf = NaN",
            _DOUBLE_WHERE,
        )
    if event.backward and event.g is not None and not np.isfinite(event.g):
        return Cause(
            "0 * inf: the incoming gradient is already infinite and meets a factor 0",
            "cure the birth of that infinity, which this one follows",
        )
    rule, cure = _look_up(event)
    if zero:
        return Cause(f"{rule}, and 0 * inf = NaN", cure)
    if event.hidden:
        trap = "jnp.where hides it from the result but not from the gradient (the where trap)"
        return Cause(f"{rule}; {trap}", _DOUBLE_WHERE)
    return Cause(rule, cure)


# Where only statistics are kept, the element that did it is not known.
_SINGULAR = ("log", "log1p", "sqrt", "rsqrt", "div", "rem", "pow", "integer_pow", "atanh", "acosh")


def _look_up(event: Event) -> Cause:
    for ops, applies, rule, cure in _BACKWARD if event.backward else _FORWARD:
        if event.op in ops and applies(event):
            return Cause(rule.format(x=_show(event.inputs), dtype=event.dtype), cure)
    if event.backward:
        return Cause(
            f"the derivative of {event.op} is infinite or undefined here",
            "keep its input away from this point before it gets here: " + _DOUBLE_WHERE,
        )
    if event.op in _SINGULAR and all(x is None for x in event.inputs):
        return Cause(
            f"{event.op} is infinite or undefined somewhere in the range of its inputs",
            'record with keep="values" to see where; ' + _DOUBLE_WHERE,
        )
    if not event.nan:
        return Cause(f"the result exceeds the largest {event.dtype}", _overflow(event.dtype))
    return Cause(
        f"{event.op} is undefined here", "keep its input away from this point: " + _DOUBLE_WHERE
    )


def _overflow(dtype: Any) -> str:
    if jnp.dtype(dtype).itemsize < 4:
        return "compute this part in float32 (x.astype(jnp.float32)), or scale the loss"
    return "scale the numbers down before, or work with their logarithms"


def _is(x: Any, *values: int) -> bool:
    return x is not None and bool(np.any([x == v for v in values]))


def _show(inputs: Sequence[Any]) -> str:
    known = [f"{float(x):.6g}" for x in inputs if x is not None and not np.iscomplexobj(x)]
    return ", ".join(known)


def _first(*values: int) -> Callable[[Event], bool]:
    return lambda e: _is(e.inputs[0], *values)


def _second(*values: int) -> Callable[[Event], bool]:
    return lambda e: len(e.inputs) > 1 and _is(e.inputs[1], *values)


def _negative(e: Event) -> bool:
    return e.inputs[0] is not None and bool(e.inputs[0] < 0)


def _always(e: Event) -> bool:
    return True


def _both_zero(e: Event) -> bool:
    return _first(0)(e) and _second(0)(e)


def _not_nan(e: Event) -> bool:
    return not e.nan


_Rule = tuple[tuple[str, ...], Callable[[Event], bool], str, str]
# fmt: off
_FORWARD: tuple[_Rule, ...] = (
    (("select_n",), lambda event: event.nan, "jnp.where chose a NaN that the program writes out",
     "choose a finite number there, or make sure that the condition holds"),
    (("log",), _first(0), "log of 0 is -inf", _LOG),
    (("log", "log1p"), _negative, "the logarithm of a number outside its domain ({x})", _LOG),
    (("sqrt", "rsqrt"), _negative, "the root of a negative number ({x})",
     "jnp.maximum(x, 0) if it is negative by rounding only"),
    (("rsqrt",), _first(0), "1 / sqrt(0) is inf", "add eps under the root: rsqrt(x + eps)"),
    (("div",), _both_zero, "0 / 0 is NaN", _DENOMINATOR),
    (("div", "rem"), _second(0), "division by 0", _DENOMINATOR),
    (("integer_pow", "pow"), _first(0), "0 to a negative power is a division by 0", _DENOMINATOR),
    (("pow",), _negative, "a negative number to a power that is no integer ({x})",
     "jnp.abs(x) or jnp.maximum(x, 0) before, or an integer exponent"),
    (("exp", "exp2", "expm1", "cosh", "sinh"), _not_nan,
     "overflow of exp: its argument {x} is too large for {dtype}", _EXP),
    (("mul", "dot_general"), lambda e: e.nan, "0 * inf is NaN",
     "replace a mask that multiplies by jnp.where, and cure the birth of that infinity"),
    (("sub", "add", "reduce_sum", "cumsum", "add_any"), lambda e: e.nan,
     "inf - inf is NaN (a softmax over a row that is all -inf, say)", _FINITE_MASK),
    (("acos", "asin"), _always, "arccos and arcsin live on [-1, 1], the argument is {x}", _UNIT),
    (("atanh", "erf_inv"), _always, "the argument {x} is at or beyond the ends of [-1, 1]", _UNIT),
    (("acosh",), _always, "arccosh lives on [1, inf), the argument is {x}",
     "jnp.maximum(x, 1 + eps)"),
    (("cholesky",), _always, "the matrix is not positive definite",
     "add a small multiple of the identity, and symmetrize it"),
)
_BACKWARD: tuple[_Rule, ...] = (
    (("sqrt",), lambda e: e.of_squares and _first(0)(e),
     "norm (or standard deviation) at 0: the derivative of sqrt at 0 is inf",
     "optax.safe_norm(x, eps), jnp.sqrt(s + eps), or the double where: zero = s == 0; "
     "jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, s)))"),
    (("sqrt", "cbrt", "rsqrt"), _first(0), "sqrt at 0: its derivative there is inf",
     "jnp.sqrt(x + eps), or " + _DOUBLE_WHERE),
    (("log",), _first(0), "log at 0: its derivative 1 / x there is inf", _LOG),
    (("div",), _second(0), "division by 0: the derivative -n / d**2 there is infinite",
     _DENOMINATOR),
    (("atan2",), _both_zero, "arctan2(0, 0): its derivative there is 0 / 0", _DOUBLE_WHERE),
    (("pow",), _first(0),
     "x ** y at x = 0: the derivative y * x ** (y - 1), or with respect to y x ** y * log(x), "
     "is not finite there",
     "a constant integer exponent, or " + _DOUBLE_WHERE),
    (("acos", "asin", "atanh"), _first(-1, 1),
     "at the ends of [-1, 1] the derivative 1 / sqrt(1 - x**2) is inf (x = {x})", _UNIT),
    (("eigh", "eig", "svd"), _always,
     "equal eigenvalues: the derivative of the vectors divides by their difference",
     "break the tie (add a small distinct diagonal), or use only the eigenvalues"),
    (("mul", "dot_general", "integer_pow"), _not_nan, "the gradient exceeds the largest {dtype}",
     "scale the loss down, or compute this part in a wider type"),
)
# fmt: on
