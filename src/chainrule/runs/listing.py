"""Which runs there are: those that can be read, as text or data, and the names of the others."""

import os
import pathlib
import textwrap
from typing import NamedTuple

from chainrule import _require
from chainrule._files import JSON, printable
from chainrule.runs.folder import PARTIAL
from chainrule.runs.read import read_record
from chainrule.runs.wording import counted, short, wanted

__all__ = ["Listing", "Row", "find", "listed", "rows", "tsv"]
__dir__ = __all__.copy

_WIDEST = 80  # of a result, in characters
_LOOKS = 10  # at most so many, where runs end while they are listed


class Listing(NamedTuple):
    """The runs below a folder.

    Attributes:
      folder: where they were looked for.
      runs: the folder and the record of each, the oldest first.
      broken: the folders that could not be read, and why; those of runs that are not finished
        are among them.
    """

    folder: pathlib.Path
    runs: tuple[tuple[pathlib.Path, dict[str, JSON]], ...]
    broken: tuple[tuple[pathlib.Path, str], ...]


def find(folder: str | os.PathLike[str] = "runs") -> Listing:
    """Find the runs below a folder; what cannot be read is named and left out.

    Args:
      folder: where runs are kept, or the folder of one experiment, or a run folder.

    Raises:
      FileNotFoundError: the folder does not exist.

    Example:
      >>> import tempfile
      >>> from chainrule import runs
      >>> with tempfile.TemporaryDirectory() as root:
      ...     with runs.start("demo", seed=7, arguments={}, root=root):
      ...         pass
      ...     found = find(root)
      >>> [record["seed"] for _, record in found.runs], found.broken
      ([7], ())
    """
    folder = _require.path("folder", folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: name the one where runs are kept")
    # A run that ends meanwhile has its folder renamed: it is looked for again under its new name.
    for _ in range(_LOOKS):
        found, broken, gone = _look(folder)
        if not gone:
            break
    # By the time in the record, to the second; runs of one second by their folders.
    found.sort(key=lambda run: (str(run[1].get("started", "")), str(run[0])))
    return Listing(folder, tuple(found), tuple(sorted(broken)))


_Found = list[tuple[pathlib.Path, dict[str, JSON]]]
_Broken = list[tuple[pathlib.Path, str]]


def _look(folder: pathlib.Path) -> tuple[_Found, _Broken, bool]:
    """Return the runs, what cannot be read, and whether a folder went away meanwhile."""
    found: _Found = []
    broken: _Broken = []
    gone: list[OSError] = []

    def missed(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            gone.append(error)
        else:
            broken.append((pathlib.Path(error.filename), str(error.strerror)))

    for name, _, files in os.walk(folder, onerror=missed):
        path = pathlib.Path(name)
        if "run.json" in files:
            try:
                found.append((path, read_record(path)))
            except FileNotFoundError as error:
                gone.append(error)
            except (ValueError, OSError) as error:
                broken.append((path, str(error)))
        elif path.suffix == PARTIAL:
            broken.append((path, "it is still running, or it was stopped"))
    return found, broken, bool(gone)


class Row(NamedTuple):
    """One run, as it is listed.

    Attributes:
      number: its place among the runs, from 1, the oldest; ``chainrule compare`` takes it.
      path: its folder.
      experiment: what ran.
      started: when, as in ``"2026-11-28T17:00:00+00:00"``; "" if that is not known.
      seed: of its random numbers.
      seconds: how long it took, None if that is not known.
      settings: those in which runs of this experiment differ, name to value.
      results: name to value.
    """

    number: int
    path: str
    experiment: str
    started: str
    seed: JSON
    seconds: JSON
    settings: dict[str, JSON]
    results: dict[str, JSON]


def rows(listing: Listing) -> tuple[Row, ...]:
    """Return what is listed of each run, the oldest first.

    Args:
      listing: what `find` returns.

    Raises:
      ValueError: it is something else.

    Example:
      >>> import tempfile
      >>> from chainrule import runs
      >>> with tempfile.TemporaryDirectory() as root:
      ...     for eta in (0.125, 0.5):
      ...         with runs.start("demo", seed=7, arguments={"eta": eta, "n": 9}, root=root):
      ...             pass
      ...     found = rows(find(root))
      >>> [row.settings for row in found]
      [{'eta': 0.125}, {'eta': 0.5}]
    """
    _require.instance("listing", listing, Listing, "what runs.find returns")
    settings = [_mapping(record.get("arguments")) for _, record in listing.runs]
    alike: dict[str, list[dict[str, JSON]]] = {}
    for (_, record), given in zip(listing.runs, settings, strict=True):
        alike.setdefault(str(record["experiment"]), []).append(given)
    vary = {experiment: _vary(some) for experiment, some in alike.items()}
    made = []
    for number, ((path, record), given) in enumerate(zip(listing.runs, settings, strict=True), 1):
        experiment = str(record["experiment"])
        differing = {name: given[name] for name in given if name in vary[experiment]}
        results = {name: _value(one) for name, one in _mapping(record.get("results")).items()}
        started, seconds = str(record.get("started", "")), record.get("wall_seconds")
        made.append(
            Row(number, str(path), experiment, started, record.get("seed"), seconds, differing,
                results)
        )  # fmt: skip
    return tuple(made)


def _value(result: JSON) -> JSON:
    return result.get("value") if isinstance(result, dict) else result


def listed(listing: Listing, *, results: int = 3, width: int = 80) -> str:
    """Return the runs as text to be read: the folder of each on a line of its own.

    Args:
      listing: what `find` returns.
      results: how many of the first results of each run to show, with what was expected.
      width: columns; no line but that of a folder takes more.

    Raises:
      ValueError: an argument is of another type, ``results`` is negative, or ``width`` is too
        small.
    """
    _require.count("results", results, least=0)
    _require.count("width", width, least=20)
    known = rows(listing)
    title = f"{counted(len(known), 'run')} in {printable(listing.folder)}"
    indent = " " * (len(str(len(known))) + 2)
    lines = [title]
    for row, (_, record) in zip(known, listing.runs, strict=True):
        lines += ["", f"{row.number:>{len(indent) - 2}}  {printable(row.path)}"]
        details = [f"{row.started[:16].replace('T', ' ')}, {short(row.seconds)} s, seed {row.seed}"]
        if row.settings:
            details.append(", ".join(f"{k} {short(v)}" for k, v in row.settings.items()))
        details += _results(record.get("results"))[:results]
        for detail in map(printable, details):
            lines += textwrap.wrap(
                detail, width, initial_indent=indent, subsequent_indent=f"{indent}  "
            )
    return "\n".join(lines)


def tsv(listing: Listing) -> str:
    """Return the runs as a table for programs: a header and a line each, tabs between.

    Args:
      listing: what `find` returns.
    """
    lines: list[tuple[str, ...]] = [Row._fields[:-1]]
    for row in rows(listing):
        settings = ", ".join(f"{name}={short(value)}" for name, value in row.settings.items())
        seconds = "" if row.seconds is None else short(row.seconds)
        lines.append((str(row.number), *map(str, row[1:5]), seconds, settings))
    return "\n".join("\t".join(map(printable, line)) for line in lines)


def _mapping(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


def _vary(arguments: list[dict[str, JSON]]) -> set[str]:
    """Return the settings that are not the same in all runs; the seed and the root are apart."""
    names = {name for some in arguments for name in some} - {"seed", "root"}
    return {
        name
        for name in names
        if any(some.get(name) != arguments[0].get(name) for some in arguments)
    }


def _results(results: JSON) -> list[str]:
    lines = []
    for name, result in _mapping(results).items():
        if not isinstance(result, dict):
            result = {"value": result}
        expected = result.get("expected")
        beside = "" if expected is None else f", expected {wanted(expected)}"
        line = f"{name}: {short(result.get('value'))}{beside}"
        lines.append(line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}...")
    return lines
