"""A picture as a file: SVG, one self-contained page, DOT."""

import functools
import importlib.resources
import json
import re
import threading
from collections.abc import Sequence
from html import escape as html_escape
from typing import Any, Literal, get_args

from chainrule import _require
from chainrule.xray.live.equations import CannotLiveError
from chainrule.xray.live.page import alive
from chainrule.xray.picture import Picture
from chainrule.xray.record import Record

__all__ = ["Direction", "Open", "html", "opened", "svg"]
__dir__ = __all__.copy

Open = Literal["auto", "all", "none"] | Sequence[str]
"""Which groups are open."""
Direction = Literal["right", "down"]
"""Where the arrows point."""

_DRAWING = ("dagre.min.js", "survey.js", "cards.js", "order.js", "layout.js", "draw.js")
_LIVING = (
    "special.js", "engine.js", "contract.js", "numbers.js", "cells.js", "live.js", "page.js",
)  # fmt: skip
_STACK = 2**22  # bytes; dagre walks its graphs by recursion


def svg(data: Picture, open: Open = "auto", direction: Direction | None = None) -> str:
    """Return a picture as SVG text, drawn by the very code that the page runs.

    Args:
      data: from `picture.picture`.
      open: "all" groups, "none", "auto" for all if the graph is small, or the names of some.
      direction: where the values flow; None chooses by the length of the graph.

    Returns:
      The text of a self-contained file.
    """
    _check_direction(direction)
    state = {"open": opened(data, open), "step": None, "selected": None, "found": None}
    return _run(json.dumps([data, state, _text("draw.css"), direction]))


def html(
    data: Picture,
    open: Open = "auto",
    direction: Direction | None = None,
    *,
    living: Record | None = None,
) -> str:
    """Return a picture as one page with everything in it, for any browser and without a network.

    Args:
      data: from `picture.picture`.
      open: as for `svg`.
      direction: as for `svg`.
      living: the record that it is of, where the page is to compute it anew. A page that cannot is
        of the recorded numbers, and says why.

    Returns:
      The text of the page.
    """
    _check_direction(direction)
    shown: Any = data
    kind = live = style = ""
    scripts: tuple[str, ...] = (*_DRAWING, "page.js")
    if living is not None:
        try:
            shown, program = alive(data, living)
        except CannotLiveError as why:
            live = (
                f'<p id="recorded" role="note">{html_escape(f"Recorded, not living: {why}.")}</p>\n'
            )
            kind = ' class="recorded"'
        else:
            live = _text("live.html").replace("%program%", _json(program))
            kind, style, scripts = ' class="live"', _text("live.css"), (*_DRAWING, *_LIVING)
    parts = {
        "title": html_escape(data["title"]),
        "style": _text("draw.css") + _text("page.css") + style,
        "script": "".join(map(_packed, scripts)),
        "data": _json(shown),
        "start": json.dumps({"open": opened(data, open), "direction": direction}),
        "kind": kind,
        "live": live,
    }
    return re.sub(r"%([a-z]+)%", lambda match: parts[match[1]], _text("page.html"))


def _json(data: Any) -> str:
    return json.dumps(data).replace("<", "\\u003c")  # what holds no "<" can end no script


def _check_direction(direction: Direction | None) -> None:
    if direction is not None:
        _require.one_of("direction", direction, get_args(Direction))


def opened(data: Picture, open: Open) -> list[int]:
    """Return the numbers of the groups that start open.

    Raises:
      ValueError: a name that no group has.
    """
    groups = data["groups"]
    names = {group["name"] for group in groups}
    if isinstance(open, str):
        if open == "all":
            return [group["id"] for group in groups]
        if open == "none":
            return []
        if open == "auto":
            return [group["id"] for group in groups if group["open"]]
    elif isinstance(open, Sequence) and all(isinstance(one, str) and one in names for one in open):
        chosen = {group["id"] for group in groups if group["name"] in open}
        for group in reversed(groups):  # inner before outer
            if group["id"] in chosen and group["parent"] is not None:
                chosen.add(group["parent"])
        return sorted(chosen)
    raise ValueError(
        f"open is {open!r}: give 'auto', 'all', 'none' or a list of names of groups, which are "
        f"{sorted(names)}"
    )


# quickjs-ng's contexts belong to the thread that made them.
_local = threading.local()


def _run(arguments: str) -> str:
    if not hasattr(_local, "context"):
        import quickjs

        context = quickjs.Context()
        context.set_max_stack_size(_STACK)
        context.eval(_CLONE)
        for name in _DRAWING:
            context.eval(_text(name))
        context.eval(_FILE)
        _local.context = context
    text: str = json.loads(_local.context.get("file")(arguments))
    return text


# What browsers have and the engine lacks; dagre clones plain data only.
_CLONE = "globalThis.structuredClone = (x) => x === undefined ? x : JSON.parse(JSON.stringify(x))"
_FILE = """function file(text) {
  const [data, state, style, direction] = JSON.parse(text);
  state.direction = direction ?? draw.direction(data, state.open);
  return JSON.stringify(draw.file(data, state, style));  // the engine's joined strings stay inside
}"""


def _packed(name: str) -> str:
    """Return a script without its comments and its indentation: no line of it needs them."""
    lines = (line.strip() for line in _text(name).splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


@functools.cache
def _text(name: str) -> str:
    text = (importlib.resources.files("chainrule.xray") / "page" / name).read_text("utf-8")
    return text.partition("//# sourceMappingURL")[0]  # a file that is not there
