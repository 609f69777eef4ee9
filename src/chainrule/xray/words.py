"""Numbers, arrays and places in words, for tables, equations and pictures."""

import io
import math
import os
import pathlib
import shutil
import sysconfig
from typing import Any

import numpy as np
from rich.console import Console, RenderableType

from chainrule.xray.stats import Stats, stats

__all__ = [
    "below",
    "brief",
    "counts",
    "measured",
    "nearby",
    "number",
    "rendered",
    "shape",
    "shortened",
]
__dir__ = __all__.copy

_NARROWEST, _PIPED = 60, 120  # columns of text


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
    x = float(x)  # compared below with what float16 cannot hold
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


def shortened(text: str, width: int) -> str:
    """Return a text that takes at most ``width`` columns, without its middle if it is longer.

    Example:
      >>> shortened("broadcast_in_dim_12", 12), shortened("add_3", 12)
      ('broadc…im_12', 'add_3')
    """
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def nearby(line: str) -> str:
    """Return ``file:line (function)`` without the folders of this machine.

    A file below the working folder is named from there, one of a package from its package, and any
    other by its name alone.

    Example:
      >>> nearby(f"{os.getcwd()}/models/net.py:3 (loss)"), nearby("/home/me/net.py:3 (loss)")
      ('models/net.py:3 (loss)', 'net.py:3 (loss)')
      >>> nearby("/home/me/.venv/lib/python3.13/site-packages/flax/nnx/nn/linear.py:7 (f)")
      'flax/nnx/nn/linear.py:7 (f)'
    """
    file, colon, rest = line.rpartition(":")
    if not colon:
        return line
    path = pathlib.PurePath(os.path.abspath(file))
    return f"{path.relative_to(_home(path)).as_posix()}:{rest}"


def below(line: str) -> str:
    """Return ``file:line (function)`` from the working folder, if the file lies below it.

    Example:
      >>> below(f"{os.getcwd()}/models/net.py:3 (loss)"), below("/home/me/net.py:3 (loss)")
      ('models/net.py:3 (loss)', '/home/me/net.py:3 (loss)')
    """
    return line.removeprefix(os.getcwd() + os.sep)


def _home(path: pathlib.PurePath) -> pathlib.PurePath:
    """Return the folder from which a file is named."""
    for folder in path.parents:
        if folder.name in ("site-packages", "dist-packages"):
            return folder
    for home in (sysconfig.get_path("stdlib"), os.getcwd()):
        if path.is_relative_to(home):
            return pathlib.PurePath(home)
    folder = path.parent
    while os.path.isfile(folder / "__init__.py"):
        folder = folder.parent
    return folder


def rendered(table: RenderableType) -> str:
    """Return what rich would print, as text as wide as the terminal; piped, 120 columns."""
    width = max(_NARROWEST, shutil.get_terminal_size((_PIPED, 0)).columns)
    # In a notebook rich would display what is only to be turned into text.
    console = Console(width=width, record=True, file=io.StringIO(), force_jupyter=False)
    console.print(table)
    return console.export_text()
