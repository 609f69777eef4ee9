"""Results in words: for the terminal, and for the cells of a page."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from chainrule._files import JSON
from chainrule.runs.limits import Limit, from_json

__all__ = ["counted", "difference", "is_list", "is_number", "short", "spread", "wanted"]
__dir__ = __all__.copy


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
    """Return a number and its noun, in the plural where it is due.

    Example:
      >>> counted(1, "seed"), counted(5, "seed")
      ('1 seed', '5 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def wanted(expected: JSON) -> str:
    """Return in words what was expected of a result.

    Example:
      >>> wanted({"at most": 0.005}), wanted(0.25)
      ('at most 0.005', '0.25')
    """
    limit = from_json(expected)
    return str(limit) if isinstance(limit, Limit) else short(expected)


def spread(numbers: Sequence[int | float]) -> str:
    """Return the median of some numbers and their range.

    Example:
      >>> spread([3.0, 1.0, 2.0])
      '2 (1 to 3)'
    """
    return f"{statistics.median(numbers):.4g} ({min(numbers):.4g} to {max(numbers):.4g})"


def difference(value: JSON, expected: JSON) -> str:
    """Say how far a result is from what was expected, or whether it keeps a limit.

    Of several numbers the median is compared with a number; a limit must be kept by each.

    Example:
      >>> difference(0.25, 0.2), difference([0.3, 0.5, 0.7], {"at most": 0.4})
      ('+25 %', 'not met by 2 of 3, 75 % above')
    """
    numbers = value if is_list(value) else [value]
    if not numbers or not all(is_number(x) for x in numbers):
        return ""
    limit = from_json(expected)
    if isinstance(limit, Limit):
        return _kept(numbers, limit)
    if not is_number(expected):
        return ""
    middle = statistics.median(numbers)
    if middle == expected:
        return "0"
    return f"{100 * (middle / expected - 1):+.3g} %" if expected else f"{middle:+.3g}"


def _kept(numbers: Sequence[int | float], limit: Limit) -> str:
    """Say whether numbers keep a limit, and by how much the worst of them does or does not."""
    kept = sum(map(limit.met_by, numbers))
    worst, bound = (max if limit.upper else min)(numbers), limit.bound
    word = "met" if kept == len(numbers) else "not met"
    if 0 < kept < len(numbers):
        word += f" by {len(numbers) - kept} of {len(numbers)}"
    if worst == bound:
        return f"{word}, to the digit"
    where = "above" if worst > bound else "below"
    if bound <= 0:
        return f"{word}, {abs(worst - bound):.3g} {where}"
    if worst >= 2 * bound:
        return f"{word}, {worst / bound:.3g} times the limit"
    return f"{word}, {100 * abs(worst / bound - 1):.3g} % {where}"


def is_list(value: JSON) -> TypeGuard[Sequence[JSON]]:
    """Tell whether a JSON value is a list."""
    return isinstance(value, list | tuple)


def is_number(value: JSON) -> bool:
    """Tell whether a JSON value is a finite number."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and math.isfinite(value)
