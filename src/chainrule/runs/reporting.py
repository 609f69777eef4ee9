"""The page of a run folder: what ran, on what, with which numbers, and how to run it again."""

import math
import operator
import os
import pathlib
import re
import statistics
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule import pages
from chainrule.pages import Element, element
from chainrule.runs.read import read_record

JSON = Any

# What has its own place on the page; whatever else an experiment noted is listed under its name.
_PLACED = {
    *("experiment", "about", "started", "command", "arguments", "seed", "results", "data"),
    *("wall_seconds", "compile_seconds", "versions", "commit", "machine", "device"),
}


def report(record: Mapping[str, JSON], files: Sequence[str]) -> str:
    """Return the page of a run, to lie in its folder as ``report.html``.

    It shows the figures and links to the pages among ``files`` by their relative addresses, so
    that the folder can be moved as a whole. All text is escaped.

    Args:
      record: what ``run.json`` holds.
      files: the names of the files in the folder.

    Example:
      >>> record = {"experiment": "demo", "results": {"loss": {"value": 0.25, "expected": 0.2}}}
      >>> page = report(record, ["loss.png", "loss.svg"])
      >>> '<td class="number">+25 %</td>' in page, '<img src="loss.png"' in page
      (True, True)
    """
    experiment = str(record["experiment"])
    body = [element("h1", experiment), element("p", _summary(record), class_="soft")]
    if record.get("about"):
        body += [element("pre", str(record["about"]).strip(), class_="about")]
    body += _results(record.get("results") or {})
    body += _files(files)
    if record.get("data"):
        body += [element("h2", "The data"), _value(record["data"])]
    body += _again(record)
    noted = {name: value for name, value in record.items() if name not in _PLACED}
    if noted:
        body += [element("h2", "Also noted"), _value(noted)]
    return pages.document(f"{experiment}, {record.get('started', '')}", *body)


def write_report(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write the ``report.html`` of a run folder anew, from its ``run.json`` and its files.

    Returns:
      The page.

    Raises:
      FileNotFoundError: the folder holds no ``run.json``.
      ValueError: that cannot be read; file and line are named.
    """
    folder = pathlib.Path(folder)
    record = read_record(folder)
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    page = folder / "report.html"
    page.write_text(report(record, names), encoding="utf-8")
    return page


def _summary(record: Mapping[str, JSON]) -> str:
    parts = [f"started {record.get('started', 'at an unknown time')}"]
    parts += [f"seed {record['seed']}"] if "seed" in record else []
    parts += [f"{record['wall_seconds']} s"] if "wall_seconds" in record else []
    if "compile_seconds" in record:
        parts += [f"of which {record['compile_seconds']} s compiling"]
    return ", ".join(parts)


def _results(results: Mapping[str, JSON]) -> list[Element]:
    if not results:
        return []
    rows = []
    for name, result in results.items():
        if not isinstance(result, Mapping):  # written by other hands
            result = {"value": result}
        value, expected = result.get("value"), result.get("expected")
        beside = "" if expected is None else short(expected)
        rows.append((name, measured(name, value), beside, _difference(value, expected)))
    return [
        element("h2", "Results"),
        pages.table(("", "measured ", "expected ", "difference "), rows),
        element(
            "p",
            "Expected is what the notes print, or what theory predicts; where nothing stands, "
            "nothing was printed. By seed: the median, the lowest and the highest; all of them. "
            "The difference of several numbers is that of their median; a limit has to be kept "
            "by each.",
            class_="soft",
        ),
    ]


def measured(name: str, value: JSON) -> Element | str:
    """Return a result in words: of one number a seed the median and the range above the numbers."""
    numbers = isinstance(value, list) and all(_is_number(x) for x in value)
    if "seed" not in name or not numbers or len(value) < 2:
        return short(value)
    low, middle, high = min(value), statistics.median(value), max(value)
    spread = f"{middle:.4g} ({low:.4g} to {high:.4g})"
    return element("span", spread, element("small", short(value)))


_LIMITS = {
    "at most": operator.le,
    "below": operator.lt,
    "at least": operator.ge,
    "above": operator.gt,
}


def _difference(value: JSON, expected: JSON) -> str:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(_is_number(x) for x in numbers):
        return ""
    if limit := re.fullmatch(rf"({'|'.join(_LIMITS)}) ([-+.\de]+)", str(expected)):
        return _kept(numbers, _LIMITS[limit[1]], float(limit[2]))
    if not _is_number(expected):
        return ""
    middle = statistics.median(numbers)
    if middle == expected:
        return "0"
    return f"{100 * (middle / expected - 1):+.3g} %" if expected else f"{middle:+.3g}"


def _kept(numbers: Sequence[float], keeps: Callable[[float, float], bool], limit: float) -> str:
    """Say whether numbers keep a limit, and by how much the worst of them does or does not."""
    kept = sum(keeps(x, limit) for x in numbers)
    worst = max(numbers) if keeps(limit - 1, limit) else min(numbers)
    word = "met" if kept == len(numbers) else "not met"
    if 0 < kept < len(numbers):
        word += f" by {len(numbers) - kept} of {len(numbers)}"
    if worst == limit:
        return f"{word}, to the digit"
    where = "above" if worst > limit else "below"
    if limit <= 0:
        return f"{word}, {abs(worst - limit):.3g} {where}"
    if worst >= 2 * limit:
        return f"{word}, {worst / limit:.3g} times the limit"
    return f"{word}, {100 * abs(worst / limit - 1):.3g} % {where}"


def _is_number(value: JSON) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and math.isfinite(value)


def _files(files: Sequence[str]) -> list[Element]:
    names = sorted(set(files) - {"report.html"})
    links = [name for name in names if name.endswith(".html")]
    # A picture is one figure, as .png, as .svg or, mostly, as both.
    pictures = [name for name in names if name.endswith((".png", ".svg"))]
    stems = sorted({name[:-4] for name in pictures})
    others = [name for name in names if name not in {*links, *pictures}]
    body = []
    if links:
        body += [element("h2", "To play with"), _list(links)]
    if stems:
        body += [element("h2", "Figures")]
    for stem in stems:
        kinds = [stem + end for end in (".png", ".svg") if stem + end in names]
        title = stem.replace("_", " ")
        image = element("img", src=_address(kinds[0]), alt=title, loading="lazy")
        link = element("a", image, href=_address(kinds[-1]))
        body += [element("figure", link, element("figcaption", title))]
    if others:
        body += [element("h2", "Numbers and other files"), _list(others)]
    return body


def _list(names: Sequence[str]) -> Element:
    return element(
        "ul", *(element("li", element("a", name, href=_address(name))) for name in names)
    )


def _address(name: str) -> str:
    # A colon in the first part would read as a scheme.
    return urllib.parse.quote(name, safe="/")


def _again(record: Mapping[str, JSON]) -> list[Element]:
    body = [element("h2", "Run it again")]
    if record.get("command"):
        body += [element("pre", str(record["command"]))]
    commit = record.get("commit")
    if commit:
        changed = str(commit).endswith("+")
        where = "It ran at commit "
        after = ", with changes that were not committed." if changed else "."
        body += [element("p", where, element("code", str(commit).rstrip("+")), after)]
    machine = {name: record[name] for name in ("machine", "device") if record.get(name)}
    parts = {"Settings": record.get("arguments"), "Versions": record.get("versions")}
    columns = [
        element("div", element("h2", title), _value(part))
        for title, part in {**parts, "Machine": machine}.items()
        if part
    ]
    return [*body, element("div", *columns, class_="columns")]


def _value(value: JSON) -> Element:
    """Return any JSON value as a table of names and values, or as text."""
    if not isinstance(value, Mapping):
        return element("span", short(value))
    rows = [(str(name), _value(item)) for name, item in value.items()]
    return pages.table(("", ""), rows)


def short(value: JSON) -> str:
    """Return a JSON value in a few words: six digits of a number, a list with commas.

    Example:
      >>> short([0.1234567, 3, None, "inf", {"a": True}])
      '0.123457, 3, none, inf, a: True'
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(short(item) for item in value)
    return str(value)
