"""The ``chainrule`` command: a table from names to functions that live in their own modules.

Nothing heavy is imported before a command is known: ``chainrule --help`` answers at once.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Literal

from chainrule import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 with one line on stderr for bad input."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read has had enough, as in "| head"; Python would complain of it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as SIGPIPE would have it
    except (ValueError, OSError) as error:
        print(f"chainrule: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chainrule", description="Gradients that can be seen, checked and compared."
    )
    parser.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    compare = commands.add_parser("compare", help="hold two runs of one experiment side by side")
    compare.add_argument("a", type=pathlib.Path, metavar="RUN_A", help="a run folder")
    compare.add_argument("b", type=pathlib.Path, metavar="RUN_B", help="another one")
    compare.add_argument(
        "--tolerance",
        type=float,
        default=1e-6,
        help="two values part where they differ by more, relative to the larger (default 1e-6)",
    )
    compare.add_argument(
        "--series",
        default="/loss",
        help="show only series with this in their name (default /loss; '' for all)",
    )
    compare.add_argument(
        "--out", type=pathlib.Path, help="the overlay picture (default RUN_B/compare-<RUN_A>.png)"
    )
    compare.set_defaults(run=_compare)

    listing = commands.add_parser("runs", help="list the runs below a folder")
    listing.add_argument(
        "folder", type=pathlib.Path, nargs="?", default=pathlib.Path("runs"), metavar="FOLDER",
        help="where they are kept (default runs)",
    )  # fmt: skip
    listing.add_argument(
        "--results", type=int, default=3, help="how many results of each to show (default 3)"
    )
    listing.set_defaults(run=_runs)

    report = commands.add_parser("report", help="write the report.html of run folders anew")
    report.add_argument("folders", type=pathlib.Path, nargs="+", metavar="RUN", help="a run folder")
    report.set_defaults(run=_report)

    data = commands.add_parser("data", help="get, prepare and describe the digits")
    verbs = data.add_subparsers(title="verbs", required=True, metavar="VERB")
    fetch = verbs.add_parser("fetch", help="download the four MNIST files (the only network use)")
    fetch.add_argument("folder", type=pathlib.Path, help="where to put them")
    fetch.set_defaults(run=_fetch)
    prepare = verbs.add_parser("prepare", help="make a TFDS directory from the four files")
    prepare.add_argument("folder", type=pathlib.Path, help="the folder of the four files")
    prepare.add_argument("tfds", type=pathlib.Path, help="the TFDS directory to make")
    prepare.set_defaults(run=_prepare)
    show = verbs.add_parser("show", help="say what digits are there")
    show.add_argument("--source", default="auto", help="auto, idx, embedded or tfds")
    show.add_argument("--data-dir", type=pathlib.Path, help="the folder of that source")
    show.set_defaults(run=_show)

    xray = commands.add_parser("xray", help="values and gradients of a JAX function, and its NaNs")
    xray.add_argument("spec", metavar="FILE.py:FUNCTION", help="what to look into")
    xray.add_argument(
        "shapes",
        nargs="*",
        metavar="SHAPE",
        help="one per argument, as float32[8,3]; without them the file's example_args() is called",
    )
    xray.add_argument(
        "--eager", action="store_true", help="run operator by operator, nothing compiled together"
    )
    xray.add_argument(
        "--stats", action="store_true", help="keep statistics of each array only: little memory"
    )
    xray.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path("runs"),
        help="where run folders are kept, for the page and the pictures (default runs)",
    )
    xray.set_defaults(run=_xray)

    launch = commands.add_parser("launch", help="run a script in several processes, supervised")
    launch.add_argument("--processes", type=int, default=2, help="how many (default 2)")
    launch.add_argument("--port", type=int, help="for rank 0, on 127.0.0.1 (default: a free one)")
    launch.add_argument(
        "--timeout", type=float, default=86_400.0, help="end all after so many seconds (a day)"
    )
    launch.add_argument(
        "--linger",
        type=float,
        default=60.0,
        help="end all so many seconds after the first one has ended (default 60)",
    )
    launch.add_argument(
        "--join", type=int, default=30, help="seconds to wait for the last to come (default 30)"
    )
    launch.add_argument("script", type=pathlib.Path, help="a Python file")
    launch.add_argument("arguments", nargs=argparse.REMAINDER, help="its command line")
    launch.set_defaults(run=_launch)
    return parser


def _compare(options: argparse.Namespace) -> None:
    from chainrule import runs
    from chainrule.plots import descent as plots

    result = runs.compare(options.a, options.b, tolerance=options.tolerance)
    print(runs.text(result, options.series))
    series = {
        gap.series: (result.a.trace[gap.name_a], result.b.trace[gap.name_b])
        for gap in result.gaps
        if options.series in gap.series
    }
    figure = plots.overlay(series)
    out = options.out or options.b / f"compare-{options.a.resolve().name}.png"
    figure.savefig(out, dpi=150)
    print(f"overlay: {out}")
    page = out.with_suffix(".html")
    page.write_text(
        runs.page(result, containing=options.series, picture=out.name, folder=out.parent),
        encoding="utf-8",
    )
    print(f"page: {page}")


def _runs(options: argparse.Namespace) -> None:
    from rich.console import Console

    from chainrule import runs

    found = runs.find(options.folder)
    console = Console()
    if found.runs:
        console.print(runs.table(found, results=options.results))
    elif not found.broken:
        print(f"no run in {options.folder}: an experiment leaves one")
    for path, reason in found.broken:
        print(f"left out {path}: {reason}")


def _report(options: argparse.Namespace) -> None:
    from chainrule import runs

    for folder in options.folders:
        print(f"page: {runs.write_report(folder)}")


def _fetch(options: argparse.Namespace) -> None:
    from chainrule import data

    data.fetch(options.folder)
    print(f"the four files are in {options.folder}: set CHAINRULE_DATA or pass --data-dir")


def _prepare(options: argparse.Namespace) -> None:
    from chainrule import data

    data.prepare(options.folder, options.tfds)
    print(f"prepared in {options.tfds}: read it with --source tfds --data-dir {options.tfds}")


def _show(options: argparse.Namespace) -> None:
    from chainrule import data

    for split in ("train", "test"):
        print(data.describe(data.mnist(split, options.source, options.data_dir)))


def _xray(options: argparse.Namespace) -> None:
    from chainrule import runs
    from chainrule.xray import command

    keep: Literal["values", "stats"] = "stats" if options.stats else "values"
    report = command.run(options.spec, options.shapes, compiled=not options.eager, keep=keep)
    arguments = {"spec": options.spec, "shapes": options.shapes, "compiled": report.compiled}
    # Only shapes draw numbers, and those with key 0.
    with runs.start("xray", seed=0, arguments=arguments, root=options.root) as run:
        for name, text in command.files(report).items():
            run.save_text(name, text)
        run.result("births of NaN and Inf", len(report.nonfinite().births))
    print(f"page: {run.path / 'xray.html'}")


def _launch(options: argparse.Namespace) -> int:
    from chainrule.training.launch import launch

    return launch(
        options.script,
        options.arguments,
        processes=options.processes,
        port=options.port,
        timeout=options.timeout,
        linger=options.linger,
        join=options.join,
    )


if __name__ == "__main__":
    sys.exit(main())
