import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import training
from chainrule.training.optimizers import OPTIMIZERS

# What optax's own schedules and optimizers need.
pytestmark = pytest.mark.usefixtures("standard_promotion")
GRADIENT = jnp.asarray([3.0, 4.0])


@pytest.fixture
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def rates(count, **settings):
    """The rate at every step: what plain descent multiplies a gradient of 1 by."""
    optimizer = training.optimizer("sgd", **settings)
    state, found = optimizer.init(jnp.zeros(())), []
    for _ in range(count):
        update, state = optimizer.update(jnp.ones(()), state)
        found.append(-float(update))
    return found


def test_the_schedules_are_the_formulas():
    assert rates(3, eta=0.5) == [0.5, 0.5, 0.5]
    np.testing.assert_allclose(
        rates(6, eta=0.4, schedule="linear", steps=4), [0.4, 0.3, 0.2, 0.1, 0, 0], atol=1e-7
    )
    np.testing.assert_allclose(  # what falls is what the warm-up leaves of the steps
        rates(6, eta=0.4, schedule="cosine", steps=6, warmup=2),
        [0, 0.2, *(0.2 * (1 + np.cos(np.pi * np.arange(4) / 4)))],
        atol=1e-7,
    )
    s = np.arange(5) / 4
    np.testing.assert_allclose(
        rates(5, eta=0.4, schedule="cosine", steps=4), 0.2 * (1 + np.cos(np.pi * s)), atol=1e-7
    )
    np.testing.assert_allclose(
        rates(6, eta=0.4, schedule="linear", steps=6, warmup=2),
        [0, 0.2, 0.4, 0.3, 0.2, 0.1],
        atol=1e-7,
    )
    np.testing.assert_allclose(rates(4, eta=0.4, warmup=2), [0, 0.2, 0.4, 0.4], atol=1e-7)


def test_a_long_gradient_is_shortened_and_a_short_one_left():
    optimizer = training.optimizer("sgd", 1.0, clip=2.5)
    state = optimizer.init(GRADIENT)
    np.testing.assert_allclose(optimizer.update(GRADIENT, state)[0], [-1.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(optimizer.update(GRADIENT / 5, state)[0], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_name_is_the_optimizer_of_optax(name):
    ours, theirs = training.optimizer(name, 0.1), getattr(optax, name)(0.1)
    for optimizer in (ours, theirs):
        assert hasattr(optimizer, "update")
    params = jnp.ones(2)
    got = ours.update(GRADIENT, ours.init(params), params)[0]
    want = theirs.update(GRADIENT, theirs.init(params), params)[0]
    np.testing.assert_array_equal(got, want)


def test_settings_are_those_of_optax():
    training.optimizer("sgd", 1.0, momentum=None)  # its default
    optimizer = training.optimizer("sgd", 1.0, momentum=0.5)
    first, state = optimizer.update(GRADIENT, optimizer.init(GRADIENT))
    second, _ = optimizer.update(GRADIENT, state)
    np.testing.assert_allclose(second, 1.5 * np.asarray(first), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("adamm", 0.1), {}, r"unknown optimizer 'adamm': did you mean 'adam'\?"),
        (("newton", 0.1), {}, r"unknown optimizer 'newton': expected one of adabelief, .*, sgd"),
        (("sgd", 0.1), {"momentun": 0.9}, r"setting of sgd 'momentun': did you mean 'momentum'"),
        (("sgd", 0.1), {"schedule": "cosin"}, r"unknown schedule 'cosin': did you mean 'cosine'"),
        (("sgd", 0.0), {}, r"eta must be a finite number above 0, not 0\.0: it is a learning rate"),
        (("sgd", "0.1"), {}, r"eta must be a finite number above 0, not '0\.1'"),
        (("sgd", -1.0), {}, r"eta must be .* not -1\.0"),
        (("sgd", float("nan")), {}, r"eta must be .* not nan"),
        (("sgd", float("inf")), {}, r"eta must be .* not inf"),
        (
            ("sgd", 0.1),
            {"clip": 0.0},
            r"clip must be a finite number above 0, not 0\.0: it is the largest norm",
        ),
        (("sgd", 0.1), {"clip": float("nan")}, r"clip must be .* not nan"),
        (("sgd", 0.1), {"warmup": -1}, r"warmup must be an int of at least 0, not -1"),
        (
            ("sgd", 0.1),
            {"warmup": 9, "steps": 9},
            r"warmup must be an int from 0 to 8, not 9: the training has 9 steps",
        ),
        (("adam", 0.1), {"b1": 2}, r"b1 must be a finite number of at least 0 and below 1, not 2"),
        (("lion", 0.1), {"b2": 1.0}, r"b2 must be .* below 1, not 1\.0"),
        (("adam", 0.1), {"b1": None}, r"b1 must be .*, not None"),
        (("rmsprop", 0.1), {"decay": -0.1}, r"decay must be .*, not -0\.1"),
        (("sgd", 0.1), {"momentum": "x"}, r"momentum must be .*, not 'x'"),
        (("adamw", 0.1), {"weight_decay": float("nan")}, r"weight_decay must be .*, not nan"),
        (("adagrad", 0.1), {"eps": -1.0}, r"eps must be a finite number of at least 0, not -1\.0"),
        (("sgd", 0.1), {"nesterov": "no"}, r"nesterov must be True or False, not 'no'"),
        ((3, 0.1), {}, r"unknown optimizer 3: expected one of adabelief"),
        (("sgd", 0.1), {"steps": 2.5}, r"steps must be an int of at least 1, not 2\.5"),
        (("sgd", 0.1), {"schedule": "linear"}, r"schedule='linear' falls to 0 .*: give steps"),
    ],
)
def test_what_is_no_optimizer_is_refused_with_what_was_meant(
    arguments, settings, message, unchecked
):
    with pytest.raises(ValueError, match=message):
        training.optimizer(*arguments, **settings)
