import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import losses
from chainrule.ops import backward_of
from chainrule.ops.distances import euclidean, unit

SCORES = jnp.array([2.0, 0.5, -0.5, -3.0, 1.5])
SIGNS = jnp.array([1, 1, 1, -1, -1])


def with_rule(loss):
    """Return one program of a loss and of the rule beside it, of a g of 1."""
    return jax.jit(lambda *arrays: (loss(*arrays), backward_of(loss)(jnp.array(1.0), *arrays)))


def test_squared_error_on_the_numbers_of_the_notes():
    assert losses.squared_error(jnp.array([[3.0]]), jnp.array([[0.0]])) == 9
    assert losses.squared_error(jnp.array([3.0, 0.0, 0.0, 0.0]), jnp.zeros(4)) == 2.25


def test_the_gradient_of_squared_error_written_out():
    predictions, targets = (
        jnp.array([[1.0, 2.0], [3.0, -4.0]]),
        jnp.array([[0.0, 4.0], [3.0, -6.0]]),
    )
    by_predictions, by_targets = losses.squared_error_backward(jnp.array(2.0), predictions, targets)
    np.testing.assert_array_equal(by_predictions, [[1, -2], [0, 2]])
    np.testing.assert_array_equal(by_targets, [[-1, 2], [0, -2]])


def test_cross_entropy_divides_by_the_batch_and_not_by_the_classes():
    # Of equal logits of K classes it is log K, and the gradient by the right one (1 / K - 1) / N.
    for classes in (2, 10):
        logits, labels = jnp.zeros((5, classes)), jnp.array([0, 1, 1, 0, 1])
        value, (by_logits, _) = with_rule(losses.cross_entropy)(logits, labels)
        np.testing.assert_allclose(value, np.log(classes), rtol=1e-6)
        expected = np.full((5, classes), 1 / classes / 5)
        expected[np.arange(5), labels] -= 1 / 5
        np.testing.assert_allclose(by_logits, expected, rtol=1e-6)


def test_cross_entropy_written_out():
    # Row one: odds 1 : 3, row two: odds 4 : 1, and the label is the rarer one.
    logits = jnp.log(jnp.array([[1.0, 3.0], [4.0, 1.0]]))
    labels = jnp.array([1, 1])
    expected = (np.log(4 / 3) + np.log(5)) / 2
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), expected, rtol=1e-6)
    by_logits, by_labels = losses.cross_entropy_backward(jnp.array(2.0), logits, labels)
    np.testing.assert_allclose(by_logits, [[0.25, -0.25], [0.8, -0.8]], rtol=1e-5)
    assert by_labels is None


def test_cross_entropy_of_sequences_is_the_mean_over_all_positions():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    labels = np.array([[0, 4, 1], [2, 2, 3]])
    flat, rows = logits.reshape(6, 5), labels.reshape(6)
    value, (by_logits, _) = with_rule(losses.cross_entropy)(logits, labels)
    expected, (by_rows, _) = with_rule(losses.cross_entropy)(flat, rows)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    picked = np.take_along_axis(np.asarray(jax.jit(jax.nn.log_softmax)(flat)), rows[:, None], 1)
    np.testing.assert_allclose(expected, -picked.mean(), rtol=1e-6)
    np.testing.assert_allclose(by_logits, by_rows.reshape(2, 3, 5), rtol=1e-6)
    np.testing.assert_allclose(
        by_logits, jax.jit(jax.grad(losses.cross_entropy))(logits, labels), atol=1e-7
    )
    one = losses.cross_entropy(
        logits[0, 0], jnp.array(labels[0, 0])
    )  # of one sample, without a batch
    np.testing.assert_allclose(one, -picked[0, 0], rtol=1e-6)


def test_hinge_written_out():
    # y s = 2, 0.5, -0.5, 3, -1.5: missing to 1 are 0, 0.5, 1.5, 0, 2.5.
    np.testing.assert_allclose(losses.hinge(SCORES, SIGNS), 4.5 / 5, rtol=1e-6)
    by_scores, _ = losses.hinge_backward(jnp.array(5.0), SCORES, SIGNS)
    np.testing.assert_allclose(by_scores, [0, -1, -1, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(losses.squared_hinge(SCORES, SIGNS), 8.75 / 5, rtol=1e-6)
    by_scores, _ = losses.squared_hinge_backward(jnp.array(5.0), SCORES, SIGNS)
    np.testing.assert_allclose(by_scores, [0, -1, -3, 0, 5], rtol=1e-6)
    np.testing.assert_allclose(losses.perceptron(SCORES, SIGNS), 2 / 5, rtol=1e-6)
    by_scores, _ = losses.perceptron_backward(jnp.array(5.0), SCORES, SIGNS)
    np.testing.assert_allclose(by_scores, [0, 0, -1, 0, 1], rtol=1e-6)


def test_at_the_corner_a_sample_still_counts():
    # y s = 0 for the perceptron, 1 for the hinge: the whole update, not half of it, not none.
    for loss, scores in ((losses.perceptron, [0.0, 0.0]), (losses.hinge, [1.0, -1.0])):
        scores, targets = jnp.array(scores), jnp.array([1, -1])
        by_hand, _ = backward_of(loss)(jnp.array(2.0), scores, targets)
        np.testing.assert_array_equal(by_hand, [-1, 1])
        np.testing.assert_array_equal(2 * jax.grad(loss)(scores, targets), [-1, 1])


def test_a_step_of_one_on_the_perceptron_loss_is_the_rule_of_the_notes():
    inputs, targets = jnp.array([[1.0, 2.0], [-3.0, 1.0], [2.0, -1.0]]), jnp.array([1, -1, 1])
    weights, history = jnp.zeros(2), []
    for x, y in zip(inputs, targets, strict=True):
        # The score of the third is 0 again, and it is a mistake like the first.
        weights -= jax.grad(lambda w, x=x, y=y: losses.perceptron(w @ x, y))(weights)
        history.append(weights.tolist())
    assert history == [[1, 2], [1, 2], [3, 1]]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


LABELS = jnp.asarray(np.random.default_rng(3).integers(0, 4, 8))
BITS = jnp.asarray(np.random.default_rng(4).integers(0, 2, (8, 3)))
BATCHES = {
    "squared_error": (losses.squared_error, normal(0, 8, 3), normal(1, 8, 3)),
    "cross_entropy": (losses.cross_entropy, normal(0, 8, 4), LABELS),
    "binary_cross_entropy": (losses.binary_cross_entropy, normal(0, 8, 3), BITS),
    "hinge": (losses.hinge, normal(0, 8, 3), 2 * BITS - 1),
    "squared_hinge": (losses.squared_hinge, normal(0, 8, 3), 2 * BITS - 1),
    "perceptron": (losses.perceptron, normal(0, 8, 3), 2 * BITS - 1),
}
every_loss = pytest.mark.parametrize("name", BATCHES)


@every_loss
def test_repeating_the_batch_changes_neither_loss_nor_gradient(name):
    loss, _, targets = BATCHES[name]
    inputs = normal(5, 8, 6)
    kernel = normal(6, 6, 4 if name == "cross_entropy" else 3)

    def whole(kernel, times):
        repeat = functools.partial(jnp.concatenate, axis=0)
        return loss(repeat([inputs] * times) @ kernel, repeat([targets] * times))

    once, thrice = (
        jax.jit(jax.value_and_grad(whole), static_argnums=1)(kernel, times) for times in (1, 3)
    )
    np.testing.assert_allclose(once[0], thrice[0], rtol=1e-6)
    np.testing.assert_allclose(once[1], thrice[1], rtol=1e-5, atol=1e-6)


@every_loss
def test_labels_may_be_closed_over_in_a_compiled_program(name):
    loss, predictions, targets = BATCHES[name]
    compiled = jax.jit(lambda predictions: loss(predictions, targets))
    np.testing.assert_allclose(compiled(predictions), loss(predictions, targets), rtol=1e-6)


@every_loss
def test_the_losses_are_those_of_optax(name):
    loss, predictions, targets = BATCHES[name]
    real = targets.astype(jnp.float32)
    expected = {
        "squared_error": lambda p: optax.losses.squared_error(p, real),
        "cross_entropy": lambda p: optax.losses.softmax_cross_entropy_with_integer_labels(
            p, targets
        ),
        "binary_cross_entropy": lambda p: optax.losses.sigmoid_binary_cross_entropy(p, real),
        "hinge": lambda p: optax.losses.hinge_loss(p, real),
        "squared_hinge": lambda p: optax.losses.hinge_loss(p, real) ** 2,
        # No score is exactly 0 here, where the two differ in the gradient.
        "perceptron": lambda p: optax.losses.perceptron_loss(p, real),
    }[name]
    with jax.numpy_dtype_promotion("standard"):
        value, gradient = jax.jit(jax.value_and_grad(lambda p: jnp.mean(expected(p))))(predictions)
    np.testing.assert_allclose(loss(predictions, targets), value, rtol=1e-6)
    by_hand = backward_of(loss)(jnp.array(1.0), predictions, targets)[0]
    np.testing.assert_allclose(by_hand, gradient, rtol=1e-5, atol=1e-7)


def test_the_losses_are_those_of_scikit_learn():
    from sklearn import metrics

    labels = np.asarray(LABELS)
    probabilities = np.asarray(jax.nn.softmax(normal(0, 8, 4)), np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        losses.cross_entropy(normal(0, 8, 4), LABELS),
        metrics.log_loss(labels, probabilities, labels=range(4)),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        losses.hinge(SCORES, SIGNS),
        metrics.hinge_loss(np.asarray(SIGNS), np.asarray(SCORES)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("scale", [1e4, 3e38])
def test_huge_logits_give_finite_numbers(scale):
    logits, labels = jnp.array([[scale, -scale], [scale, -scale]]), jnp.array([0, 0])
    for value, gradient in (
        jax.jit(jax.value_and_grad(losses.cross_entropy))(logits, labels),
        jax.jit(jax.value_and_grad(losses.binary_cross_entropy))(logits[0], jnp.array([1, 0])),
    ):
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_soft_labels_are_allowed_between_0_and_1():
    logits, labels = jnp.array([0.3, -1.0]), jnp.array([0.25, 0.9])
    expected = optax.losses.sigmoid_binary_cross_entropy(logits, labels).mean()
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, labels), expected, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["squared_error", "binary_cross_entropy", "hinge", "perceptron"])
def test_a_column_against_a_vector_is_refused(name):
    with pytest.raises(ValueError, match=r"\w+ \(3, 1\) against \w+ \(3,\): .* must be equal"):
        getattr(losses, name)(jnp.ones((3, 1)), jnp.ones(3))


@pytest.mark.usefixtures("unchecked")
def test_cross_entropy_refuses_labels_of_another_shape():
    with pytest.raises(ValueError, match=r"logits \(3, 4\) against labels \(3, 1\)"):
        losses.cross_entropy(jnp.ones((3, 4)), jnp.zeros((3, 1), jnp.int32))
    with pytest.raises(ValueError, match=r"logits \(3, 4\) against labels \(2,\)"):
        losses.cross_entropy(jnp.ones((3, 4)), jnp.zeros(2, jnp.int32))
    with pytest.raises(
        ValueError, match=r"\(3, 4\) against labels \(3, 4\): .*argmax.* of one-hot"
    ):
        losses.cross_entropy(jnp.ones((3, 4)), jnp.ones((3, 4)))
    with pytest.raises(ValueError, match=r"labels of dtype float32: .* labels\.astype\(int\)"):
        losses.cross_entropy(jnp.ones((3, 4)), jnp.zeros(3))


@pytest.mark.parametrize("bad", [4, -1])
def test_a_label_out_of_range_is_refused_and_nan_under_jit(bad):
    logits, labels = jnp.ones((3, 4)), jnp.array([0, bad, 2])
    with pytest.raises(
        ValueError,
        match=rf"labels must be .* at least 0 and at most 3, not {bad} at index 1: .*4 classes",
    ):
        losses.cross_entropy(logits, labels)
    assert jnp.isnan(jax.jit(losses.cross_entropy)(logits, labels))


def test_labels_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"labels must be .* at most 1, not -1 at index 0"):
        losses.binary_cross_entropy(jnp.ones(2), jnp.array([-1, 1]))
    with pytest.raises(ValueError, match=r"labels must be finite .*, not nan at index 0"):
        losses.binary_cross_entropy(jnp.ones(2), jnp.array([jnp.nan, 1]))


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "perceptron"])
def test_targets_that_are_no_signs_are_refused(name):
    with pytest.raises(ValueError, match=r"must be -1 or \+1, not 0 at index 0: map labels"):
        getattr(losses, name)(jnp.ones(3), jnp.array([0, 1, 1]))


def test_contrastive_written_out_and_at_its_corners():
    # 2 and 0 of one class; 0.5, 0 (nearest), 1.5 (exactly the margin) and 3 of two.
    distances = jnp.array([2.0, 0.0, 0.5, 0.0, 1.5, 3.0])
    same = jnp.array([True, True, False, False, False, False])
    value = losses.contrastive(distances, same, 1.5)
    np.testing.assert_allclose(value, (4 + 0 + 1 + 2.25 + 0 + 0) / 2 / 6, rtol=1e-6)
    by_hand, by_same = losses.contrastive_backward(jnp.array(6.0), distances, same, 1.5)
    np.testing.assert_allclose(by_hand, [2, 0, -1, -1.5, 0, 0])
    assert by_same is None
    np.testing.assert_allclose(6 * jax.grad(losses.contrastive)(distances, same, 1.5), by_hand)


def test_triplet_is_that_of_pytorch():
    # torch.nn.TripletMarginLoss(margin=0.5, eps=0.0) of anchors, positives and negatives.
    anchors = jnp.array([[1.0, 2.0], [0.0, -1.0], [3.0, 1.0]])
    positives = jnp.array([[1.5, 2.0], [2.0, -1.0], [3.0, 1.2]])
    negatives = jnp.array([[1.0, 2.4], [0.0, 3.0], [2.0, 0.0]])

    def loss(anchors):
        return losses.triplet(euclidean(anchors, positives), euclidean(anchors, negatives), 0.5)

    value, gradient = jax.jit(jax.value_and_grad(loss))(anchors)
    np.testing.assert_allclose(value, 0.2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1 / 3, 1 / 3], [0, 0], [0, 0]], rtol=1e-5, atol=1e-7)
    # Exactly at the margin there is nothing to do.
    edge = losses.triplet_backward(jnp.array(1.0), jnp.array([1.0]), jnp.array([1.5]), 0.5)
    np.testing.assert_array_equal(edge, [[0], [0]])


def test_repeating_the_pairs_and_triplets_changes_neither_loss_nor_gradient():
    distances, same = jnp.abs(normal(0, 6)), jnp.arange(6) % 2 == 0
    for loss, other in ((losses.contrastive, same), (losses.triplet, jnp.abs(normal(1, 6)))):
        once = jax.jit(jax.value_and_grad(lambda s, f=loss, o=other: f(s * distances, o)))(1.0)
        twice = jax.jit(
            jax.value_and_grad(
                lambda s, f=loss, o=other: f(jnp.tile(s * distances, 2), jnp.tile(o, 2))
            )
        )(1.0)
        np.testing.assert_allclose(once, twice, rtol=1e-6)


def test_two_views_of_every_image_make_the_supervised_loss_nt_xent():
    z = np.asarray(jax.jit(unit)(normal(2, 8, 4)))  # rows i and i + 4 are views of one image
    logits = np.where(np.eye(8, dtype=bool), -np.inf, z @ z.T / 0.2)
    expected = jax.jit(optax.losses.softmax_cross_entropy_with_integer_labels)(
        logits, (np.arange(8) + 4) % 8
    ).mean()
    value = jax.jit(lambda s: losses.supervised_contrastive(s, np.tile(np.arange(4), 2), 0.2))(
        z @ z.T
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    # A sample that has no like in the batch is no anchor; without any there is no loss.
    among = jax.jit(jax.value_and_grad(losses.supervised_contrastive))
    np.testing.assert_allclose(
        among(np.zeros((3, 3), np.float32), np.array([0, 0, 1]))[0], np.log(2), rtol=1e-6
    )
    value, gradient = among(z[:3] @ z[:3].T, np.arange(3))
    assert value == 0
    assert np.all(gradient == 0)


def test_metric_losses_refuse_shapes_that_differ_and_margins_that_do_nothing(unchecked):
    with pytest.raises(ValueError, match=r"distances \(3, 1\) against same \(3,\)"):
        losses.contrastive(jnp.ones((3, 1)), jnp.ones(3, bool))
    with pytest.raises(ValueError, match=r"positive \(3,\) against negative \(2,\)"):
        losses.triplet(jnp.ones(3), jnp.ones(2))
    with pytest.raises(ValueError, match="margin must be a finite number above 0, not 0: else"):
        losses.contrastive(jnp.ones(2), jnp.ones(2, bool), 0)
    with pytest.raises(ValueError, match=r"margin must be a finite number above 0, not -1\.0"):
        losses.triplet(jnp.ones(2), jnp.ones(2), -1.0)
    with pytest.raises(ValueError, match=r"similarities \(2, 3\) against labels \(2,\)"):
        losses.supervised_contrastive(jnp.ones((2, 3)), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0, not 0"):
        losses.supervised_contrastive(jnp.ones((2, 2)), jnp.zeros(2, jnp.int32), 0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda: losses.contrastive(jnp.array([1.0, -0.5]), jnp.array([True, False])),
            r"distances must be at least 0, not -0\.5 at index 1",
        ),
        (
            lambda: losses.triplet(jnp.array([-1.0]), jnp.array([1.0])),
            r"positive must be at least 0, not -1\.0 at index 0",
        ),
        (
            lambda: losses.triplet(jnp.array([1.0]), jnp.array([-2.0])),
            r"negative must be at least 0, not -2\.0 at index 0",
        ),
        (
            lambda: losses.contrastive(jnp.array([1.0, 0.5]), jnp.array([1, 2])),
            r"same must be 0 or 1, not 2 at index 1",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_negative_distances_and_other_answers_than_yes_and_no_are_refused(loss, message):
    with pytest.raises(ValueError, match=message):
        loss()


@pytest.mark.parametrize(
    "name",
    ["squared_error", "binary_cross_entropy", "hinge", "squared_hinge", "contrastive", "triplet"],
)
@pytest.mark.usefixtures("unchecked")
def test_a_loss_of_nothing_is_refused_and_not_nan(name):
    with pytest.raises(ValueError, match=r"\w+ \(0, 2\): an empty batch has no mean"):
        getattr(losses, name)(jnp.zeros((0, 2)), jnp.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"logits \(0, 2\) against labels \(0,\): .* one label"):
        losses.cross_entropy(jnp.zeros((0, 2)), jnp.zeros(0, jnp.int32))
