"""The ways back: a transposed convolution, and values put back to where they were the largest."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.check import check_gradients
from chainrule.ops import backward_of, convolution, pooling
from tests import oracles


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# inputs, kernel, settings, the padding as pairs, what is kept beyond, the space of the outputs
CASES = {
    "signal": ((2, 4, 3), (3, 2, 3), {}, [(0, 0)], 0, (6,)),
    "signal, stride": ((1, 4, 2), (3, 2, 2), {"stride": 2}, [(0, 0)], 0, (9,)),
    "signal, gaps": ((1, 3, 1), (2, 1, 1), {"stride": 4}, [(0, 0)], 0, (10,)),
    "image": ((2, 3, 4, 2), (2, 3, 4, 2), {}, [(0, 0), (0, 0)], 0, (4, 6)),
    "image, everything": (
        (1, 3, 2, 2),
        (2, 3, 3, 2),
        {
            "stride": (3, 2),
            "padding": ((1, 0), (0, 2)),
            "dilation": (2, 1),
            "output_padding": (2, 1),
        },
        [(1, 0), (0, 2)],
        (2, 1),
        (10, 4),
    ),
    "signal, room for one more": (
        (1, 3, 2), (2, 1, 2), {"dilation": 3, "output_padding": 2}, [(0, 0)], 2, (8,)
    ),
    "image, same": (
        (1, 3, 4, 2), (3, 3, 1, 2), {"stride": 2, "padding": "same"}, [(0, 1), (0, 1)], 0, (6, 8)
    ),
    "image, groups": ((1, 3, 3, 4), (2, 2, 3, 4), {"groups": 2}, [(0, 0), (0, 0)], 0, (4, 4)),
    "volume": ((1, 2, 3, 2, 1), (2, 2, 2, 2, 1), {"stride": 2}, [(0, 0)] * 3, 0, (4, 6, 4)),
}  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def spread(inputs, kernel, bias, *, stride=1, dilation=1, groups=1, pads, space):
    """Let every value of every feature write the kernel where it stands, one number at a time."""
    axes = inputs.ndim - 2
    stride, dilation = (np.broadcast_to(value, axes) for value in (stride, dilation))
    per_group, features = kernel.shape[-2:]
    outputs = np.zeros((len(inputs), *space, per_group * groups))
    for at in itertools.product(*map(range, inputs.shape)):
        n, *i, f = at
        group = f // (features // groups)
        for tap in itertools.product(*map(range, kernel.shape[:-2])):
            j = [a * s + k * d - lo for a, s, k, d, (lo, _) in zip(i, stride, tap, dilation, pads)]  # noqa: B905
            if all(0 <= a < size for a, size in zip(j, space, strict=True)):
                for c in range(per_group):
                    outputs[(n, *j, group * per_group + c)] += inputs[at] * kernel[(*tap, c, f)]
    return outputs + bias


def arrays_of(case):
    inputs, kernel, settings, *_ = case
    channels = kernel[-2] * settings.get("groups", 1)
    return normal(0, *inputs), normal(1, *kernel), normal(2, channels)


@every_case
def test_every_value_spreads_the_kernel(case):
    *_, settings, pads, _, space = case
    arrays = arrays_of(case)
    found = jax.jit(functools.partial(convolution.conv_transpose, **settings))(*arrays)
    words = {name: settings[name] for name in ("stride", "dilation", "groups") if name in settings}
    expected = spread(*arrays, **words, pads=pads, space=space)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@every_case
def test_it_is_the_gradient_of_a_convolution(case):
    _, _, settings, *_, space = case
    inputs, kernel, _ = arrays_of(case)
    settings = {name: value for name, value in settings.items() if name != "output_padding"}
    conv = functools.partial(convolution.plain_conv, **settings)
    channels = kernel.shape[-2] * settings.get("groups", 1)
    there = jax.ShapeDtypeStruct((len(inputs), *space, channels), "float32")
    # Where the convolution makes more of it, nothing came from there.
    due = jax.eval_shape(conv, there, kernel).shape
    more = [(0, n - size) for n, size in zip(due, inputs.shape, strict=True)]

    @jax.jit
    def both(inputs, kernel):
        (by_jax,) = jax.linear_transpose(lambda x: conv(x, kernel), there)(jnp.pad(inputs, more))
        return by_jax, convolution.conv_transpose(inputs, kernel, **case[2])

    by_jax, mine = both(inputs, kernel)
    np.testing.assert_allclose(mine, by_jax, rtol=1e-5, atol=1e-5)


@every_case
def test_its_rule_is_the_gradient(case):
    arrays = arrays_of(case)
    operator = functools.partial(convolution.conv_transpose, **case[2])
    rule = functools.partial(backward_of(convolution.conv_transpose), **case[2])
    g = normal(3, *jax.eval_shape(operator, *arrays).shape)
    found = check_gradients(
        jax.jit(lambda *arrays: rule(jnp.asarray(g, arrays[0].dtype), *arrays)),
        lambda *arrays: jnp.vdot(operator(*arrays), jnp.asarray(g, arrays[0].dtype)),
        *arrays,
        max_differences=20,
    )
    assert found.verdict == "equal", found


def test_without_a_bias_there_are_two_gradients():
    inputs, kernel = normal(0, 1, 3, 2), normal(1, 2, 2, 2)
    assert len(convolution.conv_transpose_backward(np.ones((1, 4, 2), "f4"), inputs, kernel)) == 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_padding": 1}, r"output_padding \(1,\) must be below the larger of stride \(1,\)"),
        ({"output_padding": -1}, "output_padding -1: give one int, .* none below 0"),
        ({"stride": 0}, "stride 0: give one int"),
        ({"stride": 3, "padding": "same", "output_padding": 1}, 'padding "same" leaves no choice'),
        ({"padding": 4}, r"makes outputs of \(-2,\) from \(4,\): at least 1"),
        ({"stride": 2**30}, r"makes outputs of \(3221225475,\) from \(4,\): at least 1"),
        ({"groups": 2}, "in 2 groups: the inputs must have the 3 features of the kernel"),
    ],
)
def test_settings_that_leave_nothing_or_too_much_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"conv_transpose: .*{message}"):
        convolution.conv_transpose(jnp.ones((1, 4, 3)), jnp.ones((3, 2, 3)), **settings)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 3), (3, 2, 2)), r"inputs \(1, 4, 3\) and kernel \(3, 2, 2\) in 1 groups"),
        (((1, 4, 3), (3, 3, 2, 3)), r"kernel \(3, 3, 2, 3\) for inputs \(1, 4, 3\)"),
        (((1, 4, 3), (3, 2, 3), (3,)), r"bias \(3,\) for kernel \(3, 2, 3\): it must be \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        convolution.conv_transpose(*map(jnp.ones, shapes))


@pytest.mark.usefixtures("unchecked")
def test_a_gradient_that_does_not_fit_is_refused():
    arrays = jnp.ones((1, 4, 3)), jnp.ones((3, 2, 3))
    with pytest.raises(ValueError, match=r"^g \(1, 5, 2\) for an output \(1, 6, 2\)"):
        convolution.conv_transpose_backward(jnp.ones((1, 5, 2)), *arrays)
    with pytest.raises(ValueError, match="g bfloat16 for inputs float32: cast them to one dtype"):
        convolution.conv_transpose_backward(jnp.ones((1, 6, 2), "bfloat16"), *arrays)
    with pytest.raises(ValueError, match="inputs float32, kernel bfloat16: cast them to one dtype"):
        convolution.conv_transpose(arrays[0], arrays[1].astype("bfloat16"))


# --- values put back ---------------------------------------------------------------------------


def put_back(inputs, indices, size):
    """Write the values to their places, one after the other."""
    outputs = np.zeros((len(inputs), int(np.prod(size)), inputs.shape[-1]), inputs.dtype)
    for at in np.ndindex(inputs.shape):
        outputs[at[0], indices[at], at[-1]] = inputs[at]
    return outputs.reshape(len(inputs), *size, inputs.shape[-1])


POOLS = {
    "signal": ((2, 9, 3), {"window": 3}),
    "image": ((2, 6, 4, 2), {"window": 2}),
    "image, overlapping": ((1, 7, 8, 2), {"window": 3, "stride": 1}),
    "image, padded": ((1, 5, 5, 1), {"window": (2, 3), "padding": 1}),
    "volume": ((1, 4, 4, 2, 2), {"window": 2}),
}


@pytest.mark.parametrize(("shape", "settings"), POOLS.values(), ids=POOLS.keys())
def test_the_largest_go_back_to_where_they_stood(shape, settings):
    # Integers: full of ties. The last of the values that meet stays, whatever else it is.
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 5, shape).astype(np.float32)
    pool = jax.jit(functools.partial(pooling.max_pool_with_indices, **settings))
    _, indices = jax.device_get(pool(inputs))
    values, size = normal(1, *indices.shape), shape[1:-1]
    found = jax.jit(functools.partial(pooling.max_unpool, size=size))(values, indices)
    np.testing.assert_array_equal(found, put_back(values, indices, size))
    rule = backward_of(pooling.max_unpool)
    g = normal(2, *shape)
    checked = check_gradients(
        jax.jit(lambda values: rule(jnp.asarray(g, values.dtype), values, indices, size=size)[0]),
        lambda values: jnp.vdot(
            pooling.max_unpool(values, indices, size), jnp.asarray(g, values.dtype)
        ),
        values,
        max_differences=20,
    )
    assert checked.verdict == "equal", checked


def test_what_was_pooled_comes_back_with_zeros_between():
    inputs = np.abs(normal(0, 2, 4, 6, 3))
    back = jax.jit(
        lambda inputs: pooling.max_unpool(*pooling.max_pool_with_indices(inputs, 2), (4, 6))
    )(inputs)
    kept = np.asarray(back) != 0
    assert kept.sum() == 2 * 2 * 3 * 3
    np.testing.assert_array_equal(np.asarray(back)[kept], inputs[kept])
    pool = jax.jit(functools.partial(pooling.max_pool, window=2))
    np.testing.assert_array_equal(pool(back), pool(inputs))
    expected, _ = oracles.max_pool(inputs, (2, 2), (2, 2), [(0, 0), (0, 0)], (1, 1))
    np.testing.assert_array_equal(pool(back), expected)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.zeros((1, 2, 2), np.int32), r"indices int32 \(1, 2, 2\) for inputs \(1, 3, 2\)"),
        (np.zeros((1, 3, 2), np.float32), "indices float32 .*: give integers of the same shape"),
        (np.full((1, 3, 2), 6, np.int32), r"a result of \(6,\) has 6 places"),
        (np.full((1, 3, 2), -1, np.int32), r"a result of \(6,\) has 6 places"),
    ],
)
def test_indices_that_lead_nowhere_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        pooling.max_unpool(jnp.ones((1, 3, 2)), indices, 6)
    with pytest.raises(ValueError, match=message):
        pooling.max_unpool_backward(jnp.ones((1, 6, 2)), jnp.ones((1, 3, 2)), indices, size=6)


@pytest.mark.usefixtures("unchecked")
def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"^g \(1, 5, 2\) for an output \(1, 6, 2\)"):
        pooling.max_unpool_backward(
            jnp.ones((1, 5, 2)), jnp.ones((1, 3, 2)), np.zeros((1, 3, 2), np.int32), size=6
        )
