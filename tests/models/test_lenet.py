import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import losses
from chainrule.models import lenet, stack
from chainrule.models.pretrained import layouts
from chainrule.models.stack import Conv, Dense, Norm, Pool

NAMES = [f"{layer}.{leaf}" for layer in lenet.TORCH_NAMES.values() for leaf in ("weight", "bias")]


@pytest.fixture(scope="module")
def stored():
    """PyTorch's own tensors and results, see make_torch_lenet.py."""
    with np.load(pathlib.Path(__file__).parent / "torch_lenet.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def tensors(stored):
    return {name: (stored[name] / 64).astype(np.float32) for name in NAMES}


def test_it_has_the_sizes_of_the_notes():
    described = stack.describe(lenet.ROWS, lenet.INPUT_SHAPE)
    learning = [layer.parameters for layer in described.layers if layer.parameters]
    assert learning == [832, 51_264, 51_400, 2_010]
    assert (described.parameters, described.multiply_adds) == (105_506, 1_333_200)
    params = lenet.init(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 105_506
    assert not any(np.any(layer["bias"]) for layer in params.values())
    fan_in = {"conv1": 25, "conv2": 800, "dense1": 256, "dense2": 200}
    for name, layer in params.items():
        np.testing.assert_allclose(jnp.var(layer["kernel"]), 1 / (3 * fan_in[name]), rtol=0.1)
        assert jnp.abs(layer["kernel"]).max() <= fan_in[name] ** -0.5


def test_the_net_of_pytorch_gives_the_same_logits_and_gradients(stored, tensors):
    params = lenet.from_torch(tensors)
    inputs = jnp.asarray(np.moveaxis(stored["images"], 1, -1) / 4, jnp.float32)

    def loss(params, inputs):
        logits = lenet.apply(params, inputs)
        loss = losses.cross_entropy(logits, jnp.asarray(stored["labels"]))
        return loss, (logits, lenet.features(params, inputs))

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (value, (logits, features)), (by_params, by_inputs) = run(params, inputs)
    np.testing.assert_allclose(logits, stored["logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(value, stored["loss"], rtol=1e-6)
    np.testing.assert_allclose(np.moveaxis(by_inputs, -1, 1), stored["by_inputs"], atol=1e-6)
    back = lenet.to_torch(by_params)
    np.testing.assert_allclose(back["fc2.weight"], stored["by_fc2"], rtol=1e-4, atol=1e-6)
    assert features.keys() == {row.name for row in lenet.ROWS}
    np.testing.assert_array_equal(features["dense2"], logits)


class Net(nn.Module):
    """The notes' network as people write it in flax."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(32, (5, 5), padding="VALID", name="conv1")(x)
        x = nn.relu(nn.max_pool(x, (3, 3), strides=(3, 3)))
        x = nn.Conv(64, (5, 5), padding="VALID", name="conv2")(x)
        x = nn.relu(nn.max_pool(x, (2, 2), strides=(2, 2)))
        x = nn.relu(nn.Dense(200, name="dense1")(x.reshape(len(x), -1)))
        return nn.Dense(10, name="dense2")(x)


def test_the_parameters_go_into_flax_unchanged(stored, tensors):
    params = lenet.from_torch(tensors)
    inputs = jnp.asarray(np.moveaxis(stored["images"], 1, -1) / 4, jnp.float32)
    logits = jax.jit(Net().apply)({"params": params}, inputs)
    np.testing.assert_allclose(logits, stored["logits"], rtol=1e-5, atol=1e-5)


def test_the_way_to_pytorch_and_back_changes_nothing(tensors):
    again = lenet.to_torch(lenet.from_torch(tensors))
    assert list(again) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(again[name], tensors[name])


def test_tensors_that_do_not_fit_are_all_named(tensors):
    wrong = tensors | {
        "conv1.weight": np.zeros((5, 5, 1, 32), np.float32),
        "fc2.bias": np.zeros(10, np.int64),
        "fc3.weight": np.zeros(3, np.float32),
    }
    del wrong["fc1.weight"]
    with pytest.raises(ValueError, match=r"^4 tensors do not fit") as error:
        lenet.from_torch(wrong)
    assert str(error.value).splitlines()[1:] == [
        "  fc1.weight is missing",
        "  fc3.weight is not expected",
        "  conv1.weight is (5, 5, 1, 32), expected (32, 1, 5, 5)",
        "  fc2.bias is int64, expected floating-point numbers",
    ]


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 1, 28, 28), (3, 32, 32, 1)])
@pytest.mark.usefixtures("unchecked")
def test_images_of_another_shape_are_refused(shape):
    params = jax.eval_shape(lenet.init, jax.random.key(0))
    for function in (lenet.apply, lenet.features):
        with pytest.raises(ValueError, match=r"lenet: inputs \(3, .*must be \[batch, 28, 28, 1\]"):
            jax.eval_shape(function, params, jnp.zeros(shape))


def test_running_statistics_and_groups_make_the_way_too():
    # Rectangles, groups, a second dense layer: nothing that could be exchanged unseen.
    rows = (
        Conv("block/conv", 6, kernel=(2, 3), groups=2),
        Norm("block/norm"),
        Pool("pool", (2, 1)),
        Dense("one", 5),
        Dense("two", 3),
    )
    names = {"block/conv": "features.0", "block/norm": "features.1", "one": "a", "two": "b"}
    shapes = {
        "features.0.weight": (6, 2, 2, 3),
        "features.0.bias": (6,),
        "features.1.weight": (6,),
        "features.1.bias": (6,),
        "features.1.running_mean": (6,),
        "features.1.running_var": (6,),
        "a.weight": (5, 6 * 2 * 4),
        "a.bias": (5,),
        "b.weight": (3, 5),
        "b.bias": (3,),
    }
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    counted = tensors | {"features.1.num_batches_tracked": np.array(7)}
    params, state = layouts.from_torch(counted, names, rows, (5, 6, 4))
    assert jax.tree.map(jnp.shape, (params, state)) == (
        {
            "block": {
                "conv": {"kernel": (2, 3, 2, 6), "bias": (6,)},
                "norm": {"scale": (6,), "bias": (6,)},
            },
            "one": {"kernel": (48, 5), "bias": (5,)},
            "two": {"kernel": (5, 3), "bias": (3,)},
        },
        {"block": {"norm": {"mean": (6,), "var": (6,)}}},
    )
    kernel = params["block"]["conv"]["kernel"]
    assert kernel[1, 2, 0, 4] == tensors["features.0.weight"][4, 0, 1, 2]
    # Row 1, column 2, channel 3 of 2 x 4 x 6, and channel 3, row 1, column 2 of 6 x 2 x 4.
    assert (
        params["one"]["kernel"][(1 * 4 + 2) * 6 + 3, 4]
        == tensors["a.weight"][4, (3 * 2 + 1) * 4 + 2]
    )
    np.testing.assert_array_equal(state["block"]["norm"]["var"], tensors["features.1.running_var"])
    again = layouts.to_torch(params, state, names, rows, (5, 6, 4))
    assert list(again) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(again[name], tensor)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: lenet.from_torch({1: np.ones(2)}), r"tensors holds \[1\]: names must be text"),
        (lambda: lenet.from_torch(3), "tensors must be a mapping of names to arrays, not an int"),
        (lambda: lenet.to_torch(3), "params must be the dict of layers .*, not an int"),
        (lambda: lenet.to_torch({1: 2}), r"params holds \[1\]: names must be text"),
        (
            lambda: layouts.to_torch({}, {}, {}, (Dense("dense", 3),), (2,)),
            "names holds no 'dense': it must name every row with parameters",
        ),
        (  # nothing of that size is made for the comparison
            lambda: layouts.from_torch({}, {"dense": "fc"}, (Dense("dense", 3),), (10**6, 10**6)),
            "2 tensors do not fit.*\n  fc.weight is missing\n  fc.bias is missing",
        ),
        (
            lambda: layouts.from_torch({}, 3, (Dense("dense", 3),), (2,)),
            "names must be a mapping of the names of rows .*, not an int",
        ),
        (lambda: lenet.apply({}, jnp.ones((1, 28, 28))), r"lenet: inputs \(1, 28, 28\): they must"),
        (lambda: lenet.apply({}, "x"), "inputs must be an array of numbers, not a str"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_mapping_and_no_digit_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
