"""What is said of two executions: one row an operator, and the first where they part."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from chainrule.xray.record import Entry, Record
from chainrule.xray.words import below, rendered, shortened

__all__ = ["LOST", "Diff", "Row", "ends", "row", "some"]
__dir__ = __all__.copy

LOST = 10.0
"""How many bits of what came in an operator may lose between two dtypes."""

_SHOWN = 12  # rows of a printed table


@dataclasses.dataclass(frozen=True)
class Row:
    """One operator of the second program beside what the first computed there.

    Errors are norms relative to that of the first's array; of several arrays the largest.

    Attributes:
      node: the number of its node in the second record; of what is inside a loop, that of the loop.
      label: its name there, ``exp_17``; ``exp_3 in scan_5`` inside a loop.
      op: the operator.
      line: ``file.py:line (function)`` in the second program.
      other: the label in the first program, "" where nothing there is its counterpart.
      other_line: the line there.
      phase: whether this is about its value or about the gradients that it hands on.
      own: the error that it makes itself: on the first's inputs, against the first's result. NaN
        where it could not run.
      inherited: the rest of the error of its result, which came in. NaN where that is not known.
      tolerance: what its own error may be: a few units in the last place, times its condition.
      amplified: relative error out over relative error in, in bits; NaN where nothing came in.
      lost: the same over at least one unit in the last place: how many of the digits that came in
        are gone.
      parts: whether its own error passes the tolerance.
      step: inside a loop the first step at which it does; else None.
      between: further operators of the second program among which the error was made, where those
        have no counterpart in the first, by their labels.
      lines: the lines of those, in the order of execution, where they are several; () of one.
      sure: whether that is where the two part: what it takes agrees, and on one line it makes of it
        something else than the first makes of the same.
      note: what else is to say: another shape, overflow, other arguments.
    """

    node: int
    label: str
    op: str
    line: str
    other: str
    other_line: str
    phase: Literal["forward", "backward"]
    own: float
    inherited: float = math.nan
    tolerance: float = 0.0
    amplified: float = math.nan
    lost: float = 0.0
    parts: bool = False
    step: int | None = None
    between: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    sure: bool = True
    note: str = ""

    def place(self, named: Callable[[str], str] = below) -> str:
        """Return the line, or the lines, that of the first program and the label."""
        where = named(self.line) or self.op
        if self.lines:
            where = f"between {named(self.lines[0])} and {named(self.lines[-1])}"
        other = f" [{named(self.other_line)}]" if self.other_line not in ("", self.line) else ""
        step = "" if self.step is None else f" at step {self.step}"
        return f"{where}{other} {self.label}{step}"

    def inside(self, node: Entry, other: Entry) -> "Row":
        """Return the row of an operator inside a node as one of the program around it."""
        return dataclasses.replace(
            self,
            node=node.index,
            label=f"{self.label} in {node.label}",
            line=self.line or node.line,
            other=f"{self.other} in {other.label}",
            other_line=self.other_line or other.line,
            inherited=math.nan,
        )

    def __str__(self) -> str:
        text = f"{self.place()}: own error {_error(self.own)}, inherited "
        text += f"{_error(self.inherited)}, {self.phase}"
        if self.lost > 1:
            text += f", {self.lost:.0f} bits lost"
        if self.between:
            text += f"; together with {', '.join(self.between)}, which the first has not"
        return text + (f"; {self.note}" if self.note else "")


def row(node: Entry, other: Entry | None, **more: Any) -> Row:
    """Return the row of an operator beside its counterpart; ``more`` are its other fields."""
    theirs = ("", "") if other is None else (other.label, other.line)
    return Row(node.index, node.label, node.op, node.line, *theirs, **more)


def _error(x: float) -> str:
    return "unknown" if math.isnan(x) else f"{x:.1e}" if x else "0"


@dataclasses.dataclass(frozen=True)
class Diff:
    """Two executions side by side.

    Attributes:
      names: what ran, and how, the first and the second.
      rows: forward in the order of execution, then backward.
      results: the error of each result, by its number, and of each argument's gradient by its path.
      first: where they part: the first row whose own error passes its tolerance; between two
        dtypes also one that loses more than 10 bits of what came in, if the results suffer. None
        where nothing parts. Between programs that are written differently it may be a lead, or
        stand for several lines: see ``certain``.
      unmatched: operators without a counterpart, of the first program and of the second, as text.
      notes: what was done so that the two could be compared, and what is not known.
      digits: where digits die between two dtypes, and the stable forms that were tried.
      differ: whether the results, or gradients, differ by more than rounding explains.
      record: of the second execution.
    """

    names: tuple[str, str]
    rows: tuple[Row, ...]
    results: dict[str, float]
    first: Row | None
    unmatched: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    notes: tuple[str, ...] = ()
    digits: tuple[Any, ...] = ()
    differ: bool = False
    record: Record = dataclasses.field(kw_only=True, repr=False, compare=False)

    @property
    def certain(self) -> bool:
        """Whether ``first`` is known to be where they part.

        That is so where all that goes into it agrees, and what it makes of the first's arrays is
        not what the first makes of them. Elsewhere ``first`` is a lead: several lines may be to
        blame, or its counterpart is a guess.
        """
        return self.first is None or self.first.sure

    @property
    def doubt(self) -> str:
        """Why ``first`` is a lead and no more, "" where it is certain."""
        if self.first is None or self.certain:
            return ""
        if self.first.lines:
            return "these lines are written differently: one of them is to blame, or several"
        return "its counterpart is a guess: the difference may begin elsewhere"

    @property
    def worst(self) -> tuple[Row, ...]:
        """The rows that lose most, worst first: own errors over tolerance, then lost bits."""
        rows = [row for row in self.rows if row.own > 0 or row.lost > 1]
        return tuple(sorted(rows, key=_rank))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the page: the second program's picture, coloured by error (.html).

        Args:
          path: where; the file appears whole or not at all.

        Returns:
          The path.

        Raises:
          ValueError: the path has another ending.
          OSError: it cannot be written.
        """
        from chainrule.xray.compare import page  # it draws what is data here

        return page.save(self, path)

    def __str__(self) -> str:
        head = f"{self.names[0]} against {self.names[1]}"
        start = f"they part at {self.first}"
        if self.first is None:
            unknown = "the results differ, and where that begins is not known"
            start = unknown if self.differ else "nothing parts"
        elif not self.certain:
            start = f"a lead is {self.first}\n{self.doubt}"
        text = [f"{head}: {start}", ends(self.results)]
        text += [str(one) for one in self.digits]
        if shown := self.worst[:_SHOWN]:
            text.append(rendered(_table(shown)).rstrip())
        if more := len(self.worst) - len(shown):
            text.append(f"{more} more operators differ less")
        for name, labels in zip(("first", "second"), self.unmatched, strict=True):
            if labels:
                text.append(f"only in the {name}: {some(labels)}")
        return "\n\n".join(filter(None, [*text, *self.notes]))

    def __repr__(self) -> str:
        return f"<Diff of {' and '.join(self.names)}: {len(self.rows)} rows; print it>"


def _rank(row: Row) -> tuple[Any, ...]:
    own = row.own if math.isfinite(row.own) else math.inf
    return not row.parts, -row.lost if row.lost > LOST else 0.0, -own


def ends(results: dict[str, float]) -> str:
    """Return how far results and gradients are apart, the farthest first, four at most."""
    worst = sorted(results.items(), key=lambda pair: -pair[1] if pair[1] == pair[1] else -math.inf)
    shown = [f"{name} {_error(error)}" for name, error in worst[:4] if error != 0]
    return f"relative errors in the end: {', '.join(shown)}" if shown else "equal in the end"


def some(labels: Sequence[str]) -> str:
    """Return the first of some labels, and how many more there are."""
    more = len(labels) - 8
    return ", ".join(labels[:8]) + (f" and {more} more" if more > 0 else "")


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("line", "operator", "own error", "may be", "inherited", "bits lost", ""):
        table.add_column(name, no_wrap=True)
    for row in rows:
        line = row.line.rpartition("/")[2] or row.op
        table.add_row(
            Text(shortened(line, 44)),
            Text(shortened(row.label, 30)),
            _error(row.own) + (" ✗" if row.parts else ""),
            _error(row.tolerance),
            _error(row.inherited),
            f"{row.lost:.0f}" if row.lost >= 1 else "",
            row.phase,
        )
    return table
