"""What a training is: whatever computes other numbers is refused when it is resumed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import training
from chainrule.data.batches import Batches
from chainrule.training.checkpoints import identity, manifest
from chainrule.training.checkpoints.identity import fingerprint
from tests.training.crafted import craft


def loss(params, state, batch, key):
    return jnp.mean((params["w"] * batch["x"].astype(jnp.float32) - 1) ** 2), (state, {})


def halved(params, state, batch, key):
    return 0.5 * loss(params, state, batch, key)[0], (state, {})


def against(targets):
    """A loss that closes over an array."""

    def loss(params, state, batch, key):
        return jnp.mean((params["w"] - targets) ** 2), (state, {"x": jnp.max(batch["x"])})

    return loss


def rounded(slope):
    """A loss with a rule of its own for the gradient."""

    @jax.custom_vjp
    def straight(x):
        return jnp.round(x)

    straight.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (slope * g,))

    def through(params, state, batch, key):
        return loss({"w": straight(params["w"])}, state, batch, key)

    return through


def jitter(width):
    def augment(key, batch):
        return {"x": batch["x"] + jax.random.randint(key, (4,), 0, width)}

    return augment


DATA = {"x": np.arange(8, dtype=np.int32)}
ZEROS, ONE = np.zeros(2000, np.float32), np.zeros(2000, np.float32)
ONE[1000] = 1  # in the middle, which a printed array leaves out
ADAM = optax.adam(0.1)


def fit(folder, *, optimizer=ADAM, loss=loss, data=DATA, resume=False, accept=(), **settings):
    begin = training.create({"w": jnp.ones(())}, optimizer, key=jax.random.key(1))
    batches = Batches(data, 4, key=jax.random.key(0))
    with training.Checkpoints(folder, resume=resume, accept=accept) as checkpoints:
        return training.fit(
            begin, loss, optimizer, batches, **{"epochs": 1} | settings, checkpoints=checkpoints
        )


def cosine(steps):
    return optax.adam(optax.cosine_decay_schedule(0.1, steps))


OTHERS = {
    "nadam for adam": ({}, {"optimizer": optax.nadam(0.1)}, "optimizer: "),
    "adabelief for adam": ({}, {"optimizer": optax.adabelief(0.1)}, "optimizer: "),
    "another b1": ({}, {"optimizer": optax.adam(0.1, b1=0.5)}, "optimizer: "),
    "ten times the rate": ({}, {"optimizer": optax.adam(1.0)}, "optimizer: "),
    "sign descent for descent": (
        {"optimizer": optax.sgd(0.1)},
        {"optimizer": optax.sign_sgd(0.1)},
        "optimizer: ",
    ),
    "another schedule": ({"optimizer": cosine(10)}, {"optimizer": cosine(20)}, "optimizer: "),
    "another loss": ({}, {"loss": halved}, "loss: "),
    "another constant": ({"loss": against(ZEROS)}, {"loss": against(ONE)}, "loss: "),
    "another gradient": ({"loss": rounded(1.0)}, {"loss": rounded(2.0)}, "loss: "),
    "an augmentation": ({}, {"augment": jitter(2)}, "augment: None in the checkpoint, "),
    "another augmentation": ({"augment": jitter(2)}, {"augment": jitter(3)}, "augment: "),
    "accumulation": ({}, {"accumulate": 2}, "accumulate: 1 in the checkpoint, 2 here"),
    "the same bytes of another dtype": (
        {},
        {"data": {"x": DATA["x"].view(np.float32)}},
        r"sha256 of the data\.data\['x'\]: int32\[8\] .* float32\[8\] ",
    ),
}


@pytest.mark.parametrize(("saved", "other", "message"), OTHERS.values(), ids=OTHERS)
def test_a_training_that_computes_other_numbers_is_refused(tmp_path, saved, other, message):
    fit(tmp_path, **saved)
    fit(tmp_path, resume=True, **saved)  # the same one is not
    with pytest.raises(ValueError, match=r"belongs to another training: .*" + message):
        fit(tmp_path, resume=True, **saved | other)


def test_a_lower_rate_is_accepted_where_it_is_named_and_used(tmp_path):
    start = fit(tmp_path)
    lower = {"optimizer": optax.adam(0.01), "resume": True, "epochs": 2}
    with pytest.raises(ValueError, match=r"if that is intended: .*accept=\('optimizer',\)"):
        fit(tmp_path, **lower)
    end = fit(tmp_path, **lower, accept=["optimizer"])
    step = jax.jit(training.make_step(loss, optax.adam(0.01)))
    for at in (2, 3):
        start, _ = step(start, Batches(DATA, 4, key=jax.random.key(0))(at))
    np.testing.assert_allclose(end.params["w"], start.params["w"], rtol=1e-6)
    assert int(end.step) == 4


def test_what_is_accepted_covers_nothing_else(tmp_path):
    fit(tmp_path)
    with pytest.raises(ValueError, match=r"another training: loss: [0-9a-f]{32} in the checkpoint"):
        fit(tmp_path, loss=halved, resume=True, accept=["optimizer"])
    with pytest.raises(ValueError, match=r"unknown accept 'optimiser': did you mean 'optimizer'"):
        fit(tmp_path, resume=True, accept=["optimiser"])
    with pytest.raises(ValueError, match=r"unknown accept 'samples': expected one of loss, opt"):
        fit(tmp_path, resume=True, accept=["samples"])


def test_another_version_of_jax_is_warned_of_where_its_programs_differ(tmp_path):
    fit(tmp_path)
    path = tmp_path / "step-00000002"
    identity = manifest.read(path).identity
    craft(path, identity=identity | {"jax": "0.0.1"})
    fit(tmp_path, resume=True)  # the same programs: no warning
    craft(path, identity=identity | {"jax": "0.0.1", "loss": "0"})
    with pytest.warns(UserWarning, match=r"saved with JAX 0\.0\.1, .* whether loss are the same"):
        fit(tmp_path, resume=True)
    craft(path, identity=identity | {"jax": "0.0.1", "samples": 9})
    with pytest.raises(ValueError, match=r"samples: 9 in the checkpoint, 8 here"):
        fit(tmp_path, resume=True)


def test_a_fingerprint_is_of_what_is_computed_and_not_of_names():
    def cube(x):
        return jnp.sin(x) ** 3

    @jax.jit
    def third_power_of_the_sine(number):
        return jnp.sin(number) ** 3

    x = jnp.ones(3)
    assert fingerprint(jax.jit(cube), x) == fingerprint(third_power_of_the_sine, x)
    assert fingerprint(cube, x) != fingerprint(cube, jnp.ones(4))
    assert fingerprint(cube, x) != fingerprint(lambda x: jnp.sin(x) ** 2, x)
    # Which of two arrays is taken, in what order, and within what branch, counts.
    assert fingerprint(jnp.subtract, x, x) != fingerprint(lambda a, b: b - a, x, x)
    for one, other in ((jnp.sin, jnp.cos), (ZEROS, ONE)):
        programs = [
            fingerprint(lambda x, way=way: jax.lax.cond(x[0] > 0, branch(way), jnp.tanh, x), ZEROS)
            for way in (one, other, one)
        ]
        assert programs[0] == programs[2] != programs[1]


def branch(way):
    return way if callable(way) else lambda x: x + way


@pytest.mark.parametrize(("samples", "steps"), [(5, {1}), (3001, {3, 4})])
def test_of_a_source_at_most_a_thousand_samples_are_read_evenly_and_each_once(samples, steps):
    asked = []

    class Rows:
        def __len__(self):
            return samples

        def __getitems__(self, rows):
            asked.extend(rows)
            return [{"x": np.float32(row)} for row in rows]

    found = identity._data(Batches(Rows(), 2, key=jax.random.key(0)))
    assert (asked[0], asked[-1], len(asked)) == (0, samples - 1, min(samples, 1000))
    assert {*np.diff(asked)} == steps
    assert found["data['x']"].startswith(f"float32[{len(asked)}] ")
