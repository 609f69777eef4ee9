"""The explorer's page: of the landscapes and the digits, or of a loss of the user's."""

import contextlib
import math
import os
import pathlib
import sys
import webbrowser
from collections.abc import Sequence
from typing import Any

from chainrule import _require, explorer, runs
from chainrule._files import printable
from chainrule._jobs import explored, landscapes, network, own
from chainrule._jobs.optimizers import OPTIMIZERS
from chainrule._jobs.wording import CONSOLE
from chainrule.explorer import Landscape, Problem
from chainrule.xray import lookup


def course(config: Any, run: runs.Run) -> None:
    """Sweep over the digits, and leave the page of them and of every landscape."""
    optimizers = {name: OPTIMIZERS[name] for name in config.explore_optimizers}
    problems: list[Landscape | Problem] = [
        one._replace(lanes=config.explore_rates) for one in landscapes.TABLE
    ]
    if config.explore_digits_rates:
        inputs, targets = network.fives(config, run)
        etas = [*([config.reference] if config.reference else []), *config.etas]
        problems.append(
            explored.problem(
                inputs,
                targets,
                optimizers,
                hidden=config.hidden,
                count=config.explore_digits_rates,
                steps=config.explore_steps,
                etas=etas,
                seed=config.seed,
                say=CONSOLE.print,
            )
        )
    leave(problems, run)


def page(
    spec: str | None,
    start: Sequence[str],
    steps: int | None,
    rates: int,
    optimizers: Sequence[str] | None,
    root: pathlib.Path,
) -> None:
    """Make the page that a command line asks for; see `chainrule._jobs.command.explore`."""
    rates = _require.count("--rates", rates, least=2, most=1000)
    steps = None if steps is None else _require.count("--steps", steps, most=10_000)
    names = list(optimizers or ("sgd", "momentum", "adam"))
    for name in names:
        _require.one_of("optimizer", name, OPTIMIZERS)
    if spec is None and start:
        raise ValueError("--start goes with a loss: name one, as FILE.py:LOSS")
    if len(start) > 2:
        raise ValueError(
            f"--start is given {len(start)} times, but there are two descents: give it once or "
            "twice, and move them to other starts on the page"
        )
    settings = {"spec": spec, "start": list(start), "rates": rates, "optimizers": names}
    chosen = {name: OPTIMIZERS[name] for name in names}
    with runs.start("explore", seed=0, arguments=settings, root=root, keep_programs=True) as run:
        if spec is None:
            from chainrule._jobs.descents import Config

            course(
                Config(
                    explore_rates=rates,
                    explore_digits_rates=min(rates, 40),
                    explore_steps=steps or 60,
                    explore_optimizers=tuple(names),  # type: ignore[arg-type]
                ),
                run,
            )
        else:
            with lookup.function(spec) as found:
                loss, starts = own.load(spec, start, found)
                name = spec.rpartition(":")[2]
                made = own.explored(
                    name, loss, starts, chosen, count=rates, steps=steps or 60, say=CONSOLE.print
                )
            leave([made], run)
    show(run.path / "explorer.html")


def leave(problems: Sequence[Landscape | Problem], run: runs.Run) -> None:
    """Note what was recorded, and write the page."""
    for problem in problems:
        if isinstance(problem, Landscape):
            continue
        for sweep in problem.sweeps:
            where = f"{problem.name}, {sweep.optimizer} from {sweep.start}"
            for edge, value in sweep.edges.items():
                run.result(f"{where}: {edge}", value)
            stayed = [word != "diverged" for word in sweep.verdicts]
            highest = problem.rates[stayed].max() if any(stayed) else math.nan
            run.result(f"{where}: highest rate that did not diverge", highest)
    run.save_text("explorer.html", explorer.page(problems))


def show(page: pathlib.Path) -> None:
    """Open a page where there is a display; elsewhere a browser in the terminal might be found."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display or sys.platform in ("darwin", "win32"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(page.resolve().as_uri())
    CONSOLE.print(f"play with learning rates: {printable(page)}", soft_wrap=True, markup=False)
