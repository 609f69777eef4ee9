import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import training
from chainrule.data.batches import Batches
from chainrule.training import flight
from chainrule.xray.recorder import folder, replay

SGD = optax.sgd(0.05, momentum=0.5)
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 40, 3)).astype(np.float32)
B[17] = A[17]  # a pair of equal points
PAIRS = Batches({"a": A, "b": B}, 8, key=jax.random.key(5))
STEP = next(step for step in range(5) if 17 in PAIRS.indices(step))
PLACE = PAIRS.indices(STEP).tolist().index(17)
PARAMS = {"kernel": jnp.eye(3)}


def loss(params, state, batch, key):
    difference = batch["a"] @ params["kernel"] - batch["b"] @ params["kernel"]
    return jnp.mean(jnp.sqrt(jnp.sum(difference**2, axis=1))), (state, {})


def start(optimizer=SGD, params=None):
    return training.create(PARAMS if params is None else params, optimizer, key=jax.random.key(9))


def failing(folder, *, loss=loss, optimizer=SGD, batches=PAIRS, params=None, **settings):
    """Train until it fails, and return the error."""
    begin = start(optimizer, params)
    with pytest.raises(training.NonFiniteError) as raised:
        training.fit(begin, loss, optimizer, batches, 2, recorder=folder, **settings)
    return raised.value


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    root = tmp_path_factory.mktemp("flight")
    return failing(root), root


def test_the_line_the_sample_its_row_and_a_cure_are_named(flown):
    error, root = flown
    assert (error.step, error.samples) == (STEP, (PLACE,))
    assert int(error.train_state.step) == STEP
    first = error.births[0]
    assert (first.op, first.phase, first.in_gradient) == ("sqrt", "backward", False)
    assert "test_flight.py" in first.line
    text = str(error)
    assert f"step {STEP} (batch {STEP} of epoch 1) is not finite" in text
    assert f"sample {PLACE} of the batch (row 17 of the data)" in text
    assert "write instead:" in text
    assert "tried: all finite" in text
    assert f"saved: {root / f'step-{STEP}'}" in text


def test_the_folder_replays_the_gradient_of_the_loss(flown):
    kept = folder.read(flown[1] / f"step-{STEP}")
    assert "flow, per layer" in kept.text
    found = replay.replay(kept)
    assert found.bad
    assert found.differ == ()


def test_what_led_there_are_the_numbers_of_the_log(flown):
    history = flown[0].autopsy.history
    assert len(history["loss"]) == STEP + 1
    assert np.isfinite(history["loss"]).all()
    assert np.isnan(history["grad_norm"][-1])
    largest = np.max(np.abs(flown[0].train_state.params["kernel"]))
    assert history["largest parameter before it"] == (largest,)


def test_without_a_recorder_nothing_is_looked_into():
    with pytest.raises(training.NonFiniteError, match="name with recorder= a folder") as raised:
        training.fit(start(), loss, SGD, PAIRS, 2)
    assert (raised.value.births, raised.value.samples) == ((), ())


def test_a_recorded_training_that_stays_finite_is_the_same_bit_for_bit(tmp_path):
    clean = Batches({"a": A[:16], "b": B[:16]}, 8, key=jax.random.key(5))
    plain = training.fit(start(), loss, SGD, clean, 2)
    recorded = training.fit(start(), loss, SGD, clean, 2, recorder=tmp_path / "flight")
    np.testing.assert_array_equal(plain.params["kernel"], recorded.params["kernel"])
    assert not (tmp_path / "flight").exists()


def test_steps_that_are_skipped_are_recorded_named_and_counted_without_a_stop(tmp_path):
    records = []
    with pytest.warns(UserWarning, match="row 17 of the data") as warned:
        end = training.fit(
            start(), loss, SGD, PAIRS, 2, recorder=tmp_path, skip_nonfinite=1,
            report=records.append,
        )  # fmt: skip
    plain = training.fit(start(), loss, SGD, PAIRS, 2, skip_nonfinite=1)
    np.testing.assert_array_equal(end.params["kernel"], plain.params["kernel"])
    assert int(end.step) == 10
    assert [record["skipped"] for record in records] == [1, 1]
    assert len(warned) == 2
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_too_many_in_a_row_stop_it(tmp_path):
    def always(params, state, batch, key):
        return jnp.sum(params["kernel"]) * jnp.log(jnp.float32(-1.0)), (state, {})

    with pytest.warns(UserWarning, match="no sample is named"):
        error = failing(tmp_path, loss=always, skip_nonfinite=1)
    assert "step 1 (batch 1 of epoch 1) is not finite, the last of 2 in a row" in str(error)
    assert error.births[0].op == "log"
    assert error.samples == ()


def test_the_update_of_the_optimizer_is_looked_into_where_the_loss_is_finite(tmp_path):
    def update(grads, state, params=None):
        return jax.tree.map(lambda g: -g / jnp.sqrt(g * g - g * g), grads), state  # BORN

    optimizer = optax.GradientTransformation(lambda params: (), update)
    error = failing(tmp_path, optimizer=optimizer)
    assert error.step == 0
    assert error.births[0].op == "div"
    assert error.samples == ()
    assert "the step fails with all other samples" in str(error)
    with pytest.raises(ValueError, match="name it with --function"):
        replay.replay(folder.read(tmp_path / "step-0"))


def test_samples_are_those_of_the_augmented_batch_with_the_noise_of_the_step(tmp_path):
    def noisy(params, state, batch, key):
        values = batch @ params["kernel"] + 0.1 * jax.random.uniform(key, (8, 1))
        return jnp.mean(jnp.log(values)), (state, {})

    data = np.ones((40, 3), np.float32)
    data[17] = -1.0
    batches = Batches(data, 8, key=jax.random.key(5))
    error = failing(
        tmp_path, loss=noisy, batches=batches, params={"kernel": jnp.ones((3, 1))},
        augment=lambda key, batch: batch * jax.random.uniform(key, (8, 1), minval=0.5),
    )  # fmt: skip
    assert (error.step, error.samples) == (STEP, (PLACE,))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(9), STEP))
    (_, _, batch, key), _ = error.autopsy.call.arguments()
    assert (key == keys[1]).all()
    factors = jax.random.uniform(keys[0], (8, 1), minval=0.5)
    np.testing.assert_array_equal(batch, batches(STEP) * factors)


def test_a_step_by_parts_is_looked_into_as_a_whole(tmp_path):
    error = failing(tmp_path, accumulate=2)
    assert (error.step, error.samples) == (STEP, (PLACE,))
    assert error.births[0].in_gradient


def test_what_fails_in_the_recorder_hides_no_error(tmp_path, monkeypatch):
    def broken(failure):
        raise RuntimeError("of the recorder\x1b[2J\nmore")

    monkeypatch.setattr(flight, "examine", broken)
    error = failing(tmp_path)
    assert r"the recorder failed: of the recorder\x1b[2J" in str(error)
    assert int(error.train_state.step) == STEP


def test_a_recorder_is_a_folder(unchecked):
    with pytest.raises(ValueError, match="recorder must be a path"):
        training.fit(start(), loss, SGD, PAIRS, 2, recorder=3)


def test_a_step_of_a_training_that_is_over_is_looked_into_from_a_checkpoint(tmp_path):
    def checkpoints(resume):
        return training.Checkpoints(tmp_path / "kept", every=2, resume=resume)

    with checkpoints(False) as kept:
        training.fit(start(), loss, SGD, PAIRS, 2, skip_nonfinite=1, checkpoints=kept)
    second = next(step for step in range(5, 10) if 17 in PAIRS.indices(step))
    assert second == 7  # from the checkpoint of step 6, without an alarm until then
    given = start(), loss, SGD, PAIRS
    with checkpoints(True) as kept:
        found = training.autopsy(kept, second, *given, recorder=tmp_path / "flight")
        fine = training.autopsy(kept, 9, *given)
        with pytest.raises(ValueError, match="is of a step before 1: there are those of"):
            training.autopsy(kept, 1, *given)
    assert found.samples.rows == (PAIRS.indices(second).tolist().index(17),)
    assert found.births[0].op == "sqrt"
    assert (tmp_path / "flight" / f"step-{second}" / "step.json").is_file()
    assert (fine.births, fine.samples.rows) == ((), ())
    assert "did not fail when it ran again" in str(fine)
