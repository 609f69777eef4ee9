import numpy as np

from chainrule.plots import verification


def test_a_panel_a_task_and_a_line_a_method():
    rates = np.linspace(0, 1, 5)
    figure = verification.error_rates(
        {"seen": {"a": (rates, rates**0.5), "b": (rates, rates)}, "unseen": {"a": (rates, rates)}}
    )
    left, right = figure.axes
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["seen", "unseen"]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), 1 - rates**0.5)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a", "b"]


def test_classes_are_named_at_their_medians():
    points, labels = np.array([[0.0, 1], [2, 1], [5, 5]]), np.array([3, 3, 8])
    (ax,) = verification.plane(points, labels).axes
    assert {t.get_text(): t.get_position() for t in ax.texts} == {"3": (1, 1), "8": (5, 5)}


def test_the_shares_and_their_sum_are_on_one_scale():
    one, two = np.ones((2, 2, 3)), np.full((2, 2, 3), -4.0)
    images = {"branch 1": np.eye(4), "branch 2": np.ones((4, 4))}
    figure = verification.shares(images, {"branch 1": one, "branch 2": two}, one + two)
    assert len(figure.axes) == 3 * 4 + 1
    shown = [ax.images[0] for i, ax in enumerate(figure.axes[:12]) if i % 4]
    assert {picture.get_clim() for picture in shown} == {(-4.0, 4.0)}
    np.testing.assert_array_equal(shown[-1].get_array(), np.full((2, 2), -3.0))
