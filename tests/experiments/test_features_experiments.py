import numpy as np
import pytest

from chainrule import data, runs
from experiments import eight_vs_rest, hog, xor


def values(path):
    return {name: row["value"] for name, row in runs.load(path).record["results"].items()}


# --- exclusive or ---------------------------------------------------------------------------------


def test_exclusive_or_needs_the_product_and_is_fitted_with_it(tmp_path):
    path = xor.main(xor.Config(steps=200, root=tmp_path))
    found = values(path)
    assert found["(u, v): functions learned by the perceptron"] == 14
    assert found["(u, v, uv): functions learned by the perceptron"] == 16
    # Without the product, one half for every corner is the best there is.
    np.testing.assert_allclose(found["(u, v): probabilities"], 0.5, atol=1e-3)
    assert found["(u, v): loss"] == pytest.approx(np.log(2), abs=1e-4)
    np.testing.assert_allclose(found["(u, v, uv): probabilities"], [0, 1, 1, 0], atol=0.1)
    assert (path / "xor.png").exists()


def test_weights_that_come_back_are_found():
    walk = np.array([[0.0], [1.0], [2.0], [3.0], [1.0], [2.0]])
    assert xor.cycle(walk) == (1, 3)
    with pytest.raises(ValueError, match="within 3 epochs"):
        xor.cycle(walk[:4])


# --- 8 against the rest ---------------------------------------------------------------------------


def test_products_of_pixels_lower_the_error(tmp_path):
    config = eight_vs_rest.Config(counts=(0, 1000), epochs=2, seeds=2, root=tmp_path)
    path = eight_vs_rest.main(config)
    found = values(path)
    none, many = (
        np.mean(found[f"{count} products: test error, averaged weights"]) for count in (0, 1000)
    )
    assert many < none < found["test error of always no"]
    # The embedded test digits hold 89 eights.
    assert found["test error of always no"] == pytest.approx(0.089)
    assert len(runs.load(path).trace["pairs=1000/seed=1/changes"]) == 2
    assert (path / "error_by_features.png").exists()


@pytest.mark.full
def test_eights_of_the_full_set(tmp_path, full_mnist):
    config = eight_vs_rest.Config(
        counts=(0, 1000), epochs=2, seeds=1, data_dir=full_mnist, root=tmp_path
    )
    found = values(eight_vs_rest.main(config))
    assert found["test error of always no"] == pytest.approx(0.0974)
    for count in (0, 1000):
        (error,) = found[f"{count} products: test error, averaged weights"]
        assert error <= eight_vs_rest.AT_MOST[count]


# --- histograms of gradients ----------------------------------------------------------------------


def test_histograms_beat_pixels_and_mind_a_shift_less(tmp_path, monkeypatch):
    monkeypatch.delitem(hog.RECIPES, "HOG, full")  # L-BFGS takes long to compile
    config = hog.Config(
        samples=(100, 600), steps=30, seeds=2, descent_steps=300, descent_samples=300, root=tmp_path
    )
    path = hog.main(config)
    found = values(path)
    for what, share in (
        ("test error, squared hinge", 0.8),
        ("test error, least squares", 0.8),
        ("test error, moved by one pixel", 0.7),
        ("distance of a digit moved by one pixel", 0.7),
    ):
        assert found[f"HOG, rough: {what}"] < share * found[f"pixels: {what}"], what
    assert found["pixels: distance of a digit moved by one pixel"] < 1
    few = found["HOG, rough: test error, 100 samples"]
    assert len(few) == 2
    assert min(few) > found["HOG, rough: test error, squared hinge"]

    # No descent comes below the closed form, and L-BFGS comes close to it.
    best = found["least squares, rough HOG: loss in closed form"]
    trace = runs.load(path).trace
    assert len(trace) == 3
    for name, loss in trace.items():
        assert len(loss) == 301
        assert loss.min() > best * (1 - 1e-5), name
    ends = [loss[-1] for loss in trace.values()]  # plain descent, momentum, L-BFGS
    assert best < ends[2] < ends[1] < ends[0]
    assert ends[2] < 1.1 * best
    pictures = {"error_by_samples", "shifts", "edges", "histograms", "convergence"}
    assert pictures == {file.stem for file in path.glob("*.svg")}


def test_a_shift_moves_every_pixel_and_lets_paper_in():
    image = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 2, 3)
    shifted = hog.shift(image, 1, -1)
    np.testing.assert_array_equal(shifted, [[[0, 0, 0], [2, 3, 0]]])
    np.testing.assert_array_equal(hog.shift(image, 0, 0), image)


def test_the_closed_form_is_that_of_double_precision():
    digits = data.mnist("train", "embedded")
    images, labels = digits.images[:300, ::4, ::4].reshape(300, -1) / 255, digits.labels[:300]
    found = hog.least_squares(images.astype(np.float32), labels)["layer1"]
    ones = np.hstack([images, np.ones((300, 1))])
    expected = np.linalg.lstsq(ones, 2 * np.eye(10)[labels] - 1, rcond=1e-6)[0]
    np.testing.assert_allclose(found["kernel"], expected[:-1], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(found["bias"], expected[-1], rtol=1e-2, atol=1e-3)
