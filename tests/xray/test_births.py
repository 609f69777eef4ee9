"""What a birth is, and what becomes of it: decided by running the program with other numbers."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from chainrule import xray
from chainrule.xray.births import Nonfinite
from chainrule.xray.words import below

X = jnp.array([0.5, -1.5, 2.0])


def found(f, *args, **settings):
    return xray.xray(f, *args, **settings).nonfinite()


def line(function, text):
    lines, start = inspect.getsourcelines(function)
    return start + next(k for k, code in enumerate(lines) if text in code)


def told(nonfinite):
    return [(birth.op, birth.kind, birth.phase, birth.index) for birth in nonfinite.births]


# --- births that stand beside other bad numbers ---------------------------------------------------


def test_an_infinite_setting_of_a_custom_rule_hides_nothing():
    @jax.custom_vjp
    def capped_root(x, cap):
        return jnp.minimum(jnp.sqrt(x), cap)

    capped_root.defvjp(
        lambda x, cap: (capped_root(x, cap), x), lambda x, g: (g / (2 * jnp.sqrt(x)), 0.0 * g[0])
    )
    births = found(lambda x: jnp.sum(capped_root(x, jnp.inf)), X).births
    assert [(b.kind, b.phase, b.index) for b in births] == [("NaN", "forward", (1,))]
    births = found(lambda x: jnp.sum(capped_root(x, jnp.inf)), jnp.array([1.0, 0.0])).births
    assert [(b.op, b.kind, b.phase, b.index) for b in births] == [("div", "Inf", "backward", (1,))]


def test_a_matrix_of_a_batch_is_bad_of_its_own():
    matrices = jnp.stack([jnp.full((2, 2), jnp.nan), -jnp.eye(2), jnp.eye(2)])
    nonfinite = found(lambda m: jnp.sum(jnp.linalg.cholesky(m)), matrices)
    assert nonfinite.arguments == ("m",)
    births = [b for b in nonfinite.births if b.phase == "forward"]
    assert [(b.op, b.index[0], b.count) for b in births] == [
        ("cholesky", 1, 3)
    ]  # above the diagonal it is 0


def test_a_sum_overflows_beside_one_that_was_infinite():
    x = jnp.array([[jnp.inf, 0.0], [3e38, 3e38]])
    nonfinite = found(lambda x: jnp.sum(jnp.sum(x, axis=1)), x)
    assert told(nonfinite) == [("reduce_sum", "Inf", "forward", (1,))]


def test_what_comes_from_a_bad_number_is_not_born_again():
    x = jnp.array([1.0, jnp.nan, 4.0])
    nonfinite = found(lambda x: jnp.sum(jnp.sqrt(jnp.cumsum(jnp.exp(x) @ jnp.ones((3, 2))))), x)
    assert nonfinite.births == ()
    assert nonfinite.reaches == ("the result", "the gradient of x")


def test_inside_a_loop_each_step_is_told_apart():
    def f(x):
        def step(c, a):
            return c, jnp.linalg.cholesky(a * jnp.eye(2))[0, 0]

        return jnp.sum(jax.lax.scan(step, 0.0, x)[1])

    births = found(f, jnp.array([4.0, jnp.nan, 1.0, -1.0])).births
    assert [(b.op, b.steps) for b in births if b.phase == "forward"] == [("cholesky", (3,))]


# --- bad data -------------------------------------------------------------------------------------


def test_a_nan_in_the_data_is_named_with_its_index_and_where_it_enters_a_gradient():
    def f(w, x):
        y = w * x  # enters
        return jnp.sum(w * jnp.where(jnp.isnan(x), 0.0, y))

    nonfinite = found(f, jnp.ones(3), jnp.array([1.0, jnp.nan, 2.0]), argnums=0)
    (datum,) = nonfinite.data
    assert (datum.name, datum.kind, datum.index, datum.count) == ("x", "NaN", (1,), 1)
    assert datum.in_gradient
    assert f"test_births.py:{line(f, '# enters')} " in datum.line
    text = str(nonfinite)
    assert text.startswith(below(datum.line))
    assert "NaN in the data enters a gradient here: x at [1]" in text
    cured = lambda w, x: f(w, jnp.where(jnp.isnan(x), 0.0, x))  # noqa: E731
    assert not found(cured, jnp.ones(3), jnp.array([1.0, jnp.nan, 2.0]), argnums=0).reaches


def test_data_that_enters_no_gradient_is_named_where_it_is_used():
    def f(w, x):
        return jnp.sum(w) + jax.lax.stop_gradient(jnp.sum(x))  # used

    (datum,) = found(f, jnp.ones(2), jnp.array([[1.0, jnp.inf]])).data
    assert (datum.kind, datum.index, datum.in_gradient) == ("Inf", (0, 1), False)
    assert f"test_births.py:{line(f, '# used')} " in datum.line


# --- inside a rule --------------------------------------------------------------------------------


@jax.custom_vjp
def root(a):
    return a


def root_backward(a, g):
    slope = 2 * (a - a)
    return (g / slope,)  # divides


root.defvjp(lambda a: (a, a), root_backward)


def test_a_birth_in_a_backward_rule_is_named_by_its_operator():
    def f(a):
        return root(a) ** 2

    (birth,) = found(f, 2.0).births
    assert (birth.op, birth.kind, birth.phase) == ("div", "Inf", "backward")
    assert (birth.inputs, birth.cause.reason) == (("4", "0"), "division by 0")
    assert f"test_births.py:{line(root_backward, '# divides')} (root_backward)" in birth.line
    assert not birth.in_gradient


# --- what becomes of them -------------------------------------------------------------------------


def flags(nonfinite):
    return [(birth.op, birth.harmless, birth.lost) for birth in nonfinite.births]


def test_an_infinity_that_becomes_a_number_is_lost():
    def f(x):
        return jnp.sum(x / jnp.sqrt(jnp.mean(x * x)))

    x = jnp.array([300.0, 1.0, 2.0], jnp.float16)
    nonfinite = found(f, x)
    assert nonfinite.reaches == ()
    assert flags(nonfinite)[0] == ("mul", False, True)
    assert "lost: it became a finite number" in str(nonfinite.births[0])
    assert "values were lost on the way" in str(nonfinite)
    assert "harmless" not in str(nonfinite)


def test_a_minimum_that_passes_over_an_infinity_has_lost_nothing():
    nonfinite = found(lambda x: jnp.sum(jnp.minimum(jax.lax.stop_gradient(1 / x), 3.0)), X * 0)
    assert flags(nonfinite) == [("div", False, False)]


def test_one_of_two_is_harmless():
    def f(x):
        masked = jnp.where(x > 0, jax.lax.stop_gradient(1 / x), 0.0)
        return jnp.sum(masked) + jnp.log(x[0])

    nonfinite = found(f, jnp.zeros(3))
    assert flags(nonfinite) == [("div", True, False), ("log", False, False)]
    assert ["masked, harmless" in str(birth) for birth in nonfinite.births] == [True, False]
    assert "the result" in nonfinite.reaches
    assert str(nonfinite).startswith(below(nonfinite.births[1].line))


def test_two_that_both_reach_the_result_excuse_each_other_not():
    nonfinite = found(lambda x: jnp.sum(jnp.sqrt(x)) + jnp.sum(jnp.log(x)), -jnp.ones(2))
    assert flags(nonfinite) == [("sqrt", False, False), ("log", False, False)]


@pytest.mark.parametrize("rejected", [True, False])
def test_what_is_born_in_a_loop_is_judged_too(rejected):
    def f(x):
        def step(c, a):
            return c + a, 1 / jax.lax.stop_gradient(a)

        quotients = jax.lax.scan(step, 0.0, x)[1]
        return jnp.sum(x) + jnp.sum(jnp.where(x > 0, quotients, 0.0) if rejected else 1 / quotients)

    nonfinite = found(f, jnp.array([4.0, 0.0]))
    assert flags(nonfinite) == [("div", rejected, False)]  # 1 / inf = 0 is the limit
    assert nonfinite.births[0].steps == (1,)
    assert nonfinite.reaches == ()


def test_with_statistics_only_nothing_is_called_harmless():
    def f(x):
        return jnp.sum(jnp.where(x > 0, jax.lax.stop_gradient(1 / x), 0.0))

    nonfinite = found(f, jnp.zeros(3), keep="stats")
    assert flags(nonfinite) == [("div", False, False)]
    assert "unknown, as only statistics are kept" in str(nonfinite)


def test_the_text_follows_from_what_reaches_the_end():
    nonfinite = Nonfinite((), (), ("the gradient of x",), compiled=True)
    assert nonfinite
    assert "not finite in the end: the gradient of x" in str(nonfinite)
    assert "every value and every gradient is finite" not in str(nonfinite)


# --- the where trap -------------------------------------------------------------------------------


def test_the_where_that_rejects_the_element_is_named():
    def f(x):
        root = jnp.sqrt(x)
        other = jnp.where(x < 5, x, 7.0)
        root = 2 * root + 1
        return jnp.sum(jnp.where(x > 1, root, 0.0)) + jnp.sum(other)  # the trap

    (birth,) = found(f, jnp.array([4.0, 0.0])).births
    where = f"test_births.py:{line(f, '# the trap')}"
    assert f"the where trap: the branch that jnp.where at {where} did not" in birth.cause.reason


def test_a_choice_that_is_made_by_the_number_itself_counts():
    def f(x):
        deviation = jnp.std(x)
        return jnp.sum((x - jnp.mean(x)) / jnp.where(deviation == 0, 1.0, deviation))

    births = found(f, jnp.ones(3)).births
    assert any("the where trap" in birth.cause.reason for birth in births)


@pytest.mark.parametrize(
    "f",
    [
        lambda p: jax.nn.logsumexp(jnp.log(p) + jnp.arange(3.0)),  # a where inside JAX
        lambda p: jnp.sum(jnp.sqrt(p) * jnp.array([0.0, 1.0, 1.0])) + jnp.where(p[1] > 0, p[2], 0),
    ],
)
def test_no_other_where_is_blamed(f):
    nonfinite = found(f, jnp.array([0.0, 0.4, 0.6]))
    assert nonfinite.reaches == ("the gradient of p",)
    assert "where trap" not in "".join(birth.cause.reason for birth in nonfinite.births)


def test_where_there_is_one_root_only_nothing_is_run(monkeypatch):
    def f(params, x):
        x = jnp.log(x)
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return jnp.sum(x)

    report = xray.xray(f, [0.1 * jnp.eye(8)] * 3, jnp.zeros((4, 8)))
    monkeypatch.setattr("chainrule.xray.nonfinite.judge", None)
    births = report.nonfinite().births
    assert [birth.op for birth in births if not birth.follows] == ["log"]


def test_a_comparison_with_an_infinity_depends_on_it_and_is_not_called_harmless():
    def f(x):
        return jnp.sum((jnp.arctanh(x) > 0.25).astype(x.dtype) + x)

    nonfinite = found(f, jnp.array([0.5, 1.0]))
    assert flags(nonfinite)[0] == ("atanh", False, False)
    assert "finite in the end, but depends on what is bad on the way" in str(nonfinite)


def test_what_follows_from_a_written_infinity_alone_is_tried_out_too():
    def f(x):
        rows = jax.nn.log_softmax(jnp.where(jax.lax.stop_gradient(x) > 0, x, -jnp.inf))
        return jnp.sum(jnp.where(jnp.array([[True], [False]]), jax.lax.stop_gradient(rows), 0.0))

    nonfinite = found(f, jnp.array([[1.0, 2.0], [-1.0, -2.0]]))
    assert flags(nonfinite) == [("sub", True, False)]
    assert nonfinite.births[0].follows


def test_the_line_of_a_function_that_a_library_calls_is_its_own():
    def body(x):
        return jnp.log(x)  # in the body

    def f(x):
        return jnp.sum(jax.lax.map(body, x))

    (birth,) = [b for b in found(f, jnp.array([1.0, 0.0])).births if b.phase == "forward"]
    assert f"test_births.py:{line(body, '# in the body')} " in birth.line
    assert birth.line.endswith(".body)")


def test_what_was_in_the_data_stands_before_what_is_harmless():
    def f(x, z):
        masked = jnp.where(z > 0, jnp.log(jax.lax.stop_gradient(z)), 0.0)
        return jnp.sum(masked) + jnp.sum(x * x)

    found = xray.xray(f, jnp.array([jnp.nan, 1.0]), jnp.array([0.0, 1.0])).nonfinite()
    assert [birth.harmless for birth in found.births] == [True]
    assert found.ordered == (*found.data, *found.births)
    assert "NaN in the data" in str(found).splitlines()[1]


def test_a_file_below_the_working_folder_is_named_from_there(monkeypatch, tmp_path):
    birth = found(lambda x: jnp.log(x), 0.0).births[0]
    folder, _, name = birth.line.rpartition("/xray/")
    monkeypatch.chdir(folder)
    assert str(birth).startswith(f"xray/{name}\n")
    monkeypatch.chdir(tmp_path)
    assert str(birth).startswith(f"{birth.line}\n")


# --- what stays inside loops ----------------------------------------------------------------------


def hidden(w, x):
    def step(c, a):
        bad = jnp.log(jax.lax.stop_gradient(a) * 0)  # inside
        return c * w + jnp.where(a > -9, a, bad), None

    return jax.lax.scan(step, 0.0, x)[0]


def test_what_is_born_in_a_loop_and_never_leaves_it_is_found():
    nonfinite = found(hidden, 0.5, X)
    assert flags(nonfinite) == [("log", True, False)]
    assert f"test_births.py:{line(hidden, '# inside')} " in nonfinite.births[0].line
    assert nonfinite.reaches == ()

    def lost(x):
        return jax.lax.scan(lambda c, a: (c + 1 / jnp.exp(a * 200), None), 0.0, x)[0]

    nonfinite = found(lost, jnp.abs(X), gradients=False)
    assert [birth.op for birth in nonfinite.births] == ["exp"]
    assert "every value and every gradient is finite" not in str(nonfinite)


def test_what_was_not_looked_into_is_not_said_to_be_finite(monkeypatch):
    def nested(w, x):
        inner = lambda c, a: jax.lax.fori_loop(0, 2, lambda i, c: c * w + a, c)  # noqa: E731
        return jax.lax.scan(lambda c, a: (inner(c, a), None), 0.0, x)[0]

    assert "but for what stays inside scan_4 in scan_3" in str(found(nested, 0.5, X))
    assert "but for what stays inside scan_3" in str(found(hidden, 0.5, X, keep="stats"))
    monkeypatch.setattr("chainrule.xray.bodies._LARGEST", 64)
    assert "but for what stays inside scan_3" in str(found(hidden, 0.5, X))


def test_in_a_loop_nothing_is_born_of_a_gradient_that_was_not_asked_for():
    def f(w, x):
        return jax.lax.scan(lambda c, a: (c * w + jnp.sqrt(a), None), 0.0, x)[0]

    assert not found(f, 0.5, jnp.zeros(3), argnums=0)
    births = found(f, 0.5, jnp.zeros(3)).births
    assert [(birth.op, birth.phase) for birth in births] == [("sqrt", "backward")]


def test_a_rule_that_asks_for_the_devices_around_it_is_not_opened():
    automatic = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("i",), axis_types=automatic)
    rows = jax.sharding.PartitionSpec("i")

    def f(x):
        def log_volume(x):
            return jnp.linalg.slogdet(x)[1]

        y = jax.shard_map(log_volume, mesh=mesh, in_specs=rows, out_specs=rows)(x)
        return jnp.sum(jnp.where(jnp.array([False, True]), y, 0.0))

    births = found(f, jnp.array([[[1.0, 2.0], [2.0, 4.0]], [[2.0, 0.5], [0.5, 1.0]]])).births
    assert (births[0].op, births[0].kind) == ("log", "Inf")
    assert births[0].line.partition(" (")[0].endswith(f":{line(f, 'slogdet')}")
