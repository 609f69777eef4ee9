"""The page of the book on a port that is off: its programs print what it says."""

import contextlib
import io
import pathlib
import re
import sys

import jax

PAGE = pathlib.Path(__file__).resolve().parents[3] / "notebooks/port.md"
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROUNDING = re.compile(r"\d\.\de-0[78]")  # its digits differ from one version of JAX to the next


def test_the_programs_of_the_page_print_what_it_says(tmp_path, monkeypatch):
    blocks = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    (program,) = (text for _, text in blocks if text.startswith("# port.py"))
    (tmp_path / "port.py").write_text(program.partition("\n")[2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {}
    said, printed = [], io.StringIO()
    with jax.numpy_rank_promotion("allow"), contextlib.redirect_stdout(printed):
        for kind, text in blocks:
            if kind == "python" and text != program:
                exec(compile(text, "page", "exec"), names)
            elif kind == "text" and not text.startswith("chainrule diff"):
                said.append(text)
    sys.modules.pop("port", None)
    assert _ROUNDING.sub("rounding", printed.getvalue()) == _ROUNDING.sub("rounding", "".join(said))
