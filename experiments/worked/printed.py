"""Numbers as they are printed, and whether a result agrees with them."""

from typing import Any

import numpy as np


def agrees(computed: Any, printed: str) -> bool:
    """Tell whether a result rounds to the digits that were printed.

    Args:
      computed: a number, an array, or a word.
      printed: numbers with spaces between, and semicolons between the rows of a matrix; one without
        decimals is meant exactly. Or a word.

    Returns:
      Whether all of them agree.
    """
    if isinstance(computed, str):
        return computed == printed
    found = np.asarray(computed, np.float64).ravel()
    texts = printed.replace(";", " ").split()
    return len(texts) == found.size and all(map(_rounds_to, found, texts))


def _rounds_to(number: float, printed: str) -> bool:
    decimals = len(printed.partition(".")[2])
    half = 0.5 * 10.0**-decimals if decimals else 0.0
    return abs(number - float(printed)) <= half + 1e-5 * max(1, abs(number))  # float32


def show(computed: Any) -> str:
    """Write a result as it would be printed, with five digits; nothing for None."""
    if computed is None or isinstance(computed, str):
        return computed or ""
    rows = np.atleast_2d(np.asarray(computed, np.float64)) + 0.0  # no -0
    return "; ".join(" ".join(f"{number:.5g}" for number in row) for row in rows)
