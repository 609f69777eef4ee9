import numpy as np
import pytest

from chainrule.plots import backpropagation as figures

VALUES = {"$x$": np.array([[1.0, -2.0], [0.5, 4.0], [0.0, 0.25]]), "$s$": np.array([[3.0], [-1.0]])}
GRADS = {"$g$": np.array([[0.5, -0.125]])}


def test_a_heatmap_has_one_cell_a_number_and_one_scale_a_row_with_0_in_the_middle():
    figure = figures.heatmaps([VALUES, GRADS])
    x, s, _, g, _ = figure.axes
    for ax, matrix in ((x, VALUES["$x$"]), (s, VALUES["$s$"]), (g, GRADS["$g$"])):
        np.testing.assert_array_equal(ax.images[0].get_array(), matrix)
        assert not ax.texts
    assert [ax.images[0].get_clim() for ax in (x, s, g)] == [(-4, 4), (-4, 4), (-0.5, 0.5)]


def test_all_cells_of_a_figure_are_squares_of_one_size():
    figure = figures.heatmaps([VALUES, GRADS])
    sizes = []
    for ax in figure.axes:
        if ax.images:
            box = ax.get_position()
            high, wide = ax.images[0].get_array().shape
            inches = figure.get_size_inches()
            sizes += [box.width * inches[0] / wide, box.height * inches[1] / high]
            assert box.x0 >= 0
            assert box.x1 <= 1
    np.testing.assert_allclose(sizes, sizes[0])


def test_numbers_are_written_into_the_cells_they_belong_to():
    x, *_ = figures.heatmaps([VALUES], digits=1).axes
    written = {text.get_position(): text.get_text() for text in x.texts}
    assert written[1, 0] == "\N{MINUS SIGN}2.0"
    assert written[0, 2] == "0"
    assert len(written) == 6


def test_a_row_of_zeros_has_a_scale():
    ax, _ = figures.heatmaps([{"$g$": np.zeros((2, 2))}]).axes
    assert ax.images[0].get_clim() == (-1, 1)


def test_traces_show_both_losses_and_their_relative_difference_where_there_is_one():
    figure = figures.traces(np.array([1.0, 0.5, 0.25]), np.array([1.0, 0.4, 0.2]))
    left, right = figure.axes
    by_jax, by_hand = left.lines
    assert (by_hand.get_label(), by_jax.get_label()) == ("by hand", "jax.grad")
    np.testing.assert_array_equal(by_hand.get_ydata(), [1, 0.5, 0.25])
    np.testing.assert_array_equal(right.lines[0].get_xdata(), [1, 2])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [0.25, 0.25])


def test_printed_losses_are_drawn_at_their_steps():
    losses = np.array([1.0, 0.5, 0.25])
    left, _ = figures.traces(losses, losses, points={"the notes": {0: 0.9, 2: 0.3}}).axes
    (line,) = (line for line in left.lines if line.get_label() == "the notes")
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0.9], [2, 0.3]])
    assert "the notes" in [text.get_text() for text in left.get_legend().get_texts()]


@pytest.mark.parametrize("same", [True, False])
def test_traces_of_equal_descents_can_be_drawn(same, tmp_path):
    hand = np.array([1.0, 0.5])
    figure = figures.traces(hand, hand if same else 2 * hand)
    figure.savefig(tmp_path / "traces.png")
    assert (tmp_path / "traces.png").stat().st_size > 1000


@pytest.mark.parametrize("digits", [-1, 10**9])
def test_decimals_that_no_float_has_are_refused(digits):
    with pytest.raises(ValueError, match=f"digits must be an int from 0 to 16, not {digits}"):
        figures.heatmaps([VALUES], digits=digits)
