"""The format of ``run.json``, and how folders of an earlier one are read.

In format 1, which had no number, names and words carried meaning: a limit was ``"at most 0.005"``,
a result was one number a seed where its name spoke of seeds, a series was a loss where its name
ended in ``loss``. Format 2 says all of this as data. What is here turns the first into the second,
once, when a folder is read; nothing else looks into names.
"""

import contextlib
import re
from collections.abc import Mapping

import numpy as np

from chainrule._files import JSON
from chainrule.runs.limits import LIMITS
from chainrule.runs.trace import Series

__all__ = ["FORMAT", "series", "upgraded"]
__dir__ = __all__.copy

FORMAT = 2
"""Of the ``run.json`` that is written now."""

_LIMIT = re.compile(rf"({'|'.join(LIMITS)}) ([-+.\de]+)")
_PER = re.compile(r"\b(seed|turn|pair)s?\b")
_RATE = re.compile(r"eta=([^/]+)")


def upgraded(record: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a record in the present format.

    Example:
      >>> result = {"value": [1, 2], "expected": "below 5"}
      >>> upgraded({"experiment": "x", "results": {"by seed": result}})["results"]["by seed"]
      {'value': [1, 2], 'expected': {'below': 5.0}, 'per': 'seed'}
    """
    if "format" in record or not isinstance(record.get("results"), Mapping):
        return dict(record)
    results = {name: _result(str(name), one) for name, one in record["results"].items()}
    return {**record, "results": results}


def series(columns: Mapping[str, np.ndarray], notes: JSON) -> dict[str, Series]:
    """Return the columns of a trace with what is known of each.

    Args:
      columns: name to values.
      notes: what ``run.json`` notes of them; None in a folder of format 1.
    """
    if notes is None:
        return {name: _of_name(name, values) for name, values in columns.items()}
    return {name: _noted(values, notes.get(name, {})) for name, values in columns.items()}


def _noted(values: np.ndarray, note: JSON) -> Series:
    known = note if isinstance(note, Mapping) else {}
    loss, eta, stem = known.get("loss") is True, known.get("eta"), known.get("stem")
    if isinstance(eta, int | float) and isinstance(stem, str):
        return Series(values, loss, float(eta), stem)
    return Series(values, loss)


def _result(name: str, result: JSON) -> JSON:
    if not isinstance(result, Mapping):
        return result
    made = dict(result)
    if found := _LIMIT.fullmatch(str(result.get("expected"))):
        with contextlib.suppress(ValueError):  # "below e" is no limit
            made["expected"] = {found[1]: float(found[2])}
    if found := _PER.search(name):
        made["per"] = found[1]
    return made


def _of_name(name: str, values: np.ndarray) -> Series:
    loss, found = name.rpartition("/")[2] == "loss", _RATE.search(name)
    try:
        eta = float(found[1]) if found else None
    except ValueError:
        eta = None
    return Series(values, loss, eta, None if eta is None else _RATE.sub("eta", name))
