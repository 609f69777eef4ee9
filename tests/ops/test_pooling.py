import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from chainrule.check import check_gradients
from chainrule.ops import backward_of, pooling
from tests import oracles


def ties(seed: int, *shape: int, dtype=jnp.float32):
    """Small integers: in every other cell the largest value stands twice."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, 4, shape), dtype)


def normal(seed: int, *shape: int, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


# inputs, settings, and the same with one number an axis and pairs of padding
CASES = {
    "signal": ((2, 9, 3), {"window": 3}, ((3,), (3,), [(0, 0)], (1,))),
    "signal, overlap, dilation, pairs": (
        (2, 11, 2),
        {"window": 3, "stride": 2, "dilation": 3, "padding": ((2, 1),)},
        ((3,), (2,), [(2, 1)], (3,)),
    ),
    "image": ((2, 6, 8, 3), {"window": 2}, ((2, 2), (2, 2), [(0, 0)] * 2, (1, 1))),
    "image, values left over": (
        (2, 8, 7, 2),
        {"window": 3},
        ((3, 3), (3, 3), [(0, 0)] * 2, (1, 1)),
    ),
    "image, 1 x 2": ((2, 2, 6, 2), {"window": (1, 2)}, ((1, 2), (1, 2), [(0, 0)] * 2, (1, 1))),
    "image, overlap": (
        (2, 6, 7, 2),
        {"window": 3, "stride": 2, "padding": 1},
        ((3, 3), (2, 2), [(1, 1)] * 2, (1, 1)),
    ),
    "image, gaps": (
        (2, 9, 7, 2),
        {"window": (2, 1), "stride": (3, 2)},
        ((2, 1), (3, 2), [(0, 0)] * 2, (1, 1)),
    ),
    "image, same": (
        (1, 5, 6, 2),
        {"window": (2, 3), "padding": "same"},
        ((2, 3), (2, 3), [(0, 1), (0, 0)], (1, 1)),
    ),
    "volume": (
        (1, 4, 5, 3, 2),
        {"window": (2, 3, 1), "stride": (2, 1, 2), "padding": (0, 1, 0)},
        ((2, 3, 1), (2, 1, 2), [(0, 0), (1, 1), (0, 0)], (1, 1, 1)),
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
averages = pytest.mark.parametrize("count_include_pad", [True, False])
OPERATORS = {
    "max_pool": pooling.max_pool,
    "avg_pool": pooling.avg_pool,
    "avg_pool, without the padding": functools.partial(pooling.avg_pool, count_include_pad=False),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())


def value_and_gradients(operator, g, inputs):
    """The outputs, the gradient by hand, and that of jax.grad, in one program."""

    def all_of_them(g, inputs):
        outputs, pullback = jax.vjp(operator, inputs)
        return outputs, backward_of(operator)(g, inputs), pullback(g)[0]

    return jax.jit(all_of_them)(g, inputs)


def squares(array):
    """A picture as a batch of one with one channel."""
    return jnp.asarray(array, jnp.float32)[None, ..., None]


def test_the_maximum_of_the_notes_and_its_gradient():
    inputs, g = squares(np.arange(16).reshape(4, 4)), squares([[1, 2], [3, 4]])
    operator = functools.partial(pooling.max_pool, window=2)
    outputs, by_hand, by_jax = value_and_gradients(operator, g, inputs)
    np.testing.assert_array_equal(outputs[0, ..., 0], [[5, 7], [13, 15]])
    expected = [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]
    np.testing.assert_array_equal(by_hand[0, ..., 0], expected)
    np.testing.assert_array_equal(by_jax[0, ..., 0], expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Cells, and cells in an image with a value left over, and windows that overlap.
        ({"window": 2}, [[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 4]]),
        ({"window": 2, "padding": ((0, 1), (0, 0))}, None),
        ({"window": 2, "stride": (2, 1)}, None),
    ],
)
def test_a_tie_goes_to_the_first_as_in_the_pooling_of_xla(settings, expected):
    inputs = squares([[5, 5, 6, 6], [5, 1, 6, 6], [0, 3, 2, 2], [3, 3, 2, 9]])
    settings = {"stride": 2, "padding": ((0, 0), (0, 0))} | settings
    operator = functools.partial(pooling.max_pool, **settings)

    def xla(inputs):
        stride = np.broadcast_to(settings["stride"], 2)
        padding = [(0, 0), *settings["padding"], (0, 0)]
        return lax.reduce_window(
            inputs, -jnp.inf, lax.max, (1, 2, 2, 1), (1, *stride.tolist(), 1), padding
        )

    shape = jax.eval_shape(xla, inputs).shape
    g = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    outputs, by_xla = jax.jit(lambda g, x: (xla(x), jax.vjp(xla, x)[1](g)[0]))(g, inputs)
    if expected is not None:
        np.testing.assert_array_equal(by_xla[0, ..., 0], expected)
    for got, want in zip(
        value_and_gradients(operator, g, inputs), (outputs, by_xla, by_xla), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_indices_count_along_the_space_of_the_inputs():
    image = np.array([[1, 7, 2], [7, 0, 8]], np.float32)
    inputs = np.stack([image, -image])[..., None]
    values, indices = jax.jit(lambda x: pooling.max_pool_with_indices(x, 2, stride=1))(inputs)
    np.testing.assert_array_equal(values[..., 0], [[[7, 8]], [[0, 0]]])
    np.testing.assert_array_equal(indices[..., 0], [[[1, 5]], [[4, 4]]])
    assert indices.dtype == jnp.int32


def test_padding_never_wins():
    inputs = jnp.full((1, 3, 1), -jnp.inf)
    values, indices = pooling.max_pool_with_indices(inputs, 2, padding=1)
    np.testing.assert_array_equal(values[0, :, 0], [-np.inf, -np.inf])
    np.testing.assert_array_equal(indices[0, :, 0], [0, 1])
    g = jnp.array([[[1.0], [2.0]]])
    gradient = pooling.max_pool_backward(g, inputs, window=2, padding=1)
    np.testing.assert_array_equal(gradient[0, :, 0], [1, 2, 0])


def test_the_mean_and_its_gradient_on_numbers_written_out():
    inputs, g = squares([[1, 2, 3], [4, 5, 6], [7, 8, 12]]), squares([[4, 8], [16, 32]])
    settings = {"window": 2, "padding": ((1, 0), (1, 0))}
    operator = functools.partial(pooling.avg_pool, **settings)
    outputs, by_hand, by_jax = value_and_gradients(operator, g, inputs)
    np.testing.assert_array_equal(outputs[0, ..., 0], [[0.25, 1.25], [2.75, 7.75]])
    expected = [[1, 2, 2], [4, 8, 8], [4, 8, 8]]
    np.testing.assert_array_equal(by_hand[0, ..., 0], expected)
    np.testing.assert_array_equal(by_jax[0, ..., 0], expected)
    # The padding does not count.
    operator = functools.partial(operator, count_include_pad=False)
    outputs, by_hand, by_jax = value_and_gradients(operator, g, inputs)
    np.testing.assert_array_equal(outputs[0, ..., 0], [[1, 2.5], [5.5, 7.75]])
    expected = [[4, 4, 4], [8, 8, 8], [8, 8, 8]]
    np.testing.assert_array_equal(by_hand[0, ..., 0], expected)
    np.testing.assert_array_equal(by_jax[0, ..., 0], expected)


def test_ceil_mode_keeps_what_begins_on_an_input():
    pool = functools.partial(pooling.max_pool, window=2, stride=3, ceil_mode=True)
    # The third position of 8 values begins on the sixth; with 9 the fourth would begin beyond.
    shapes = [jax.eval_shape(pool, jnp.zeros((1, n, 1))).shape[1] for n in range(2, 10)]
    assert shapes == [1, 1, 2, 2, 2, 3, 3, 3]
    # One more in the padding after the inputs is one too many.
    pool = functools.partial(pool, padding=1)
    assert jax.eval_shape(pool, jnp.zeros((1, 6, 1))).shape[1] == 3
    inputs = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])[None, :, None]
    means = pooling.avg_pool(inputs, 2, ceil_mode=True)
    np.testing.assert_array_equal(means[0, :, 0], [1.5, 3.5, 5])


@every_case
def test_the_largest_values_and_their_gradients_are_the_naive_ones(case):
    shape, settings, (size, stride, pads, dilation) = case
    inputs = ties(0, *shape)
    values, where = oracles.max_pool(np.asarray(inputs), size, stride, pads, dilation)
    g = normal(1, *values.shape)
    operator = functools.partial(pooling.max_pool, **settings)
    indexed = functools.partial(pooling.max_pool_with_indices, **settings)
    (outputs, by_hand, by_jax), (again, indices), by_indexed = jax.jit(
        lambda g, inputs: (
            value_and_gradients(operator, g, inputs),
            indexed(inputs),
            backward_of(indexed)(g, inputs),
        )
    )(g, inputs)
    np.testing.assert_array_equal(outputs, values)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(indices, where)
    expected = oracles.max_pool_backward(g, np.asarray(inputs), size, stride, pads, dilation)
    for gradient in (by_hand, by_jax, by_indexed):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@every_case
@averages
def test_the_means_and_their_gradients_are_the_naive_ones(case, count_include_pad):
    shape, settings, (size, stride, pads, dilation) = case
    inputs = normal(0, *shape)
    rest = (size, stride, pads, dilation, count_include_pad)
    values = oracles.avg_pool(np.asarray(inputs), *rest)
    g = normal(1, *values.shape)
    operator = functools.partial(pooling.avg_pool, count_include_pad=count_include_pad, **settings)
    got = jax.jit(functools.partial(value_and_gradients, operator))(g, inputs)
    gradient = oracles.avg_pool_backward(g, np.asarray(inputs), *rest)
    for left, right in zip(got, (values, gradient, gradient), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@every_operator
def test_the_rule_is_jax_grad_and_the_slope_of_the_function(operator):
    operator = functools.partial(operator, window=(2, 3), stride=2, padding=1)
    inputs = normal(0, 1, 5, 4, 2)
    g = normal(1, *jax.eval_shape(operator, inputs).shape)
    report = check_gradients(
        lambda inputs: backward_of(operator)(g.astype(inputs.dtype), inputs),
        lambda inputs: jnp.sum(g * operator(inputs)),
        inputs,
    )
    assert report.verdict == "equal", str(report)


@every_operator
def test_the_second_derivative_is_that_of_the_values_it_kept(operator, x64):
    operator = functools.partial(operator, window=2, stride=(1, 2), padding=((0, 1), (0, 0)))
    inputs = normal(0, 1, 3, 4, 1, dtype=jnp.float64)
    matrix = jax.jit(jax.jacfwd(operator))(inputs).reshape(-1, inputs.size)
    outputs = jax.jit(operator)(inputs).reshape(-1)
    hessian = jax.jit(jax.jacrev(jax.grad(lambda inputs: jnp.sum(operator(inputs) ** 3))))(inputs)
    # The pools are linear around the inputs: sum (A x)^3 has the Hessian 6 A' diag(A x) A.
    expected = 6 * matrix.T @ (outputs[:, None] * matrix)
    np.testing.assert_allclose(hessian.reshape(inputs.size, -1), expected, atol=1e-12)


@every_operator
def test_vmap_is_the_loop(operator):
    operator = functools.partial(operator, window=3, stride=2, padding=1)
    inputs = ties(0, 2, 2, 5, 6, 3)
    g = normal(1, *jax.eval_shape(jax.vmap(operator), inputs).shape)
    every = functools.partial(value_and_gradients, operator)
    got = jax.jit(jax.vmap(every))(g, inputs)
    for row in range(2):
        for left, right in zip(got, jax.jit(every)(g[row], inputs[row]), strict=True):
            np.testing.assert_allclose(left[row], right, rtol=1e-6)


@every_operator
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("bfloat16", 0.02)])
def test_the_dtype_stays_what_it_is(operator, dtype, tolerance, x64):
    operator = functools.partial(operator, window=2, stride=(1, 2), padding=1)
    inputs = ties(0, 2, 5, 6, 3, dtype=dtype)
    g = ties(1, *jax.eval_shape(operator, inputs).shape, dtype=dtype)
    every = jax.jit(functools.partial(value_and_gradients, operator))
    got, expected = every(g, inputs), every(g.astype(jnp.float32), inputs.astype(jnp.float32))
    for left, right in zip(got, expected, strict=True):
        assert left.dtype == dtype
        left = np.asarray(left, np.float64)
        # The means of float32 have its precision only.
        np.testing.assert_allclose(left, right, rtol=max(tolerance, 1e-6), atol=tolerance)


@pytest.mark.parametrize("at", list(np.ndindex(2, 2)))
@every_operator
def test_nan_passes_from_every_place_of_a_cell(operator, at):
    inputs = ties(0, 1, 4, 4, 1).at[0, at[0], at[1], 0].set(jnp.nan)
    outputs = operator(inputs, window=2)
    np.testing.assert_array_equal(jnp.isnan(outputs[0, ..., 0]), [[True, False], [False, False]])


# The claims of the notes.


@every_operator
def test_pools_do_not_see_the_order_inside_a_cell(operator):
    inputs = np.asarray(normal(0, 2, 4, 6, 3))
    cells = inputs.reshape(2, 2, 2, 3, 2, 3)
    pool = jax.jit(functools.partial(operator, window=2))
    outputs = pool(inputs)
    for order in itertools.permutations(range(4)):
        flat = np.moveaxis(cells, 3, 2).reshape(2, 2, 3, 4, 3)[:, :, :, np.array(order)]
        shuffled = np.moveaxis(flat.reshape(2, 2, 3, 2, 2, 3), 3, 2).reshape(inputs.shape)
        np.testing.assert_allclose(pool(shuffled), outputs, rtol=1e-5, atol=1e-6)
    # Between the cells they do.
    assert not np.allclose(pool(np.roll(inputs, 1, axis=2)), outputs)


@every_operator
def test_a_pool_of_2_x_2_keeps_a_quarter_of_the_values(operator):
    inputs = jnp.zeros((3, 28, 224, 5))
    outputs = jax.eval_shape(functools.partial(operator, window=2), inputs)
    assert 4 * outputs.size == inputs.size


REFUSED = {
    "window 0": ((1, 8, 8, 1), {"window": 0}, "window 0: give one int"),
    "no space": ((4, 3), {"window": 2}, r"inputs of shape \(4, 3\): they must be"),
    "four axes": ((1, 2, 2, 2, 2, 1), {"window": 2}, r"inputs of shape .* one to three axes"),
    "three sides": ((1, 8, 8, 1), {"window": (2, 2, 2)}, r"window \(2, 2, 2\): .* 2 axes of space"),
    "stride 0": ((1, 8, 8, 1), {"window": 2, "stride": 0}, "stride 0: give one int"),
    "negative stride": ((1, 8, 1), {"window": 2, "stride": -2}, "stride -2: .* none below 1"),
    "dilation 0": ((1, 8, 1), {"window": 2, "dilation": 0}, "dilation 0: .* none below 1"),
    "negative padding": ((1, 8, 1), {"window": 2, "padding": -1}, "padding -1: .* none below 0"),
    "window too large": (
        (1, 4, 2, 1),
        {"window": 3},
        r"a window of \(3, 3\) .* spans \(3, 3\), larger than inputs of \(4, 2\)",
    ),
    "half a window": ((1, 8, 1), {"window": 2.0}, r"window 2\.0: give one int"),
    "a word for a stride": ((1, 8, 1), {"window": 2, "stride": "2"}, "stride '2': give one int"),
    "True": ((1, 8, 1), {"window": 2, "dilation": True}, "dilation True: give one int"),
    "half a padding": ((1, 8, 1), {"window": 2, "padding": 0.5}, r"padding 0\.5: give one int"),
    "a window of a billion": (
        (1, 8, 1),
        {"window": 10**9, "padding": 10**8},
        r"a window of \(1000000000,\) has 1,000,000,000 taps, more than 65,536: .*jnp\.max",
    ),
    "a padding of a billion": (
        (1, 8, 8, 1),
        {"window": 2, "padding": 10**9},
        r"turns inputs of \(8, 8\) into \(2000000008, 2000000008\), 4,0.* positions: take less",
    ),
    "as much padding as windows": (
        (1, 8, 1),
        {"window": 2**16, "padding": "same", "stride": 2**16, "dilation": 2**16},
        r"turns inputs of \(8,\) into \(4294901761,\), 4,294,901,761 positions",
    ),
    "nothing but padding": (
        (1, 8, 1),
        {"window": 2, "padding": 2},
        r"padding \(\(2, 2\),\) holds nothing but padding somewhere on inputs of \(8,\)",
    ),
    "nothing but padding between the taps": (
        (1, 1, 1),
        {"window": 2, "padding": 1, "dilation": 2},
        r"window of \(2,\) with dilation \(2,\) and padding .* holds nothing but padding",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "max_pool_with_indices"])
def test_what_does_not_fit_is_refused_while_tracing(refused, name):
    shape, settings, message = refused
    operator = functools.partial(inspect.unwrap(getattr(pooling, name)), **settings)
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        jax.eval_shape(operator, jnp.zeros(shape))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "max_pool_with_indices"])
def test_whole_numbers_are_refused(name):
    operator = functools.partial(inspect.unwrap(getattr(pooling, name)), window=2)
    with pytest.raises(ValueError, match=f"{name}: inputs of dtype uint8: they must be floating"):
        jax.eval_shape(operator, jnp.zeros((1, 8, 8, 1), jnp.uint8))


def test_ints_of_numpy_are_ints():
    inputs = jnp.arange(8.0).reshape(1, 8, 1)
    settings = {"window": 3, "stride": 2, "padding": 1, "dilation": 1}
    as_numpy = {name: np.int64(value) for name, value in settings.items()}
    expected = pooling.max_pool(inputs, **settings)
    np.testing.assert_array_equal(inspect.unwrap(pooling.max_pool)(inputs, **as_numpy), expected)
    as_numpy["padding"] = np.array([[1, 1]])
    np.testing.assert_array_equal(inspect.unwrap(pooling.max_pool)(inputs, **as_numpy), expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "max_pool_with_indices"])
@pytest.mark.parametrize("shape", [(), (1, 1, 1, 1), (2, 3, 3), (2, 3, 3, 2), (1, 3, 3, 1)])
def test_a_gradient_of_another_shape_than_the_outputs_is_refused(name, shape):
    rule = getattr(pooling, f"{name}_backward")
    with pytest.raises(ValueError, match=r"^g \(.*\) for an output \(2, 3, 3, 1\): .*shape of the"):
        rule(jnp.ones(shape), jnp.ones((2, 6, 6, 1)), window=2)


def test_a_window_may_be_as_wide_as_a_long_signal_without_a_table_of_its_taps():
    # The table of 2,000 taps by 2,000,000 positions would take 32 GB.
    place = functools.partial(pooling._place, window=2000, stride=1, padding=0, dilation=1)
    found = []

    def outputs(inputs):
        found.append(place("max_pool", inputs, ceil_mode=False).outputs)
        return inputs

    jax.eval_shape(outputs, jax.ShapeDtypeStruct((1, 2_000_000, 1), jnp.float32))
    assert found == [(1_998_001,)]


def test_a_maximum_alone_numbers_no_places():
    pool = functools.partial(pooling.max_pool, window=3)
    equations = jax.make_jaxpr(pool)(jnp.ones((1, 6, 6, 2))).jaxpr.eqns
    made = {v.aval.dtype for equation in equations for v in equation.outvars}
    assert made == {jnp.dtype("float32"), jnp.dtype("bool")}
    assert not {"pad", "iota"} & {equation.primitive.name for equation in equations}


def test_the_index_of_minus_infinity_is_that_of_an_input_and_never_of_the_padding():
    inputs = jnp.full((1, 2, 3, 1), -jnp.inf)
    pool = functools.partial(pooling.max_pool_with_indices, stride=1, padding=(0, 2))
    _, indices = jax.jit(functools.partial(pool, window=(1, 4)))(inputs)
    # In each row the windows see inputs 0 and 1, 0 to 2, 0 to 2, 1 and 2: the first is named.
    np.testing.assert_array_equal(indices[0, ..., 0], [[0, 0, 0, 1], [3, 3, 3, 4]])


def test_half_precision_does_not_round_the_sums_under_a_window():
    value = 1.3125
    inputs = jnp.full((1, 24, 1), value, jnp.bfloat16)  # a sum in bfloat16 would be 2 % off
    pool = functools.partial(pooling.avg_pool, window=24)
    np.testing.assert_array_equal(jax.jit(pool)(inputs), [[[value]]])
    everywhere = {"window": 24, "stride": 1, "padding": 23}
    g = jnp.full((1, 47, 1), value, jnp.bfloat16)
    back = jax.jit(functools.partial(pooling.avg_pool_backward, **everywhere))(g, inputs)
    pull = jax.vjp(functools.partial(pooling.avg_pool, **everywhere), inputs)[1]
    for gradient in (back, *jax.jit(pull)(g)):
        assert gradient.dtype == jnp.bfloat16
        np.testing.assert_allclose(gradient.astype(jnp.float32), value, rtol=0.005)
    peak = inputs.at[0, 12].set(4)
    back = jax.jit(functools.partial(pooling.max_pool_backward, **everywhere))(g, peak)
    np.testing.assert_allclose(back[0, 12].astype(jnp.float32), 24 * value, rtol=0.005)
