import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "mutants"))

from mutations import mutated, mutations

PROGRAM = '''
"""Text."""
__all__ = ["f"]
SIZE = 3


def f(x: int, flag=True) -> float:
    """More text."""
    if x < 0 and flag:
        raise ValueError(f"{x + 1}")
    return -x + abs(x) if not flag else 2.5 * x
'''


@pytest.fixture
def planted(tmp_path):
    path = tmp_path / "package" / "module.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path, mutations(tmp_path, path)


def test_every_kind_of_error_is_planted_once_and_nothing_in_text(planted):
    _, found = planted
    assert sorted((one.kind, one.before, one.after) for one in found) == [
        ("and, or", "x < 0 and flag", "x < 0 or flag"),
        (
            "branches",
            "-x + abs(x) if not flag else 2.5 * x",
            "2.5 * x if not flag else -x + abs(x)",
        ),
        ("comparison", "x < 0", "x <= 0"),
        ("constant", "0", "1"),
        ("constant", "2.5", "25.0"),
        ("constant", "3", "4"),
        ("constant", "True", "False"),
        ("dropped call", "abs(x)", "x"),
        ("dropped term", "-x + abs(x)", "-x"),
        ("negation", "not flag", "flag"),
        ("operator", "-x + abs(x)", "-x - abs(x)"),
        ("operator", "2.5 * x", "2.5 / x"),
        ("sign", "-x", "x"),
    ]
    assert {one.path for one in found} == {"package/module.py"}
    assert {one.line for one in found if one.before == "x < 0"} == {9}


def test_a_planted_error_changes_one_thing_and_the_file_still_compiles(planted):
    path, found = planted
    whole = ast.unparse(ast.parse(PROGRAM))
    for one in found:
        text = mutated(path, one.number)
        compile(text, "module.py", "exec")
        different = [
            pair
            for pair in zip(whole.split("\n"), text.split("\n"), strict=True)
            if pair[0] != pair[1]
        ]
        assert len(different) == 1, one
    with pytest.raises(ValueError, match="has no change number 99"):
        mutated(path, 99)
