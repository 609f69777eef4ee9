"""Two runs of one experiment, side by side."""

import collections
import os
import pathlib
import re
import urllib.parse
from typing import Any, NamedTuple

import numpy as np

from chainrule import _html
from chainrule._html import Element, element
from chainrule.runs.pages.wording import measured, short
from chainrule.runs.read import Loaded, load

JSON = Any


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
    """

    series: str
    name_a: str
    name_b: str
    parts_at: int | None
    final_a: float
    final_b: float
    gap: float
    diverged: str


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
      tolerance: two values part where they differ by more than this, relative to the larger.

    Returns:
      A `Comparison`.

    Raises:
      ValueError: the runs are of different experiments, or have no series in common.
      FileNotFoundError: one is not a run folder.
    """
    a, b = load(run_a), load(run_b)
    if a.record["experiment"] != b.record["experiment"]:
        raise ValueError(
            f"{a.path} is a run of {a.record['experiment']!r} and {b.path} of "
            f"{b.record['experiment']!r}: compare two runs of one experiment"
        )
    pairs = _pairs(list(a.trace), list(b.trace))
    if not pairs:
        raise ValueError(
            f"{a.path} and {b.path} have no series in common: {list(a.trace)} against "
            f"{list(b.trace)}"
        )
    settings_a, settings_b = a.record.get("arguments", {}), b.record.get("arguments", {})
    return Comparison(
        a,
        b,
        tuple(_gap(x, y, a.trace[x], b.trace[y], tolerance) for x, y in pairs),
        tuple(name for name in a.trace if name not in {x for x, _ in pairs}),
        tuple(name for name in b.trace if name not in {y for _, y in pairs}),
        {
            name: (settings_a.get(name), settings_b.get(name))
            for name in sorted({*settings_a, *settings_b})
            if settings_a.get(name) != settings_b.get(name)
        },
    )


_RATE = re.compile(r"eta=([^/]+)")


def _pairs(names_a: list[str], names_b: list[str]) -> list[tuple[str, str]]:
    pairs = [(name, name) for name in names_a if name in names_b]
    left: dict[str, tuple[list[str], list[str]]] = collections.defaultdict(lambda: ([], []))
    for side, (names, others) in enumerate(((names_a, names_b), (names_b, names_a))):
        for name in names:
            if name not in others:
                left[_RATE.sub("eta", name)][side].append(name)
    pairs += [(x[0], y[0]) for x, y in left.values() if len(x) == len(y) == 1]
    return pairs


def _gap(name_a: str, name_b: str, a: np.ndarray, b: np.ndarray, tolerance: float) -> Gap:
    name = name_a
    if name_a != name_b:
        rates = [found.group(1) for found in map(_RATE.search, (name_a, name_b)) if found]
        name = _RATE.sub("eta=" + "|".join(rates), name_a)
    length = min(len(a), len(b))
    x, y = a[:length], b[:length]
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= tolerance * np.maximum(np.abs(x), np.abs(y))
    same = near | (x == y) | (np.isnan(x) & np.isnan(y))
    parts_at = None if same.all() else int(np.argmin(same))
    is_loss = name.rsplit("/", 1)[-1] == "loss"

    def ends_badly(values: np.ndarray) -> bool:
        return bool(not np.isfinite(values).all() or (is_loss and values[-1] > values[0]))

    diverged = ends_badly(a), ends_badly(b)
    word = {(True, True): "both", (True, False): "A", (False, True): "B"}.get(diverged, "")
    return Gap(
        name, name_a, name_b, parts_at, float(a[-1]), float(b[-1]), float(b[-1] - a[-1]), word
    )


def text(comparison: Comparison, containing: str = "") -> str:
    """Say how two runs compare: what was set differently, where each series parts, where it ends.

    Args:
      comparison: what `compare` returns.
      containing: show only the series with this in their name.

    Returns:
      Lines for the terminal.
    """
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
    return "\n".join(lines)


def page(
    comparison: Comparison,
    *,
    containing: str = "",
    picture: str | None = None,
    folder: str | os.PathLike[str] = ".",
) -> str:
    """Return the same as `text` as a page, with the final numbers of both and the overlay.

    Args:
      comparison: what `compare` returns.
      containing: show only the series with this in their name.
      picture: the address of the overlay, from where the page will lie.
      folder: where the page will lie, to find the reports of the two runs from there.

    Returns:
      The page; all text is escaped.
    """
    a, b = comparison.a, comparison.b
    experiment = str(a.record["experiment"])
    body = [element("h1", f"{experiment}: two runs side by side")]
    for which, run in (("A", a), ("B", b)):
        address = urllib.parse.quote(
            pathlib.Path(os.path.relpath(run.path.resolve(), pathlib.Path(folder).resolve()))
            .joinpath("report.html")
            .as_posix()
        )
        link = element("a", str(run.path), href=address)
        started = f", started {run.record.get('started', 'at an unknown time')}"
        body += [element("p", element("b", which), " ", link, started)]
    if comparison.arguments:
        rows = [(name, short(x), short(y)) for name, (x, y) in comparison.arguments.items()]
        body += [element("h2", "Set differently"), _html.table(("setting", "A ", "B "), rows)]
    if picture is not None:
        image = element("img", src=urllib.parse.quote(picture), alt="the series of both runs")
        body += [element("h2", "Side by side"), element("figure", image)]
    rows = [
        (
            gap.series,
            "never" if gap.parts_at is None else f"step {gap.parts_at}",
            *(f"{x:.6g}" for x in (gap.final_a, gap.final_b, gap.gap)),
            gap.diverged or "-",
        )
        for gap in comparison.gaps
        if containing in gap.series
    ]
    header = ("series", "parts at ", "final A ", "final B ", "B - A ", "diverged")
    body += [element("h2", "Series"), _html.table(header, rows)]
    for which, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            body += [element("p", f"Only in {which}: {', '.join(names)}", class_="soft")]
    results = [run.record.get("results") or {} for run in (a, b)]
    cells = []
    for name in dict.fromkeys([*results[0], *results[1]]):
        (in_a, expected_a), (in_b, expected_b) = (_result(name, each.get(name)) for each in results)
        cells.append((name, in_a, in_b, expected_a or expected_b))
    if cells:
        body += [element("h2", "Results"), _html.table(("", "A ", "B ", "expected "), cells)]
    return _html.document(f"{experiment}: {a.path.name} against {b.path.name}", *body)


def _result(name: str, result: JSON) -> tuple[Element | str, str]:
    """Return what was measured and what was expected, in words; a run need not have it."""
    if result is None:
        return "-", ""
    if not isinstance(result, dict):
        return measured(name, result), ""
    expected = result.get("expected")
    return measured(name, result.get("value")), "" if expected is None else short(expected)
