"""The audit of a program: what is wrong in it, or about to break, before a NaN shows it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from chainrule import _require
from chainrule.xray import call
from chainrule.xray.auditing import margins, provoking, rules
from chainrule.xray.auditing.findings import Rule, Trap
from chainrule.xray.auditing.margins import Margins
from chainrule.xray.auditing.provoking import Provoked
from chainrule.xray.record import Record

__all__ = ["Audit", "assert_healthy", "audit"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
      function: the name of the function.
      rules: custom rules that are wrong, and no others.
      traps: what broke when it was provoked, and nothing else.
      margins: how far every array is from overflow and underflow, and what float16 would do.
      meant: custom rules that differ from the gradient on purpose: straight-through, reversed,
        clipped; and those that were ignored by name.
      unknown: what could not be checked, and why.
      checked: how many calls of functions with a custom rule were checked.
      tried: how many inputs were tried to provoke a trap.
      ignored: how many traps were ignored.
    """

    function: str
    rules: tuple[Rule, ...]
    traps: tuple[Trap, ...]
    margins: Margins
    meant: tuple[Rule, ...]
    unknown: tuple[str, ...]
    checked: int
    tried: int
    ignored: int = 0

    @property
    def healthy(self) -> bool:
        """Whether no wrong rule was found, and no trap."""
        return not self.rules and not self.traps

    def __str__(self) -> str:
        parts = [str(rule) for rule in self.rules]
        if not self.rules:
            calls = f"{self.checked} call{'s' * (self.checked != 1)}"
            parts.append(f"no wrong rule: {calls} of functions with a custom rule checked")
        parts += [str(trap) for trap in self.traps]
        if not self.traps:
            inputs = f"{self.tried} other input{'s' * (self.tried != 1)}"
            parts.append(f"no trap: nothing broke with the numbers given, nor with {inputs}")
        parts.append(str(self.margins))
        parts += [f"on purpose, {rule.purpose or 'ignored'}: {rule}" for rule in self.meant]
        parts += [f"{self.ignored} traps ignored"] * bool(self.ignored)
        parts += [f"not checked: {text}" for text in self.unknown]
        return "\n\n".join(parts)


def audit(f: Callable[..., Any], *args: Any, ignore: Sequence[str] = ()) -> Audit:
    """Find what is wrong with a program, or about to break: wrong rules, traps, small margins.

    **Rules.** Every function inside that has a custom rule (`jax.custom_vjp`, `jax.custom_jvp`) is
    run at the numbers that it takes in this call and at some close by. The rule is compared with
    autodiff of the function's body in float64; where they differ, with differences in float64,
    one-sided at a kink. A rule that differs on purpose is recognised by being exact for something
    simple: it passes on or reverses the gradient of an identity, passes one through a step
    function, or clips a gradient that is exact while it is small.

    **Traps.** Intervals, passed forward from the ranges of the arguments, each widened once, say
    which operators can be infinite or undefined, which integers can overflow, which indices can be
    out of range. Then the program is run on other arguments within these ranges: zeros, equal rows,
    constant columns, empty masks, Newton steps towards the number that an operator cannot take.
    What breaks is a trap; nothing else is one. Where only rounding keeps the arguments from
    reaching that number, the operand itself is set, and that is said. Scans are run on from where
    they ended.

    **Margins.** How many bits each array of this call is from overflow and underflow.

    Args:
      f: any function of pytrees of arrays that JAX can trace. Of a result that is no scalar, the
        sum is differentiated.
      *args: what it is called with.
      ignore: what is meant to be as it is: names of functions whose rules differ on purpose, and of
        traps the line, ``"file.py:12"``, or the operator.

    Returns:
      The audit; printed, it is what was found, the worst first, each with its line and a cure that
      was tried.

    Raises:
      ValueError: the function cannot be traced, or has no gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> def loss(a, b):
      ...     return jnp.sum(jnp.linalg.norm(a - b, axis=1))
      >>> found = audit(loss, jnp.ones((2, 3)), jnp.arange(6.0).reshape(2, 3))
      >>> found.rules, found.healthy
      ((), False)
      >>> trap = found.traps[0]
      >>> trap.op, trap.how
      ('sqrt', 'b[0] = a[0]')
    """
    _check(ignore)
    record, error = _record(f, args)
    found = rules.check(record)
    unknown = found.unknown
    provoked = Provoked((), 0, False)
    if error is None:
        provoked = provoking.provoke(record)
        unknown += ("all inputs: the time was over",) * provoked.late
    elif found.wrong:
        what = str(error).strip().partition("\n")[0]
        unknown += (f"gradients and traps: JAX raises {type(error).__name__}: {what}",)
    else:
        raise error
    wrong = tuple(rule for rule in found.wrong if not _named(rule.function, rule.line, ignore))
    traps = tuple(trap for trap in provoked.traps if not _named(trap.op, trap.line, ignore))
    return Audit(
        function=record.function,
        rules=wrong,
        traps=traps,
        margins=margins.measure(record),
        meant=found.meant + tuple(rule for rule in found.wrong if rule not in wrong),
        unknown=unknown,
        checked=found.count,
        tried=provoked.tried,
        ignored=len(provoked.traps) - len(traps),
    )


def _check(ignore: Sequence[str]) -> None:
    if isinstance(ignore, str):
        raise ValueError(f"ignore is the text {ignore!r}: give a sequence, as in ({ignore!r},)")
    for name in ignore:
        _require.text("ignore", name)


def _named(name: str, line: str, ignore: Sequence[str]) -> bool:
    """Tell whether something is ignored, by its name or by its line, as ``file.py:12``."""
    where = line.partition(" (")[0]
    return any(one == name or where == one or where.endswith(f"/{one}") for one in ignore)


def _record(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Record, Exception | None]:
    """Return the record of a call; forward only where a rule of the program raises."""
    try:
        return call.record(f, args, cotangent=call.ones), None
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
      AssertionError: there is a wrong rule, or a trap.
      ValueError: as for `audit`.

    Example:
      >>> import jax.numpy as jnp
      >>> assert_healthy(lambda x: jnp.sum(x * jnp.tanh(x)), jnp.array([1.0, 2.0]))
    """
    found = audit(f, *args, ignore=ignore)
    if not found.healthy:
        raise AssertionError(f"{found.function} is not healthy\n\n{found}")
