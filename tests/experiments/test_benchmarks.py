import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import published
from devices import collectives
from harness import Row, measure


def sleeper(seconds, answer):
    def work():
        time.sleep(seconds)
        return answer

    return work


def test_a_ratio_is_ours_over_the_peers_pair_by_pair():
    row = Row("work", "peer", sleeper(0.01, 1), sleeper(0.04, 1), np.testing.assert_equal, 0.5)
    timing = measure(row)
    # Another process may take the machine for the length of a pair, not of most of them.
    assert timing.low <= timing.ratio <= timing.high
    assert timing.ratio < 1
    assert (timing.pairs, timing.target) == (7, 0.5)
    assert measure(row, long_seconds=0.001).pairs == 3


def test_two_sides_that_do_not_agree_are_not_timed():
    row = Row("work", "peer", sleeper(0, 1), sleeper(0, 2), np.testing.assert_equal)
    with pytest.raises(AssertionError):
        measure(row)


def test_the_collectives_of_a_program_are_counted_with_their_bytes():
    program = """
      %a = (f32[2,3]{1,0}, /*index=1*/f32[]) all-reduce(%x, %y), channel_id=1
      ROOT %b.1 = bf16[4]{0} all-gather-start(%z), channel_id=2
      %c = f32[8]{0} all-reduce(%u), channel_id=3
      %d = f32[100]{0} add(%c, %c)
    """
    assert collectives(program) == {"all-reduce": (2, 28 + 32), "all-gather": (1, 8)}


RESULTS = {
    "rows": [
        {
            "name": "work",
            "peer": "someone",
            "ratio": 0.5,
            "low": 0.25,
            "high": 2.0,
            "ours_seconds": 0.012,
            "peer_seconds": 0.024,
            "first_seconds": 3.0,
            "pairs": 7,
            "target": 0.95,
        }
    ],
    "threads": 2,
    "load": 0.5,
    "limits": {"gflops": 150.0, "gigabytes_per_second": 12.0},
    "machine": {"processor": "a processor"},
    "versions": {"jax": "1.2"},
    "commit": "abc",
}


def test_the_table_of_the_readme_is_made_from_the_numbers_and_replaced():
    page = f"before\n{published.BEGIN}\nold\n{published.END}\nafter\n"
    found = published.put(page, RESULTS)
    assert "| work | someone | 0.50 (0.25 to 2.00, 7) | 0.95 | 12 ms | 3 s |" in found
    assert "a processor, 2 threads on both sides, load 0.5" in found
    assert "old" not in found
    assert published.put(found, RESULTS) == found
    assert found.startswith("before\n")
    assert found.endswith("\nafter\n")
    with pytest.raises(ValueError, match="the page has no place for the table"):
        published.put("a page", RESULTS)


def test_the_readme_shows_the_numbers_that_are_stored():
    root = Path(__file__).resolve().parents[2]
    results = json.loads((root / "experiments" / "benchmarks" / "results.json").read_text())
    readme = (root / "README.md").read_text()
    assert published.put(readme, results) == readme
