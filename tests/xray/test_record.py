"""The record holds jax.grad's numbers, where each came from and from which line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import program


def assert_same(report, f, *args, argnums=0, rtol=1e-5):
    expected = jax.jit(jax.grad(f, argnums))(*args)
    chosen = report.grads[argnums] if isinstance(argnums, int) else None
    got = chosen if chosen is not None else tuple(report.grads[i] for i in argnums)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=rtol, atol=1e-6), got, expected)


def test_the_first_picture_of_the_course_has_its_numbers():
    report = xray.xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)
    numbers = [(n.label, float(n.value), float(n.cotangent)) for n in report.nodes]
    assert numbers == [
        ("x", -2.0, -4.0),
        ("y", 5.0, -4.0),
        ("z", -4.0, 3.0),
        ("add_3", 3.0, -4.0),
        ("mul_4", -12.0, 1.0),
    ]


def test_a_value_used_three_times_keeps_the_part_of_each_use():
    report = xray.xray(lambda w: w * w * w, 2.0)
    parts = [float(e.contribution) for e in report.edges if e.source == 0]
    assert parts == [4.0, 4.0, 4.0]
    assert float(report.grads[0]) == 12.0


@pytest.mark.parametrize("compiled", [True, False])
def test_jit_and_remat_are_looked_into(compiled):
    @jax.jit
    def inner(x):
        return jnp.sin(x) * x

    def f(x):
        return jnp.sum(inner(x) + jax.checkpoint(jnp.tanh)(x))

    x = jnp.array([0.5, -1.5, 2.0])
    report = xray.xray(f, x, compiled=compiled)
    assert [n.op for n in report.nodes if n.kind == "operator"] == [
        "sin",
        "mul",
        "tanh",
        "add",
        "reduce_sum",
    ]
    assert report.node("sin_1").calls == ("inner",)
    assert_same(report, f, x)


def scan_loss(w, xs):
    def step(h, x):
        h = jnp.tanh(w * h + x)
        return h, h**2

    h, ys = jax.lax.scan(step, jnp.float32(1.0), xs)
    return h + jnp.sum(ys)


XS = jnp.array([0.0, 1.0, -0.5])


def test_a_scan_is_one_node_whose_steps_can_be_seen():
    report = xray.xray(scan_loss, jnp.float32(0.5), XS)
    (scan,) = [n for n in report.nodes if n.op == "scan"]
    inside = report.open(scan)
    assert inside.steps == 3
    np.testing.assert_allclose(jnp.sum(inside.grads[0]), report.node("w").cotangent, rtol=1e-6)
    np.testing.assert_allclose(inside.grads[2], report.node("xs").cotangent, rtol=1e-6)
    h, expected = jnp.float32(1.0), []
    for x in XS:
        h = jnp.tanh(0.5 * h + x)
        expected.append(float(h))
    (tanh,) = [n for n in inside.nodes if n.op == "tanh"]
    np.testing.assert_allclose(tanh.value, expected, rtol=1e-6)


def test_a_reversed_scan_opens_in_the_order_of_its_rows():
    def f(w, xs):
        return jax.lax.scan(lambda c, x: (c * w + x, c), jnp.float32(1.0), xs, reverse=True)[0]

    report = xray.xray(f, jnp.float32(0.5), XS)
    inside = report.open(next(n for n in report.nodes if n.op == "scan"))
    np.testing.assert_allclose(
        inside.grads[2], jax.jit(jax.grad(f, 1))(jnp.float32(0.5), XS), rtol=1e-6
    )
    np.testing.assert_allclose(jnp.sum(inside.grads[0]), report.node("w").cotangent, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_unrolled_scan_shows_every_use_of_its_weight(reverse):
    def f(w, xs):
        return jax.lax.scan(lambda c, x: (c * w + x, c), jnp.float32(1.0), xs, reverse=reverse)[0]

    report = xray.xray(f, jnp.float32(0.5), XS, unroll=True)
    (shared,) = [s for s in report.shared() if s.node.name == "w"]
    assert len(shared.uses) == 3
    total = sum(float(edge.contribution) for edge in shared.uses)
    assert total == pytest.approx(float(jax.jit(jax.grad(f))(jnp.float32(0.5), XS)), rel=1e-6)
    assert {n.scope for n in report.nodes if n.op == "mul"} == {"step0", "step1", "step2"}
    assert_same(report, f, jnp.float32(0.5), XS, argnums=(0, 1))


def test_custom_rules_keep_their_gradient_and_can_be_opened():
    @jax.custom_vjp
    def tripled(x):
        return jnp.sin(x) + 1.0

    tripled.defvjp(lambda x: (tripled(x), None), lambda _, g: (3.0 * g,))
    report = xray.xray(lambda x: jnp.sum(tripled(x)), XS)
    assert report.grads[0].tolist() == [3.0, 3.0, 3.0]
    inside = report.open("tripled_1")
    assert [n.op for n in inside.nodes if n.kind == "operator"] == ["sin", "add"]
    np.testing.assert_allclose(inside.output, jnp.sin(XS) + 1.0, rtol=1e-6)
    assert inside.node("sin_1").cotangent is None


def test_relu_at_zero_has_the_gradient_of_its_rule():
    report = xray.xray(lambda x: jnp.sum(jax.nn.relu(x)), jnp.array([-1.0, 0.0, 2.0]))
    assert [n.op for n in report.nodes if n.kind == "operator"] == ["relu", "reduce_sum"]
    assert report.grads[0].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("start", "taken"), [(1.0, "sin"), (-1.0, "exp")])
def test_a_cond_opens_to_the_branch_it_took(start, taken):
    def f(x):
        return jax.lax.cond(x > 0, lambda v: jnp.sin(v), lambda v: jnp.exp(v), x)

    report = xray.xray(f, start)
    inside = report.open(next(n for n in report.nodes if n.op == "cond"))
    (node,) = [n for n in inside.nodes if n.kind == "operator"]
    assert node.op == taken
    assert float(node.cotangent) == 1.0
    np.testing.assert_allclose(inside.grads[0], jax.jit(jax.grad(f))(start), rtol=1e-6)


def test_a_while_shows_its_value_and_says_why_no_gradient_passes():
    def f(x, y):
        z = jax.lax.while_loop(lambda v: v < 10.0, lambda v: v * 2.0, jnp.sin(x))
        return z * y

    report = xray.xray(f, 1.0, 3.0)
    (loop,) = [n for n in report.nodes if n.op == "while"]
    assert float(loop.value) > 10.0
    assert float(loop.cotangent) == 3.0
    assert "while_loop" in loop.note
    assert report.grads[0] is None
    assert float(report.grads[1]) == float(loop.value)
    assert "while_loop" in str(report)


def test_a_while_opens_to_its_trips():
    def f(x, limit):
        body = lambda v: (v[0] * 2.0, v[1] + 1)  # noqa: E731
        return jax.lax.while_loop(lambda v: v[0] < limit, body, (x, 0))[0]

    report = xray.xray(f, 1.5, 10.0)
    inside = report.open(next(n for n in report.nodes if n.op == "while"))
    assert inside.steps == 3
    assert inside.node("input 0").value.tolist() == [1.5, 3.0, 6.0]
    assert next(n for n in inside.nodes if n.op == "mul").value.tolist() == [3.0, 6.0, 12.0]
    never = xray.xray(f, 11.0, 10.0)
    assert never.open(next(n for n in never.nodes if n.op == "while")).steps == 0


def test_what_returns_nothing_is_a_node_too(capfd):
    def f(x):
        jax.debug.print("x is {}", x[1], ordered=True)
        return jnp.sum(x**2)

    report = xray.xray(f, XS)
    (node,) = [n for n in report.nodes if n.avals == ()]
    assert (node.value, node.cotangent, node.line != "") == (None, None, True)
    assert node.label in str(report)
    assert "x is 1.0" in capfd.readouterr().out
    assert_same(report, f, XS)


def test_argnums_has_aux_and_cotangent():
    def f(x, y):
        return jnp.sum(x * y), {"more": y + 1.0}

    report = xray.xray(f, XS, XS + 2.0, argnums=-1, has_aux=True)
    assert report.grads[0] is None
    assert report.grads[1].tolist() == XS.tolist()
    assert report.aux["more"].tolist() == (XS + 3.0).tolist()
    cotangent = {"a": jnp.array([1.0, 10.0, 100.0])}
    report = xray.xray(lambda x: {"a": x * x}, XS, cotangent=cotangent)
    assert report.grads[0].tolist() == (2.0 * XS * cotangent["a"]).tolist()


def test_names_scopes_and_lines():
    def f(params, *inputs):
        with jax.named_scope("layer"):
            return jnp.sum(params["layer1"]["kernel"] * inputs[1])  # here

    report = xray.xray(f, {"layer1": {"kernel": XS}}, 1.0, XS)
    assert [n.name for n in report.nodes[:3]] == [
        "params['layer1']['kernel']",
        "inputs[0]",
        "inputs[1]",
    ]
    mul = report.node("mul_3")
    assert mul.scope == "layer"
    file, line = mul.line.split(" ")[0].rsplit(":", 1)
    assert file == __file__
    with open(file) as source:
        assert source.readlines()[int(line) - 1].endswith("# here\n")


def test_the_line_is_that_of_the_innermost_function_of_ones_own():
    def helper(x):
        return x * 2.0  # here

    def f(x):
        y = helper(x)
        return jnp.sum(y)

    file, line = xray.xray(f, XS).node("mul_2").line.split(" ")[0].rsplit(":", 1)
    with open(file) as source:
        assert source.readlines()[int(line) - 1].endswith("# here\n")


def test_constants_are_told_from_inputs_and_carry_no_gradient():
    closed_over = jnp.array([1.0, 2.0, 4.0])
    report = xray.xray(lambda x: jnp.sum(x * closed_over) * 2.0, XS)
    constants = [n for n in report.nodes if n.kind == "constant"]
    assert [np.shape(n.value) for n in constants] == [(3,), ()]
    assert all(n.cotangent is None for n in constants)


def test_shared_lists_each_use_with_its_gradient():
    def f(w, a, b):
        return jnp.sum(jnp.tanh(w * a) - w * b)

    (shared,) = xray.xray(f, jnp.float32(0.5), XS, XS + 1.0, argnums=0).shared()
    parts = [float(edge.contribution) for edge in shared.uses]
    expected = [
        float(jax.jit(jax.grad(lambda w: jnp.sum(jnp.tanh(w * XS))))(0.5)),
        -float(jnp.sum(XS + 1)),
    ]
    np.testing.assert_allclose(parts, expected, rtol=1e-6)
    np.testing.assert_allclose(sum(parts), shared.node.cotangent, rtol=1e-6)
    assert all("test_record.py" in line for line in shared.lines)


def test_statistics_are_those_of_the_arrays():
    def f(x):
        y = jax.nn.relu(x)
        turned = y.reshape(1, 3).T[::-1]
        return jnp.sum(turned.squeeze(1) * jnp.array([1.0, 2.0, 4.0]) * y)

    whole, kept = xray.xray(f, XS), xray.xray(f, XS, keep="stats")
    for a, b in zip(whole.nodes, kept.nodes, strict=True):
        np.testing.assert_allclose(a.stats()[2:], b.stats()[2:], rtol=1e-6)
        if a.cotangent is not None:
            np.testing.assert_allclose(a.cotangent_stats()[2:], b.cotangent_stats()[2:], rtol=1e-6)
    relu = next(n for n in kept.nodes if n.op == "relu").stats()
    assert (relu.min, relu.max, relu.shape, relu.nans) == (0.0, 1.0, (3,), 0)
    assert relu.zeros == pytest.approx(2 / 3)
    assert kept.grads[0].max == 4.0  # of 5 y0 y2 + 2 y1**2, at y1 = 1


def test_statistics_of_what_is_repeated_or_passed_on_are_those_of_the_arrays():
    def f(x, bias):
        s = x + jnp.broadcast_to(bias, (2, 3))  # its gradient is that of the sum
        return jnp.sum(jnp.tanh(s + x) * jnp.arange(6.0).reshape(2, 3))

    for bad in (0.5, jnp.nan, jnp.inf):
        args = jnp.arange(6.0).reshape(2, 3) / 4, jnp.array([0.0, bad, -1.0])
        whole, kept = xray.xray(f, *args), xray.xray(f, *args, keep="stats")
        assert "broadcast_in_dim" in {node.op for node in kept.nodes}
        for a, b in zip(whole.nodes, kept.nodes, strict=True):
            assert a.stats().shape == b.stats().shape
            np.testing.assert_allclose(a.stats()[2:], b.stats()[2:], rtol=1e-6)
            if a.cotangent is not None:
                assert a.cotangent_stats().shape == b.cotangent_stats().shape
                np.testing.assert_allclose(
                    a.cotangent_stats()[2:], b.cotangent_stats()[2:], rtol=1e-6
                )


def test_the_second_call_compiles_nothing():
    def f(x):
        return jnp.sum(jnp.sin(x) * x)

    xray.xray(f, XS)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.xray.program.build", None)  # a new graph would fail
        assert_same(xray.xray(f, XS + 1.0), f, XS + 1.0)


def test_a_long_chain_needs_no_recursion():
    def f(x):
        for _ in range(1000):
            x = x * 1.001
        return x

    report = xray.xray(f, 1.0, compiled=True, keep="stats")
    assert len(report.nodes) == 2001
    assert report.grads[0].mean == pytest.approx(1.001**1000, rel=1e-3)


def test_a_second_call_of_a_function_with_constants_compiles_nothing():
    both = jnp.array([2.0, 3.0])

    def f(x):
        return jnp.sum(x * both)

    xray.xray(f, jnp.ones(2))
    xray.xray(f, jnp.zeros(2))
    assert len(program._programs[f]) == 1


def test_only_operators_have_a_rule_of_their_own():
    @jax.custom_vjp
    def half(x):
        return x / 2

    half.defvjp(lambda x: (x / 2, None), lambda _, g: (g / 2,))
    report = xray.xray(lambda x: half(x) * 3.0, 1.0)
    assert [node.kind for node in report.nodes if node.custom] == ["operator"]
