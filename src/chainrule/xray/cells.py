"""One array in a picture: a scalar in full, a small matrix row by row, else statistics."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from chainrule.xray import images
from chainrule.xray.stats import Stats
from chainrule.xray.words import counts, number

__all__ = ["Cell", "cell"]
__dir__ = __all__.copy

_FULL = 9  # elements that are written out
_MAP = (2, 48)  # rows and columns of a heat-map, at least and at most
_FIGURE_SPACE, _GAP = "\N{FIGURE SPACE}", "\N{EN SPACE}"  # as wide as a digit; SVG keeps both


class Cell(TypedDict):
    """What is drawn of one array.

    Attributes:
      text: lines, from top to bottom.
      short: one line.
      facts: name and value of what the panel says of it.
      bad: whether a NaN or an Inf is in it.
      full: whether ``text`` is every element; else missing.
      image: of a matrix that is not too large, a heat-map as a data URL; an image, or maps and
        kernels beside each other, of an array that looks like these, where it was asked for.
      rows: of the image, in pixels.
      columns: of the image.
      shows: what is drawn, in words.
      top: the largest absolute number of a heat-map, which has the fullest colour.
    """

    text: list[str]
    short: str
    facts: list[tuple[str, str]]
    bad: bool
    full: NotRequired[bool]
    image: NotRequired[str]
    rows: NotRequired[int]
    columns: NotRequired[int]
    shows: NotRequired[str]
    top: NotRequired[str]


def cell(x: Any, of: Stats | None, look: bool = False) -> Cell | None:
    """Return what to draw of an array.

    Args:
      x: the array, its statistics, or None for nothing.
      of: its statistics; None of what holds no numbers.
      look: whether to draw images, activation maps and kernels, which take more room.

    Returns:
      The cell; None for None.
    """
    if x is None:
        return None
    if of is None:
        return _line("a key")
    size = math.prod(of.shape)
    bad = of.nans + of.infs > 0
    if size == 0:
        return _line("empty")
    array = None if isinstance(x, Stats) else np.asarray(x)
    if array is None and size == 1 and not bad:
        array = np.asarray(of.mean).astype(of.dtype).reshape(of.shape)
    if array is not None and size == 1:
        value = array.ravel()[0]
        text, fact = number(value), ("value", number(value, 8))
        return {"text": [text], "short": text, "facts": [fact], "bad": bad}
    drawn: Cell = {"text": _statistics(of), "short": _short(of), "facts": _facts(of), "bad": bad}
    matrix = None if array is None else _matrix(array)
    if matrix is not None and size <= _FULL:
        rows = _rows(matrix)
        drawn |= {"text": rows, "full": True}
        if len(rows) == 1:
            drawn["short"] = rows[0]
    elif matrix is not None and _MAP[0] <= matrix.shape[1] and max(matrix.shape) <= _MAP[1]:
        drawn |= {"text": _range(of) + counts(of)} | _image(matrix)
    elif look and array is not None and (found := images.tiles(array)) is not None:
        drawn |= {"text": _range(of) + counts(of)} | _image(found.pixels) | {"shows": found.shows}
    return drawn


def _line(text: str) -> Cell:
    return {"text": [text], "short": text, "facts": [], "bad": False}


def _short(of: Stats) -> str:
    return next(iter(counts(of)), f"norm {number(of.norm, 3)}")


def _matrix(array: np.ndarray) -> np.ndarray | None:
    """The array without its axes of length 1, as a matrix of real numbers."""
    array = np.atleast_2d(array.squeeze())
    if array.ndim != 2 or np.issubdtype(array.dtype, np.complexfloating):
        return None
    return array if array.dtype == bool else array.astype(np.float64)


def _rows(matrix: np.ndarray) -> list[str]:
    texts = [[number(x, 3) for x in row] for row in matrix]
    width = max(len(text) for row in texts for text in row)
    return [_GAP.join(text.rjust(width, _FIGURE_SPACE) for text in row) for row in texts]


def _range(of: Stats) -> list[str]:
    return [f"{number(of.min, 3)} … {number(of.max, 3)}"] if of.min <= of.max else []


def _statistics(of: Stats) -> list[str]:
    zeros = f", {_percent(of.zeros)} zeros" if of.zeros else ""
    lines = [
        line
        for found in _range(of)
        for line in (f"{found}, mean {number(of.mean, 3)}", f"norm {number(of.norm, 3)}{zeros}")
    ]
    return lines + counts(of)


def _facts(of: Stats) -> list[tuple[str, str]]:
    names = ("min", "mean", "max", "norm")
    facts = [(name, number(getattr(of, name), 5)) for name in names if of.min <= of.max]
    facts.append(("zeros", _percent(of.zeros)))
    bad = (("NaN", of.nans), ("Inf", of.infs))
    return facts + [(what, f"{n:,}") for what, n in bad if n]


def _percent(share: float) -> str:
    return f"{number(100 * share, 3)} %"


def _image(matrix: np.ndarray) -> Cell:
    """A picture of one pixel a number: red above 0, blue below, white at 0, black where bad.

    Where there is an axis for three colours, it has these.
    """
    from PIL import Image

    drawn: Any = {"rows": matrix.shape[0], "columns": matrix.shape[1]}
    file = io.BytesIO()
    if matrix.ndim == 3:
        Image.fromarray(matrix.astype(np.uint8)).save(file, "png", optimize=True)
        drawn["image"] = _url(file)
        return drawn
    x = matrix.astype(np.float64)
    good = np.isfinite(x)
    top = np.abs(x[good]).max(initial=0.0) or 1.0
    share = np.where(good, np.abs(x) / top, 0.0)[..., None]
    ends = np.where((x > 0)[..., None], _RED, _BLUE)
    pixels = np.where(good[..., None], (1 - share) * 255 + share * ends, 0)
    Image.fromarray(pixels.round().astype(np.uint8)).save(file, "png", optimize=True)
    drawn |= {"image": _url(file), "shows": "red above 0, blue below", "top": number(top, 3)}
    return drawn


def _url(file: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_RED: Sequence[int] = (178, 24, 43)
_BLUE: Sequence[int] = (33, 102, 172)
