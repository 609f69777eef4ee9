"""Reasons with planted answers, against closed forms, and on weights that are drawn anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import data
from chainrule.models import reasons, stack, vgg
from chainrule.models.pretrained.preprocessing import DIGITS, preprocess
from chainrule.models.stack import Conv, Dense, Pool
from chainrule.ops.activations import relu

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (3, 8, 8, 2))


def corner(images):
    """A network that looks at the upper left 3 x 3 pixels alone; class 1 likes them bright."""
    seen = jnp.tanh(jnp.sum(images[:, :3, :3, 0], axis=(1, 2)) / 9)
    return jnp.stack([-seen, 2 * seen, jnp.zeros_like(seen)], axis=1)


WAYS = {
    "gradient": reasons.gradient,
    "smoothed": lambda *args: reasons.smoothed(*args, key=KEY, samples=4),
    "input times gradient": reasons.input_times_gradient,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_looks_at_one_corner_has_its_reasons_there(way):
    classes = jnp.array([0, 1, 1])
    found = np.array(WAYS[way](corner, IMAGES, classes))
    assert (found[:, :3, :3, 0] != 0).all()
    found[:, :3, :3, 0] = 0
    assert (found == 0).all()
    assert (np.asarray(WAYS[way](corner, IMAGES, jnp.array([2, 2, 2]))) == 0).all()


def test_the_gradient_is_the_closed_form_and_the_class_the_likeliest_unless_said():
    sums = np.asarray(jnp.mean(IMAGES[:, :3, :3, 0], axis=(1, 2)))
    slope = 1 / np.cosh(sums) ** 2 / 9
    of_one = np.asarray(reasons.gradient(corner, IMAGES, jnp.array([1, 1, 1])))
    np.testing.assert_allclose(of_one[:, 1, 1, 0], 2 * slope, rtol=1e-5)
    best = np.asarray(reasons.gradient(corner, IMAGES))
    np.testing.assert_allclose(best[:, 1, 1, 0], np.where(sums > 0, 2, -1) * slope, rtol=1e-5)


def cubes(images):
    return jnp.sum(images**3, axis=(1, 2, 3))[:, None]


def test_smoothing_a_cube_adds_three_variances():
    # The mean of 3 (x + e)^2 is 3 x^2 + 3 sigma^2.
    image = jnp.linspace(-1, 1, 16).reshape(1, 4, 4, 1)
    found = reasons.smoothed(cubes, image, key=KEY, noise=0.1, samples=4000)
    expected = 3 * image**2 + 3 * 0.2**2
    np.testing.assert_allclose(found, expected, atol=0.07)
    still = reasons.smoothed(cubes, image, key=KEY, noise=0.0, samples=3)
    np.testing.assert_allclose(still, 3 * image**2, rtol=1e-5)


ROWS = (
    Conv("conv1", 4, padding=1, activation=relu),
    Pool("pool1", 2),
    Conv("conv2", 6, padding=1, activation=relu),
    Dense("dense", 3),
)


def test_without_biases_the_shares_add_up_to_the_logit():
    params = jax.jit(lambda key: stack.init(key, ROWS, (8, 8, 2)))(KEY)
    apply = jax.jit(lambda images: stack.apply(params, images, ROWS))
    found = reasons.input_times_gradient(apply, IMAGES)
    logits = np.max(apply(IMAGES), axis=1)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), logits, rtol=1e-4)


def test_behind_an_average_grad_cam_is_the_class_activation_map():
    # There the gradient is the weight of the channel, everywhere (Zhou et al., 2016).
    maps = jax.nn.relu(jax.random.normal(KEY, (2, 5, 4, 6)))
    weights = jax.random.normal(jax.random.key(2), (6, 3))
    classes = jnp.array([2, 0])
    found = reasons.grad_cam(lambda a: a.mean(axis=(1, 2)) @ weights, maps, classes)
    expected = jnp.einsum("nhwc,cn->nhw", maps, weights[:, classes]) / 20
    np.testing.assert_allclose(found, jax.nn.relu(expected), rtol=1e-5, atol=1e-6)


def test_grad_cam_of_what_sees_a_bright_corner_lights_that_corner():
    # The kernel passes the image on, and the head weighs it: only its bright corner is there.
    params = {
        "conv": {"kernel": jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1), "bias": jnp.zeros(1)},
        "dense": {"kernel": jnp.ones((64, 1)), "bias": jnp.zeros(1)},
    }
    rows = (Conv("conv", 1, padding=1, activation=relu), Dense("dense", 1))
    image = jnp.zeros((1, 8, 8, 1)).at[:, 5:, :3].set(2.0)
    body, head = reasons.halves(params, rows, "conv")
    found = reasons.grad_cam(head, body(image))
    np.testing.assert_array_equal(found, image[..., 0])
    assert reasons.enlarge(found, 16, 24).shape == (1, 16, 24)


def ranks(values):
    order = np.empty(values.size)
    order[np.argsort(values, axis=None)] = np.arange(values.size)
    return order


def likeness(a, b):
    """The mean over images of the rank correlation of the magnitudes of two maps."""
    found = [
        np.corrcoef(ranks(np.abs(x)), ranks(np.abs(y)))[0, 1] for x, y in zip(a, b, strict=True)
    ]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def maps():
    """Every reason for 20 digits: by the shipped weights, and by weights drawn anew."""
    digits = data.mnist("test", source="embedded")
    inputs = preprocess(digits.images[:20, ..., None], DIGITS)
    classes = jnp.asarray(digits.labels[:20])
    trained, state = vgg.pretrained("digits")
    drawn = vgg.init(KEY, ((16,), (32, 32), (64, 64)), 28, 1, 10, batch_norm=True, hidden=())

    @jax.jit
    def ways(params):
        def logits(images):
            return vgg.apply(params, images, state=state)

        body, head = reasons.halves(params, vgg.rows_of(params), "block2/norm2", state=state)
        return {
            "gradient": reasons.gradient(logits, inputs, classes),
            "smoothed": reasons.smoothed(logits, inputs, classes, key=KEY, samples=8),
            "input times gradient": reasons.input_times_gradient(logits, inputs, classes),
            "grad-cam": reasons.grad_cam(head, body(inputs), classes),
        }

    last = trained | {"dense1": drawn["dense1"]}
    return {name: ways(params) for name, params in
            (("trained", trained), ("last layer drawn", last), ("all drawn", drawn))}  # fmt: skip


@pytest.mark.parametrize("way", ["gradient", "smoothed", "input times gradient", "grad-cam"])
def test_reasons_change_with_the_weights(way, maps):
    trained = maps["trained"][way]
    assert likeness(trained, trained) == pytest.approx(1)
    for drawn in ("last layer drawn", "all drawn"):
        assert likeness(trained, maps[drawn][way]) < 0.75, drawn


def test_what_ignores_the_weights_would_be_seen():
    # A map that is the image itself, as of an edge detector: the weights change nothing in it.
    digits = data.mnist("test", source="embedded").images[:3].astype(float)
    assert likeness(digits, digits) > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((corner, IMAGES[0]), r"images \(8, 8, 2\): they must be .* a batch of one, images\[None"),
        (
            (corner, IMAGES, jnp.array([0, 1])),
            r"classes must be one integer an image, of shape \(3",
        ),
        ((corner, IMAGES, jnp.array([0, 1, 3])), "classes holds 3, and there are 3, from 0"),
        ((jnp.sum, IMAGES), r"logits must return \[3, classes\] floating-point .* not float32\(\)"),
        ((None, IMAGES), "logits must be a function from images to logits, not a NoneType"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_has_no_reasons_is_refused(arguments, message):
    for way in WAYS.values():
        with pytest.raises(ValueError, match=message):
            way(*arguments)
    if arguments[0] is corner:
        with pytest.raises(ValueError, match=message.replace("images", "maps")):
            reasons.grad_cam(*arguments)


@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"noise must be a finite number .* not -1"):
        reasons.smoothed(corner, IMAGES, key=KEY, noise=-1.0)
    with pytest.raises(ValueError, match=r"key is uint32 of shape \(2,\): pass one key made by"):
        reasons.smoothed(corner, IMAGES, key=jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match="samples must be an int from 1 to 65536, not 0"):
        reasons.smoothed(corner, IMAGES, key=KEY, samples=0)
    with pytest.raises(ValueError, match="unknown layer 'conv3': did you mean 'conv"):
        reasons.halves({}, ROWS, "conv3")
    with pytest.raises(ValueError, match=r"maps \(8, 8\): they must be \[batch, rows, columns\]"):
        reasons.enlarge(jnp.ones((8, 8)), 2, 2)
