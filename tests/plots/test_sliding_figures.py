"""What a window reads, as it is drawn."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from chainrule.ops import convolution, pooling
from chainrule.plots import sliding
from chainrule.plots._player import played
from tests.plots.drawings import described

KERNEL = np.array([[1.0, 2.0], [0.0, -1.0]], np.float32)[:, :, None, None]
INPUTS = np.arange(12, dtype=np.float32).reshape(3, 4, 1)


def slide(operator, inputs=INPUTS):
    def one(x):
        return operator(x[None])[0]

    both = jax.jit(lambda x: (one(x), jax.jacobian(one)(x)))
    return sliding.Slide(inputs, *both(inputs))


def lit(figure, panel=0):
    """Return which cells of a panel are coloured, by their weight."""
    return np.asarray(figure.axes[panel].images[0].get_array())


def test_an_output_of_a_convolution_lights_its_kernel():
    found = slide(lambda x: convolution.conv(x, KERNEL))
    figure = sliding.positions({"conv": found}, {"conv": (1, 2, 0)})
    expected = np.zeros((3, 4))
    expected[1:, 2:] = KERNEL[:, :, 0, 0] / 2
    np.testing.assert_allclose(lit(figure), expected)
    assert figure.axes[0].get_title("left") == "conv: inputs, 3 x 4"
    assert figure.axes[1].get_title("left") == "outputs, 2 x 3"
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == [f"{value:.3g}" for value in np.ravel(found.outputs)]
    (frame,) = figure.axes[1].patches
    assert frame.get_xy() == (1.5, 0.5)


def test_a_maximum_lights_where_it_was_found_and_a_transposed_one_what_it_hears():
    pooled = slide(lambda x: pooling.max_pool(x, 2), INPUTS[:2])
    assert lit(sliding.positions({"pool": pooled}, {"pool": (0, 1, 0)})).tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
    ]
    back = slide(lambda x: convolution.conv_transpose(x, KERNEL, stride=2), INPUTS[:2, :2])
    figure = sliding.positions({"back": back}, {"back": (3, 3, 0)})
    assert lit(figure).tolist() == [[0, 0], [0, -0.5]]


def test_a_page_plays_every_output_and_needs_no_network():
    page = sliding.animation(slide(lambda x: convolution.conv(x, KERNEL)), "a <b> kernel")
    assert "<title>a &lt;b&gt; kernel</title>" in page
    assert page.count("data:image/png;base64") == 6
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_a_page_is_about_is_text_in_it():
    page = played(Figure(layout="constrained"), lambda frame: [], 1, "title", "where <i>a</i> < b")
    assert "where &lt;i&gt;a&lt;/i&gt; &lt; b" in page
    assert "<i>a" not in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.zeros((2, 3, 1, 3, 4))}, r"weights \(2, 3, 1, 3, 4\): they must be"),
        ({"inputs": np.zeros((1, 3, 4, 1))}, r"inputs \(1, 3, 4, 1\) and outputs \(2, 3, 1\)"),
        ({"inputs": np.zeros((4, 1))}, r"inputs \(4, 1\) and outputs \(2, 3, 1\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    found = slide(lambda x: convolution.conv(x, KERNEL))._replace(**changes)
    for draw in (
        lambda: sliding.positions({"conv": found}),
        lambda: sliding.animation(found, "conv"),
    ):
        with pytest.raises(ValueError, match=f"conv: {message}"):
            draw()


def test_what_is_not_there_or_too_long_is_refused():
    found = slide(lambda x: convolution.conv(x, KERNEL))
    for place in ((2, 0, 0), (0, 0), (0, -1, 0)):
        with pytest.raises(ValueError, match=r"conv: no output \(.*\) among \(2, 3, 1\)"):
            sliding.positions({"conv": found}, {"conv": place})
    long = sliding.Slide(np.zeros((401, 1)), np.zeros((401, 1)), np.zeros((401, 1, 401, 1)))
    with pytest.raises(ValueError, match=r"long: 401 outputs .*, more than 400: play a"):
        sliding.animation(long, "long")


def test_nothing_is_lit_where_all_weights_are_zero():
    still = sliding.Slide(np.ones((2, 1)), np.ones((2, 1)), np.zeros((2, 1, 2, 1)))
    figure = sliding.positions({"still": still})
    assert not lit(figure).any()
    assert any("still: inputs, 2" in line for line in described(figure))
