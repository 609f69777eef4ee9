"""The trace of a run: ``trace.csv``, and what a comparison must know of its columns."""

import csv
import io
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule import _files, _require
from chainrule._files import JSON

__all__ = ["MOST", "Series", "read", "write"]
__dir__ = __all__.copy

MOST = 2**28
"""The largest ``trace.csv`` that is read, in bytes."""


class Series(NamedTuple):
    """One column of a trace, and what `chainrule.runs.compare` must know of it.

    Attributes:
      values: ``[steps + 1]``.
      loss: whether it is a loss, which has diverged where it ends above its start.
      eta: the learning rate it was recorded at; None if it has none.
      stem: what its name is without the rate; goes with ``eta``. Two series of one stem at
        different rates are compared with each other.
    """

    values: Any
    loss: bool = False
    eta: float | None = None
    stem: str | None = None


def write(path: pathlib.Path, series: Mapping[str, Any]) -> dict[str, JSON]:
    """Write ``trace.csv`` and return what ``run.json`` notes of its columns.

    Args:
      path: the file.
      series: name to a `Series` or to its values. Shorter ones leave their last cells empty.

    Raises:
      ValueError: a series is not one-dimensional or not of real numbers, or has a rate and no stem.
    """
    made = {name: one if isinstance(one, Series) else Series(one) for name, one in series.items()}
    columns = {name: np.asarray(one.values) for name, one in made.items()}
    wrong = {name: column.shape for name, column in columns.items() if column.ndim != 1}
    if wrong:
        raise ValueError(f"a series has one value a step, but the shapes are {wrong}")
    foreign = {name: str(c.dtype) for name, c in columns.items() if c.dtype.kind not in "biuf"}
    if foreign:
        raise ValueError(f"a series holds real numbers, but the dtypes are {foreign}")
    notes = {name: note for name, one in made.items() if (note := _note(name, one))}
    length = max((len(column) for column in columns.values()), default=0)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["step", *columns])
    for step in range(length):
        # repr of a float32 is the shortest text that reads back as the same float32.
        cells = [str(c[step]) if step < len(c) else "" for c in columns.values()]
        writer.writerow([step, *cells])
    _files.write(path, text.getvalue())
    return notes


def _note(name: str, one: Series) -> dict[str, JSON]:
    if (one.eta is None) != (one.stem is None):
        raise ValueError(
            f"series {name!r} has eta={one.eta!r} and stem={one.stem!r}: give both or neither"
        )
    _require.flag(f"loss of series {name!r}", one.loss)
    if one.eta is None:
        return {"loss": True} if one.loss else {}
    _require.real(f"eta of series {name!r}", one.eta)
    return {"loss": one.loss, "eta": float(one.eta), "stem": one.stem}


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read the columns of ``trace.csv`` as float64 arrays, the step left out.

    Raises:
      ValueError: it cannot be read, and the line is named; or it is no regular file, or larger than
        `MOST`.
    """
    try:
        text = _files.read(path, most=MOST).decode("utf-8")
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise ValueError(f"{path} is no table of comma-separated values: {error}") from None
    if not rows or rows[0][:1] != ["step"]:
        raise ValueError(f"{path} line 1: the first column of a trace is called 'step'")
    names = rows[0][1:]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} line 1: two columns have one name: {', '.join(twice)}")
    columns: dict[str, list[float]] = {name: [] for name in names}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names) + 1:
            raise ValueError(
                f"{path} line {number}: {len(row)} cells where the header has {len(names) + 1}"
            )
        for name, cell in zip(names, row[1:], strict=True):
            if cell:
                try:
                    columns[name].append(float(cell))
                except ValueError:
                    raise ValueError(f"{path} line {number}: {cell!r} is no number") from None
    return {name: np.asarray(values) for name, values in columns.items() if values}
