"""Reading a run folder back."""

import csv
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from chainrule.runs import metrics
from chainrule.runs.metrics import Record

JSON = Any


class Loaded(NamedTuple):
    """A finished run, read back.

    Attributes:
      path: the folder.
      record: what ``run.json`` holds.
      trace: the columns of ``trace.csv`` as float64 arrays, the step left out.
      metrics: the records of ``metrics.jsonl``, none where there is no such file.
    """

    path: pathlib.Path
    record: dict[str, JSON]
    trace: dict[str, np.ndarray]
    metrics: tuple[Record, ...] = ()


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a run folder.

    Raises:
      FileNotFoundError: the folder holds no ``run.json``.
      ValueError: one of its files cannot be read; the file and line are named.
    """
    path = pathlib.Path(path)
    record = read_record(path)
    log = path / "metrics.jsonl"
    found = metrics.read(log) if log.is_file() else metrics.Metrics((), ())
    if found.problems:
        raise ValueError("; ".join(found.problems))
    return Loaded(path, record, _read_trace(path / "trace.csv"), found.records)


def read_record(path: pathlib.Path) -> dict[str, JSON]:
    """Read the ``run.json`` of a run folder; raises as `chainrule.runs.load`."""
    file = path / "run.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} is not a finished run: it has no run.json "
            "(name a folder <root>/<experiment>/<time>-s<seed>)"
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON, line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8: {error.reason}") from None
    if not isinstance(record, dict) or "experiment" not in record:
        raise ValueError(f"{file} names no experiment: it was not written as a run")
    return record


def _read_trace(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0][:1] != ["step"]:
        raise ValueError(f"{path} line 1: the first column of a trace is called 'step'")
    names = rows[0][1:]
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
