"""The notebooks as they are read are those that are written, and none of their cells failed."""

import importlib.util
import itertools
import json
import pathlib

import pytest

NOTEBOOKS = pathlib.Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.parametrize("text", sorted(NOTEBOOKS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_text_and_the_outputs_of_a_clean_run(text):
    jupytext = pytest.importorskip("jupytext", reason="the notebooks extra is not installed")
    written = jupytext.read(text).cells
    page = json.loads(text.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert [cell.source for cell in written] == ["".join(c["source"]) for c in page["cells"]]
    code = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]
    assert text.with_suffix(".ipynb").stat().st_size < 1_000_000


@pytest.mark.parametrize("text", sorted(NOTEBOOKS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_a_notebook_names_its_sources_and_gives_every_exercise_with_code_a_cell_to_start_in(text):
    jupytext = pytest.importorskip("jupytext", reason="the notebooks extra is not installed")
    cells = jupytext.read(text).cells
    for title in (
        "Deep Learning #3",
        "Deep Learning Tutorials, Chapter 4",
        "CS231n, Lecture 4 notes",
    ):
        assert title in cells[0].source
    before = [
        earlier.cell_type
        for earlier, cell in itertools.pairwise(cells)
        if cell.cell_type == "markdown" and "```python" in cell.source and "Solution" in cell.source
    ]
    assert len(before) >= 2
    assert set(before) == {"code"}


TINY = """\
# %% [markdown]
# A sum of two numbers.

# %%
total = 1 + 1
print(total)

# %% tags=["check"]
assert total == 2, f"the text says 2, the sum is {total}"

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# assert total + 1 == 3, f"one more than {total} is no 3"
# ```
#
# </details>
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run ``notebooks/run.py`` as if a folder held this one notebook alone."""
    pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
    spec = importlib.util.spec_from_file_location("run", NOTEBOOKS / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)

    def run_it(text):
        (tmp_path / "01_tiny.py").write_text(text, encoding="utf-8")
        module.main([])

    return run_it


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "assert total == 2",
            "assert total == 5",
            r"^01_tiny.py, check cell 2: AssertionError: the text says 2, the sum is 2\n",
        ),
        (
            "assert total + 1 == 3",
            "assert total + 1 == 4",
            r"^01_tiny.py, hidden solution 1: AssertionError: one more than 2 is no 3\n",
        ),
        (
            "print(total)",
            "import traceback\ntry:\n    1 / 0\nexcept ArithmeticError:\n    traceback.print_exc()",
            r"^01_tiny.py, cell 1: Traceback [^$]*\nZeroDivisionError: division by zero\n",
        ),
    ],
)
def test_a_planted_error_stops_the_run_with_the_notebook_the_cell_and_the_error(
    run, tmp_path, right, wrong, message
):
    assert right in TINY
    with pytest.raises(SystemExit, match=message):
        run(TINY.replace(right, wrong))
    assert not (tmp_path / "01_tiny.ipynb").exists()


def test_without_one_the_notebook_is_written_and_its_solutions_stay_hidden(run, tmp_path):
    run(TINY)
    page = json.loads((tmp_path / "01_tiny.ipynb").read_text(encoding="utf-8"))
    assert [cell["cell_type"] for cell in page["cells"]] == ["markdown", "code", "code", "markdown"]
    assert page["cells"][1]["outputs"][0]["text"] == ["2\n"]
