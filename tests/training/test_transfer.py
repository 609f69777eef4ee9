"""A new last layer on frozen features, against scikit-learn's."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from chainrule import data
from chainrule.models import vgg
from chainrule.models.pretrained.preprocessing import DIGITS, preprocess
from chainrule.training import transfer


def test_it_is_scikit_learns_logistic_regression():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (rng.normal(size=(60, 5)) * 7 + labels[:, None] * [3, 0, -2, 1, 0] + 40).astype("f4")
    layer = transfer.last_layer(features, labels, 3, decay=0.02)
    deviation = np.sqrt(np.mean((features - features.mean(axis=0)) ** 2))
    theirs = LogisticRegression(C=1 / (0.02 * 60), tol=1e-8, max_iter=10_000)
    theirs.fit((features - features.mean(axis=0)) / deviation, labels)
    ours = jax.nn.softmax(features @ layer["kernel"] + layer["bias"][None, :])
    expected = theirs.predict_proba((features - features.mean(axis=0)) / deviation)
    np.testing.assert_allclose(ours, expected, atol=2e-4)
    np.testing.assert_allclose(
        layer["kernel"] * deviation,
        theirs.coef_.T - theirs.coef_.T.mean(axis=1)[:, None],
        atol=3e-3,
    )


def test_features_that_learned_ten_digits_tell_odd_from_even_after_a_hundred():
    digits = data.mnist("test", source="embedded")
    params, state = vgg.pretrained("digits")
    inputs = preprocess(digits.images[:300, ..., None], DIGITS)
    embed = jax.jit(vgg.embed, static_argnames="block")
    features = {
        "network": np.asarray(embed(params, inputs, block=3, state=state)),
        "pixels": (digits.images[:300] / 255).reshape(300, -1).astype("f4"),
    }
    odd, right = digits.labels[:300] % 2, {}
    for name, rows in features.items():
        layer = transfer.last_layer(rows[:100], odd[:100], 2)
        answers = rows[100:] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        right[name] = (answers.argmax(axis=1) == odd[100:]).mean()
    assert right["network"] > 0.97
    assert right["network"] - right["pixels"] > 0.1


FEATURES, LABELS = np.ones((4, 3), "f4") * np.arange(4)[:, None], np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": FEATURES[0]}, r"features \(3,\): they must be \[batch, features\]"),
        ({"labels": LABELS[:3]}, r"labels must be one integer a row of the features \(4, 3\)"),
        ({"labels": LABELS + 1}, "labels must be finite and at least 0 and at most 1, not 2 at"),
        ({"features": FEATURES * np.nan}, "features must be finite, not nan"),
        ({"features": np.ones((4, 3), "f4")}, "features are the same in every row"),
        ({"classes": 1}, "classes must be an int from 2 to 1048576, not 1"),
        ({"decay": 0.0}, r"decay must be a finite number above 0, not 0\.0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_no_layer_can_be_trained_on_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        transfer.last_layer(**{"features": FEATURES, "labels": LABELS, "classes": 2} | wrong)
