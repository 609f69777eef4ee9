"""A figure that is played frame by frame, as a page of its own."""

from collections.abc import Callable
from html import escape
from typing import Any

from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from chainrule import _html

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


# Below the style of all pages: the player is as wide as the window, its buttons are easy to hit.
_STYLE = """
.animation { display: block; max-width: 64rem; }
.animation img { max-width: 100%; background: #fff; border: 1px solid var(--rule);
  border-radius: 6px; }
input[type=range].anim-slider { width: 100%; margin: 0.6rem 0 0; }
.anim-buttons { display: flex; flex-wrap: wrap; gap: 4px; justify-content: center; }
.anim-buttons button { width: auto; min-width: 36px; min-height: 32px; font: inherit;
  color: var(--ink); background: var(--raised); border: 1px solid var(--rule); border-radius: 5px; }
"""


def played(
    figure: Figure, draw: Callable[[int], list[Any]], frames: int, title: str, about: str = ""
) -> str:
    """Return a page with the buttons of a player, which needs no network.

    Args:
      figure: what is drawn on.
      draw: draws the frame of a number.
      frames: how many there are.
      title: of the page.
      about: what the frames show.
    """
    # The first frame's layout is that of all: finding it takes half of the time, and frames with
    # layouts of their own would jump.
    draw(0)
    figure.draw_without_rendering()
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    player = FuncAnimation(figure, draw, frames=frames, interval=600, blit=False)
    pages = player.to_jshtml(fps=2, default_mode="once")
    figure.set_layout_engine(engine)
    player_of = _named(_without_network(pages), title)
    return _page(escape(title), escape(about), player_of)


def _named(player: str, title: str) -> str:
    """Name what matplotlib leaves without a name: the image and the slider."""
    image = player.replace('<img id="', f'<img alt="{escape(title)}, the frame" id="', 1)
    return image.replace('type="range"', 'type="range" aria-label="frame"', 1)


def _without_network(player: str) -> str:
    link = player.index("<link rel")
    end = player.index(">", link) + 1
    icons = "".join(
        f".fa-{name.split()[0]}{'.fa-flip-horizontal' if ' ' in name else ''}::before"
        f'{{content:"{glyph}";font-style:normal}}\n'
        for name, glyph in _ICONS.items()
    )
    return f"{player[:link]}<style>\n{icons}</style>{player[end:]}"


def _page(title: str, about: str, body: str) -> str:
    style = _html.resource("_html.css")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{style}</style></head>\n"
        f'<body><main><h1>{title}</h1>\n<p class="soft">{about}</p>\n'
        f"{body}<style>{_STYLE}</style></main></body></html>\n"
    )
