import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from chainrule.models import stack, vgg
from chainrule.ops.activations import relu

SMALL = {"config": ((4,), (6, (5, 1))), "image_size": 9, "classes": 3, "hidden": (7,)}
KEY = jax.random.key(0)

# Parameters, with batch normalisation, multiply-adds for one image: torchvision's model zoo prints
# the first two, the last is the sum of k k C D H W.
PUBLISHED = {
    "A": (132_863_336, 132_868_840, 7_609_090_048),
    "B": (133_047_848, 133_053_736, 11_308_466_176),
    "C": (133_638_952, 133_647_400, 11_770_888_192),
    "D": (138_357_544, 138_365_992, 15_470_264_320),
    "E": (143_667_240, 143_678_248, 19_632_062_464),
}


def shapes(*args, **settings):
    return jax.eval_shape(lambda key: vgg.init(key, *args, **settings), KEY)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def network():
    """Parameters and statistics none of which is 0 or 1, and some inputs."""
    params = jax.jit(functools.partial(vgg.init, batch_norm=True, **SMALL))(KEY)
    noise = np.random.default_rng(4)
    params, state = jax.tree.map(
        lambda leaf: leaf + noise.uniform(0.1, 0.3, leaf.shape).astype(np.float32),
        (params, vgg.init_state(params)),
    )
    return params, state, images(4, 9, 9, 3)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("config", PUBLISHED)
def test_the_published_sizes_without_allocating_anything(config, batch_norm):
    drawn = shapes(config, batch_norm=batch_norm)
    parameters = PUBLISHED[config][batch_norm]
    assert sum(leaf.size for leaf in jax.tree.leaves(drawn)) == parameters
    described = stack.describe(vgg.rows(config, batch_norm=batch_norm), (224, 224, 3))
    assert described.parameters == parameters
    assert described.multiply_adds == PUBLISHED[config][2]
    assert described.layers[-1].outputs == (1000,)


def test_the_paper_counts_its_layers():
    weights = {
        config: sum(isinstance(row, stack.Conv | stack.Dense) for row in vgg.rows(config))
        for config in vgg.CONFIGS
    }
    assert weights == {"A": 11, "B": 13, "C": 16, "D": 16, "E": 19}


@pytest.mark.parametrize(
    ("size", "last"), [(224, 7), (255, 7), (256, 8), (64, 2), (63, 1), (32, 1)]
)
def test_any_size_of_image_and_number_of_classes(size, last):
    drawn = shapes("B", size, 1, 10)
    assert drawn["block1"]["conv1"]["kernel"].shape == (3, 3, 1, 64)
    assert drawn["dense1"]["kernel"].shape == (last * last * 512, 4096)
    assert drawn["dense3"]["kernel"].shape == (4096, 10)
    logits = jax.eval_shape(vgg.apply, drawn, jnp.zeros((2, size, size, 1)))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("config", vgg.CONFIGS)
def test_the_rows_are_read_off_the_parameters(config, batch_norm):
    rows = vgg.rows(config, batch_norm=batch_norm, classes=7, dropout=0.25)
    params = shapes(config, classes=7, batch_norm=batch_norm)
    assert vgg.rows_of(params, dropout=0.25) == rows


def test_more_layers_than_digits_keep_their_order():
    # A dict that went through jit is sorted: conv10 before conv2.
    params = shapes((tuple(range(1, 13)),), image_size=2, hidden=range(20, 32))
    assert list(params["block1"])[1] == "conv10"
    widths = [row.features for row in vgg.rows_of(params) if hasattr(row, "features")]
    assert widths == [*range(1, 13), *range(20, 32), 1000]


def results(function, params):
    """Logits; and training gradients, logits and statistics."""

    def energy(params):
        logits, new = function(params, True)
        return jnp.mean(logits**2), (logits, new)

    return (
        jax.jit(lambda params: function(params, False)[0])(params),
        jax.jit(jax.grad(energy, has_aux=True))(params),
    )


@pytest.fixture(scope="module")
def ours(network):
    params, state, inputs = network

    def run(params, train):
        outputs = vgg.apply(params, inputs, state=state, train=train)
        return outputs if train else (outputs, state)

    return results(run, params)


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    # Some gradients are 0 but for rounding, that of a bias before a normalisation for example.
    atol = 1e-5 * max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(ours[1][0]))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol)


def test_the_dictionaries_go_into_flax_linen(network, ours):
    params, state, inputs = network

    class Block(flax.linen.Module):
        layers: tuple[tuple[int, int], ...]

        @flax.linen.compact
        def __call__(self, x, train):
            for index, (width, k) in enumerate(self.layers, start=1):
                x = flax.linen.Conv(width, (k, k), name=f"conv{index}")(x)
                norm = flax.linen.BatchNorm(not train, momentum=0.9, name=f"norm{index}")
                x = flax.linen.relu(norm(x))
            return flax.linen.max_pool(x, (2, 2), (2, 2))

    class VGG(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, train):
            x = Block(((4, 3),), name="block1")(x, train)
            x = Block(((6, 3), (5, 1)), name="block2")(x, train).reshape(x.shape[0], -1)
            x = flax.linen.relu(flax.linen.Dense(7, name="dense1")(x))
            return flax.linen.Dense(3, name="dense2")(x)

    def theirs(params, train):
        variables = {"params": params, "batch_stats": state}
        logits, new = VGG().apply(variables, inputs, train, mutable=["batch_stats"])
        return logits, new["batch_stats"]

    assert_equal(ours, results(theirs, params))


def test_the_dictionaries_go_into_flax_nnx(network, ours):
    params, state, inputs = network
    rngs = nnx.Rngs(0)

    class Block(nnx.Module):
        def __init__(self, channels, layers):
            self.count = len(layers)
            for index, (width, k) in enumerate(layers, start=1):
                setattr(self, f"conv{index}", nnx.Conv(channels, width, (k, k), rngs=rngs))
                setattr(self, f"norm{index}", nnx.BatchNorm(width, momentum=0.9, rngs=rngs))
                channels = width

        def __call__(self, x, train):
            for index in range(1, self.count + 1):
                norm = getattr(self, f"norm{index}")
                x = getattr(self, f"conv{index}")(x)
                x = nnx.relu(norm(x, use_running_average=not train))
            return nnx.max_pool(x, (2, 2), (2, 2))

    class VGG(nnx.Module):
        def __init__(self):
            self.block1, self.block2 = Block(3, ((4, 3),)), Block(4, ((6, 3), (5, 1)))
            self.dense1 = nnx.Linear(20, 7, rngs=rngs)
            self.dense2 = nnx.Linear(7, 3, rngs=rngs)

        def __call__(self, x, train):
            x = self.block2(self.block1(x, train), train).reshape(x.shape[0], -1)
            return self.dense2(nnx.relu(self.dense1(x)))

    graph, slots, statistics = nnx.split(VGG(), nnx.Param, nnx.BatchStat)

    def theirs(params, train):
        nnx.replace_by_pure_dict(slots, params)
        nnx.replace_by_pure_dict(statistics, state)
        model = nnx.merge(graph, slots, statistics)
        logits = model(inputs, train)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    assert_equal(ours, results(theirs, params))


def test_features_have_names_and_end_in_the_logits(network):
    params, state, inputs = network
    found = jax.jit(vgg.features)(params, inputs, state=state)
    assert {name: leaf.shape[1:] for name, leaf in found.items()} == {
        "block1/conv1": (9, 9, 4),
        "block1/norm1": (9, 9, 4),
        "block1/pool": (4, 4, 4),
        "block2/conv1": (4, 4, 6),
        "block2/norm1": (4, 4, 6),
        "block2/conv2": (4, 4, 5),
        "block2/norm2": (4, 4, 5),
        "block2/pool": (2, 2, 5),
        "dense1": (7,),
        "dense2": (3,),
    }
    logits = jax.jit(vgg.apply)(params, inputs, state=state)
    np.testing.assert_allclose(found["dense2"], logits, rtol=1e-5, atol=1e-6)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        jax.jit(vgg.probabilities)(params, inputs, state=state),
        shares / shares.sum(1, keepdims=True),
        rtol=1e-4,
        atol=1e-9,
    )
    # The ReLU stands behind the normalisation, and before it where there is none.
    assert float(found["block1/conv1"].min()) < 0 == float(found["block1/norm1"].min())
    assert vgg.rows("A")[0].activation is relu


def test_dropout_needs_a_key_and_training(network):
    params, state, inputs = network
    apply = jax.jit(vgg.apply, static_argnames=("train", "dropout"))
    keyed = functools.partial(apply, params, inputs, state=state, train=True)
    plain, _ = keyed()
    np.testing.assert_array_equal(keyed(key=KEY, dropout=0.0)[0], plain)
    one, two = keyed(key=KEY)[0], keyed(key=jax.random.key(1))[0]
    assert not np.allclose(one, plain)
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(keyed(key=KEY)[0], one)
    np.testing.assert_array_equal(
        apply(params, inputs, state=state, key=KEY), apply(params, inputs, state=state)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 31}, "image_size 31: 5 pools halve it to nothing, it must be at least 32"),
        ({"config": "F"}, "unknown config 'F': expected one of A, B, C, D, E"),
        ({"classes": 0}, "classes must be an int from 1 to 1048576, not 0"),
        ({"channels": 0}, "channels must be an int from 1 to 1048576, not 0"),
        ({"image_size": 32.0}, r"image_size must be an int from 1 to .* not 32\.0"),
        ({"hidden": (4, 0)}, r"hidden\[1\] must be an int of at least 1, not 0"),
        ({"image_size": 2**31}, "image_size must be an int from 1 to 1048576, not 2147483648"),
        ({"hidden": (10**6, 10**6)}, r"hidden \(1000000, 1000000\): rows .* have 1,0.* parameters"),
        ({"hidden": 4096}, "hidden must be a sequence of ints, not 4096"),
        ({"config": ((0,),)}, r"config \(\(0,\),\): give one of A, .* for each block the features"),
        ({"config": (64,)}, r"config \(64,\): give one of A"),
        ({"config": (((8, 3, 3),),)}, "give one of A, .* and the sizes of their kernels"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_init_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        shapes(**settings)


def test_parameters_of_another_network_are_refused():
    inputs = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"params are no VGG's: there is no block1 in \['layer1'"):
        vgg.apply({"layer1": {"kernel": jnp.ones((2, 2))}}, inputs)
    with pytest.raises(ValueError, match=r"there is no conv1 in \['norm1'\]"):
        vgg.apply({"block1": {"norm1": {}}}, inputs)
    lost = {"block1": {"conv1": {"kernel": jnp.ones((3, 3, 3, 4))}, "conv3": {}}}
    with pytest.raises(ValueError, match=r"there is no conv2 in \['conv1', 'conv3'\]"):
        vgg.apply(lost, inputs)


@pytest.mark.usefixtures("unchecked")
def test_images_of_another_size_are_refused(network):
    params, state, _ = network
    with pytest.raises(ValueError, match=r"^dense1: linear: inputs \(1, 80\), kernel \(20, 7\)"):
        jax.eval_shape(vgg.apply, params, jnp.zeros((1, 16, 16, 3)), state=state)
    with pytest.raises(ValueError, match=r"^block1/norm1: no state of this name"):
        vgg.apply(params, jnp.zeros((1, 9, 9, 3)))


@pytest.mark.parametrize("dropout", [1, -1, float("nan"), "x"])
@pytest.mark.usefixtures("unchecked")
def test_a_dropout_that_is_no_probability_below_1_is_refused(network, dropout):
    params, state, _ = network
    message = f"dropout must be a finite number of at least 0 and below 1, not {dropout!r}"
    with pytest.raises(ValueError, match=message):
        vgg.apply(params, jnp.zeros((1, 8, 8, 3)), state=state, dropout=dropout)


@pytest.mark.usefixtures("unchecked")
def test_an_empty_batch_leaves_the_running_statistics_alone(network):
    params, state, _ = network
    empty = jnp.zeros((0, 8, 8, 3))
    with pytest.raises(
        ValueError, match=r"^block1/norm1: inputs \(0, .*: an empty batch has no mean"
    ):
        vgg.apply(params, empty, state=state, train=True)
    assert len(vgg.apply(params, empty, state=state)) == 0


@pytest.mark.usefixtures("unchecked")
def test_what_are_no_parameters_and_no_key_are_refused(network):
    params, state, _ = network
    with pytest.raises(
        ValueError, match="must be the dict of blocks that init returns, not an arr"
    ):
        vgg.apply(jnp.ones(3), jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"pass one key made by jax\.random\.key"):
        vgg.apply(params, jnp.zeros((1, 8, 8, 3)), state=state, key=0, train=True)
    with pytest.raises(ValueError, match=r"pass one key made by jax\.random\.key"):
        vgg.init(0)
