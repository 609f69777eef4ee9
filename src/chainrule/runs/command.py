"""What the commands ``chainrule compare``, ``runs``, ``report`` and ``xray`` do."""

import os
import pathlib
from collections.abc import Sequence
from typing import Literal

from rich.console import Console

from chainrule import _files, runs
from chainrule._files import printable

__all__ = ["compare", "listing", "report", "xray"]


def compare(
    a: pathlib.Path,
    b: pathlib.Path,
    *,
    tolerance: float = 1e-6,
    series: str | None = None,
    out: pathlib.Path | None = None,
) -> None:
    """Print how two runs compare, and leave the overlay and the page.

    Args:
      a: a run folder.
      b: another one.
      tolerance: see `chainrule.runs.compare`.
      series: show only the series with this in their name; by default the losses.
      out: where the picture goes, the page beside it; by default into ``b``.

    Raises:
      ValueError: there is no such series in both runs, or the runs cannot be compared.
      FileNotFoundError: one is not a run folder.
    """
    from chainrule.plots.descent import overlay

    found = runs.compare(a, b, tolerance=tolerance)
    gaps = [gap for gap in found.gaps if (gap.loss if series is None else series in gap.series)]
    if not gaps:
        asked = "a loss" if series is None else f"{series!r} in its name"
        known = ", ".join(gap.series for gap in found.gaps)
        raise ValueError(
            f"no series to draw: none that both runs have is or has {asked}; with --series name "
            f"one of {known}"
        )
    found = found._replace(gaps=tuple(gaps))
    print(runs.text(found))
    shown = {
        printable(gap.series): (found.a.trace[gap.name_a], found.b.trace[gap.name_b])
        for gap in gaps
    }
    figure = overlay(shown)
    out = out or b / f"compare-{a.resolve().name}.png"
    with _files.replacing(out) as file:
        figure.savefig(file, format=out.suffix.lstrip(".") or "png", dpi=150)
    print(f"overlay: {printable(out)}")
    page = out.with_suffix(".html")
    _files.write(page, runs.page(found, picture=out.name, folder=out.parent))
    print(f"page: {printable(page)}")


def listing(folder: str | os.PathLike[str] = "runs", *, results: int = 3) -> None:
    """Print the runs below a folder, and what could not be read and why."""
    found = runs.find(folder)
    if found.runs:
        Console().print(runs.table(found, results=results))
    elif not found.broken:
        print(f"no run in {printable(folder)}: an experiment leaves one")
    for path, reason in found.broken:
        print(f"left out {printable(path)}: {printable(reason)}")


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
        for name, text in command.files(made).items():
            run.save_text(name, text)
        run.result("births of NaN and Inf", len(made.nonfinite().births))
    print(f"\npage: {printable(run.path / 'xray.html')}")
    return int(check and command.failed(made))


def __dir__() -> list[str]:
    return sorted(__all__)
