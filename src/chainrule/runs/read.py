"""Reading a run folder back."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from chainrule import _files, _require
from chainrule._files import JSON
from chainrule.runs import formats, metrics, trace
from chainrule.runs.metrics import Record
from chainrule.runs.trace import Series

__all__ = ["MOST", "Loaded", "load", "read_record"]
__dir__ = __all__.copy

MOST = 2**26
"""The largest ``run.json`` that is read, in bytes."""


class Loaded(NamedTuple):
    """A finished run, read back.

    Attributes:
      path: the folder.
      record: what ``run.json`` holds, in the present format.
      trace: the columns of ``trace.csv`` as float64 arrays, the step left out.
      metrics: the records of ``metrics.jsonl``, none where there is no such file.
      series: the same columns as ``trace``, with what is known of each.
    """

    path: pathlib.Path
    record: dict[str, JSON]
    trace: dict[str, np.ndarray]
    metrics: tuple[Record, ...] = ()
    series: Mapping[str, Series] = {}


def load(path: str | os.PathLike[str]) -> Loaded:
    """Read a run folder.

    Raises:
      FileNotFoundError: the folder holds no ``run.json``.
      ValueError: one of its files cannot be read; the file and line are named. Or ``path`` is none.
    """
    path = _require.path("path", path)
    record = read_record(path)
    log, table = path / "metrics.jsonl", path / "trace.csv"
    found = metrics.read(log) if log.exists() else metrics.Metrics((), ())
    if found.problems:
        raise ValueError("; ".join(found.problems))
    columns = trace.read(table) if table.exists() else {}
    series = formats.series(columns, record.get("series"))
    return Loaded(path, record, columns, found.records, series)


def read_record(path: pathlib.Path) -> dict[str, JSON]:
    """Read the ``run.json`` of a run folder; raises as `chainrule.runs.load`."""
    file = path / "run.json"
    try:
        text = _files.read(file, most=MOST)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path} is not a finished run: it has no run.json "
            "(name a folder <root>/<experiment>/<time>-s<seed>)"
        ) from None
    try:
        record = _files.loads(text.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON, line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8: {error.reason}") from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("experiment"), str):
        raise ValueError(f"{file} names no experiment: it was not written as a run")
    for field in ("arguments", "results", "series"):
        value = record.get(field)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{file}: {field} must be names and values, not {value!r:.60}")
    return formats.upgraded(record)
