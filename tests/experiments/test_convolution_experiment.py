import numpy as np
import pytest

from chainrule import runs
from experiments import convolution


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = convolution.Config(
        samples=600,
        tests=100,
        draws=6,
        depth=3,
        seeds=2,
        pages=False,
        root=tmp_path_factory.mktemp("runs"),
    )
    return runs.load(convolution.main(config))


@pytest.fixture(scope="module")
def results(loaded):
    return loaded.record["results"]


def test_the_filters_do_what_they_are_called(loaded, results):
    assert results["identity: largest change"]["value"] == 0
    # Digits keep away from the border, where a blur loses something.
    assert results["blur: sum of the image, relative"]["value"] == pytest.approx(1, abs=1e-3)
    gap = results["Sobel: largest difference from features.sobel"]["value"]
    assert gap == pytest.approx(0, abs=1e-5)
    pictures = {"filters", "learned", "windows", "shifts", "fields", "spread"}
    assert pictures == {file.stem for file in loaded.path.glob("*.svg")}


def test_descent_finds_sobels_kernel_again(results):
    row = results["learned kernel: largest difference from Sobel's, by seed"]
    assert row["expected"] == 0
    assert len(row["value"]) == 2
    assert max(row["value"]) < 1e-5


def test_pools_forgive_shifts_and_leaving_out_values_does_not(results):
    def distances(name):
        return np.array(results[f"{name}: distance moved / between two digits, by pixels"]["value"])

    def errors(name):
        return np.array(results[f"{name}: error of the nearest digit, by pixels"]["value"])

    for name in ("pixels", *convolution.POOLS):
        assert distances(name)[0] == 0
        assert np.all(np.diff(distances(name)) > 0), name
    sizes = ["edges", "max of 2 x 2", "max of 4 x 4", "max of 7 x 7"]
    by_size = np.array([distances(name)[1:3] for name in sizes])
    assert np.all(np.diff(by_size, axis=0) < 0)
    np.testing.assert_allclose(distances("every 4th"), distances("edges"), rtol=0.1)
    assert errors("max of 4 x 4")[2] < 0.7 * errors("edges")[2]
    # No invariance: three pixels are nearly another digit.
    assert distances("max of 4 x 4")[3] > 0.6


def test_the_gradient_is_where_describe_says_that_an_output_sees(results):
    for layer, side in {"conv1": 5, "pool1": 7, "conv2": 19, "pool2": 22}.items():
        row = results[f"{layer}: field"]
        assert row["value"] == row["expected"] == [side, side]
        half = results[f"{layer}: side of the square with half of the gradient"]["value"]
        assert half <= side


def test_the_field_grows_with_the_depth_and_the_bell_with_its_root(results):
    for name, sides in {"no pools": [3, 5, 7], "a pool after every second": [3, 5, 10]}.items():
        row = results[f"{name}: field by depth"]
        assert row["value"] == row["expected"] == sides
    found = results["no pools: deviation by depth"]["value"]
    np.testing.assert_allclose(found, np.sqrt([2 / 3, 4 / 3, 2]), rtol=1e-5)


def test_what_is_measured_on_a_gradient():
    gradient = np.zeros((6, 7))
    gradient[1, 2], gradient[3, 2] = 1, 3
    assert convolution.extent(gradient) == ((1, 2), (3, 1))
    assert convolution.deviation(gradient) == pytest.approx(np.sqrt(0.25 * 1.5**2 + 0.75 * 0.5**2))
    bell = np.outer([1, 2, 1], [1, 2, 1])
    assert convolution.half(bell) == 3
    assert convolution.half(np.outer([1, 9, 1], [1, 9, 1])) == 1


def test_the_nearest_of_the_known():
    known = np.array([[0.0, 0.0], [3.0, 0.0], [10.0, 10.0]])
    assert convolution.nearest(known, np.array([[2.0, 1.0], [6.0, 7.0]])).tolist() == [1, 2]
