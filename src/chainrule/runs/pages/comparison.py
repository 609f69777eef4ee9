"""The page of two runs side by side: the same as the text, with the results and the overlay."""

import collections
import os
import pathlib
import re
import urllib.parse
from collections.abc import Sequence

from chainrule import _html, _require
from chainrule._files import JSON
from chainrule._html import Column, Element, element
from chainrule.runs.comparing import Comparison
from chainrule.runs.pages.cells import measured
from chainrule.runs.wording import short, wanted

__all__ = ["page"]
__dir__ = __all__.copy

_RATE = re.compile(r"(\beta[ =])([0-9][0-9.e+-]*)")
_A, _B = Column("A", numeric=True), Column("B", numeric=True)


def page(
    comparison: Comparison,
    *,
    containing: str = "",
    picture: str | None = None,
    folder: str | os.PathLike[str] = ".",
    told: Sequence[str] = (),
) -> str:
    """Return how two runs compare as a page, with the final numbers of both and the overlay.

    Args:
      comparison: what `chainrule.runs.compare` returns.
      containing: show only the series with this in their name.
      picture: the address of the overlay, relative to the page.
      folder: where the page will be, to find the reports of the two runs from there.
      told: what is said of the two, as `chainrule.runs.telling.told` says it.

    Returns:
      The page; all text is escaped.

    Raises:
      ValueError: an argument is of another type.
    """
    _require.instance("comparison", comparison, Comparison, "what runs.compare returns")
    _require.text("containing", containing)
    if picture is not None:
        _require.text("picture", picture)
    place = _require.path("folder", folder).resolve()
    a, b = comparison.a, comparison.b
    experiment = str(a.record["experiment"])
    body = [element("h1", f"{experiment}: two runs side by side")]
    for which, run in (("A", a), ("B", b)):
        address = urllib.parse.quote(
            pathlib.Path(os.path.relpath(run.path.resolve(), place))
            .joinpath("report.html")
            .as_posix()
        )
        link = element("a", str(run.path), href=address)
        started = f", started {run.record.get('started', 'at an unknown time')}"
        body += [element("p", element("b", which), " ", link, started)]
    if comparison.arguments:
        rows = [(name, short(x), short(y)) for name, (x, y) in comparison.arguments.items()]
        body += [element("h2", "Set differently"), _html.table(("setting", _A, _B), rows)]
    if picture is not None:
        image = element("img", src=urllib.parse.quote(picture), alt="the series of both runs")
        body += [element("h2", "Side by side"), element("figure", image)]
    if told:
        sentences = _require.several("told", told, str, "sentences")
        body += [element("h2", "Where they part"), *(element("p", one) for one in sentences)]
    body += [element("h2", "Series"), _series(comparison, containing)]
    for which, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            body += [element("p", f"Only in {which}: {', '.join(names)}", class_="soft")]
    body += _results(a.record.get("results") or {}, b.record.get("results") or {})
    return _html.document(f"{experiment}: {a.path.name} against {b.path.name}", *body)


def _series(comparison: Comparison, containing: str) -> Element:
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
    numeric = (Column(name, numeric=True) for name in ("parts at", "final A", "final B", "B - A"))
    return _html.table(("series", *numeric, "diverged"), rows)


def _results(results_a: dict[str, JSON], results_b: dict[str, JSON]) -> list[Element]:
    rows = []
    for name, *names in _paired(results_a, results_b):
        both = [of.get(one) for of, one in zip((results_a, results_b), names, strict=True)]
        cells = ["-" if one is None else measured(one) for one in both]
        expected = next((e for one in both if (e := _expected(one)) is not None), None)
        rows.append((name, *cells, "" if expected is None else wanted(expected)))
    if not rows:
        return []
    header = ("", _A, _B, Column("expected", numeric=True))
    return [element("h2", "Results"), _html.table(header, rows)]


def _paired(results_a: dict[str, JSON], results_b: dict[str, JSON]) -> list[tuple[str, str, str]]:
    """Return the rows of two tables: their name, and the names of the results in A and in B.

    Results that differ in nothing but their learning rate share a row, where that leaves no choice.
    """
    stems: dict[str, tuple[list[str], list[str]]] = collections.defaultdict(lambda: ([], []))
    for side, (some, others) in enumerate(((results_a, results_b), (results_b, results_a))):
        for name in some:
            if name not in others and _RATE.search(name):
                stems[_RATE.sub(r"\1*", name)][side].append(name)
    mates = {x[0]: y[0] for x, y in stems.values() if len(x) == len(y) == 1}
    rows = []
    for name in dict.fromkeys([*results_a, *results_b]):
        if name in mates:
            rate = _RATE.search(mates[name])
            both = _RATE.sub(lambda m, r=rate: f"{m[0]}|{r[2] if r else ''}", name)
            rows.append((both, name, mates[name]))
        elif name not in mates.values():
            rows.append((name, name, name))
    return rows


def _expected(result: JSON) -> JSON:
    return result.get("expected") if isinstance(result, dict) else None
