"""JSON values as the cells of a page: text, lists, and tables within a table."""

from collections.abc import Mapping, Sequence

from chainrule import _html
from chainrule._files import JSON
from chainrule._html import Column, Element, element
from chainrule.runs.wording import is_list, is_number, short, spread

__all__ = ["MOST", "measured", "shown"]
__dir__ = __all__.copy

MOST = 12
"""How many numbers of a list, or of a row of a table, are shown; ``run.json`` holds all."""


def shown(value: JSON) -> Element | str:
    """Return a JSON value for a cell; names and rows of numbers become a table within it."""
    if isinstance(value, Mapping) and value:
        columns = list(dict.fromkeys(k for item in value.values() for k in _names(item)))
        if not columns or not all(isinstance(item, Mapping) for item in value.values()):
            return _html.table(("", ""), [(str(k), shown(item)) for k, item in value.items()])
        rows = [
            (str(k), *("" if item.get(c, "") == "" else shown(item[c]) for c in columns))
            for k, item in value.items()
        ]
        return _html.table(("", *(Column(str(name), numeric=True) for name in columns)), rows)
    if is_list(value) and value and all(is_list(row) for row in value):
        width = max(len(row) for row in value)
        if len(value) > MOST or width > MOST or any(is_list(x) for row in value for x in row):
            return f"{len(value)} x {width} numbers"
        return element("table", *(_row(row) for row in value))
    if is_list(value) and len(value) > 1:
        more = f", ... {len(value)} in all" if len(value) > MOST else ""
        return element("span", short(value[:MOST]) + more, class_="list")
    return short(value)


def measured(result: JSON) -> Element | str:
    """Return the value of a result; of one number a seed, or a turn, first median and range."""
    if not isinstance(result, Mapping):
        return shown(result)
    value = result.get("value")
    if result.get("per") is None or not (is_list(value) and len(value) > 1):
        return shown(value)
    if not all(is_number(x) for x in value):
        return shown(value)
    return element("span", spread(value), element("small", shown(value)))


def _names(value: JSON) -> Sequence[str]:
    return list(value) if isinstance(value, Mapping) else []


def _row(values: Sequence[JSON]) -> Element:
    cells = (f"{x:.4g}" if is_number(x) else short(x) for x in values)
    return element("tr", *(element("td", cell, class_="number") for cell in cells))
