"""The book shows every public name, and its programs run."""

import ast
import builtins
import functools
import importlib
import inspect
import itertools
import pathlib
import pkgutil
import re

import pytest

import chainrule
from tests.programs import run

NO_NAMES = {"JSON", "P", "R"}  # other names for Any, and variables of types
BOOK = pathlib.Path(__file__).resolve().parents[1] / "notebooks"
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in sorted(BOOK.glob("api/*.md")))
SHOWN = re.findall(r"^\.\. automodule:: (\S+)$", PAGES, re.MULTILINE)
ALONE = re.findall(r"^\.\. autofunction:: (\S+)$", PAGES, re.MULTILINE)
MODULES = [
    info.name
    for info in pkgutil.walk_packages(chainrule.__path__, "chainrule.")
    if not any(part.startswith("_") for part in info.name.split("."))
]


def public(module):
    """Return the names that a module defines, and whether each is documented."""
    source = inspect.getsource(module)
    lines, body = source.splitlines(), ast.parse(source).body
    for statement, after in itertools.zip_longest(body, body[1:]):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name, bool(ast.get_docstring(statement))
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            # By a string after it, or by a comment with a colon, above it or in its line.
            remark = "\n".join(lines[statement.lineno - 2 : statement.lineno])
            text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for name in (node for target in targets for node in ast.walk(target)):
                if isinstance(name, ast.Name) and name.id.isupper() and name.id not in NO_NAMES:
                    yield name.id, text or "#:" in remark


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_of_a_module_stands_in_the_book_with_its_documentation(name):
    module = importlib.import_module(name)
    package = importlib.import_module(name.rpartition(".")[0])
    passed_on = {
        one
        for one in getattr(package, "__all__", ())
        if getattr(package, one) is vars(module).get(one)
    }
    names = {one: known for one, known in public(module) if not one.startswith("_")}
    assert [one for one, known in names.items() if not known] == [], "a string after it is missing"
    if name not in SHOWN:
        assert package.__name__ in SHOWN, f"{name} needs an automodule line in notebooks/api/*.md"
        missing = {f"{name}.{one}" for one in names.keys() - passed_on} - set(ALONE)
        assert missing == set(), f"{name} needs an automodule line in notebooks/api/*.md"


@pytest.mark.parametrize("name", MODULES)
def test_no_public_name_hides_a_module(name):
    # "import chainrule.runs.report as report" would give the function.
    module, (package, _, last) = importlib.import_module(name), name.rpartition(".")
    assert getattr(importlib.import_module(package), last) is module


def test_the_book_shows_no_module_twice_and_none_that_is_not_there():
    assert len(SHOWN) == len(set(SHOWN))
    assert set(SHOWN) - {"chainrule", *MODULES} == set()


def test_every_name_in_single_backticks_leads_somewhere():
    # The build asks the same of the pages; this asks it without Sphinx.
    targets, texts = set(MODULES), []
    for name in MODULES:
        module = importlib.import_module(name)
        package = importlib.import_module(name.rpartition(".")[0])
        texts.append((name, module.__doc__ or ""))
        targets |= {f"{name}.{one}" for one in getattr(module, "__all__", ())}
        for one, _ in public(module):
            thing = getattr(module, one)
            passed_on = getattr(package, "__all__", ())
            homes = [name, *([package.__name__] if one in passed_on else [])]
            targets |= {f"{home}.{one}" for home in homes}
            if inspect.isclass(thing) or inspect.isfunction(thing):
                texts.append((name, inspect.getdoc(thing) or ""))
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                targets |= {f"{home}.{one}.{member}" for home in homes}
                if callable(value) and not member.startswith("_"):
                    texts.append((name, inspect.getdoc(value) or ""))
    astray = []
    for name, text in texts:
        for target in re.findall(
            r"(?<![`:\w])`([^`\n]+)`(?!`)", re.sub(r"``.*?``|:\w+:`.*?`", "", text, flags=re.S)
        ):
            ends = [one for one in targets if f".{one}".endswith(f".{target}")]
            if not ends and not importable(target):
                astray.append(f"{name}: `{target}`")
    assert astray == [], "an argument stands in double backticks"


def importable(name):
    if hasattr(builtins, name):
        return True
    first, *rest = name.split(".")
    if first not in ("chainrule", "functools", "jax", "numpy", "optax"):
        return False
    try:
        functools.reduce(getattr, rest, importlib.import_module(first))
    except AttributeError:
        return False
    return True


def test_the_right_halves_from_pytorch_are_one_program_that_prints_what_its_comments_say(tmp_path):
    page = (BOOK / "from_pytorch.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^```\{code-block\} python\n:caption: ([^\n]*)\n\n(.*?)^```", page, re.M | re.S
    )
    program = "\n".join(code for caption, code in blocks if caption == "chainrule")
    prints = [line for line in program.splitlines() if line.lstrip().startswith("print(")]
    expected = [line.partition("  # ")[2] for line in prints]
    assert len(expected) > 30
    assert all(expected), "every print says what it prints"
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    result = run(["program.py"], tmp_path, CHAINRULE_DATA="")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == expected


def test_the_pictures_page_names_every_drawing_function_and_where_it_is_called():
    page = (BOOK / "pictures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \{py:func\}`~chainrule\.(plots\.[\w.]+)` .*\| (.*) \|$", page, re.M)
    drawing = {
        f"plots.{statement.name}"
        if statement.name in chainrule.plots.__all__
        else f"plots.{path.stem}.{statement.name}"
        for path in pathlib.Path(chainrule.__path__[0], "plots").glob("[a-z]*.py")
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.FunctionDef)
        and not statement.name.startswith("_")
        and ast.unparse(statement.returns or ast.Constant(None)) in ("Figure", "str")
    }
    assert {name for name, _ in rows} == drawing
    for name, places in rows:
        scripts = [*re.findall(r"\w+\.py", places), *re.findall(r"\b\d\b", places)]
        for place in scripts:
            found = BOOK.parent / "experiments" / place
            jobs = pathlib.Path(chainrule.__path__[0], "_jobs").glob("*.py")  # and what they run
            paths = [found, *jobs] if found.suffix else list(BOOK.glob(f"0{place}*_*.py"))
            call = rf"\b(draw_)?{name.rpartition('.')[2]}\("
            assert any(re.search(call, p.read_text(encoding="utf-8")) for p in paths), (name, place)


def test_the_gallery_shows_every_committed_figure_with_a_script_that_is_there():
    page = (BOOK / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"^!\[.+\]\((\S+)\)\n\n[^`]+^`python (\S+)[^`]*`$", page, re.M)
    figures = {path.resolve() for path in (BOOK.parent / "experiments/figures").iterdir()}
    assert {(BOOK / picture).resolve() for picture, _ in shown} == figures
    assert len(shown) == page.count("\n![")
    assert all((BOOK.parent / script).is_file() for _, script in shown)


def test_every_experiment_stands_on_its_page_and_every_script_named_there_exists():
    page = (BOOK / "experiments.md").read_text(encoding="utf-8")
    named = set(re.findall(r"experiments/[\w/]+\.py", page))
    assert {name for name in named if not (BOOK.parent / name).is_file()} == set()
    scripts = {
        f"experiments/{path.name}"
        for path in (BOOK.parent / "experiments").glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert scripts - named == set()


def test_every_notebook_and_experiment_has_a_subject_on_the_page_for_readers_of_the_notes():
    page = (BOOK / "notes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+\.py)`", page))
    makefile = (BOOK.parent / "Makefile").read_text(encoding="utf-8")
    (course,) = re.findall(r"COURSE := (.*?)\nexperiments:", makefile, re.DOTALL)
    assert named == {f"{name}.py" for name in course.replace("\\", " ").split()}
    linked = set(re.findall(r"\]\((\d\d\w+)\.ipynb\)", page))
    assert linked == {path.stem for path in BOOK.glob("[0-9]*.py")}


def test_every_public_module_stands_in_the_table_of_the_api():
    page = (BOOK / "api/index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`chainrule\.([a-z]\w*)`", page))
    assert named == set(chainrule._SUBMODULES)
    for package in ("ops", "models"):
        (row,) = (line for line in page.splitlines() if f"| `chainrule.{package}`" in line)
        named = set(re.findall(r"`(\w+)`", row))
        folder = pathlib.Path(chainrule.__path__[0], package)
        there = {info.name for info in pkgutil.iter_modules([folder])}
        assert {name for name in there - named if not name.startswith("_")} == set()
        home = importlib.import_module(f"chainrule.{package}")
        for name in named - there:
            assert getattr(home, name)
