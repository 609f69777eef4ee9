import functools
import inspect
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from chainrule import xray
from chainrule.xray.recorder import NonFiniteError, Recorder
from tests.xray.recorder import steps

SOURCE = pathlib.Path(steps.__file__).read_text(encoding="utf-8").splitlines()
LINE = next(k for k, text in enumerate(SOURCE, 1) if "# BORN" in text)


def failing(recorder, step, state, batches):
    """Train until the recorder stops it; return its error and the number of calls that returned."""
    watched, calls = recorder.watch(step), 0
    try:
        for batch in batches:
            state, _ = watched(state, batch)
            calls += 1
        recorder.finish()
    except NonFiniteError as error:
        return error, calls
    raise AssertionError("it did not fail")


@pytest.fixture(scope="module")
def flown(tmp_path_factory):
    """A training whose fourth step has two pairs of equal points."""
    folder = tmp_path_factory.mktemp("flight")
    batches = [steps.batch(seed, equal=(1, 7) if seed == 3 else ()) for seed in range(9)]
    error, calls = failing(Recorder(folder, keep=2), steps.pairs, steps.start(), batches)
    return error, calls, folder, batches


def test_the_step_the_line_and_the_samples_are_named(flown):
    error, calls, _, _ = flown
    assert (error.step, error.samples) == (3, (1, 7))
    first = error.births[0]
    assert (first.op, first.kind, first.in_gradient) == ("sqrt", "Inf", True)
    assert first.line.endswith(f"steps.py:{LINE} (loss)")
    assert calls == 5  # two later
    assert "samples 1, 7 of the batch" in str(error)


def test_what_is_held_is_what_the_step_was_called_with_though_it_donates(flown):
    error, _, _, batches = flown
    state, batch = error.call.arguments()[0]
    by_hand = steps.start()
    for one in batches[:3]:
        by_hand, _ = steps.pairs(by_hand, one)
    np.testing.assert_array_equal(state[0]["kernel"], by_hand[0]["kernel"])
    np.testing.assert_array_equal(batch["a"], batches[3]["a"])


def test_what_led_there_are_the_numbers_of_the_steps(flown):
    error, _, _, batches = flown
    state, losses, largest = steps.start(), [], []
    for one in batches[:4]:
        state, metrics = steps.pairs(state, one)
        losses.append(float(metrics["loss"]))
        largest.append(max(float(np.max(np.abs(x))) for x in jax.tree.leaves(state)))
    history = error.autopsy.history
    np.testing.assert_array_equal(history["loss"], np.asarray(losses))
    assert np.isfinite(history["grad_norm"][:3]).all()
    assert np.isnan(history["grad_norm"][3])
    np.testing.assert_array_equal(history["largest element of the state"], largest)


@pytest.mark.parametrize("bad", [3, 5, 8, 10])
def test_a_state_that_is_not_looked_at_after_every_step_still_names_the_first(tmp_path, bad):
    @jax.jit
    def step(state, x):  # the loss never sees what fails
        unseen = jnp.where(x[0] < 0, jnp.log(x[0]), state["unseen"] + x[0])
        return {"unseen": unseen}, jnp.sum(x)

    def loader():
        for k in range(16):
            # Of each call the state and the batch; what is left to look at are states, and losses.
            assert recorder.held <= 6 * 4 + 5 * (8 + 4)
            yield jnp.ones(2).at[0].set(-1.0 if k == bad else 1.0)

    recorder = Recorder(tmp_path, keep=5)
    error, calls = failing(recorder, step, {"unseen": jnp.zeros(1)}, loader())
    assert error.step == bad
    assert calls <= bad + 5
    history = error.autopsy.history
    assert np.isnan(history["largest element of the state"][-1])
    assert history["loss"][-2:] == (2.0, 0.0)
    looked = history.get("largest element of the state, every 4 steps", ())
    assert looked == ((8.0,) if bad >= 8 else ())  # every one of the first four steps is


def test_a_state_that_is_donated_elsewhere_is_looked_at_after_every_step(tmp_path):
    step = jax.jit(lambda w, x: (w + jnp.log(x[0]), jnp.sum(x)))
    other = jax.jit(lambda w: w * 1.0, donate_argnums=0)
    batches = [jnp.ones(2).at[0].set(-1.0 if k == 8 else 1.0) for k in range(12)]
    recorder, w = Recorder(tmp_path, keep=4), jnp.zeros(1)
    watched = recorder.watch(step)

    def whole(w, x):
        w, loss = watched(w, x)
        return other(w), loss

    w = functools.reduce(lambda w, x: whole(w, x)[0], batches[:8], w)
    with pytest.raises(NonFiniteError, match="step 8 is not finite"):
        functools.reduce(lambda w, x: whole(w, x)[0], batches[8:], w)


def test_a_loader_may_write_its_next_batch_into_the_same_memory(tmp_path):
    buffer = np.ones((4, 2), np.float32)

    def loader():
        for k in range(5):
            buffer[:] = 1 + k
            buffer[2] -= 4 * (k == 1)
            yield buffer

    error, _ = failing(Recorder(tmp_path), steps.plain, jnp.ones(2), loader())
    assert (error.step, error.samples) == (1, (2,))
    held = error.call.arguments()[0][1]
    np.testing.assert_array_equal(held, [[2, 2], [2, 2], [-2, -2], [2, 2]])


def test_modules_of_nnx_change_in_place_and_are_held_as_they_were(tmp_path):
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    model.kernel[...] = jnp.ones((2, 1))

    @nnx.jit
    def step(model, x):
        def loss(model):
            return jnp.mean(jnp.log(model(x)))

        value, grads = nnx.value_and_grad(loss)(model)
        nnx.update(model, jax.tree.map(lambda p, g: p - 0.01 * g, nnx.state(model), grads))
        return model, value

    def loader():
        for k in range(4):
            kernels.append(np.asarray(model.kernel[...]))
            yield jnp.ones((3, 2)).at[1].set(1.0 - 3 * (k == 2))

    kernels = []
    error, _ = failing(Recorder(tmp_path), step, model, loader())
    assert (error.step, error.samples, error.births[0].op) == (2, (1,), "log")
    held, _ = error.call.arguments()[0]
    np.testing.assert_array_equal(held.kernel[...], kernels[2])
    assert error.autopsy.bad == ("result[1] (1 NaN)",)  # the slope of log is finite there
    sizes = error.autopsy.history["largest element of the state"]
    np.testing.assert_array_equal(sizes[:2], [np.max(np.abs(x)) for x in kernels[1:3]])


def test_a_clean_training_raises_no_alarm_and_holds_two_steps(tmp_path):
    recorder = Recorder(tmp_path, keep=2)
    watched, state = recorder.watch(steps.pairs), steps.start()
    for seed in range(5):
        state, _ = watched(state, steps.batch(seed))
        assert recorder.held <= 2 * (2 * 9 * 4 + 2 * 24 * 4)  # the state, and the batch
    recorder.finish()
    assert recorder.held == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_infinite_from_the_start_may_stay_so_and_other_numbers_are_not_looked_at(tmp_path):
    @jax.jit
    def step(state, x):
        loss = jnp.sum(state["w"] * x)
        best = jnp.where(jnp.isfinite(state["best"]), state["best"], jnp.inf)
        return {"w": state["w"] - 0.1 * x, "best": best}, {"loss": loss, "ratio": loss / 0.0}

    with Recorder(tmp_path) as recorder:
        watched, state = recorder.watch(step), {"w": jnp.ones(2), "best": jnp.array(jnp.inf)}
        for _ in range(4):
            state, _ = watched(state, jnp.ones(2))
    broken = {"w": jnp.array([1.0, jnp.nan]), "best": jnp.array(jnp.inf)}
    error, _ = failing(Recorder(tmp_path), step, broken, [jnp.ones(2)])
    assert "NaN in the data is first used here: state['w'] at [1]" in str(error)


def test_a_state_is_known_though_its_counter_comes_in_as_a_number_of_python(tmp_path):
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, x):
        return {"w": state["w"] / x, "count": state["count"] + 1}, {"loss": jnp.sum(x)}

    batches = [jnp.ones(2), jnp.array([1.0, 0.0]), jnp.ones(2)]
    error, _ = failing(Recorder(tmp_path), step, {"w": jnp.ones(2), "count": 0}, batches)
    assert (error.step, error.samples, error.births[0].op) == (1, (1,), "div")


def test_only_what_is_watched_must_stay_finite(tmp_path):
    def step(w, x):
        return w + x, {"a": jnp.sum(w) / 0.0, "b": jnp.sum(w)}

    with Recorder(tmp_path) as recorder:
        recorder.watch(step, watched=lambda out: out[1]["b"])(jnp.ones(2), jnp.ones(2))
    recorder = Recorder(tmp_path)
    recorder.watch(step, watched=lambda out: {"a": out[1]["a"]})(jnp.ones(2), jnp.ones(2))
    with pytest.raises(NonFiniteError, match=r"not finite after the step: a \(1 Inf\)"):
        recorder.finish()
    with pytest.raises(ValueError, match="watched makes result anew: return parts"):
        Recorder(tmp_path).watch(step, watched=lambda out: out[0] * 2)(jnp.ones(2), jnp.ones(2))


def test_a_failure_of_the_last_step_is_told_at_the_end_of_the_program(tmp_path):
    program = (
        "import jax.numpy as jnp\n"
        "from chainrule import xray\n"
        "from tests.xray.recorder import steps\n"
        f"step = xray.Recorder({str(tmp_path)!r}).watch(steps.plain)\n"
        "step(jnp.ones(2), jnp.ones((4, 2)).at[3].set(-1.0))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "NonFiniteError: step 0 is not finite\nsample 3 of the batch" in done.stderr
    assert (tmp_path / "step-0" / "step.json").is_file()


def test_a_step_that_is_finite_when_it_runs_again_is_said_to_be(tmp_path):
    calls = []

    def step(w, x):  # it reads what is beside its arguments
        calls.append(len(calls))
        return w + x * (jnp.nan if len(calls) == 2 else 1.0), jnp.sum(w)

    error, _ = failing(Recorder(tmp_path), step, jnp.ones(2), [jnp.ones(2)] * 4)
    assert (error.step, error.births, error.samples) == (1, (), ())
    assert "the step did not fail when it ran again on what it had been given" in str(error)


def test_arguments_that_are_gone_are_said_to_be(tmp_path):
    donating = [False]

    @functools.partial(jax.jit, donate_argnums=0)
    def consuming(w, x):
        return w / x, jnp.sum(w)

    def step(w, x):
        donating.append(True)
        return consuming(w if len(donating) > 2 else jnp.copy(w), x)  # from the second call on

    batches = [jnp.ones(2), jnp.array([1.0, 0.0]), jnp.ones(2)]
    error, _ = failing(Recorder(tmp_path), step, jnp.ones(2), batches)
    assert (error.step, error.samples, error.births) == (1, (), ())
    assert re.search(r"the step could not run again: .*deleted", str(error))
    assert "did not fail" not in str(error)


def test_what_appears_only_compiled_whole_is_said_to(tmp_path, monkeypatch):
    """A step that fails as it runs, and not as it is traced."""

    class Step:
        __wrapped__ = staticmethod(lambda w, x: (w + x, jnp.sum(w)))
        lower = None

        def __call__(self, w, x):
            return w + x * jnp.nan, jnp.sum(w)

    error, _ = failing(Recorder(tmp_path), Step(), jnp.ones(2), [jnp.ones(2)] * 3)
    assert error.births == ()
    assert "this appears only when the step is compiled whole" in str(error)
    assert "not finite after the step: w (2 NaN of 2)" in str(error)


def test_what_would_not_fit_in_memory_is_not_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(xray.recorder.autopsy, "_SHARE", 0.0)
    bad = jnp.ones((4, 2)).at[3].set(-1.0)
    error, _ = failing(Recorder(tmp_path), steps.plain, jnp.ones(2), [bad])
    assert error.samples == (3,)
    assert error.births == ()
    assert "the step was not x-rayed: all its values take" in str(error)


def test_arguments_of_another_kind_are_refused(tmp_path, unchecked):
    recorder = Recorder(tmp_path)
    with pytest.raises(ValueError, match="keep must be an int of at least 1, not 0"):
        Recorder(tmp_path, keep=0)
    with pytest.raises(ValueError, match=r"step must be a function \(state, batch"):
        recorder.watch(3)
    with pytest.raises(ValueError, match="first must be an int of at least 0, not -1"):
        recorder.watch(steps.plain, first=-1)
    with pytest.raises(ValueError, match="runs outside jit, grad, vmap and scan"):
        jax.jit(recorder.watch(steps.plain))(jnp.ones(2), jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="without an array: pass state and batch"):
        recorder.watch(lambda x: x)(3)
    with pytest.raises(ValueError, match="takes a Ref, which is no array and may change in place"):
        recorder.watch(lambda w, x: w)(jax.new_ref(jnp.ones(2)), jnp.ones(2))
    with pytest.raises(ValueError, match="nothing that the step returns or changes is floating"):
        recorder.watch(lambda x: jnp.int32(3))(jnp.ones(2))


def test_a_watched_step_says_what_it_is(tmp_path):
    watched = Recorder(tmp_path).watch(steps.plain)
    assert inspect.unwrap(watched).__name__ == "plain"
