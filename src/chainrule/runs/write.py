"""Writing a run folder: under a temporary name, renamed when it is whole."""

import contextlib
import csv
import datetime
import fcntl
import json
import math
import os
import pathlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule import compiling
from chainrule.runs import metrics
from chainrule.runs.pages.run import write_report
from chainrule.runs.surroundings import surroundings

JSON = Any


class Run:
    """A run folder that is being written; see `start`."""

    def __init__(self, path: pathlib.Path, record: dict[str, JSON]):
        self.path = path
        self.record = record
        self._records: list[metrics.Record] = []

    def save_figure(self, name: str, figure: Any) -> None:
        """Save a matplotlib figure as ``<name>.png`` and ``<name>.svg``."""
        figure.savefig(self.path / f"{name}.png", dpi=150)
        figure.savefig(self.path / f"{name}.svg", metadata={"Date": None})

    def save_text(self, filename: str, text: str) -> None:
        """Save a text file, for example a page."""
        (self.path / filename).write_text(text, encoding="utf-8")

    def save_trace(self, series: Mapping[str, Any]) -> None:
        """Save ``trace.csv``: one row a step, one column a series.

        Args:
          series: name to ``[steps + 1]`` values. Shorter series leave their last cells empty.

        Raises:
          ValueError: a series is not one-dimensional.
        """
        columns = {name: np.asarray(values) for name, values in series.items()}
        wrong = {name: column.shape for name, column in columns.items() if column.ndim != 1}
        if wrong:
            raise ValueError(f"a series has one value a step, but the shapes are {wrong}")
        length = max((len(column) for column in columns.values()), default=0)
        with open(self.path / "trace.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *columns])
            for step in range(length):
                # repr of a float32 is the shortest text that reads back as the same float32.
                cells = [str(c[step]) if step < len(c) else "" for c in columns.values()]
                writer.writerow([step, *cells])

    def append(self, record: Mapping[str, JSON]) -> None:
        """Append one record to ``metrics.jsonl``, at once: it is there if the run is killed.

        When the run ends, the same records stand in ``metrics.csv``. Where a training is taken up
        at an earlier step, its records come again: one with a ``step`` takes the place of those at
        this step or later (and of the same ``seed``, if it has one).

        Example:
          ``training.fit(..., report=run.append)``
        """
        plain = _plain(record)
        stale = [old for old in self._records if _supersedes(plain, old)]
        self._records = [old for old in self._records if old not in stale] + [plain]
        if stale:
            self._rewrite_metrics()
        else:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(_line(plain))

    @property
    def records(self) -> tuple[metrics.Record, ...]:
        """What was appended, in a run that is gone on with before it was stopped too."""
        return tuple(metrics.numbers(record) for record in self._records)

    def _reopen_metrics(self) -> None:
        """Take up the records of a run that was stopped, without the half line at their end."""
        file = self.path / "metrics.jsonl"
        if file.is_file():
            self._records = [_plain(record) for record in metrics.read(file).records]
            self._rewrite_metrics()

    def _rewrite_metrics(self) -> None:
        partial = self.path / "metrics.jsonl.partial"
        partial.write_text("".join(map(_line, self._records)), encoding="utf-8")
        partial.replace(self.path / "metrics.jsonl")

    def compile(self, jitted: Any, *arguments: Any) -> Any:
        """Compile a ``jax.jit`` function for some arguments, and count the time it takes.

        Returns:
          The compiled program, to be called with arguments of the same shapes. The seconds add up
          in the field ``compile_seconds`` of ``run.json``, apart from the work itself.
        """
        clock = time.perf_counter()
        compiled = jitted.lower(*arguments).compile()
        seconds = self.record.get("compile_seconds", 0.0) + time.perf_counter() - clock
        self.note(compile_seconds=round(seconds, 3))
        return compiled

    def note(self, **fields: JSON) -> None:
        """Add fields to ``run.json``."""
        self.record.update(fields)

    def result(self, name: str, value: JSON, expected: JSON = None) -> None:
        """Add a final number to ``run.json``, beside the one it is expected to be near.

        A limit is said in words, as "at most 0.005", "at least 0.99", "below 1" or "above 0":
        the report then says whether it was met.
        """
        self.record["results"][name] = {"value": value, "expected": expected}


def check_counts(**counts: int) -> None:
    """Refuse a setting of a run that counts something, and is below 1.

    Raises:
      ValueError: it names all that are.

    Example:
      >>> check_counts(seeds=3)
    """
    wrong = ", ".join(f"{name}={count}" for name, count in counts.items() if count < 1)
    if wrong:
        raise ValueError(f"{wrong}: give at least 1")


@contextlib.contextmanager
def start(
    experiment: str,
    *,
    seed: int,
    arguments: Mapping[str, JSON],
    root: str | os.PathLike[str] = "runs",
    resume: str | os.PathLike[str] | None = None,
) -> Iterator[Run]:
    """Open a new run folder; it gets its name when the block ends without an exception.

    Args:
      experiment: the name of the experiment, a folder below ``root``.
      seed: the first seed of the run, a part of the folder's name.
      arguments: all settings of the run, for ``run.json``.
      root: where the runs are kept.
      resume: the folder of a run that was stopped, ending in ``.partial``, to go on in.

    Yields:
      A `Run`. After the block its ``path`` is the finished folder, with its ``report.html``.

    Raises:
      ValueError: the folder to resume is none of a stopped run of this experiment, or a process
        is still writing it.

    If the block raises, what was written stays in a folder that ends in ``.partial``; an empty
    one is removed. In a script of the experiment's name, compiled programs are kept for its next
    run, see `chainrule.compiling.keep`. Of several processes (`chainrule.training.launch`) the
    first one writes the run; the folder of any other is a temporary one.

    Example:
      >>> import tempfile
      >>> from chainrule import runs
      >>> with tempfile.TemporaryDirectory() as root:
      ...     with start("demo", seed=7, arguments={"eta": 0.5}, root=root) as run:
      ...         run.save_trace({"loss": [2.0, 1.0]})
      ...         run.result("final loss", 1.0, expected=1.0)
      ...     loaded = runs.load(run.path)
      ...     loaded.record["arguments"], loaded.trace["loss"].tolist()
      ({'eta': 0.5}, [2.0, 1.0])
    """
    first = os.environ.get("CHAINRULE_RANK", "0") == "0"
    if not first:
        root, resume = tempfile.mkdtemp(), None
    folder = pathlib.Path(root) / experiment
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now().astimezone()
    name = f"{now:%Y%m%d-%H%M%S}-s{seed}"
    partial = _claim(folder, name) if resume is None else _stopped(resume, experiment)
    lock = _lock(partial)
    run = Run(
        partial,
        {
            "experiment": experiment,
            "started": now.isoformat(timespec="seconds"),
            "about": _about(experiment),
            "command": shlex.join([pathlib.Path(sys.executable).name, *sys.argv]),
            "arguments": dict(arguments),
            "seed": seed,
            "results": {},
        },
    )
    if resume is not None:
        run.note(resumed=True)
        run._reopen_metrics()
        folder, name = partial.parent, partial.stem
    own = run.record["about"] is not None
    clock = time.perf_counter()
    try:
        with compiling.keep() if own else contextlib.nullcontext():
            yield run
        run.note(wall_seconds=round(time.perf_counter() - clock, 3), **surroundings())
        if run._records:
            metrics.to_csv(run.path / "metrics.csv", run._records)
        run.save_text("run.json", dumps(run.record) + "\n")
        write_report(partial)
        run.path = _rename(partial, folder, name)
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: what was written stays
            partial.rmdir()
        raise
    finally:
        os.close(lock)
        if not first:
            shutil.rmtree(root)


def _about(experiment: str) -> str | None:
    """Return what the experiment's script says of itself, when it is the program that runs."""
    program = sys.modules["__main__"]
    named = pathlib.Path(getattr(program, "__file__", None) or "").stem
    return program.__doc__ if named == experiment else None


def dumps(record: JSON) -> str:
    """Return strict JSON: numpy scalars as numbers, NaN and infinities as strings.

    Example:
      >>> print(dumps({"loss": np.float32(0.5), "peak": float("inf")}))
      {
        "loss": 0.5,
        "peak": "inf"
      }
    """
    return json.dumps(_plain(record), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else str(float(value))
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their scalars
        return _plain(value.tolist())
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _line(record: JSON) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"


def _supersedes(record: Mapping[str, JSON], old: Mapping[str, JSON]) -> bool:
    same = record.get("seed") == old.get("seed")
    return same and "step" in record and "step" in old and old["step"] >= record["step"]


def _stopped(folder: str | os.PathLike[str], experiment: str) -> pathlib.Path:
    path = pathlib.Path(folder).resolve()
    if not path.is_dir() or path.suffix != ".partial" or path.parent.name != experiment:
        raise ValueError(
            f"{folder} is no stopped run of {experiment!r}: "
            f"name a folder <root>/{experiment}/<time>-s<seed>.partial"
        )
    return path


def _lock(folder: pathlib.Path) -> int:
    """Take a folder for this process, as long as the descriptor that is returned is open."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ValueError(
            f"{folder} is being written by another process: wait for it, or start a run anew"
        ) from None
    return descriptor


def _claim(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Make a folder of our own: two runs may start in the same second with the same seed."""
    for suffix in _suffixes():
        partial = folder / f"{name}{suffix}.partial"
        with contextlib.suppress(FileExistsError):
            partial.mkdir()
            return partial
    raise AssertionError("unreachable: the suffixes never end")


def _rename(partial: pathlib.Path, folder: pathlib.Path, name: str) -> pathlib.Path:
    for suffix in _suffixes():
        target = folder / f"{name}{suffix}"
        # Renaming onto a folder that holds a run fails, so that none is ever overwritten.
        with contextlib.suppress(OSError):
            return partial.rename(target)
        if not target.exists():
            return partial.rename(target)  # some other reason: say it
    raise AssertionError("unreachable: the suffixes never end")


def _suffixes() -> Iterator[str]:
    yield ""
    number = 2
    while True:
        yield f"-{number}"
        number += 1
