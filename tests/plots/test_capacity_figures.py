import inspect

import numpy as np
import pytest

from chainrule.plots import capacity, cost


def test_templates_come_in_the_order_of_their_output_weights_on_one_symmetric_scale():
    kernel = np.asarray([[0.5, 4.0, -1.0], [0.25, 0.0, -3.0]])  # two pixels, three units
    weights = np.asarray([-2.0, 0.5, 1.0])
    figure = capacity.templates({"weights": kernel}, weights, shape=(1, 2), count=2)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    np.testing.assert_array_equal(
        [image.get_array() for image in images], [[[0.5, 0.25]], [[-1, -3]]]
    )
    # The largest of what is drawn: unit 1, with its 4, is not.
    assert [image.get_clim() for image in images] == [(-3, 3), (-3, 3)]
    bars = [ax.patches[0].get_width() for ax in figure.axes if ax.patches]
    assert bars == [-2.0, 1.0]
    below = [ax for ax in figure.axes if ax.patches]
    assert [ax.get_xlim() for ax in below] == [(-2, 2), (-2, 2)]
    assert [ax.get_xlabel() for ax in below] == ["\N{MINUS SIGN}2.00", "+1.00"]


def test_a_row_of_templates_has_a_scale_of_its_own():
    kernels = {"weights": np.full((4, 1), -2.0), "change": np.full((4, 1), 0.5)}
    figure = capacity.templates(kernels, np.ones(1), shape=(2, 2))
    assert [ax.images[0].get_clim() for ax in figure.axes if ax.images] == [(-2, 2), (-0.5, 0.5)]


def test_kernels_that_are_no_images_or_not_of_these_units_are_refused():
    message = r"with 3 weights and images of \(2, 2\) a kernel is \(4, 3\), not {'k': \(4, 2\)}"
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(capacity.templates)({"k": np.ones((4, 2))}, np.ones(3), shape=(2, 2))


def test_errors_draw_every_seed_and_the_median():
    trained = {"tanh": np.asarray([[1.0, 2.0, 9.0], [0.1, 0.2, 0.3]])}
    panel = capacity.Errors(
        "f", {"tanh": trained["tanh"] * 2}, trained, np.asarray([3.0, 1.0]), 5.0
    )
    figure = capacity.errors([2, 4], [[panel]])
    (ax,) = figure.axes
    affine, drawn, median, *seeds, written = (line.get_ydata() for line in ax.lines)
    np.testing.assert_array_equal(affine, [5, 5])
    np.testing.assert_allclose(drawn, [4, 0.4])
    np.testing.assert_allclose(median, [2, 0.2])
    np.testing.assert_array_equal(np.stack(seeds, axis=1), trained["tanh"])
    np.testing.assert_array_equal(written, [3, 1])


def test_a_batch_is_held_against_the_slower_of_computing_and_reading():
    # 8 operations and 100 bytes, on a machine of 2 and 5 a second: 4 s to compute, 20 s to read.
    one = cost.Pass(
        "forward", 8.0, 100.0, {"batch": {1: np.asarray([30.0, 50.0, 40.0]), 10: np.full(3, 5.0)}}
    )
    figure = cost.batches([one], cost.Machine(operations=2.0, bytes=5.0))
    left, right = figure.axes
    times, limit = left.lines
    np.testing.assert_allclose(times.get_ydata(), [40e6, 5e6])
    np.testing.assert_allclose(limit.get_ydata()[[0, -1]], [20e6, 4e6])
    speeds, roof = right.lines
    np.testing.assert_allclose(speeds.get_xdata(), [0.08, 0.8])
    np.testing.assert_allclose(speeds.get_ydata(), [0.2e-9, 1.6e-9])
    np.testing.assert_allclose(roof.get_ydata()[[0, -1]], [0.4e-9, 2e-9])


def test_ratios_draw_the_median_of_the_turns_beside_the_counts():
    found = cost.Cost(
        predicted={"without": 1.5, "with": 2.0},
        counted={"without": 1.4, "with": 1.9},
        timed={"without": np.asarray([1.0, 3.0, 1.2]), "with": np.asarray([2.0, 2.5, 9.0])},
        share_counted=0.9,
        share_timed=np.asarray([0.7, 0.8, 0.6]),
    )
    above, below = cost.ratios({"width": {"32": found}}).axes
    rule, *lines = (line.get_ydata()[0] for line in above.lines)
    assert rule == 2
    np.testing.assert_allclose(lines, [1.2, 1.5, 1.4, 2.5, 2.0, 1.9])
    np.testing.assert_allclose([line.get_ydata()[0] for line in below.lines], [70, 90])
