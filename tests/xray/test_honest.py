"""What a record must never do: lie about what ran, where it stands, or that all is well."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import xray
from chainrule.xray.stats import measure, measure_in_parts

WEIGHT = jnp.array(2.0)


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
    assert "log is infinite or undefined" in found.births[0].cause.rule


def test_an_integer_result_needs_no_cotangent():
    def f(x):
        return {"square": x**2, "count": (x.size, x > 1)}

    given = {"square": jnp.array([1.0, 10.0]), "count": (None, None)}
    (gradient,) = xray.xray(f, jnp.array([3.0, 4.0]), cotangent=given).grads
    np.testing.assert_array_equal(gradient, [6.0, 80.0])


@pytest.mark.parametrize("size", [5, 2**17, 2**17 + 5])
def test_statistics_in_parts_are_those_of_the_whole(size):
    x = np.random.default_rng(0).normal(0.3, 1.0, size).astype(np.float32)
    x[::3] = 0
    x[1], x[-1] = np.nan, np.inf
    found = np.asarray(measure_in_parts(jnp.asarray(x)))
    np.testing.assert_allclose(found, measure(x), rtol=1e-5)
    finite = x[np.isfinite(x)].astype(np.float64)
    expected = [finite.min(), finite.mean(), finite.max(), np.linalg.norm(finite)]
    np.testing.assert_allclose(found, [*expected, np.mean(x == 0), 1, 1], rtol=1e-5)
