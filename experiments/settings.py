"""What the experiments have in common: settings, the start of a run, and the command line."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import tyro

from chainrule import data, runs


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of every experiment."""

    seed: int = 0
    """Of all random numbers; where there are several seeds, the first one: the others follow."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""

    def start(
        self, experiment: str, *, about: str | None, resume: pathlib.Path | None = None
    ) -> contextlib.AbstractContextManager[runs.Run]:
        """Start a run with these settings; see `chainrule.runs.start`."""
        return runs.start(
            experiment,
            seed=self.seed,
            arguments=dataclasses.asdict(self),
            root=self.root,
            resume=resume,
            about=about,
            keep_programs=True,
        )


@dataclasses.dataclass(frozen=True)
class Repeated(Settings):
    """The settings of an experiment that is repeated from several seeds."""

    seeds: int = 3
    """How many initialisations, each with its own draws."""

    def __post_init__(self) -> None:
        runs.check_counts(seeds=self.seeds)

    @property
    def every_seed(self) -> range:
        """The seeds, in order."""
        return range(self.seed, self.seed + self.seeds)


@dataclasses.dataclass(frozen=True)
class OnDigits(Settings):
    """The settings of an experiment on digits."""

    source: Literal["auto", "idx", "embedded", "tfds"] = "auto"
    """Where the digits come from."""
    data_dir: pathlib.Path | None = None
    """The folder of that source."""

    def digits(self, split: str) -> data.Digits:
        """Return one split of the digits."""
        return data.mnist(split, self.source, self.data_dir)


C = TypeVar("C", bound=Settings)


def command(main: Callable[[C], pathlib.Path], config: type[C], about: str | None) -> Any:
    """Run an experiment with the settings of the command line.

    Bad settings, and a folder that cannot be read or written, end the program with one line on
    standard error and exit code 2.

    Args:
      main: takes the settings and returns the run folder.
      config: the class of the settings.
      about: what ``--help`` says; the ``__doc__`` of the script.

    Returns:
      The settings and the run folder.
    """
    try:
        settings = tyro.cli(config, description=about)
        return settings, main(settings)
    except (ValueError, OSError) as error:
        print(f"{pathlib.Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
