"""Which runs there are: a table of those that can be read, and the names of those that cannot."""

import os
import pathlib
from typing import TYPE_CHECKING, NamedTuple

from chainrule._files import JSON
from chainrule.runs.folder import PARTIAL
from chainrule.runs.read import read_record
from chainrule.runs.wording import counted, short, wanted

if TYPE_CHECKING:  # rich takes its time to be imported
    from rich.table import Table

__all__ = ["Listing", "find", "table"]

_WIDEST = 80  # of a result, in characters


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
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: name the one where runs are kept")
    found, broken = [], []
    for path in sorted({file.parent for file in folder.rglob("run.json")}):
        try:
            found.append((path, read_record(path)))
        except (ValueError, OSError) as error:
            broken.append((path, str(error)))
    whole = {path for path, _ in (*found, *broken)}
    for path in sorted(folder.rglob(f"*{PARTIAL}")):
        if path.is_dir() and path not in whole:
            broken.append((path, "it is still running, or it was stopped"))
    # By the time in the record, to the second; runs of one second by their folders.
    found.sort(key=lambda run: (str(run[1].get("started", "")), str(run[0])))
    return Listing(folder, tuple(found), tuple(broken))


def table(listing: Listing, *, results: int = 3) -> "Table":
    """Return the runs as a table for the terminal.

    Args:
      listing: what `find` returns.
      results: how many of the first results of each run to show.
    """
    from rich.markup import escape
    from rich.table import Table

    found = counted(len(listing.runs), "run")
    made = Table(title=f"{found} in {escape(str(listing.folder))}")
    made.add_column("experiment, folder", overflow="fold")
    made.add_column("started")
    made.add_column("seed", justify="right")
    made.add_column("seconds", justify="right")
    made.add_column("first results (expected)", overflow="fold")
    for path, record in listing.runs:
        cells = (
            f"{record['experiment']}\n{path}",
            "\n".join(str(record.get("started", "?"))[:16].split("T")),
            record.get("seed", "?"),
            short(record.get("wall_seconds", "?")),
            "\n".join(_results(record.get("results"))[:results]),
        )
        made.add_row(*(escape(str(cell)) for cell in cells), end_section=True)
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
