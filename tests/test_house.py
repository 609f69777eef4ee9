"""The structure of the package: one way down, no circle, no second name, a map that is true."""

import ast
import importlib
import io
import pathlib
import tokenize
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
LIMIT = 28_080
"""Lines of code that `src` may have, docstrings and comments not counted."""


def module_of(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted((SRC / "chainrule").rglob("*.py"))}


def imports(name):
    """Every module of ours that a module imports at its top level, for types alone too.

    An import inside a function is none: it is made when the function runs.
    """
    found = set()
    stack = list(ast.parse(FILES[name].read_text(encoding="utf-8")).body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
        stack += ast.iter_child_nodes(node)
    return {one for one in found if one in FILES} - {name}


GRAPH = {name: imports(name) for name in FILES}


def circle(graph):
    """Return one circle of a graph, as a list of names, or None."""
    done = set()
    for start in graph:
        path, entered = [], []
        stack = [(start, iter(sorted(graph[start])))] if start not in done else []
        if stack:
            path, entered = [start], {start}
        while stack:
            name, rest = stack[-1]
            for after in rest:
                if after in entered:
                    return [*path[path.index(after) :], after]
                if after not in done:
                    stack.append((after, iter(sorted(graph[after]))))
                    path.append(after)
                    entered.add(after)
                    break
            else:
                stack.pop()
                path.pop()
                entered.discard(name)
                done.add(name)
    return None


def test_no_module_imports_itself_over_others_not_even_for_types():
    assert circle(GRAPH) is None


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_an_import_for_types_alone_counts(tmp_path, monkeypatch):
    file = tmp_path / "probe.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from chainrule.ops import linear\n"
        "def late():\n    import chainrule.cli\n"
    )
    monkeypatch.setitem(FILES, "probe", file)
    assert imports("probe") == {"chainrule.ops.linear"}


FLOORS = (
    ("_require", "_files", "_html", "_modules", "_arrays"),
    ("compiling", "ops", "losses", "landscapes", "check", "data"),
    ("features", "descent", "verification", "models", "xray"),
    ("training", "runs", "explorer", "plots"),
    ("_jobs", "_commands", "cli"),
)
"""The rooms, the lowest floor first: a room imports from its own floor or from those below."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(name):
    return name.split(".")[1]


def test_every_room_stands_on_a_floor_and_imports_run_downwards():
    rooms = {room(name) for name in FILES if "." in name}
    assert rooms == set(FLOOR)
    upwards = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if name != "chainrule" != other and FLOOR[room(other)] > FLOOR[room(name)]
    ]
    assert upwards == []


def test_the_x_ray_imports_leaves_only():
    leaves = {"xray", "_require", "_files", "_html", "_modules", "compiling", "check"}
    others = {
        f"{name} imports {other}"
        for name, seen in GRAPH.items()
        if name.startswith("chainrule.xray")
        for other in seen
        if room(other) not in leaves and other != "chainrule.data.tensors"
    }
    assert others == set()


def test_matplotlib_is_imported_by_plots_alone():
    users = {
        name
        for name, path in FILES.items()
        if "import matplotlib" in (text := path.read_text(encoding="utf-8"))
        or "from matplotlib" in text
    }
    assert users
    assert {room(name) for name in users} == {"plots"}


def code_lines(path):
    """Return how many lines of a file are code: no blank line, no comment, no docstring."""
    source = path.read_text(encoding="utf-8")
    lines = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in {*skipped, tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            # A docstring, or the text that documents the name before it.
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                lines -= set(range(statement.lineno, statement.end_lineno + 1))
    return len(lines)


def test_the_code_stays_within_its_budget(record_property):
    sizes = {name: code_lines(path) for name, path in FILES.items()}
    record_property("lines of code", sum(sizes.values()))
    assert sum(sizes.values()) <= LIMIT
    assert {name: size for name, size in sizes.items() if size > 260} == {}, "two concepts?"


def public_modules():
    return [name for name in FILES if not any(part.startswith("_") for part in name.split(".")[1:])]


@pytest.mark.parametrize("name", public_modules())
def test_a_public_module_names_what_is_its_own_and_shows_nothing_else(name):
    module = importlib.import_module(name)
    if name != "chainrule" and not hasattr(module, "__path__"):
        assert set(module.__all__) <= set(vars(module)), "what __all__ names must be there"
    shown = [one for one in dir(module) if not one.startswith("_")]
    strangers = [
        one
        for one in shown
        if isinstance(thing := getattr(module, one), types.ModuleType)
        and not thing.__name__.startswith("chainrule.")
    ]
    assert strangers == [], "define __all__ and __dir__"


def summary(name):
    """Return the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(FILES[name].read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def house():
    """Return the map of the package: every room and every file with its first sentence."""
    lines = []
    for name in FILES:
        depth = name.count(".")
        if depth:
            path = FILES[name]
            label = f"{path.parent.name}/" if path.stem == "__init__" else path.name
            lines.append(f"{'  ' * depth}{label:<{28 - 2 * depth}} {summary(name)}".rstrip())
    return "\n".join(["chainrule/", *lines])


BEGIN, END = "<!-- the map: make house -->\n```text\n", "```\n<!-- end of the map -->"


def test_the_map_in_contributing_is_the_tree():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == house() + "\n", "run: make house"


def write_map():
    path = ROOT / "CONTRIBUTING.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}{house()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    write_map()
    total = sum(map(code_lines, FILES.values()))
    print(f"{total} lines of code in {len(FILES)} files; at most {LIMIT}")
