"""Execute the notebooks: every ``NN_name.py`` beside this file becomes ``NN_name.ipynb``.

The text is what is written and reviewed, the notebook with its outputs is what is read. A cell that
raises stops with its traceback and a non-zero exit. So do the hidden solutions of the exercises, which
run after the last cell and leave nothing on the page; cells tagged ``check`` hold the numbers that the
text states.

    python notebooks/run.py            # all of them
    python notebooks/run.py 03 04      # those whose names start so
"""

import pathlib
import re
import sys
import time

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = pathlib.Path(__file__).resolve().parent


def solutions(cells: list) -> list[str]:
    """The code in the hidden solutions of a notebook's exercises, in order."""
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    hidden = re.findall(r"<details>.*?</details>", prose, re.DOTALL)
    return [code for part in hidden for code in re.findall(r"```python\n(.*?)```", part, re.DOTALL)]


def execute(text: pathlib.Path) -> pathlib.Path:
    """Run one notebook from its text and write it, outputs included, beside the text."""
    notebook = jupytext.read(text)
    shown = len(notebook.cells)
    notebook.cells += map(nbformat.v4.new_code_cell, solutions(notebook.cells))
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": HERE}}
    ).execute()
    del notebook.cells[shown:]
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index}"  # drawn at random otherwise: every run would differ
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            # What the running prints about itself is no part of the page.
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)  # the version of whoever ran it last
    target = text.with_suffix(".ipynb")
    nbformat.write(notebook, target)
    return target


def main(prefixes: list[str]) -> None:
    """Run the notebooks whose names start with one of the prefixes, or all."""
    texts = sorted(HERE.glob("[0-9][0-9]_*.py"))
    chosen = [text for text in texts if not prefixes or text.name.startswith(tuple(prefixes))]
    if not chosen:
        raise SystemExit(f"no notebook starts with {prefixes}: there are {[t.name for t in texts]}")
    for text in chosen:
        clock = time.perf_counter()
        target = execute(text)
        seconds, size = time.perf_counter() - clock, target.stat().st_size // 1024
        print(f"{target.name}: {seconds:.1f} s, {size} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
