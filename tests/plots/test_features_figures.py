import numpy as np
import pytest

from chainrule.plots import COLORS, features


def lines_by_label(ax):
    return {line.get_label(): line for line in ax.lines}


def test_exclusive_or_draws_one_half_where_the_plane_cuts_the_surface():
    figure = features.exclusive_or(np.array([4.0, 4.0, -8.0, -2.0]))
    plane, lifted, above, _ = figure.axes
    # 4 u + 4 v - 8 u v = 2 where (1 - 2 u) (1 - 2 v) = 0: a cross.
    (drawn,) = above.collections
    contour = np.vstack([path.vertices for path in drawn.get_paths()])
    assert np.abs((1 - 2 * contour[:, 0]) * (1 - 2 * contour[:, 1])).max() < 1e-3
    sigmoid = above.images[0].get_array()
    assert sigmoid[0, 0] < 0.5 < sigmoid[0, -1]
    ones = lines_by_label(plane)["1"]
    assert sorted(zip(*ones.get_data(), strict=True)) == [(0, 1), (1, 0)]
    assert lifted.name == "3d"


def test_edges_are_drawn_on_one_scale_around_zero():
    images = np.zeros((2, 4, 5))
    horizontal, vertical = images + 1, images - 3
    figure = features.edges(images, horizontal, vertical)
    axes = figure.axes
    assert [ax.get_title(loc="left") for ax in axes[:3]] == [
        "digit",
        "horizontal edges",
        "vertical edges",
    ]
    for row in range(2):
        for column, value in ((1, 1), (2, -3)):
            drawn = axes[3 * row + column].images[0]
            np.testing.assert_array_equal(drawn.get_array(), np.full((4, 5), value))
            assert drawn.get_clim() == (-3, 3)


def test_a_histogram_is_drawn_in_its_cell_across_the_gradient():
    votes = np.zeros((1, 4, 4, 9))
    votes[0, 0, 0, 4] = 2.0  # a gradient that points down, 80 to 100 degrees
    votes[0, 3, 2, 4] = 1.0
    figure = features.histograms(np.zeros((1, 28, 28)), {8: votes})
    ax = figure.axes[1]
    strokes = np.array(ax.collections[0].get_segments()).reshape(4, 4, 9, 2, 2)
    # 28 pixels reach from -0.5 to 27.5, the 4 cells of 8 two pixels further on each side.
    np.testing.assert_allclose(strokes.mean(axis=3)[0, 0, 4], [1.5, 1.5])
    np.testing.assert_allclose(strokes.mean(axis=3)[3, 2, 4], [17.5, 25.5])
    assert ax.get_xlim() == (-2.5, 29.5)
    # The edge lies flat: as wide as the cell for the largest vote, half as wide for half of it.
    widths = np.ptp(strokes, axis=3)
    np.testing.assert_allclose(widths[0, 0, 4], [8, 0], atol=1e-12)
    np.testing.assert_allclose(widths[3, 2, 4], [4, 0], atol=1e-12)


def test_errors_by_features_are_means_in_percent_with_a_dot_a_seed():
    counts = np.array([784, 1784])
    errors = {"train": np.array([[0.04, 0.02], [0.06, 0.03]]), "test": np.full((2, 2), 0.05)}
    figure = features.error_by_features(counts, errors, floor=("always no", 0.0974))
    (ax,) = figure.axes
    mean, dots = ax.lines[:2]
    np.testing.assert_allclose(mean.get_ydata(), [5, 2.5])
    np.testing.assert_allclose(sorted(dots.get_ydata()), [2, 3, 4, 6])
    assert mean.get_color() == COLORS["train"]
    assert ax.lines[2].get_color() == COLORS["test"]
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), 9.74)
    assert any("9.74 %" in text.get_text() for text in ax.texts)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["784", "1,784"]


def test_errors_by_samples_have_a_line_each_and_logarithmic_axes():
    errors = {"pixels": np.array([[0.3, 0.1]]), "HOG": np.array([[0.2, 0.05]])}
    (ax,) = features.error_by_samples(np.array([100, 1000]), errors).axes
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [30, 10])
    np.testing.assert_allclose(ax.lines[2].get_ydata(), [20, 5])
    assert ax.lines[0].get_color() != ax.lines[2].get_color()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["5", "10", "20"]


def test_shifts_are_drawn_as_distances_and_as_errors():
    moved = {"pixels": np.array([0.0, 0.5]), "HOG": np.array([0.0, 0.2])}
    errors = {"pixels": np.array([0.1, 0.2]), "HOG": np.array([0.02, 0.03])}
    left, right = features.shifts(np.arange(2), moved, errors).axes
    np.testing.assert_allclose(lines_by_label(left)["HOG"].get_ydata(), [0, 0.2])
    np.testing.assert_allclose(lines_by_label(right)["HOG"].get_ydata(), [2, 3])


@pytest.mark.parametrize("noise", [0.0, -1e-9])
def test_convergence_leaves_out_what_is_below_the_minimum(noise):
    (ax,) = features.convergence({"descent": np.array([10.0, 0.1, noise])}).axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [10.0, 0.1, np.nan])
    assert ax.get_yscale() == "log"
