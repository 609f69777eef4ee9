"""A record runs again with operators changed: the numbers are those of the program so written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import _jax
from chainrule.xray import rerun as module
from chainrule.xray.rerun import constant, prepare, rerun

X = jnp.array([0.5, -1.5, 2.0])


def doubled(operator, setting):
    return lambda *inputs: [2 * x for x in operator(*inputs)]


def assert_same_numbers(record, f, *args):
    value, grads = jax.jit(jax.value_and_grad(f, tuple(range(len(args)))))(*args)
    np.testing.assert_allclose(record.output, value, rtol=1e-6)
    for got, expected in zip(record.grads, grads, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def number(record, op):
    (node,) = [node.index for node in record.nodes if node.op == op]
    return node


@pytest.mark.parametrize("compiled", [True, False])
def test_without_a_change_everything_is_taken_from_the_record(compiled):
    record = xray.xray(lambda x: jnp.sum(jnp.tanh(x) * x), X, compiled=compiled).record
    again = rerun(record, {})
    for a, b in zip(record.nodes, again.nodes, strict=True):
        np.testing.assert_array_equal(a.value, b.value)
        np.testing.assert_array_equal(a.cotangent, b.cotangent)
        assert (a.label, a.kind, a.line) == (b.label, b.kind, b.line)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_changed_operator_changes_what_follows_and_its_gradient(compiled):
    def f(x, y):
        return jnp.sum(jnp.sin(x) * y + jnp.exp(y))

    record = xray.xray(f, X, X[::-1], compiled=compiled).record
    again = rerun(record, {(number(record, "sin"),): doubled})
    assert_same_numbers(again, lambda x, y: jnp.sum(2 * jnp.sin(x) * y + jnp.exp(y)), X, X[::-1])


def test_what_the_change_cannot_reach_is_not_computed_again(monkeypatch):
    def f(x, y):
        return jnp.sum(jnp.exp(x)), jnp.cos(jnp.sin(y)) * 3.0

    record = xray.xray(f, X, 0.5, cotangent=(1.0, 10.0)).record
    ran, function = [], _jax.function
    monkeypatch.setattr(
        _jax, "function", lambda eqn: ran.append(eqn.primitive.name) or function(eqn)
    )
    again = rerun(record, {(number(record, "cos"),): doubled})
    assert sorted(ran) == ["cos", "mul", "sin"]  # the sine for its derivative
    np.testing.assert_allclose(again.grads[0], jnp.exp(X), rtol=1e-6)
    np.testing.assert_allclose(again.grads[1], -60 * np.sin(np.sin(0.5)) * np.cos(0.5), rtol=1e-6)


def test_an_array_in_the_place_of_a_value_lets_no_gradient_through():
    record = xray.xray(lambda x: jnp.sum(jnp.sqrt(x) * x), X).record
    again = rerun(record, {(number(record, "sqrt"),): constant([jnp.array([1.0, 10.0, 100.0])])})
    np.testing.assert_allclose(again.output, 0.5 - 15.0 + 200.0)
    np.testing.assert_allclose(again.grads[0], [1.0, 10.0, 100.0])


def test_an_argument_can_be_another():
    f = lambda x, y: jnp.sum(x * jnp.exp(y))  # noqa: E731
    record = xray.xray(f, X, X).record
    assert_same_numbers(rerun(record, {}, arguments={1: 2 * X}), f, X, 2 * X)


def scanned(reverse=False):
    def f(w, xs):
        def step(h, x):
            made = jnp.tanh(w * h + x)
            return made, h * made

        h, ys = jax.lax.scan(step, jnp.float32(0.5), xs, reverse=reverse)
        return h + jnp.sum(ys**2)

    return f


@pytest.mark.parametrize("reverse", [False, True])
def test_an_operator_in_a_scan_is_changed_at_every_step(reverse):
    f, args = scanned(reverse=reverse), (jnp.float32(0.7), X)

    def expected(w, xs):
        def step(h, x):
            made = 2 * jnp.tanh(w * h + x)
            return made, h * made

        h, ys = jax.lax.scan(step, jnp.float32(0.5), xs, reverse=reverse)
        return h + jnp.sum(ys**2)

    report = xray.xray(f, *args)
    scan = number(report.record, "scan")
    tanh = number(report.open(report.nodes[scan]).record, "tanh")
    assert_same_numbers(rerun(report.record, {(scan, tanh): doubled}), expected, *args)


@pytest.mark.parametrize("start", [1.0, -1.0])
def test_an_operator_in_a_branch_is_changed_in_that_branch(start):
    def program(scale):
        return lambda x: jax.lax.cond(x > 0, lambda v: scale * jnp.sin(v), jnp.exp, x) ** 2

    report = xray.xray(lambda x: jax.lax.cond(x > 0, jnp.sin, jnp.exp, x) ** 2, start)
    cond = number(report.record, "cond")
    again = rerun(report.record, {(cond, 1, 1): doubled})  # branch 1 is the one of True
    assert_same_numbers(again, program(2.0), start)


def test_an_operator_in_a_while_in_a_scan_is_changed():
    def program(factor):
        def f(x):
            def step(c, a):
                grown = jax.lax.while_loop(lambda v: v < a, lambda v: v * factor, jnp.float32(1.0))
                return c + grown, None

            return x * jax.lax.scan(step, jnp.float32(0.0), jnp.array([3.0, 5.0]))[0]

        return f

    report = xray.xray(program(2.0), 3.0)
    scan = number(report.record, "scan")
    inside = report.open(report.nodes[scan])
    loop = number(inside.record, "while")
    mul = number(inside.open(inside.nodes[loop], 0).record, "mul")
    again = rerun(report.record, {(scan, loop, mul): doubled})
    assert float(report.output) == 3.0 * (4.0 + 8.0)
    assert float(again.output) == float(program(4.0)(3.0)) == 3.0 * (4.0 + 16.0)


def test_one_program_serves_every_setting():
    def scaled(operator, setting):
        return lambda *inputs: [setting * x for x in operator(*inputs)]

    record = xray.xray(lambda x: jnp.sum(jnp.sin(x)), X).record
    once_more = prepare(record, {(1,): scaled})
    once_more(1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", None)  # tracing again would fail
        for scale in (2.0, 3.0):
            np.testing.assert_allclose(once_more(scale).grads[0], scale * jnp.cos(X), rtol=1e-6)


def test_unknown_gradients_stay_unknown():
    def f(x, y):
        z = jax.lax.while_loop(lambda v: v < 10.0, lambda v: v * 2.0, jnp.sin(x))
        return z * jnp.cos(y)

    record = xray.xray(f, 1.0, 3.0).record
    again = rerun(record, {(number(record, "cos"),): doubled})
    assert again.grads[0] is None
    np.testing.assert_allclose(again.grads[1], -2 * record.node("while_3").value * np.sin(3.0))


def test_what_cannot_be_run_again():
    f = scanned()
    stats = xray.xray(f, 0.7, X, keep="stats").record
    with pytest.raises(ValueError, match="only statistics are kept: call xray with keep='values'"):
        rerun(stats, {})
    report = xray.xray(f, 0.7, X)
    inside = report.open(report.nodes[number(report.record, "scan")]).record
    with pytest.raises(ValueError, match="is the inside of a loop: run the record around it"):
        rerun(inside, {})
    with pytest.raises(ValueError, match=r"no operator stands at \(99,\): there are \d+ nodes"):
        rerun(report.record, {(99,): doubled})
    with pytest.raises(ValueError, match="node 0 is no operator, but input w"):
        rerun(report.record, {(0,): doubled})
    with pytest.raises(ValueError, match="integer_pow has no operators inside"):
        rerun(report.record, {(number(report.record, "integer_pow"), 0): doubled})
