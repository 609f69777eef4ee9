"""The programs of ``tests/xray_cases``: what their headers expect, and what the x-ray says of them.

    python -m tests.xray.cases    # write what it says into notebooks/nan_cases.md

A header names the public report that the program was made after, says what is expected, and for the
test the kind of the first birth and an expression that its reason matches. The line of the birth is
marked in the program.
"""

import contextlib
import functools
import importlib.util
import pathlib
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax

from chainrule import xray
from chainrule.xray.births import Datum

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "notebooks/nan_cases.md"
DEAD = "dead gradient"
_BEGIN, _END = "<!-- the rows: python -m tests.xray.cases -->\n", "<!-- end of the rows -->"
_FIELD = re.compile(r"# (\w+): (.*)")
_LINE = re.compile(r"[\w.]+\.py:\d+")


class Case(NamedTuple):
    """A program and its header.

    Attributes:
      path: its file.
      source: the report it was made after.
      kind: ``NaN forward``, ``Inf backward in a gradient``, ``NaN in the data``, ``dead gradient``.
      why: an expression that the reason matches.
      born: the marked lines, as ``file.py:line``.
    """

    path: pathlib.Path
    source: str
    kind: str
    why: str
    born: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def needs(self) -> tuple[str, ...]:
        """The packages that only `make zoo` has."""
        text = self.path.read_text(encoding="utf-8")
        return tuple(re.findall(r"^import (diffrax|haiku)\b", text, re.M))


def read(path: pathlib.Path) -> Case:
    lines = path.read_text(encoding="utf-8").splitlines()
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line.startswith("#"):
            break
        field = _FIELD.fullmatch(line)
        name = field[1] if field else name
        fields[name] = field[2] if field else f"{fields[name]} {line[1:].strip()}"
    marked = [k for k, line in enumerate(lines, start=1) if re.search("# (BORN|DIED)$", line)]
    born = tuple(f"{path.name}:{k}" for k in marked)
    return Case(path, fields["SOURCE"], fields["KIND"], fields.get("WHY", ""), born)


CASES = {path.stem: read(path) for path in sorted((ROOT / "tests/xray_cases").glob("*.py"))}


@contextlib.contextmanager
def as_others_run() -> Iterator[None]:
    """JAX's own rules of promotion, and warnings that are theirs."""
    promotion = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with promotion[0], promotion[1], warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.cache
def program(name: str) -> tuple[Any, tuple[Any, ...]]:
    """Return the function and its arguments."""
    spec = importlib.util.spec_from_file_location(name, CASES[name].path)
    module = importlib.util.module_from_spec(spec)
    with as_others_run():
        spec.loader.exec_module(module)
        return module.loss, module.example_args()


@functools.cache
def report(name: str) -> xray.Report:
    loss, args = program(name)
    with as_others_run():
        return xray.xray(loss, *args)


def kind(one: Any) -> str:
    """Return the kind of a birth, or of bad data, as a header says it."""
    if isinstance(one, Datum):
        return f"{one.kind} in the data"
    return f"{one.kind} {one.phase}" + (" in a gradient" if one.in_gradient else "")


def first_line(text: str) -> str:
    """Return the first ``file.py:line`` in a text, "" if there is none."""
    return next(iter(_LINE.findall(text)), "")


def row(name: str) -> list[str]:
    """Return the first cells: the report it was made after, what is said first, its line."""
    case, found = CASES[name], report(name).nonfinite()
    one, line = next(iter(found.ordered), None), first_line(str(found))
    made_after = case.source.partition(":")[0]
    if one is None:
        return [made_after, f"nothing: its gradient is 0 from `{case.born[0]}` on", ""]
    what = f"{kind(one)}: `{one.name if isinstance(one, Datum) else one.op}`"
    true = "" if line in case.born else f"; true is `{case.born[0]}`"
    return [made_after, what, f"`{line}`{true}"]


def cured(name: str) -> list[str]:
    """Return its last cells: the first cure that holds, and how many of those tried do."""
    if CASES[name].kind == DEAD:
        return ["", ""]
    with as_others_run():
        cures = report(name).nonfinite().cures()
    code = [line for cure in cures[:1] for line in cure.code.splitlines()]
    tried = len(cures) + len(cures.tried)
    return ["<br>".join(f"`{line}`" for line in code) or "none", f"{tried}, {len(cures)} hold"]


def rows() -> dict[str, list[str]]:
    """Return the rows that stand on the page, by the name of the program."""
    table = PAGE.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]
    found = {}
    for line in table.splitlines()[2:]:
        (name,) = {name for name in CASES if f"{name}.py" in line}
        found[name] = line[2:-2].split(" | ")
    return found


def main() -> None:
    """Write the rows; that of a program whose packages are missing stays as it is."""
    there = [name for name, case in CASES.items() if all(map(find_spec, case.needs))]
    table = rows() | {name: [*row(name), *cured(name)] for name in there}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    text = "\n".join(
        [*rest.splitlines()[:2], *(f"| {' | '.join(table[name])} |" for name in sorted(table))]
    )
    PAGE.write_text(f"{before}{_BEGIN}{text}\n{_END}{rest.partition(_END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
