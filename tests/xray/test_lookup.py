"""A function by its name, as one gives it on the command line."""

import sys

import pytest

from chainrule.xray import lookup


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, in which files are written: name to text. Its modules are forgotten."""
    monkeypatch.chdir(tmp_path)
    known = dict(sys.modules)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield write
    for name in set(sys.modules) - set(known):
        del sys.modules[name]


@pytest.mark.parametrize("spec", ["deep/inner/model.py:loss", "deep.inner.model:loss"])
def test_code_in_a_package_imports_its_neighbours_and_what_lies_in_the_current_folder(here, spec):
    here(
        deep__in____init__="",
        deep__in__inner__in____init__="",
        deep__in__inner__in__numbers="three = 3\n",
        beside_the_package="four = 4\n",
        deep__in__inner__in__model="import beside_the_package\nfrom .numbers import three\n"
        "def loss():\n    from . import later\n"
        "    return three, beside_the_package.four, later.five\n",
        deep__in__inner__in__later="five = 5\n",
    )
    path = list(sys.path)
    with lookup.function(spec) as (loss, module):
        assert loss() == (3, 4, 5)
        assert module.__name__ == "deep.inner.model"
    assert sys.path == path


def test_a_file_in_no_package_imports_what_lies_beside_it_and_the_current_folder(here):
    here(
        scripts__in__pairs="from __future__ import annotations\n"
        "import dataclasses, side, top\n"
        "@dataclasses.dataclass\nclass Sum:\n    a: int = side.one\n    b: int = top.two\n"
        "def loss():\n    return Sum()\n",
        scripts__in__side="one = 1\n",
        top="two = 2\n",
    )
    with lookup.function("scripts/pairs.py:loss") as (loss, _):
        assert (loss().a, loss().b) == (1, 2)


def test_a_file_may_have_the_name_of_a_module_that_is_there(here):
    here(json="def loss():\n    return 'mine'\n")
    with lookup.function("json.py:loss") as (loss, _):
        assert loss() == "mine"


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("loss", "'loss' names no function: write FILE.py:FUNCTION or package.module:FUNCTION"),
        ("fine.py", "'fine.py' names no function"),
        ("fine.py:", "'fine.py:' names no function"),
        ("folder/fine:loss", "'folder/fine:loss' names no function"),
        ("fine.py:lss", r"fine\.py defines no function lss: did you mean loss\?"),
        ("fine:train", r"fine defines no function train: it has loss, other$"),
        ("fine:number", r"fine defines no function number: it has loss, other$"),
        ("empty:loss", r"empty defines no function loss: it has no function"),
        ("fin:loss", r"no module fin is found from /.*: write FILE\.py:FUNCTION or"),
        ("fine.inner:loss", r"no module fine.inner is found from "),
        ("needs:loss", r"needs cannot be imported: ModuleNotFoundError.*_there', at .*needs.py:2$"),
        ("needs.py:loss", r"needs\.py cannot be imported: ModuleNotFoundError: .*needs\.py:2"),
        ("relative.py:loss", r"relative\.py cannot be imported: ImportError: attempted relative"),
        ("broken.py:loss", r"broken\.py cannot be imported: SyntaxError: .*broken\.py, line 1"),
        ("ends.py:loss", r"ends\.py cannot be imported: SystemExit: 3, at .*ends\.py:2"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_or_imported_is_one_line(here, spec, match):
    here(
        fine="number = 3\ndef loss():\n    pass\ndef other():\n    pass\n",
        empty="",
        needs="\nimport nothing_there\n",
        relative="from . import fine\n",
        broken="def loss(:\n",
        ends="import sys\nsys.exit(3)\n",
    )
    with pytest.raises(ValueError, match=match) as caught, lookup.function(spec):
        pass
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(here):
    with (
        pytest.raises(FileNotFoundError, match=r"no file nowhere\.py"),
        lookup.function("nowhere.py:loss"),
    ):
        pass


def test_another_copy_of_a_package_is_not_taken_for_this_one(here):
    here(chainrule__in____init__="", chainrule__in__check="def loss():\n    pass\n")
    with (
        pytest.raises(
            ValueError,
            match=r"chainrule/check\.py is the module chainrule\.check, .* imported from /",
        ),
        lookup.function("chainrule/check.py:loss"),
    ):
        pass
