"""What is said of a descent: every number against one computed here by hand or by a loop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent
from chainrule.descent.explanation import Survival

WIDTH = 100


def bowl(w):
    return 3 * w["a"] ** 2 + w["b"] ** 2


def catapult(w):
    """Curvature |u|^2 + |v|^2 over the width; it can fall."""
    return jnp.square(w["u"] @ w["v"] / math.sqrt(WIDTH)) / 2


def explained(loss, start, optimizer, steps, every=10, **settings):
    watched = descent.watch(loss, start, optimizer, steps, every=every)
    return descent.explain(watched, loss=loss, optimizer=optimizer, **settings)


def test_a_divergence_is_explained_and_what_survives_was_run():
    start = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    found = explained(bowl, start, optax.sgd(0.4), 20)
    assert (found.spike.kind, found.spike.onset, found.spike.back) == ("divergence", 0, None)
    assert found.crossing.step == 0
    assert found.crossing.ratio == pytest.approx(6 * 0.4 / 2)
    # The step is 0.4 * (6, 2): nine tenths of its square along the steep direction.
    assert found.move.along == pytest.approx(0.9, rel=1e-5)
    assert found.move.length == pytest.approx(0.4 * math.hypot(6, 2))
    assert found.move.shares == pytest.approx({"a": 0.9, "b": 0.1})
    assert (found.growths[0].layer, found.growths[0].before) == ("a", pytest.approx(6))
    assert found.growths[0].after == pytest.approx(6 * 1.4)
    # |1 - 6 eta| < 1 up to eta = 1 / 3, and 0.8 * 0.4 is below it.
    assert [one.survives for one in found.survivals] == [True] * 4
    assert "0.8 times as long from step 0 on survive 500 more" in str(found)
    wild = explained(bowl, start, optax.sgd(2.0), 12)
    assert [one.survives for one in wild.survivals] == [False, False, False, True]
    assert "Steps 0.1 times" in str(wild)
    assert "0.8, 0.5, 0.25 times as long do not" in str(wild)
    none = explained(bowl, start, optax.sgd(20.0), 12)
    assert not any(one.survives for one in none.survivals)
    assert "0.8, 0.5, 0.25, 0.1 times as long; none survives 500 more" in str(none)


def test_a_loss_that_begins_at_its_lowest_and_below_zero_diverges_as_any_other():
    found = explained(lambda w: w**2 - 0.136, jnp.array(0.2), optax.sgd(1.5), 20)
    assert (found.spike.kind, found.spike.onset) == ("divergence", 0)
    trace = descent.gradient_descent(
        bowl, {"a": jnp.array(1.0), "b": jnp.array(1.0)}, optax.sgd(0.4), 20
    )
    from_zero = descent.explain(trace._replace(loss=np.r_[0.0, np.asarray(trace.loss)[1:]]))
    assert from_zero.spike.kind == "divergence"


def test_a_factor_survives_only_where_all_smaller_ones_do():
    def loss(w):  # a hole in the middle of the rates
        return w**2

    found = explained(loss, jnp.array(1.0), optax.sgd(1.5), 8)
    lanes = found.survivals
    assert [one.factor for one in lanes] == [0.8, 0.5, 0.25, 0.1]
    for one in lanes:
        w = 1.0
        for _ in range(one.steps):
            w *= 1 - 2 * 1.5 * one.factor
        assert one.survives == (abs(w) <= 1), one
    assert isinstance(lanes[0], Survival)
    assert not lanes[0].highest < 1e6


def test_a_catapult_comes_back_flatter_and_a_spike_of_momentum_is_none():
    u, v = jax.random.normal(jax.random.key(1), (2, WIDTH))
    curvature = float(u @ u + v @ v) / WIDTH
    found = explained(catapult, {"u": u, "v": v}, optax.sgd(3.0 / curvature), 200, every=1)
    assert found.crossing.step == 0
    assert found.spike.kind == "catapult"
    assert found.spike.sharpness[1] < found.spike.sharpness[0]
    assert found.spike.losses[0] == pytest.approx(float(catapult({"u": u, "v": v})))
    assert found.survivals == ()
    assert "A catapult: the loss rose from" in str(found)
    # An overshoot below the edge: the loss rises and comes back, and nothing was unstable.
    slow = explained(
        bowl, {"a": jnp.array(1.0), "b": jnp.array(0.0)}, optax.sgd(0.1, momentum=0.9), 150
    )
    assert slow.crossing.step is None
    assert slow.spike.kind == "spike"
    assert "was not above 1 at any of its 16 readings; the highest was 0.158" in str(slow)


def test_the_step_of_the_crossing_lies_between_two_readings():
    def loss(w, t):
        return (1 + t) * w**2 / 2  # curvature 1 + t, the edge at 2 / eta = 20.02

    optimizer, start = optax.sgd(0.0999), jnp.array(1.0)
    batch = jnp.float32
    watched = descent.watch(loss, start, optimizer, 45, every=20, batch=batch)
    found = descent.explain(watched, loss=loss, optimizer=optimizer, batch=batch, step=22)
    assert found.crossing.step == 20
    assert found.crossing.ratio == pytest.approx(21 * 0.0999 / 2)
    assert found.crossing.before == pytest.approx(20 * 0.0999 / 2)
    assert found.step == 22
    assert found.parted < 1e-5
    # Beyond the last reading, in a gap that is not full.
    late = descent.watch(loss, start, optimizer, 35, every=16, batch=batch)
    assert descent.explain(late, loss=loss, optimizer=optimizer, batch=batch).crossing.step == 20


def test_units_that_get_no_gradient_are_counted_in_either_layout():
    x = jnp.ones((4, 2))
    kernel = jnp.array([[1.0, -1.0, 0.3], [1.0, -1.0, 0.4]])

    def loss(params):
        hidden = jax.nn.relu(x @ params["one"]["kernel"] + params["one"]["bias"][None])
        out = hidden @ params["two"]["weight"].T + params["two"]["bias"][None]
        return jnp.mean(jnp.square(out - 1))

    params = {
        "one": {"kernel": kernel, "bias": jnp.zeros(3)},
        "two": {"weight": jnp.full((1, 3), -0.5), "bias": jnp.zeros(1)},
    }
    found = explained(loss, params, optax.sgd(0.3), 8)
    (one,) = found.silent
    assert (one.layer, one.units, one.start) == ("one", 3, 1)
    final = descent.watch(loss, params, optax.sgd(0.3), 8, every=8).trace.final_params
    off = jnp.all(x @ final["one"]["kernel"] + final["one"]["bias"][None] <= 0, axis=0)
    assert one.end == int(off.sum()) > 1
    assert f"Of the 3 units of one, 1 get no gradient at the start, {one.end} at" in str(found)
    # The second layer is [outputs, inputs], as its bias says.
    dead = jax.tree.map(jnp.zeros_like, params) | {"one": params["one"]}
    rest = explained(loss, dead, optax.sgd(1e-3), 2)
    assert {layer.layer: (layer.units, layer.start) for layer in rest.silent} == {"one": (3, 3)}


def test_of_a_plain_trace_it_says_what_its_arrays_show():
    start = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    trace = descent.gradient_descent(bowl, start, optax.sgd(0.4), 20)
    found = descent.explain(trace)
    assert (found.crossing, found.survivals, found.growths, found.parted) == (None, (), (), None)
    assert found.move.shares == pytest.approx({"a": 0.9, "b": 0.1})
    assert math.isnan(found.move.along)
    assert len(found.sentences) == 3
    bare = descent.explain(trace._replace(params=None), step=3)
    assert bare.move is None
    assert str(bare).startswith("Loss 4 to 2.1e+06 in 20 steps: diverged.\nA divergence: the loss")


def test_readings_without_a_ratio_and_descents_without_a_step_are_said_to_be():
    found = explained(jnp.square, jnp.array(1.0), optax.sign_sgd(0.25), 3)
    assert "It is not known how far a step was from its edge" in str(found)
    still = explained(jnp.square, jnp.array(1.0), optax.sgd(0.1), 0)
    assert (still.move, still.step) == (None, 0)
    assert "its one reading" in str(still)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": None}, "loss of the watched descent is missing: give those of the descent"),
        ({"loss": None, "optimizer": None}, "loss and optimizer of the watched"),
        ({"optimizer": 0.1}, "optimizer must be an optax optimizer, not a float"),
        ({"loss": lambda w: 2 * w**2}, "the loss at the start is 2, but that of the descent 1"),
        ({"step": 4}, "step must be an int from 0 to 3, not 4"),
        ({"key": 3}, "pass one key made by jax.random.key"),
        ({"watched": 3}, "watched must be what watch or gradient_descent returns, not an int"),
        ({"start": None}, "the start of the watched descent is missing: give what watch"),
        ({"lanes": True}, r"the loss has the shape \(1, 4\): explain one descent, not a sweep"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_explained_is_refused(change, message):
    optimizer = optax.sgd(0.1)
    watched = descent.watch(jnp.square, jnp.array(1.0), optimizer, 3, every=1)
    call = {"watched": watched, "loss": jnp.square, "optimizer": optimizer} | change
    if "start" in call:
        call["watched"] = watched._replace(start=call.pop("start"))
    if call.pop("lanes", False):
        call["watched"] = jax.tree.map(lambda leaf: leaf[None], watched.trace)
    with pytest.raises(ValueError, match=message):
        descent.explain(call.pop("watched"), **call)


def test_where_rounding_parts_the_second_run_it_is_said():
    start = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    watched = descent.watch(bowl, start, optax.sgd(0.4), 6, every=2)
    losses = np.array(watched.trace.loss)
    losses[1:] *= 1.5
    other = watched._replace(trace=watched.trace._replace(loss=jnp.asarray(losses)))
    found = descent.explain(other, loss=bowl, optimizer=optax.sgd(0.4))
    assert found.parted == pytest.approx(1 / 3, rel=1e-4)
    assert "differs from the recorded one by 33.3% of it" in str(found)
