"""The table of faults in CONTRIBUTING names tests that are there, and counts their cases."""

import collections
import pathlib
import re
import subprocess
import sys

import pytest

from tests.conftest import COLLECTED

PAGE = pathlib.Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
BEGIN = "## Faults"
ROW = re.compile(r"^\| (.+) \| (.+) \| (`tests/.+`) \| (.+) \|$", re.M)
CASES = re.compile(r"^\d+(?! \*soak)")  # "2, and 50 kills *soak*" has 2


def table():
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2]


def collect():
    """Return how many cases each test of the table has, those marked soak apart."""
    files = sorted(set(re.findall(r"`(tests/[\w/]+\.py)", table())))
    counts = {}
    for marked in ("not soak", "soak"):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marked, *files]
        done = subprocess.run(command, cwd=PAGE.parent, capture_output=True, text=True, check=False)
        names = re.findall(r"^(tests/[\w/]+\.py::\w+)", done.stdout, re.M)
        counts[marked] = collections.Counter(names)
    return counts


def cases(names, counts):
    """Return how many cases the tests of a row have."""
    named = re.findall(r"`(tests/[^`]+)`", names)
    return sum(n for test, n in counts.items() if any(test.startswith(one) for one in named))


@pytest.fixture(scope="module")
def collected(request):
    if request.config.args != request.config.getini("testpaths"):
        return collect()
    # All tests are here: no other process has to look for them.
    counts = {"not soak": collections.Counter(), "soak": collections.Counter()}
    for test, soak in request.config.stash[COLLECTED].items():
        counts["soak" if soak else "not soak"][test.partition("[")[0]] += 1
    return counts


def test_every_row_of_the_table_is_read():
    rows = ROW.findall(table())
    assert len(rows) == table().count("\n| ") - 2  # the head and the line below it
    assert len(rows) > 30


def test_every_row_names_tests_that_are_there(collected):
    there = set().union(*collected.values())
    named = {one for row in ROW.findall(table()) for one in re.findall(r"`(tests/[^`]+)`", row[2])}
    assert {one for one in named if not any(test.startswith(one) for test in there)} == set()


def test_every_row_counts_its_cases(collected):
    wrong = {}
    for fault, _, names, said in ROW.findall(table()):
        found = CASES.match(said)
        expected = cases(names, collected["not soak"]), bool(cases(names, collected["soak"]))
        if (int(found[0]) if found else 0, "soak" in said) != expected:
            wrong[fault] = said, expected
    assert wrong == {}, "run: make house"


def write():
    """Count the cases of every row anew."""
    counts = collect()["not soak"]

    def counted(row):
        last = CASES.sub(str(cases(row[3], counts)), row[4])
        return f"| {row[1]} | {row[2]} | {row[3]} | {last} |"

    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(table(), ROW.sub(counted, table())), encoding="utf-8")


if __name__ == "__main__":
    write()
