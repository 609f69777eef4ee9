"""The audit of a program: what is wrong in it, or about to break, before a NaN shows it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.xray import call
from chainrule.xray.auditing import rules
from chainrule.xray.auditing.findings import Rule
from chainrule.xray.record import Record

__all__ = ["Audit", "assert_healthy", "audit"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
      function: the name of the function.
      rules: custom rules that are wrong, and no others.
      meant: custom rules that differ from the gradient on purpose: straight-through, reversed,
        clipped; and those that were ignored by name.
      unknown: what could not be checked, and why.
      checked: how many calls of functions with a custom rule were checked.
    """

    function: str
    rules: tuple[Rule, ...]
    meant: tuple[Rule, ...]
    unknown: tuple[str, ...]
    checked: int

    @property
    def healthy(self) -> bool:
        """Whether no wrong rule was found."""
        return not self.rules

    def __str__(self) -> str:
        parts = [str(rule) for rule in self.rules]
        if not self.rules:
            plural = "s" * (self.checked != 1)
            parts.append(f"no wrong rule: {self.checked} call{plural} of custom rules checked")
        parts += [f"on purpose, {rule.purpose or 'ignored'}: {rule}" for rule in self.meant]
        parts += [f"not checked: {text}" for text in self.unknown]
        return "\n\n".join(parts)


def audit(f: Callable[..., Any], *args: Any, ignore: Sequence[str] = ()) -> Audit:
    """Check a program for what is about to break.

    Every function inside that has a custom rule (`jax.custom_vjp`, `jax.custom_jvp`) is run at the
    numbers that it takes in this call and at some close by. The rule is compared with autodiff of
    the function's body, in float64; where they differ, with differences in float64, one-sided at a
    kink. A rule that differs on purpose is recognised by being exact for something simple: it
    passes on or reverses the gradient of an identity, passes one through a step function, or clips
    a gradient that is exact while it is small.

    Args:
      f: any function of pytrees of arrays that JAX can trace.
      *args: what it is called with.
      ignore: names of functions whose rules differ on purpose.

    Returns:
      The audit; printed, it is what was found, each with its line.

    Raises:
      ValueError: the function cannot be traced, or has no gradient.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> @jax.custom_vjp
      ... def cube(x):
      ...     return x**3
      >>> cube.defvjp(lambda x: (x**3, x), lambda x, g: (3.3 * g * x**2,))
      >>> (rule,) = audit(lambda x: jnp.sum(cube(x)), jnp.array([1.0, 2.0])).rules
      >>> rule.why
      'the rule of cube gives x 1.1 times its gradient'
    """
    record, error = _record(f, args)
    found = rules.check(record)
    unknown = found.unknown
    if error is not None:
        if not found.wrong:
            raise error
        what = str(error).strip().partition("\n")[0]
        unknown = (*unknown, f"gradients: JAX has none here ({type(error).__name__}: {what})")
    wrong = tuple(rule for rule in found.wrong if rule.function not in ignore)
    allowed = tuple(rule for rule in found.wrong if rule.function in ignore)
    return Audit(record.function, wrong, found.meant + allowed, unknown, found.count)


def _record(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Record, Exception | None]:
    """Return the record of a call; forward only where a rule of the program raises."""
    try:
        return call.record(f, args, cotangent=call.ones(f, args)), None
    except Exception as error:  # a rule is somebody's code, and may raise what it likes
        try:
            return call.record(f, args, gradients=False), error
        except Exception:
            raise error from None


def assert_healthy(f: Callable[..., Any], *args: Any, ignore: Sequence[str] = ()) -> None:
    """Raise an AssertionError with the report as its message, unless an audit finds nothing.

    Args:
      f: the function.
      *args: what it is called with.
      ignore: as for `audit`.

    Raises:
      AssertionError: the audit found something.
      ValueError: as for `audit`.

    Example:
      >>> import jax.numpy as jnp
      >>> assert_healthy(lambda x: jnp.sum(x * jnp.tanh(x)), jnp.array([1.0, 2.0]))
    """
    found = audit(f, *args, ignore=ignore)
    if not found.healthy:
        raise AssertionError(f"{found.function} is not healthy\n\n{found}")
