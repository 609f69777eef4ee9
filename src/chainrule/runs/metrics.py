"""Metrics: one JSON object a line, appended while a run goes on, and read however it ended."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from chainrule import _files, _require
from chainrule._files import JSON

__all__ = ["MOST", "Log", "Metrics", "Record", "numbers", "read"]
__dir__ = __all__.copy

Record = dict[str, JSON]
"""One line of the file."""

MOST = 2**28
"""The largest file that is read, in bytes."""

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


class Log:
    """The metrics of a run that is being written: ``metrics.jsonl``, and what it holds.

    Args:
      folder: of the run. The records of a file that is there already are kept, without half a line
        at its end.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._records: list[Record] = []
        if self._file.is_file():
            self._records = [_files.plain(record) for record in read(self._file).records]
            self._rewrite()

    @property
    def _file(self) -> pathlib.Path:
        return self.folder / "metrics.jsonl"

    @property
    def records(self) -> tuple[Record, ...]:
        """The records in the file, in their order."""
        return tuple(numbers(record) for record in self._records)

    def append(self, record: Mapping[str, JSON]) -> None:
        """Append a record at once; see `chainrule.runs.Run.append`."""
        made = _files.plain(record)
        kept = [old for old in self._records if not _supersedes(made, old)]
        stale = len(kept) < len(self._records)
        self._records = [*kept, made]
        if stale:
            self._rewrite()
        else:
            with open(self._file, "ab", opener=_not_following) as file:
                file.write(_files.encoded(_line(made)))

    def write_csv(self) -> None:
        """Write the records as ``metrics.csv``: a column for each name, in order of appearance."""
        if not self._records:
            return
        names = dict.fromkeys(name for row in self._records for name in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(names))
        writer.writeheader()
        writer.writerows(self._records)
        _files.write(self.folder / "metrics.csv", text.getvalue())

    def _rewrite(self) -> None:
        _files.write(self._file, "".join(map(_line, self._records)))


def _not_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _line(record: JSON) -> str:
    return _files.dumps(record, indent=None) + "\n"


def _supersedes(record: Mapping[str, JSON], old: Mapping[str, JSON]) -> bool:
    same = record.get("seed") == old.get("seed")
    return same and "step" in record and "step" in old and old["step"] >= record["step"]


def read(path: str | os.PathLike[str]) -> Metrics:
    r"""Read a file of metrics, also of a run that is not finished or was killed.

    A run that is killed may leave half a last line, which is dropped. Any other line that is not a
    JSON object is reported with its number, and the others are read.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no regular file, or larger than `metrics.MOST`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder) / "metrics.jsonl"
      ...     _ = file.write_text('{"step": 1, "loss": "inf"}\n{"step": 2, "lo')
      ...     read(file)
      Metrics(records=({'step': 1, 'loss': inf},), problems=())
    """
    path = _require.path("path", path)
    *whole, last = _files.read(path, most=MOST).split(b"\n")
    records, problems = [], []
    for number, line in enumerate([*whole, last], start=1):
        try:
            record = _files.loads(line)
            if not isinstance(record, dict):
                raise ValueError("no JSON object")
            records.append(numbers(record))
        except ValueError as error:  # of the decoder, of Unicode, or ours
            if number <= len(whole):
                text = line.decode(errors="replace")
                problems.append(f"{path} line {number}: {text[:60]!r} is no record ({error})")
    return Metrics(tuple(records), tuple(problems))


def numbers(record: Mapping[str, JSON]) -> Record:
    """Return a record in which the words ``nan``, ``inf`` and ``-inf`` are numbers again."""
    return {
        name: _WORDS.get(value, value) if isinstance(value, str) else value
        for name, value in record.items()
    }
