"""Rows about what needs no deep network: the perceptron, histograms of gradients."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from harness import Row, Scale

from chainrule import data
from chainrule.features import hog
from chainrule.models import perceptron


def zero_against_one(scale: Scale) -> Iterator[Row]:
    """The perceptron on 0 against 1, to zero changes."""
    digits = data.mnist("train", scale.source, scale.data_dir)
    chosen = digits.labels < 2
    inputs = digits.images[chosen].reshape(-1, 784).astype(np.float32)
    targets = np.where(digits.labels[chosen] == 0, -1, 1)
    on_device = jnp.asarray(inputs), jnp.asarray(targets)

    def loop() -> np.ndarray:
        weights = np.zeros(784, np.float32)
        for _ in range(100):
            changes = 0
            for x, y in zip(inputs, targets, strict=True):
                if y * (weights @ x) <= 0:
                    weights += y * x
                    changes += 1
            if changes == 0:
                break
        return weights

    def learner() -> np.ndarray:
        from sklearn.linear_model import Perceptron

        model = Perceptron(fit_intercept=False, shuffle=False, max_iter=20, tol=None)
        return model.fit(inputs, targets).coef_[0]

    def ours() -> np.ndarray:
        return np.asarray(perceptron.fit(*on_device, 100).weights)

    def separates(ours: np.ndarray, theirs: np.ndarray) -> None:
        assert (targets * (inputs @ ours) > 0).all()
        assert (targets * (inputs @ theirs) > 0).all()

    work = f"perceptron: 0 against 1, {len(inputs)} digits, to zero changes"
    yield Row(work, ours, {"NumPy loop": loop}, np.testing.assert_array_equal, 0.35)
    yield Row(work, ours, {"scikit-learn, 20 epochs": learner}, separates, 0.35)


def histograms(scale: Scale) -> Iterator[Row]:
    """Histograms of oriented gradients, cells of 4 x 4 in blocks of 2 x 2."""
    from skimage import feature

    images = data.mnist("train", scale.source, scale.data_dir).images
    images = images[: 1000 if scale.quick else min(10_000, len(images))]
    on_device = jnp.asarray(images)
    settings = {"pixels_per_cell": (4, 4), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}

    def theirs() -> np.ndarray:
        return np.stack([feature.hog(image, orientations=9, **settings) for image in images])

    def alike(ours: np.ndarray, theirs: np.ndarray) -> None:
        # Where a gradient points between two directions rounding decides, in either of them.
        assert np.mean(np.abs(ours - theirs) > 1e-3) < 1e-3

    yield Row(
        f"HOG: {len(images)} digits",
        lambda: np.asarray(hog(on_device)),
        {"scikit-image": theirs},
        alike,
        0.02,
    )


ROWS = {"perceptron": zero_against_one, "HOG": histograms}
