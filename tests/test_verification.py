import jax
import numpy as np
import pytest
from sklearn import metrics

from chainrule import verification
from chainrule.verification import Roc


def drawn(seed, count=400, ties=False):
    generator = np.random.default_rng(seed)
    same = generator.random(count) < 0.3
    distances = generator.normal(size=count) + np.where(same, 0, 1.2)
    return (np.round(distances, 1) if ties else distances), same


@pytest.mark.parametrize("ties", [False, True])
def test_curve_and_area_are_those_of_scikit_learn(ties):
    distances, same = drawn(0, ties=ties)
    curve = verification.roc(distances, same)
    false, true, thresholds = metrics.roc_curve(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_accept, false)
    np.testing.assert_allclose(curve.true_accept, true)
    np.testing.assert_array_equal(curve.thresholds, -thresholds)
    expected = metrics.roc_auc_score(same, -distances)
    np.testing.assert_allclose(verification.area(curve), expected, rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_equal_error_rate_is_where_the_curve_meets_the_falling_diagonal(ties):
    distances, same = drawn(1, ties=ties)
    rate = verification.equal_error_rate(verification.roc(distances, same))
    false, true, _ = metrics.roc_curve(same, -distances, drop_intermediate=False)
    # Along the curve the false rejects fall as the false accepts rise: bracket the crossing.
    crossed = np.argmax(false >= 1 - true)
    low, high = sorted([max(false[crossed - 1], 1 - true[crossed]), false[crossed]])
    assert low <= rate <= max(high, 1 - true[crossed - 1])
    if not ties:
        np.testing.assert_allclose(rate, false[crossed], atol=1 / (~same).sum())


def test_the_equal_error_rate_written_out():
    # Straight from (0, 0.5) to (0.5, 1): the two rates are 0.25 where it is crossed.
    curve = Roc(np.arange(3.0), np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.5, 1.0]))
    assert verification.equal_error_rate(curve) == 0.25
    perfect = verification.roc(np.array([0.1, 0.9]), np.array([True, False]))
    assert verification.equal_error_rate(perfect) == 0
    wrong = verification.roc(np.array([0.9, 0.1]), np.array([True, False]))
    assert verification.equal_error_rate(wrong) == 1
    equal = verification.roc(np.zeros(4), np.array([True, False, True, False]))
    assert verification.equal_error_rate(equal) == 0.5
    assert verification.area(equal) == 0.5


def test_no_threshold_is_better_than_the_best():
    distances, same = drawn(2, count=60, ties=True)
    best = verification.best_threshold(distances, same)
    found = verification.accuracy(distances, same, best)
    tried = [verification.accuracy(distances, same, t) for t in np.arange(-5, 5, 0.05)]
    assert found == max(tried)
    np.testing.assert_allclose(found, metrics.accuracy_score(same, distances <= best))
    # Half way between two distances, and below all where nothing should be accepted.
    assert verification.best_threshold(np.array([1.0, 3.0]), np.array([True, False])) == 2
    nothing = verification.best_threshold(np.array([1.0, 2.0, 3.0]), np.array([False, False, True]))
    assert nothing < 1
    # Where everything should be, nothing is beyond the last.
    everything = verification.best_threshold(
        np.array([1.0, 2.0, 3.0]), np.array([False, True, True])
    )
    assert everything == 3


def test_one_shot_is_the_nearest_of_the_examples():
    # Two classes on a line that overlap: 0, 2 and 1, 3. By hand, of the eight episodes of each
    # class (two examples of it, the other sought, two of the other class).
    points, labels = np.array([0.0, 2.0, 1.0, 3.0]), np.array([0, 0, 1, 1])
    outcomes = []
    for sought in range(4):
        (like,) = [i for i in range(4) if labels[i] == labels[sought] and i != sought]
        for other in np.flatnonzero(labels != labels[sought]):
            near, far = abs(points[like] - points[sought]), abs(points[other] - points[sought])
            outcomes.append(near < far)
    found = verification.one_shot(
        points[:, None], labels, ways=2, episodes=20000, key=jax.random.key(0)
    )
    np.testing.assert_allclose(found, np.mean(outcomes), atol=0.015)


def test_one_shot_of_noise_is_a_guess_and_of_one_point_nothing():
    labels = np.arange(600) % 6
    noise = np.random.default_rng(0).normal(size=(600, 5))
    settings = {"ways": 5, "episodes": 8000, "key": jax.random.key(1)}
    np.testing.assert_allclose(verification.one_shot(noise, labels, **settings), 0.2, atol=0.02)
    assert verification.one_shot(np.ones((600, 5)), labels, **settings) == 0
    assert verification.one_shot(labels[:, None] * 1.0, labels, **settings) == 1


def test_the_alarm_rings_for_one_point_and_not_for_a_sphere():
    generator = np.random.default_rng(0)
    sphere = generator.normal(size=(2000, 8))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    found = verification.spread(sphere)
    assert not found.collapsed
    np.testing.assert_allclose(found.ratio, 1, atol=0.01)
    np.testing.assert_allclose(found.dimensions, 8, rtol=0.02)
    nearly = verification.spread(np.eye(8)[:1] + 0.01 * sphere)
    assert nearly.collapsed
    np.testing.assert_allclose(nearly.ratio, 0.01, rtol=0.02)
    assert verification.spread(np.zeros((3, 2))).collapsed


def test_what_cannot_be_judged_is_refused(unchecked):
    d, y = np.array([0.1, 0.2]), np.array([True, False])
    with pytest.raises(ValueError, match=r"distances \(2,\) against same \(3,\)"):
        verification.roc(d, np.array([True, False, True]))
    with pytest.raises(ValueError, match="distances must be finite, not nan at index 1"):
        verification.roc(np.array([0.1, np.nan]), y)
    with pytest.raises(ValueError, match="2 of 2 pairs are of one class"):
        verification.accuracy(d, np.array([True, True]), 0.1)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="ways must be an int from 2 to 2, not 5"):
        verification.one_shot(np.ones((4, 1)), [0, 0, 1, 1], ways=5, episodes=10, key=key)
    with pytest.raises(ValueError, match="class 1 has one sample"):
        verification.one_shot(np.ones((3, 1)), [0, 0, 1], ways=2, episodes=10, key=key)
    with pytest.raises(ValueError, match=r"embeddings must be finite, not nan at index \(0, 0\)"):
        verification.spread(np.array([[np.nan, 1.0], [np.inf, 2.0]]))


def test_a_distance_at_the_threshold_is_accepted():
    d, y = np.array([0.1, 0.2, 0.3]), np.array([True, True, False])
    assert verification.accuracy(d, y, 0.2) == 1
    assert verification.accuracy(d, y, np.nextafter(0.2, 0)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda d, y: verification.roc(d, y + 1),
            r"same must be 0 or 1, not 2\.0 at index 0: 1",
        ),
        (lambda d, y: verification.roc(d, y * np.nan), "same must be 0 or 1, not nan at index 0"),
        (lambda d, y: verification.roc(d + np.inf, y), "distances must be finite, not inf"),
        (lambda d, y: verification.roc("near", y), "distances must be an array of numbers, not of"),
        (lambda d, y: verification.accuracy(d, y, np.nan), "threshold must be a number .*not nan"),
        (lambda d, y: verification.accuracy(d, y, "x"), "threshold must be a number .*not 'x'"),
        (lambda d, y: verification.area((d, y)), "curve must be what roc returns, not a tuple"),
        (lambda d, y: verification.equal_error_rate(d), "curve must be what roc returns, not an a"),
        (lambda d, y: verification.spread(d), r"embeddings \(2,\): they must be \[samples, dim\]"),
        (lambda d, y: verification.spread(np.eye(2), limit=0), "limit must be .* above 0, not 0"),
    ],
)
def test_what_is_no_answer_no_number_or_no_curve_is_refused(function, message, unchecked):
    with pytest.raises(ValueError, match=message):
        function(np.array([0.1, 0.2]), np.array([1.0, 0.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": 0}, "key is int of shape None: pass one key made by jax.random.key"),
        ({"ways": 2.5}, r"ways must be an int from 2 to 3, not 2\.5"),
        ({"episodes": 0}, "episodes must be an int from 1 to 44739242, not 0"),
        ({"episodes": 10**9}, "episodes must be an int from 1 to 44739242, not 1000000000"),
        ({"labels": np.zeros(6)}, "labels of 1 class: an episode takes two or more"),
        ({"labels": np.arange(5) % 3}, r"embeddings \(6, 2\) against labels \(5,\)"),
        ({"embeddings": np.full((6, 2), np.nan)}, "embeddings must be finite, not nan"),
    ],
)
def test_episodes_that_cannot_be_drawn_are_refused(settings, message, unchecked):
    whole = {
        "embeddings": np.ones((6, 2)),
        "labels": np.arange(6) % 3,
        "ways": 2,
        "episodes": 3,
        "key": jax.random.key(0),
    }
    with pytest.raises(ValueError, match=message):
        verification.one_shot(**whole | settings)


def test_a_similarity_with_its_sign_changed_is_judged_as_a_distance():
    similarities, same = np.array([0.9, 0.2, 0.7, -0.5]), np.array([True, False, True, False])
    curve = verification.roc(-similarities, same)
    assert verification.area(curve) == 1
    assert -0.7 <= verification.best_threshold(-similarities, same) < -0.2
