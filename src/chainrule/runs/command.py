"""What the commands ``chainrule compare``, ``runs``, ``report`` and ``xray`` do."""

import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Literal

from chainrule import _files, _require, runs
from chainrule._files import printable

__all__ = ["compare", "listing", "report", "xray"]
__dir__ = __all__.copy


def compare(
    a: str | None = None,
    b: str | None = None,
    *,
    root: str | os.PathLike[str] = "runs",
    tolerance: float = 1e-6,
    series: str | None = None,
    out: pathlib.Path | None = None,
) -> None:
    """Print how two runs compare, and leave the overlay and the page.

    Args:
      a: a run folder, or its number in ``chainrule runs``.
      b: another one. Without both, the last run and the one before it of the same experiment.
      root: where runs with numbers are kept.
      tolerance: see `chainrule.runs.compare`.
      series: show only the series with this in their name; by default the losses, or all where
        none is known to be one.
      out: where the picture goes, the page beside it; by default into ``b``.

    Raises:
      ValueError: there is no such number or no such series in both runs, or the runs cannot be
        compared.
      FileNotFoundError: one is not a run folder.
    """
    first, second = _two(a, b, root)
    from chainrule.plots.descent import overlay

    found = runs.compare(first, second, tolerance=tolerance)
    losses = [gap for gap in found.gaps if gap.loss]
    gaps = losses or [*found.gaps]
    if series is not None:
        gaps = [gap for gap in found.gaps if series in gap.series]
    if not gaps:
        known = ", ".join(gap.series for gap in found.gaps)
        raise ValueError(
            f"no series to draw: those that both runs have are {known}, and {series!r} is in the "
            "name of none of them"
        )
    found = found._replace(gaps=tuple(gaps))
    from chainrule.runs.telling import told

    print(runs.text(found))
    print("\n".join(map(printable, said := told(found))))
    shown = {
        printable(gap.series): (found.a.trace[gap.name_a], found.b.trace[gap.name_b])
        for gap in gaps
    }
    figure = overlay(shown)
    out = out or second / f"compare-{first.resolve().name}.png"
    with _files.replacing(out) as file:
        figure.savefig(file, format=out.suffix.lstrip(".") or "png", dpi=150)
    print(f"overlay: {printable(out)}")
    page = out.with_suffix(".html")
    _files.write(page, runs.page(found, picture=out.name, folder=out.parent, told=said))
    print(f"page: {printable(page)}")


def listing(
    folder: str | os.PathLike[str] = "runs", *, results: int = 3, json: bool = False
) -> None:
    """Print the runs below a folder; to stderr what could not be read, and why.

    To be read in a terminal, as tab-separated values in a pipe.

    Args:
      folder: where runs are kept.
      results: how many results of each to show in a terminal.
      json: whether to print a list of objects instead, with all results.
    """
    _require.count("results", results, least=0)
    found = runs.find(folder)
    if json:
        print(runs.dumps([row._asdict() for row in runs.rows(found)]))
    elif not sys.stdout.isatty():
        print(runs.tsv(found))
    elif found.runs:
        width = shutil.get_terminal_size().columns
        print(runs.listed(found, results=results, width=max(width, 20)))
    elif not found.broken:
        print(f"no run in {printable(folder)}: an experiment leaves one")
    for path, reason in found.broken:
        print(f"left out {printable(path)}: {printable(reason)}", file=sys.stderr)


def _two(
    a: str | None, b: str | None, root: str | os.PathLike[str]
) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the two folders that are to be compared."""
    if a is not None and b is not None and not (a.isdigit() or b.isdigit()):
        return pathlib.Path(a), pathlib.Path(b)
    known = runs.rows(runs.find(root))
    if a is None or b is None:
        if a is not None:
            raise ValueError(f"one run, {a}, and no other: name two, or none for the last two")
        alike = [row for row in known if row.experiment == known[-1].experiment]
        if len(alike) < 2:
            raise ValueError(
                f"{os.fspath(root)} has {runs.counted(len(alike), 'run')} of the last experiment: "
                "two are needed"
            )
        return pathlib.Path(alike[-2].path), pathlib.Path(alike[-1].path)
    paths = {str(row.number): pathlib.Path(row.path) for row in known}
    for number in (a, b):
        if number.isdigit() and number not in paths:
            raise ValueError(
                f"no run {number} in {os.fspath(root)}, which has {runs.counted(len(known), 'run')}"
                ": chainrule runs lists them"
            )
    return paths.get(a, pathlib.Path(a)), paths.get(b, pathlib.Path(b))


def report(folders: Sequence[pathlib.Path]) -> None:
    """Write the ``report.html`` of run folders anew."""
    for folder in folders:
        print(f"page: {printable(runs.write_report(folder))}")


def xray(
    spec: str,
    shapes: Sequence[str] = (),
    *,
    eager: bool = False,
    stats: bool = False,
    table: bool = False,
    check: bool = False,
    live: bool = False,
    root: str | os.PathLike[str] = "runs",
) -> int:
    """Print where NaNs of a function are born, and leave its page and pictures in a run folder.

    Args:
      spec: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``.
      shapes: see `chainrule.xray.command.run`.
      eager: whether to run operator by operator.
      stats: whether to keep statistics of each array only.
      table: whether to print every operator.
      check: whether something bad in the end is a failure.
      live: whether the page computes; where it cannot, it says why.
      root: where run folders are kept.

    Returns:
      The exit code: under ``check`` 1 if a NaN or an Inf reaches the result or a gradient, or was
      lost on the way there; else 0.
    """
    from chainrule.xray import command

    keep: Literal["values", "stats"] = "stats" if stats else "values"
    made = command.run(spec, shapes, compiled=not eager, keep=keep, table=table)
    arguments = {"spec": spec, "shapes": shapes, "compiled": made.compiled}
    # Only shapes draw numbers, and those with key 0.
    with runs.start("xray", seed=0, arguments=arguments, root=root) as run:
        for name, text in command.files(made, live=live).items():
            run.save_text(name, text)
        run.result("births of NaN and Inf", len(made.nonfinite().births))
    print(f"\npage: {printable(run.path / 'xray.html')}")
    return int(check and command.failed(made))
