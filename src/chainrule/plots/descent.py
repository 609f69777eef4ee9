"""Pictures of descents: losses over steps, and what becomes of each rate of a sweep."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from chainrule.plots.style import COLORS, CYCLE, GREY, FigureError, grid, rate_colors, styled

__all__ = [
    "draw_edges", "draw_points", "final_against_rate", "losses", "outcomes", "overlay",
    "readings",
]  # fmt: skip
__dir__ = __all__.copy


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
      edges: predicted edges, drawn as vertical lines, by what they are called; if all are NaN, a
        note says that there is no prediction.
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
    for color, eta in zip(rate_colors(marked), marked, strict=True):
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
    colors: Sequence[str] = CYCLE,
    floors: Mapping[str, float] | None = None,
    points: Mapping[str, Mapping[int, float]] | None = None,
    dead: Mapping[str, np.ndarray] | None = None,
    ylabel: str = "mean squared error",
) -> Figure:
    """Draw losses over steps: a thin line for each seed, a bold one for the median of each rate.

    The axis ends at the largest loss of the descents that stay finite, or at a million times the
    largest start where that is less. A descent beyond it is cut there, at a triangle, and the
    legend counts these: one that diverges would leave no room for the others.

    Args:
      lanes: name to ``[seeds, steps + 1]`` losses.
      colors: of the lanes, in order and then again; `chainrule.plots.rate_colors` has those of
        learning rates.
      floors: horizontal lines to compare with, by name.
      points: losses to compare with, name to step to loss: those that somebody printed.
      dead: name to ``[seeds]``, the share of dead hidden units at the end, drawn beside.
      ylabel: what the loss is.

    Returns:
      The figure.
    """
    columns = 1 if dead is None else 2
    ratios = {"width_ratios": [3, 1][:columns]}
    figure, axes = grid(1, columns, width=7.0, height=3.3, gridspec_kw=ratios)
    ax = axes[0, 0]
    ax.set_yscale("log")
    top = _ceiling(lanes.values())
    for color, (name, loss) in zip(itertools.cycle(colors), lanes.items(), strict=False):
        beyond = ~(loss <= top)
        leaving = beyond.any(axis=1)
        if leaving.any():
            name += f" (\N{BLACK UP-POINTING TRIANGLE} {leaving.sum()} of {len(loss)} go beyond)"
            where = beyond[leaving].argmax(axis=1)
            ax.plot(where, [top] * len(where), "^", ms=5, color=color, clip_on=False)
        steps = np.arange(loss.shape[1])
        for one in loss:
            ax.plot(steps, one, color=color, lw=0.5, alpha=0.45)
        ax.plot(steps, np.median(loss, axis=0), color=color, lw=1.8, label=name)
    ax.set_xscale("symlog", linthresh=10)  # the first steps are where it is decided
    last = max(loss.shape[1] - 1 for loss in lanes.values())
    ticks = [t for t in (0, 2, 4, 6, 8, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= last]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0, last)
    _draw_floors(ax, floors)
    draw_points(ax, points)
    least = ax.dataLim.minposy  # of all that is drawn: only now is it known
    if least < top < ax.dataLim.ymax:
        ax.set_ylim(least * (least / top) ** 0.05, top)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    several = any(len(loss) > 1 for loss in lanes.values())
    ax.legend(loc="upper right", title="thin: seeds, bold: median" if several else None)
    if dead is not None:
        right = axes[0, 1]
        shares = zip(itertools.cycle(colors), dead.values(), strict=False)
        for i, (color, share) in enumerate(shares):
            spread = np.linspace(-0.18, 0.18, len(share)) if len(share) > 1 else np.zeros(1)
            right.plot(i + spread, 100 * np.sort(share), "o", ms=4, color=color)
        right.set_xticks(range(len(dead)), list(dead), rotation=60, ha="right")
        right.set_xlim(-0.5, len(dead) - 0.5)
        right.set_ylim(-3, 103)
        right.set_ylabel("dead hidden units at the end, %")
    return figure


def _ceiling(lanes: Iterable[np.ndarray]) -> float:
    """Return the largest loss that is drawn: see `losses`."""
    rows = [one for lane in lanes for one in lane]
    largest = max((one.max() for one in rows if np.isfinite(one).all()), default=np.inf)
    return float(min(2 * largest, 1e6 * max(one[0] for one in rows)))


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
      edges: ``[seeds]``, the predicted edges; infinite where there is none, NaN without a
        prediction, which a note says.
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
    draw_edges(ax, {"predicted edge": np.median(finite if finite.size else edges)})
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
        raise FigureError("no series to draw: both runs need one with that name")
    shown = list(series.items())[:12]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = grid(rows, columns, width=7.2, height=1.9 * rows + 0.5)
    known = [one[np.isfinite(one)] for _, both in shown for one in both]
    # One kind of axis for all panels: what looks alike is alike.
    log = all(one.min() > 0 for one in known if one.size) and any(one.size for one in known)
    for ax, (name, (a, b)) in zip(axes.flat, shown, strict=False):
        for values, color, style, label in (
            (a, CYCLE[0], "-", "A"),
            (b, CYCLE[1], "--", "B"),
        ):
            ax.plot(np.arange(len(values)), values, style, color=color, label=label)
        if log:
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))  # there is no half step
        ax.set_title(name.replace("/", "\n"), size=7)
        ax.set_xlabel("step")
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    axes[0, 0].legend()
    return figure


def _draw_floors(ax: Axes, floors: Mapping[str, float] | None) -> None:
    for name, value in (floors or {}).items():
        ax.axhline(value, color=COLORS["reference"], lw=0.8, ls="--")
        beside = ax.get_yaxis_transform()
        ax.text(1.01, value, name.replace(" ", "\n"), transform=beside, va="center", size=7)


def draw_points(ax: Axes, points: Mapping[str, Mapping[int, float]] | None) -> None:
    """Draw losses of some steps to compare with, joined by a thin line."""
    for name, losses in (points or {}).items():
        ax.plot(*zip(*losses.items(), strict=True), "o:k", ms=3, lw=0.8, mfc="none", label=name)


@styled
def readings(
    at: np.ndarray, lanes: Mapping[str, np.ndarray], *, ylabel: str = "sharpness / critical"
) -> Figure:
    """Draw how far descents are from their edge: thin lines for seeds, a bold one for the median.

    The axis ends at 2.5 at most: a descent that diverges would leave no room for the others.

    Args:
      at: ``[readings]``, after how many steps each was taken.
      lanes: name to ``[seeds, readings]``, the ratios; where one is not finite there is a gap.
      ylabel: what they are.

    Returns:
      The figure, with the edge at 1.

    Example:
      >>> figure = readings(np.arange(3), {"sgd": np.array([[0.2, 0.8, 1.0]])})
      >>> figure.axes[0].get_ylabel()
      'sharpness / critical'
    """
    figure, axes = grid(1, 1, width=7.0, height=3.0)
    ax = axes[0, 0]
    for color, (name, lane) in zip(itertools.cycle(CYCLE), lanes.items(), strict=False):
        for one in lane:
            ax.plot(at, one, color=color, lw=0.5, alpha=0.45)
        ax.plot(at, np.median(lane, axis=0), color=color, lw=1.5, label=name)
    ax.axhline(1, color=COLORS["reference"], lw=1, ls="--", label="edge")
    drawn = np.concatenate([lane[np.isfinite(lane)] for lane in lanes.values()])
    top = min(2.5, 1.1 * max(1.0, drawn.max(initial=0)))
    ax.set(xlabel="step", ylabel=ylabel, xlim=(0, max(1, at[-1])), ylim=(0, top))
    ax.legend(title="thin: seeds, bold: median" if max(map(len, lanes.values())) > 1 else None)
    return figure


def draw_edges(ax: Axes, edges: Mapping[str, float]) -> None:
    """Draw predicted edges as vertical lines; one that is not finite is left out.

    If all of them are NaN, a note says that there is no prediction.
    """
    if edges and np.isnan([*edges.values()]).all():
        said = "no edge is predicted for this optimizer"
        ax.text(0.99, 0.97, said, transform=ax.transAxes, ha="right", va="top", size=7)
    for name, eta in edges.items():
        if np.isfinite(eta):
            ax.axvline(eta, color=COLORS["reference"], lw=0.9, ls="--")
            beside = ax.get_xaxis_transform()
            ax.text(
                eta, 0.97, f"{name}: {eta:.3g} ", transform=beside, ha="right", va="top", size=7
            )
