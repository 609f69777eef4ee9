import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

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
