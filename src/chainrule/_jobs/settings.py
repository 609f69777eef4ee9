"""What the experiments have in common: settings, the start of a run, and the command line."""

import contextlib
import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from chainrule import data, runs
from chainrule._files import printable
from chainrule.runs.limits import Limit

Count = Annotated[int, runs.AtLeast(1)]
"""A setting that counts something."""
Some = Annotated[int, runs.AtLeast(0)]
"""A setting that counts something, perhaps nothing."""
Positive = Annotated[float, runs.Above(0)]
"""A learning rate, for example."""
NotNegative = Annotated[float, runs.AtLeast(0)]
"""A setting that may be 0, such as a strength or a time."""
Share = Annotated[float, runs.AtLeast(0), runs.Below(1)]
"""A share of something, but not all of it."""
Digit = Annotated[int, runs.AtLeast(0), runs.AtMost(9)]
"""One of the ten digits."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of every experiment; a number is checked against the limits of its type."""

    seed: int = 0
    """Of all random numbers; where there are several seeds, the first one: the others follow."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        wrong = [
            f"{field.name} must be {limit}, not {value!r}"
            for field in dataclasses.fields(self)
            for value, limit in _broken(hints[field.name], getattr(self, field.name))
        ]
        if wrong:
            raise ValueError("; ".join(wrong))

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

    seeds: Count = 3
    """How many initialisations, each with its own draws."""

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


def _broken(hint: Any, value: Any) -> Iterator[tuple[Any, Limit]]:
    """Yield each number of a setting with a limit of its type that it does not keep."""
    if isinstance(value, tuple):
        parts = get_args(hint)
        inner = parts[:1] * len(value) if parts[1:] == (...,) else parts
        for part, one in zip(inner, value, strict=True):
            yield from _broken(part, one)
    elif get_origin(hint) is Annotated:
        for limit in get_args(hint)[1:]:
            if isinstance(limit, Limit) and not (math.isfinite(value) and limit.met_by(value)):
                yield value, limit
    elif value is not None:
        for part in get_args(hint):
            if get_origin(part) is Annotated:
                yield from _broken(part, value)


C = TypeVar("C", bound=Settings)


def now(what: str) -> None:
    """Say what is done next, before anything that takes long: nobody looks at a silent terminal."""
    print(f"{what} ...", flush=True)


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
        now((about or "running").split("\n")[0].rstrip("."))
        folder = main(settings)
        print(f"report: {printable(folder)}/report.html")
        return settings, folder
    except (ValueError, OSError) as error:
        lines = map(printable, str(error).split("\n"))
        print(f"{pathlib.Path(sys.argv[0]).name}:", "\n".join(lines), file=sys.stderr)
        raise SystemExit(2) from None
