"""What the README shows is what runs."""

import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import chainrule

HERE = pathlib.Path(__file__).resolve().parents[1]
README = (HERE / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_of_the_readme_runs_and_prints_what_its_comments_say(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE
    )
    for expected in re.findall(r"print\(.*?\)\s+# (\(.*?\))$", code, re.MULTILINE):
        assert expected in result.stdout


def test_the_nan_report_of_the_readme_is_the_one_that_the_command_prints(tmp_path):
    (code,) = re.findall(r"```python\n([^`]*?def example_args.*?)```", README, re.DOTALL)
    (expected,) = re.findall(r"```text\npairs.*?```", README, re.DOTALL)
    (tmp_path / "pairs.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", "xray", "pairs.py:loss"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    for line in expected.splitlines()[1:-1]:
        assert line in result.stdout


def test_every_experiment_stands_in_the_readme_and_every_script_named_there_exists():
    named = set(re.findall(r"(?:experiments|notebooks)/[\w/]+\.py", README))
    assert {name for name in named if not (HERE / name).is_file()} == set()
    there = {f"experiments/{path.name}" for path in (HERE / "experiments").glob("*.py")}
    assert there - named == set()


def test_every_public_module_stands_in_the_readme():
    section = README.partition("## What is where")[2].partition("\n## ")[0]
    named = set(re.findall(r"`chainrule\.([a-z]\w*)`", section))
    assert named == set(chainrule._SUBMODULES)
    for package in ("ops", "models"):
        (row,) = (line for line in section.splitlines() if f"`chainrule.{package}`" in line)
        named = set(re.findall(r"`(\w+)`", row))
        folder = pathlib.Path(chainrule.__path__[0], package)
        there = {info.name for info in pkgutil.iter_modules([folder])}
        assert {name for name in there - named if not name.startswith("_")} == set()
        home = importlib.import_module(f"chainrule.{package}")
        for name in named - there:
            assert getattr(home, name)


def test_every_picture_and_page_linked_from_the_readme_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https:") or (HERE / target).is_file(), target


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)))
)
def test_every_make_target_of_the_readme_exists(target):
    makefile = (HERE / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
