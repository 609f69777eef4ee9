"""Numbers as they are printed, and whether a result agrees with them."""

from typing import Any

import numpy as np


def agrees(computed: Any, printed: str) -> bool:
    """Tell whether a result rounds to the digits that were printed.

    Args:
      computed: a number, an array, or a word.
      printed: numbers with spaces between, and semicolons between the rows of a matrix; one without
        decimals is meant exactly, and ``1.5e+02`` to its digits. Or a word.

    Returns:
      Whether all of them agree.
    """
    if isinstance(computed, str):
        return computed == printed
    found = np.asarray(computed, np.float64).ravel()
    texts = printed.replace(";", " ").split()
    return len(texts) == found.size and all(map(_rounds_to, found, texts))


def _rounds_to(number: float, printed: str) -> bool:
    mantissa, _, exponent = printed.partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0
    return abs(number - float(printed)) <= half + 1e-5 * max(1, abs(number))  # float32


def show(computed: Any) -> str:
    """Write a result as it would be printed, whole or with five digits; nothing for None.

    Axes of length 1 are left out, and what has more than two is written row by row.
    """
    if computed is None or isinstance(computed, str):
        return computed or ""
    numbers = np.atleast_1d(np.squeeze(np.asarray(computed, np.float64))) + 0.0  # no -0
    rows = numbers.reshape(-1, numbers.shape[-1])
    return "; ".join(" ".join(map(_digits, row.tolist())) for row in rows)


def _digits(number: float) -> str:
    whole = number.is_integer() and abs(number) < 1e9
    return f"{number:.0f}" if whole else f"{number:.5g}"
