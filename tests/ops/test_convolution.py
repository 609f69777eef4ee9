import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.check import check_gradients
from chainrule.ops import backward_of, convolution
from tests import oracles


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# inputs, kernel, settings, and the padding written as the pairs that it stands for
CASES = {
    "signal": ((2, 9, 3), (4, 3, 2), {}, [(0, 0)]),
    "signal, stride, dilation, pairs": (
        (2, 11, 2),
        (3, 2, 4),
        {"stride": 2, "dilation": 3, "padding": ((2, 1),)},
        [(2, 1)],
    ),
    "signal, one weight": ((3, 7, 2), (1, 2, 3), {"stride": 3}, [(0, 0)]),
    "image": ((2, 6, 7, 3), (2, 3, 3, 4), {}, [(0, 0), (0, 0)]),
    "image, one channel": ((2, 6, 7, 1), (5, 5, 1, 4), {}, [(0, 0), (0, 0)]),
    "image, padding": ((2, 5, 4, 2), (3, 3, 2, 5), {"padding": 1}, [(1, 1), (1, 1)]),
    "image, padding wider than the kernel": (
        (1, 3, 4, 2),
        (2, 2, 2, 3),
        {"padding": (3, 2)},
        [(3, 3), (2, 2)],
    ),
    "image, same": ((2, 5, 6, 2), (2, 4, 2, 3), {"padding": "same"}, [(0, 1), (1, 2)]),
    "image, same, stride": (
        (2, 6, 7, 2),
        (3, 3, 2, 3),
        {"padding": "same", "stride": (2, 3)},
        [(0, 1), (1, 1)],
    ),
    "image, everything": (
        (2, 9, 8, 2),
        (2, 3, 2, 3),
        {"stride": (2, 1), "dilation": (3, 2), "padding": ((1, 2), (0, 3))},
        [(1, 2), (0, 3)],
    ),
    "image, values left over": ((2, 8, 9, 1), (3, 2, 1, 2), {"stride": 4}, [(0, 0), (0, 0)]),
    "image, kernel larger than it": ((4, 3, 3, 8), (5, 5, 8, 2), {"padding": 2}, [(2, 2), (2, 2)]),
    "image, as large as the kernel": ((3, 4, 4, 5), (4, 4, 5, 6), {}, [(0, 0), (0, 0)]),
    "image, two groups": ((2, 5, 6, 4), (3, 2, 2, 6), {"groups": 2}, [(0, 0), (0, 0)]),
    "image, one channel a group": (
        (2, 7, 6, 3),
        (3, 3, 1, 6),
        {"groups": 3, "stride": 2, "padding": 1, "dilation": (1, 2)},
        [(1, 1), (1, 1)],
    ),
    "volume": (
        (1, 4, 5, 3, 2),
        (2, 3, 2, 2, 3),
        {"stride": (1, 2, 1), "padding": (0, 1, 1)},
        [(0, 0), (1, 1), (1, 1)],
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
# Each way to compute it once: what compiles for long is asked of these alone.
SOME = (
    "signal, stride, dilation, pairs",
    "image",
    "image, kernel larger than it",
    "image, two groups",
)
some_cases = pytest.mark.parametrize("case", [CASES[name] for name in SOME], ids=SOME)
both = pytest.mark.parametrize("operator", [convolution.conv, convolution.plain_conv])


def arrays_of(case, dtype=jnp.float32, bias=True):
    inputs, kernel, *_ = case
    arrays = [normal(0, *inputs), normal(1, *kernel)] + [normal(2, kernel[-1])] * bias
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def expected_of(case):
    inputs, _, settings, pads = case
    axes = len(inputs) - 2
    spread = {
        name: (value,) * axes if isinstance(value, int) else value
        for name, value in ({"stride": 1, "dilation": 1} | settings).items()
        if name in ("stride", "dilation")
    }
    return spread | {"pads": pads, "groups": settings.get("groups", 1)}


def gradients_by_jax(operator, g, *arrays):
    return jax.vjp(operator, *arrays)[1](g)


def assert_all_close(got, want, **tolerance):
    assert len(got) == len(want)
    for left, right in zip(got, want, strict=True):
        left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
        np.testing.assert_allclose(left, right, **tolerance)


def test_conv_on_numbers_written_out():
    # Seven weights a feature, none like another: a flip or an exchange of axes would show.
    inputs = jnp.arange(12.0).reshape(1, 3, 4, 1)
    kernel = jnp.stack([jnp.arange(6.0), jnp.array([1.0, 0, 0, 0, 0, -1])], axis=-1)
    outputs = convolution.conv(inputs, kernel.reshape(2, 3, 1, 2), jnp.array([0.0, 100.0]))
    np.testing.assert_array_equal(outputs[0, ..., 0], [[67, 82], [127, 142]])
    np.testing.assert_array_equal(outputs[0, ..., 1], [[94, 94], [94, 94]])


def test_the_gradients_of_conv_on_numbers_written_out():
    inputs = jnp.arange(12.0).reshape(1, 3, 4, 1)
    kernel, bias = jnp.arange(6.0).reshape(2, 3, 1, 1), jnp.array([7.0])
    g = jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(1, 2, 2, 1)
    gradients = convolution.conv_backward(g, inputs, kernel, bias)
    by_inputs, by_kernel, by_bias = (gradient.squeeze() for gradient in gradients)
    np.testing.assert_array_equal(
        by_inputs, [[0, 1, 12, 20], [3, 134, 1245, 2050], [300, 3400, 4500, 5000]]
    )
    np.testing.assert_array_equal(by_kernel, [[5410, 6521, 7632], [9854, 10965, 12076]])
    assert by_bias == 1111
    by_jax = gradients_by_jax(convolution.conv, g, inputs, kernel, bias)
    for left, right in zip(gradients, by_jax, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_signal_of_the_notes():
    inputs, kernel = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([3.0, 2.0])
    outputs = convolution.conv(inputs[None, :, None], kernel[:, None, None])
    np.testing.assert_array_equal(outputs[0, :, 0], [7, 12, 17])


@pytest.mark.parametrize(
    ("inputs", "kernel", "settings", "outputs"),
    [
        ((117, 10, 13, 4), (2, 3, 4, 5), {}, (117, 9, 11, 5)),
        ((1, 20, 30, 1), (3, 3, 1, 1), {"dilation": 4}, (1, 12, 22, 1)),
        ((5, 50, 50, 3), (3, 3, 3, 1), {}, (5, 48, 48, 1)),
        ((5, 50, 50, 3), (3, 3, 3, 1), {"padding": 1}, (5, 50, 50, 1)),
        ((1, 7, 7, 1), (3, 3, 1, 1), {}, (1, 5, 5, 1)),
        ((1, 7, 7, 1), (3, 3, 1, 1), {"stride": 2}, (1, 3, 3, 1)),
        ((1, 7, 7, 1), (3, 3, 1, 1), {"stride": 3, "padding": 1}, (1, 3, 3, 1)),
    ],
)
def test_the_sizes_of_the_notes(inputs, kernel, settings, outputs):
    conv = functools.partial(convolution.conv, **settings)
    assert jax.eval_shape(conv, jnp.zeros(inputs), jnp.zeros(kernel)).shape == outputs


@every_case
@both
def test_conv_is_the_naive_one(case, operator):
    arrays = arrays_of(case)
    outputs = jax.jit(functools.partial(operator, **case[2]))(*arrays)
    np.testing.assert_allclose(
        outputs, oracles.conv(*arrays, **expected_of(case)), rtol=1e-4, atol=2e-5
    )


@every_case
def test_the_gradients_are_the_naive_ones(case):
    operator = functools.partial(convolution.conv, **case[2])
    arrays = arrays_of(case)
    g = normal(3, *jax.eval_shape(operator, *arrays).shape)
    expected = oracles.conv_backward(g, *arrays, **expected_of(case))
    by_rule, by_jax = jax.jit(
        lambda *all: (backward_of(operator)(*all), gradients_by_jax(operator, *all))
    )(g, *arrays)
    assert_all_close(by_rule, expected, rtol=1e-4, atol=5e-5)
    assert_all_close(by_jax, expected, rtol=1e-4, atol=5e-5)


def test_without_a_bias_there_is_no_gradient_of_one():
    inputs, kernel = arrays_of(CASES["image"], bias=False)
    outputs = convolution.conv(inputs, kernel)
    np.testing.assert_array_equal(outputs, convolution.conv(inputs, kernel, jnp.zeros(4)))
    by_inputs, by_kernel = convolution.conv_backward(outputs, inputs, kernel)
    with_bias = convolution.conv_backward(outputs, inputs, kernel, jnp.ones(4))
    np.testing.assert_array_equal(by_inputs, with_bias[0])
    np.testing.assert_array_equal(by_kernel, with_bias[1])


def test_the_rule_of_the_plain_definition_is_the_same():
    assert backward_of(convolution.plain_conv) is convolution.conv_backward


@pytest.mark.parametrize("name", ["signal, stride, dilation, pairs", "image, one channel a group"])
def test_the_rule_is_jax_grad_and_the_slope_of_the_function(name):
    operator = functools.partial(convolution.conv, **CASES[name][2])
    arrays = arrays_of(CASES[name])
    g = jnp.asarray(normal(3, *jax.eval_shape(operator, *arrays).shape))

    def reference(*arrays):
        return jnp.sum(g * operator(*arrays))

    def mine(*arrays):
        return backward_of(operator)(g.astype(arrays[0].dtype), *arrays)

    report = check_gradients(mine, reference, *arrays, max_differences=20)
    assert report.verdict == "equal", str(report)


@some_cases
def test_derivatives_of_every_order_and_mode_are_those_of_the_plain_definition(case, x64):
    conv = functools.partial(convolution.conv, **case[2])
    plain = functools.partial(convolution.plain_conv, **case[2])
    arrays = arrays_of(case, jnp.float64)
    directions = tuple(
        jnp.asarray(normal(10 + i, *array.shape), jnp.float64) for i, array in enumerate(arrays)
    )

    def derivatives(operator):
        # A cube, because the second derivative of a sum of squares would not see the values.
        def loss(*arrays):
            return jnp.sum(operator(*arrays) ** 3)

        def along(*arrays):  # forwards
            return jax.jvp(loss, arrays, directions)[1]

        def slope(*arrays):  # backwards
            gradients = jax.grad(loss, argnums=(0, 1, 2))(*arrays)
            return sum(jnp.vdot(g, d) for g, d in zip(gradients, directions, strict=True))

        every = (0, 1, 2)
        return (
            along(*arrays),
            *jax.grad(along, argnums=every)(*arrays),
            *jax.grad(slope, argnums=every)(*arrays),
            jax.jvp(slope, arrays, directions)[1],
        )

    by_conv, by_plain = jax.jit(lambda: (derivatives(conv), derivatives(plain)))()
    assert_all_close(by_conv, by_plain, rtol=1e-9, atol=1e-9)


@some_cases
def test_vmap_is_the_loop(case):
    operator = functools.partial(convolution.conv, **case[2])
    one = map(np.asarray, arrays_of(case))
    arrays = tuple(np.stack([array, array[::-1] * 2]) for array in one)
    row = tuple(array[1] for array in arrays)
    outputs = jax.jit(jax.vmap(operator))(*arrays)
    np.testing.assert_allclose(outputs[1], jax.jit(operator)(*row), rtol=1e-4, atol=1e-5)
    g = np.asarray(normal(3, *outputs.shape))
    for rule in (functools.partial(gradients_by_jax, operator), backward_of(operator)):
        got = jax.jit(jax.vmap(rule))(g, *arrays)
        due = jax.jit(rule)(g[1], *row)
        assert_all_close([part[1] for part in got], due, rtol=1e-4, atol=1e-4)
    by_kernel = jax.jit(jax.vmap(operator, in_axes=(None, 0, None)))(row[0], arrays[1], row[2])
    np.testing.assert_allclose(by_kernel[1], outputs[1], rtol=1e-4, atol=1e-5)


@some_cases
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("bfloat16", 0.02)])
def test_the_dtype_stays_what_it_is(case, dtype, tolerance, x64):
    operator = functools.partial(convolution.conv, **case[2])
    arrays = arrays_of(case, dtype)
    g = jnp.asarray(normal(3, *jax.eval_shape(operator, *arrays).shape), dtype)
    outputs, *both = jax.jit(
        lambda *all: (
            operator(*all[1:]), gradients_by_jax(operator, *all), backward_of(operator)(*all)
        )
    )(g, *arrays)  # fmt: skip
    exact = [np.asarray(array, np.float64) for array in (g, *arrays)]
    values = oracles.conv(*exact[1:], **expected_of(case))
    expected = oracles.conv_backward(*exact, **expected_of(case))
    for got in both:
        for left, right in zip((outputs, *got), (values, *expected), strict=True):
            assert left.dtype == dtype
            close = tolerance * np.abs(right).max()
            np.testing.assert_allclose(np.asarray(left, np.float64), right, rtol=0, atol=close)


@pytest.mark.parametrize("of", [convolution.conv, convolution.conv_transpose])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_gradient_of_a_bias_is_a_sum_of_numbers_that_are_widened_first(of, dtype):
    inputs, kernel = (jnp.asarray(normal(1, *s), dtype) for s in ((2, 9, 8, 3), (3, 3, 3, 3)))
    outputs, back = jax.vjp(functools.partial(of, inputs, kernel), jnp.ones(3, dtype))
    g = jnp.asarray(normal(3, *outputs.shape), dtype)
    wanted = np.sum(np.asarray(g, np.float64), axis=(0, 1, 2))
    close = {"rtol": float(jnp.finfo(dtype).eps), "atol": 1e-5}
    np.testing.assert_allclose(np.asarray(back(g)[0], np.float64), wanted, **close)
    sums = [eqn for eqn in jax.make_jaxpr(back)(g).eqns if eqn.primitive.name == "reduce_sum"]
    assert [eqn.invars[0].aval.dtype for eqn in sums] == [jnp.float32]


def test_nan_passes_where_the_kernel_sees_it():
    inputs = jnp.zeros((1, 7, 1)).at[0, 3].set(jnp.nan)
    outputs = convolution.conv(inputs, jnp.ones((2, 1, 1)))
    np.testing.assert_array_equal(jnp.isnan(outputs[0, :, 0]), [0, 0, 1, 1, 0, 0])


# The claims of the notes.


def test_convolution_commutes_with_shifts():
    inputs, kernel = jnp.asarray(normal(0, 2, 8, 9, 3)), jnp.asarray(normal(1, 3, 3, 3, 4))
    before = convolution.conv(jnp.roll(inputs, (2, 1), axis=(1, 2)), kernel)
    after = jnp.roll(convolution.conv(inputs, kernel), (2, 1), axis=(1, 2))
    # What the roll carried over the border is seen by the first rows and the first column.
    np.testing.assert_allclose(before[:, 2:, 1:], after[:, 2:, 1:], rtol=1e-5, atol=1e-5)


def test_channels_add():
    inputs, kernel = jnp.asarray(normal(0, 2, 6, 7, 3)), jnp.asarray(normal(1, 2, 3, 3, 4))
    one_by_one = [
        convolution.conv(inputs[..., c : c + 1], kernel[:, :, c : c + 1]) for c in range(3)
    ]
    np.testing.assert_allclose(
        convolution.conv(inputs, kernel), sum(one_by_one), rtol=1e-4, atol=1e-5
    )


def test_the_gradient_of_the_kernel_is_the_sum_over_its_positions():
    # A copy of the kernel for each position: each gets its own gradient, and the kernel their sum.
    inputs, kernel = jnp.asarray(normal(0, 2, 4, 5, 3)), jnp.asarray(normal(1, 2, 3, 3, 2))
    g = jnp.asarray(normal(2, 2, 3, 3, 2))

    def untied(kernels):
        total = 0
        for row, column in np.ndindex(3, 3):
            patch = inputs[:, row : row + 2, column : column + 3]
            out = jnp.einsum("nhwc,hwcf->nf", patch, kernels[row, column])
            total += jnp.sum(g[:, row, column] * out)
        return total

    copies = jnp.broadcast_to(kernel[None, None], (3, 3, *kernel.shape))
    uses = jax.jit(jax.grad(untied))(copies)
    assert np.ptp(uses[..., 0, 0, 0, 0]) > 0.1
    _, by_kernel = convolution.conv_backward(g, inputs, kernel)
    np.testing.assert_allclose(by_kernel, uses.sum(axis=(0, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dilation", [2, 4])
def test_a_dilated_kernel_is_the_kernel_with_zeros_between_its_weights(dilation):
    inputs, kernel = jnp.asarray(normal(0, 1, 20, 30, 2)), jnp.asarray(normal(1, 3, 2, 2, 3))
    stuffed = np.zeros((1 + 2 * dilation, 1 + dilation, 2, 3), np.float32)
    stuffed[::dilation, ::dilation] = kernel
    dilated = convolution.conv(inputs, kernel, dilation=dilation)
    expected = convolution.conv(inputs, jnp.asarray(stuffed))
    np.testing.assert_allclose(dilated, expected, rtol=1e-4, atol=1e-5)


REFUSED = {
    "no axis of space": ((4, 3), (3, 2), {}, r"inputs of shape \(4, 3\): they must be"),
    "four axes of space": (
        (1, 2, 2, 2, 2, 1),
        (1, 1, 1, 1, 1, 1),
        {},
        r"inputs of shape \(1, 2, 2, 2, 2, 1\): .* one to three axes",
    ),
    "kernel of another rank": (
        (1, 8, 8, 3),
        (3, 3, 4),
        {},
        r"kernel \(3, 3, 4\) for inputs \(1, 8, 8, 3\): it must have 4 axes",
    ),
    "other channels": (
        (1, 8, 8, 3),
        (3, 3, 4, 5),
        {},
        r"inputs \(1, 8, 8, 3\) and kernel \(3, 3, 4, 5\) in 1 groups: the 3 channels",
    ),
    "channels that do not divide": (
        (1, 8, 8, 3),
        (3, 3, 1, 4),
        {"groups": 2},
        r"in 2 groups: the 3 channels and the 4 features must divide",
    ),
    "features that do not divide": (
        (1, 8, 8, 4),
        (3, 3, 2, 5),
        {"groups": 2},
        r"the 4 channels and the 5 features must divide",
    ),
    "no groups": (
        (1, 8, 8, 4),
        (3, 3, 4, 5),
        {"groups": 0},
        "groups must be an int of at least 1, not 0",
    ),
    "kernel too large": (
        (1, 4, 8, 1),
        (3, 3, 1, 1),
        {"dilation": 3, "padding": 1},
        r"a window of \(3, 3\) with dilation \(3, 3\) spans \(7, 7\), larger than inputs of "
        r"\(4, 8\) with padding \(\(1, 1\), \(1, 1\)\)",
    ),
    "empty kernel": ((1, 4, 8, 1), (0, 3, 1, 1), {}, r"window \(0, 3\): .* none below 1"),
    "stride 0": ((1, 8, 8, 1), (3, 3, 1, 1), {"stride": 0}, "stride 0: give one int"),
    "negative stride": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"stride": (1, -2)},
        r"stride \(1, -2\): .* none below 1",
    ),
    "three strides": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"stride": (1, 1, 1)},
        r"stride \(1, 1, 1\): .* each of the 2 axes",
    ),
    "dilation 0": ((1, 8, 8, 1), (3, 3, 1, 1), {"dilation": 0}, "dilation 0: give one int"),
    "negative padding": ((1, 8, 8, 1), (3, 3, 1, 1), {"padding": -1}, "padding -1: .* none below"),
    "one pair for two axes": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"padding": ((1, 1),)},
        r"padding \(\(1, 1\),\): .* each of the 2 axes",
    ),
    "three sides": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"padding": ((1, 1, 1), (0, 0))},
        r"padding \(\(1, 1, 1\), \(0, 0\)\)",
    ),
    "half a stride": ((1, 8, 1), (3, 1, 1), {"stride": 1.5}, r"stride 1\.5: give one int"),
    "half a padding": ((1, 8, 1), (3, 1, 1), {"padding": 1.0}, r"padding 1\.0: give one int"),
    "half a group": ((1, 8, 1), (3, 1, 1), {"groups": 1.0}, r"groups must be an int .* not 1\.0"),
    "a padding of a billion": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"padding": 10**9},
        r"turns inputs of \(8, 8\) into \(2000000008, 2000000008\), 4,0.* positions: take less",
    ),
    "another word": (
        (1, 8, 8, 1),
        (3, 3, 1, 1),
        {"padding": "SAME"},
        'padding \'SAME\': .* the word "same" or "valid"',
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
@both
def test_what_does_not_fit_is_refused_while_tracing(refused, operator):
    inputs, kernel, settings, message = refused
    operator = functools.partial(inspect.unwrap(operator), **settings)
    with pytest.raises(ValueError, match=f"conv: .*{message}"):
        jax.eval_shape(operator, jnp.zeros(inputs), jnp.zeros(kernel))


@pytest.mark.usefixtures("unchecked")
@both
def test_a_bias_of_another_length_is_refused(operator):
    with pytest.raises(ValueError, match=r"bias \(1,\) for kernel \(3, 3, 1, 2\): .*\(2,\)"):
        inspect.unwrap(operator)(jnp.zeros((1, 8, 8, 1)), jnp.zeros((3, 3, 1, 2)), jnp.zeros(1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        (("float32", "bfloat16"), "conv: inputs float32, kernel bfloat16: cast them to one dtype"),
        (
            ("bfloat16", "bfloat16", "float32"),
            "conv: inputs bfloat16, kernel bfloat16 and bias float32: cast",
        ),
        (("uint8", "float32"), "conv: inputs of dtype uint8: they must be floating-point"),
        (("float32", "int32"), "conv: inputs float32, kernel int32: cast"),
    ],
)
@both
def test_dtypes_that_do_not_fit_are_refused(dtypes, message, operator):
    shapes = ((1, 8, 8, 1), (3, 3, 1, 2), (2,))
    arrays = [jnp.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=False)]
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(inspect.unwrap(operator), *arrays)


@pytest.mark.usefixtures("unchecked")
@both
def test_ints_of_numpy_are_ints(operator):
    inputs, kernel = jnp.arange(8.0).reshape(1, 8, 1), jnp.arange(1.0, 3.0).reshape(2, 1, 1)
    settings = {"stride": 2, "padding": 1, "dilation": 2, "groups": 1}
    as_numpy = {name: np.int64(value) for name, value in settings.items()}
    operator = inspect.unwrap(operator)
    expected = operator(inputs, kernel, **settings)
    np.testing.assert_array_equal(operator(inputs, kernel, **as_numpy), expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(), (1, 1, 1), (2, 7), (1, 7, 3), (2, 7, 1)])
def test_a_gradient_of_another_shape_than_the_outputs_is_refused(shape):
    with pytest.raises(ValueError, match=r"^g \(.*\) for an output \(2, 7, 3\): .* shape of the"):
        convolution.conv_backward(jnp.ones(shape), jnp.ones((2, 8, 1)), jnp.ones((2, 1, 3)))


@pytest.mark.usefixtures("unchecked")
def test_a_gradient_of_another_dtype_is_refused():
    g = jnp.ones((1, 7, 1), jnp.bfloat16)
    with pytest.raises(ValueError, match="g bfloat16 for inputs float32: cast them to one dtype"):
        convolution.conv_backward(g, jnp.ones((1, 8, 1)), jnp.ones((2, 1, 1)))


@pytest.mark.usefixtures("unchecked")
def test_lists_are_no_arrays():
    with pytest.raises(ValueError, match="kernel must be an array of numbers, not a list"):
        convolution.conv(jnp.ones((1, 8, 1)), [[[1.0]]])
    with pytest.raises(ValueError, match="bias must be an array of numbers, not a float"):
        convolution.conv(jnp.ones((1, 8, 1)), jnp.ones((2, 1, 1)), 1.0)
