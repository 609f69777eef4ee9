"""What is said about a NaN or an Inf: where it was born, why, and what to write instead."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from chainrule.xray.causes import Cause
from chainrule.xray.words import below

__all__ = ["Birth", "Cure", "Cures", "Datum", "Nonfinite", "Tried"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Birth:
    """One operator that made a NaN or an Inf out of numbers that were none.

    Attributes:
      node: the number of its node in the record.
      op: the operator.
      phase: whether its value ("forward") or its gradient ("backward") is bad.
      kind: "NaN" or "Inf".
      line: ``file.py:line (function)`` in the user's code.
      within: the line inside an installed library that it came through, "" if none.
      index: the first bad element, () of a scalar.
      count: how many elements of the array are bad, in all steps together.
      inputs: what the operator took there, as text: an element where one belongs to the place,
        else the array or its statistics.
      g: the incoming gradient there, as text; "" forward.
      cause: the reason.
      follows: whether an infinity came in, so that an earlier birth is the first cause.
      harmless: whether any other number in its place would leave the result and every gradient as
        they are.
      lost: whether it became a finite number on the way, as 1 / inf = 0 does, on which the result
        or a gradient depends.
      in_gradient: whether the operator belongs to a gradient that the function itself computes, by
        `jax.grad` say; then ``line`` is that of the operator it is the gradient of.
      steps: inside a loop the bad step that ran first, backward the last, in a loop inside a loop
        the step of each; else ().
      device: inside a shard_map the first device of its mesh, whose elements ``index`` counts; else
        None.
    """

    node: int
    op: str
    phase: Literal["forward", "backward"]
    kind: Literal["NaN", "Inf"]
    line: str
    within: str
    index: tuple[int, ...]
    count: int
    inputs: tuple[str, ...]
    g: str
    cause: Cause
    follows: bool
    harmless: bool
    lost: bool = False
    steps: tuple[int, ...] = ()
    in_gradient: bool = False
    device: int | None = None

    def __str__(self) -> str:
        step = "".join(
            f" of step {t}" if k else f" at step {t}" for k, t in enumerate(reversed(self.steps))
        )
        own = "" if self.device is None else "its "
        where = f" on device {self.device}" * bool(own) + step
        where += f" at {own}{list(self.index)}" if self.index else ""
        more = f", {self.count} elements" if self.count > 1 else ""
        tags = ("; follows from an infinity before it" if self.follows else "") + (
            "; masked, harmless" if self.harmless else ""
        )
        tags += "; lost: it became a finite number, and the result is wrong" if self.lost else ""
        text = [
            below(self.line),
            f"  {self.kind} born {self._when()} in {self.op}{where}{more}{tags}",
            f"  inputs: {', '.join(self.inputs) or 'none'}",
        ]
        if self.g:
            text.append(f"  incoming gradient: {self.g}")
        text.append(f"  why: {self.cause.reason}")
        if self.within:
            text.append(f"  inside: {below(self.within)}")
        return "\n".join(text)

    def _when(self) -> str:
        return "in the gradient of this line," if self.in_gradient else self.phase


@dataclasses.dataclass(frozen=True)
class Datum:
    """A NaN or an Inf that was in the data before anything ran.

    Attributes:
      name: the path of the argument, or the label of the constant.
      kind: "NaN" or "Inf".
      index: the first bad element, () of a scalar and where only statistics are kept.
      count: how many elements are bad.
      line: where it first enters a gradient, going backward; where the value is first used if it
        enters none.
      in_gradient: whether it enters one.
    """

    name: str
    kind: Literal["NaN", "Inf"]
    index: tuple[int, ...]
    count: int
    line: str
    in_gradient: bool

    def __str__(self) -> str:
        where = f" at {list(self.index)}" if self.index else ""
        more = f", {self.count} elements" if self.count > 1 else ""
        does = "enters a gradient here" if self.in_gradient else "is first used here"
        return "\n".join(
            [
                below(self.line) or "in no operator",
                f"  {self.kind} in the data {does}: {self.name}{where}{more}",
            ]
        )


@dataclasses.dataclass(frozen=True)
class Cure:
    """One way to write the program that holds: it was run, and what it does was measured.

    Attributes:
      birth: the birth that it cures, or the data.
      text: the code to write, after the line where it belongs; of two births two lines.
      finite: whether the result and every gradient is finite then.
      same: whether the results that were finite are the same, within 8 units in the last place.
      change: the largest change of a result that was finite.
      gradient_error: the largest error of its gradient against differences in float64, relative
        to the slope: of the program as it is where that is smooth, else of the cured one. At a
        kink, any gradient between the one-sided slopes will do.
      n: how many slopes that rests on: single elements, the bad ones first, and random directions.
      grads: one pytree of gradients per argument, as of the report.
      off: how far the result is from that of the program as it is, in float64, relative to it; NaN
        where that is not finite either.
      next: births that appear once this one is cured; then not all is finite, and neither results
        nor gradients were compared. Such a cure is returned only if no other holds.
    """

    birth: "Birth | Datum"
    text: str
    finite: bool
    same: bool
    change: float
    gradient_error: float
    n: int
    grads: tuple[Any, ...] = dataclasses.field(repr=False, compare=False)
    off: float = math.nan
    next: tuple[Birth, ...] = ()

    @property
    def code(self) -> str:
        """The text without its places in files."""
        return "\n".join(line.partition(": ")[2] for line in self.text.splitlines())

    def __str__(self) -> str:
        if self.next:
            then = self.next[0]
            return (
                f"{self.text}\n  tried: cured, but then {then.kind} is born at {below(then.line)}"
            )
        values = "what was finite is the same"
        if not self.same:
            values = f"a finite result changes by {self.change:.2g}"
        slope = "no gradient was compared"
        if self.n:
            slope = f"gradient within {self.gradient_error:.1g} of {self.n} slopes in float64"
        return f"{self.text}\n  tried: all finite, {values}, {slope}"


class Tried(NamedTuple):
    """What was tried and does not hold: for which birth, the code, and why."""

    birth: "Birth | Datum"
    text: str
    why: str


@dataclasses.dataclass(frozen=True)
class Cures(Sequence[Cure]):
    """The cures that hold, the best first: same results, then the smallest error of the gradient.

    Attributes:
      held: the cures.
      tried: what was tried in vain.
      late: whether the time was over before all had been tried.

    Example:
      >>> import jax.numpy as jnp
      >>> from chainrule import xray
      >>> def loss(x):
      ...     return jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0))
      >>> cures = xray.xray(loss, jnp.array([4.0, 0.0])).nonfinite().cures()
      >>> cures[0].finite, cures[0].same, cures[0].grads[0].tolist()
      (True, True, [0.25, 0.0])
    """

    held: tuple[Cure, ...] = ()
    tried: tuple[Tried, ...] = ()
    late: bool = False

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, k: Any) -> Any:
        return self.held[k]

    def __str__(self) -> str:
        text = [str(cure) for cure in self.held[:3]]
        text += [f"{len(self.held) - 3} more hold"] * (len(self.held) > 3)
        if not self.held and not self.tried:
            text.append("nothing is known to try here")
        elif not self.held:
            failed = [f"  {one.text}\n    {one.why}" for one in self.tried]
            text.append("\n".join(["no cure holds; tried in vain:", *failed]))
        return "\n\n".join(text + ["the time was over: not all was tried"] * self.late)


@dataclasses.dataclass(frozen=True)
class Nonfinite:
    """Every birth, in the order in which they happened.

    Attributes:
      births: forward first, in the order of execution, then backward.
      arguments: the paths of the arguments, and constants, that were bad before anything ran.
      reaches: what is bad in the end: "result", or the paths of arguments whose gradient is.
      compiled: whether the call ran as one compiled program.
      data: what is bad in them, one for each.
      unseen: loops whose steps were not looked at, as nothing bad comes out of them: those inside
        other loops, and of what is too large or of which only statistics are kept.
      attempt: tries cures on the program; None where nothing can be run again.
      decided: whether it was tried out what is harmless and what is lost; with statistics only it
        cannot be.
    """

    births: tuple[Birth, ...]
    arguments: tuple[str, ...]
    reaches: tuple[str, ...]
    compiled: bool
    decided: bool = True
    data: tuple[Datum, ...] = ()
    unseen: tuple[str, ...] = ()
    attempt: Callable[[Callable[[str], None]], Cures] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def cures(self, progress: Callable[[str], None] = lambda text: None) -> Cures:
        """Return what to write instead: what was run on this program, and held.

        The program runs again with each candidate in the place of its operator, alone and in pairs.
        The second call returns what the first one found.

        Args:
          progress: is told the code of each candidate, before it runs.

        Raises:
          ValueError: only statistics are kept, or the record is the inside of a loop.
        """
        if self.attempt is None:
            raise ValueError("nothing can be tried: call xray with keep='values', on the whole")
        if "_cures" not in self.__dict__:
            self.__dict__["_cures"] = self.attempt(progress)
        found: Cures = self.__dict__["_cures"]
        return found

    @property
    def known_cures(self) -> Cures | None:
        """What `cures` found; None before its first call."""
        return self.__dict__.get("_cures")

    @property
    def ordered(self) -> tuple["Birth | Datum", ...]:
        """What matters first: births, then what was in the data, then what is harmless."""
        matter = [birth for birth in self.births if not birth.harmless]
        harmless = [birth for birth in self.births if birth.harmless]
        return (*matter, *self.data, *harmless)

    def __bool__(self) -> bool:
        return bool(self.births or self.arguments or self.reaches)

    @property
    def paragraphs(self) -> tuple[tuple[str, "Birth | Datum | None"], ...]:
        """What is said, part by part, each with the birth or the data that it is about."""
        how = (
            "ran compiled, without fusing operators: under jax.jit XLA fuses and rewrites them, "
            "and a NaN may appear elsewhere"
            if self.compiled
            else "ran operator by operator, not compiled"
        )
        if not self:
            beyond = f", but for what stays inside {', '.join(self.unseen)}" if self.unseen else ""
            return ((f"every value and every gradient is finite{beyond}; {how}", None),)
        plain = [self._end(), how]
        if self.arguments:
            plain.insert(0, "not finite before anything ran: " + ", ".join(self.arguments))
        if self.attempt is not None:
            plain.append("cures() tries what to write instead")
        return (*((str(one), one) for one in self.ordered), *((text, None) for text in plain))

    def __str__(self) -> str:
        return "\n\n".join(text for text, _ in self.paragraphs)

    def _end(self) -> str:
        if self.reaches:
            return "not finite in the end: " + ", ".join(self.reaches)
        if not self.decided:
            return (
                "everything is finite in the end; whether values were lost on the way is unknown, "
                "as only statistics are kept"
            )
        if any(birth.lost for birth in self.births):
            return "everything is finite in the end, but values were lost on the way"
        if any(not birth.harmless for birth in self.births):
            return "everything is finite in the end, but depends on what is bad on the way"
        return "nothing bad reaches the result or a gradient: masked, harmless"
