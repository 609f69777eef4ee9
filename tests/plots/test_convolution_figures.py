import numpy as np
import pytest

from chainrule.models import lenet, stack
from chainrule.plots import classification, convolution, network


def drawn(figure):
    """Everything must be drawable, not only built."""
    figure.canvas.draw()
    return figure.axes


def images_of(ax):
    (image,) = ax.images
    return np.ma.filled(image.get_array().astype(float), np.nan)


def test_the_sizes_of_a_network_are_drawn_to_scale():
    described = stack.describe(lenet.ROWS, lenet.INPUT_SHAPE)
    boxes, parameters, *_ = drawn(network.sizes(*described.columns()))
    assert [box.get_height() for box in boxes.patches] == [28, 24, 8, 4, 2, 1, 1]
    assert [text.get_text() for text in boxes.texts][:2] == ["28 x 28 x 1", "24 x 24 x 32"]
    # A bar is as long as its share: a logarithm has no length.
    assert parameters.get_yscale() == "linear"
    assert parameters.get_ylim()[0] == 0
    shares = 100 * np.array([0, 832, 0, 51_264, 0, 51_400, 2_010]) / 105_506
    np.testing.assert_allclose([bar.get_height() for bar in parameters.patches], shares)
    assert parameters.get_title("left") == "parameters: 105,506"
    texts = [text.get_text() for text in parameters.texts]
    assert texts == ["", "1 %", "", "49 %", "", "49 %", "2 %"]


def test_the_picture_of_a_single_layer():
    _, bars = drawn(network.sizes({"dense": (3,)}, ["dense"], {"parameters": [12]}))
    assert [text.get_text() for text in bars.texts] == ["100 %"]


def test_filters_show_their_weights_as_fractions():
    kernels = {"blur": np.ones((3, 3)) / 9, "edge": np.array([[0.25, -0.25]])}
    axes = drawn(convolution.filtered(np.eye(5), kernels, {"blur": np.eye(5), "edge": np.eye(5)}))
    assert [text.get_text() for text in axes[1].texts] == ["1"] * 9
    assert [text.get_text() for text in axes[2].texts] == ["1", "-1"]
    assert [ax.get_xlabel() for ax in axes[1:3]] == ["/ 9", "/ 4"]
    # An edge is signed, a blur is an image.
    assert [ax.images[0].get_cmap().name for ax in axes[4:]] == ["gray_r", "RdBu_r"]


def test_a_field_is_framed_where_it_lies():
    gradient = np.zeros((9, 9))
    gradient[2:5, 3:6] = 2
    ax, _ = drawn(convolution.fields({"conv": gradient}, {"conv": ((2, 3), (3, 3))}))
    (frame,) = ax.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((2.5, 1.5), 3, 3)
    assert images_of(ax).max() == 1


def test_depth_and_spread():
    (ax,) = drawn(convolution.spread(np.arange(3), {"a": np.arange(3)}, {"b": np.ones(3)}))
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [1, 1, 1])


def test_filters_and_maps_stand_side_by_side():
    maps = np.arange(12.0).reshape(2, 2, 3) + 1
    (ax,) = drawn(convolution.kernels({"conv": maps}, columns=2))
    scaled = maps / maps.max(axis=(0, 1))
    nan = np.nan
    mosaic = [
        [*scaled[0, :, 0], nan, *scaled[0, :, 1]],
        [*scaled[1, :, 0], nan, *scaled[1, :, 1]],
        [nan] * 5,
        [*scaled[0, :, 2], nan, nan, nan],
        [*scaled[1, :, 2], nan, nan, nan],
    ]
    np.testing.assert_allclose(images_of(ax), mosaic)
    image, below = drawn(convolution.activations(np.eye(4), {"conv": maps}, columns=3))
    assert images_of(image).shape == (4, 4)
    assert below.get_title("left") == "conv: 2 x 2 x 3"
    assert images_of(below).shape == (2, 8)


def test_filters_that_see_colours_are_drawn_in_them():
    kernel = np.zeros((1, 2, 3, 3))
    kernel[0, 0, 0, 0], kernel[0, 1, 2, 0] = 4, -2  # red, and half as much against blue
    kernel[..., 1] = -1
    (ax,) = drawn(convolution.kernels({"conv": kernel}, columns=3))
    grey, white = [0.5] * 3, [1.0] * 3
    first, second, nothing = [[1, 0.5, 0.5], [0.5, 0.5, 0.25]], [[0.0] * 3] * 2, [grey] * 2
    expected = [[*first, white, *second, white, *nothing]]
    np.testing.assert_allclose(images_of(ax), expected)
    (ax,) = drawn(convolution.kernels({"one channel": np.ones((2, 2, 1, 3))}, columns=3))
    assert images_of(ax).shape == (2, 8)
    with pytest.raises(ValueError, match=r"kernels: 'conv' has shape \(2, 2, 4, 3\): expected"):
        convolution.kernels({"conv": np.ones((2, 2, 4, 3))})


def test_errors_by_epoch():
    errors = {"train": np.array([[0.2, 0.1], [0.4, 0.1]]), "test": np.array([[0.3, 0.2]])}
    (ax,) = drawn(classification.learning(np.array([1, 2]), errors, targets={"aim": 0.008}))
    means = [line.get_ydata() for line in ax.lines if line.get_linewidth() == 1.8]
    np.testing.assert_allclose(means, [[30, 10], [30, 20]])
    assert [text.get_text() for text in ax.texts] == ["aim"]


def test_an_axis_of_errors_has_a_label_at_both_ends():
    errors = {"train": np.array([[0.33, 0.03]]), "test": np.array([[0.066, 0.026]])}
    (ax,) = drawn(classification.learning(np.array([1, 2]), errors))
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["2", "5", "10", "20", "50"]
    assert ax.get_ylim() == (2, 50)


def test_one_epoch_is_a_point():
    (ax,) = drawn(classification.learning(np.array([1]), {"test": np.array([[0.3], [0.1]])}))
    assert [line.get_marker() for line in ax.lines] == ["o"] * 3


def test_only_mistakes_are_coloured():
    counts = np.array([[970, 3, 0], [1, 99, 0], [0, 20, 50]])
    (ax,) = drawn(classification.confusion(counts, names="abc"))
    np.testing.assert_array_equal(images_of(ax), [[np.nan, 3, 0], [1, np.nan, 0], [0, 20, np.nan]])
    assert [text.get_text() for text in ax.texts] == ["970", "3", "1", "99", "20", "50"]
    assert ax.get_title("left") == "24 mistakes in 1,143: 2.10%"


@pytest.mark.parametrize("count", [1, 3, 5])
def test_every_mistake_has_its_title(count):
    axes = drawn(
        classification.mistakes(
            np.ones((count, 4, 4)),
            np.arange(count),
            np.arange(count) + 1,
            np.full(count, 0.5),
            columns=3,
        )
    )
    titles = [ax.get_title() for ax in axes if ax.images]
    assert titles == [f"{i} taken for {i + 1}\n50 %" for i in range(count)]
