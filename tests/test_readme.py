"""What the README and the pages of the book show is what runs; and the README stays short."""

import itertools
import os
import pathlib
import re

import pytest

from tests.programs import run

HERE = pathlib.Path(__file__).resolve().parents[1]
README = (HERE / "README.md").read_text(encoding="utf-8")


def programs(page):
    """Return the programs of a page, each with the text that follows it, if one does."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [
        (code, text if kind == "text" else "")
        for (language, code), (kind, text) in itertools.pairwise([*blocks, ("", "")])
        if language == "python"
    ]


ELSEWHERE = {"from_pytorch", "flight", "port"}
"""Pages whose blocks are one program, which a test of its own runs."""
PAGES = [
    HERE / "README.md",
    *(page for page in sorted(HERE.glob("notebooks/*.md")) if page.stem not in ELSEWHERE),
]
PROGRAMS = [
    pytest.param(code, text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (code, text) in enumerate(programs(page.read_text(encoding="utf-8")))
]
PLAIN = """
value, grads = jax.value_and_grad(loss)(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
print(f"{value:.2f}", not any(jnp.isfinite(grad).any() for grad in jax.tree.leaves(grads)))
"""


def written(code, folder):
    """Write a program as ``pairs.py``; return how it is run: one with arguments under the x-ray."""
    (folder / "pairs.py").write_text(code, encoding="utf-8")
    x_ray = ["-m", "chainrule.cli", "xray", "pairs.py:loss"]
    return x_ray if "def example_args" in code else ["pairs.py"]


def test_a_stranger_reads_it_in_minutes():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1200


@pytest.mark.parametrize(("code", "text"), PROGRAMS)
def test_a_program_prints_the_text_below_it_and_what_its_comments_say(code, text, tmp_path):
    for name in re.findall(r"^import (equinox)", code, re.MULTILINE):
        pytest.importorskip(name, reason=f"{name} is not installed: make zoo")
    result = run(written(code, tmp_path), tmp_path)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.replace(f"{tmp_path}{os.sep}", "").strip()
    said = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert [line for line in printed.splitlines() if line in said] == said
    if "def example_args" in code:
        assert text.strip() in printed  # below the tables
    elif text:
        assert text.strip() == printed
    else:
        assert len(said) == code.count("print(")
    for name in re.findall(r"\b(?:save|savefig)\(\"(\S+)\"\)", code):
        assert (tmp_path / name).stat().st_size > 1000


def test_the_nan_checker_of_jax_names_another_line_as_the_readme_says(tmp_path):
    code, text = programs(README)[0]
    plain = code[: code.index("report = ")] + "import jax\n"
    assert "The loss is 0.49, and no gradient is finite." in README
    assert run(written(plain + PLAIN, tmp_path), tmp_path).stdout == "0.49 True\n"
    checked = written(plain + 'jax.config.update("jax_debug_nans", True)' + PLAIN, tmp_path)
    (named,) = re.findall(r"pairs\.py\", line (\d+), in loss", run(checked, tmp_path).stderr)
    said = (
        f"`jax_debug_nans`; in the program above it stops at line {named}, where the infinity has "
    )
    assert said in README
    assert not text.startswith(f"pairs.py:{named} ")


def test_every_picture_and_page_linked_from_the_readme_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https:") or (HERE / target).is_file(), target


@pytest.mark.parametrize("target", re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
def test_every_make_target_of_the_readme_exists(target):
    makefile = (HERE / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
