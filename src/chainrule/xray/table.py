"""The record as tables in the terminal: as wide as asked at most, and no name broken."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from chainrule.xray.record import Record
from chainrule.xray.shared import Shared, shared
from chainrule.xray.slices import written
from chainrule.xray.stats import Stats, is_number
from chainrule.xray.words import measured, shortened

__all__ = ["nodes_table", "shared_table", "tables"]
__dir__ = __all__.copy

_STYLES = {"parameter": "green", "input": "cyan", "constant": "dim"}
_WRAPPED = ("value", "gradient")  # at spaces; any other cell takes a shorter form
_NAME, _GAP = 5, 2  # columns of text: the least that names keep, and what lies between two columns

_ALIGNED = re.compile(r"(?<=\[) +| +(?=[,\]])|(?<=, ) +")

_Cell = tuple[str, ...]  # one text, in forms that get narrower


def tables(record: Record, width: int) -> Iterator[Table]:
    """Yield the table of all nodes, and that of the shared arguments if there are any."""
    yield nodes_table(record, width)
    if found := shared(record):
        yield shared_table(found, width)


def nodes_table(record: Record, width: int) -> Table:
    """Return every node in one row: what it is, its value, its gradient, its line."""
    how = "compiled" if record.compiled else "operator by operator"
    rows: list[tuple[_Cell, ...]] = []
    for node in record.nodes:
        inputs = [record.nodes[slot.node].label for slot in node.inputs]
        inputs[:1] = [label + written(record, node) for label in inputs[:1]]
        number = bool(node.avals) and is_number(node.avals[0])
        value = _numbers(node.value, node.stats() if number else None)
        gradient = (node.note,) if node.note else _numbers(node.cotangent, node.cotangent_stats())
        given, shape = (", ".join(inputs), "\n".join(inputs)), _shapes(node.avals)
        rows.append(((node.label,), given, shape, value, gradient, _line(node.line)))
    names = ("node", "inputs", "shape", "value", "gradient", "line")
    table = _table(f"{record.function}, {how}", names, rows, width)
    for node, row in zip(record.nodes, table.rows, strict=True):
        row.style = _STYLES.get(node.kind)
    return table


def shared_table(shared: Sequence[Shared], width: int) -> Table:
    """Return each use of each shared argument in one row, and the sum below."""
    rows: list[tuple[_Cell, ...]] = []
    for entry in shared:
        node, label = entry.node, entry.node.label
        for k, (edge, line) in enumerate(zip(entry.uses, entry.lines, strict=True), start=1):
            part = None if edge.contribution is None else node.measure(edge.contribution)
            rows.append(((label,), (str(k),), _numbers(edge.contribution, part), _line(line)))
            label = ""
        total = _numbers(node.cotangent, node.cotangent_stats())
        rows.append((("",), ("sum",), total, ("",)))
    names = ("argument", "use", "gradient", "line")
    table = _table("used more than once: the gradient is the sum", names, rows, width)
    for cells, row in zip(rows, table.rows, strict=True):
        row.end_section = cells[1] == ("sum",)
    return table


def _table(title: str, names: _Cell, rows: Sequence[tuple[_Cell, ...]], width: int) -> Table:
    columns = list(zip(*([(name,) for name in names], *rows), strict=True))
    wraps = [name in _WRAPPED for name in names]
    wanted = [max(_width(forms[0]) for forms in column) for column in columns]
    least = [_least(column, wrap) for column, wrap in zip(columns, wraps, strict=True)]
    widths = _share(wanted, least, width - _GAP * (len(names) - 1))
    table = Table(
        title=Text(shortened(title, width)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
    )
    for name, size, wrap in zip(names, widths, wraps, strict=True):
        table.add_column(Text(shortened(name, size)), width=size, no_wrap=not wrap)
    for cells in rows:
        fitted = zip(cells, widths, wraps, strict=True)
        table.add_row(*(Text(cell[0] if wrap else _fit(cell, n)) for cell, n, wrap in fitted))
    return table


def _share(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns: as wanted, but the widest are narrowed until all fit."""
    widths = list(wanted)
    while sum(widths) > room:
        spare = [k for k, width in enumerate(widths) if width > least[k]]
        if not spare:
            break
        widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _least(column: Sequence[_Cell], wraps: bool) -> int:
    if wraps:
        return max(len(word) for forms in column for word in forms[0].split() or [""])
    return min(_NAME, max(_width(forms[-1]) for forms in column))


def _fit(cell: _Cell, width: int) -> str:
    """Return the first form that fits, else the last one, its lines without their middle."""
    fitting = [form for form in cell if _width(form) <= width]
    return next(iter(fitting), "\n".join(shortened(row, width) for row in cell[-1].split("\n")))


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _numbers(x: Any, of: Stats | None) -> _Cell:
    """Return what is known of an array, without the spaces that NumPy aligns numbers with."""
    return (_ALIGNED.sub("", measured(x, of)),)


def _shapes(avals: Sequence[Any]) -> _Cell:
    """Return ``float32[4, 2]``, and ``f32[4,2]`` as JAX writes it, too."""
    long, short = [], []
    for aval in avals:
        dtype, shape = aval.dtype, str(list(aval.shape)) if aval.shape else ""
        plain = isinstance(dtype, np.dtype) and dtype.kind in "fiuc"
        long.append(f"{dtype}{shape}")
        brief = f"{dtype.kind}{8 * dtype.itemsize}" if plain else f"{dtype}"
        short.append(brief + shape.replace(" ", ""))
    return ", ".join(long), "\n".join(long), "\n".join(short)


def _line(line: str) -> _Cell:
    name = line.rpartition("/")[2]
    return name, name.partition(" (")[0]
