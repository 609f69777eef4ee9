"""The record as tables in the terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from chainrule.xray.record import Record
from chainrule.xray.shared import Shared, shared
from chainrule.xray.stats import Stats, is_number
from chainrule.xray.words import measured

__all__ = ["nodes_table", "shared_table", "tables"]

_STYLES = {"parameter": "green", "input": "cyan", "constant": "dim"}


def tables(record: Record) -> Iterator[Table]:
    """Yield the table of all nodes, and that of the shared arguments if there are any."""
    yield nodes_table(record)
    if found := shared(record):
        yield shared_table(found)


def nodes_table(record: Record) -> Table:
    """Return every node in one row: what it is, its value, its gradient, its line."""
    how = "compiled" if record.compiled else "operator by operator"
    table = Table(title=f"{record.function}, {how}", title_justify="left")
    for name in ("node", "inputs", "shape", "value", "gradient", "line"):
        table.add_column(name, overflow="fold")
    for node in record.nodes:
        inputs = ", ".join(record.nodes[slot.node].label for slot in node.inputs)
        gradient = escape(node.note) or _cell(node.cotangent, node.cotangent_stats())
        shape = ", ".join(_shape(aval) for aval in node.avals)
        number = bool(node.avals) and is_number(node.avals[0])
        value = _cell(node.value, node.stats() if number else None)
        cells = (escape(node.label), escape(inputs), shape, value, gradient, _short(node.line))
        table.add_row(*cells, style=_STYLES.get(node.kind))
    return table


def shared_table(shared: Sequence[Shared]) -> Table:
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


def _cell(x: Any, of: Stats | None) -> str:
    return escape(measured(x, of))


def _shape(aval: Any) -> str:
    return escape(f"{aval.dtype}{list(aval.shape) if aval.shape else ''}")


def _short(line: str) -> str:
    return escape(line.rpartition("/")[2])


def __dir__() -> list[str]:
    return sorted(__all__)
