"""What was measured, in words and small tables, as the pages and the listing of runs show it."""

import math
import operator
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule import _html
from chainrule._html import Element, element

JSON = Any
MOST = 12
"""So many numbers of a list, or in a row of a table, are shown; ``run.json`` holds all."""

_LIMITS = {
    "at most": operator.le,
    "below": operator.lt,
    "at least": operator.ge,
    "above": operator.gt,
}


def short(value: JSON) -> str:
    """Return a JSON value in a few words: six digits of a number, a list with commas.

    Example:
      >>> short([0.1234567, 3, None, "inf", {"a": True}])
      '0.123457, 3, none, inf, a: True'
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(short(item) for item in value)
    return str(value)


def counted(count: int, noun: str) -> str:
    """Return so many of something.

    Example:
      >>> counted(1, "seed"), counted(5, "seed")
      ('1 seed', '5 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(value: JSON) -> Element | str:
    """Return a JSON value for a cell of a page: names and rows of numbers as a table in it."""
    if isinstance(value, Mapping) and value:
        columns = list(dict.fromkeys(k for item in value.values() for k in _names(item)))
        if not columns or not all(isinstance(item, Mapping) for item in value.values()):
            return _html.table(("", ""), [(str(k), shown(item)) for k, item in value.items()])
        rows = [
            (str(k), *("" if item.get(c, "") == "" else shown(item[c]) for c in columns))
            for k, item in value.items()
        ]
        return _html.table(("", *(f"{name} " for name in columns)), rows)
    if _is_list(value) and value and all(_is_list(row) for row in value):
        width = max(len(row) for row in value)
        if len(value) > MOST or width > MOST or any(_is_list(x) for row in value for x in row):
            return f"{len(value)} x {width} numbers"
        return element("table", *(_row(row) for row in value))
    if _is_list(value) and len(value) > 1:
        more = f", ... {len(value)} in all" if len(value) > MOST else ""
        return element("span", short(value[:MOST]) + more, class_="list")
    return short(value)


def _names(value: JSON) -> Sequence[str]:
    return list(value) if isinstance(value, Mapping) else []


def _is_list(value: JSON) -> bool:
    return isinstance(value, list | tuple)


def _row(values: Sequence[JSON]) -> Element:
    cells = (f"{x:.4g}" if is_number(x) else short(x) for x in values)
    return element("tr", *(element("td", cell, class_="number") for cell in cells))


def measured(name: str, value: JSON) -> Element | str:
    """Return a result as `shown`; of a number a seed, or a turn, first the median and the range."""
    several = _is_list(value) and len(value) > 1 and all(is_number(x) for x in value)
    if not several or not re.search(r"\b(seeds?|turns?|pairs?)\b", name):
        return shown(value)
    low, middle, high = min(value), statistics.median(value), max(value)
    return element(
        "span", f"{middle:.4g} ({low:.4g} to {high:.4g})", element("small", shown(value))
    )


def difference(value: JSON, expected: JSON) -> str:
    """Say how far a result is from what was expected of it, or whether it keeps a limit.

    The difference of several numbers is that of their median; a limit has to be kept by each.

    Example:
      >>> difference(0.25, 0.2), difference([0.3, 0.5, 0.7], "at most 0.4")
      ('+25 %', 'not met by 2 of 3, 75 % above')
    """
    numbers = value if _is_list(value) else [value]
    if not numbers or not all(is_number(x) for x in numbers):
        return ""
    if limit := re.fullmatch(rf"({'|'.join(_LIMITS)}) ([-+.\de]+)", str(expected)):
        return _kept(numbers, _LIMITS[limit[1]], float(limit[2]))
    if not is_number(expected):
        return ""
    middle = statistics.median(numbers)
    if middle == expected:
        return "0"
    return f"{100 * (middle / expected - 1):+.3g} %" if expected else f"{middle:+.3g}"


def _kept(numbers: Sequence[float], keeps: Callable[[float, float], bool], limit: float) -> str:
    """Say whether numbers keep a limit, and by how much the worst of them does or does not."""
    kept = sum(keeps(x, limit) for x in numbers)
    worst = max(numbers) if keeps(limit - 1, limit) else min(numbers)
    word = "met" if kept == len(numbers) else "not met"
    if 0 < kept < len(numbers):
        word += f" by {len(numbers) - kept} of {len(numbers)}"
    if worst == limit:
        return f"{word}, to the digit"
    where = "above" if worst > limit else "below"
    if limit <= 0:
        return f"{word}, {abs(worst - limit):.3g} {where}"
    if worst >= 2 * limit:
        return f"{word}, {worst / limit:.3g} times the limit"
    return f"{word}, {100 * abs(worst / limit - 1):.3g} % {where}"


def is_number(value: JSON) -> bool:
    """Return whether a JSON value is a finite number."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and math.isfinite(value)
