"""What a drawing function is given: lists and JAX's arrays will do, anything else is named."""

import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.plots import (
    classification,
    cost,
    descent,
    features,
    perceptron,
    trajectory,
    verification,
)


def test_what_numpy_makes_arrays_of_will_do():
    figure = descent.losses({"a": [[2.0, 1.0]], "b": jnp.ones((1, 2))})
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines[:1]] == [[[0, 2], [1, 1]]]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: descent.losses(3), r"^lanes must be a mapping by name, not an int$"),
        (
            lambda: descent.losses({"a": "b"}),
            r"^lanes\['a'\] must be an array of real numbers, not",
        ),
        (lambda: descent.losses({"a": [[1.0], [1.0, 2.0]]}), r"^lanes\['a'\] must be an array"),
        (lambda: descent.losses({"a": np.ones((1, 2))}, ylabel=3), r"^ylabel must be text, not"),
        (lambda: descent.losses({"a": np.ones(2)}), r"^losses cannot draw lanes \{a: \(2,\)\}"),
        (lambda: descent.losses({}), r"^losses cannot draw lanes \{\}"),
        (lambda: classification.confusion(None), r"^counts must be an array of real numbers, not"),
        (lambda: classification.confusion(np.eye(3), names=3), r"^names must be a sequence, not"),
        (lambda: perceptron.weight_images("w"), r"^weights must be a mapping by name, not a str"),
        (lambda: cost.batches([3], cost.Machine(1.0, 1.0)), r"^passes\[0\] must be a Pass, not a"),
        (lambda: cost.batches([], 3), r"^machine must be a Machine, not an int"),
        (
            lambda: descent.outcomes(np.ones(2), np.ones((1, 3)), np.ones((1, 2)), np.ones(1)),
            r"^outcomes cannot draw etas \(2,\), final \(1, 3\), peak \(1, 2\), edges \(1,\): ",
        ),
        (
            lambda: features.shifts(np.arange(2), {"a": np.ones(2)}, {"b": np.ones(2)}),
            r"^shifts cannot draw pixels \(2,\), distances \{a: \(2,\)\}, errors \{b: ",
        ),
        (lambda: trajectory.frames([], [], []), r"^frames cannot draw series of 0, points \(0,\)"),
        (lambda: verification.plane(np.ones((2, 3)), np.ones(2)), r"^plane cannot draw points"),
    ],
)
def test_what_cannot_be_drawn_is_a_value_error_that_names_the_argument(draw, message, unchecked):
    with pytest.raises(ValueError, match=message):
        draw()


def test_errors_of_ours_stay_as_they_are():
    with pytest.raises(ValueError, match=r"^an image of shape \(28, 28\) has 784 weights, got"):
        perceptron.weight_images({"w": np.ones(3)})
