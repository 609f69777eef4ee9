import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.xray.recorder import samples
from chainrule.xray.recorder.calls import enter


def searched(fails_with, rows=16, others=True):
    """Search a batch of its own row numbers, of which ``fails_with(set)`` says whether it fails."""
    batch = np.arange(rows, dtype=np.float32)
    call = enter(lambda state, batch: None, (jnp.ones(1), batch), {})
    known = samples.rows_of(call, [(0, 1)])
    tried = []

    def fails(call):
        tried.append(call)
        return fails_with({int(x) for x in call.leaves[1] if x >= 0})

    harmless = ({1: np.full(rows, -1, np.float32)},) if others else ()
    return samples.find(call, known, fails, harmless), len(tried)


@pytest.mark.parametrize("bad", [{0}, {15}, {3, 4}, {1, 8, 15}, set(range(16))])
def test_the_samples_that_fail_alone_are_found_by_halves(bad):
    found, tried = searched(lambda rows: bool(rows & bad))
    assert set(found.rows) == bad
    assert not found.together
    assert tried <= 2 + 2 * len(bad) * 5


@pytest.mark.parametrize("pair", [(0, 1), (3, 12), (14, 15)])
def test_samples_that_fail_only_together_are_found_together(pair):
    found, tried = searched(lambda rows: set(pair) <= rows)
    assert found.rows == pair
    assert found.together
    assert "only together" in str(found)
    assert tried < 40


def test_among_all_sets_of_five_samples_the_answer_is_what_trying_all_gives():
    every = range(5)
    sets = [set(s) for n in range(1, 4) for s in itertools.combinations(every, n)]
    for least in sets:
        found, _ = searched(lambda rows, least=least: least <= rows, rows=5)
        assert set(found.rows) == least


def test_other_samples_are_taken_from_the_batch_itself_where_there_is_no_other():
    found, _ = searched(lambda rows: 5 in rows, others=False)
    assert found.rows == (5,)


def test_where_every_batch_fails_no_sample_is_named():
    found, _ = searched(lambda rows: True)
    assert found.rows == ()
    assert "fails with all other samples" in str(found)


def test_where_all_are_needed_no_sample_is_named():
    found, _ = searched(lambda rows: len(rows) == 16)
    assert found.rows == ()
    assert "only with all samples" in str(found)


def test_time_is_limited(monkeypatch):
    monkeypatch.setattr(samples, "_SECONDS", -1.0)
    assert "not found within" in str(searched(lambda rows: 5 in rows)[0])


def test_where_the_samples_are_is_known_or_said_not_to_be():
    def rows(*batch):
        call = enter(lambda *args: None, (jnp.ones(1), *batch), {})
        return samples.rows_of(call, [(0, k) for k in range(1, 4)])

    x, y, key = jnp.ones((6, 2)), np.ones(6), np.zeros(2, np.uint32)
    assert rows(x, y, key) == samples.Rows((1, 2), 6)
    assert "the first axes of the batch differ (args[1] [6, 2], args[2] [4])" in rows(x, y[:4]).why
    assert "no argument beside the state" in rows(jnp.float32(1)).why
