"""Cures: what is printed was run on the program, and what does not hold is not offered."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import cures as module
from chainrule.xray import slopes
from chainrule.xray.births import Cure, Cures, Datum

HALF = jnp.float16


def cured(f, *args, **settings):
    return xray.xray(f, *args, **settings).nonfinite().cures()


def log_of_a_sigmoid(x):
    p = jax.nn.sigmoid(x)
    return jnp.sum(jnp.log(p))


def log_of_the_rest(x):
    squashed = jnp.tanh(x)
    return jnp.sum(jnp.log(1 - squashed**2))


def softmax_by_hand(scores):
    return jnp.sum((jnp.exp(scores) / jnp.sum(jnp.exp(scores))) ** 2)


def entropy(p):
    return -jnp.sum(p * jnp.log(p))


def root_of_a_masked(x):
    return jnp.sum(jnp.where(x > 0, jnp.sqrt(x), 0.0))


def norm(v):
    return jnp.linalg.norm(v) * 2.0


def powers(x):
    return jnp.dot(x ** jnp.arange(3.0), jnp.array([1.0, 5.0, 4.0]))


def lookup(table, ids):
    return jnp.sum(jnp.where(ids < 4, jnp.take(table, ids, axis=0), 0.0) ** 2)


def masked_by_a_product(scores):
    e = jnp.exp(scores)
    return jnp.sum(e * jnp.array([0.0, 1.0]))


def in_a_loop(x):
    return jax.lax.scan(lambda c, v: (c + jnp.where(v > 0, jnp.sqrt(v), 0.0), None), 0.0, x)[0]


def covariance(a):
    return jnp.sum(jnp.linalg.cholesky(a) ** 2)


HELD = {
    "a fused form found by its producer": (
        log_of_a_sigmoid, (jnp.array([-200.0, 1.0]),), "jax.nn.log_sigmoid(x)",
    ),
    "a fused form with names of two lines": (
        log_of_the_rest, (jnp.array([30.0, 0.5]),),
        "2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x))",
    ),
    "a quotient": (
        softmax_by_hand, (jnp.array([200.0, 1.0]),), "jax.nn.softmax(scores, axis=(0,))",
    ),
    "what a root needs": (root_of_a_masked, (jnp.array([4.0, 0.0]),), None,),
    "inside a library": (norm, (jnp.zeros(3),), None,),
    "the exponent 0": (
        powers, (0.0,),
        "jnp.where(jnp.arange(3.0) == 0, 1.0, x ** jnp.where(jnp.arange(3.0) == 0, 1.0, "
        "jnp.arange(3.0)))",
    ),
    "an index": (
        lookup, (jnp.ones((4, 1)), jnp.array([[0], [9]])),
        "jnp.clip(ids, 0, 3)  # for gather",
    ),
    "two at once": (
        masked_by_a_product, (jnp.array([200.0, 1.0]),),
        None,
    ),
    "in a loop": (in_a_loop, (jnp.array([4.0, 0.0]),), None,),
    "a matrix": (covariance, (jnp.ones((2, 2)) - 1e-6 * jnp.eye(2),), None,),
}  # fmt: skip


_QUICK = ("a fused form found by its producer", "inside a library", "the exponent 0", "in a loop")


@pytest.mark.parametrize(
    ("f", "args", "text"),
    [
        pytest.param(*row, id=name, marks=[] if name in _QUICK else [pytest.mark.soak])
        for name, row in HELD.items()
    ],
)
def test_the_best_cure_holds_and_is_written_in_the_names_of_the_program(f, args, text):
    report = xray.xray(f, *args)
    found = report.nonfinite().cures()
    best = found[0]
    assert text is None or best.code == text
    assert best.text.startswith("test_cures.py:")
    assert (best.finite, best.same, type(best.finite), type(best.same)) == (True, True, bool, bool)
    assert best.next == ()
    assert best.n >= 2
    assert best.gradient_error < 1e-2
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(best.grads))
    assert jax.tree.structure(best.grads) == jax.tree.structure(report.grads)
    assert best.birth in report.nonfinite().births
    assert found is report.nonfinite().cures()


def test_the_gradient_of_a_cure_is_that_of_the_program_so_written():
    x = jnp.array([-200.0, 1.0])
    best = cured(log_of_a_sigmoid, x)[0]
    right = jax.jit(jax.grad(lambda x: jnp.sum(jax.nn.log_sigmoid(x))))(x)
    np.testing.assert_allclose(best.grads[0], right, rtol=1e-6)
    best = cured(powers, 0.0)[0]
    assert float(best.grads[0]) == 5.0  # the coefficient of x


def test_what_changes_the_result_is_no_cure():
    def mixture(p):
        parts = jnp.array([1.0, 0.0, -1.0])
        return jax.nn.logsumexp(jnp.log(p) + parts)

    found = cured(mixture, jnp.array([0.0, 0.4, 0.6]))
    assert found
    zero = [t for t in found.tried if "0.0)" in t.text]
    assert [t.why.split(" by ")[0] for t in zero] == ["the result changes"]


def test_a_wrong_gradient_is_no_cure():
    (wrong,) = [t for t in cured(powers, 0.0).tried if ": jnp.maximum" in t.text]
    assert wrong.why.startswith("the gradient is off by")


def test_half_precision_is_cured_by_more_of_it():
    x = jnp.array([200.0, 150.0], HALF)

    def f(x):
        return jnp.sum(jnp.sqrt(x * x + x * x))

    found = cured(f, x)
    assert "compute this line in float32" in found[0].text
    np.testing.assert_allclose(found[0].grads[0], jnp.full(2, 2**0.5), rtol=2e-3)
    assert found[0].grads[0].dtype == HALF


def test_bad_data_are_cured_where_they_enter():
    def f(w, x):
        return jnp.sum(w * x) + jnp.sum(w**2)

    report = xray.xray(f, jnp.ones(3), jnp.array([1.0, jnp.nan, 2.0]))
    (cure,) = report.nonfinite().cures()
    assert isinstance(cure.birth, Datum)
    assert cure.code == "jnp.where(jnp.isfinite(x), x, 0.0)"
    np.testing.assert_array_equal(cure.grads[0], [3.0, 2.0, 4.0])
    np.testing.assert_array_equal(cure.grads[1], [1.0, 0.0, 1.0])


def test_where_nothing_holds_it_is_said_with_what_was_tried():
    found = cured(lambda x: x**3 * 2, jnp.float32(1e30))
    assert not found
    assert str(found).startswith("no cure holds; tried in vain:")
    assert [t.why for t in found.tried] == ["something stays infinite or NaN"]
    assert str(Cures()) == "nothing is known to try here"
    overflow = cured(lambda x: jnp.square(x) * 2, jnp.float32(1e30))
    assert not overflow
    assert str(overflow) == "nothing is known to try here"


def test_a_cure_that_uncovers_another_birth_says_so():
    @jax.custom_vjp
    def ratio(h):
        return h / jnp.where(jnp.isinf(h), 1.0, 0.0)

    ratio.defvjp(lambda h: (ratio(h), None), lambda _, g: (g,))
    found = cured(lambda x: ratio(jnp.log(x)), 0.0)
    assert found
    assert not any(cure.finite for cure in found)
    assert [birth.op for birth in found[0].next][:1] == ["div"]
    assert "cured, but then Inf is born at" in str(found)


def test_printing_runs_nothing(monkeypatch):
    nonfinite = xray.xray(root_of_a_masked, jnp.array([4.0, 0.0])).nonfinite()
    monkeypatch.setattr(module, "find", None)
    assert str(nonfinite).endswith("cures() tries what to write instead")


def test_the_time_is_kept(monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.0)
    found = cured(root_of_a_masked, jnp.array([4.0, 0.0]))
    assert found.late
    assert "the time was over" in str(found)


def test_progress_is_told_every_candidate():
    told = []
    found = xray.xray(norm, jnp.zeros(3)).nonfinite().cures(told.append)
    assert {cure.text for cure in found} <= set(told)


def test_statistics_and_insides_have_no_cures():
    report = xray.xray(root_of_a_masked, jnp.array([4.0, 0.0]), keep="stats")
    with pytest.raises(ValueError, match="nothing can be tried: call xray with keep='values'"):
        report.nonfinite().cures()


def test_slopes_know_kinks_jumps_and_edges():
    def of(f, x):
        record = xray.xray(f, x).record
        return slopes.Slopes(record), record

    found, record = of(lambda x: jnp.sum(jnp.abs(x)), jnp.zeros(1))
    wide = slopes.wide(record, {})
    assert found.error(record, wide, None, {}, np.inf)[0] < 1e-12  # any of -1 to 1
    assert sorted(found._sides(wide, None, np.zeros(1), np.ones(1), 0.0)) == [-1.0, 1.0]
    found, record = of(lambda x: jnp.where(x > 0, x + 1.0, x), 0.0)
    assert found._sides(slopes.wide(record, {}), None, np.zeros(1), np.ones(1), 0.0) == (1.0,)
    found, record = of(lambda x: jnp.sqrt(x) + x, 0.0)
    assert len(found._sides(slopes.wide(record, {}), None, np.zeros(1), np.ones(1), 0.0)) == 1


def test_a_gradient_that_is_wrong_is_seen_by_the_slopes():
    @jax.custom_vjp
    def wrong(x):
        return x * x

    wrong.defvjp(lambda x: (x * x, x), lambda x, g: (2.001 * 3 * x * g,))
    record = xray.xray(lambda x: jnp.sum(wrong(x)), jnp.ones(2)).record
    error, n = slopes.Slopes(record).error(record, slopes.wide(record, {}), None, {}, np.inf)
    assert n == 10
    assert error > 0.5


def test_errors_that_differ_in_the_fourth_place_are_one_and_the_first_that_was_tried_stays_first():
    cure = Cure(Datum("x", "NaN", (), 1, "", True), "", True, True, 0.0, 1e-4, 1, ())
    other = dataclasses.replace(cure, gradient_error=4e-4)
    assert module._order(cure) == module._order(other)
    assert module._order(cure) < module._order(dataclasses.replace(cure, gradient_error=4e-3))


def test_an_index_out_of_range_is_clipped_to_the_last_one():
    def lookup(table):
        ids = jnp.array([1, 7])
        return jnp.sum(jnp.take(table, ids, axis=0) ** 2)

    found = xray.xray(lookup, jnp.ones((5, 2))).nonfinite().cures()
    assert any("jnp.clip(ids, 0, 4)" in cure.text for cure in found)


@pytest.mark.parametrize("solve", [lambda a: jnp.linalg.solve(a, jnp.ones(2)), jnp.linalg.inv])
def test_a_singular_system_is_cured_where_its_matrix_is_factored(solve):
    def f(matrix):
        return jnp.sum(solve(matrix))

    best = xray.xray(f, jnp.array([[1.0, 2.0], [2.0, 4.0]])).nonfinite().cures()[0]
    assert "0.00035 * jnp.eye(" in best.text
    ridge = float(jnp.finfo(jnp.float32).eps) ** 0.5
    with jax.enable_x64(True):
        shifted = jnp.array([[1.0, 2.0], [2.0, 4.0]], jnp.float64) + ridge * jnp.eye(2)
        expected = jax.jit(jax.grad(lambda m: jnp.sum(solve(m).astype(jnp.float64))))(shifted)
    np.testing.assert_allclose(best.grads[0], expected, rtol=1e-2)


def test_a_zero_that_is_written_out_is_not_guarded():
    cures = xray.xray(lambda x: jnp.sum(x / 0.0), jnp.ones(2)).nonfinite().cures()
    assert not cures
    assert not cures.tried


def test_without_gradients_a_cure_says_that_none_was_compared():
    (cure, *_) = cured(lambda x: jnp.sum(jnp.log(x)), jnp.array([0.0, 1.0]), gradients=False)
    assert cure.n == 0
    assert str(cure).endswith("what was finite is the same, no gradient was compared")
