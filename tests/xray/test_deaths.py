"""Where gradients die: the line, the reason, the arguments, held against jax.grad."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from chainrule import xray
from chainrule.xray import deaths as deaths_module

X = jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.5, -3.0]])
W = jnp.array([0.7, -1.2, 0.4])


def deaths(f, *args, **settings):
    return xray.xray(f, *args, **settings).deaths()


def zeros(f, *args):
    """How many elements of each gradient are exactly 0: the oracle."""
    grads = jax.jit(jax.grad(f, tuple(range(len(args)))))(*args)
    return [int(jnp.sum(g == 0)) for g in grads]


def line_of(f, text):
    rows, start = inspect.getsourcelines(f)
    (offset,) = [k for k, row in enumerate(rows) if text in row]
    return f"test_deaths.py:{start + offset} "


def test_the_tanh_network_of_the_notes_with_uniform_weights_says_it_at_once():
    def loss(w1, b1, w2, b2, x, target):
        h = jnp.tanh(w1 @ x + b1)
        y = jnp.tanh(w2 @ h + b2)  # here
        return jnp.sum((y - target) ** 2)

    shapes = (20, 10), (20,), (5, 20), (5,), (10,), (5,)
    rng = np.random.default_rng(0)
    draws = [[jnp.asarray(rng.random(s), jnp.float32) for s in shapes] for _ in range(40)]
    dead = [args for args in draws if sum(zeros(loss, *args)[:4]) == 325]
    assert len(dead) / len(draws) > 0.5  # of torch.rand's, 75 %
    found = deaths(loss, *dead[0], argnums=(0, 1, 2, 3))
    first, *others = found
    assert others == []
    assert line_of(loss, "# here") in first.line
    assert (first.op, first.share, first.count) == ("tanh", 1.0, 5)
    assert first.why.startswith("saturated, at ")
    assert first.why.endswith(": its derivative there rounds to 0 in float32")
    assert [(one.name, one.count) for one in first.arguments] == [
        ("w1", 200),
        ("b1", 20),
        ("w2", 100),
        ("b2", 5),
    ]
    assert found.every
    assert str(found).endswith("every gradient is exactly 0")


@pytest.mark.parametrize(
    ("f", "op", "why"),
    [
        (lambda w: jnp.sum(jnp.round(3 * w) ** 2), "round", "between them its derivative is 0"),
        (lambda w: jnp.argmax(w).astype(w.dtype), "argmax", "a position"),
        (lambda w: jnp.sum((w > 0).astype(w.dtype)), "gt", "a comparison"),
        (
            lambda w: jnp.sum(w.astype(jnp.int32)).astype(w.dtype),
            "convert_element_type",
            "int32 can only",
        ),
        (lambda w: jnp.sum(lax.stop_gradient(w)), "stop_gradient", "lets none through"),
        (lambda w: jnp.sum(jax.nn.relu(w - 2)), "relu", "at most 0: -3.2 to -1.3"),
        (lambda w: jnp.sum(jnp.maximum(w - 2, 0)), "max", "at most 0: -3.2 to -1.3"),
        (lambda w: jnp.sum(jnp.minimum(w, -2)), "min", "-1.2 to 0.7, lies above the other one, -2"),
        (lambda w: jnp.sum(lax.clamp(5.0, w, 6.0)), "clamp", "lies outside of 5 and 6"),
        (lambda w: jnp.sum(jax.nn.relu6(w + 9)), "relu6", "lies outside of 0 and 6"),
        (lambda w: jnp.sum(jnp.where(w > 9, w, 1)), "select_n", "chooses another branch"),
        (lambda w: jnp.sum(jnp.exp(w - 200)), "exp", "round to 0 in float32 at -201.2 to -199.3"),
        (lambda w: jnp.sum(w * jnp.zeros(3)), "mul", "what it is multiplied by there is 0"),
        (lambda w: jnp.sum((w - W) ** 2), "integer_pow", "its derivative times what comes in is 0"),
        (lambda w: jnp.sum(w - w), "the sum of the gradients of w", "its 2 uses contribute adds"),
    ],
)
def test_why_a_gradient_is_0_throughout(f, op, why):
    assert zeros(f, W) == [3]
    found = deaths(f, W)
    assert found[0].op == op
    assert why in found[0].why
    assert [str(one) for one in found[0].arguments] == ["w (all of 3)"]
    assert (found.zero, found.every) == (("w",), True)


def dead_units(w, b, v):
    h = jax.nn.relu(X @ w + b[None, :])  # here
    return jnp.sum(jnp.sin(h @ v))


def test_of_a_layer_the_units_that_are_0_on_all_samples_die():
    w, b, v = jnp.ones((2, 4)), jnp.array([-9.0, -9.0, -9.0, 1.0]), jnp.ones(4)
    found = deaths(dead_units, w, b, v)
    first = found[0]
    assert line_of(dead_units, "# here") in first.line
    assert first.why.endswith("; 3 of 4 units are 0 in all 3 samples")
    lacking = {one.name: one.count for one in first.arguments}
    assert lacking == dict(zip("wb", zeros(dead_units, w, b, v), strict=False)) == {"w": 6, "b": 3}
    assert first.share == pytest.approx(1 - np.mean(np.asarray(X.sum(1)) + 1 > 0) / 4)
    # Where every unit lives for some sample, half of the zeros of a ReLU are no death.
    alive = deaths(dead_units, w, jnp.array([0.0, 0.1, -0.1, 1.0]), v)
    assert not alive.matter
    assert "no operator was found in which a gradient dies" in str(alive)


def test_a_squashed_unit_dies_where_at_most_a_thousandth_passes():
    def f(w):
        return jnp.sum(jax.nn.sigmoid(w))

    slope = lambda w: np.asarray(jax.grad(f)(w))  # noqa: E731
    live, dead = jnp.array([6.8, 6.8, 0.0]), jnp.array([7.1, -7.1, 0.0])
    assert (slope(live) > 1e-3).all()
    assert list(slope(dead) < 1e-3) == [True, True, False]
    assert not deaths(f, live).matter
    (found,) = deaths(f, dead)
    assert (found.count, found.share) == (2, pytest.approx(2 / 3))
    assert found.why == "saturated, at -7.1 to 7.1: its derivative there is at most 0.0008"
    assert "\n  next to no gradient gets to: w (2 of 3)" in str(found)


def harmless(w):
    rounded = w + lax.stop_gradient(jnp.round(w) - w)  # straight through
    centred = w - lax.stop_gradient(jnp.mean(w))
    return jnp.sum(jax.nn.softmax(w) * rounded + jnp.where(centred > 0, centred, 2 * w))


def test_what_takes_no_argument_its_gradient_is_harmless():
    assert zeros(harmless, W) == [0]
    found = deaths(harmless, W)
    assert not found.matter
    assert {one.op for one in found} == {"stop_gradient", "gt"}
    assert str(found).endswith(": no argument lacks one therefore")


def test_rows_that_are_not_looked_up_have_not_died():
    def f(table, w):
        rows = jax.nn.relu(table[jnp.array([0, 2])])
        return jnp.sum(rows * jnp.round(w)[None, :]) + jnp.sum(w)

    table = jnp.ones((5, 3))
    assert zeros(f, table, W + 2) == [9, 0]
    assert not deaths(f, table, W + 2).matter


def test_what_no_gradient_comes_to_has_not_died():
    def f(w):
        last = jnp.array([1.0, 1.0, 0.0])
        return jnp.sum((w - lax.stop_gradient(2 * w)) * last)

    assert zeros(f, W) == [1]
    assert not deaths(f, W).matter


def recurrent(params, rows):
    def step(c, row):
        c = jnp.tanh(params["w"] * c + row)
        y = lax.cond(jnp.sum(c) > -99.0, lambda c: jnp.sign(params["v"] * c), lambda c: c, c)
        return c, y + c

    return jnp.sum(lax.scan(step, jnp.zeros(3), rows)[1])


def test_inside_of_loops_and_branches_the_line_is_that_in_the_body():
    params, rows = {"v": W, "w": W}, jnp.full((4, 3), 9.0)
    g = jax.jit(jax.grad(recurrent))(params, rows)
    assert not g["v"].any()
    assert jnp.abs(g["w"]).max() < 1e-5
    report = xray.xray(recurrent, params, rows)
    found = report.deaths()
    assert "params['v']" in found.zero
    tanh, sign = (next(one for one in found if one.op == op) for op in ("tanh", "sign"))
    assert line_of(recurrent, "jnp.tanh") in tanh.line
    assert line_of(recurrent, "jnp.sign") in sign.line
    assert (tanh.share, sign.share, tanh.count) == (1.0, 1.0, 12)
    assert [str(one) for one in tanh.arguments] == ["params['w'] (all of 3)", "rows (all of 12)"]
    assert [str(one) for one in sign.arguments] == ["params['v'] (all of 3)"]
    inside = report.open(next(node for node in report.nodes if node.op == "scan"))
    assert {"sign", "tanh"} <= {one.op for one in inside.deaths() if not one.harmless}


def test_a_choice_carried_to_the_next_step_dies_where_it_is_made():
    def decode(w, table):
        def step(token, _):
            logits = table[token] @ w  # goes into the choice alone
            return jnp.argmax(logits), jnp.sum(table[token])

        return jnp.sum(lax.scan(step, jnp.int32(0), None, length=3)[1])

    table = jnp.arange(9.0).reshape(3, 3)
    assert zeros(decode, jnp.eye(3), table)[0] == 9
    first = deaths(decode, jnp.eye(3), table)[0]
    assert line_of(decode, "jnp.argmax") in first.line
    assert str(first.arguments[0]) == "w (all of 9)"


def test_the_branch_that_was_not_taken_is_named():
    def f(w, v):
        return lax.cond(v > 0, lambda w: jnp.sum(w), lambda w: v * 2, w)

    first = deaths(f, W, jnp.array(-1.0))[0]
    assert first.why == "the branch that was taken, number 0, does not use what came in"
    assert str(first.arguments[0]) == "w (all of 3)"


def test_arguments_that_no_path_reaches_are_named():
    def f(w, unused, x):
        return jnp.sum(w * 2)

    found = deaths(f, W, W, W)
    assert found.unreached == ("unused", "x")
    assert str(found) == "no path leads to the result from unused, x"
    assert not found.every


def test_what_takes_most_comes_first_and_what_follows_from_it_after_it():
    def f(w, v):
        h = jax.nn.relu(w - 9.0)
        return jnp.sum(h[:, None] * v) + jnp.sum(jnp.round(w[:2]))

    v = jnp.ones((3, 50))
    found = deaths(f, W, v)
    assert [one.op for one in found] == ["relu", "round", "mul"]
    assert [[str(one) for one in death.arguments] for death in found] == [
        ["w (all of 3)"], ["w (2 of 3)"], ["v (all of 150)"],
    ]  # fmt: skip


def test_a_gradient_that_nothing_passes_is_unknown_and_no_death():
    def f(w):
        return jnp.sum(
            lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] * 2), (0, w))[1]
        )

    found = deaths(f, W)
    assert (len(found), found.every, found.unknown) == (0, False, ("w",))
    assert str(found) == "unknown is the gradient of w"
    (stopped,) = deaths(lambda w: f(lax.stop_gradient(w)), W)
    assert stopped.op == "stop_gradient"


def test_when_the_time_is_over_it_claims_nothing_of_what_was_not_tried(monkeypatch):
    monkeypatch.setattr(deaths_module, "_TIME", -1.0)
    found = deaths(lambda w: jnp.sum(jnp.round(w) + jax.nn.softmax(w) * w), W)
    assert found.late
    assert str(found) == "the time was over before all had been tried: there may be more"


def test_of_statistics_what_is_0_throughout_is_traced_and_the_rest_is_said_to_be_unknown():
    def f(w, v):
        return jnp.sum(jax.nn.relu(w - 9.0)) + jnp.sum(jnp.round(v) * v)

    found = deaths(f, W, W, keep="stats")
    assert [one.op for one in found if not one.harmless] == ["relu"]
    assert found.zero == ("w",)
    assert not found.decided
    assert "only statistics are kept" in str(found)


def test_without_gradients_it_says_what_to_do():
    report = xray.xray(lambda w: w * 2, W, gradients=False)
    with pytest.raises(ValueError, match="recorded without gradients: call xray with gradients"):
        report.deaths()
