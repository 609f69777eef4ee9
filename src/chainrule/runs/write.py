"""Writing a run folder: under a temporary name, renamed when it is whole."""

import contextlib
import datetime
import os
import pathlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule import _files, compiling
from chainrule._files import JSON
from chainrule.runs import folder as folders
from chainrule.runs import limits, metrics, trace
from chainrule.runs.formats import FORMAT
from chainrule.runs.limits import Limit
from chainrule.runs.pages.run import write_report
from chainrule.runs.surroundings import surroundings

__all__ = ["Run", "start"]
__dir__ = __all__.copy


class Run:
    """A run folder that is being written; see `start`.

    Attributes:
      path: the folder.
      record: what ``run.json`` will hold.
    """

    def __init__(self, path: pathlib.Path, record: dict[str, JSON], lock: _files.Lock):
        self.path = path
        self.record = record
        self._lock = lock
        self._metrics = metrics.Log(path)

    def save_figure(self, name: str, figure: Any) -> None:
        """Save a matplotlib figure as ``<name>.png`` and ``<name>.svg``."""
        folders.one_name("the name of a figure", name)
        self._lock.check(self.path)
        with _files.replacing(self.path / f"{name}.png") as file:
            figure.savefig(file, format="png", dpi=150)
        # The layout of the first file is that of the second: finding it takes half of the time.
        engine = figure.get_layout_engine()
        figure.set_layout_engine("none")
        try:
            with _files.replacing(self.path / f"{name}.svg") as file:
                figure.savefig(file, format="svg", metadata={"Date": None})
        finally:
            figure.set_layout_engine(engine)

    def save_text(self, filename: str, text: str) -> None:
        """Save a text file, for example a page."""
        folders.one_name("filename", filename)
        self._lock.check(self.path)
        _files.write(self.path / filename, text)

    def save_trace(self, series: Mapping[str, Any]) -> None:
        """Save ``trace.csv``: one row a step, one column a series.

        Args:
          series: name to ``[steps + 1]`` values, or to a `chainrule.runs.Series`, which says
            whether it is a loss and at which rate. Shorter ones leave their last cells empty.

        Raises:
          ValueError: a series is not one-dimensional, or has a rate and no stem.
        """
        self._lock.check(self.path)
        self.note(series=trace.write(self.path / "trace.csv", series))

    def append(self, record: Mapping[str, JSON]) -> None:
        """Append one record to ``metrics.jsonl``, at once: it is there if the run is killed.

        When the run ends, ``metrics.csv`` holds the same records. A training that resumes from an
        earlier step reports some steps again: a record with a ``step`` replaces those at this step
        or later (and of the same ``seed``, if it has one).

        Example:
          ``training.fit(..., report=run.append)``
        """
        self._lock.check(self.path)
        self._metrics.append(record)

    @property
    def records(self) -> tuple[metrics.Record, ...]:
        """What was appended; in a resumed run also before it was stopped."""
        return self._metrics.records

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

    def result(
        self,
        name: str,
        value: JSON,
        expected: JSON | Limit = None,
        *,
        per: str | None = None,
    ) -> None:
        """Add a final number to ``run.json``, beside what it is expected to be near.

        Args:
          name: of the result.
          value: a number, a list, text: anything that JSON can hold.
          expected: the same, or a limit such as ``runs.AtMost(0.005)``; the report says how far
            away the value is, or whether it keeps the limit.
          per: what there is one number of, as ``"seed"`` or ``"turn"``, where the value is a list
            of repetitions: the report then summarises it by its median and range.
        """
        if per is not None and (not isinstance(per, str) or not per):
            raise ValueError(f'per must say what there is one number of, as "seed", not {per!r}')
        result = {"value": value, "expected": limits.to_json(expected)}
        self.record["results"][name] = result if per is None else {**result, "per": per}


@contextlib.contextmanager
def start(
    experiment: str,
    *,
    seed: int,
    arguments: Mapping[str, JSON],
    root: str | os.PathLike[str] = "runs",
    resume: str | os.PathLike[str] | None = None,
    about: str | None = None,
    keep_programs: bool = False,
) -> Iterator[Run]:
    """Open a new run folder; it gets its name when the block ends without an exception.

    Args:
      experiment: the name of the experiment, a folder below ``root``.
      seed: the first seed of the run, a part of the folder's name.
      arguments: all settings of the run, for ``run.json``.
      root: where the runs are kept.
      resume: the folder of a run that was stopped, ending in ``.partial``, to continue in.
      about: what the experiment is about, for the report; a script passes its ``__doc__``.
      keep_programs: whether the programs that JAX compiles in the block are kept on the disk for
        the next run, see `chainrule.compiling.keep`.

    Yields:
      A `Run`. After the block its ``path`` is the finished folder, with its ``report.html``.

    Raises:
      ValueError: the experiment's name is not that of one folder; or the folder to resume is none
        of a stopped run of this experiment, or another process is still writing it.
      OSError: no folder can be made below ``root``.
      FileNotFoundError: the folder was renamed, removed or replaced while it was written; raised by
        the method of the run that writes next.

    If the block raises, what was written stays in a folder that ends in ``.partial``; an empty one
    is removed. Of several processes (`chainrule.training.launch`) the first one writes the run; the
    folder of any other is a temporary one.

    Example:
      >>> import tempfile
      >>> from chainrule import runs
      >>> with tempfile.TemporaryDirectory() as root:
      ...     with start("demo", seed=7, arguments={"eta": 0.5}, root=root) as run:
      ...         run.save_trace({"loss": [2.0, 1.0]})
      ...         run.result("final loss", 1.0, expected=runs.AtMost(1.0))
      ...     loaded = runs.load(run.path)
      ...     loaded.record["arguments"], loaded.trace["loss"].tolist()
      ({'eta': 0.5}, [2.0, 1.0])
    """
    folders.one_name("experiment", experiment)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ValueError(f"seed must be an int, not {seed!r}")
    first = os.environ.get("CHAINRULE_RANK", "0") == "0"
    if not first:
        root, resume = tempfile.mkdtemp(), None
    now = datetime.datetime.now().astimezone()
    if resume is None:
        partial = folders.claim(root, experiment, f"{now:%Y%m%d-%H%M%S}-s{seed}")
    else:
        partial = folders.stopped(resume, experiment)
    lock = _files.Lock(partial)
    run = Run(
        partial,
        {
            "format": FORMAT,
            "experiment": experiment,
            "started": now.isoformat(timespec="seconds"),
            "about": about,
            "command": shlex.join([pathlib.Path(sys.executable).name, *sys.argv]),
            "arguments": dict(arguments),
            "seed": seed,
            "results": {},
        },
        lock,
    )
    if resume is not None:
        run.note(resumed=True)
    clock = time.perf_counter()
    try:
        with compiling.keep() if keep_programs else contextlib.nullcontext():
            yield run
        run.note(wall_seconds=round(time.perf_counter() - clock, 3), **surroundings())
        run._metrics.write_csv()
        run.save_text("run.json", _files.dumps(run.record) + "\n")
        write_report(partial)
        run.path = folders.finish(partial)
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: what was written stays
            partial.rmdir()
        raise
    finally:
        lock.release()
        if not first:
            shutil.rmtree(root)
