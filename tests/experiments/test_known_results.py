"""Nearest neighbours and quadratic features against what one would write without thinking."""

import jax
import numpy as np
import pytest

from chainrule import runs
from experiments import known_results


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_the_nearest_row_is_that_of_a_loop_and_the_first_of_equals():
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 4, (count, 3)).astype(float) for count in (30, 7))
    train[20] = train[4]
    labels = np.arange(30)
    found = known_results.nearest(train, labels, test, block=7)
    expected = [min(labels, key=lambda n: np.sum((train[n] - row) ** 2)) for row in test]
    assert found.tolist() == expected
    assert known_results.nearest(train, labels, train[[20]], block=7).tolist() == [4]


def test_whitened_components_have_variance_one_and_span_what_an_svd_finds():
    random = np.random.default_rng(1)
    train = random.normal(size=(50, 4)) @ np.diag([9.0, 4.0, 1.0, 0.1]) + 3
    white, other = known_results.whitened(train, train[:5] + 1, 2)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(white.T @ white / 50, np.eye(2), atol=1e-12)
    _, sizes, directions = np.linalg.svd(train - train.mean(axis=0))
    expected = (train - train.mean(axis=0)) @ directions[:2].T / sizes[:2] * 50**0.5
    np.testing.assert_allclose(np.abs(white), np.abs(expected), atol=1e-10)
    shift = np.ones(4) @ directions[:2].T / sizes[:2] * 50**0.5
    np.testing.assert_allclose(np.abs(other - white[:5]), np.abs(shift)[None].repeat(5, 0))


def test_features_are_a_one_the_inputs_and_all_their_products():
    rows = known_results.quadratic(np.array([[2.0, 3.0, 5.0]]))
    assert rows.tolist() == [[1, 2, 3, 5, 4, 6, 10, 9, 15, 25]]


def test_the_fit_is_that_of_least_squares():
    random = np.random.default_rng(2)
    inputs, test, labels = (
        random.normal(size=(40, 3)),
        random.normal(size=(9, 3)),
        np.arange(40) % 10,
    )
    best, *_ = np.linalg.lstsq(inputs, np.eye(10)[labels], rcond=None)
    expected = (test @ best).argmax(axis=1)
    assert known_results.least_squares(inputs, labels, test).tolist() == expected.tolist()


def test_without_all_digits_nothing_is_expected(tmp_path):
    config = known_results.Config(source="embedded", samples=300, components=5, root=tmp_path)
    path = known_results.main(config)
    results = runs.load(path).record["results"]
    wrong = results["nearest neighbour: errors"]["value"]
    assert 100 < wrong < 300
    share = results["nearest neighbour: test error, %"]
    assert share["value"] == pytest.approx(wrong / 10)
    assert share["expected"] is None
    assert 150 < results["5 components, quadratic: errors"]["value"] < 500
