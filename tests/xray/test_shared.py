"""Which arguments are used more than once: whole, by their parts, at each step of a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import inside
from chainrule.xray.slices import meet, part, written

W = jnp.arange(12.0).reshape(3, 2, 2) / 10
X = jnp.array([0.5, -1.0])


def stacked(w, x):
    for k in range(3):
        x = jnp.tanh(w[k] @ x)  # layer
    return jnp.sum(x)


def test_the_layers_of_a_stacked_weight_share_nothing():
    report = xray.xray(stacked, W, X)
    assert not report.shared()
    rows = [node for node in report.nodes if node.op == "slice"]
    assert [written(report.record, node) for node in rows] == ["[0]", "[1]", "[2]"]
    assert "w[1]" in str(report)
    assert ">[1]<" in report.to_svg()


def test_a_part_that_is_taken_twice_is_shared_and_its_index_shown():
    report = xray.xray(lambda w, x: stacked(w, x) + jnp.sum(w[1]), W, X)
    (shared,) = report.shared()
    assert [line.rpartition(", ")[2] for line in shared.lines] == ["[0]", "[1]", "[2]", "[1]"]
    expected = jax.jit(jax.grad(lambda w: stacked(w, X) + jnp.sum(w[1])))(W)
    parts = [np.asarray(use.contribution) for use in shared.uses]
    np.testing.assert_allclose(sum(parts), expected, rtol=1e-5)
    np.testing.assert_array_equal(parts[3], np.zeros((3, 2, 2)) + np.eye(3)[1][:, None, None])


def test_what_was_not_differentiated_is_not_shared():
    def f(w, x, n):
        return jnp.sum(w * x * x * n * n)

    args = jnp.ones(2), X, jnp.array([1, 2])
    with jax.numpy_dtype_promotion("standard"):
        assert [one.node.name for one in xray.xray(f, *args).shared()] == ["x"]
        assert not xray.xray(f, *args, argnums=0).shared()
        assert not xray.xray(f, *args, gradients=False).shared()


@pytest.mark.parametrize(
    ("take", "text"),
    [
        (lambda w, i: w[-1, 0], "[2, 0]"),
        (lambda w, i: w[:, :1], "[:, 0]"),
        (lambda w, i: w[1:], "[1:]"),
        (lambda w, i: w[::2], "[::2]"),
        (lambda w, i: w[i], "[2]"),
        (lambda w, i: jax.lax.dynamic_slice_in_dim(w, i, 2), "[1:]"),  # as JAX clips it
        (lambda w, i: w[jnp.array([0, 2])], ""),
        (lambda w, i: w * 1, ""),
    ],
)
def test_parts_are_written_as_one_writes_them(take, text):
    record = xray.xray(lambda w, i: jnp.sum(take(w, i)), W, 2).record
    texts = {written(record, node) for node in record.nodes if node.inputs[:1] == ((0, 0),)}
    assert texts == {text}
    taken = next(part(record, node) for node in record.nodes if node.inputs[:1] == ((0, 0),))
    if taken is not None:
        shape = [len(axis) for axis in taken]
        np.testing.assert_array_equal(W[np.ix_(*taken)].reshape(-1), take(W, 2).reshape(-1))
        assert np.prod(shape) == take(W, 2).size


def test_parts_meet_where_every_axis_has_an_index_in_common():
    even, odd, low, top = range(0, 6, 2), range(1, 6, 2), range(3), range(3, 6)
    assert not meet((even, low), (odd, low))
    assert meet((even, low), (low, low))
    assert not meet((even, low), (even, top))
    assert meet((odd,), None)


def test_a_loop_is_opened_once_whoever_asks(monkeypatch):
    def rnn(ws, xs):
        step = lambda h, x: (jnp.tanh(ws["a"] * h + ws["b"] * x + ws["c"]), None)  # noqa: E731
        return jax.lax.scan(step, jnp.float32(0.0), xs)[0] / (ws["a"] - ws["a"])

    report = xray.xray(rnn, {"a": 0.5, "b": -1.0, "c": 0.2}, X)
    opened = []
    look = inside._look
    monkeypatch.setattr(inside, "_look", lambda *args: opened.append(1) or look(*args))
    shared = report.shared()
    assert [len(one.uses) for one in shared] == [4, 2, 2]
    assert report.open("scan_5" if "scan_5" in str(report) else "scan_4").steps == 2
    assert report.nonfinite().births
    assert str(report)
    assert len(opened) == 1


@jax.custom_vjp
def settled(w, x):
    return jax.lax.fori_loop(0, jnp.int32(4), lambda i, y: jnp.tanh(w * y + 1), x)


settled.defvjp(lambda w, x: (settled(w, x), w), lambda w, g: (g, g * w))


def test_a_loop_in_a_custom_rule_uses_what_it_takes_at_every_step():
    report = xray.xray(jax.jit(settled), 0.5, 0.1)
    (shared,) = report.shared()
    assert shared.node.name == "w"
    assert shared.lines[0].endswith(", every step of a loop")
    assert str(report.shared()) == "w: used at every step of a loop, gradient 1."


def test_the_next_call_of_a_program_compiles_no_loop_again(monkeypatch):
    def f(w, xs):
        y = jax.lax.while_loop(lambda y: y < 3, lambda y: y + 1, jax.lax.stop_gradient(w))
        step = lambda h, x: (jnp.tanh(w * h + x), None)  # noqa: E731
        return jax.lax.scan(step, y, xs)[0]

    first = xray.xray(f, 0.5, X)
    assert not first.nonfinite()
    compiled = []
    whole = inside._jax.compile_whole
    monkeypatch.setattr(inside._jax, "compile_whole", lambda f: compiled.append(f) or whole(f))
    second = xray.xray(f, 0.25, 2 * X)
    assert not second.nonfinite()
    (loop,) = (node for node in second.nodes if node.op == "scan")
    found = second.open(loop).node("tanh_6" if "tanh_6" in str(second.open(loop)) else "tanh_5")
    y, expected = 3.25, []
    for x in 2 * X:
        y = np.tanh(0.25 * y + x)
        expected.append(y)
    np.testing.assert_allclose(found.value, expected, rtol=1e-6)
    assert compiled == []
