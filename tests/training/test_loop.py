import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import training
from chainrule.data.batches import Batches

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(22, 3)).astype(np.float32)
TARGETS = (INPUTS @ [1.0, -2.0, 0.5] + 0.3).astype(np.float32)
DATA = {"inputs": INPUTS, "targets": TARGETS}
BATCHES = Batches(DATA, 4, key=jax.random.key(5))  # 5 batches an epoch, 2 samples dropped
PARAMS = {"bias": jnp.zeros(()), "kernel": jnp.asarray([0.5, 0.25, -1.0])}
SGD = optax.sgd(0.1, momentum=0.5)
ADAM = optax.adam(optax.cosine_decay_schedule(0.1, 20))


def loss(params, state, batch, key):
    """A regression that counts its calls in the state and has a noise that the key decides."""
    predictions = batch["inputs"] @ params["kernel"] + params["bias"]
    predictions = predictions + 0.01 * jax.random.normal(key)
    error = jnp.abs(predictions - batch["targets"])
    return jnp.mean(error**2), ({"calls": state["calls"] + 1}, {"error": jnp.mean(error)})


def start(optimizer=SGD):
    return training.create(
        PARAMS, optimizer, key=jax.random.key(9), state={"calls": jnp.float32(0)}
    )


def equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def by_hand(steps):
    """The same descent in NumPy, double precision, from the equations of momentum."""
    kernel, bias = np.asarray(PARAMS["kernel"], float), 0.0
    moved = np.zeros(4)
    losses, errors = [], []
    for step in range(steps):
        rows = np.asarray(BATCHES.indices(step))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(9), step))
        noise = 0.01 * float(jax.random.normal(keys[1]))
        residual = INPUTS[rows] @ kernel + bias + noise - TARGETS[rows]
        losses.append(np.mean(residual**2))
        errors.append(np.mean(np.abs(residual)))
        gradient = np.append(INPUTS[rows].T @ residual, residual.sum()) * 2 / 4
        moved = 0.5 * moved + gradient
        kernel, bias = kernel - 0.1 * moved[:3], bias - 0.1 * moved[3]
    return kernel, bias, losses, errors


def test_fit_is_the_descent_written_out_in_numpy():
    records = []
    end = training.fit(start(), loss, SGD, BATCHES, 3, report=records.append)
    kernel, bias, losses, errors = by_hand(15)
    np.testing.assert_allclose(end.params["kernel"], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(end.params["bias"], bias, rtol=1e-5, atol=1e-6)
    assert (int(end.step), float(end.state["calls"])) == (15, 15)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [5, 10, 15]
    for epoch, record in enumerate(records):
        part = slice(5 * epoch, 5 * epoch + 5)
        assert record["loss"] == pytest.approx(np.mean(losses[part]), rel=1e-5)
        assert record["error"] == pytest.approx(np.mean(errors[part]), rel=1e-5)
        assert record["examples_per_second"] == pytest.approx(20 / record["seconds"])
        assert record["compile_seconds"] >= 0


def test_fit_is_the_step_called_in_a_python_loop_with_adam_and_a_schedule():
    end = training.fit(start(ADAM), loss, ADAM, BATCHES, 2)
    step, state = jax.jit(training.make_step(loss, ADAM)), start(ADAM)
    for index in range(10):
        state, metrics = step(state, BATCHES(index))
    for a, b in zip(jax.tree.leaves(end.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    grads = jax.jit(jax.grad(lambda p: loss(p, state.state, BATCHES(9), jax.random.key(0))[0]))(
        state.params
    )
    assert metrics.keys() == {"loss", "grad_norm", "error"}
    assert jax.tree.structure(grads) == jax.tree.structure(end.params)


def test_a_state_is_resumed_within_an_epoch():
    whole, records = training.fit(start(), loss, SGD, BATCHES, 2), []
    step, state = jax.jit(training.make_step(loss, SGD)), start()
    for index in range(8):
        state, _ = step(state, BATCHES(index))
    end = training.fit(state, loss, SGD, BATCHES, 2, report=records.append)
    np.testing.assert_allclose(end.params["kernel"], whole.params["kernel"], rtol=1e-5)
    assert (int(end.step), float(end.state["calls"])) == (10, 10)
    # The mean is that of the two steps that were taken here.
    assert records[0]["loss"] == pytest.approx(np.mean(by_hand(10)[2][8:]), rel=1e-4)
    equal(training.fit(whole, loss, SGD, BATCHES, 2), whole)  # nothing left to do


def test_the_calls_into_which_an_epoch_is_cut_change_no_bit(monkeypatch):
    ticks = []
    records = []
    monkeypatch.setattr(training.loop, "SECONDS_A_CALL", 0.0)
    one = training.fit(
        start(), loss, SGD, BATCHES, 2, tick=lambda *t: ticks.append(t), report=records.append
    )
    assert ticks == [(step, 10) for step in range(1, 11)]
    monkeypatch.setattr(training.loop, "SECONDS_A_CALL", 1e9)
    other = []
    equal(training.fit(start(), loss, SGD, BATCHES, 2, report=other.append), one)
    assert [r["loss"] for r in records] == [r["loss"] for r in other]


def test_the_start_is_neither_changed_nor_consumed():
    begin = start()
    training.fit(begin, loss, SGD, BATCHES, 1)
    equal(begin, start())


def test_equal_calls_compile_once():
    training.fit(start(), loss, SGD, BATCHES, 1)
    compiled = training.loop.run_steps._cache_size()
    training.fit(start(), loss, SGD, BATCHES, 3)
    assert training.loop.run_steps._cache_size() == compiled


def test_compiler_options_reach_the_compiler_and_a_checkpoint_remembers_them(tmp_path, unchecked):
    options = {"xla_embed_ir_in_executable": True}  # changes no number
    usual = training.fit(start(), loss, SGD, BATCHES, 2)
    compiled = training.loop.run_steps._cache_size()
    equal(training.fit(start(), loss, SGD, BATCHES, 2, compiler_options=options), usual)
    assert training.loop.run_steps._cache_size() == compiled
    with pytest.raises(Exception, match="xla_no_such_option"):
        training.fit(start(), loss, SGD, BATCHES, 1, compiler_options={"xla_no_such_option": True})
    with pytest.raises(ValueError, match=r"compiler_options must be what compiling\.options"):
        training.fit(start(), loss, SGD, BATCHES, 1, compiler_options=["xla_no_such_option"])

    def saved(epochs, options, **settings):
        with training.Checkpoints(tmp_path, **settings) as kept:
            return training.fit(
                start(), loss, SGD, BATCHES, epochs, checkpoints=kept, compiler_options=options
            )

    saved(1, options)
    match = "compiler options: xla_embed_ir_in_executable=True in the checkpoint, nothing here"
    with pytest.raises(ValueError, match=match):
        saved(2, None, resume=True)
    equal(saved(2, options, resume=True), usual)


def test_predict_takes_compiler_options_and_leaves_them_out_inside_a_trace():
    options = {"xla_embed_ir_in_executable": True}

    def outputs(factor):
        return training.predict(
            lambda params, batch: batch * params, factor, np.arange(10.0, dtype=np.float32),
            size=4, compiler_options=options,
        )  # fmt: skip

    wanted = 3 * np.arange(10.0)
    for found in (outputs(jnp.float32(3)), jax.jit(outputs)(jnp.float32(3))):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(Exception, match="xla_no_such_option"):
        training.predict(
            lambda params, batch: batch * params, jnp.float32(3), np.ones(3, np.float32),
            size=4, compiler_options={"xla_no_such_option": True},
        )  # fmt: skip


def test_evaluation_joins_the_record_after_every_epoch():
    records = []

    def evaluate(state):
        return {"at": int(state.step), "norm": float(optax.tree.norm(state.params))}

    training.fit(start(), loss, SGD, BATCHES, 2, evaluate=evaluate, report=records.append)
    assert [record["at"] for record in records] == [5, 10]
    with pytest.raises(ValueError, match=r"evaluate returns \['loss'\], which are the loop's"):
        training.fit(start(), loss, SGD, BATCHES, 2, evaluate=lambda _: {"loss": 0.0})


def test_augmentation_is_compiled_in_and_draws_from_the_step_s_own_key():
    def shift(key, batch):
        return batch + jax.random.normal(key)

    def own(params, state, batch, key):
        return jnp.mean((params - batch) ** 2), (state, {"seen": batch[0]})

    zeros = Batches(jnp.zeros(3), 1, key=jax.random.key(0))
    begin = training.create(jnp.asarray(0.0), SGD, key=jax.random.key(3))
    records = []
    training.fit(begin, own, SGD, zeros, 1, augment=shift, report=records.append)
    keys = [jax.random.split(jax.random.fold_in(jax.random.key(3), i))[0] for i in range(3)]
    drawn = [float(jax.random.normal(key)) for key in keys]
    assert len(set(drawn)) == 3
    assert records[0]["seen"] == pytest.approx(np.mean(drawn), rel=1e-6)


def test_repeating_the_data_and_doubling_the_batch_changes_no_step():
    def plain(params, state, batch, key):
        return loss(params, {"calls": jnp.float32(0)}, batch, jax.random.key(0))[0], (state, {})

    step = jax.jit(training.make_step(plain, SGD))
    begin = training.create(PARAMS, SGD, key=jax.random.key(0))
    batch = BATCHES(0)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    for a, b in zip(
        jax.tree.leaves(step(begin, batch)[0].params),
        jax.tree.leaves(step(begin, twice)[0].params),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_batch_cut_into_parts_gives_the_same_step_and_metrics():
    def quiet(params, state, batch, key):
        error = batch["inputs"] @ params["kernel"] + params["bias"] - batch["targets"]
        return jnp.mean(error**2), (state + 1, {"error": jnp.mean(jnp.abs(error))})

    begin = training.create(PARAMS, SGD, key=jax.random.key(0), state=jnp.float32(0))
    whole, metrics = training.make_step(quiet, SGD)(begin, BATCHES(0))
    for parts in (2, 4):
        step = training.make_step(quiet, SGD, accumulate=parts)
        cut, of_parts = jax.jit(step)(begin, BATCHES(0))
        assert float(cut.state) == parts
        for a, b in zip(
            jax.tree.leaves((whole.params, metrics)),
            jax.tree.leaves((cut.params, of_parts)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    with pytest.raises(ValueError, match=r"accumulate=3 does not divide the batch size 4"):
        training.fit(begin, quiet, SGD, BATCHES, 1, accumulate=3)


def test_the_parts_of_a_batch_draw_different_numbers():
    def draws(params, state, batch, key):
        drawn = jax.random.normal(key)
        return params * drawn, (state, {"square": drawn**2, "drawn": drawn})

    begin = training.create(jnp.asarray(1.0), SGD, key=jax.random.key(0))
    _, metrics = training.make_step(draws, SGD, accumulate=2)(begin, jnp.zeros(2))
    # Of two equal numbers the mean square is the squared mean.
    assert float(metrics["square"]) > float(metrics["drawn"]) ** 2 + 1e-3


# --- what is not finite ------------------------------------------------------------------------


def divides(params, state, batch, key):
    """The loss is infinite at the batch of a zero."""
    return params / jnp.mean(batch), (state, {})


def holes(*zeros, count=8):
    """One sample a batch; 0 where the step is named, else 1."""
    batches = Batches(jnp.zeros(count), 1, key=jax.random.key(0))
    values = np.ones(count, np.float32)
    values[np.asarray(batches.order(0))[list(zeros), 0]] = 0
    return Batches(values, 1, key=jax.random.key(0))


HALF = optax.sgd(0.5)


def test_the_first_step_that_is_not_finite_stops_and_keeps_the_state_before_it():
    begin = training.create(jnp.asarray(1.0), HALF, key=jax.random.key(0))
    with pytest.raises(training.NonFiniteError, match=r"step 3 \(batch 3 of epoch 1\).*inf") as e:
        training.fit(begin, divides, HALF, holes(3), 2)
    kept = e.value.train_state
    assert (int(kept.step), float(kept.params)) == (3, -0.5)  # 1 - 3 / 2: every gradient is 1


def test_steps_that_are_not_finite_can_be_skipped_up_to_a_number_in_a_row():
    begin = training.create(jnp.asarray(1.0), HALF, key=jax.random.key(0))
    records = []
    end = training.fit(
        begin, divides, HALF, holes(1, 4, 5), 1, report=records.append, skip_nonfinite=2
    )
    assert (int(end.step), float(end.params)) == (8, -1.5)  # five steps of eight
    assert records[0]["skipped"] == 3
    assert records[0]["loss"] == pytest.approx(np.mean([1, 0.5, 0, -0.5, -1]))
    with pytest.raises(
        training.NonFiniteError, match=r"step 5 .* is not finite, the last of 2 in a row"
    ):
        training.fit(begin, divides, HALF, holes(1, 4, 5), 1, skip_nonfinite=1)


def test_a_finite_loss_with_a_step_beyond_all_numbers_stops_too():
    huge = optax.sgd(1e38)
    begin = training.create(jnp.asarray(1.0), huge, key=jax.random.key(0))

    def steep(params, state, batch, key):
        return params * 10 * jnp.mean(batch), (state, {})

    with pytest.raises(training.NonFiniteError, match=r"step 0 .*loss 10, grad_norm 10"):
        training.fit(begin, steep, huge, holes(), 1)


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, r"epochs must be an int from 1 to 429496729, not 0"),
        ({"epochs": 1.0}, r"epochs must be an int from 1 to 429496729, not 1\.0"),
        ({"epochs": 10**9}, r"not 1000000000: with 5 batches each, the steps are counted in 32"),
        ({"accumulate": 0}, r"accumulate must be an int of at least 1, not 0"),
        ({"skip_nonfinite": -1}, r"skip_nonfinite must be an int from 0 to 2147483647, not -1"),
    ],
)
def test_settings_out_of_range_are_refused_with_their_value(settings, message, unchecked):
    with pytest.raises(ValueError, match=message):
        training.fit(start(), loss, SGD, BATCHES, **{"epochs": 1} | settings)


def test_a_loss_in_the_place_of_the_state_is_refused(unchecked):
    with pytest.raises(ValueError, match="returns, not a function: the order is train_state, loss"):
        training.fit(loss, start(), SGD, BATCHES, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batches": INPUTS}, r"batches must be what Batches\(samples, .* returns, not an array"),
        ({"checkpoints": "folder"}, r"checkpoints must be what training\.Checkpoints.* not a str"),
        ({"loss": 3}, r"loss must be a function \(params, state, batch, key\) -> .* not an int"),
        ({"optimizer": 0.1}, r"optimizer must be an optax optimizer, not a float"),
        ({"augment": 3}, r"augment must be a function \(key, batch\) -> batch, not an int"),
        ({"evaluate": 3}, r"evaluate must be a function \(train_state\) -> dict, not an int"),
        ({"report": []}, r"report must be a function of a record, not a list"),
        ({"tick": 3}, r"tick must be a function \(step, steps\), not an int"),
        ({"mesh": 2}, r"mesh must be what training\.devices\.mesh.* returns, not an int"),
    ],
)
def test_arguments_of_another_kind_are_refused(settings, message, unchecked):
    arguments = {"loss": loss, "optimizer": SGD, "batches": BATCHES, "epochs": 1} | settings
    with pytest.raises(ValueError, match=message):
        training.fit(start(), **arguments)


@pytest.mark.parametrize(
    ("created", "used", "message"),
    [
        (SGD, ADAM, r"\[0\]\.trace\['bias'\]:float32\[\], .* that of this .* \[0\]\.count:int32"),
        (SGD, optax.sgd(0.1), r"\[0\]\.trace\['kernel'\]:float32\[3\], .* nothing more"),
        (
            optax.sgd(0.1, momentum=0.5, accumulator_dtype=jnp.bfloat16),
            SGD,
            r"\['kernel'\]:bfloat16\[3\], that of this .*\['kernel'\]:float32\[3\]: give",
        ),
    ],
)
def test_another_optimizer_than_the_state_was_created_with_is_refused(created, used, message):
    with pytest.raises(ValueError, match=r"another optimizer: its opt_state has .*" + message):
        training.fit(start(created), loss, used, BATCHES, 1)
    with pytest.raises(ValueError, match=r"was created with another optimizer"):
        training.make_step(loss, used)(start(created), BATCHES(0))


def test_a_metric_may_be_an_integer():
    def counted(params, state, batch, key):
        value, (state, _) = loss(params, state, batch, key)
        return value, (state, {"positive": jnp.sum(batch["targets"] > 0)})

    records = []
    training.fit(start(), counted, SGD, BATCHES, 1, report=records.append)
    rows = np.asarray(BATCHES.order(0))
    assert records[0]["positive"] == pytest.approx(np.mean((TARGETS[rows] > 0).sum(axis=1)))


def test_a_state_past_the_last_epoch_is_refused():
    with pytest.raises(ValueError, match=r"at step 11, past the 10 steps of 2 epochs of 5"):
        training.fit(start().replace(step=jnp.int32(11)), loss, SGD, BATCHES, 2)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda s: jnp.float32(0), r"returns \(scalar, \(new_state, metrics\)\), but this one"),
        (lambda s: (jnp.zeros(3), (s, {})), r"all of them scalars.*'the loss': \(3,\)"),
        (lambda s: (jnp.float32(0), (s, {"a": jnp.zeros(2)})), r"\{'a': \(2,\)\}"),
        (lambda s: (jnp.int32(0), (s, {})), r"the loss is int32"),
        (lambda s: (jnp.float32(0), (s, {"loss": jnp.float32(0)})), r"the metrics hold \['loss'\]"),
        (lambda s: (jnp.float32(0), ({}, {})), r"the loss turns the state .* into"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused_with_what_it_returns(result, message):
    with pytest.raises(ValueError, match=message):
        training.fit(start(), lambda p, s, b, k: result(s), SGD, BATCHES, 1)


def test_parameters_that_cannot_be_trained_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"params\['a'\] is int32"):
        training.create({"a": jnp.arange(3)}, SGD, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"it holds no number"):
        training.create({}, SGD, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"key is int of shape None"):
        training.create(PARAMS, SGD, key=0)


def test_predict_runs_every_sample_once_whatever_the_size():
    inputs = {"x": jnp.arange(10.0), "y": jnp.arange(20.0).reshape(10, 2)}

    def apply(params, batch):
        return {"sum": batch["x"] + params, "y": batch["y"] * 2}

    for size in (1, 4, 10, 64):
        outputs = training.predict(apply, jnp.float32(3), inputs, size=size)
        np.testing.assert_array_equal(outputs["sum"], jnp.arange(10.0) + 3)
        np.testing.assert_array_equal(outputs["y"], inputs["y"] * 2)


def test_predict_compiles_once_for_all_batches_and_all_parameters():
    traced = itertools.count()

    def apply(params, batch):
        next(traced)
        return batch * params

    for factor in (1.0, 2.0):
        outputs = training.predict(apply, jnp.float32(factor), np.ones(10, np.float32), size=4)
        np.testing.assert_array_equal(outputs, factor * np.ones(10))
    assert next(traced) == 1


def test_predict_refuses_no_inputs_and_no_size(unchecked):
    def apply(params, batch):
        return batch

    with pytest.raises(ValueError, match=r"leading axes of the inputs are \[\(2,\), \(3,\)\]"):
        training.predict(apply, None, (jnp.ones(2), jnp.ones(3)), size=1)
    with pytest.raises(ValueError, match=r"\[\(0,\)\]: expected one, N > 0"):
        training.predict(apply, None, jnp.ones(0), size=1)
    with pytest.raises(ValueError, match=r"size must be an int of at least 1, not 0"):
        training.predict(apply, None, jnp.ones(2), size=0)
