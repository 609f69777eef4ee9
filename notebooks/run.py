"""Execute the notebooks: every ``NN_name.py`` beside this file becomes ``NN_name.ipynb``,
and so does ``03b_name.py``, which is read after the third.

The text is what is written and reviewed, the notebook with its outputs is what is read. The hidden
solutions of the exercises run after the last cell and leave nothing on the page; cells tagged ``check``
hold the numbers that the text states. Where one of them raises, or a cell prints a traceback, the run
stops with the name of the notebook, the cell and the error, and writes nothing.

    python notebooks/run.py            # all of them
    python notebooks/run.py 03 04      # those whose names start so
"""

import asyncio
import contextlib
import os
import pathlib
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = pathlib.Path(__file__).resolve().parent
TRACEBACK = "Traceback (most recent call last)"


def solutions(cells: list) -> list[str]:
    """The code in the hidden solutions of a notebook's exercises, in order."""
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    hidden = re.findall(r"<details>.*?</details>", prose, re.DOTALL)
    return [code for part in hidden for code in re.findall(r"```python\n(.*?)```", part, re.DOTALL)]


def complaint(cell: nbformat.NotebookNode) -> str:
    """What went wrong in a cell that ran: the error it raised or a traceback that it printed."""
    for out in cell.get("outputs", ()):
        if out.output_type == "error":
            return f"{out.ename}: {out.evalue}"
        if TRACEBACK in out.get("text", ""):
            return out.text[out.text.index(TRACEBACK) :].strip()
    return ""


def execute(text: pathlib.Path) -> pathlib.Path:
    """Run one notebook from its text and write it, outputs included, beside the text."""
    notebook = jupytext.read(text)
    shown = len(notebook.cells)
    notebook.cells += map(nbformat.v4.new_code_cell, solutions(notebook.cells))
    client = NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=600,  # on a busy machine
        kernel_name="python3",
        resources={"metadata": {"path": text.parent}},
        coalesce_streams=True,  # in how many pieces a text arrives is chance
    )
    with contextlib.suppress(CellExecutionError):  # found again below, in its cell
        asyncio.run(client.async_execute())  # in a loop of its own, which is closed again
    for index, cell in enumerate(notebook.cells):
        if wrong := complaint(cell):
            kind = "check cell" if "check" in cell.metadata.get("tags", ()) else "cell"
            where = f"{kind} {index}" if index < shown else f"hidden solution {index - shown + 1}"
            raise SystemExit(f"{text.name}, {where}: {wrong}\n\n{cell.source}")
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
    texts = sorted(HERE.glob("[0-9][0-9]*_*.py"))
    chosen = [text for text in texts if not prefixes or text.name.startswith(tuple(prefixes))]
    if not chosen:
        raise SystemExit(f"no notebook starts with {prefixes}: there are {[t.name for t in texts]}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(timed, chosen):
            print(line, flush=True)


def timed(text: pathlib.Path) -> str:
    """Run one notebook, and say how long it took and how large it is."""
    clock = time.perf_counter()
    target = execute(text)
    seconds, size = time.perf_counter() - clock, target.stat().st_size // 1024
    return f"{target.name}: {seconds:.1f} s, {size} kB"


if __name__ == "__main__":
    main(sys.argv[1:])
