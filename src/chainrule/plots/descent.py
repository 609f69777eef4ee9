"""Pictures of descents: the steps on a landscape, losses over time, and sweeps over rates."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chainrule.plots import BLACK, COLORS, CYCLE, GREY, grid, styled


class Series(NamedTuple):
    """A descent in one dimension, ready to be drawn.

    Attributes:
      eta: the learning rate.
      w: ``[frames]``, the iterates, the start first.
      loss: ``[frames]``, the loss at each.
      slope: ``[frames]``, its derivative at each.
    """

    eta: float
    w: np.ndarray
    loss: np.ndarray
    slope: np.ndarray

    def model(self, frame: int, w: Any) -> Any:
        """Return the quadratic model at a frame, whose minimum is the next iterate."""
        step = w - self.w[frame]
        return self.loss[frame] + self.slope[frame] * step + step**2 / (2 * self.eta)


@styled
def frames(series: Sequence[Series], landscape: Callable[[np.ndarray], Any]) -> Figure:
    """Draw every frame of several descents in one dimension, twelve frames a series.

    Each panel shows the landscape, the iterates so far, the quadratic model at the last of them,
    and where its minimum, the next iterate, lies.

    Args:
      series: the descents, each drawn in rows of six panels.
      landscape: the loss, on an array of points.

    Returns:
      The figure.
    """
    columns = 6
    rows = sum(-(-len(one.w) // columns) for one in series)
    figure, axes = grid(
        rows, columns, width=7.2, height=1.12 * rows + 0.6, sharex=True, sharey=True
    )
    low, high, curve = _window(series, landscape)
    row = 0
    for color, one in zip(_rates(one.eta for one in series), series, strict=True):
        for frame in range(-(-len(one.w) // columns) * columns):
            ax = axes[row + frame // columns, frame % columns]
            if frame >= len(one.w):
                ax.set_axis_off()
                continue
            _frame(ax, one, frame, curve, color)
            ax.set_ylim(low, high)
            ax.text(0.96, 0.05, f"{frame}", transform=ax.transAxes, ha="right", size=7)
        axes[row, 0].set_title(f"$\\eta = {one.eta:g}$, from $w = {one.w[0]:g}$")
        row += -(-len(one.w) // columns)
    for ax in axes[:, 0]:
        ax.set_ylabel("loss")
    for ax in axes[-1]:
        ax.set_xlabel("$w$")
    figure.legend(
        handles=[
            Line2D([], [], color=COLORS["landscape"], label="loss"),
            Line2D([], [], color=COLORS["model"], label="quadratic model"),
            _dot("iterate $w_t$", mfc="white", mec=BLACK, ms=4.2, mew=0.8),
            _dot("its minimum, $w_{t+1}$", mfc="white", mec=COLORS["model"], ms=3.2),
        ],
        loc="outside lower center",
        ncols=4,
    )
    return figure


@styled
def animation(series: Sequence[Series], landscape: Callable[[np.ndarray], Any]) -> str:
    """Return a page that plays the same frames, one panel a series; it needs no network.

    Args:
      series: the descents, all of the same number of frames.
      landscape: the loss, on an array of points.

    Returns:
      A self-contained HTML page with controls.
    """
    figure, axes = grid(1, len(series), width=3.2 * len(series), height=2.9, sharey=True)
    low, high, curve = _window(series, landscape)

    colors = _rates(one.eta for one in series)

    def draw(frame: int) -> list[Any]:
        for ax, color, one in zip(axes[0], colors, series, strict=True):
            ax.clear()
            _frame(ax, one, min(frame, len(one.w) - 1), curve, color)
            ax.set_ylim(low, high)
            ax.set_xlabel("$w$")
            ax.set_title(f"$\\eta = {one.eta:g}$, step {frame}: $w = {one.w[frame]:.4f}$")
        axes[0, 0].set_ylabel("loss")
        return []

    count = max(len(one.w) for one in series)
    player = FuncAnimation(figure, draw, frames=count, interval=600, blit=False)
    body = player.to_jshtml(fps=2, default_mode="once")
    return _page("Descent on the two-well landscape", _without_network(body))


@styled
def final_against_rate(
    etas: np.ndarray,
    iterates: np.ndarray,
    *,
    edges: Mapping[str, float],
    marked: Sequence[float] = (),
    stationary: Mapping[str, float] | None = None,
) -> Figure:
    """Draw where descents in one dimension come to rest, against their learning rate.

    One dot for each of the last iterates: one dot above a rate is a fixed point, two a swing
    between two places, a band is chaos, none a descent that has left the picture.

    Args:
      etas: ``[lanes]``, the rates.
      iterates: ``[lanes, last]``, the last iterates of each; what is not finite is left out.
      edges: predicted edges, drawn as vertical lines, by what they are called.
      marked: rates to mark on the axis.
      stationary: stationary points to draw as horizontal lines, by name.

    Returns:
      The figure.
    """
    figure, axes = grid(width=7.0, height=3.2)
    ax = axes[0, 0]
    rates = np.repeat(etas[:, None], iterates.shape[1], axis=1)
    seen = np.isfinite(iterates) & (np.abs(iterates) < 3)
    ax.plot(rates[seen], iterates[seen], ".", ms=1.6, mew=0, color=COLORS["value"], rasterized=True)
    for name, w in (stationary or {}).items():
        ax.axhline(w, color=GREY, lw=0.6, zorder=0)
        ax.text(etas.max(), w, f" {name}", color=GREY, va="center", size=7)
    draw_edges(ax, edges)
    for color, eta in zip(_rates(marked), marked, strict=True):
        ax.axvline(eta, color=color, lw=0.9, zorder=0)
        ax.text(eta, 1.02, f"{eta:g}", transform=ax.get_xaxis_transform(), ha="center", size=8)
    ax.set_xlim(0, etas.max())
    ax.set_xlabel("learning rate $\\eta$")
    ax.set_ylabel(f"last {iterates.shape[1]} iterates $w$")
    return figure


@styled
def losses(
    lanes: Mapping[str, np.ndarray],
    *,
    floors: Mapping[str, float] | None = None,
    dead: Mapping[str, np.ndarray] | None = None,
    ylabel: str = "mean squared error",
) -> Figure:
    """Draw losses over steps, a line a seed and a bold one for the median of each rate.

    Args:
      lanes: name to ``[seeds, steps + 1]`` losses; what ends in a rate of `COLORS` has its colour.
      floors: horizontal lines to compare with, by name.
      dead: name to ``[seeds]``, the share of dead hidden units at the end, drawn beside.
      ylabel: what the loss is.

    Returns:
      The figure.
    """
    columns = 1 if dead is None else 2
    ratios = {"width_ratios": [3, 1][:columns]}
    figure, axes = grid(1, columns, width=7.0, height=3.3, gridspec_kw=ratios)
    ax = axes[0, 0]
    for color, (name, loss) in zip(_rates(lanes), lanes.items(), strict=True):
        steps = np.arange(loss.shape[1])
        for one in loss:
            ax.plot(steps, one, color=color, lw=0.5, alpha=0.45)
        ax.plot(steps, np.median(loss, axis=0), color=color, lw=1.8, label=name)
    ax.set_yscale("log")
    ax.set_xscale("symlog", linthresh=10)  # the first steps are where it is decided
    last = max(loss.shape[1] - 1 for loss in lanes.values())
    ticks = [t for t in (0, 2, 4, 6, 8, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= last]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0, last)
    _draw_floors(ax, floors)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.legend(loc="upper right")
    if dead is not None:
        right = axes[0, 1]
        for i, (color, share) in enumerate(zip(_rates(dead), dead.values(), strict=True)):
            spread = np.linspace(-0.18, 0.18, len(share)) if len(share) > 1 else np.zeros(1)
            right.plot(i + spread, 100 * np.sort(share), "o", ms=4, color=color)
        right.set_xticks(range(len(dead)), list(dead), rotation=60, ha="right")
        right.set_xlim(-0.5, len(dead) - 0.5)
        right.set_ylim(-3, 103)
        right.set_ylabel("dead hidden units at the end, %")
    return figure


@styled
def outcomes(
    etas: np.ndarray,
    final: np.ndarray,
    peak: np.ndarray,
    edges: np.ndarray,
    *,
    floors: Mapping[str, float] | None = None,
    ylabel: str = "mean squared error",
) -> Figure:
    """Draw where each lane of a sweep peaks and ends, and the predicted edge.

    Args:
      etas: ``[lanes]``, the rates.
      final: ``[seeds, lanes]``, final losses; what is not finite is left out.
      peak: ``[seeds, lanes]``, largest losses on the way.
      edges: ``[seeds]``, the predicted edges; not finite where there is none.
      floors: horizontal lines to compare with, by name.
      ylabel: what the loss is.

    Returns:
      The figure.
    """
    figure, axes = grid(width=7.0, height=3.2)
    ax = axes[0, 0]
    ax.set_xscale("log")
    ax.set_yscale("log")
    for name, values, color, marker in (
        ("peak on the way", peak, COLORS["gradient"], "^"),
        ("end", final, COLORS["value"], "o"),
    ):
        finite = np.where(np.isfinite(values), values, np.nan)
        some = np.isfinite(finite).any(axis=0)
        middle = np.nanmedian(finite[:, some], axis=0)
        ax.plot(etas[some], middle, "-", color=color, lw=0.8, alpha=0.6)
        for row in values:
            ax.plot(etas, row, marker, ms=4, color=color, alpha=0.7, mew=0)
        ax.plot([], [], marker, ms=4, color=color, label=name)
    _draw_floors(ax, floors)
    finite = edges[np.isfinite(edges)]
    if finite.size:
        ax.axvspan(finite.min(), finite.max(), color=COLORS["model"], alpha=0.5, lw=0)
        draw_edges(ax, {"edge 2 / sharpness": float(np.median(finite))})
    ax.set_xlabel("learning rate $\\eta$")
    ax.set_ylabel(ylabel)
    ax.legend(loc="center left")
    return figure


@styled
def overlay(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw the same series of two runs over each other, a panel a series.

    Args:
      series: name to the values of run A and of run B, the start first.

    Returns:
      The figure; at most the first twelve series are drawn.

    Raises:
      ValueError: there is no series to draw.
    """
    if not series:
        raise ValueError("no series to draw: both runs need one with that name")
    shown = list(series.items())[:12]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = grid(rows, columns, width=7.2, height=1.9 * rows + 0.5)
    for ax, (name, (a, b)) in zip(axes.flat, shown, strict=False):
        for values, color, style, label in (
            (a, CYCLE[0], "-", "A"),
            (b, CYCLE[1], "--", "B"),
        ):
            ax.plot(np.arange(len(values)), values, style, color=color, label=label)
        finite = np.concatenate([a[np.isfinite(a)], b[np.isfinite(b)]])
        if finite.size and finite.min() > 0:
            ax.set_yscale("log")
        where, _, what = name.rpartition("/")
        ax.set_title(where.replace("/", "\n"), size=7)
        ax.set_xlabel("step")
        ax.set_ylabel(what)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    axes[0, 0].legend()
    return figure


def _rates(names: Iterable[float | str]) -> list[str]:
    """Return a colour for each: that of its rate, else the next one that is no rate's."""
    said = [name if isinstance(name, str) else f"{name:g}" for name in names]
    known = {name: COLORS.get(name.rpartition(" ")[2]) for name in said}
    free = itertools.cycle(color for color in CYCLE if color not in known.values())
    colors = {name: color or next(free) for name, color in known.items()}
    return [colors[name] for name in said]


def _draw_floors(ax: Axes, floors: Mapping[str, float] | None) -> None:
    for name, value in (floors or {}).items():
        ax.axhline(value, color=COLORS["reference"], lw=0.8, ls="--")
        beside = ax.get_yaxis_transform()
        ax.text(1.01, value, name.replace(" ", "\n"), transform=beside, va="center", size=7)


def _dot(label: str, **style: Any) -> Line2D:
    return Line2D([], [], ls="", marker="o", label=label, **style)


def draw_edges(ax: Axes, edges: Mapping[str, float]) -> None:
    """Draw predicted edges as vertical lines; one that is not finite is left out."""
    for name, eta in edges.items():
        if np.isfinite(eta):
            ax.axvline(eta, color=COLORS["reference"], lw=0.9, ls="--")
            beside = ax.get_xaxis_transform()
            ax.text(
                eta, 0.97, f"{name}: {eta:.3g} ", transform=beside, ha="right", va="top", size=7
            )


def _window(
    series: Sequence[Series], landscape: Callable[[np.ndarray], Any]
) -> tuple[float, float, tuple[np.ndarray, np.ndarray]]:
    visited = np.concatenate([one.w for one in series])
    margin = 0.35
    w = np.linspace(visited.min() - margin, visited.max() + margin, 241)
    loss = np.asarray(landscape(w))
    low, high = float(loss.min()), float(loss.max())
    return low - 0.22 * (high - low), high + 0.05 * (high - low), (w, loss)


def _frame(
    ax: Axes, one: Series, frame: int, curve: tuple[np.ndarray, np.ndarray], color: str
) -> None:
    w, loss = curve
    ax.plot(w, loss, color=COLORS["landscape"], lw=1)
    ax.plot(w, one.model(frame, w), color=COLORS["model"], lw=1)
    target = one.w[frame] - one.eta * one.slope[frame]
    ax.plot(target, one.model(frame, target), "o", ms=3.2, mfc="white", mec=COLORS["model"])
    ax.plot(one.w[:frame], one.loss[:frame], ".", ms=3, color=color, alpha=0.4)
    ax.plot(one.w[frame], one.loss[frame], "o", ms=4.2, color=color, mec=BLACK, mew=0.4)
    ax.set_xlim(w[0], w[-1])


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


def _without_network(player: str) -> str:
    link = player.index("<link rel")
    end = player.index(">", link) + 1
    icons = "".join(
        f".fa-{name.split()[0]}{'.fa-flip-horizontal' if ' ' in name else ''}::before"
        f'{{content:"{glyph}";font-style:normal}}\n'
        for name, glyph in sorted(_ICONS.items(), key=lambda item: len(item[0]))
    )
    return f"{player[:link]}<style>\n{icons}</style>{player[end:]}"


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font-family:sans-serif;margin:1.5rem auto;max-width:64rem}"
        ".animation img{max-width:100%}</style></head>\n"
        f"<body><h1>{title}</h1>\n{body}</body></html>\n"
    )
