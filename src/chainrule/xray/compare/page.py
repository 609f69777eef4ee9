"""The page of two executions: the second program's picture, its operators coloured by error."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from chainrule import _files, _require
from chainrule.xray import draw
from chainrule.xray.compare.rows import Diff, Row, ends
from chainrule.xray.picture import Box, Paragraph, picture
from chainrule.xray.words import nearby

__all__ = ["html", "save"]
__dir__ = __all__.copy

_LEVELS = 5
_DECADES = -8.0, -1.0  # relative errors of the faintest and of the fullest colour


def html(diff: Diff) -> str:
    """Return the text of a self-contained page."""
    of: dict[int, list[Row]] = {}
    for row in diff.rows:
        of.setdefault(row.node, []).append(row)
    data: Any = picture(diff.record)
    nodes = [_box(box, of.get(box["id"], ())) for box in data["nodes"]]
    title = f"{diff.names[0]} against {diff.names[1]}"
    more: Any = {"title": title, "nodes": nodes, "errors": _paragraphs(diff)}
    return draw.html(data | more)


def save(diff: Diff, path: str | os.PathLike[str]) -> pathlib.Path:
    """Write the page to a file; `Diff.save` says more."""
    path = _require.path("path", path)
    if path.suffix != ".html":
        raise ValueError(f"{path} ends in {path.suffix!r}: two executions are saved as .html")
    _files.write(path, html(diff))
    return path


def _box(box: Box, rows: Sequence[Row]) -> dict[str, Any]:
    worst = max((row.own for row in rows if not math.isnan(row.own)), default=0.0)
    total = max(
        (row.own + row.inherited for row in rows if not math.isnan(row.inherited)), default=worst
    )
    heat = _level(max(total, worst))
    texts = [_told(row) for row in rows if row.own or row.inherited]
    return {**box, "errors": texts, "heat": heat, "parts": any(row.parts for row in rows)}


def _level(error: float) -> int:
    """Return the depth of a colour, 0 for none."""
    if not error > 0:
        return 0
    low, high = _DECADES
    share = 1.0 if math.isinf(error) else (math.log10(error) - low) / (high - low)
    return 1 + round((_LEVELS - 1) * min(max(share, 0.0), 1.0))


def _told(row: Row) -> str:
    first, *rest = str(row).split("; ")
    error = first.partition(": ")[2]
    return "\n".join([f"{row.phase}: {error.rpartition(f', {row.phase}')[0] or error}", *rest])


def _paragraphs(diff: Diff) -> list[Paragraph]:
    start = "the results differ, and where that begins is not known"
    if diff.first is not None:
        start = f"{'they part at' if diff.certain else 'a lead is'}\n{_place(diff.first)}"
        start += f"\n{diff.doubt}" if diff.doubt else ""
    elif not diff.differ:
        start = "nothing parts"
    found: list[Paragraph] = [
        {"text": start, "node": None if diff.first is None else diff.first.node}
    ]
    found.append({"text": ends(diff.results), "node": None})
    found += [{"text": str(one), "node": None} for one in diff.digits]
    found += [
        {"text": _place(row), "node": row.node} for row in diff.worst[:12] if row != diff.first
    ]
    found += [
        {"text": f"only in the {name}: {', '.join(labels)}", "node": None}
        for name, labels in zip(("first", "second"), diff.unmatched, strict=True)
        if labels
    ]
    return found + [{"text": note, "node": None} for note in diff.notes]


def _place(row: Row) -> str:
    return f"{row.place(nearby)}\n  {_told(row)}".replace("\n", "\n  ")
