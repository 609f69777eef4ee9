"""Which runs there are: a table of those that can be read, and the names of those that cannot."""

import os
import pathlib
from typing import TYPE_CHECKING, NamedTuple

from chainrule import _require
from chainrule._files import JSON, printable
from chainrule.runs.folder import PARTIAL
from chainrule.runs.read import read_record
from chainrule.runs.wording import counted, short, wanted

if TYPE_CHECKING:  # rich takes its time to be imported
    from rich.table import Table

__all__ = ["Listing", "find", "table"]

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


def table(listing: Listing, *, results: int = 3) -> "Table":
    """Return the runs as a table for the terminal.

    Args:
      listing: what `find` returns.
      results: how many of the first results of each run to show.

    Raises:
      ValueError: an argument is of another type, or ``results`` is negative.
    """
    from rich.markup import escape
    from rich.table import Table

    _require.instance("listing", listing, Listing, "what runs.find returns")
    _require.count("results", results, least=0)
    found = counted(len(listing.runs), "run")
    made = Table(title=f"{found} in {escape(printable(listing.folder))}")
    made.add_column("experiment, folder", overflow="fold")
    made.add_column("started")
    made.add_column("seed", justify="right")
    made.add_column("seconds", justify="right")
    made.add_column("first results (expected)", overflow="fold")
    for path, record in listing.runs:
        cells = (
            (record["experiment"], path),
            str(record.get("started", "?"))[:16].split("T"),
            (record.get("seed", "?"),),
            (short(record.get("wall_seconds", "?")),),
            _results(record.get("results"))[:results],
        )
        made.add_row(
            *(escape("\n".join(map(printable, lines))) for lines in cells), end_section=True
        )
    return made


def _results(results: JSON) -> list[str]:
    if not isinstance(results, dict):
        return []
    lines = []
    for name, result in results.items():
        if not isinstance(result, dict):
            result = {"value": result}
        expected = result.get("expected")
        beside = "" if expected is None else f" ({wanted(expected)})"
        line = f"{name}: {short(result.get('value'))}{beside}"
        lines.append(line if len(line) <= _WIDEST else f"{line[: _WIDEST - 3]}...")
    return lines


def __dir__() -> list[str]:
    return sorted(__all__)
