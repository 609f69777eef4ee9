"""A learner's pass backward is checked gradient by gradient; the first slip is named."""

import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray


def neuron(w, x):
    return jnp.sum(jnp.tanh(w @ x))


@pytest.fixture(scope="module")
def report():
    w, x = jnp.asarray([[0.5, -1.0], [2.0, 0.25]]), jnp.asarray([1.0, -0.5])
    return xray.xray(neuron, w, x, compiled=False)


def by_hand(values, slope=lambda y: 1 - y**2, turn=lambda w: w.T):
    y, w, x = values["tanh_3"], values["w"], values["x"]
    g_y = np.ones(2)
    g_s = g_y * slope(y)
    return {
        "reduce_sum_4": 1.0, "tanh_3": g_y, "dot_general_2": g_s,
        "w": np.outer(g_s, x), "x": turn(w) @ g_s,
    }  # fmt: skip


def test_a_right_pass_is_right_and_every_gradient_counts(report):
    grade = report.grade(by_hand)
    assert grade
    assert grade.first is None
    assert grade.right == ("reduce_sum_4", "tanh_3", "dot_general_2", "x", "w")
    assert str(grade) == "5 of 5 gradients are right"


def test_the_first_wrong_one_is_named_with_both_numbers_and_where_to_look(report):
    grade = report.grade(lambda values: by_hand(values, slope=lambda y: 1 - y))
    assert not grade
    assert [one.name for one in grade.wrong] == ["dot_general_2", "x", "w"]
    first = grade.first
    y = np.tanh([1.0, 1.875])
    assert first.given == pytest.approx(1 - y[first.element])
    assert first.right == pytest.approx(1 - y[first.element] ** 2, rel=1e-5)
    assert first.readers == ("tanh_3",)
    assert "∂dot_general_2[0] is 0.2384, and should be 0.42 (tests/xray/test_grading.py:" in str(
        grade
    )
    assert str(grade).endswith("look at tanh_3")
    turned = report.grade(lambda values: by_hand(values, turn=lambda w: w))
    assert [one.name for one in turned.wrong] == ["x"]


def test_a_slip_as_small_as_one_in_a_thousand_is_seen_and_rounding_is_not(report):
    def off(by):
        return report.grade(lambda values: by_hand(values, slope=lambda y: (1 - y**2) * by))

    assert off(1 + 1e-6)
    assert not off(1 + 1e-3)


def test_what_is_missing_is_said_and_a_shape_is_wrong(report):
    grade = report.grade(lambda values: {"tanh_3": np.ones(3)})
    assert grade.missing == ("reduce_sum_4", "dot_general_2", "x", "w")
    assert "∂tanh_3 is shape (3,), and should be shape (2,)" in str(grade)
    assert "not given: reduce_sum_4, dot_general_2, x, w" in str(grade)


def test_what_is_no_gradient_is_an_error(report):
    with pytest.raises(ValueError, match="rule returns a list: it returns a dictionary"):
        report.grade(lambda values: [1.0])
    with pytest.raises(ValueError, match="no node has this name: there are w, x, dot_general_2"):
        report.grade(lambda values: {"tanh": 1.0})
    with pytest.raises(ValueError, match="rule gives a str as the gradient of x: give an array"):
        report.grade(lambda values: {"x": "one"})
    with pytest.raises(ValueError, match="holds only statistics"):
        xray.xray(jnp.sin, 1.0, keep="stats", compiled=False).grade(by_hand)
    with pytest.raises(ValueError, match="holds no gradients"):
        xray.xray(jnp.sin, 1.0, gradients=False, compiled=False).grade(by_hand)


def test_a_nan_is_right_where_the_record_has_one():
    report = xray.xray(lambda x: x * jnp.sqrt(x), jnp.zeros(()), compiled=False)
    assert np.isnan(report.grads[0])
    assert report.grade(lambda values: {"x": np.nan})
    assert not report.grade(lambda values: {"x": 0.0})
