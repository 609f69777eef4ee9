import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import stack
from chainrule.models.stack import Conv, Dense, Dropout, Norm, Pool
from chainrule.ops.activations import relu
from chainrule.ops.convolution import conv
from chainrule.ops.linear import linear
from chainrule.ops.pooling import max_pool

# The notes' network for digits: the ReLU stands after the pool.
NET = (
    Conv("conv1", 32, kernel=5),
    Pool("pool1", 3, activation=relu),
    Conv("conv2", 64, kernel=5),
    Pool("pool2", 2, activation=relu),
    Dense("dense1", 200, activation=relu),
    Dense("dense2", 10),
)
SMALL = (
    Conv("block/conv", 4, kernel=(3, 2), padding=1, dilation=(1, 2), activation=relu),
    Norm("block/norm", momentum=0.75),
    Pool("pool", 2),
    Dense("dense", 3),
)


def vgg16():
    blocks = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    for number, block in enumerate(blocks, start=1):
        for index, width in enumerate(block, start=1):
            yield Conv(f"block{number}/conv{index}", width, padding=1, activation=relu)
        yield Pool(f"block{number}/pool")
    yield from (Dense("dense1", 4096, relu), Dense("dense2", 4096, relu), Dense("dense3", 1000))


def images(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def network(rows, input_shape, **settings):
    """Parameters none of which is 0 or 1, and such a state."""
    params = stack.init(jax.random.key(3), rows, input_shape, **settings)
    noise = np.random.default_rng(4)
    params, state = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(noise.uniform(0.1, 0.3, leaf.shape), leaf.dtype),
        (params, stack.init_state(params)),
    )
    return params, state


def test_the_sizes_and_costs_of_the_notes_network():
    described = stack.describe(NET, (28, 28, 1))
    assert [layer.parameters for layer in described.layers] == [832, 0, 51_264, 0, 51_400, 2_010]
    assert described.parameters == 105_506
    assert described.multiply_adds == 460_800 + 819_200 + 51_200 + 2_000 == 1_333_200
    assert [layer.outputs for layer in described.layers] == [
        (24, 24, 32),
        (8, 8, 32),
        (4, 4, 64),
        (2, 2, 64),
        (200,),
        (10,),
    ]
    assert [layer.receptive_field for layer in described.layers] == [
        (5, 5),
        (7, 7),
        (19, 19),
        (22, 22),
        (28, 28),
        (28, 28),
    ]
    assert described.layers[0].parameter_bytes == 4 * 832
    assert described.layers[0].output_bytes == 4 * 24 * 24 * 32
    assert described.output_bytes == 4 * (18_432 + 2_048 + 1_024 + 256 + 200 + 10)


def test_the_sizes_and_costs_of_vgg16():
    described = stack.describe(tuple(vgg16()), (224, 224, 3))
    assert described.parameters == 138_357_544
    assert described.multiply_adds == 15_470_264_320
    *_, pool, dense1, _, dense3 = described.layers
    assert (pool.outputs, pool.receptive_field) == ((7, 7, 512), (212, 212))
    assert dense1.multiply_adds == 7 * 7 * 512 * 4096
    assert dense3.outputs == (1000,)


def test_what_the_pools_of_vgg16_save():
    def counted(rows):
        layers = stack.describe(rows, (224, 224, 3)).layers
        convs = sum(layer.multiply_adds for layer in layers if layer.kind == "conv")
        return convs, next(layer.parameters for layer in layers if layer.kind == "dense")

    rows = tuple(vgg16())
    with_pools, dense = counted(rows)
    without_pools, dense_without = counted(tuple(row for row in rows if not isinstance(row, Pool)))
    assert with_pools == 15_346_630_656
    # Every convolution at all 224 x 224 positions: its weights, without biases, times 50,176.
    assert without_pools == 14_710_464 * 50_176 == 738_112_241_664
    assert round(without_pools / with_pools, 1) == 48.1
    assert (dense_without - 4096) == 1024 * (dense - 4096)


@pytest.mark.parametrize(
    ("row", "input_shape", "outputs"),
    [
        (Conv("a", 5, kernel=(2, 3)), (10, 13, 4), (9, 11, 5)),
        (Conv("a", 1, kernel=3, dilation=4), (20, 30, 1), (12, 22, 1)),
        (Conv("a", 2, kernel=3), (50, 50, 3), (48, 48, 2)),
        (Conv("a", 2, kernel=3, padding=1), (50, 50, 3), (50, 50, 2)),
        (Conv("a", 1), (7, 7, 1), (5, 5, 1)),
        (Conv("a", 1, stride=2), (7, 7, 1), (3, 3, 1)),
        (Pool("a", (1, 2)), (2, 6, 2), (2, 3, 2)),
        (Pool("a", 2, dilation=3, stride=1), (7, 8, 2), (4, 5, 2)),
    ],
)
def test_the_sizes_of_the_notes(row, input_shape, outputs):
    (layer,) = stack.describe((row,), input_shape).layers
    assert layer.outputs == outputs

    @jax.jit
    def drawn(key, inputs):
        return stack.apply(stack.init(key, (row,), input_shape), inputs, (row,))

    assert drawn(jax.random.key(0), jnp.zeros((2, *input_shape))).shape == (2, *outputs)


@pytest.mark.parametrize(
    ("row", "padding"),
    [
        (Conv("a", 1, kernel=4, padding="same"), ((1, 2), (1, 2))),
        (Conv("a", 1, kernel=3, padding=((2, 1), (0, 3))), ((2, 1), (0, 3))),
        # 10 + 1 + 1 values hold 4 positions a stride of 3 apart, with two left over.
        (Conv("a", 1, kernel=1, padding=1, stride=3), ((1, 0), (1, 0))),
        (Pool("a", 3), ((0, 0), (0, 0))),
        (Pool("a", 3, ceil_mode=True), ((0, 2), (0, 2))),
        (Dense("a", 3), ()),
    ],
)
def test_the_padding_really_used(row, padding):
    (layer,) = stack.describe((row,), (10, 10, 1)).layers
    assert layer.padding == padding


def test_the_receptive_field_is_where_the_gradient_of_one_output_is():
    rows = (
        Conv("conv1", 2, kernel=(3, 2), dilation=(1, 3)),
        Pool("pool1", (2, 3), kind="avg"),
        Conv("conv2", 1, kernel=2, stride=(2, 1)),
        Pool("pool2", 2, stride=1, kind="avg", dilation=(1, 2)),
    )
    described = stack.describe(rows, (40, 40, 1))
    # All weights positive, so that nothing cancels.
    params = stack.init(
        jax.random.key(0), rows, (40, 40, 1), kernel_init=jax.nn.initializers.constant(0.5)
    )

    @jax.jit
    @jax.jacrev
    def seen(x):
        return {name: maps[0, 1, 2, 0] for name, maps in stack.features(params, x, rows).items()}

    found = seen(jnp.ones((1, 40, 40, 1)))
    assert found.keys() == {layer.name for layer in described.layers}
    for layer in described.layers:
        lit = np.nonzero(np.asarray(found[layer.name])[0, :, :, 0])
        assert tuple(np.ptp(axis) + 1 for axis in lit) == layer.receptive_field


def test_nothing_is_allocated_to_describe():
    described = stack.describe((Dense("dense", 256 * 256 * 3),), (256, 256, 3))
    (layer,) = described.layers
    assert layer.multiply_adds == 38_654_705_664
    assert described.parameters == 38_654_705_664 + 256 * 256 * 3
    assert round(4 * layer.multiply_adds / 1e9, 1) == 154.6


def test_the_columns_of_the_picture_begin_with_the_input():
    outputs, kinds, costs = stack.describe(SMALL, (6, 7, 1)).columns()
    assert list(outputs.items())[:2] == [("image", (6, 7, 1)), ("block/conv", (6, 7, 4))]
    assert kinds == ["input", "conv", "norm", "max", "dense"]
    assert costs == {
        "parameters": [0, 28, 8, 0, 111],
        "multiply-adds": [0, 1008, 0, 0, 108],
        "bytes of outputs": [0, 672, 672, 144, 12],
    }


def test_the_table():
    assert str(stack.describe(SMALL, (6, 7, 1))).splitlines() == [
        "name        kind   outputs    padding   sees   parameters  multiply-adds  outputs, kB",
        "block/conv  conv   6 x 7 x 4  1+1, 1+1  3 x 3          28          1,008          0.7",
        "block/norm  norm   6 x 7 x 4            3 x 3           8              0          0.7",
        "pool        max    3 x 3 x 4  0+0, 0+0  4 x 4           0              0          0.1",
        "dense       dense  3                    6 x 7         111            108          0.0",
        "total                                                 147          1,116          1.5",
    ]


def test_apply_is_the_same_function_written_flat():
    params, _ = network(NET, (28, 28, 1))
    inputs = images(3, 28, 28, 1)

    def flat(params, x):
        x = conv(x, params["conv1"]["kernel"], params["conv1"]["bias"])
        x = relu(max_pool(x, 3))
        x = conv(x, params["conv2"]["kernel"], params["conv2"]["bias"])
        x = relu(max_pool(x, 2)).reshape(3, 256)
        x = relu(linear(x, params["dense1"]["kernel"], params["dense1"]["bias"]))
        return linear(x, params["dense2"]["kernel"], params["dense2"]["bias"])

    def energy(function, params):
        outputs = function(params, inputs)
        return jnp.sum(outputs**2), outputs

    def run(function):
        return jax.jit(jax.grad(functools.partial(energy, function), has_aux=True))(params)

    got = run(lambda params, inputs: stack.apply(params, inputs, NET))
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(run(flat)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * float(jnp.abs(right).max()))


def test_an_activation_follows_its_row():
    inputs = jnp.array([-4.0, 2.0, 6.0, -8.0])[None, :, None]
    pool = Pool("pool", 2, kind="avg")
    np.testing.assert_array_equal(
        stack.apply({}, inputs, (pool._replace(activation=relu),))[0, :, 0], [0, 0]
    )
    double = {"conv": {"kernel": 2 * jnp.ones((1, 1, 1)), "bias": jnp.zeros(1)}}
    before = (Conv("conv", 1, kernel=1, activation=relu), pool)
    np.testing.assert_array_equal(stack.apply(double, inputs, before)[0, :, 0], [2, 6])


def test_what_every_row_hands_on_has_its_name():
    params, state = network(SMALL, (6, 7, 1))
    inputs = images(2, 6, 7, 1)
    features = stack.features(params, inputs, SMALL, state=state)
    assert list(features) == ["block/conv", "block/norm", "pool", "dense"]
    described = stack.describe(SMALL, (6, 7, 1))
    assert [f.shape[1:] for f in features.values()] == [x.outputs for x in described.layers]
    np.testing.assert_array_equal(
        features["dense"], stack.apply(params, inputs, SMALL, state=state)
    )
    np.testing.assert_array_equal(features["pool"], max_pool(features["block/norm"], 2))


def test_dense_flattens_rows_columns_channels():
    params = {"dense": {"kernel": jnp.arange(12.0)[:, None], "bias": jnp.zeros(1)}}
    inputs = jnp.zeros((1, 2, 3, 2)).at[0, 1, 2, 0].set(1)
    assert float(stack.apply(params, inputs, (Dense("dense", 1),)).squeeze()) == (1 * 3 + 2) * 2


def test_norm_on_numbers_written_out():
    rows = (Norm("norm", momentum=0.75, epsilon=0.0),)
    params = {"norm": {"scale": jnp.array([2.0, 1.0]), "bias": jnp.array([1.0, 0.0])}}
    state = {"norm": {"mean": jnp.array([4.0, 0.0]), "var": jnp.array([16.0, 1.0])}}
    inputs = jnp.array([[1.0, 10.0], [3.0, 30.0]])[:, None, :]
    # Running: 2 (x - 4) / 4 + 1 and x.
    outputs = stack.apply(params, inputs, rows, state=state)
    np.testing.assert_allclose(outputs[:, 0], [[-0.5, 10], [0.5, 30]], rtol=1e-6)
    # Of the batch: means 2 and 20, standard deviations 1 and 10.
    outputs, new = stack.apply(params, inputs, rows, state=state, train=True)
    np.testing.assert_allclose(outputs[:, 0], [[-1, -1], [3, 1]], rtol=1e-6)
    np.testing.assert_allclose(new["norm"]["mean"], [0.75 * 4 + 0.25 * 2, 0.25 * 20], rtol=1e-6)
    np.testing.assert_allclose(new["norm"]["var"], [0.75 * 16 + 0.25, 0.75 + 25], rtol=1e-6)


def test_norm_is_that_of_flax():
    rows = (Norm("norm", momentum=0.9),)
    params, state = network(rows, (5, 4, 3))
    inputs = 3 * images(8, 5, 4, 3) + 1
    peer = flax.linen.BatchNorm(momentum=0.9, epsilon=1e-5, use_running_average=False)

    def theirs(params, inputs):
        variables = {"params": params["norm"], "batch_stats": state["norm"]}
        return peer.apply(variables, inputs, mutable=["batch_stats"])

    def ours(params, inputs):
        outputs, new = stack.apply(params, inputs, rows, state=state, train=True)
        return outputs, {"batch_stats": new["norm"]}

    def run(function):
        def energy(*args):
            outputs, new = function(*args)
            return jnp.sum(outputs**3), (outputs, new)

        return jax.jit(jax.grad(energy, (0, 1), has_aux=True))(params, inputs)

    assert jax.tree.structure(run(ours)) == jax.tree.structure(run(theirs))
    for left, right in zip(jax.tree.leaves(run(ours)), jax.tree.leaves(run(theirs)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_the_state_changes_in_training_only():
    params, state = network(SMALL, (6, 7, 1))
    inputs = images(2, 6, 7, 1)
    outputs, new = stack.apply(params, inputs, SMALL, state=state, train=True)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert not np.allclose(new["block"]["norm"]["mean"], state["block"]["norm"]["mean"])
    assert not np.allclose(outputs, stack.apply(params, inputs, SMALL, state=state))


def test_nothing_is_dropped_but_in_training_with_a_key():
    rows, inputs = (Dropout("dropout", 0.75),), jnp.ones((100, 200))
    key = jax.random.key(0)
    for settings in ({}, {"key": key}, {"train": True}):
        np.testing.assert_array_equal(stack.apply({}, inputs, rows, **settings), inputs)
    dropped = stack.apply({}, inputs, rows, key=key, train=True)
    assert set(np.unique(dropped)) == {0.0, 4.0}
    # The share of 20,000 independent values, within five standard deviations.
    assert abs(float(jnp.mean(dropped == 0)) - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 20_000)
    again = stack.apply({}, inputs, rows, key=jax.random.key(1), train=True)
    assert not np.array_equal(dropped, again)


def test_two_dropouts_drop_different_values():
    rows = (Dropout("a", 0.5), Dropout("b", 0.5))
    dropped = stack.apply({}, jnp.ones((50, 100)), rows, key=jax.random.key(0), train=True)
    assert abs(float(jnp.mean(dropped == 0)) - 0.75) < 0.05


def test_what_init_draws():
    rows = (Conv("block1/conv1", 64, kernel=5), Conv("block1/conv2", 32), Dense("dense", 100))
    params = stack.init(jax.random.key(0), rows, (12, 12, 8))
    assert jax.tree.map(jnp.shape, params) == {
        "block1": {
            "conv1": {"kernel": (5, 5, 8, 64), "bias": (64,)},
            "conv2": {"kernel": (3, 3, 64, 32), "bias": (32,)},
        },
        "dense": {"kernel": (6 * 6 * 32, 100), "bias": (100,)},
    }
    for layer, fan_in in (
        (params["block1"]["conv1"], 5 * 5 * 8),
        (params["block1"]["conv2"], 3 * 3 * 64),
        (params["dense"], 1152),
    ):
        np.testing.assert_allclose(jnp.var(layer["kernel"]), 2 / fan_in, rtol=0.05)
        assert not np.any(layer["bias"])
    normed = stack.init(jax.random.key(0), SMALL, (6, 7, 1), dtype=jnp.bfloat16)
    np.testing.assert_array_equal(normed["block"]["norm"]["scale"], np.ones(4))
    assert {leaf.dtype for leaf in jax.tree.leaves(normed)} == {jnp.dtype(jnp.bfloat16)}


def test_kernels_are_drawn_as_matrices_and_are_those_that_four_axes_would_give():
    rows = (Conv("conv", 4, kernel=(2, 3)),)
    he = jax.nn.initializers.he_normal()
    drawn, plain = (
        stack.init(jax.random.key(3), rows, (5, 6, 3), kernel_init=kernel_init)
        for kernel_init in (None, he)
    )
    # Two programs: one of them may round its last bits the other way.
    kernels = (np.asarray(one["conv"]["kernel"]) for one in (drawn, plain))
    np.testing.assert_array_max_ulp(*kernels, maxulp=4)


def test_the_same_key_draws_the_same_and_no_two_layers_are_alike():
    rows = (Dense("a", 4), Dense("b", 4))
    one, two, other = (stack.init(jax.random.key(seed), rows, (4,)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["a"]["kernel"], two["a"]["kernel"])
    assert not np.allclose(one["a"]["kernel"], other["a"]["kernel"])
    assert not np.allclose(one["a"]["kernel"], one["b"]["kernel"])


# The gradient through the statistics of a batch is a difference of large numbers.
@pytest.mark.parametrize(
    ("dtype", "tolerance", "train"), [("float64", 1e-9, True), ("bfloat16", 0.05, False)]
)
def test_compiled_vmapped_and_in_other_precisions(dtype, tolerance, train, x64):
    params, state = network(SMALL, (6, 7, 1))
    inputs = images(2, 3, 6, 7, 1)

    @jax.jit
    @jax.vmap
    def step(inputs, params, state):
        def energy(params):
            result = stack.apply(params, inputs, SMALL, state=state, train=train)
            return jnp.sum(jax.tree.leaves(result)[0] ** 2), result

        return jax.grad(energy, has_aux=True)(params)

    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[..., ::-1]]), (params, state))

    def run(dtype, lanes):
        cast = jax.tree.map(lambda leaf: leaf[lanes].astype(dtype), (inputs, *two))
        return step(*cast)

    got = run(dtype, slice(None))
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(dtype)}
    for lane in range(2):
        alone = run(jnp.float64, slice(lane, lane + 1))
        for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(alone), strict=True):
            left, right = np.asarray(left[lane], np.float64), right[0]
            np.testing.assert_allclose(left, right, atol=tolerance * (np.abs(right).max() + 1e-3))


FIVE = tuple(Pool(f"pool{number}") for number in range(1, 6))
KEY = jax.random.key(0)
REFUSED = {
    "an image that five pools reduce to nothing": (
        FIVE,
        (31, 31, 1),
        r"^pool5: .*window of \(2, 2\) .* inputs of \(1, 1\)",
    ),
    "one name twice": ((Dense("a", 1), Dense("a", 1)), (3,), r"\['a'\] twice: give every row its"),
    "no features": ((Conv("a", 0),), (5, 5, 1), "^a: features=0: give an int of at least 1"),
    "a probability of 1": ((Dropout("a", 1.0),), (3,), "^a: rate must be .* below 1, not 1.0"),
    "half a feature": ((Dense("a", 2.5),), (3,), r"^a: features must be an int .* not 2\.5"),
    "no groups": ((Conv("a", 2, groups=0),), (5, 5, 1), "^a: groups=0: give an int of at least 1"),
    "no channels": (
        (Dense("a", 2),),
        (5, 0),
        r"input_shape\[1\] must be an int of at least 1, not 0",
    ),
    "a shape that is none": ((Dense("a", 2),), 5, "input_shape must be a sequence of ints, not 5"),
    "a momentum of 2": ((Norm("a", momentum=2.0),), (3,), "^a: momentum must be .*at most 1"),
    "a negative epsilon": ((Norm("a", epsilon=-1.0),), (3,), "^a: epsilon must be .*at least 0"),
    "another pool": ((Pool("a", kind="mean"),), (4, 4, 1), "^a: unknown kind 'mean': expected one"),
    "a stride of 0": ((Conv("a", 1, stride=0),), (5, 5, 1), "^a: conv: stride 0"),
    "a negative stride": ((Pool("a", stride=-1),), (5, 5, 1), "^a: max_pool: stride -1"),
    "a window of 0": ((Pool("a", 0),), (5, 5, 1), "^a: max_pool: window 0"),
    "a kernel of 0": ((Conv("a", 1, kernel=0),), (5, 5, 1), "^a: kernel 0"),
    "a kernel for another rank": (
        (Conv("a", 1, kernel=(3, 3, 3)),),
        (5, 5, 1),
        r"^a: kernel \(3, 3, 3\): .* 2 axes",
    ),
    "a kernel larger than the padded inputs": (
        (Conv("a", 1, kernel=7, padding=1),),
        (4, 4, 1),
        r"^a: conv: .*\(7, 7\).* larger than inputs of \(4, 4\) with padding \(\(1, 1\)",
    ),
    "channels that do not divide": (
        (Conv("a", 6, groups=3),),
        (5, 5, 4),
        "^a: conv: .*3 groups: the 4 channels and the 6 features must divide",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("rows", "input_shape", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_table_that_cannot_be_is_refused_when_it_is_built(rows, input_shape, message):
    with pytest.raises(ValueError, match=message):
        stack.describe(rows, input_shape)
    with pytest.raises(ValueError, match=message):
        stack.init(jax.random.key(0), rows, input_shape)


def test_what_apply_refuses():
    params, state = network(SMALL, (6, 7, 1))
    inputs = images(2, 6, 7, 1)
    with pytest.raises(ValueError, match=r"^block/norm: no state of this name: pass what .* init_"):
        stack.apply(params, inputs, SMALL)
    with pytest.raises(ValueError, match=r"^dense: no params of this name"):
        stack.apply({"block": params["block"]}, inputs, SMALL, state=state)


@pytest.mark.usefixtures("unchecked")
def test_images_of_another_size_are_refused():
    params, state = network(SMALL, (6, 7, 1))
    with pytest.raises(ValueError, match=r"^dense: linear: inputs \(2, 60\), kernel \(36, 3\)"):
        stack.apply(params, images(2, 6, 11, 1), SMALL, state=state)
    with pytest.raises(ValueError, match=r"^block/conv: conv: .* 3 channels"):
        stack.apply(params, images(2, 6, 7, 3), SMALL, state=state)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: stack.describe([3], (4,)), r"rows must be a sequence of Conv, .* not \[3\]"),
        (lambda: stack.init(KEY, None, (4,)), "rows must be a sequence .* not a NoneType"),
        (lambda: stack.apply({}, jnp.ones((1, 4)), "x"), "rows must be a sequence .* not x"),
        (lambda: stack.apply({}, [[1.0]], ()), "inputs must be an array of numbers, not a list"),
        (lambda: stack.apply({}, jnp.ones((1, 4)), (), train="no"), "train must be True or False"),
        (lambda: stack.apply({}, jnp.ones((1, 4)), (), key=3), r"made by jax\.random\.key"),
        (lambda: stack.init(3, (Dense("a", 2),), (4,)), r"made by jax\.random\.key"),
        (
            lambda: stack.init(KEY, (Dense("a", 2),), (4,), kernel_init=3),
            "kernel_init must be a",
        ),
        (lambda: stack.init(KEY, (Dense("a", 2),), (4,), dtype="x"), "dtype must be .* not 'x'"),
        (
            lambda: stack.init(KEY, (Dense("a", 2),), (4,), dtype=int),
            "dtype must be floating",
        ),
        (lambda: stack.describe((Dense("a", 2),), ()), r"input_shape \(\): give the axes of one"),
        (
            lambda: stack.init(KEY, (Dense("a", 10**6),), (10**6,)),
            r"rows for input_shape \(1000000,\) have 1,000,001,000,000 parameters, more than 2,147",
        ),
        (lambda: stack.init_state(3), "params must be the dict of layers .*, not an int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
