"""The book shows every public name, and its programs run."""

import ast
import importlib
import inspect
import itertools
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import chainrule

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


def test_the_book_shows_no_module_twice_and_none_that_is_not_there():
    assert len(SHOWN) == len(set(SHOWN))
    assert set(SHOWN) - {"chainrule", *MODULES} == set()


def test_the_right_halves_from_pytorch_are_one_program_that_prints_what_its_comments_say(tmp_path):
    page = (BOOK / "from_pytorch.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^```\{code-block\} python\n:caption: (.*)\n\n(.*?)^```", page, re.M | re.S
    )
    program = "\n".join(code for caption, code in blocks if caption == "chainrule")
    prints = [line for line in program.splitlines() if line.lstrip().startswith("print(")]
    expected = [line.partition("  # ")[2] for line in prints]
    assert all(expected), "every print says what it prints"
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # What is checked is the program, not its speed: compiling it well takes half the time.
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0", "CHAINRULE_DATA": ""},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == expected
