"""One array in a picture: a scalar in full, a small matrix row by row, else statistics."""

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.xray.stats import Stats

_FULL = 9  # elements that are written out
_MAP = (2, 48)  # rows and columns of a heat-map, at least and at most
_FIGURE_SPACE, _GAP = "\N{FIGURE SPACE}", "\N{EN SPACE}"  # as wide as a digit; SVG keeps both

Cell = dict[str, Any]
"""What is drawn of one array: ``text`` lines and perhaps an ``image``; ``facts`` for the panel."""


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


def cell(x: Any, of: Stats | None) -> Cell | None:
    """Return what to draw of an array.

    Args:
      x: the array, its statistics, or None for nothing.
      of: its statistics; None of what holds no numbers.

    Returns:
      ``{"text": lines, "short": one line, "facts": [[name, value], ...], "bad": bool}``, bad where
      a NaN or Inf is in it; of a matrix that is not too large with an ``"image"``; None for None.
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
        return _line(number(value)) | {"facts": [["value", number(value, 8)]], "bad": bad}
    text = _statistics(of)
    drawn: Cell = {"text": text, "short": _short(of), "facts": _facts(of), "bad": bad}
    if array is None:
        return drawn
    matrix = _matrix(array)
    if size <= _FULL and matrix is not None:
        rows = _rows(matrix)
        return drawn | {"text": rows, "full": True} | ({"short": rows[0]} if len(rows) == 1 else {})
    if matrix is not None and _MAP[0] <= matrix.shape[1] and max(matrix.shape) <= _MAP[1]:
        rows, columns = matrix.shape
        image = {"image": _image(matrix), "rows": rows, "columns": columns}
        return drawn | image | {"text": [text[0].partition(",")[0], *text[2:]]}  # no mean, no norm
    return drawn


def _line(text: str) -> Cell:
    return {"text": [text], "short": text, "facts": [], "bad": False}


def _short(of: Stats) -> str:
    bad = [f"{n:,} {what}" for n, what in ((of.nans, "NaN"), (of.infs, "Inf")) if n]
    return bad[0] if bad else f"norm {number(of.norm, 3)}"


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


def _statistics(of: Stats) -> list[str]:
    lines = []
    if of.min <= of.max:  # something is finite
        lines.append(f"{number(of.min, 3)} … {number(of.max, 3)}, mean {number(of.mean, 3)}")
        zeros = f", {_percent(of.zeros)} zeros" if of.zeros else ""
        lines.append(f"norm {number(of.norm, 3)}{zeros}")
    lines += [f"{n:,} {what}" for n, what in ((of.nans, "NaN"), (of.infs, "Inf")) if n]
    return lines


def _facts(of: Stats) -> list[list[str]]:
    names = ("min", "mean", "max", "norm")
    facts = [[name, number(getattr(of, name), 5)] for name in names if of.min <= of.max]
    facts.append(["zeros", _percent(of.zeros)])
    counts = (("NaN", of.nans), ("Inf", of.infs))
    return facts + [[what, f"{n:,}"] for what, n in counts if n]


def _percent(share: float) -> str:
    return f"{number(100 * share, 3)} %"


def _image(matrix: np.ndarray) -> str:
    """A picture of one pixel a number: red above 0, blue below, white at 0, black where bad."""
    from PIL import Image

    x = matrix.astype(np.float64)
    good = np.isfinite(x)
    top = np.abs(x[good]).max(initial=0.0) or 1.0
    share = np.where(good, np.abs(x) / top, 0.0)[..., None]
    ends = np.where((x > 0)[..., None], _RED, _BLUE)
    pixels = np.where(good[..., None], (1 - share) * 255 + share * ends, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


_RED: Sequence[int] = (178, 24, 43)
_BLUE: Sequence[int] = (33, 102, 172)
