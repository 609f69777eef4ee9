"""Walks the tables of `notebooks/notes.md`: what they name is there, and their numbers are its."""

import functools
import importlib
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from worked import printouts
from worked.claims import CLAIMS
from worked.errata import ERRATA
from worked.examples import EXAMPLES, Example
from worked.printed import show
from worked.shapes import SHAPES

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOOK = ROOT / "notebooks"
FIGURES = ROOT / "experiments" / "figures"
ROWS = {entry.name: entry for entry in (*EXAMPLES, *CLAIMS, *SHAPES)}
SLIPS = {slip.printed: slip for slip in ERRATA}
NUMBER = re.compile(r"(?<![\w.^])[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?: %)?(?![\w])")
KINDS = {  # how a place is written, in the last column
    "row": r"row `(.+)`",
    "erratum": r"erratum `(.+)`",
    "printed": r"printed `(\w+)`",
    "picture": r"picture `(\S+)`",
    "script": r"`(\w+\.py)`",
    "pytorch": r"\[From PyTorch, (.+)\]\(from_pytorch\.md\)",
    "section": r"\[(\w+, .+)\]\((\S+)\.ipynb\)",
    "notebook": r"\[(\d\w*)\]\((\S+)\.ipynb\)",
    "name": r"\{py:(?:func|mod)\}`~(chainrule[\w.]+)`",
}


def table(page: str) -> Iterator[list[str]]:
    """Yield the four cells of every row: there, printed there, here, where."""
    for line in page.partition("## Every example")[2].splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0] not in ("there", "---"):
            yield cells


def places(where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the kind of each place, and what it names."""
    for text in re.split(r"; (?=row|err|pri|pic|`|\[|\{)", where):
        found = [(k, m.groups()) for k, p in KINDS.items() if (m := re.fullmatch(p, text))]
        if len(found) != 1:
            raise LookupError(f"no place: {text}")
        yield found[0]


def complaints(page: str, results: Mapping[str, Any]) -> list[str]:
    """Return what is named and not there, and every number that nothing gives.

    Args:
      page: the text of the page.
      results: of a run of `experiments/worked_examples.py`.
    """
    wrong = []
    for there, printed, here, where in table(page):
        try:
            evidence = [Evidence.of(kind, names, results) for kind, names in places(where)]
        except LookupError as error:
            wrong.append(f"{there}: {error.args[0]}")
            continue
        for part in f"{printed}; {here}".split("; "):
            numbers = NUMBER.findall(part)
            lone = [n for n in numbers if not any(one.gives([n]) for one in evidence)]
            wrong += [f"{there}: nothing gives {number}" for number in lone]
            # Three and more come from one place, in their order: a small number alone is often
            # given by something.
            if len(numbers) > 2 and not lone and not any(one.gives(numbers) for one in evidence):
                wrong.append(f"{there}: nothing gives {part} in this order")
    return wrong


class Evidence(NamedTuple):
    """The numbers behind a place.

    Attributes:
      known: in their order.
      slack: how far one may be from them, relative to it.
      dense: whether several must follow one another without a gap.
    """

    known: list[float]
    slack: float
    dense: bool

    @classmethod
    def of(cls, kind: str, names: tuple[str, ...], results: Mapping[str, Any]) -> "Evidence":
        """Return the numbers behind a place."""
        text = behind(kind, names, results).replace(" %", "")
        known = [value(number) for number in NUMBER.findall(text)]
        # What is computed now may be by another CPU; the rest is text, and was rounded before.
        slack = 1e-4 if kind in ("row", "erratum") else 1e-12
        return cls(known, slack, dense=kind in ("row", "erratum", "printed"))

    def gives(self, numbers: list[str]) -> bool:
        """Tell whether some of them, in their order, round to those written."""
        if self.dense:
            rows = [self.known[at : at + len(numbers)] for at in range(len(self.known))]
            whole = [row for row in rows if len(row) == len(numbers)]
            return any(all(map(self._close, numbers, row)) for row in whole)
        rest = iter(self.known)
        return all(any(self._close(number, one) for one in rest) for number in numbers)

    def _close(self, number: str, known: float) -> bool:
        """Tell whether a number rounds to the digits of a written one; a share may be in %."""
        mantissa, _, power = number.removesuffix(" %").partition("e")
        decimals = len(mantissa.partition(".")[2])
        off = 0.5 * 10.0 ** (int(power or 0) - decimals) + self.slack * abs(known)
        shares = (known, 100 * known) if number.endswith("%") else (known,)
        return any(abs(value(number) - one) <= (off if decimals else 0.0) for one in shares)


def value(number: str) -> float:
    """Return a number as it is written."""
    return float(number.replace(",", "").replace("\u2212", "-").removesuffix(" %"))


def behind(kind: str, names: tuple[str, ...], results: Mapping[str, Any]) -> str:
    """Return the text whose numbers stand behind a place, or say that there is none."""
    name = names[0].replace("\\|", "|")
    if kind == "row":
        entry = ROWS[only(name, ROWS)]
        result = results[entry.name]
        inputs = entry.inputs if isinstance(entry, Example) else ""
        return f"{entry.name} {inputs} {texts(result['expected'])} {texts(result['value'])}"
    if kind == "erratum":
        slip = SLIPS[only(name, SLIPS)]
        numbers = results[f"erratum: {slip.printed}"]["value"]
        return f"{slip.printed} {slip.right} {slip.expected} {texts(numbers)}"
    if kind == "printed":
        return columns(vars(printouts)[name])
    if kind == "picture":
        return found(FIGURES / name, "")
    if kind == "script":
        found(ROOT / "experiments" / name, "")
        return experiments()[name]
    if kind == "pytorch":
        return pytorch()[name]
    if kind == "name":
        return imported(name)
    if not names[1].startswith(f"{name.partition(',')[0].zfill(2)}_"):
        raise LookupError(f"{names[1]} is not notebook {name}")
    sections = notebook(names[1])
    return sections[name.partition(", ")[2]] if kind == "section" else ""


def columns(printout: Any) -> str:
    """Return a printout, column by column."""
    rows = printout.values() if isinstance(printout, dict) else printout
    return repr(list(zip(*rows, strict=True))) if printout is not printouts.LINEAR else repr(rows)


def only(start: str, names: Mapping[str, Any]) -> str:
    """Return the name that is this, or else the only one that begins so."""
    hits = [start] if start in names else [name for name in names if name.startswith(start)]
    if len(hits) != 1:
        raise LookupError(f"{len(hits)} begin with {start}")
    return hits[0]


def found(path: pathlib.Path, text: str) -> str:
    """Return a text if a file exists."""
    if not path.is_file():
        raise LookupError(f"there is no {path.name}")
    return text


def texts(tree: Any) -> str:
    """Return all numbers of a result, as text."""
    if isinstance(tree, Mapping):
        return " ".join(map(texts, tree.values()))
    if isinstance(tree, list) and any(isinstance(one, str) for one in tree):
        return " ".join(map(str, tree))
    return show(tree)


def imported(name: str) -> str:
    """Import a module, or what stands in it."""
    module, _, last = name.rpartition(".")
    if not hasattr(importlib.import_module(module), last):
        importlib.import_module(name)
    return ""


@functools.cache
def experiments() -> dict[str, str]:
    """Return the rows of each script on the page of experiments: what runs of it gave."""
    rows: dict[str, str] = {}
    script = ""
    for line in (BOOK / "experiments.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            named = re.match(r"\| `experiments/(\w+\.py)", line)
            script = named[1] if named else script
            rows[script] = rows.get(script, "") + line
        elif line.startswith("#"):
            script = ""
    return rows


@functools.cache
def pytorch() -> dict[str, str]:
    """Return what the right halves of each section print, which a test runs."""
    page = (BOOK / "from_pytorch.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)[1:]
    return {
        title: " ".join(re.findall(r"^\s*print\(.*?  # (.*)$", text, re.MULTILINE))
        for title, text in zip(sections[::2], sections[1::2], strict=True)
    }


@functools.cache
def notebook(name: str) -> dict[str, str]:
    """Return the code of each section of a notebook, with the checks, and what it printed."""
    path = BOOK / f"{name}.ipynb"
    found(path, "")
    sections, title = {"": ""}, ""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for title in re.findall(r"^## (.+)$", source, re.MULTILINE):
                sections[title] = ""
        else:
            printed = ("".join(out.get("text", ())) for out in cell["outputs"])
            sections[title] += " ".join([source, *printed, ""])
    return sections
