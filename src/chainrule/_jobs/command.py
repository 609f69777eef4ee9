"""What the commands ``chainrule descent`` and ``chainrule explore`` do."""

import pathlib
from collections.abc import Sequence
from typing import Any


def descent(
    *,
    etas: Sequence[float] | None = None,
    losses: Sequence[str] | None = None,
    optimizer: str = "sgd",
    steps: int = 200,
    seeds: int = 5,
    seed: int = 0,
    samples: int = 1000,
    hidden: int = 200,
    data_dir: pathlib.Path | None = None,
    root: pathlib.Path = pathlib.Path("runs"),
) -> None:
    """Compare descents, and leave a run folder with their pictures, numbers and traces.

    Args:
      etas: the learning rates.
      losses: what to descend on.
      optimizer: its name.
      steps: of each descent.
      seeds: how many networks.
      seed: the first one.
      samples: how many digits.
      hidden: units of the network.
      data_dir: the folder of the full digits; without it those that are found.
      root: where run folders are kept.
    """
    _begin("descent")
    from chainrule._files import printable
    from chainrule._jobs.descents import Config, main

    lists: Any = {"etas": etas, "losses": losses}
    config = Config(
        **_tuples(lists),
        optimizer=optimizer,  # type: ignore[arg-type]  # checked by the command line
        steps=steps,
        seeds=seeds,
        seed=seed,
        samples=samples,
        hidden=hidden,
        data_dir=data_dir,
        root=root,
    )
    print(f"report: {printable(main(config))}/report.html")


def explore(
    spec: str | None = None,
    *,
    start: Sequence[str] = (),
    steps: int | None = None,
    rates: int = 200,
    optimizers: Sequence[str] | None = None,
    root: pathlib.Path = pathlib.Path("runs"),
) -> None:
    """Leave the explorer's page, of the course or of a loss, and open it where there is a display.

    Args:
      spec: ``FILE.py:LOSS`` or ``package.module:LOSS``; without it the landscapes and the digits.
      start: where A and B begin, or both, each as numbers with commas between them.
      steps: of each descent.
      rates: how many of each sweep.
      optimizers: of recorded descents, their names; on a landscape all are there.
      root: where run folders are kept.
    """
    _begin("explore")
    from chainrule._jobs import explore as jobs

    jobs.page(spec, start, steps, rates, optimizers, root)


def _begin(command: str) -> None:
    # JAX takes a second to load, on a busy machine ten.
    print(f"chainrule {command}: loading JAX ...", flush=True)


def _tuples(lists: dict[str, Sequence[Any] | None]) -> Any:
    """Return as tuples what was given on the command line."""
    return {name: tuple(values) for name, values in lists.items() if values is not None}
