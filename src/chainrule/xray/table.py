"""The record as a table in the terminal."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from chainrule.xray.stats import Stats, is_number, stats

if TYPE_CHECKING:
    from chainrule.xray.record import Report, Shared


_STYLES = {"parameter": "green", "input": "cyan", "constant": "dim"}


def nodes_table(report: "Report") -> Table:
    """Return every node in one row: what it is, its value, its gradient, its line."""
    how = "compiled" if report.compiled else "operator by operator"
    table = Table(title=f"{report.function}, {how}", title_justify="left")
    for name in ("node", "inputs", "shape", "value", "gradient", "line"):
        table.add_column(name, overflow="fold")
    for node in report.nodes:
        inputs = ", ".join(report.nodes[slot.node].label for slot in node.inputs)
        gradient = escape(node.note) or _cell(node.cotangent, node.cotangent_stats())
        shape = ", ".join(_shape(aval) for aval in node.avals)
        number = bool(node.avals) and is_number(node.avals[0])
        value = _cell(node.value, node.stats() if number else None)
        cells = (escape(node.label), escape(inputs), shape, value, gradient, _short(node.line))
        table.add_row(*cells, style=_STYLES.get(node.kind))
    return table


def shared_table(shared: "Sequence[Shared]") -> Table:
    """Return each use of each shared argument in one row, and the sum below."""
    table = Table(title="used more than once: the gradient is the sum", title_justify="left")
    for name in ("argument", "use", "gradient", "line"):
        table.add_column(name, overflow="fold")
    for entry in shared:
        node = entry.node
        for k, (edge, line) in enumerate(zip(entry.uses, entry.lines, strict=True)):
            part = None if edge.contribution is None else node.measure(edge.contribution)
            label = escape(node.label) if k == 0 else ""
            table.add_row(label, str(k + 1), _cell(edge.contribution, part), _short(line))
        table.add_row("", "sum", _cell(node.cotangent, node.cotangent_stats()), "")
        table.add_section()
    return table


def brief(x: Any) -> str:
    """Return an array in a few words: its numbers if they are few, else its range and its norm."""
    if x is None or isinstance(x, Stats):
        return _cell(x, x) or "none"
    return _cell(x, stats(x))


def _cell(x: Any, of: Stats | None) -> str:
    if of is None:
        return ""
    if not isinstance(x, Stats) and math.prod(of.shape) <= 4:
        return escape(np.array2string(np.asarray(x), precision=4, separator=", "))
    bad = [f"{n} {what}" for n, what in ((of.nans, "NaN"), (of.infs, "Inf")) if n]
    if of.min <= of.max:  # something is finite
        bad.insert(0, f"{of.min:.3g} to {of.max:.3g}, norm {of.norm:.3g}")
    return ", ".join(bad)


def _shape(aval: Any) -> str:
    return escape(f"{aval.dtype}{list(aval.shape) if aval.shape else ''}")


def _short(line: str) -> str:
    return escape(line.rpartition("/")[2])
