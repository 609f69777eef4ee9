"""A figure that is played frame by frame, as a page of its own."""

from collections.abc import Callable
from html import escape
from typing import Any

from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

# matplotlib's player takes the icons of its buttons from a font on the network; these are text.
_ICONS = {
    "minus": "\\2212",
    "plus": "+",
    "fast-backward": "\\25C2\\25C2",
    "step-backward": "\\25C2\\2758",
    "play fa-flip-horizontal": "\\25C0",
    "pause": "\\2759\\2759",
    "play": "\\25B6",
    "step-forward": "\\2758\\25B8",
    "fast-forward": "\\25B8\\25B8",
}


def played(figure: Figure, draw: Callable[[int], list[Any]], frames: int, title: str) -> str:
    """Return a page with the buttons of a player, which needs no network.

    Args:
      figure: what is drawn on.
      draw: draws the frame of a number.
      frames: how many there are.
      title: of the page.
    """
    player = FuncAnimation(figure, draw, frames=frames, interval=600, blit=False)
    return _page(escape(title), _without_network(player.to_jshtml(fps=2, default_mode="once")))


def _without_network(player: str) -> str:
    link = player.index("<link rel")
    end = player.index(">", link) + 1
    icons = "".join(
        f".fa-{name.split()[0]}{'.fa-flip-horizontal' if ' ' in name else ''}::before"
        f'{{content:"{glyph}";font-style:normal}}\n'
        for name, glyph in _ICONS.items()
    )
    return f"{player[:link]}<style>\n{icons}</style>{player[end:]}"


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font-family:sans-serif;margin:1.5rem auto;max-width:64rem}"
        ".animation img{max-width:100%}</style></head>\n"
        f"<body><h1>{title}</h1>\n{body}</body></html>\n"
    )
