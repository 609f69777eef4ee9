"""What a record must never do: lie about what ran, where it stands, or that all is well."""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import xray
from chainrule.models import mlp
from chainrule.xray import _custom, _lines
from chainrule.xray.stats import stats

WEIGHT = jnp.array(2.0)
CONSTANT = jnp.array([0.5, 1.5])


def embed(params, image):
    return jnp.tanh(image @ params)


def distance(a, b):
    return jnp.sqrt(jnp.sum((a - b) ** 2))


def siamese(params, left, right):
    return distance(embed(params, left), embed(params, right))


def line(function, text):
    """The line of a function's source that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return start + next(i for i, code in enumerate(lines) if text in code)


def test_the_line_is_the_innermost_one_of_the_user():
    image = jnp.arange(3.0)
    report = xray.xray(siamese, jnp.full((3, 2), 0.1), image, image)
    first = report.nonfinite().births[0]
    assert first.op == "sqrt"
    assert first.line.endswith(f"test_honest.py:{line(distance, 'sqrt')} (distance)")
    lines = {node.line for node in report.nodes if node.op in ("dot_general", "tanh")}
    assert {name.split(":")[-1] for name in lines} == {f"{line(embed, 'tanh')} (embed)"}


def test_a_model_of_ours_is_looked_into_where_the_package_is_installed_among_libraries(monkeypatch):
    monkeypatch.setattr(_lines, "_PACKAGES", (os.sep,))  # as if all files lay there
    assert _lines.in_library(np.__file__)
    assert not _lines.in_library(mlp.__file__)


def test_a_library_between_leaves_the_users_line():
    def loss(logits):
        return optax.losses.cosine_similarity(logits, jnp.array([1.0, 2.0]))  # mine

    nodes = [node for node in xray.xray(loss, jnp.array([3.0, 1.0])).nodes if node.line]
    assert {node.line.split(" ")[0].split(":")[-1] for node in nodes} == {str(line(loss, "mine"))}
    assert any("optax" in node.within for node in nodes)


def test_a_changed_closure_is_seen():
    global WEIGHT
    scale = 3.0

    def f(x):
        return WEIGHT * scale * x + jnp.array([1.0, 2.0])[0]

    before = WEIGHT
    (first,) = xray.xray(f, 1.5).grads
    try:
        WEIGHT = jnp.array(5.0)
        (second,) = xray.xray(f, 1.5).grads
    finally:
        WEIGHT = before
    scale = 4.0
    (third,) = xray.xray(f, 1.5).grads
    np.testing.assert_array_equal([first, second, third], [6.0, 15.0, 8.0])


def rule_of_jvp(slope):
    @jax.custom_jvp
    def double(x):
        return 2 * x

    double.defjvp(lambda primals, tangents: (double(*primals), slope() * tangents[0]))
    return double


def rule_of_vjp(slope):
    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (2 * x, None), lambda _, g: (slope() * g,))
    return double


def rule_of_gradient(slope):
    return jax.custom_gradient(lambda x: (2 * x, lambda g: slope() * g))


def rule_by_argument(slope):
    double = jax.custom_jvp(jax.nn.relu)  # a function of JAX, whose own rule is another
    double.defjvps(lambda tangent, output, x: slope() * tangent)
    return double


@pytest.mark.parametrize("make", [rule_of_jvp, rule_of_vjp, rule_of_gradient, rule_by_argument])
@pytest.mark.parametrize("around", [lambda f, x: f(x), lambda f, x: jax.lax.map(f, x[None])[0]])
def test_a_changed_rule_of_the_same_function_is_seen(make, around):
    slope, array = 2.0, jnp.ones(3)
    double = make(lambda: slope)

    def f(x):
        return around(double, x)

    (first,) = xray.xray(f, 1.5).grads
    slope = 3.0  # what the rule reads
    (second,) = xray.xray(f, 1.5).grads
    double = make(lambda: array[0] * 5)  # another rule
    (third,) = xray.xray(f, 1.5).grads
    array = 2 * jnp.ones(3)  # a constant of the rule
    (fourth,) = xray.xray(f, 1.5).grads
    np.testing.assert_array_equal([first, second, third, fourth], [2.0, 3.0, 5.0, 10.0])


def test_a_rule_made_anew_with_another_number_is_seen():
    slope = 2.0

    def f(x):
        number, double = slope, jax.custom_jvp(jax.nn.relu)
        double.defjvps(lambda tangent, output, x: number * tangent)
        return double(x)

    (first,) = xray.xray(f, 1.5).grads
    slope = 3.0
    (second,) = xray.xray(f, 1.5).grads
    np.testing.assert_array_equal([first, second], [2.0, 3.0])


def test_the_rules_of_jax_are_not_traced_at_each_call(monkeypatch):
    monkeypatch.setattr(_custom, "_rule", lambda eqn: pytest.fail("traced"))
    (slope,) = xray.xray(lambda x: jax.nn.relu(x) + jax.nn.silu(x), 1.5).grads
    assert slope > 1


def test_the_second_call_does_not_compile_again():
    traces = []

    def f(x):
        return jnp.sum(x * jnp.array([1.0, 2.0, 3.0]) + np.arange(3, dtype=np.float32))

    from chainrule.xray import program as module

    original = module.build
    try:
        module.build = lambda *args, **settings: traces.append(1) or original(*args, **settings)
        for x in (1.0, 2.0, 3.0):
            xray.xray(f, jnp.full(3, x))
        xray.xray(f, jnp.ones(3), compiled=False)
    finally:
        module.build = original
    assert len(traces) == 2


@pytest.mark.parametrize("compiled", [True, False])
def test_debug_nans_does_not_stop_it(compiled):
    with jax.debug_nans(True):
        report = xray.xray(lambda x: jnp.sqrt(x - 1), 0.5, compiled=compiled)
    assert [birth.op for birth in report.nonfinite().births] == ["sqrt"]


def test_a_transfer_guard_does_not_stop_it():
    def f(x):
        step = lambda c, a: (c + a * np.float32(2), None)  # noqa: E731
        return jnp.sum(jnp.log(x) * np.arange(3.0)) + jax.lax.scan(step, 0.0, x)[0]

    x = jnp.array([1.0, 2.0, 0.0])
    with jax.numpy_dtype_promotion("standard"), jax.transfer_guard("disallow"):
        report = xray.xray(f, x)
        assert report.nonfinite().births
        assert report.nonfinite().cures()
        assert "scan" in str(report)
        report.open(next(node for node in report.nodes if node.op == "scan"))
        xray.xray(f, x, keep="stats", compiled=False)


@pytest.mark.parametrize("compiled", [True, False])
def test_one_operator_is_not_rewritten_with_the_next(compiled):
    report = xray.xray(lambda x: jnp.log(jnp.exp(x)), 1000.0, compiled=compiled)
    assert [float(node.value) for node in report.nodes] == [1000.0, np.inf, np.inf]
    assert report.nonfinite().reaches == ("the result", "the gradient of x")


def test_a_nan_that_is_written_out_is_born_where_it_is_chosen():
    def f(x):
        return jnp.where(x > 0, x, jnp.nan).sum()

    found = xray.xray(f, jnp.array([1.0, -1.0])).nonfinite()
    assert [(birth.op, birth.kind, birth.index) for birth in found.births] == [
        ("select_n", "NaN", (1,))
    ]
    assert "the result" in found.reaches
    assert not xray.xray(f, jnp.array([1.0, 2.0])).nonfinite().births


def test_a_mask_of_minus_infinity_is_no_birth():
    def f(x):
        masked = jnp.where(jnp.array([True, False, True]), x, -jnp.inf)
        return (jax.nn.softmax(masked) ** 2).sum()

    found = xray.xray(f, jnp.array([1.0, 2.0, 3.0])).nonfinite()
    assert not found.births
    assert not found.reaches


def test_statistics_alone_do_not_name_an_overflow():
    found = xray.xray(lambda x: jnp.log(x).sum(), jnp.arange(30.0), keep="stats").nonfinite()
    assert "log is infinite or undefined" in found.births[0].cause.reason


def test_an_integer_result_needs_no_cotangent():
    def f(x):
        return {"square": x**2, "count": (x.size, x > 1)}

    given = {"square": jnp.array([1.0, 10.0]), "count": (None, None)}
    (gradient,) = xray.xray(f, jnp.array([3.0, 4.0]), cotangent=given).grads
    np.testing.assert_array_equal(gradient, [6.0, 80.0])


@pytest.mark.parametrize("size", [5, 2**16, 2**17 + 5])
def test_statistics_are_those_of_the_definitions(size):
    x = np.random.default_rng(0).normal(0.3, 1.0, size).astype(np.float32)
    x[::3] = 0
    x[1], x[-1] = np.nan, np.inf
    found = stats(jnp.asarray(x))
    finite = x[np.isfinite(x)].astype(np.float64)
    expected = [finite.min(), finite.mean(), finite.max(), np.linalg.norm(finite), np.mean(x == 0)]
    np.testing.assert_allclose(found[2:7], expected, rtol=1e-5)
    assert (found.shape, found.dtype, found.nans, found.infs) == ((size,), "float32", 1, 1)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_norms_neither_overflow_nor_vanish(scale):
    x = np.arange(-3, 4, dtype=np.float32) * np.float32(scale)
    assert stats(x).norm == pytest.approx(scale * np.sqrt(28), rel=1e-6)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.zeros((0, 3), np.float32), (0, 0, 0, 0, 0, 0, 0)),
        (np.full(3, np.nan), (np.inf, 0, -np.inf, 0, 0, 3, 0)),
        (jnp.array([3 + 4j, 0]), (0, 2.5, 5, 5, 0.5, 0, 0)),
        (jnp.array([1.5, -2.0], jnp.bfloat16), (-2, -0.25, 1.5, 2.5, 0, 0, 0)),
        (np.array([True, False]), (0, 0.5, 1, 1, 0.5, 0, 0)),
    ],
)
def test_statistics_of_unusual_arrays(x, expected):
    assert stats(x)[2:] == expected


def looping(x):
    return jax.lax.while_loop(lambda y: y < 10.0, lambda y: y * 2, x)


def test_a_gradient_of_which_a_part_is_unknown_is_unknown():
    report = xray.xray(lambda x, y: x * 2 + looping(jnp.sin(x)) + y, 3.0, 1.0)
    assert report.grads[0] is None
    assert report.grads[1] == 1.0
    assert "Reverse-mode" in report.node("while_5").note
    for name in ("x", "sin_4"):
        assert "would come through while_5" in report.node(name).note


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * looping(jax.lax.stop_gradient(x)),
        lambda x: (looping(x), x * 2)[1],
        lambda x: x * 2 + jnp.floor(looping(x)),
        lambda x: x * 3 + jax.lax.stop_gradient(looping(x)),
    ],
)
def test_a_loop_that_no_gradient_reaches_stops_nothing(f):
    assert xray.xray(f, 3.0).grads == (jax.grad(f)(3.0),)


@pytest.mark.parametrize("stop", [jax.lax.stop_gradient, jnp.round, jnp.floor, jnp.sign])
def test_a_derivative_that_jax_grad_never_computes_is_blamed_for_nothing(stop):
    def f(x):
        return jnp.sum(x * jnp.sqrt(stop(x)))

    report = xray.xray(f, jnp.zeros(3))
    np.testing.assert_array_equal(report.grads[0], jax.grad(f)(jnp.zeros(3)))
    assert report.node("sqrt_2").cotangent is None
    assert not report.nonfinite()


def test_an_operator_whose_rule_refuses_a_gradient_is_asked_for_none_behind_a_stop():
    @jax.custom_jvp
    def fixed(x):
        return 2 * x

    @fixed.defjvp
    def refuse(primals, tangents):
        raise AssertionError("this has no derivative")

    def f(x):
        return x * fixed(jax.lax.stop_gradient(x))

    assert xray.xray(f, 3.0).grads == (jax.grad(f)(3.0),)


def test_the_parts_of_a_value_that_is_also_a_result_add_up():
    report = xray.xray(
        lambda x: (jnp.sin(x), 2 * jnp.sin(x)), 0.5, cotangent=(np.float32(10), np.float32(3))
    )
    assert report.grads[0] == pytest.approx(16 * np.cos(0.5))

    def f(x):
        y = jnp.sin(x)
        return y, 2 * y

    report = xray.xray(f, 0.5, cotangent=(np.float32(10), np.float32(3)))
    uses = [edge for edge in report.edges if edge.source == report.node("sin_1").index]
    assert [(edge.target is None, float(edge.contribution)) for edge in uses] == [
        (False, 6.0),
        (True, 10.0),
    ]
    assert report.node("sin_1").cotangent == 16.0


def test_the_weight_of_a_recurrent_network_is_shared_by_its_steps():
    def rnn(weight, xs):
        def step(h, x):
            return jnp.tanh(weight * h + x), None

        return jax.lax.scan(step, jnp.float32(0.5), xs)[0]

    report = xray.xray(rnn, 0.7, jnp.array([0.1, -0.2, 0.4]))
    (shared,) = report.shared()
    parts = [edge.contribution for edge in shared.uses]
    # By hand: h' = tanh(w h + x), so that a step adds (dh_T / dh') (1 - h'^2) h.
    h, factors, states = 0.5, [], []
    for x in (0.1, -0.2, 0.4):
        states.append(h)
        h = np.tanh(0.7 * h + x)
        factors.append(1 - h**2)
    expected = [np.prod(factors[t:]) * 0.7 ** (2 - t) * states[t] for t in range(3)]
    np.testing.assert_allclose(parts, expected, rtol=1e-5)
    assert sum(parts) == pytest.approx(float(shared.node.cotangent))
    assert [text.rpartition(", ")[2] for text in shared.lines] == ["step 0", "step 1", "step 2"]
    assert "step 2: " in str(shared)


def test_a_nan_that_comes_from_a_later_step_is_not_born_again():
    def f(x):
        def step(c, a):
            return c + jnp.where(a > 0, jnp.sqrt(a * c), 0.0), None

        return jax.lax.scan(step, x, jnp.array([1.0, 0.0, 3.0]))[0]

    births = xray.xray(f, 5.0).nonfinite().births
    assert [(birth.op, birth.phase, birth.steps) for birth in births] == [
        ("sqrt", "backward", (1,))
    ]


def test_parameters_inputs_and_constants_are_told_apart():
    def loss(params, x, labels):
        return ((params["w"] * x - CONSTANT) ** 2)[labels]

    args = {"w": jnp.ones(2)}, jnp.ones(2), 1
    kinds = {node.label: node.kind for node in xray.xray(loss, *args).nodes}
    assert kinds["params['w']"] == "parameter"
    assert kinds["x"] == kinds["labels"] == "input"
    assert "constant" in kinds.values()
    kinds = {node.label: node.kind for node in xray.xray(loss, *args, argnums=1).nodes}
    assert (kinds["params['w']"], kinds["x"]) == ("input", "parameter")
