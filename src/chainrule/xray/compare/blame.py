"""Which of several operators, or of a function's lines, may be to blame for what they make."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray.bodies import ClosedError
from chainrule.xray.compare.errors import between
from chainrule.xray.compare.keys import root_of
from chainrule.xray.compare.near import floats
from chainrule.xray.compare.rows import Row
from chainrule.xray.compare.sweep import Sweep
from chainrule.xray.graph import Slot
from chainrule.xray.inside import enter, enter_backward
from chainrule.xray.record import Entry, Record

__all__ = ["blamed", "mended", "written"]
__dir__ = __all__.copy

_STEPS = 12  # of the search for a number
_SAME = 1e-3  # by what share a number differs that another stands for
_NONE = 1e-6  # what share of it is nothing


def blamed(
    sweep: Sweep, index: int, region: Sequence[int], allowed: float
) -> tuple[Sequence[int], Sequence[int]]:
    """Return which of several operators may be to blame, and which that make what those take.

    Not the last ones, if they do nothing wrong on what their counterparts take. What they take may
    be wrong where the first has further operators in their place: then none of them is to blame, if
    the lines are of one function.

    Args:
      sweep: the two programs.
      index: the number of the last.
      region: the numbers of all, in the order of execution.
      allowed: what the error of one may be, relative.
    """
    if (given := sweep.pairing.slots.get(Slot(index, 0))) is None:
        return region, ()
    rest, nodes = list(region), sweep.second.nodes
    of, b = sweep.first.nodes[given.slot.node], nodes[index]
    if not sweep.first.runs and not of.inputs:  # arrays by name
        return region[:1], ()
    short = index in sweep.pairing.short
    while (short or len(rest) > 1) and given.whole and _does_the_same(sweep, b, of, allowed):
        pairs = list(zip(b.inputs, of.inputs, strict=True))
        inner = [(nodes[s.node], x) for s, x in pairs if s.node in rest]
        if len(rest) == 1:
            before = [s.node for s, x in pairs if not _is_same(sweep, s, x)]
            near = before and _alike(nodes[k] for k in (*before, b.index))
            return () if near else rest, before
        rest.remove(b.index)
        if len(inner) != 1 or inner[0][0].index != rest[-1]:
            break
        b, of = inner[0][0], sweep.first.nodes[inner[0][1].node]
    return rest, [s.node for k in rest for s in nodes[k].inputs if short and s.node not in rest]


def _alike(some: Iterable[Entry]) -> bool:
    """Tell whether the lines of some operators are of one function."""
    functions = {node.line.partition(" (")[2] for node in some}
    return len(functions) == 1 and "" not in functions


def _is_same(sweep: Sweep, mine: Slot, theirs: Slot) -> bool:
    """Tell whether an array's counterpart is another of the first, or what that is a copy of."""
    given = sweep.pairing.slots.get(mine)
    roots = (root_of(sweep.first, s) for s in (given.slot if given else theirs, theirs))
    return (given is not None or sweep.second.nodes[mine.node].kind == "constant") and (
        len(set(roots)) == 1
    )


def _does_the_same(sweep: Sweep, b: Entry, of: Entry, allowed: float) -> bool:
    """Tell whether an operator makes what another makes of what that takes."""
    if (made := sweep.alone(b, of)) is None:
        return False
    error = between(of.value, made)
    return error.within(allowed * error.scale, allowed * error.top)


def mended(
    sweep: Sweep, index: int, region: Sequence[int], allowed: float
) -> tuple[int, str] | None:
    """Return the operator of several where other numbers make them agree, and say which numbers.

    They are found on the lines one by one, by least squares; the line with the fewest counts. None
    where there is no such line, or several, or where the elements are too few to tell.

    Args:
      sweep: the two programs.
      index: the number of the last.
      region: the numbers of all, in the order of execution.
      allowed: what the error of what they make may be, relative.
    """
    nodes, slots = sweep.second.nodes, sweep.pairing.slots
    end = next(s for k in range(len(nodes[index].avals)) if (s := Slot(index, k)) in slots)
    if (true := floats(sweep.true(end))) is None:
        return None
    written: dict[str, dict[Slot, int]] = {}
    for i in region:
        for slot in nodes[i].inputs:
            x = nodes[slot.node]
            if x.kind == "constant" and not x.avals[0].shape and _is_float(x):
                written.setdefault(nodes[i].line, {}).setdefault(slot, i)

    def run(instead: dict[Slot, Any]) -> np.ndarray:
        values = dict(instead)
        for i in region:
            made = {Slot(i, k): y for k, y in enumerate(sweep.make(i, values))}
            values |= {s: y for s, y in made.items() if i == index or s not in slots}
        return np.asarray(values[end], np.float64)

    found = []
    for some in written.values():
        if len(np.unique(true)) < len(some) + 2:
            continue

        def made(numbers: np.ndarray, some: Sequence[Slot] = tuple(some)) -> np.ndarray:
            types = (nodes[s.node].avals[0].dtype for s in some)
            return run({s: jnp.asarray(n, t) for s, n, t in zip(some, numbers, types, strict=True)})

        before = np.array([float(nodes[s.node].constant) for s in some])
        if (after := _fitted(made, before, true, allowed)) is not None:
            after = np.where(np.abs(after) > _NONE * np.abs(before), after, 0.0)
            pairs = zip(before, after, strict=True)
            told = [f"{y:.4g} for {x:.4g}" for x, y in pairs if abs(y - x) > _SAME * abs(x)]
            text = f"with {' and '.join(told)} they agree"
            found.append((len(told), next(iter(some.values())), text))
    found.sort()
    alone = len(found) == 1 or (found and found[0][0] < found[1][0])
    return found[0][1:] if alone else None


def _fitted(
    made: Callable[[np.ndarray], np.ndarray], start: np.ndarray, true: np.ndarray, allowed: float
) -> np.ndarray | None:
    """Return numbers of which what should be is made, None where the search does not find any."""
    numbers, steps = start, 1e-2 * np.abs(start) + 1e-3
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            here = made(numbers)
            if here.shape != true.shape or not np.isfinite(here).all():
                return None
            if between(true, here).relative <= allowed:
                return numbers
            moved = (made(numbers + row) for row in np.diag(steps))
            slopes = np.stack([(x - here).ravel() for x in moved], 1) / steps
            if not np.isfinite(slopes).all():
                return None
            change = np.linalg.lstsq(slopes, (true - here).ravel())[0]
            numbers = numbers + change
            steps = np.maximum(np.abs(change) / 8, 1e-3 * np.abs(numbers) + 1e-9)
    return None


def _is_float(x: Entry) -> bool:
    return bool(jnp.issubdtype(x.avals[0].dtype, jnp.floating))


def written(second: Record, row: Row) -> Row:
    """Return the row of a function that the first program has not, on the lines inside it."""
    node = second.nodes[row.node]
    if not (row.parts and node.custom) or (row.step is None) != (second.steps is None):
        return row
    try:
        look = enter if row.phase == "forward" else enter_backward
        inside = look(second, node, row.step)
    except ClosedError:
        return row
    known = tuple(dict.fromkeys(n.line for n in inside.nodes if n.line)) or (node.line,)
    rows = (known if line == node.line else (line,) for line in row.lines or (row.line,))
    lines = tuple(itertools.chain.from_iterable(rows))
    sure, several = row.sure and len(lines) == 1, lines if len(lines) > 1 else ()
    return dataclasses.replace(row, line=lines[-1], lines=several, sure=sure)
