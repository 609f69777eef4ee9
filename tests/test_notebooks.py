"""The notebooks as they are read are those that are written, and none of their cells failed."""

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
