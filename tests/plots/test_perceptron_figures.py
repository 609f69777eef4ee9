import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from chainrule.models import perceptron
from chainrule.plots import COLORS
from chainrule.plots import perceptron as figures

INPUTS = np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
TARGETS = np.array([1, -1, -1])


def panels(figure):
    return [ax for ax in figure.axes if ax.axison]


def drawn(ax):
    return {line.get_label(): line for line in ax.lines}


@pytest.mark.parametrize("bias", [False, True])
def test_a_panel_for_every_change_with_its_example_and_its_lines(bias):
    weights = perceptron.path(jnp.asarray(INPUTS, jnp.float32), jnp.asarray(TARGETS), 20, bias=bias)
    steps = np.asarray(weights)[np.r_[True, (np.diff(weights, axis=0) != 0).any(axis=1)]]
    figure = figures.changes(INPUTS, TARGETS, np.asarray(weights))
    assert isinstance(figure, Figure)
    assert len(panels(figure)) == len(steps) - 1
    assert "before" not in drawn(panels(figure)[0])  # there is no line of w = 0
    for ax, before, after in zip(panels(figure), steps, steps[1:], strict=False):
        lines = drawn(ax)
        for label, w in (("before", before), ("after", after)):
            if label in lines:
                for point in lines[label].get_xy1(), lines[label].get_xy2():
                    np.testing.assert_allclose(point @ w[:2] + w[2:].sum(), 0, atol=1e-5)
        (x1,), (x2,) = lines["mistake"].get_data()
        i = np.flatnonzero(([x1, x2] == INPUTS).all(axis=1))
        np.testing.assert_array_equal(after[:2] - before[:2], TARGETS[i[0]] * INPUTS[i[0]])
        (shade,) = ax.patches
        for corner in shade.get_xy()[2:4]:
            assert corner @ after[:2] + after[2:].sum() > 0
    for label, sign in (("$y = +1$", 1), ("$y = -1$", -1)):
        line = drawn(panels(figure)[0])[label]
        np.testing.assert_array_equal(line.get_xydata(), INPUTS[sign == TARGETS])
        assert line.get_color() == COLORS["positive" if sign > 0 else "negative"]


def test_the_legend_names_what_any_panel_shows():
    weights = np.array([[0.0, 0.0, 0.0], [2, 1, 1], [1, -2, 0], [0, 0, -1], [2, 1, 0]])
    figure = figures.changes(INPUTS, TARGETS, weights)
    shown = {label for ax in panels(figure) for label in drawn(ax)}
    assert "before" not in drawn(panels(figure)[-1])  # there is no line of w = 0
    assert {text.get_text() for text in figure.legends[0].get_texts()} == shown


def test_one_image_a_vector_with_zero_in_the_middle_of_its_colours(tmp_path):
    figure = figures.weight_images(
        {"last": np.arange(-2.0, 10), "averaged": np.zeros(12)}, shape=(3, 4)
    )
    images = [ax.images[0] for ax in figure.axes if ax.images]
    np.testing.assert_array_equal(images[0].get_array(), np.arange(-2, 10).reshape(3, 4))
    assert [image.get_clim() for image in images] == [(-9, 9), (-1, 1)]
    figure.savefig(tmp_path / "weights.png")
    assert (tmp_path / "weights.png").stat().st_size > 1000


def test_the_lines_are_saved_whole(tmp_path):
    figure = figures.changes(INPUTS, TARGETS, np.array([[0.0, 0], [2, 1], [2, 1], [2, 0]]))
    assert [ax.get_title(loc="left") for ax in panels(figure)] == ["change 1", "change 2"]
    figure.savefig(tmp_path / "changes.svg")
    assert "<svg" in (tmp_path / "changes.svg").read_text()


def test_errors():
    with pytest.raises(ValueError, match=r"\(28, 28\) has 784 weights, got shape \(785,\) for 'w'"):
        figures.weight_images({"w": np.zeros(785)})
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(2, 3\)"):
        figures.changes(np.ones((3, 3)), TARGETS, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"never change: all 4 rows are \[0. 0.\]"):
        figures.changes(INPUTS, TARGETS, np.zeros((4, 2)))
