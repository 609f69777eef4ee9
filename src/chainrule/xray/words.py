"""Numbers and arrays in words, for tables, equations and pictures."""

import io
import math
from typing import Any

import numpy as np
from rich.console import Console, RenderableType

from chainrule.xray.stats import Stats, stats

__all__ = ["brief", "counts", "measured", "number", "rendered", "shape"]


def number(x: Any, digits: int = 4) -> str:
    """Return a number as one writes it.

    Example:
      >>> number(-0.25), number(float("inf")), number(1234567.0), number(12345.6), number(True)
      ('−0.25', '∞', '1.235e+6', '12346', 'True')
    """
    if isinstance(x, bool | np.bool_):
        return str(bool(x))
    if isinstance(x, complex | np.complexfloating):
        sign = "−" if x.imag < 0 else "+"
        return f"{number(x.real, digits)} {sign} {number(abs(x.imag), digits)}i"
    if isinstance(x, int | np.integer):
        return str(x).replace("-", "−")
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if 10**digits <= abs(x) < 1e6:  # shorter than with an exponent
        return f"{x:.0f}".replace("-", "−")
    text = f"{x + 0.0:.{digits}g}"  # no -0
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        text = f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return text.replace("-", "−")


def brief(x: Any) -> str:
    """Return an array in a few words: its numbers if they are few, else its range and its norm."""
    if x is None:
        return "none"
    return measured(x, x if isinstance(x, Stats) else stats(x))


def measured(x: Any, of: Stats | None) -> str:
    """Return an array, whose statistics are known, in a few words; "" without statistics."""
    if of is None:
        return ""
    if not isinstance(x, Stats) and math.prod(of.shape) <= 4:
        return np.array2string(np.asarray(x), precision=4, separator=", ")
    bad = counts(of)
    if of.min <= of.max:  # something is finite
        bad.insert(0, f"{of.min:.3g} to {of.max:.3g}, norm {of.norm:.3g}")
    return ", ".join(bad)


def counts(of: Stats) -> list[str]:
    """Return how many elements are NaN and how many Inf: ``["1,000 NaN", "1 Inf"]``."""
    return [f"{n:,} {what}" for n, what in ((of.nans, "NaN"), (of.infs, "Inf")) if n]


def shape(aval: Any) -> str:
    """Return a shape as one writes it: ``3 × 4``; "" of a scalar."""
    return " × ".join(str(size) for size in aval.shape)


def rendered(table: RenderableType, width: int = 120) -> str:
    """Return what rich would print, as text."""
    # In a notebook rich would display what is only to be turned into text.
    console = Console(width=width, record=True, file=io.StringIO(), force_jupyter=False)
    console.print(table)
    return console.export_text()


def __dir__() -> list[str]:
    return sorted(__all__)
