"""Metrics: one JSON object a line, appended while a run goes on, and read however it ended."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

JSON = Any
Record = dict[str, JSON]
"""One line of the file."""

# JSON has no numbers for these.
_WORDS = {word: float(word) for word in ("nan", "inf", "-inf")}


class Metrics(NamedTuple):
    """What could be read.

    Attributes:
      records: one dict a line, in the order of the file.
      problems: what could not, each with the file and the number of its line.
    """

    records: tuple[Record, ...]
    problems: tuple[str, ...]


def read(path: str | os.PathLike[str]) -> Metrics:
    r"""Read a file of metrics, for example of a run that still goes on, or that was killed.

    Half a last line is what a run that was killed leaves, and dropped. Any other line that is no
    JSON object is reported, with its number, and the others are read.

    Raises:
      FileNotFoundError: there is no such file.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder) / "metrics.jsonl"
      ...     _ = file.write_text('{"step": 1, "loss": "inf"}\n{"step": 2, "lo')
      ...     read(file)
      Metrics(records=({'step': 1, 'loss': inf},), problems=())
    """
    path = pathlib.Path(path)
    *whole, last = path.read_bytes().split(b"\n")
    records, problems = [], []
    for number, line in enumerate([*whole, last], start=1):
        try:
            record = json.loads(line, parse_constant=_refuse)
            if not isinstance(record, dict):
                raise ValueError("no JSON object")
            records.append(numbers(record))
        except ValueError as error:  # of the decoder, of Unicode, or ours
            if number <= len(whole):
                text = line.decode(errors="replace")
                problems.append(f"{path} line {number}: {text[:60]!r} is no record ({error})")
    return Metrics(tuple(records), tuple(problems))


def numbers(record: Mapping[str, JSON]) -> Record:
    """Return a record with the numbers that JSON has only words for."""
    return {
        name: _WORDS.get(value, value) if isinstance(value, str) else value
        for name, value in record.items()
    }


def to_csv(path: str | os.PathLike[str], records: Iterable[Mapping[str, JSON]]) -> None:
    """Write records as a table: a column for every name that occurs, in the order of appearance."""
    rows = list(records)
    names = dict.fromkeys(name for row in rows for name in row)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows(rows)


def _refuse(token: str) -> JSON:
    raise ValueError(f"a bare {token}")
