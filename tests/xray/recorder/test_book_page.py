import pathlib
import re

import pytest

from tests.programs import run

PAGE = pathlib.Path(__file__).resolve().parents[3] / "notebooks" / "flight.md"


@pytest.mark.bars
def test_the_case_in_the_book_is_what_its_programs_say(tmp_path):
    page = PAGE.read_text(encoding="utf-8")
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.M | re.S):
        (tmp_path / name).write_text(f"# {name}\n{code}")
    said, replayed, losses = re.findall(r"^```text\n(.*?)^```", page, re.M | re.S)
    failed = run(["siamese.py"], tmp_path)
    assert failed.returncode == 1
    assert said in failed.stderr
    again = run(["-m", "chainrule.cli", "autopsy", "flight/step-87", "--replay"], tmp_path)
    assert again.stdout.endswith(replayed.partition("...\n")[2])
    assert run(["cured.py"], tmp_path).stdout == losses
