"""Rows about starting: the command, the import, the first result."""

import pathlib
import tempfile
from collections.abc import Iterator

from harness import Child, Row, Scale, child

DESCENT = pathlib.Path(__file__).resolve().parents[1] / "descent.py"


def start(scale: Scale) -> Iterator[Row]:
    """Starting the command and importing the package, beyond starting Python."""
    for name, target, *command in (
        ("chainrule --help", 0.25, "-m", "chainrule.cli", "--help"),
        ("import chainrule", 0.05, "-c", "import chainrule"),
    ):
        yield Row(
            f"start: {name}",
            lambda command=command: child(*command),
            {"python -c pass": _nothing},
            _both_ended,
            target,
            extra=True,
        )


def first_result(scale: Scale) -> Iterator[Row]:
    """What `make descent` runs, with no cache of an earlier run: matplotlib's list of fonts too."""
    if scale.quick:
        return

    def ours() -> Child:
        with tempfile.TemporaryDirectory() as empty:
            return child(str(DESCENT), "--root", empty, XDG_CACHE_HOME=empty, MPLCONFIGDIR=empty)

    work, nothing = "first result: make descent, without caches", {"python -c pass": _nothing}
    yield Row(work, ours, nothing, _both_ended, 15.0, extra=True)


def _nothing() -> Child:
    return child("-c", "pass")


def _both_ended(ours: Child, theirs: Child) -> None:
    """Accept two processes that ended well: `child` raises otherwise."""


ROWS = {"start": start, "first result": first_result}
