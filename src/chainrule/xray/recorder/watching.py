"""A step that is watched: each call is looked at a few calls later, and held until then."""

import atexit
import collections
import dataclasses
import os
import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from chainrule import _require
from chainrule.xray.recorder import autopsy, folder
from chainrule.xray.recorder.autopsy import Failure, NonFiniteError
from chainrule.xray.recorder.calls import Call, Ran, contents, enter, is_array
from chainrule.xray.recorder.plan import Plan, measure, plan
from chainrule.xray.recorder.samples import Rows, rows_of

__all__ = ["Recorder", "Watched"]
__dir__ = __all__.copy

_P = ParamSpec("_P")
_R = TypeVar("_R")
_HISTORY = 20  # steps of which the numbers are kept
_LARGEST = "largest element of the state"


class Recorder:
    """Watches the steps of a training, and says of the first that fails which line and sample did.

    While all is finite, one reduction on the device is added to every ``keep - 1`` steps, and read
    one step later, so that nothing waits for it; of the others the losses are read. If the state
    that is looked at is not finite, the steps since the last look are looked at one by one. What
    they were called with is held until then. A state that was not finite between two looks, and is
    again, goes unnoticed unless its loss shows it: ``keep=2`` looks at every one. So it is with a
    step that donates its state: its arrays are gone by the next.

    Args:
      folder: where a step that failed is written to, as ``step-<number>``; made when it is needed.
      keep: how many steps are held, at least 1; with 1 each step is waited for. None takes 4 on a
        CPU, and 2 where memory is scarcer and a look costs less.

    Example:
      >>> import jax, jax.numpy as jnp, tempfile
      >>> @jax.jit
      ... def train_step(w, batch):
      ...     loss, grad = jax.value_and_grad(lambda w: jnp.mean(jnp.sqrt(batch @ w)))(w)
      ...     return w - 0.1 * grad, loss
      >>> folder = tempfile.TemporaryDirectory()
      >>> with folder as name, Recorder(name) as recorder:
      ...     step, w = recorder.watch(train_step), jnp.ones(2)
      ...     try:
      ...         for k in range(6):
      ...             w, loss = step(w, jnp.ones((4, 2)).at[1, 0].set(-k))
      ...     except NonFiniteError as error:
      ...         print(error.step, error.samples, error.births[0].op)
      1 (1,) sqrt
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = None) -> None:
        self.folder = _require.path("folder", folder).absolute()
        if keep is None:
            keep = 4 if jax.default_backend() == "cpu" else 2
        self.keep = _require.count("keep", keep)
        self._watched: list[Watched] = []

    def watch(
        self,
        step: Callable[_P, _R],
        *,
        first: int = 0,
        batch: int | str | Collection[int | str] | None = None,
        watched: Callable[[Any], Any] | None = None,
    ) -> Callable[_P, _R]:
        """Return a step that does the same and is watched: ``step(state, batch, ...)``.

        Call it outside `jax.jit`, in the place of the outermost function of the training.

        Args:
          step: any function of pytrees that makes one step, jitted or not. It may donate its
            arguments (they are copied then) and change modules of nnx in place.
          first: the number of the first call.
          batch: which arguments hold the batch, along their first axis; numbers or keywords. None
            takes all that do not come back changed.
          watched: from what the step returns to what must stay finite. None takes the state that
            comes back, modules, and what is called a loss, or else all single numbers.

        Raises:
          ValueError: an argument is of another kind.
        """
        _require.function("step", step, "(state, batch, ...) -> (state, metrics)")
        _require.count("first", first, least=0)
        if watched is not None:
            _require.function("watched", watched, "of what the step returns")
        names = [batch] if isinstance(batch, int | str) else batch
        groups = None if names is None else [(int(isinstance(n, str)), n) for n in names]
        one = Watched(self, step, first, groups, watched)
        self._watched.append(one)
        return one

    @property
    def held(self) -> int:
        """How many bytes are held: of steps that are not judged yet."""
        return sum(one.held for one in self._watched)

    def finish(self) -> None:
        """Judge the last steps, which no later step has judged; call it after the loop.

        Raises:
          NonFiniteError: one of them failed.
        """
        for one in self._watched:
            one.finish()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, raised: object, *_: object) -> None:
        if raised is None:
            self.finish()


@dataclasses.dataclass(frozen=True, eq=False)
class _Entry:
    number: int
    call: Call
    plan: Plan
    rows: Rows
    ran: Ran | None  # what is left to look at; None once it is measured
    measured: Any  # None of a step that is not looked at unless a later one is not finite
    each: Any

    @property
    def gone(self) -> bool:
        """Whether what is left to look at was donated to another program since."""
        return self.ran is not None and self.plan.gone(self.ran)


class Watched:
    """A step that is watched; see `Recorder.watch`.

    Args:
      recorder: whose folder it writes to.
      step: the step.
      first: the number of the first call.
      batch: the arguments that hold the batch; None for all that do not come back.
      watched: from what it returns to what must stay finite, or None.
    """

    def __init__(
        self,
        recorder: Recorder,
        step: Callable[..., Any],
        first: int,
        batch: Collection[Any] | None,
        watched: Callable[[Any], Any] | None,
    ) -> None:
        self.__wrapped__ = step
        self._recorder, self._watched, self._batch = recorder, watched, batch
        self._number = first
        self._ring: collections.deque[_Entry] = collections.deque()
        self._donated: dict[Any, set[int]] = {}
        self._plans: dict[Any, tuple[Plan, Rows]] = {}
        self._before: tuple[list[str], Any] | None = None
        self._exempt: frozenset[str] = frozenset()
        self._history: dict[str, collections.deque[float]] = {}
        self._good: dict[int, Any] = {}
        self._always, self._since = False, 0
        atexit.register(_at_exit, weakref.ref(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make one step, after those up to the last look are judged if ``keep`` are held."""
        every = max(self._recorder.keep - 1, 1)
        if len(self._ring) >= self._recorder.keep:
            self._judge_oldest(every)
        given = enter(self.__wrapped__, args, kwargs)
        form = given.tree, given.kinds.on_devices  # a counter comes in as a number of Python first
        held = given.copied(self._donated.get(form))
        results = self.__wrapped__(*args, **kwargs)
        ran = Ran(results, () if given.graph is None else contents(args, kwargs))
        if form not in self._donated:
            self._donated[form] = {k for k in form[1] if given.leaves[k].is_deleted()}
        known, rows = self._plan(given, held, ran)
        each = None if self._before is None else known.each(ran)
        always = each is not None or self._always or self._donated[form] or not known.single(ran)
        self._since += 1
        look = always or self._since % every == 0
        measured = known.measured(ran) if look else None
        left = None if look else ran
        self._ring.append(_Entry(self._number, held, known, rows, left, measured, each))
        self._number += 1
        return results

    @property
    def held(self) -> int:
        """How many bytes are held."""
        leaves = [entry.call.leaves[k] for entry in self._ring for k in entry.call.arrays]
        leaves += [x for one in self._ring if one.ran for x in one.ran.flat if is_array(x)]
        return sum({id(x): x.nbytes for x in leaves}.values())

    def finish(self) -> None:
        """Judge all steps."""
        if self._ring:
            self._since = 0
            self._judge_oldest(len(self._ring))

    def _judge_oldest(self, count: int) -> None:
        """Judge some steps: by the state after the newest, and by the losses of the others."""
        oldest = [self._ring.popleft() for _ in range(count)]
        newest, skipped = oldest[-1].measured, [one for one in oldest if one.ran is not None]
        fine = newest is not None and bool(np.isfinite(np.asarray(newest)[:2]).all())
        if skipped:  # what is noted has one number a step
            self._history.pop(_LARGEST, None)
            # Somebody donated what was not looked at: from now on every state is.
            self._always = self._always or skipped[0].gone
        for entry in oldest:
            if entry.ran is not None and fine:
                finite, numbers = entry.plan.read(entry.ran)
                if finite:
                    self._note(numbers)
                    self._good = {k: entry.call.leaves[k] for k in entry.rows.leaves}
                    continue
            if not entry.gone:
                self._judge(entry)
        if skipped:
            for largest in list(self._history.pop(_LARGEST, ()))[-1:]:
                self._note({f"{_LARGEST}, every {self._recorder.keep - 1} steps": largest})

    def _note(self, numbers: Mapping[str, Any]) -> None:
        for name, value in numbers.items():
            row = self._history.setdefault(name, collections.deque(maxlen=_HISTORY))
            row.append(float(value))

    def _plan(self, given: Call, held: Call, ran: Ran) -> tuple[Plan, Rows]:
        key = given.tree, ran.form
        if key not in self._plans:
            found = plan(given, ran, self._watched)
            if not found.seen:
                raise ValueError(
                    "nothing that the step returns or changes is floating-point: return its state "
                    "and its loss, or name with watched= what must stay finite"
                )
            if not self._plans:
                old = [one for one in found.seen if one.before is not None]
                arrays = [held.leaves[one.before] for one in old if one.before is not None]
                self._before = [one.name for one in old], measure(arrays) if arrays else ()
            state = found.state if self._batch is None else set(given.groups) - set(self._batch)
            self._plans[key] = (
                found.without(self._exempt),
                rows_of(given, set(given.groups) - state),
            )
        return self._plans[key]

    def _judge(self, entry: _Entry) -> None:
        row = entry.measured if entry.ran is None else entry.plan.measured(entry.ran)
        state, rest, *values = np.asarray(row, np.float64)
        self._note(dict(zip(entry.plan.numbers, values, strict=True)) | {_LARGEST: state})
        bad = not np.isfinite([state, rest]).all()
        if entry.each is not None:  # of the first steps more is known
            finite = np.isfinite(np.asarray(entry.each))
            names = {
                one.name for one, fine in zip(entry.plan.seen, finite, strict=True) if not fine
            }
            if self._before is not None:
                self._exempt, self._before = _exempt(names, *self._before), None
                known = self._plans.items()
                self._plans = {key: (p.without(self._exempt), rows) for key, (p, rows) in known}
            bad = bool(names - self._exempt)
        if bad:
            self._ring.clear()
            raise self._failed(entry)
        self._good = {k: entry.call.leaves[k] for k in entry.rows.leaves}

    def _failed(self, entry: _Entry) -> NonFiniteError:
        failure = Failure(
            number=entry.number,
            call=entry.call,
            plan=entry.plan.without(self._exempt),
            rows=entry.rows,
            others=(self._good,) if self._good else (),
            history={name: tuple(row) for name, row in self._history.items()},
        )
        found = autopsy.examine(failure)
        said = folder.told(found, self._recorder.folder)
        return NonFiniteError(f"step {entry.number} is not finite\n{said}", found, entry.call)


def _exempt(bad: Collection[str], names: Collection[str], values: Any) -> frozenset[str]:
    """Return what may stay infinite: what was so before the first step, if that went well."""
    pairs = zip(names, np.asarray(values), strict=True)
    before = frozenset(name for name, x in pairs if not np.isfinite(x))
    return before if before.issuperset(bad) else frozenset()


def _at_exit(reference: "weakref.ref[Watched]") -> None:
    """Judge the last steps of a training that never asked for it."""
    if (watched := reference()) is not None:
        try:
            watched.finish()
        except NonFiniteError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
