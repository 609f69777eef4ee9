"""Two runs of one experiment, side by side."""

import collections
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from chainrule import _require
from chainrule._files import JSON, printable
from chainrule.runs.read import Loaded, load
from chainrule.runs.trace import Series

__all__ = ["Comparison", "Gap", "compare", "text"]
__dir__ = __all__.copy


class Gap(NamedTuple):
    """How one series of two runs compares.

    Attributes:
      series: its name; both rates are in it where it was paired across two rates.
      name_a: its column in run A.
      name_b: its column in run B.
      parts_at: the first step at which the two differ by more than the tolerance; None if never.
      final_a: run A's last value.
      final_b: run B's last value.
      gap: ``final_b - final_a``.
      diverged: ``"A"``, ``"B"``, ``"both"`` or ``""``: whose values are not all finite or, for a
        loss, end above their start.
      loss: whether it is a loss in both runs.
    """

    series: str
    name_a: str
    name_b: str
    parts_at: int | None
    final_a: float
    final_b: float
    gap: float
    diverged: str
    loss: bool = False


class Comparison(NamedTuple):
    """Two runs of one experiment side by side.

    Attributes:
      a: the first run.
      b: the second run.
      gaps: one entry for each series that both have.
      only_a: the series that only ``a`` has.
      only_b: the series that only ``b`` has.
      arguments: the settings that differ, ``name -> (in a, in b)``.
    """

    a: Loaded
    b: Loaded
    gaps: tuple[Gap, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    arguments: dict[str, tuple[JSON, JSON]]


def compare(
    run_a: str | os.PathLike[str], run_b: str | os.PathLike[str], *, tolerance: float = 1e-6
) -> Comparison:
    """Compare two runs of the same experiment, series by series.

    Series of the same name are paired. Of the others, two that differ only in their learning rate
    are paired where that leaves no choice: a run at eta = 0.125 against a run at eta = 0.5.

    Args:
      run_a: a run folder.
      run_b: another one.
      tolerance: two values differ where they do so by more than this, relative to the larger.

    Returns:
      A `Comparison`.

    Raises:
      ValueError: the runs are of different experiments, or have no series in common; or the
        tolerance is negative or not finite.
      FileNotFoundError: one is not a run folder.
    """
    _require.real("tolerance", tolerance, least=0)
    a, b = load(_require.path("run_a", run_a)), load(_require.path("run_b", run_b))
    if a.record["experiment"] != b.record["experiment"]:
        raise ValueError(
            f"{a.path} is a run of {a.record['experiment']!r} and {b.path} of "
            f"{b.record['experiment']!r}: compare two runs of one experiment"
        )
    pairs = _pairs(a.series, b.series)
    if not pairs:
        raise ValueError(
            f"{a.path} and {b.path} have no series in common: {list(a.trace)} against "
            f"{list(b.trace)}"
        )
    settings_a, settings_b = (run.record.get("arguments") or {} for run in (a, b))
    return Comparison(
        a,
        b,
        tuple(_gap(x, y, a.series[x], b.series[y], tolerance) for x, y in pairs),
        tuple(name for name in a.trace if name not in {x for x, _ in pairs}),
        tuple(name for name in b.trace if name not in {y for _, y in pairs}),
        {
            name: (settings_a.get(name), settings_b.get(name))
            for name in sorted({*settings_a, *settings_b})
            if settings_a.get(name) != settings_b.get(name)
        },
    )


def _pairs(a: Mapping[str, Series], b: Mapping[str, Series]) -> list[tuple[str, str]]:
    pairs = [(name, name) for name in a if name in b]
    left: dict[str, tuple[list[str], list[str]]] = collections.defaultdict(lambda: ([], []))
    for side, (some, others) in enumerate(((a, b), (b, a))):
        for name, one in some.items():
            if name not in others and one.stem is not None:
                left[one.stem][side].append(name)
    pairs += [(x[0], y[0]) for x, y in left.values() if len(x) == len(y) == 1]
    return pairs


def _gap(name_a: str, name_b: str, a: Series, b: Series, tolerance: float) -> Gap:
    name = name_a if name_a == name_b else f"{a.stem}, eta={a.eta:g}|{b.eta:g}"
    length = min(len(a.values), len(b.values))
    x, y = a.values[:length], b.values[:length]
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= tolerance * np.maximum(np.abs(x), np.abs(y))
    same = near | (x == y) | (np.isnan(x) & np.isnan(y))
    final_a, final_b = float(a.values[-1]), float(b.values[-1])
    return Gap(
        name,
        name_a,
        name_b,
        None if same.all() else int(np.argmin(same)),
        final_a,
        final_b,
        final_b - final_a,
        {(True, True): "both", (True, False): "A", (False, True): "B"}.get(
            (_diverged(a), _diverged(b)), ""
        ),
        a.loss and b.loss,
    )


def _diverged(one: Series) -> bool:
    ends_above = one.loss and one.values[-1] > one.values[0]
    return bool(ends_above or not np.isfinite(one.values).all())


def text(comparison: Comparison, containing: str = "") -> str:
    """Say how two runs compare: what was set differently, where each series parts, where it ends.

    Args:
      comparison: what `compare` returns.
      containing: show only the series with this in their name.

    Raises:
      ValueError: an argument is of another type.

    Returns:
      Lines for the terminal, in which what could move its cursor is escaped.
    """
    _require.instance("comparison", comparison, Comparison, "what runs.compare returns")
    _require.text("containing", containing)
    a, b = comparison.a, comparison.b
    lines = [f"A: {a.path}", f"B: {b.path}"]
    for name, (in_a, in_b) in comparison.arguments.items():
        lines.append(f"  {name}: {in_a} in A, {in_b} in B")
    gaps = [gap for gap in comparison.gaps if containing in gap.series]
    width = max([len(gap.series) for gap in gaps] + [len("series")])
    header = (
        f"{'series':<{width}}  parts at  {'final A':>12}  {'final B':>12}  {'B - A':>12}  diverged"
    )
    lines.append(header)
    for gap in gaps:
        parts = "never" if gap.parts_at is None else f"step {gap.parts_at}"
        numbers = "  ".join(f"{x:>12.6g}" for x in (gap.final_a, gap.final_b, gap.gap))
        lines.append(f"{gap.series:<{width}}  {parts:>8}  {numbers}  {gap.diverged or '-'}")
    for which, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            lines.append(f"only in {which}: {', '.join(names)}")
    return "\n".join(map(printable, lines))
