"""What is found out about a step that failed: the line, the sample, and what led there."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from chainrule._files import printable
from chainrule.xray import call as calls
from chainrule.xray.births import Birth, Cures, Nonfinite
from chainrule.xray.recorder import samples, shards
from chainrule.xray.recorder.calls import Call, Ran, enter, named
from chainrule.xray.recorder.plan import Plan, is_float, measure
from chainrule.xray.recorder.samples import Rows, Samples
from chainrule.xray.report import Report, xray
from chainrule.xray.words import number

__all__ = ["Autopsy", "Failure", "NonFiniteError", "Part", "digests", "examine", "nonfinite_in"]
__dir__ = __all__.copy

_SHARE = 0.5  # of the free memory, for all values of a step


class NonFiniteError(ArithmeticError):
    """A step of a training made a NaN or an infinity.

    Attributes:
      step: its number.
      births: where it was born, see `chainrule.xray.births.Birth`; () where that is not known.
      samples: the places in the batch of the samples that make the step fail; () where none does.
      autopsy: all that was found out; None where nobody looked.
      call: what the step was called with; None where nobody looked.
    """

    def __init__(self, message: str, autopsy: "Autopsy | None" = None, call: Call | None = None):
        super().__init__(message)
        self.autopsy, self.call = autopsy, call
        self.step = 0 if autopsy is None else autopsy.step
        self.births = () if autopsy is None else autopsy.births
        self.samples = () if autopsy is None else autopsy.samples.rows


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a step that is looked into first, as it can be differentiated: its loss.

    Attributes:
      function: the loss, ``(...) -> (scalar, more)``.
      arguments: what it was called with; its gradient is that with respect to the first.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def call(self) -> Call:
        """Return the call of its gradient, compiled."""
        gradient = jax.jit(jax.value_and_grad(self.function, has_aux=True))
        return enter(gradient, self.arguments, {})


@dataclasses.dataclass(frozen=True)
class Failure:
    """A step that failed, before anybody has looked into it.

    Attributes:
      number: of the step.
      call: what it was called with.
      plan: what must stay finite.
      rows: where the samples of its batch are.
      others: other batches, as arrays by the numbers of their leaves.
      history: what led there: numbers by name, one a step, the last one that of this step.
      part: its loss, if that is known.
      of_data: the place in the whole data of each sample of the batch, () if that is not known.
    """

    number: int
    call: Call
    plan: Plan
    rows: Rows
    others: tuple[Mapping[int, Any], ...] = ()
    history: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    part: Part | None = None
    of_data: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Autopsy:
    """What was found out about a step that failed.

    Attributes:
      step: its number.
      function: the name of the function that was looked into.
      bad: what is not finite after the step, as text.
      births: where it was born, the first one first; what is harmless is left out.
      data: what in the arguments was not finite before anything ran, as text.
      cures: what was tried on the program; None where nothing was.
      samples: the samples that make it fail.
      of_data: the place in the whole data of each sample of the batch, () if that is not known.
      history: what led there: numbers by name, one a step, the last one that of this step.
      notes: what could not be found out, and why.
      call: what the function was called with, to run it again: the step, or the gradient of its
        loss where that fails alone.
      of_loss: whether it is the loss.
      digests: the SHA-256 of each array that this call returned, by its path.
      report: the x-ray; None where there is none.
    """

    step: int
    function: str
    bad: tuple[str, ...]
    births: tuple[Birth, ...]
    data: tuple[str, ...]
    cures: Cures | None
    samples: Samples
    of_data: tuple[int, ...]
    history: Mapping[str, Sequence[float]]
    notes: tuple[str, ...]
    call: Call = dataclasses.field(repr=False)
    of_loss: bool
    digests: Mapping[str, str] = dataclasses.field(repr=False)
    report: Report | None = dataclasses.field(repr=False)

    def __str__(self) -> str:
        text = [self.samples.said(self.of_data), *map(str, self.births[:3])]
        text += [f"{len(self.births) - 3} more births"] * (len(self.births) > 3)
        text += self.data
        if self.cures:
            text.append(f"write instead:\n{self.cures[0]}")
            text += [f"{len(self.cures) - 1} more cures hold"] * (len(self.cures) > 1)
        if self.bad:
            more = f", and {len(self.bad) - 4} more" * (len(self.bad) > 4)
            text.append(f"not finite after the step: {', '.join(self.bad[:4])}{more}")
        text += self.notes
        text += [f"{name}: {_row(values)}" for name, values in self.history.items() if len(values)]
        return "\n".join(text)


def _row(values: Sequence[float]) -> str:
    return ", ".join(number(x) for x in list(values)[-5:])


def examine(failure: Failure) -> Autopsy:
    """Look into a step that failed; what goes wrong on the way becomes a note, and no error."""
    if shards.spans(failure.call):
        return _of_this_process(failure)
    notes: list[str] = []
    ran = _attempt(failure.call.run, "the step could not run again", notes)
    bad = failure.plan.bad(ran) if ran is not None else ()
    report, of_loss = _looked(failure, None if ran is None else bool(bad), notes)
    found = None if report is None else report.nonfinite()
    again = "did not fail when it ran" if ran is not None else "could not run"
    chosen = Samples(why=f"the step {again} again")
    if bad:
        search = functools.partial(_search, failure)
        chosen = _attempt(search, "no sample was looked for", notes) or Samples(why="see below")
    call = failure.call
    if of_loss and failure.part is not None:
        of_part = failure.part.call()
        alone = _attempt(of_part.run, "the gradient of the loss could not run alone", notes)
        of_loss = alone is not None and bool(nonfinite_in(alone))
        call, ran = (of_part, alone) if of_loss else (call, ran)
    return Autopsy(
        step=failure.number,
        function=report.function if report else printable(_name(failure.call.step)),
        bad=bad,
        births=tuple(one for one in found.births if not one.harmless) if found else (),
        data=tuple(str(one) for one in found.data) if found else (),
        cures=_cures(found, notes) if found else None,
        samples=chosen,
        of_data=failure.of_data,
        history={name: tuple(values) for name, values in failure.history.items()},
        notes=tuple(notes),
        call=call,
        of_loss=of_loss,
        digests=digests(ran) if ran is not None else {},
        report=report,
    )


def _of_this_process(failure: Failure) -> Autopsy:
    data, chosen = shards.bad_data(failure.call, failure.rows)
    return Autopsy(
        step=failure.number,
        function=printable(_name(failure.call.step)),
        bad=(),
        births=(),
        data=data,
        cures=None,
        samples=chosen,
        of_data=failure.of_data,
        history={name: tuple(values) for name, values in failure.history.items()},
        notes=("the step spans processes: it was not run again, and not x-rayed",),
        call=failure.call,
        of_loss=False,
        digests={},
        report=None,
    )


def _looked(failure: Failure, again: bool | None, notes: list[str]) -> tuple[Report | None, bool]:
    """Return the x-ray of the loss if that is known and bad, else of the whole step if it is."""
    seen = False
    for part in (*([] if failure.part is None else [failure.part]), None):
        what = "the loss" if part else "the step"
        record = functools.partial(_record, failure, part)
        report = _attempt(record, f"{what} was not x-rayed", notes)
        if report is not None:
            seen = part is None
            found = report.nonfinite()
            if found.reaches or any(birth.lost for birth in found.births):
                return report, part is not None
    if again and seen:
        notes.append(
            "this appears only when the step is compiled whole: recorded, without fusing its "
            "operators, every value is finite"
        )
    elif again is False:
        notes.append(
            "the step did not fail when it ran again on what it had been given: something it reads "
            "beside its arguments has changed, or it does not compute the same numbers twice"
        )
    return None, False


def _record(failure: Failure, part: Part | None) -> Report:
    if part is not None:
        _check_size(part.function, part.arguments, 3)
        return xray(part.function, *part.arguments, argnums=0, has_aux=True)
    function, held = failure.call.pure()
    _check_size(function, held, 1)
    return xray(function, *held, gradients=False)


def _check_size(function: Callable[..., Any], args: Sequence[Any], times: int) -> None:
    """Refuse what would not fit in memory: a process that is killed says nothing at all."""
    closed, _ = calls.trace(function, args)
    needed = times * _bytes(closed.jaxpr)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if needed > _SHARE * free:
        raise ValueError(
            f"all its values take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free"
        )


def _bytes(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        inner = [getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(eqn.params.values()))]
        below = max((_bytes(x) for x in inner if hasattr(x, "eqns")), default=0)
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        own = sum(v.aval.size * getattr(v.aval.dtype, "itemsize", 8) for v in eqn.outvars)
        total += max(own, below * times)
    return total


def _cures(found: Nonfinite, notes: list[str]) -> Cures | None:
    """Return the cures; in the gradient that a function itself computes, none can be written."""
    if found.attempt is None or any(birth.in_gradient for birth in found.births):
        return None
    return _attempt(found.cures, "no cure was tried", notes)


def _search(failure: Failure) -> Samples:
    def fails(call: Call) -> bool:
        return not np.isfinite(np.asarray(failure.plan.measured(call.run()))[:2]).all()

    return samples.find(failure.call, failure.rows, fails, failure.others)


def nonfinite_in(ran: Ran) -> tuple[str, ...]:
    """Return the paths of the arrays that are not finite after a call."""
    rows = [*named(ran.results, "result"), *named(list(ran.after), "after")]
    return tuple(name for name, x in rows if is_float(x) and not np.isfinite(measure([x])[0]))


def digests(ran: Ran) -> dict[str, str]:
    """Return the SHA-256 of every array that a step left behind, by its path."""
    rows = [*named(ran.results, "result"), *named(list(ran.after), "after")]
    return {name: digest(array) for name, array in rows}


def digest(array: Any) -> str:
    """Return the SHA-256 of the bits of an array, with its dtype and shape."""
    if isinstance(array, jax.Array) and jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    host = np.asarray(array, order="C")
    found = hashlib.sha256(f"{host.dtype.name}{host.shape}".encode())
    found.update(np.atleast_1d(host).view(np.uint8).data)
    return found.hexdigest()


def _attempt(run: Callable[[], Any], what: str, notes: list[str]) -> Any:
    """Run something, and note why it failed: nothing may hide why the training did."""
    try:
        return run()
    except Exception as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        notes.append(f"{what}: {printable(first)}")
        return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
