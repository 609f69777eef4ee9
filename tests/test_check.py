import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from chainrule.check import check_gradients
from chainrule.ops import activations, backward_of, elementary


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# A network of one hidden layer with a square weight, used twice: x -> tanh(W x + b) -> W again.


def reference(params, inputs, probes):
    first = inputs @ params["kernel"] + params["bias"][None, :] + probes["first"]
    second = jnp.tanh(first) @ params["kernel"] + params["bias"][None, :] + probes["second"]
    return jnp.sum(second**2)


def by_hand(params, inputs, probes, *, slip=""):
    kernel, bias = params["kernel"], params["bias"][None, :]
    hidden = jnp.tanh(inputs @ kernel + bias)
    factor = 2.001 if slip == "2.001 for 2" else 2
    g_second = factor * (hidden @ kernel + bias)
    g_hidden = g_second @ (kernel if slip == "transposed weight" else kernel.T)
    g_first = g_hidden * (1 - hidden**2)
    g_kernel = inputs.T @ g_first
    if slip == "= for +=":
        g_kernel = hidden.T @ g_second
    else:
        g_kernel += hidden.T @ g_second
    g_bias = g_first.sum(axis=0) + g_second.sum(axis=0)
    if slip == "dropped bias":
        g_bias = jnp.zeros_like(g_bias)
    g_inputs = g_first @ kernel.T
    if slip == "one element":
        g_inputs = g_inputs.at[2, 1].multiply(1.0001)
    grads = {"kernel": g_kernel, "bias": g_bias}
    return grads, g_inputs, {"first": g_first, "second": g_second}


POINT = (
    {"kernel": normal(0, 3, 3), "bias": normal(1, 3)},
    normal(2, 4, 3),
    {"first": np.zeros((4, 3), np.float32), "second": np.zeros((4, 3), np.float32)},
)


def wrong(report):
    return {row.name for row in report.rows if row.verdict == "wrong"}


def test_a_right_gradient_is_equal_for_every_parameter_and_intermediate():
    report = check_gradients(by_hand, reference, *POINT)
    assert report.verdict == "equal"
    assert [row.name for row in report.rows] == [
        "params.bias",
        "params.kernel",
        "inputs",
        "probes.first",
        "probes.second",
    ]
    for row in report.rows:
        assert row.max_abs < 1e-12
        assert row.differenced == np.prod(row.shape)
        np.testing.assert_allclose(row.difference, row.autodiff, rtol=1e-6)
        np.testing.assert_allclose(row.by_hand, row.autodiff, rtol=1e-12)


@pytest.mark.parametrize(
    ("slip", "expected"),
    [
        (
            "2.001 for 2",
            {"params.bias", "params.kernel", "inputs", "probes.first", "probes.second"},
        ),
        ("dropped bias", {"params.bias"}),
        ("transposed weight", {"params.bias", "params.kernel", "inputs", "probes.first"}),
        ("= for +=", {"params.kernel"}),
        ("one element", {"inputs"}),
    ],
)
def test_a_planted_error_is_wrong_where_it_was_planted_and_nowhere_else(slip, expected):
    report = check_gradients(functools.partial(by_hand, slip=slip), reference, *POINT)
    assert report.verdict == "wrong"
    assert wrong(report) == expected
    assert {row.verdict for row in report.rows} <= {"equal", "wrong"}


def test_the_worst_element_is_named_with_its_three_numbers():
    report = check_gradients(functools.partial(by_hand, slip="one element"), reference, *POINT)
    (row,) = (row for row in report.rows if row.verdict == "wrong")
    assert row.worst == (2, 1)
    np.testing.assert_allclose(row.max_rel, 1e-4, rtol=1e-3)
    np.testing.assert_allclose(row.by_hand, 1.0001 * row.autodiff, rtol=1e-9)
    np.testing.assert_allclose(row.difference, row.autodiff, rtol=1e-6)
    np.testing.assert_allclose(row.max_abs, 1e-4 * abs(row.autodiff), rtol=1e-3)


def test_an_error_is_found_though_only_one_element_is_differenced():
    slip = functools.partial(by_hand, slip="one element")
    report = check_gradients(slip, reference, *POINT, max_differences=1)
    assert wrong(report) == {"inputs"}
    assert {row.differenced for row in report.rows} == {1}
    # The element that is not a number is the worst.
    report = check_gradients(
        lambda x: (2 * x).at[3].set(jnp.nan).at[1].set(9.0),
        lambda x: jnp.sum(x**2),
        jnp.arange(5.0),
        max_differences=1,
    )
    assert (report.rows[0].worst, round(report.rows[0].difference)) == ((3,), 6)


def test_without_differences_jax_grad_is_the_only_judge():
    stop = jax.lax.stop_gradient
    rows = [
        check_gradients(mine, lambda x: stop(x) * x, 3.0, max_differences=0).rows[0]
        for mine in (lambda x: x, lambda x: 2 * x)
    ]
    assert [row.verdict for row in rows] == ["equal", "wrong"]
    assert all(np.isnan(row.difference) and row.differenced == 0 for row in rows)


def test_a_gradient_computed_in_float32_is_rounding():
    def single(*args):
        return by_hand(*jax.tree.map(lambda leaf: leaf.astype(jnp.float32), args))

    report = check_gradients(single, reference, *POINT)
    assert {row.verdict for row in report.rows} == {"rounding"}
    assert all(0 < row.max_abs < 1e-4 for row in report.rows)
    assert report.verdict == "rounding"


def test_what_cancels_in_float32_is_rounding_by_the_largest_of_its_array():
    offsets = jnp.array([333.33334, -500.0])

    def mine(x):
        return x.astype(jnp.float32) / 3 - offsets

    def potential(x):
        return jnp.sum(x**2 / 6 - offsets * x)

    (row,) = check_gradients(mine, potential, jnp.array([1000.0, 2.0])).rows
    assert row.verdict == "rounding"
    assert row.max_rel == 1  # the first is 0 where it should be -1e-5


def test_a_gradient_with_a_constant_of_float32_is_rounding():
    third = jnp.float32(1 / 3)
    report = check_gradients(
        lambda x: third * x**2, lambda x: jnp.sum(x**3) / 9, jnp.arange(1, 4.0)
    )
    assert report.verdict == "rounding"


# Corners. The function and a rule that is right there by some convention.

SIGNED = jnp.array([-1.0, 0.0, 2.0, 0.0])
KINKS = {
    "relu, slope 0 at 0": (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x > 0) * 1.0, SIGNED),
    "relu, slope 1 at 0": (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x >= 0) * 1.0, SIGNED),
    "relu, between them": (
        lambda x: jnp.sum(jax.nn.relu(x)),
        lambda x: jnp.where(x == 0, 0.3, x > 0),
        SIGNED,
    ),
    "jnp.maximum gives half": (
        lambda x: jnp.sum(jnp.maximum(x, 0)),
        lambda x: (x > 0) * 1.0,
        SIGNED,
    ),
    "absolute value": (lambda x: jnp.sum(jnp.abs(x)), jnp.sign, SIGNED),
    "step": (
        lambda x: jnp.sum(activations.step(x)),
        lambda x: activations.step_backward(jnp.ones_like(x), x),
        SIGNED,
    ),
    "maxout at a tie": (
        lambda x: jnp.sum(activations.maxout(x)),
        lambda x: activations.maxout_backward(jnp.ones(2), x),
        jnp.array([2.0, 2.0, 1.0, 3.0]),
    ),
    "the maximum at a tie of three, to the last": (
        jnp.max,
        lambda x: jnp.array([0.0, 0.0, 0.0, 1.0]),
        jnp.array([2.0, 1.0, 2.0, 2.0]),
    ),
    # Two corners that hide each other: the function is w, and every convention says 0 or 1/2 + 1/2.
    "relu(w) - relu(-w)": (
        lambda w: jax.nn.relu(w) - jax.nn.relu(-w),
        lambda w: 0 * w,
        jnp.array(0.0),
    ),
    "close by": (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x > 0) * 1.0, jnp.array([1e-9])),
}


@pytest.mark.parametrize(("function", "rule", "point"), KINKS.values(), ids=KINKS)
def test_a_rule_that_is_right_at_a_corner_is_not_called_wrong(function, rule, point):
    report = check_gradients(rule, function, point)
    assert report.verdict == "kink", str(report)


@pytest.mark.parametrize(
    ("function", "rule", "point"),
    [
        (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x > 0) * 1.001, SIGNED),
        (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x >= 0) * 1.0 + (x == 0) * 0.5, SIGNED),
        (lambda x: jnp.sum(jax.nn.relu(x)), lambda x: (x > 0) - (x == 0) * 0.1, SIGNED),
        (jnp.max, lambda x: jnp.array([1.0, 1.0]), jnp.array([2.0, 1.0])),
        (lambda x: jnp.sum(jnp.abs(x)), lambda x: 2.0 * jnp.sign(x), SIGNED),
    ],
)
def test_a_wrong_rule_is_wrong_beside_and_at_a_corner(function, rule, point):
    assert check_gradients(rule, function, point).verdict == "wrong"


def test_a_network_that_starts_at_zero_has_kinks_and_no_wrong_gradients():
    # All sums are 0, and one step in a weight moves the samples to both sides of their corners.
    def loss(kernel, bias):
        return jnp.sum(weights * activations.relu(inputs @ kernel + bias[None, :]))

    def mine(kernel, bias):
        g = activations.relu_backward(weights, inputs @ kernel + bias[None, :])
        return inputs.T @ g, g.sum(axis=0)

    inputs, weights = jnp.asarray(normal(0, 6, 3)), jnp.asarray(normal(1, 6, 4))
    report = check_gradients(mine, loss, np.zeros((3, 4)), np.zeros(4))
    assert [row.verdict for row in report.rows] == ["kink", "kink"]


def test_where_the_corner_is_symmetric_the_three_columns_agree():
    # The central difference of a norm at the origin is 0, and so is the gradient that we chose.
    report = check_gradients(
        lambda x: elementary.norm_backward(jnp.array(1.0), x), elementary.norm, jnp.zeros(3)
    )
    assert report.verdict == "equal"


@pytest.mark.parametrize("operator", [elementary.maximum, elementary.multiply, elementary.add])
def test_the_gates_at_a_tie(operator):
    x, y, g = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 3.0, 2.0]), jnp.array([2.0, -1.0, 5.0])
    report = check_gradients(
        lambda x, y: backward_of(operator)(g, x, y), lambda x, y: jnp.sum(g * operator(x, y)), x, y
    )
    assert report.verdict == ("kink" if operator is elementary.maximum else "equal")


@pytest.mark.parametrize("x", [1e-5, 1e-3, 30.0])
def test_a_strong_bend_is_no_corner(x):
    report = check_gradients(lambda x: 1 / x, lambda x: jnp.sum(jnp.log(x)), jnp.array([x]))
    assert report.verdict == "equal", str(report)


def test_agreeing_with_jax_and_not_with_the_function_is_wrong():
    stop = jax.lax.stop_gradient
    report = check_gradients(
        lambda x: 0 * x, lambda x: jnp.sum(stop(x) ** 2), jnp.array([3.0, 4.0])
    )
    (row,) = report.rows
    assert (row.verdict, row.by_hand, row.autodiff) == ("wrong", 0, 0)
    np.testing.assert_allclose(row.difference, 8, rtol=1e-6)


def test_a_wrong_rule_that_jax_was_told_is_wrong():
    @jax.custom_jvp
    def cube(x):
        return x**3

    cube.defjvp(lambda primals, tangents: (cube(*primals), 2 * primals[0] ** 2 * tangents[0]))
    for rule in (lambda x: 2 * x**2, lambda x: 3 * x**2):  # JAX's mistake, and the truth
        report = check_gradients(rule, lambda x: jnp.sum(cube(x)), jnp.array([1.0, -2.0]))
        assert report.verdict == "wrong"
        np.testing.assert_allclose(report.rows[0].difference, 12, rtol=1e-6)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_what_is_not_finite_is_wrong_even_where_jax_agrees(value):
    report = check_gradients(lambda x: jnp.array([value, 1.0]), jnp.sum, jnp.ones(2))
    assert report.rows[0].verdict == "wrong"
    assert report.rows[0].worst == (0,)
    assert report.rows[0].note == "not finite"
    origin = check_gradients(
        lambda x: elementary.plain_norm_backward(jnp.array(1.0), x),
        elementary.plain_norm,
        jnp.zeros(2),
    )
    assert origin.verdict == "wrong"


def test_a_gradient_that_is_missing_or_has_another_shape_or_name_is_wrong():
    params = {"kernel": normal(0, 2, 3), "bias": normal(1, 3)}

    def loss(params):
        return jnp.sum(params["kernel"] ** 2) + jnp.sum(params["bias"] ** 2)

    def notes(mine):
        return {row.name: row.note for row in check_gradients(mine, loss, params).rows if row.note}

    assert notes(lambda p: {"kernel": 2 * p["kernel"]}) == {"params.bias": "no gradient given"}
    assert notes(lambda p: {"kernel": 2 * p["kernel"], "bias": None}) == {
        "params.bias": "no gradient given"
    }
    assert notes(lambda p: {"kernel": 2 * p["kernel"].T, "bias": 2 * p["bias"]}) == {
        "params.kernel": "the gradient given is (3, 2)"
    }
    assert notes(lambda p: {"kernel": 2 * p["kernel"], "bias": 2 * p["bias"], "b": p["bias"]}) == {
        "params.b": "the gradient of what is no argument"
    }


def test_integer_arguments_have_no_row_and_their_gradient_is_none():
    def loss(x, index):
        return x[index] ** 2

    report = check_gradients(
        lambda x, index: (jnp.zeros_like(x).at[index].set(2 * x[index]), None),
        loss,
        jnp.array([1.0, -3.0, 2.0]),
        1,
    )
    assert [row.name for row in report.rows] == ["x"]
    assert report.verdict == "equal"


def test_the_gradient_of_an_integer_is_none_and_any_other_is_wrong():
    def compare(by_index):
        return check_gradients(lambda x, i: (2.0 * x, by_index(i)), lambda x, i: x**2, 3.0, 1)

    assert compare(lambda i: None).verdict == "equal"
    assert compare(lambda i: np.zeros((), jax.dtypes.float0)).verdict == "equal"
    assert compare(lambda i: jnp.array(999.0)).rows[1].note == "the gradient of integers: give None"
    assert compare(lambda i: jnp.array(999.0)).verdict == "wrong"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((jnp.array([1j, 2.0]),), r"argument z complex64: give the real and the imaginary part"),
        ((1j,), r"z complex128: give the real"),
        ((jnp.arange(3),), r"no argument holds a floating-point number: z int32"),
        ((True,), r"holds a floating-point number: z bool"),
        (("x",), r"argument must be an array of numbers, not a str"),
        ((10**30,), r"argument 10{30}: an int must fit into 64 bits"),
    ],
)
def test_a_point_with_nothing_to_compare_is_refused_and_not_equal(args, message):
    with pytest.raises(ValueError, match=message):
        check_gradients(lambda z: 999 * z, lambda z: jnp.sum(jnp.abs(z) ** 2.0), *args)


def test_no_arguments_are_refused_and_not_equal():
    with pytest.raises(
        ValueError, match="no argument holds a floating-point number: there is none"
    ):
        check_gradients(lambda: (), lambda: jnp.array(1.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_differences": -1}, "max_differences must be an int of at least 0, not -1"),
        ({"max_differences": 2.5}, r"not 2\.5"),
        ({"mine": 3}, "mine must be a function of the arguments, not an int"),
        ({"reference": None}, "reference must be a function of the arguments, not a NoneType"),
        ({"reference": lambda x: (x, {})}, "reference returns tuple of shape None"),
        ({"reference": lambda x: 1j * x}, r"reference returns complex128 of shape \(\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_functions_and_settings_of_another_kind_are_refused(settings, message):
    whole = {"mine": lambda x: x, "reference": lambda x: x**2 / 2} | settings
    mine, reference = whole.pop("mine"), whole.pop("reference")
    with pytest.raises(ValueError, match=message):
        check_gradients(mine, reference, 1.0, **whole)


# The tolerances, from both sides: 1e-5 and 100 units of the dtype that `mine` returns against
# jax.grad, 1e-6 and 1e-8 of the largest against the differences.


@pytest.mark.parametrize(("error", "verdict"), [(0.9e-5, "rounding"), (3e-5, "wrong")])
def test_against_autodiff_an_element_may_be_off_by_1e_5_of_itself(error, verdict):
    report = check_gradients(
        lambda x: x * (1 + error), lambda x: jnp.sum(x**2) / 2, jnp.ones(3), max_differences=0
    )
    assert report.verdict == verdict


@pytest.mark.parametrize(("units", "verdict"), [(50, "rounding"), (300, "wrong")])
def test_against_autodiff_an_element_may_be_off_by_100_units_of_the_largest(units, verdict):
    slopes = jnp.array([1.0, 0.0])
    off = slopes.at[1].set(units * jnp.finfo(jnp.float32).eps)
    report = check_gradients(
        lambda x: off.astype(jnp.float32), lambda x: slopes @ x, jnp.zeros(2), max_differences=0
    )
    assert report.verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(0.8e-6, "rounding"), (3e-6, "wrong")])
def test_against_differences_an_element_may_be_off_by_1e_6_of_itself(error, verdict):
    report = check_gradients(lambda x: (1 + error) * jnp.ones(2), jnp.sum, jnp.zeros(2))
    assert report.verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(0.5e-8, "rounding"), (3e-8, "wrong")])
def test_against_differences_an_element_may_be_off_by_1e_8_of_the_largest(error, verdict):
    slopes = jnp.array([1.0, 0.0])
    off = slopes.at[1].set(error).astype(jnp.float32)
    report = check_gradients(lambda x: off, lambda x: slopes.astype(x.dtype) @ x, jnp.zeros(2))
    assert report.verdict == verdict


def test_a_program_that_branches_on_values_can_be_checked():
    # The notes' loop whose length depends on the data, with a weight shared by its rounds.
    def loss(w, x):
        while abs(x) < 10:
            x = w * x
        return x

    def mine(w, x):
        rounds, y = 0, x
        while abs(y) < 10:
            y, rounds = w * y, rounds + 1
        return rounds * w ** (rounds - 1) * x, w**rounds

    assert check_gradients(mine, loss, 2.0, 3.0).verdict == "equal"
    assert check_gradients(lambda w, x: (x, w), loss, 2.0, 3.0).verdict == "wrong"


def test_no_arguments_by_name_are_counted():
    report = check_gradients(lambda *xs: xs, lambda *xs: sum(x**2 for x in xs) / 2, 1.0, 2.0)
    assert [row.name for row in report.rows] == ["args[0]", "args[1]"]
    assert report.verdict == "equal"


def test_an_empty_array_has_nothing_to_be_wrong():
    report = check_gradients(lambda x: x, jnp.sum, jnp.zeros((0, 3)))
    assert report.verdict == "equal"


def test_the_arguments_and_the_precision_outside_stay_as_they_are():
    before = jax.tree.map(np.array, POINT)
    check_gradients(by_hand, reference, *POINT)
    jax.tree.map(np.testing.assert_array_equal, before, POINT)
    assert jnp.ones(1).dtype == jnp.float32


def test_the_table_shows_all_columns():
    report = check_gradients(functools.partial(by_hand, slip="dropped bias"), reference, *POINT)
    lines = str(report).splitlines()
    for column in ("verdict", "max abs", "max rel", "worst at", "by hand", "jax.grad"):
        assert column in lines[0]
    assert len(lines) == 6
    bias = report.rows[0]
    assert lines[1].split()[:4] == ["params.bias", "[3]", "wrong", f"{bias.max_abs:.1e}"]
    assert f"{bias.autodiff:.5g}" in lines[1]
    assert lines[1].split()[-1] == "3/3"
    console = rich.console.Console(record=True, width=200, file=io.StringIO())
    console.print(report)
    assert console.export_text().split() == str(report).split()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(
        ValueError, match=r"reference returns float64 of shape \(2,\): it must be a"
    ):
        check_gradients(lambda x: x, lambda x: x, jnp.ones(2))
    with pytest.raises(ValueError, match="mine returns 1, and there are 2 arguments"):
        check_gradients(lambda x, y: (y,), lambda x, y: x * y, 1.0, 2.0)
    with pytest.raises(ValueError, match="mine returns dict, and there are 2 arguments"):
        check_gradients(lambda x, y: {"x": y}, lambda x, y: x * y, 1.0, 2.0)


# The table of PyTorch's terms in the docstring, each line of it.


def test_a_gradient_is_returned_and_accumulates_by_adding():
    def loss(w, x):
        return jnp.mean((x @ w) ** 2)

    w, x = jnp.asarray(normal(0, 3)), jnp.asarray(normal(1, 8, 3))
    whole = jax.grad(lambda w: loss(w, x[:4]) + loss(w, x[4:]))(w)
    parts = [jax.grad(loss)(w, x[:4]), jax.grad(loss)(w, x[4:])]
    np.testing.assert_allclose(whole, parts[0] + parts[1], rtol=1e-5)
    # Equal halves: the mean over the whole batch is half of that.
    np.testing.assert_allclose(jax.grad(loss)(w, x), whole / 2, rtol=1e-5)
    # Asked twice, it is the same: nothing was stored.
    np.testing.assert_array_equal(jax.grad(loss)(w, x), jax.grad(loss)(w, x))


def test_several_arguments_give_a_tuple_and_several_outputs_a_sum():
    def loss(a, b):
        return jnp.sum(a**2) + jnp.sum(jnp.log(b))

    a, b = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0])
    by_a, by_b = jax.jit(jax.grad(loss, argnums=(0, 1)))(a, b)
    np.testing.assert_allclose(by_a, [2, 4, 8])
    np.testing.assert_allclose(by_b, [0.1, 0.05])
    outputs, pull = jax.vjp(lambda a: a**3, a)
    np.testing.assert_array_equal(outputs, [1, 8, 64])
    np.testing.assert_allclose(pull(jnp.ones(3))[0], [3, 12, 48])
    np.testing.assert_allclose(jax.jit(jax.grad(lambda a: jnp.sum(a**3)))(a), [3, 12, 48])


def test_stop_gradient_detaches():
    def loss(a, b):
        return a**2 + (jax.lax.stop_gradient(a) - b) ** 2

    assert jax.grad(loss, argnums=(0, 1))(3.0, 1.0) == (6.0, -4.0)


def test_a_gradient_has_a_gradient():
    derivatives = [jnp.sin]
    for _ in range(4):
        derivatives.append(jax.grad(derivatives[-1]))
    x = 0.7
    expected = [np.sin(x), np.cos(x), -np.sin(x), -np.cos(x), np.sin(x)]
    np.testing.assert_allclose([f(x) for f in derivatives], expected, rtol=1e-6)


def test_nothing_can_be_changed_between_forward_and_backward():
    # sin, then += 1, then *= y: what the way back needs, sin(x) + 1, is not overwritten.
    def function(x, y):
        z = jnp.sin(x)
        kept = z
        z += 1
        z *= y
        return z, kept

    x, y = 0.5, 3.0
    (z, kept), pull = jax.vjp(function, x, y)
    np.testing.assert_allclose([z, kept], [3 * (np.sin(x) + 1), np.sin(x)], rtol=1e-6)
    np.testing.assert_allclose(pull((1.0, 0.0)), [3 * np.cos(x), np.sin(x) + 1], rtol=1e-6)
    with pytest.raises(TypeError, match="immutable"):
        jnp.ones(3)[0] = 2.0


def test_an_integer_has_no_gradient():
    with pytest.raises(TypeError, match="real- or complex-valued"):
        jax.grad(lambda n: 2.0 * n)(3)
