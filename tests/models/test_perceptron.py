import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Perceptron

from chainrule.models import perceptron
from tests import oracles


def random_set(n, width, seed, noise=0.1):
    """Small integers, so that every sum is exact, labelled by a plane with a few labels turned."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-9, 10, (n, width))
    targets = np.where(inputs @ rng.integers(-9, 10, width) >= 0, 1, -1)
    return inputs, np.where(rng.random(n) < noise, -targets, targets)


def fit(inputs, targets, *args, **settings):
    """Take arrays of NumPy."""
    return perceptron.fit(jnp.asarray(inputs), jnp.asarray(targets), *args, **settings)


def error(weights, inputs, targets):
    return np.mean(targets * (inputs @ weights) <= 0)


def test_the_rule_written_out():
    inputs = jnp.array([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
    targets = jnp.array([1, -1, -1])
    # (0, 0) . (2, 1) is 0, a mistake: (2, 1). Then (2, 0), then (1, -3); in the second epoch
    # -1 on the first: (3, -2), which is right on all.
    expected = [[0, 0], [2, 1], [2, 0], [1, -3], [3, -2], [3, -2], [3, -2]]
    assert perceptron.path(inputs, targets, epochs=2).tolist() == expected
    found = perceptron.fit(inputs, targets, max_epochs=5)
    assert found.weights.tolist() == [3, -2]
    assert found.changes.tolist() == [3, 1, 0, 0, 0]
    assert found.changes.dtype == jnp.int32
    assert found.epochs == 3
    assert found.converged
    # After epoch 1, (1, -3) is wrong on the first; scores of (3, -2): 4, -2, -3.
    np.testing.assert_allclose(found.errors.train, [1 / 3, 0, 0, 0, 0])
    assert found.errors.test is None
    # The weights after each of the nine examples seen.
    mean = np.array([[2, 1], [2, 0], [1, -3]] + 6 * [[3, -2]]).mean(axis=0)
    np.testing.assert_allclose(found.averaged, mean, rtol=1e-6)
    np.testing.assert_allclose(found.margin, 2 / np.sqrt(13), rtol=1e-6)
    np.testing.assert_allclose(found.radius, np.sqrt(10), rtol=1e-6)
    np.testing.assert_allclose(found.bound, 10 / (4 / 13), rtol=1e-6)


def test_behind_the_last_epoch_the_errors_go_on_as_they_are():
    inputs = jnp.array([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
    # The weights after epoch 1, (1, -3), score 1, -2, -5 on these: the last is wrong; those after
    # the others, (3, -2), score 3, 1, -1: the last two are.
    test = jnp.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), jnp.array([1, -1, 1])
    found = perceptron.fit(inputs, jnp.array([1, -1, -1]), max_epochs=5, test=test)
    assert found.epochs == 3
    np.testing.assert_allclose(found.errors.test, [1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_an_end_before_the_epoch_without_change_is_not_convergence():
    inputs = jnp.array([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
    found = perceptron.fit(inputs, jnp.array([1, -1, -1]), max_epochs=2)
    assert found.changes.tolist() == [3, 1]
    assert not found.converged
    assert found.errors.train[-1] == 0  # the weights separate the set, but no epoch has shown it
    assert found.margin > 0


def test_a_score_of_zero_is_a_mistake_of_either_class():
    inputs = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    for targets in ([1, 1], [-1, -1], [1, -1]):
        assert perceptron.fit(inputs, jnp.array(targets), 3).weights.tolist() == targets


@pytest.mark.parametrize("n", [1, 32, 33, 95])
def test_fit_is_the_naive_loop_to_the_last_bit(n):
    # Twenty sets of each size with one compilation, every other one separable.
    sets = (random_set(n, 3, seed, noise=0.1 * (seed % 2)) for seed in range(20))
    inputs, targets = zip(*sets, strict=True)
    found = jax.vmap(lambda x, y: perceptron.fit(x, y, 30))(
        jnp.asarray(np.stack(inputs)), jnp.asarray(np.stack(targets))
    )
    for k in range(20):
        weights, averaged, changes, history = oracles.perceptron(inputs[k], targets[k], 30)
        np.testing.assert_array_equal(found.weights[k], weights)
        np.testing.assert_allclose(found.averaged[k], averaged, rtol=1e-5, atol=1e-5)
        assert found.changes[k].tolist() == changes + [0] * (30 - len(changes))
        assert found.epochs[k] == len(changes)
        assert found.converged[k] == (changes[-1] == 0)
        errors = [error(w, inputs[k], targets[k]) for w in history]
        errors += errors[-1:] * (30 - len(errors))
        np.testing.assert_allclose(found.errors.train[k], errors, rtol=1e-6)
    assert {bool(c) for c in found.converged} == ({True} if n == 1 else {True, False})


def test_every_setting_at_once_is_still_the_naive_loop():
    (inputs, targets), (test_inputs, test_targets) = random_set(77, 4, 0), random_set(40, 4, 0)
    key, epochs = jax.random.key(3), 9

    def square(x):
        return x * x - 7

    def with_one(x):
        return np.hstack([square(x), np.ones((len(x), 1), int)])

    orders = [jax.random.permutation(jax.random.fold_in(key, e), 77) for e in range(epochs)]
    weights, averaged, changes, history = oracles.perceptron(
        with_one(inputs), targets, epochs, np.array(orders)
    )
    test = (jnp.asarray(test_inputs), jnp.asarray(test_targets))
    found = fit(inputs, targets, epochs, test=test, bias=True, key=key, features=square)
    np.testing.assert_array_equal(found.weights, weights)
    np.testing.assert_allclose(found.averaged, averaged, rtol=1e-5, atol=1e-5)
    assert found.changes.tolist() == changes
    assert not found.converged
    for errors, x, y in (
        (found.errors.train, inputs, targets),
        (found.errors.test, test_inputs, test_targets),
    ):
        np.testing.assert_allclose(errors, [error(w, with_one(x), y) for w in history], rtol=1e-6)
    np.testing.assert_array_equal(
        perceptron.apply(found.weights, test[0], features=square), with_one(test_inputs) @ weights
    )
    np.testing.assert_allclose(
        found.radius, np.linalg.norm(with_one(inputs), axis=1).max(), rtol=1e-6
    )
    other = fit(
        inputs, targets, epochs, test=test, bias=True, key=jax.random.key(4), features=square
    )
    assert not np.array_equal(other.weights, weights)


def test_path_is_the_naive_loop_example_by_example():
    inputs, targets = random_set(40, 3, 5)
    with_one = np.hstack([inputs, np.ones((40, 1), int)])
    path = perceptron.path(jnp.asarray(inputs), jnp.asarray(targets), 4, bias=True)
    _, averaged, changes, history = oracles.perceptron(with_one, targets, 4)
    np.testing.assert_array_equal(path[::40][1:], history)
    np.testing.assert_allclose(path[1:].mean(axis=0), averaged, rtol=1e-5)
    changed = (np.diff(path, axis=0) != 0).any(axis=1)
    assert changed.reshape(4, 40).sum(axis=1).tolist() == changes


def test_the_changes_stay_below_the_bound_of_novikoff():
    inputs, targets = random_set(64, 3, 1, noise=0)
    keep = inputs.any(axis=1)
    found = fit(inputs[keep], targets[keep], 500)
    assert found.converged
    assert 0 < int(found.changes.sum()) <= float(found.bound) < np.inf
    weights = np.asarray(found.weights, float)
    margin = (targets * (inputs @ weights))[keep].min() / np.linalg.norm(weights)
    np.testing.assert_allclose(found.margin, margin, rtol=1e-6)


def test_a_set_that_is_not_separable_says_so():
    xor, targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([-1, 1, 1, -1])
    found = fit(xor, targets, 200, bias=True)
    assert not found.converged
    assert found.epochs == 200
    assert (found.changes > 0).all()
    assert found.margin <= 0
    assert jnp.isinf(found.bound)
    assert jnp.isfinite(found.averaged).all()


def test_the_product_makes_xor_separable():
    xor, targets = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([-1, 1, 1, -1])

    def product(x):
        return jnp.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1]], axis=1)

    found = fit(xor, targets, 200, bias=True, features=product)
    assert found.converged
    scores = perceptron.apply(found.weights, jnp.asarray(xor), features=product)
    assert jnp.sign(scores).tolist() == targets.tolist()


def test_averaged_weights_keep_their_precision_over_many_epochs():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 6)).astype(np.float32)
    targets = np.where(inputs[:, 0] + 1.5 * rng.normal(size=500) > 0, 1, -1)
    _, averaged, changes, _ = oracles.perceptron(inputs, targets, 60)
    found = fit(inputs, targets, 60)
    assert found.changes.tolist() == changes
    assert sum(changes) > 5000
    np.testing.assert_allclose(found.averaged, averaged, atol=1e-5 * np.abs(averaged).max())


def test_images_of_bytes_are_walked_like_their_floats():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (70, 4, 3)).astype(np.uint8)
    targets = np.where(rng.random(70) < 0.5, 1, -1)
    rows = images.reshape(70, 12)
    weights = oracles.perceptron(rows.astype(int), targets, 6)[0]

    def flat(x):
        return x.reshape(len(x), -1)

    for inputs, features in ((images, flat), (rows, None)):
        found = fit(inputs, targets, 6, features=features)
        np.testing.assert_array_equal(found.weights, weights)
        assert found.weights.dtype == jnp.float32


def test_fit_under_jit_and_one_perceptron_a_class_under_vmap():
    inputs, targets = random_set(50, 3, 2)
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets)
    eager = perceptron.fit(x, y, 8)
    jitted = jax.jit(perceptron.fit, static_argnames="max_epochs")(x, y, max_epochs=8)
    jax.tree.map(np.testing.assert_array_equal, eager, jitted)
    assert not eager.converged
    both = jax.vmap(lambda y: perceptron.fit(x, y, 8).weights)(jnp.stack([y, y[::-1]]))
    np.testing.assert_array_equal(both[0], eager.weights)
    np.testing.assert_array_equal(both[1], perceptron.fit(x, y[::-1], 8).weights)


@pytest.mark.usefixtures("x64")
def test_fit_in_double_precision():
    inputs, targets = random_set(70, 3, 4)
    inputs = inputs * 10**6 + 1  # sums beyond 2^24
    weights, _, changes, _ = oracles.perceptron(inputs, targets, 7)
    found = fit(inputs, targets, 7)
    assert found.weights.dtype == found.averaged.dtype == jnp.float64
    np.testing.assert_array_equal(found.weights, weights)
    assert found.changes.tolist() == changes


def test_fit_is_the_perceptron_of_scikit_learn():
    rng = np.random.default_rng(0)
    inputs = rng.integers(-99, 100, (600, 8))
    targets = np.where(inputs[:, 0] + 40 * rng.normal(size=600) > 0, 1, -1)
    peer = Perceptron(penalty=None, eta0=1.0, shuffle=False, fit_intercept=False, tol=None)
    peer.set_params(max_iter=11).fit(inputs, targets)
    np.testing.assert_array_equal(fit(inputs, targets, 11).weights, peer.coef_[0])


def test_apply_and_its_gradient_written_out():
    weights, inputs = jnp.array([2.0, -1.0]), jnp.array([[1.0, 5.0], [3.0, 4.0], [0.0, -2.0]])
    assert perceptron.apply(weights, inputs).tolist() == [-3, 2, 2]
    assert perceptron.apply(jnp.array([2.0, -1.0, 0.5]), inputs).tolist() == [-2.5, 2.5, 2.5]
    g = jnp.array([1.0, 10.0, 100.0])
    scores, pull = jax.vjp(jax.jit(perceptron.apply), weights, inputs)
    by_weights, by_inputs = pull(g)
    assert scores.tolist() == [-3, 2, 2]
    assert by_weights.tolist() == [31, -155]
    assert by_inputs.tolist() == [[2, -1], [20, -10], [200, -100]]
    one = jax.vmap(lambda x: perceptron.apply(weights, x[None, :])[0])
    assert one(inputs).tolist() == [-3, 2, 2]


@pytest.mark.parametrize("n", [0, 1, 32, 33, 100])
def test_apply_walks_the_blocks_without_gap_or_overlap(n):
    inputs, _ = random_set(n, 3, 0)
    scores = perceptron.apply(jnp.array([1.0, -2.0, 3.0, 0.5]), jnp.asarray(inputs))
    np.testing.assert_array_equal(scores, inputs @ [1, -2, 3] + 0.5)


X, Y = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([1, -1, 1])


@pytest.mark.parametrize(
    ("inputs", "targets", "settings", "message"),
    [
        (X, [0, 1, 1], {}, "targets must be -1 or [+]1, not 0 at index 0"),
        (X, [1, 1, 0.5], {}, "targets must be -1 or [+]1, not 0.5 at index 2"),
        (X, [1, np.nan, 1], {}, "targets must be -1 or [+]1, not nan at index 1"),
        (X, [1, -1], {}, r"inputs of shape \(3, 2\) and targets of shape \(2,\)"),
        (X, Y[:, None], {}, r"inputs of shape \(3, 2\) and targets of shape \(3, 1\)"),
        (X[:, 0], Y, {}, r"N > 0, got shape \(3,\)"),
        (X[:0], Y[:0], {}, r"N > 0, got shape \(0, 2\)"),
        (X[:, :, None], Y, {}, r"inputs must be one row .* got shape \(2, 2, 1\) for 2 inputs"),
        (X * [1, np.inf], Y, {}, r"inputs must be finite, not inf at index \(0, 1\)"),
        (X, Y, {"max_epochs": 0}, "max_epochs must be an int from 1 to 16777216, not 0"),
        (X, Y, {"test": (X * np.nan, Y)}, "test inputs must be finite, not nan"),
        (X, Y, {"test": (X, 2 * Y)}, "test targets must be -1 or [+]1, not 2 at index 0"),
        (X, Y, {"test": (X[:, :1], Y)}, r"got shapes \(3, 2\) and \(3, 1\)"),
        (X, Y, {"features": lambda x: x.sum(axis=1)}, "features must be one row an example"),
        (X, Y, {"features": lambda x: x[:1]}, r"got shape \(1, 2\) for 2 inputs of shape \(2,\)"),
        (X, Y, {"features": lambda x: jnp.log(x - 3)}, "features must be finite, not nan: .* norm"),
    ],
)
def test_errors(inputs, targets, settings, message):
    settings = {"max_epochs": 5} | settings
    if "test" in settings:
        settings["test"] = tuple(map(jnp.asarray, settings["test"]))
    with pytest.raises(ValueError, match=message):
        fit(inputs, np.asarray(targets), **settings)


def test_path_and_apply_refuse_what_fit_refuses():
    with pytest.raises(ValueError, match=r"targets must be -1 or \+1, not 3 at index 1"):
        perceptron.path(jnp.asarray(X), jnp.array([1, 3, 1]), 2)
    with pytest.raises(ValueError, match=r"take 2 weights, or 3 with a bias, got weights \(4,\)"):
        perceptron.apply(jnp.ones(4), jnp.asarray(X))


@pytest.mark.full
def test_zero_against_one_on_the_full_set(full_mnist):
    def read(name, offset):
        (path,) = full_mnist.glob(f"{name}*")
        raw = path.read_bytes()
        return np.frombuffer(
            gzip.decompress(raw) if path.suffix == ".gz" else raw, np.uint8, -1, offset
        )

    def digits(split):
        images, labels = read(f"{split}-images", 16).reshape(-1, 784), read(f"{split}-labels", 8)
        chosen = labels <= 1
        return images[chosen], np.where(labels[chosen] == 1, 1, -1)

    (inputs, targets), (test_inputs, test_targets) = digits("train"), digits("t10k")
    assert (len(inputs), len(test_inputs)) == (12665, 2115)
    test = (jnp.asarray(test_inputs), jnp.asarray(test_targets))
    found = fit(inputs, targets, 30, test=test)
    # Scores reach 3.0e7, beyond 2^24, but rounding turns the sign of none of them.
    weights, averaged, changes, history = oracles.perceptron(inputs.astype(int), targets, 30)
    np.testing.assert_array_equal(found.weights, weights)
    np.testing.assert_allclose(found.averaged, averaged, atol=1e-5 * np.abs(averaged).max())
    assert found.changes[: found.epochs].tolist() == changes
    assert found.converged
    assert found.errors.train[-1] == 0
    assert found.errors.test[-1] <= 0.002
    errors = [error(w, test_inputs.astype(int), test_targets) for w in history]
    np.testing.assert_allclose(found.errors.test[: found.epochs], errors, rtol=1e-6)
    np.testing.assert_allclose(found.errors.test[found.epochs :], errors[-1], rtol=1e-6)
    assert errors[-1] > 0
    assert found.margin > 0
    assert sum(changes) <= found.bound


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: perceptron.fit(X, Y, 2.5), r"max_epochs must be an int from 1 to .* not 2\.5"),
        (lambda: perceptron.fit(X, Y, 1, key=0), "pass one key made by jax.random.key"),
        (lambda: perceptron.fit(X, Y, 1, features=3), "features must be a function .* not an int"),
        (
            lambda: perceptron.fit(X.tolist(), Y, 1),
            "inputs must be an array of numbers",
        ),
        (lambda: perceptron.fit(X, "x", 1), "targets must be an array of numbers, not a str"),
        (lambda: perceptron.fit(X, Y, 1, bias="no"), "bias must be True or False, not 'no'"),
        (lambda: perceptron.fit(X, Y, 1, test=X), "test must be inputs and targets, not an array"),
        (
            lambda: perceptron.fit(X, Y, 1, features=lambda x: None),
            "features must be an array of numbers, not a NoneType",
        ),
        (
            lambda: perceptron.update(jnp.ones(2), jnp.ones(2), jnp.ones(3)),
            r"target \(3,\): it must be one number, -1 or \+1",
        ),
        (
            lambda: perceptron.path(X, Y, 10**9),
            "epochs must be an int from 1 to 44739242, not 1000000000: an epoch keeps 6 numbers",
        ),
        (lambda: perceptron.path(X, Y, 0), "epochs must be an int from 1 to 44739242, not 0"),
        (
            lambda: perceptron.update(jnp.ones(2), jnp.ones(3), jnp.array(1)),
            r"weights \(2,\) against example \(3,\): .* one weight a feature",
        ),
        (lambda: perceptron.apply(jnp.ones(2), 3.0), "inputs must be an array of numbers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()


@pytest.mark.usefixtures("unchecked")
def test_path_takes_arrays_of_numpy():
    found = perceptron.path(np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([1, -1]), epochs=1)
    assert found.tolist() == [[0, 0], [1, 2], [-2, 1]]
