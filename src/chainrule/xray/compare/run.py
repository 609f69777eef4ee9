"""Two executions, of one program or of two, laid side by side."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from chainrule import _require
from chainrule.data import tensors
from chainrule.xray import call, saved
from chainrule.xray.compare import activations, digits
from chainrule.xray.compare.errors import Move, between, draws, shared
from chainrule.xray.compare.judge import Judge
from chainrule.xray.compare.keys import transparent
from chainrule.xray.compare.operators import recorded
from chainrule.xray.compare.pairing import arguments_of, pair
from chainrule.xray.compare.rows import LOST, Diff, Row
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.compare.totals import totals
from chainrule.xray.compare.ways import Way, way
from chainrule.xray.record import Record, changed
from chainrule.xray.report import Report
from chainrule.xray.rerun import replay

__all__ = ["diff"]
__dir__ = __all__.copy

_MEET = 8.0  # units in the last place of a result, if that is equal
_SUFFERS = 16.0  # units in the last place of a result
_UNRUN = (
    "nothing could run: an operator whose inputs agree, and whose result does not, is taken to part"
)


@dataclasses.dataclass
class _Two:
    """Two executions.

    Attributes:
      first: the record that counts as true.
      second: the other.
      names: what ran, and how.
      ways: how each of them ran.
      notes: what is to say of that.
      named: whether the first is no program, but arrays by name.
      programs: whether they are two programs, or one of them and a record of another.
    """

    first: Record
    second: Record
    names: tuple[str, str]
    ways: tuple[Way, Way]
    notes: tuple[str, ...] = ()
    named: bool = False
    programs: bool = False

    @property
    def mixed(self) -> bool:
        """Whether they compute in two dtypes on purpose."""
        return self.ways[0].dtype != self.ways[1].dtype


def diff(
    first: Any,
    *rest: Any,
    a: Any = None,
    b: Any = None,
    argnums: int | Sequence[int] | None = None,
    cotangent: Any = None,
    gradients: bool = True,
) -> Diff:
    """Lay two executions side by side, and say where they part.

    Each operator of the second runs on what the first computed: what then differs from the first's
    result is its *own* error, the rest of its error it *inherited*. An own error counts where it
    passes a few units in the last place times the operator's condition, which is found by moving
    what it takes by that much. Backward likewise.

    - ``diff(f, *args, a="compiled", b="op by op")``: one program in two ways: "compiled", "op by
      op", "float64", "float32", "bfloat16", "float16", "tensorfloat32" (what products take is
      rounded to its 11 bits, on any device), or a device.
    - ``diff(f, g, *args)``: two programs, a port or a refactoring. Their operators are matched by
      what they take, then by value, also with other orders of axes, then by order.
    - ``diff(report, f, *args)``: a record, as `chainrule.xray.load` reads it, and a program now.
    - ``diff(report, report)``: two records of which nothing needs to run.
    - ``diff({"conv1": array}, f, *args)``: activations by name, or a ``.safetensors`` file of them,
      and a program that should compute them.

    Args:
      first: what counts as true: a function, a `Report`, a `chainrule.xray.Record`, a dict
        of arrays, or a path of an ``.xray``, ``.safetensors`` or ``.npz`` file.
      *rest: the second function or report, if there is one, and the arguments of both. What is
        callable but holds arrays, as a module does, is an argument.
      a: how the first runs; "compiled" if nothing is said.
      b: how the second runs; "op by op" if there is one program, else "compiled".
      argnums: the arguments to differentiate with respect to; None for all.
      cotangent: the gradient of whatever follows with respect to the result; None for ones.
      gradients: False goes forward only.

    Returns:
      The rows, the first operator where they part, and more; print it.

    Raises:
      ValueError: there is no such way, a function cannot be recorded, a file is damaged, or what
        comes first is neither of these.
      FileNotFoundError: there is no such file.

    Example:
      >>> import jax.numpy as jnp
      >>> def f(x):
      ...     return jnp.log(jnp.mean(x * x) - jnp.mean(x) ** 2)
      >>> x = 100 + jnp.linspace(0.0, 1.0, 32)
      >>> diff(f, x).first is None
      True
      >>> found = diff(f, x, a="float32", b="float64")
      >>> found.first.op, found.first.lost > 10
      ('sub', True)
    """
    _require.flag("gradients", gradients)
    settings = {
        "argnums": argnums,
        "cotangent": call.ones if gradients and cotangent is None else cotangent,
        "gradients": gradients and None,  # where there are floats
    }
    two = _two(first, rest, a, b, settings)
    left, results, notes = two.first, _results(two.first, two.second), two.notes
    runs = two.second.runs and left.keep == two.second.keep == "values"
    suffers = runs and _suffer(two, results)
    right = two.second = shared(left, two.second)
    pairing = activations.match(left, right) if two.named else pair(left, right)
    found: tuple[digits.Death, ...] = ()
    if not runs:
        rows = totals(left, right, pairing)
        notes = (_UNRUN,)
        start = next((row for row in rows if row.parts), None)
    else:
        judge = Judge(left, right, pairing, two.ways, two.mixed)
        rows = judge.rows()
        start = _first(rows, suffers, two)
        if suffers and two.programs and (start is None or start.phase == "backward"):
            rows, pairing, start = _again(two, judge, rows, results)
        if suffers and two.mixed:
            found = _digits(two, rows)
    return Diff(
        names=two.names,
        rows=tuple(rows),
        results=results,
        first=start,
        unmatched=((), ()) if two.named else _unmatched(left, right, pairing),
        notes=(*pairing.notes, *notes),
        digits=found,
        differ=suffers and not two.named,
        record=right,
    )


def _two(first: Any, rest: Sequence[Any], a: Any, b: Any, settings: dict[str, Any]) -> _Two:
    """Return the two executions that the arguments ask for."""
    known, named = _known(first)
    alone = known is None and not (rest and _is_function(rest[0]))
    if known is None:
        _require.function("first", first, "of arrays, a report, arrays by name, or a file of them")
    f: Callable[..., Any] = first
    if alone:
        ways = way("a", "compiled" if a is None else a), way("b", "op by op" if b is None else b)
        base = _record(f, rest, Way("compiled"), settings)
        one, two = (recorded(base, each) for each in ways)
        names = f"{base.function}, {ways[0].name}", ways[1].name
        return _Two(one, two, names, ways, _said(ways))
    ways = way("a", "compiled" if a is None else a), way("b", "compiled" if b is None else b)
    if any(each.dtype is not None for each in ways):
        raise ValueError(
            f"a is {ways[0].name!r} and b is {ways[1].name!r}: two programs run as they are, "
            "'compiled', 'op by op' or on a device; compare one with itself in another dtype"
        )
    one = _record(f, rest[1:], ways[0], settings) if known is None else known
    if not one.wanted:
        settings = settings | {"gradients": False, "cotangent": None}
    if not rest:
        raise ValueError("give a function, or another report, to lay beside the first")
    other: Any = rest[0]
    if isinstance(other, Report | Record):
        second = other.record if isinstance(other, Report) else other
    else:
        _require.function("the second program", other, "of arrays, or a report")
        second = _record(other, rest[1:], ways[1], settings)
    names = one.function, second.function
    if isinstance(other, Report | Record) or named:
        return _Two(one, second, names, ways, (), named)
    return _Two(one, second, names, ways, programs=True)


def _known(first: Any) -> tuple[Record | None, bool]:
    """Return the record that comes first, None of a function, and whether it is only arrays."""
    if isinstance(first, Report):
        return first.record, False
    if isinstance(first, Record):
        return first, False
    if isinstance(first, Mapping) and not callable(first):
        return activations.of_arrays(first), True
    if isinstance(first, str | os.PathLike):
        if pathlib.Path(first).suffix == ".xray":
            return saved.read(first), False
        return activations.of_arrays(tensors.read(first).arrays), True
    return None, False


def _is_function(f: Any) -> bool:
    """Tell a function from an argument: a module can be called, too, but holds arrays."""
    if isinstance(f, Report | Record):
        raise ValueError("a report comes first: diff(report, f, *args)")
    return callable(f) and not any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(f))


def _record(f: Callable[..., Any], args: Sequence[Any], way: Way, settings: Any) -> Record:
    with way.context():
        return call.record(f, way.put(list(args)), compiled=way.compiled, **settings)


def _said(ways: tuple[Way, Way]) -> tuple[str, ...]:
    notes = []
    if any(each.name == "tensorfloat32" for each in ways):
        notes.append("tensorfloat32 is emulated: what products take is rounded to 11 bits")
    if {each.name for each in ways} == {"compiled", "op by op"}:
        notes.append("compiled without fusing operators: jax.jit fuses, and may round otherwise")
    return tuple(notes)


def _results(left: Record, right: Record) -> dict[str, float]:
    """Return the error of each result and of the gradient of each argument."""
    found = {}
    for k, (x, y) in enumerate(zip(left.outputs, right.outputs, strict=False)):
        name = "the result" if len(right.outputs) == 1 else f"result {k}"
        found[name] = between(left.value(x), right.value(y)).relative
    for i, k in arguments_of(left, right):
        g, h = left.nodes[i].cotangent, right.nodes[k].cotangent
        if g is not None and h is not None and np.shape(g) == np.shape(h):
            found[f"the gradient of {right.nodes[k].label}"] = between(g, h).relative
    return found


def _suffer(two: _Two, results: dict[str, float]) -> bool:
    """Tell whether results or gradients differ by more than rounding on the way explains.

    That is found by moving the arguments of the second program by a few units in the last place.
    Of its record only the ends are kept meanwhile: it runs again after that.
    """
    if not results:
        return two.named
    if any(not math.isfinite(error) for error in results.values()):
        return True
    units = _units(two.first, two.ways[0]), _units(two.second, two.ways[1])
    eps = max(map(max if two.mixed else min, *units), default=0.0)
    allowed = dict.fromkeys(results, _SUFFERS * eps)
    if two.programs and any(error > allowed[name] for name, error in results.items()):
        plain = two.second = _ends(two.second)
        again = replay(plain)

        def moved(move: Move) -> dict[str, float]:
            given = {node.index: move(node.value) for node in plain.nodes if node.is_argument}
            return _results(plain, again(given))

        with two.ways[1].context():
            for errors in draws(moved, eps):
                for name, error in errors.items():
                    allowed[name] = max(allowed.get(name, 0.0), 4 * error)
                if all(error <= allowed[name] for name, error in results.items()):
                    break
            two.second = again({})
    return any(not error <= allowed[name] for name, error in results.items())


def _units(record: Record, how: Way) -> list[float]:
    """Return one unit in the last place of each result, relative."""
    return [how.eps(record.nodes[slot.node], slot.output) for slot in record.outputs]


def _ends(record: Record) -> Record:
    """Return a record of which only the arguments, the results and their gradients are left."""
    given = [x for n in record.nodes if n.is_argument for x in (n.value, n.cotangent)]
    ends = set(map(id, (*given, *(record.value(slot) for slot in record.outputs))))
    nodes = changed(record, lambda x: x if id(x) in ends else None)
    return dataclasses.replace(record, nodes=nodes)


def _first(rows: Sequence[Row], suffers: bool, two: _Two) -> Row | None:
    """Return the first row that is an error, or loses more than 10 bits between two dtypes."""
    alone = not two.programs and not two.mixed
    for row in rows:
        if row.parts and (suffers or (alone and row.sure)):
            return row
        if two.mixed and suffers and row.lost > LOST:
            return row
    return None


def _again(
    two: _Two, judge: Judge, rows: list[Row], results: dict[str, float]
) -> tuple[list[Row], Pairing, Row | None]:
    """Return the rows, what belongs together and where two part of which no value is known to.

    They may meet again in one number by chance: what comes before it is looked at. Else it is a
    guess at where their gradients part.
    """
    values = [x for name, x in results.items() if "gradient" not in name]
    if max(values, default=0.0) > _MEET * judge.eps:
        pairing = pair(two.first, two.second, scalars=False)
        others = Judge(two.first, two.second, pairing, two.ways, two.mixed).rows()
        start = _first(others, True, two)
        if start is not None and start.phase == "forward":
            return others, pairing, start
    start = _first(rows, True, two)
    if start is None and (start := judge.lead()) is not None:
        rows = [*rows, start]
    return rows, judge.pairing, start


def _digits(two: _Two, rows: Sequence[Row]) -> tuple[digits.Death, ...]:
    """Return where digits die, if one of the two is the program as it is and the other is wider."""
    records = two.first, two.second
    wide = next((k for k in (0, 1) if two.ways[k].wide), None)
    if wide is None or not _is_plain(records[1 - wide]):
        return ()
    lost = sorted((row for row in rows if row.lost > LOST), key=lambda row: row.node)
    return digits.find(records[1 - wide], records[wide], lost)


def _is_plain(record: Record) -> bool:
    ends = ((record.value(s), record.nodes[s.node].avals[s.output]) for s in record.outputs)
    return all(x.dtype == aval.dtype for x, aval in ends)


def _unmatched(
    left: Record, right: Record, pairing: Pairing
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what of each program has no counterpart, but for what only reorders elements."""
    taken = {given.slot.node for given in pairing.slots.values()}
    matched = {slot.node for slot in pairing.slots}
    rows = []
    for record, known in ((left, taken), (right, matched)):
        nodes = (n for n in record.nodes if n.kind == "operator" and n.index not in known)
        rows.append(tuple(node.label for node in nodes if not transparent(node)))
    return rows[0], rows[1]
