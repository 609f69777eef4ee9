"""Pictures of what a pass costs: seconds against the batch, backward against forward."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chainrule.plots.style import BLACK, BLUE, COLORS, GREY, VERMILLION, grid, styled

__all__ = ["Cost", "Machine", "Pass", "batches", "ratios"]
__dir__ = __all__.copy

_WAYS: tuple[dict[str, Any], ...] = (  # batch, compiled loop, Python loop
    {"lw": 1, "marker": "o", "ms": 3.5},
    {"lw": 1, "ls": ":", "marker": "s", "ms": 3.5, "mfc": "w"},
    {"lw": 1, "ls": ":", "marker": "^", "ms": 3.5, "mfc": "w"},
)
_WHICH = {"without": BLUE, "with": VERMILLION}  # the gradient of the inputs
_LOOKS: dict[str, dict[str, Any]] = {
    "predicted": {"ls": "-", "lw": 0.9},
    "counted": {"ls": "", "marker": "_", "ms": 8, "mew": 1.6},
}


class Machine(NamedTuple):
    """What a machine can do.

    Attributes:
      operations: floating-point operations a second, of a large product of matrices.
      bytes: bytes a second, of reading.
    """

    operations: float
    bytes: float


class Pass(NamedTuple):
    """A pass through a network, timed in several ways.

    Attributes:
      name: which pass.
      operations: floating-point operations a sample.
      bytes: of the parameters that it reads and writes, once a batch.
      seconds: way to batch to ``[turns]`` seconds a sample; the first way is the batch.
    """

    name: str
    operations: float
    bytes: float
    seconds: Mapping[str, Mapping[int, np.ndarray]]


@styled
def batches(passes: Sequence[Pass], machine: Machine) -> Figure:
    """Draw seconds a sample against the batch, and operations a second against those a byte.

    Args:
      passes: a colour each.
      machine: the limit, drawn as a dashed line: the longer of computing at its speed and of
        reading and writing the parameters once a batch.

    Returns:
      The figure.
    """
    figure, axes = grid(1, 2, width=7.2, height=3.6)
    left, right = axes[0]
    cycle = itertools.cycle((COLORS["value"], COLORS["gradient"]))
    colors = {one.name: color for one, color in zip(passes, cycle, strict=False)}
    intensities = []
    for one in passes:
        color = colors[one.name]
        looks = itertools.cycle(_WAYS)
        for way, (found, look) in enumerate(zip(one.seconds.values(), looks, strict=False)):
            sizes, times = np.asarray(list(found)), np.asarray(list(found.values()))
            low, middle, high = times.min(axis=1), np.median(times, axis=1), times.max(axis=1)
            left.plot(sizes, 1e6 * middle, color=color, **look)
            left.vlines(sizes, 1e6 * low, 1e6 * high, color=color, lw=0.7)
            # A loop fetches the parameters for every sample: to it all batches are of 1.
            sharing = sizes if way == 0 else np.ones(len(sizes))
            intensity = one.operations * sharing / one.bytes
            right.plot(intensity, one.operations / middle / 1e9, color=color, **look)
            intensities.append(intensity)
        sizes = np.geomspace(*_ends(one.seconds.values()), 100)
        limit = np.maximum(one.operations / machine.operations, one.bytes / machine.bytes / sizes)
        left.plot(sizes, 1e6 * limit, "--", color=color, lw=0.8)
    x = np.geomspace(*_ends(intensities), 100)
    roof = np.minimum(machine.operations, machine.bytes * x)
    right.plot(x, roof / 1e9, "--", color=COLORS["reference"], lw=0.8)
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        low, high = (round(np.log2(end)) for end in ax.get_xlim())
        ticks = [2.0**power for power in range(low + low % 2, high + 1, 2)]
        ax.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
        ax.minorticks_off()
    left.set_xlabel("samples computed")
    left.set_ylabel("time a sample, µs")
    right.set_xlabel("operations per byte of parameters")
    right.set_ylabel("GFLOP/s")
    computed, read = machine.operations / 1e9, machine.bytes / 1e9
    right.set_title(f"limit: {computed:.0f} GFLOP/s computed, {read:.0f} GB/s read")
    lines = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    for look, name in zip(itertools.cycle(_WAYS), passes[0].seconds, strict=False):
        lines.append(Line2D([], [], color=GREY, label=name, **look))
    lines.append(Line2D([], [], color=GREY, ls="--", lw=0.8, label="limit"))
    figure.legend(handles=lines, loc="outside lower center", ncols=3)
    return figure


def _ends(rows: Iterable[Iterable[Any]]) -> tuple[float, float]:
    values = [float(value) for row in rows for value in row]
    return min(values), max(values)


class Cost(NamedTuple):
    """The cost of a backward pass, in units of the forward pass.

    The mappings have the keys ``"without"`` and ``"with"``: the gradient of the inputs.

    Attributes:
      predicted: from the products of matrices.
      counted: from the operations of the compiled program.
      timed: by the clock, ``[turns]``.
      share_counted: of the products in the operations, forward and backward.
      share_timed: of the products in the time, ``[turns]``.
    """

    predicted: Mapping[str, float]
    counted: Mapping[str, float]
    timed: Mapping[str, np.ndarray]
    share_counted: float
    share_timed: np.ndarray


@styled
def ratios(costs: Mapping[str, Mapping[str, Cost]]) -> Figure:
    """Draw backward over forward, and the share of the products, against what is varied.

    Args:
      costs: what is varied, to its values, to the cost; a column each.

    Returns:
      The figure.
    """
    figure, axes = grid(
        2,
        len(costs),
        width=7.2,
        height=4.8,
        sharey="row",
        sharex="col",
        width_ratios=[max(1.5, len(found)) for found in costs.values()],
        height_ratios=[3, 2],
    )
    for (above, below), (label, found) in zip(axes.T, costs.items(), strict=True):
        above.axhline(2, color=COLORS["reference"], lw=0.8, ls="--")
        for shift, (which, color) in zip((-0.12, 0.12), _WHICH.items(), strict=True):
            x = np.arange(len(found)) + shift
            _dots(above, x, [cost.timed[which] for cost in found.values()], color)
            for name, look in _LOOKS.items():
                ratio = [getattr(cost, name)[which] for cost in found.values()]
                above.plot(x, ratio, color=color, **look)
        x = np.arange(len(found), dtype=float)
        _dots(below, x, [100 * cost.share_timed for cost in found.values()], GREY)
        counted = [100 * cost.share_counted for cost in found.values()]
        below.plot(x, counted, color=BLACK, **_LOOKS["counted"])
        below.set_xticks(x, list(found))
        below.set_xlim(-0.6, len(found) - 0.4)
        below.set_xlabel(label)
    axes[0, 0].set_yscale("log", base=2)
    axes[0, 0].set_ylim(0.5, 16)
    axes[0, 0].set_yticks([0.5, 1, 2, 4, 8, 16], ["½", "1", "2", "4", "8", "16"])
    axes[0, 0].set_ylabel("backward / forward")
    axes[1, 0].set_ylim(0, 115)
    axes[1, 0].set_ylabel("share of the products, %")
    lines = [
        Line2D([], [], color=color, label=f"{which} the gradient of the inputs")
        for which, color in _WHICH.items()
    ]
    lines += [
        Line2D([], [], color=GREY, label="operations of the products", **_LOOKS["predicted"]),
        Line2D([], [], color=GREY, label="operations counted", **_LOOKS["counted"]),
        Line2D([], [], color=GREY, ls="", marker="o", ms=3.5, label="time"),
        Line2D([], [], color=COLORS["reference"], ls="--", lw=0.8, label="the rule of thumb"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3)
    return figure


def _dots(ax: Axes, x: np.ndarray, turns: Sequence[np.ndarray], color: str) -> None:
    times = np.asarray(turns)
    ax.vlines(x, times.min(axis=1), times.max(axis=1), color=color, lw=0.8)
    ax.plot(x, np.median(times, axis=1), "o", ms=3.5, color=color)
