"""The algorithms of the CPU: each one where its shapes lead, equal to XLA's own convolution."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from chainrule.ops import _convolution_cpu, _convolution_xla, windows
from chainrule.ops.convolution import conv, plain_conv

# inputs, kernel, settings, and what runs for the value, for its change with the inputs and with
# the kernel: XLA's convolution where nothing is named
CASES = {
    "wide image": ((3, 12, 11, 4), (3, 3, 4, 5), {"padding": 1}, "", "", "_unfold_across"),
    "dilated": ((2, 20, 20, 6), (3, 3, 6, 3), {"dilation": (2, 3)}, "", "", "_unfold_across"),
    "signal": ((2, 40, 4), (3, 4, 4), {"padding": 1}, "", "", "_unfold"),
    "long signal": ((2, 40, 4), (3, 4, 4), {"stride": 2}, "", "_unfold", "_unfold"),
    "volume": ((2, 7, 6, 5, 2), (2, 2, 2, 2, 2), {"padding": 1}, "", "", "_unfold_across"),
    "one channel": ((3, 12, 11, 1), (3, 3, 1, 6), {}, "", "", "_unfold"),
    "stride": ((3, 12, 11, 4), (3, 3, 4, 5), {"stride": 2}, "", "_unfold", "_unfold"),
    "few positions": ((3, 8, 8, 4), (5, 5, 4, 9), {}, "", "_unfold", "_unfold"),
    "short rows": ((20, 16, 16, 32), (3, 3, 32, 32), {"padding": 1}, *["_unfold_across"] * 3),
    "kernel larger": ((3, 2, 2, 4), (3, 3, 4, 5), {"padding": 1}, *["_unfold"] * 3),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def arrays_of(case, dtype=jnp.float32):
    shapes = case[:2]
    return [
        jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
        for seed, shape in enumerate(shapes)
    ]


def window_of(case):
    inputs, kernel, settings = case[:3]
    given = {"stride": 1, "padding": 0, "dilation": 1, **settings}
    return windows.place("conv", inputs[1:-1], kernel[:-2], **given)


def gradients(operator, arrays, settings, argnums=(0, 1)):
    def energy(*arrays):
        return jnp.sum(operator(*arrays, **settings) ** 2)

    return jax.jit(jax.grad(energy, argnums))(*arrays)


def assert_equal(got, want, rtol=1e-10):
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol * np.abs(right).max())


@every_case
def test_every_shape_takes_its_algorithm(case, monkeypatch):
    ran = []
    for name in ("_unfold", "_unfold_across"):
        function = getattr(_convolution_cpu, name)
        monkeypatch.setattr(
            _convolution_cpu,
            name,
            lambda *args, name=name, function=function, **settings: (
                ran.append(name) or function(*args, **settings)
            ),
        )
    arrays, window = arrays_of(case), window_of(case)
    functions = (
        _convolution_cpu.conv,
        _convolution_cpu._inputs_tangent,
        _convolution_cpu._unfolded,
    )
    for function, expected in zip(functions, case[3:], strict=True):
        ran.clear()
        jax.eval_shape(lambda *arrays, function=function: function(*arrays, window), *arrays)
        assert ran == ([expected] if expected else [])


@every_case
@pytest.mark.parametrize("chunk", [1, 10**9])
def test_values_and_gradients_are_those_of_xla(case, chunk, monkeypatch, x64):
    # Unfolded one sample at a time, or all at once.
    monkeypatch.setattr(_convolution_cpu, "_CHUNK", chunk)
    arrays, settings = arrays_of(case, jnp.float64), case[2]
    assert_equal(conv(*arrays, **settings), plain_conv(*arrays, **settings))
    assert_equal(gradients(conv, arrays, settings), gradients(plain_conv, arrays, settings))


@pytest.mark.parametrize("strip", [1, 5_000, 10**9])
@pytest.mark.parametrize("name", ["wide image", "dilated", "signal", "volume"])
def test_strips_of_rows_are_the_whole(name, strip, monkeypatch, x64):
    # A row at a time, some rows or some samples, everything at once.
    monkeypatch.setattr(_convolution_cpu, "_STRIP", strip)
    arrays, window = arrays_of(CASES[name], jnp.float64), window_of(CASES[name])
    values, by_arrays = (
        jax.jit(lambda *arrays, f=f: (f(*arrays, window), energy_gradient(f, arrays, window)))
        for f in (_convolution_cpu._in_strips, _convolution_xla.plain)
    )
    assert_equal(values(*arrays), by_arrays(*arrays))


def energy_gradient(f, arrays, window):
    return jax.grad(lambda *arrays: jnp.sum(f(*arrays, window) ** 2), (0, 1))(*arrays)


@pytest.mark.parametrize(
    ("shape", "kernel", "dtype", "strips"),
    [
        ((4, 56, 56, 64), (3, 3, 64, 8), "float32", True),
        ((4, 28, 28, 32), (3, 3, 32, 8), "float32", False),  # a small image
        ((4, 28, 28, 32), (3, 3, 32, 8), "bfloat16", True),
        ((4, 56, 56, 64), (3, 3, 64, 8), "float16", False),  # its products would overflow
        ((0, 28, 28, 32), (3, 3, 32, 8), "bfloat16", False),
        ((4, 28, 28, 3), (3, 3, 3, 8), "bfloat16", False),  # little to multiply
    ],
)
def test_large_images_and_bfloat16_are_unfolded_in_strips(
    shape, kernel, dtype, strips, monkeypatch
):
    ran, function = [], _convolution_cpu._in_strips
    monkeypatch.setattr(
        _convolution_cpu, "_in_strips", lambda *args: ran.append(1) or function(*args)
    )
    arrays = [jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel)]
    by_kernel = jax.eval_shape(
        lambda *arrays: jax.grad(lambda *a: conv(*a, padding=1).sum(), 1)(*arrays), *arrays
    )
    assert by_kernel.shape == kernel
    assert by_kernel.dtype == dtype
    assert bool(ran) == strips


def test_gradients_in_bfloat16_are_those_of_the_same_numbers_in_float32():
    inputs, kernel = arrays_of(((3, 12, 10, 16), (3, 3, 16, 8)), jnp.bfloat16)
    g = arrays_of(((3, 12, 10, 8),), jnp.bfloat16)[0]

    def back(f, *arrays):
        return jax.vjp(functools.partial(f, padding=1), *arrays[:2])[1](arrays[2])

    half = jax.jit(functools.partial(back, conv))(inputs, kernel, g)
    wide = (x.astype(jnp.float32) for x in (inputs, kernel, g))
    for got, want in zip(half, jax.jit(functools.partial(back, plain_conv))(*wide), strict=True):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            got.astype(jnp.float32), want, rtol=0, atol=0.006 * float(jnp.abs(want).max())
        )


def test_an_empty_batch_has_no_outputs_and_no_gradient():
    inputs, kernel = jnp.zeros((0, 8, 8, 2)), jnp.ones((3, 3, 2, 4))
    assert conv(inputs, kernel).shape == (0, 6, 6, 4)
    by_inputs, by_kernel = gradients(conv, (inputs, kernel), {})
    assert by_inputs.shape == inputs.shape
    np.testing.assert_array_equal(by_kernel, np.zeros(kernel.shape))


def test_the_gradient_of_a_bfloat16_kernel_is_not_summed_in_bfloat16(monkeypatch):
    monkeypatch.setattr(_convolution_cpu, "_CHUNK", 1)
    inputs, kernel = jnp.ones((1000, 4, 4, 1), jnp.bfloat16), jnp.zeros((1, 1, 1, 1), jnp.bfloat16)
    # 256 + 1 = 256 in bfloat16: a sum of ones stops there.
    by_kernel = jax.jit(jax.grad(lambda kernel: jnp.sum(conv(inputs, kernel))))(kernel)
    assert float(by_kernel.squeeze()) == 16000


def convolutions(program):
    """The dimensions of inputs, kernel and outputs of every convolution of a compiled program."""
    return re.findall(r"dim_labels=(\S+?)[,\s]", program.as_text())


@pytest.mark.parametrize("name", ["wide image", "dilated", "few positions"])
def test_every_convolution_of_a_scan_is_an_ordinary_one(name):
    case = CASES[name]
    inputs, kernel = arrays_of(case)

    def train(operator, kernel):
        def step(carry, _):
            inputs, kernel = carry
            by_inputs, by_kernel = gradients(operator, (inputs, kernel), case[2])
            return (inputs - 0.1 * by_inputs, kernel - 0.1 * by_kernel), None

        return lax.scan(step, (inputs, kernel), None, length=3)[0]

    found = {
        operator: set(
            convolutions(jax.jit(train, static_argnums=0).lower(operator, kernel).compile())
        )
        for operator in (conv, plain_conv)
    }
    assert found[conv] == {"b01f_01io->b01f"}
    # What is avoided is there otherwise: when this fails, XLA has learned it and we can forget it.
    assert found[plain_conv] > {"b01f_01io->b01f"}


def test_elsewhere_everything_is_xlas_own():
    arrays = arrays_of(CASES["wide image"])

    def program(operator, platform):
        step = jax.jit(lambda *arrays: gradients(operator, arrays, {"padding": 1}))
        return step.trace(*arrays).lower(lowering_platforms=(platform,)).as_text()

    for platform in ("cuda", "tpu"):
        assert "dot_general" not in program(conv, platform)
        for operation in ("stablehlo.convolution", "stablehlo.reverse"):
            expected = program(plain_conv, platform).count(operation)
            assert program(conv, platform).count(operation) == expected > 0
    assert "dot_general" in program(conv, "cpu")


def test_what_needs_no_gradient_costs_none():
    arrays = arrays_of(CASES["wide image"])

    def count(argnums):
        program = jax.make_jaxpr(lambda *arrays: gradients(conv, arrays, {"padding": 1}, argnums))
        return str(program(*arrays)).count("platform_index")

    assert count(0) == count(1) < count((0, 1))


def test_the_way_back_keeps_no_unfolded_inputs():
    inputs, kernel = jnp.ones((64, 28, 28, 32)), jnp.ones((3, 3, 32, 32))

    def by_kernel(inputs, kernel, g):
        return jax.vjp(lambda kernel: conv(inputs, kernel, padding=1), kernel)[1](g)

    program = jax.jit(by_kernel).lower(inputs, kernel, inputs).compile()
    unfolded = 64 * 30 * 28 * (3 * 32 + 3 * 32) * 4
    assert program.memory_analysis().temp_size_in_bytes < unfolded / 4


def test_hessian_times_vector_in_both_orders(x64):
    arrays = arrays_of(CASES["wide image"], jnp.float64)
    along = arrays_of(CASES["wide image"], jnp.float64)[::-1]

    def energy(operator, *arrays):
        return jnp.sum(jnp.sin(operator(*arrays, padding=1)))

    def products(operator):
        grad = jax.grad(lambda kernel: energy(operator, arrays[0], kernel))
        forward = jax.jvp(grad, (arrays[1],), (along[0],))[1]
        backward = jax.grad(lambda kernel: jnp.vdot(grad(kernel), along[0]))(arrays[1])
        return forward, backward

    forward, backward = jax.jit(lambda: products(conv))()
    assert_equal(forward, backward)
    assert_equal(forward, jax.jit(lambda: products(plain_conv))()[0])


@pytest.fixture
def rough(monkeypatch):
    """Whoever allows TensorFloat-32 gets Winograd's filtering, here for few channels too."""
    monkeypatch.setattr(_convolution_cpu, "_MANY", 2)
    with jax.default_matmul_precision("tensorfloat32"):
        yield


TILED = {
    "tiles that fit": ((2, 24, 28, 3), {"padding": 1}),
    "tiles that do not": ((2, 25, 27, 3), {"padding": ((0, 1), (2, 0))}),
    "more padding than the kernel sees": ((2, 24, 25, 2), {"padding": 3}),
}


@pytest.mark.parametrize("case", TILED.values(), ids=TILED.keys())
def test_minimal_filtering_is_the_convolution(case, rough, x64):
    shape, settings = case
    arrays = arrays_of((shape, (3, 3, shape[-1], 4)), jnp.float64)
    jaxpr = str(jax.make_jaxpr(lambda *arrays: conv(*arrays, **settings))(*arrays))
    assert jaxpr.count("dot_general[") == 36
    run = jax.jit(lambda operator: operator(*arrays, **settings), static_argnums=0)
    assert_equal(run(conv), run(plain_conv))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "tiles that do not" else pytest.mark.soak)
        for name in TILED
    ],
)
def test_minimal_filtering_has_the_gradients_of_the_convolution(name, rough, x64):
    shape, settings = TILED[name]
    arrays = arrays_of((shape, (3, 3, shape[-1], 4)), jnp.float64)

    def values_and_gradients(operator):
        def energy(*arrays):
            outputs = operator(*arrays, **settings)
            return jnp.sum(outputs**2), outputs

        return jax.jit(jax.grad(energy, (0, 1), has_aux=True))(*arrays)

    assert_equal(values_and_gradients(conv), values_and_gradients(plain_conv))


def test_minimal_filtering_has_derivatives_of_every_order(rough, monkeypatch, x64):
    monkeypatch.setattr(_convolution_cpu._winograd, "_BYTES", 1)  # one image at a time
    arrays = arrays_of(((2, 24, 24, 2), (3, 3, 2, 2)), jnp.float64)
    changes = [jnp.cos(array) for array in arrays]

    def curved(operator):
        def energy(*arrays):
            return jnp.sum(operator(*arrays, padding=1) ** 3)

        slope = jax.grad(energy, (0, 1))
        return jax.jit(lambda: jax.jvp(slope, tuple(arrays), tuple(changes)))()

    assert_equal(curved(conv), curved(plain_conv))


def test_minimal_filtering_spreads_no_nan_and_no_infinity(rough):
    inputs, kernel = arrays_of(((2, 24, 24, 3), (3, 3, 3, 4)))
    inputs = inputs.at[0, 5, 6, 1].set(jnp.nan).at[1, 9, 9, 0].set(jnp.inf)
    want = jax.jit(lambda: plain_conv(inputs, kernel, padding=1))()
    g = jnp.ones(want.shape).at[0, 5, 6, 0].set(jnp.nan)

    @jax.jit
    def both_ways():
        got, pull_back = jax.vjp(lambda inputs: conv(inputs, kernel, padding=1), inputs)
        return got, pull_back(g)

    got, (back,) = both_ways()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    # On the way back a NaN spreads, but no farther than the tile that it touches.
    spoiled = np.argwhere(np.isnan(back).any(-1))
    assert set(spoiled[:, 0]) == {0}
    assert (spoiled[:, 1:].min(0) >= 4).all()
    assert (spoiled[:, 1:].max(0) <= 7).all()


def test_the_error_of_minimal_filtering_is_what_is_stated():
    inputs, kernel = arrays_of(((2, 32, 32, 128), (3, 3, 128, 128)), jnp.float32)
    exact = plain_conv(inputs, kernel, padding=1)
    np.testing.assert_array_equal(conv(inputs, kernel, padding=1), exact)
    with jax.default_matmul_precision("tensorfloat32"):
        rough = conv(inputs, kernel, padding=1)
    error = float(jnp.abs(rough - exact).max() / jnp.abs(exact).max())
    assert 1e-7 < error < _convolution_cpu._winograd.ERROR


@pytest.mark.parametrize(
    ("wins", "size", "kernel", "settings"),
    [
        (True, 48, (3, 3, 128, 128), {"padding": 1}),
        (False, 48, (5, 5, 128, 128), {"padding": 2}),
        (False, 48, (3, 3, 128, 128), {"padding": 1, "stride": 2}),
        (False, 48, (3, 3, 128, 128), {"padding": 1, "dilation": 2}),
        (False, 48, (3, 3, 64, 128), {"padding": 1}),  # few channels
        (False, 48, (3, 3, 128, 64), {"padding": 1}),  # few features
        (False, 12, (3, 3, 128, 128), {"padding": 1}),  # little more than a tile
    ],
)
def test_minimal_filtering_is_for_large_ordinary_convolutions_only(wins, size, kernel, settings):
    window = windows.place(
        "conv", (size, size), kernel[:2], **{"stride": 1, "padding": 0, "dilation": 1, **settings}
    )
    weights = jax.ShapeDtypeStruct(kernel, jnp.float32)
    with jax.default_matmul_precision("tensorfloat32"):
        chosen = _convolution_cpu._minimal_wins.__wrapped__(8, window.outputs, weights, window)
    assert chosen == wins


def test_the_features_of_a_kernel_may_lie_on_several_devices():
    mesh = jax.make_mesh((1,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    parts = jax.sharding.PartitionSpec(None, None, None, "devices")
    inputs, kernel = arrays_of(CASES["wide image"])

    def energy(convolve, inputs, kernel):
        return jnp.sum(jnp.sin(convolve(inputs, kernel, padding=1)))

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(jax.sharding.PartitionSpec(), parts),
        out_specs=(jax.sharding.PartitionSpec(), parts),
    )
    def slopes(inputs, kernel):
        return jax.grad(functools.partial(energy, conv), (0, 1))(inputs, kernel)

    expected = jax.grad(functools.partial(energy, plain_conv), (0, 1))(inputs, kernel)
    for found, slope in zip(slopes(inputs, kernel), expected, strict=True):
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=1e-4)
