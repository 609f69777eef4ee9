"""The generator tells the truth: steps, phases, lines and rows are measured in plain JAX."""

import ast

import numpy as np
import pytest

from tests.bars import failing_trainings, training_faults, training_truth
from tests.bars.nan_truth import plain_jax

pytest.importorskip("equinox", reason="programs of other libraries: make zoo")


def texts(folder):
    return {path.name: path.read_text() for path in folder.glob("*.py")}


def test_the_same_seed_gives_the_same_trainings(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        made = list(failing_trainings.trainings(5, 10, tmp_path / name))
    assert texts(tmp_path / "one") == texts(tmp_path / "other")
    assert len(texts(tmp_path / "one")) == 10
    assert {one.flavour for one in made} == set(training_faults.FLAVOURS)
    for one in made:
        assert 2 <= one.step <= 40
        assert all(0 < line <= len(one.file.read_text().splitlines()) for line in one.lines)
        assert bool(one.lines) is (one.phase != "data")
        assert failing_trainings.MARK not in one.file.read_text()
        ast.parse(one.file.read_text(), feature_version=(3, 11))


def test_every_fault_is_drawn_before_one_comes_again_too_often():
    dealt = failing_trainings.deal(np.random.default_rng(0), training_faults.FAULTS)
    names = [next(dealt)[0].name for _ in range(3 * len(training_faults.FAULTS))]
    assert {names.count(fault.name) for fault in training_faults.FAULTS} <= {2, 3, 4}


@pytest.mark.bars
@pytest.mark.parametrize("seed", range(3))
def test_a_training_fails_where_it_is_said_to(tmp_path, seed):
    with plain_jax(False):
        for training in failing_trainings.trainings(seed, 2, tmp_path):
            assert training_truth.contradiction(training) == ""


@pytest.mark.bars
def test_a_clean_training_stays_finite(tmp_path):
    with plain_jax(False):
        for training in failing_trainings.clean(0, 2, tmp_path):
            assert training_truth.contradiction(training) == ""


@pytest.mark.bars
@pytest.mark.timeout(3600)
def test_all_trainings_are_what_they_are_said_to_be(tmp_path):
    with plain_jax(False):
        for training in failing_trainings.trainings(1, 100, tmp_path):
            assert training_truth.contradiction(training) == "", training.name
        for training in failing_trainings.clean(1, 20, tmp_path):
            assert training_truth.contradiction(training) == "", training.name
