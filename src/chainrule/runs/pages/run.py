"""The page of a run folder: what ran, on what, with which numbers, and how to run it again."""

import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence

from chainrule import _files, _html, _require
from chainrule._files import JSON
from chainrule._html import Column, Element, element
from chainrule.runs.formats import upgraded
from chainrule.runs.limits import Limit, from_json
from chainrule.runs.pages.cells import measured, shown
from chainrule.runs.read import read_record
from chainrule.runs.wording import difference

__all__ = ["MANY", "report", "write_report"]
__dir__ = __all__.copy

MANY = 20
"""Up to so many results stand before the figures; more of them stand behind."""

# What has its own place on the page, or is for `chainrule.runs.compare`; whatever else an
# experiment noted is listed under its name.
_PLACED = {
    *("experiment", "about", "started", "command", "arguments", "seed", "results", "data"),
    *("format", "series"),
    *("wall_seconds", "compile_seconds", "versions", "commit", "machine", "device"),
}


def report(record: Mapping[str, JSON], files: Sequence[str]) -> str:
    """Return the page of a run, for its folder, as ``report.html``.

    It shows the figures and links to the pages among ``files`` by relative addresses, so that the
    folder can be moved as a whole. All text is escaped.

    Args:
      record: what ``run.json`` holds.
      files: the names of the files in the folder.

    Raises:
      ValueError: the record names no experiment, or an argument is of another type.

    Example:
      >>> record = {"experiment": "demo", "results": {"loss": {"value": 0.25, "expected": 0.2}}}
      >>> page = report(record, ["loss.png", "loss.svg"])
      >>> '<td class="number">+25 %</td>' in page, '<img src="loss.png"' in page
      (True, True)
    """
    _require.instance("record", record, Mapping, "a mapping, what run.json holds")
    files = _require.several("files", files, str, "file names")
    if not isinstance(record.get("experiment"), str):
        raise ValueError("record names no experiment: it must be what run.json holds")
    record = upgraded(record)
    experiment = record["experiment"]
    body = [element("h1", experiment), element("p", _summary(record), class_="soft")]
    if record.get("about"):
        body += _html.prose(str(record["about"]))
    results = record.get("results") or {}
    tables = _results(results)
    before = 1 if len(results) <= MANY else 0
    body += [*tables[:before], *_shown_files(files), *tables[before:]]
    if record.get("data"):
        body += [element("h2", "The data"), _value(record["data"])]
    body += _again(record)
    noted = {name: value for name, value in record.items() if name not in _PLACED}
    if noted:
        body += [element("h2", "Also noted"), _value(noted)]
    return _html.document(f"{experiment}, {record.get('started', '')}", *body)


def write_report(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Write the ``report.html`` of a run folder anew, from its ``run.json`` and its files.

    Returns:
      The page.

    Raises:
      FileNotFoundError: the folder holds no ``run.json``.
      ValueError: that cannot be read; file and line are named.
    """
    folder = _require.path("folder", folder)
    record = read_record(folder)
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    page = folder / "report.html"
    _files.write(page, report(record, names))
    return page


def _summary(record: Mapping[str, JSON]) -> str:
    parts = [f"started {record.get('started', 'at an unknown time')}"]
    parts += [f"seed {record['seed']}"] if "seed" in record else []
    parts += [f"{record['wall_seconds']} s"] if "wall_seconds" in record else []
    if "compile_seconds" in record:
        parts += [f"of which {record['compile_seconds']} s compiling"]
    return ", ".join(parts)


def _results(results: Mapping[str, JSON]) -> list[Element]:
    """Return a section of the results of which something was expected, and one of the others."""
    compared, others = [], []
    for name, result in results.items():
        if not isinstance(result, Mapping):  # not written by a run of ours
            result = {"value": result}
        value, expected = result.get("value"), result.get("expected")
        if expected is None:
            others.append((name, measured(result)))
        else:
            apart = difference(value, expected)
            compared.append((name, measured(result), _expected(expected), apart))
    number = {name: Column(name, numeric=True) for name in ("measured", "expected", "difference")}
    sections = []
    if compared:
        said = (
            "Expected is what the notes print, what theory predicts, or a target. Of one number a "
            "seed, a turn or a pair: the median, the lowest and the highest. The difference of "
            "several numbers is that of their median; a limit must be kept by each."
        )
        table = _html.table(("", *number.values()), compared)
        note = element("p", said, class_="soft")
        sections += [element("section", element("h2", "Results"), table, note)]
    if others:
        title = "Measured, with nothing to compare with" if compared else "Results"
        table = _html.table(("", number["measured"]), others)
        sections += [element("section", element("h2", title), table)]
    return sections


def _expected(expected: JSON) -> Element | str:
    limit = from_json(expected)
    return str(limit) if isinstance(limit, Limit) else shown(expected)


def _shown_files(files: Sequence[str]) -> list[Element]:
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
        return element("span", shown(value))
    rows = [(str(name), _value(item)) for name, item in value.items()]
    return _html.table(("", ""), rows)
