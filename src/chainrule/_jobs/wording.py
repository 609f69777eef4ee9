"""Descents in words, in tables and in columns of a trace."""

import math
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from chainrule import descent, runs

CONSOLE = Console()


def columns_of(
    where: str, eta: float, trace: descent.Trace, lane: int, beside: str | None = None
) -> dict[str, runs.Series]:
    """Return the loss and the norm of the gradient of a lane, by what it is a lane of."""
    columns = {}
    for what in ("loss", "grad_norm"):
        name = "/".join(filter(None, (where, f"eta={eta:g}", beside, what)))
        stem = "/".join(filter(None, (where, beside, what)))
        values = np.asarray(getattr(trace, what)[lane])
        columns[name] = runs.Series(values, loss=what == "loss", eta=eta, stem=stem)
    return columns


def edge_text(edge: float) -> str:
    """Return a predicted edge as text."""
    if math.isnan(edge):
        return "no prediction"
    return "none" if math.isinf(edge) else f"{edge:.4g}"


def spread(values: np.ndarray) -> str:
    """Return the median of some numbers and their range."""
    low, middle, high = np.nanmin(values), np.nanmedian(values), np.nanmax(values)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})" if len(values) > 1 else f"{middle:.3g}"


def print_table(title: str, extra: tuple[str, ...], rows: list[Any]) -> None:
    """Print a row for each lane."""
    table = Table(title=title)
    columns = ("eta", *extra[:1], "verdict", "start loss", "peak (step)", "final loss", *extra[1:])
    for column in columns:
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for row in rows:
        numbers = next(cell for cell in row if isinstance(cell, descent.Lane))
        place = row.index(numbers)
        table.add_row(
            *row[:place],
            numbers.verdict,
            f"{numbers.start:.4f}",
            f"{numbers.peak:.4g} ({numbers.peak_step})",
            f"{numbers.final:.5g}",
            *row[place + 1 :],
        )
    CONSOLE.print(table)
