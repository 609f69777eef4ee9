"""How far a step is from its edge: against closed forms, and against the step's own eigenvalues."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent, training
from chainrule.data import batches
from chainrule.descent import updates

ETA = 0.02


def curved(dtype=np.float32):
    """Return a symmetric matrix with eigenvalues from -1 to 7, and its loss over two leaves."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))
    matrix = ((basis * [-1, 0, 0.5, 2, 3, 7]) @ basis.T).astype(dtype)

    def loss(params, scale=1.0):
        w = jnp.concatenate([params["a"], params["b"].reshape(-1)])
        return scale * (w @ jnp.asarray(matrix) @ w) / 2

    return matrix, loss


MATRIX, LOSS = curved()
START = {"a": jnp.array([1.0, -0.5]), "b": jnp.array([[0.3, 0.7], [-0.4, 0.2]])}


def walked(optimizer, steps=5, params=START, loss=LOSS):
    """Return the parameters and the state after some steps."""

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        return updates.update(optimizer, grads, state, params, value=value, value_fn=loss)

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


@pytest.mark.parametrize(
    ("optimizer", "critical"),
    [
        (optax.sgd(ETA), 2 / ETA),
        (optax.sgd(ETA, momentum=0.5), 3 / ETA),
        (optax.sgd(ETA, momentum=0.5, nesterov=True), 1.5 / ETA),
        (optax.chain(optax.add_decayed_weights(4.0), optax.sgd(ETA)), 2 / ETA - 4),
        (optax.sgd(lambda step: ETA * (step + 1)), 2 / (6 * ETA)),  # at its sixth step
        (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(ETA)), 2 / ETA),
        (optax.inject_hyperparams(optax.sgd)(learning_rate=ETA), 2 / ETA),
    ],
    ids=["plain", "heavy ball", "nesterov", "decay", "schedule", "clipped", "injected"],
)
def test_the_critical_sharpness_is_the_closed_form(optimizer, critical):
    params, state = walked(optimizer)
    found = descent.stability(LOSS, params, optimizer, state)
    np.testing.assert_allclose(found.sharpness, 7, rtol=1e-5)
    np.testing.assert_allclose(found.critical, critical, rtol=1e-5)
    np.testing.assert_allclose(found.ratio, 7 / critical, rtol=1e-5)


@pytest.mark.parametrize(("make", "b1"), [(optax.adam, 0.9), (optax.adam, 0.0)])
def test_adams_ratio_is_the_preconditioned_sharpness_over_its_edge(make, b1):
    optimizer = make(ETA, b1=b1)
    params, state = walked(optimizer, 200)
    found = descent.stability(LOSS, params, optimizer, state)
    nu = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state[0].nu)])
    # At zero gradient the mean of squares decays, and its bias correction is that of step 201.
    root = np.sqrt(0.999 * nu / (1 - 0.999**201)) + 1e-8
    preconditioned = np.linalg.eigvals(MATRIX / root[:, None]).real.max()
    edge = (2 + 2 * b1) / ((1 - b1) * ETA)
    np.testing.assert_allclose(found.ratio, preconditioned / edge, rtol=1e-4)
    if b1:
        np.testing.assert_allclose(edge, 38 / ETA)


def test_rmsprops_ratio_is_the_preconditioned_sharpness_over_its_edge():
    optimizer = optax.rmsprop(ETA, decay=0.9)
    params, state = walked(optimizer)
    found = descent.stability(LOSS, params, optimizer, state)
    nu = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state[0].nu)])
    scaled = MATRIX / np.sqrt(0.9 * nu + 1e-8)[:, None]
    np.testing.assert_allclose(
        found.ratio, np.linalg.eigvals(scaled).real.max() * ETA / 2, rtol=1e-3
    )


def one_step(optimizer, params, state, loss):
    """Return the Jacobians of a step of any optimizer, by parameters and state, and by gradient."""
    leaves, tree = jax.tree.flatten(state)
    moving = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    flat, unravel = jax.flatten_util.ravel_pytree((params, [leaves[i] for i in moving]))
    _, as_params = jax.flatten_util.ravel_pytree(params)

    def step(z, g):
        here, floats = unravel(z)
        full = list(leaves)
        for i, leaf in zip(moving, floats, strict=True):
            full[i] = leaf
        after, new = updates.update(
            optimizer, as_params(g), jax.tree.unflatten(tree, full), here,
            value=loss(params), value_fn=lambda _: loss(params),
        )  # fmt: skip
        kept = [jax.tree.leaves(new)[i] for i in moving]
        return jax.flatten_util.ravel_pytree((after, kept))[0]

    return jax.jit(jax.jacfwd(step, (0, 1)))(flat, jnp.zeros(6, flat.dtype))


def radius(by_state, by_gradient, matrix, factor):
    """Return the largest modulus of a step's eigenvalues, those of negative curvature left out."""
    jacobian = np.array(by_state, np.float64)
    jacobian[:, :6] += factor * by_gradient @ matrix
    values = np.linalg.eigvals(jacobian)
    growing = (np.abs(values.imag) < 1e-7) & (values.real > 0)
    return np.abs(values[~growing]).max(initial=0.0)


@pytest.mark.parametrize(
    "make",
    [
        optax.nadam, optax.adabelief, optax.lamb, optax.optimistic_gradient_descent,
        *(
            pytest.param(make, marks=pytest.mark.soak)
            for make in (
                optax.amsgrad, optax.adamax, optax.adagrad, optax.radam, optax.yogi, optax.adamw,
                functools.partial(optax.rmsprop, momentum=0.9, centered=True),
                optax.contrib.schedule_free_sgd, optax.contrib.muon,
            )
        ),
    ],
)  # fmt: skip
def test_at_one_over_the_ratio_the_spectral_radius_of_a_step_passes_one(make, x64):
    matrix, loss = curved(np.float64)
    optimizer = make(ETA)
    params, state = walked(optimizer, params=jax.tree.map(jnp.float64, START), loss=loss)
    found = descent.stability(loss, params, optimizer, state)
    by_state, by_gradient = one_step(optimizer, params, state, loss)
    at = functools.partial(radius, by_state, np.asarray(by_gradient), matrix)
    edge = 1 / float(found.ratio)
    assert at(1.001 * edge) > 1 + 1e-6
    for below in np.geomspace(1e-4, 0.999, 40):  # nowhere before
        assert at(below * edge) < 1 + 1e-9


@pytest.mark.parametrize("make", [optax.sign_sgd, optax.lion, optax.polyak_sgd])
def test_a_step_without_a_derivative_at_zero_gradient_has_no_ratio(make):
    optimizer = make(ETA)
    params, state = walked(optimizer)
    found = descent.stability(LOSS, params, optimizer, state)
    np.testing.assert_allclose(found.sharpness, 7, rtol=1e-5)
    assert math.isnan(found.ratio)
    assert math.isnan(found.critical)


def test_adam_has_a_ratio_from_its_second_step_on():
    optimizer = optax.adam(ETA)
    assert math.isnan(descent.stability(LOSS, START, optimizer, optimizer.init(START)).ratio)
    params, state = walked(optimizer, 1)
    assert descent.stability(LOSS, params, optimizer, state).ratio > 0


def test_a_parameter_without_a_gradient_hides_nothing_of_the_others():
    # The preconditioner of the second is 0, as that of a pixel which is always black.
    def loss(w):
        return 3 * w[0] ** 2 + 0 * w[1]

    optimizer = optax.adam(ETA)
    params, state = walked(optimizer, params=jnp.ones(2), loss=loss)
    root = float(jnp.sqrt(0.999 * state[0].nu[0] / (1 - 0.999**6)))
    correction = 1 - 0.9**6
    found = descent.stability(loss, params, optimizer, state)
    np.testing.assert_allclose(found.ratio, 6 / root * ETA / 38 / correction, rtol=1e-4)


def test_a_weight_that_gets_its_first_gradient_is_divided_by_epsilon_alone():
    # As between a pixel that was black, or a unit that was off, and is so no more.
    def loss(w):
        return 3 * w[0] ** 2 + 1e-6 * jnp.where(w[0] < 0.95, w[0] + w[1], 0.0) ** 2 / 2

    optimizer = optax.adam(ETA)
    params, state = walked(optimizer, 3, params=jnp.ones(2), loss=loss)
    slopes = jax.jit(jax.grad(loss))(params)
    assert state[0].nu[1] == 0 < abs(slopes[1])
    found = descent.stability(loss, params, optimizer, state)
    root = np.sqrt(0.999 * np.asarray(state[0].nu, float) / (1 - 0.999**4)) + 1e-8
    hessian = np.array([[6 + 1e-6, 1e-6], [1e-6, 1e-6]])
    preconditioned = np.linalg.eigvals(hessian / root[:, None]).real.max()
    edge = 38 / ETA * (1 - 0.9**4)
    assert preconditioned > 10 * 6 / root[0]  # it is the second weight that decides
    np.testing.assert_allclose(found.ratio, preconditioned / edge, rtol=1e-3)


def test_the_products_of_both_searches_are_counted():
    # A map of one dimension is known after one product, that of the step and that of the loss.
    optimizer = optax.sgd(ETA)
    found = descent.stability(jnp.square, jnp.array(1.0), optimizer, optimizer.init(jnp.array(1.0)))
    assert "iteration, 2 products with the Hessian" in found.method


def test_frozen_parameters_are_stable_at_any_curvature():
    found = descent.stability(LOSS, START, optax.set_to_zero(), optax.set_to_zero().init(START))
    assert float(found.ratio) == 0
    assert float(found.critical) == math.inf
    assert "products with the Hessian" in found.method


def test_beyond_a_ratio_of_one_a_descent_leaves_and_below_it_stays():
    def loss(w):
        return 5 * w**2

    for eta, ratio in ((0.19, 0.95), (0.21, 1.05)):
        watched = descent.watch(loss, jnp.array(1.0), optax.sgd(eta), 100, every=50)
        np.testing.assert_allclose(watched.ratio, [ratio] * 3, rtol=1e-5)
        assert (watched.trace.loss[-1] > watched.trace.loss[0]) == (ratio > 1)


@pytest.mark.parametrize(
    ("loss", "params", "expected"),
    [
        (lambda w: 0 * jnp.sum(w), jnp.ones(3), (0, math.nan, 0)),
        (lambda w: jnp.sum(w), jnp.ones(3), (0, math.nan, 0)),
        (lambda w: 2 * w**2, jnp.array(1.0), (4, 2 / ETA, 2 * ETA)),
        (lambda w: -jnp.sum(w**2), jnp.ones(3), (-2, 2 / ETA, -ETA)),
        (lambda w: 2 * jnp.sum(w**2), jnp.ones(3, jnp.bfloat16), (4, 2 / ETA, 2 * ETA)),
    ],
    ids=["constant", "linear", "one parameter", "concave", "bfloat16"],
)
def test_small_and_flat_losses(loss, params, expected):
    optimizer = optax.sgd(ETA)
    found = descent.stability(loss, params, optimizer, optimizer.init(params))
    rtol = 1e-2 if params.dtype == jnp.bfloat16 else 1e-5
    np.testing.assert_allclose(np.array(found[:3], float), expected, rtol=rtol)


def spins(w):
    return jax.lax.while_loop(lambda w: jnp.all(w > 2), lambda w: w / 2, w).sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": spins}, "loss cannot be differentiated twice: Reverse-mode .*scan"),
        ({"loss": lambda w: w}, r"loss must return a floating-point scalar"),
        ({"loss": lambda w: jnp.sum(w) * jnp.nan}, "the loss at params must be finite, not nan"),
        ({"opt_state": ()}, r"opt_state has the shapes \(\), but .* give what optimizer\.init"),
        ({"opt_state": optax.adam(1.0).init(jnp.ones(2))}, "opt_state has the shapes"),
        ({"optimizer": 0.1}, "optimizer must be an optax optimizer, not a float"),
        ({"batch": lambda step: 1.0}, r"batch must be the examples, .* give batch\(step\)"),
        ({"batch": "x"}, "batch must be an array of numbers, not a str"),
        ({"key": 3}, "pass one key made by jax.random.key"),
        ({"params": jnp.arange(3)}, "params must be a pytree of floating-point arrays"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_has_no_stability_is_refused(change, message):
    optimizer = optax.sgd(ETA, momentum=0.9)
    call = {
        "loss": lambda w: jnp.sum(w**2), "params": jnp.ones(3), "optimizer": optimizer,
        "opt_state": optimizer.init(jnp.ones(3)), "batch": None, "key": None,
    }  # fmt: skip
    loss, params, optimizer, state, *rest = (call | change).values()
    with pytest.raises(ValueError, match=message):
        descent.stability(loss, params, optimizer, state, batch=rest[0], key=rest[1])


# --- on the way of a descent -------------------------------------------------------------------


def quartic(params, batch=1.0):
    return batch * jnp.sum((params["w"] ** 2 - 1) ** 2 * jnp.array([1.0, 0.5, 0.1]))


def test_a_watched_descent_is_the_plain_one_and_reads_what_stability_reads():
    params, optimizer = {"w": jnp.array([0.2, 1.5, -0.7])}, optax.sgd(0.05, momentum=0.5)
    watched = descent.watch(quartic, params, optimizer, 25, every=10)
    plain = descent.gradient_descent(quartic, params, optimizer, 25)
    np.testing.assert_allclose(watched.trace.loss, plain.loss, rtol=1e-6)
    np.testing.assert_allclose(watched.trace.grad_norm, plain.grad_norm, rtol=1e-5)
    np.testing.assert_allclose(watched.trace.final_params["w"], plain.final_params["w"], rtol=1e-6)
    assert watched.at.tolist() == [0, 10, 20]
    hessian = jax.jit(jax.hessian(quartic))
    hessians = [hessian({"w": plain.params["w"][t]})["w"]["w"] for t in watched.at]
    sharpness = [np.linalg.eigvalsh(h).max() for h in hessians]
    np.testing.assert_allclose(watched.sharpness, sharpness, rtol=1e-5)
    np.testing.assert_allclose(watched.critical, 3 / 0.05, rtol=1e-5)
    np.testing.assert_allclose(watched.ratio, watched.sharpness * 0.05 / 3, rtol=1e-5)


def test_each_reading_is_of_the_batch_of_its_step():
    params, optimizer = {"w": jnp.ones(3)}, optax.sgd(1e-6)
    watched = descent.watch(
        quartic, params, optimizer, 4, every=2, batch=lambda step: 1 + jnp.float32(step)
    )
    np.testing.assert_allclose(watched.sharpness, [8, 24, 40], rtol=1e-3)


def test_an_eigenvalue_that_grows_out_of_nothing_is_seen():
    # The largest eigenvalue belongs to the first parameter, then to the second: exact eigenvectors.
    def loss(w, t):
        return (4 * w[0] ** 2 + t * w[1] ** 2) / 2

    watched = descent.watch(loss, jnp.ones(2), optax.sgd(1e-6), 8, every=1, batch=jnp.float32)
    np.testing.assert_allclose(watched.sharpness, [4, 4, 4, 4, 4, 5, 6, 7, 8], rtol=1e-4)


def test_readings_after_a_divergence_are_nan_and_adam_is_read_from_its_second_step():
    watched = descent.watch(quartic, {"w": jnp.full(3, 9.0)}, optax.sgd(1.0), 20, every=10)
    assert np.isfinite(watched.sharpness[0])
    assert np.isnan(watched.sharpness[1:]).all()
    watched = descent.watch(quartic, {"w": jnp.full(3, 0.7)}, optax.adam(0.01), 20, every=10)
    assert np.isfinite(watched.sharpness).all()
    assert np.isnan(watched.ratio).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 0}, "every must be an int from 1 to 268435456, not 0"),
        ({"steps": 2.5}, r"steps must be an int from 0 to 268435456, not 2\.5"),
        ({"params": jnp.array(jnp.nan)}, "the loss at params must be finite, not nan"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_watched_is_refused(change, message):
    call = {"params": jnp.array(1.0), "steps": 3, "every": 1} | change
    with pytest.raises(ValueError, match=message):
        descent.watch(
            jnp.square, call["params"], optax.sgd(0.1), call["steps"], every=call["every"]
        )


def test_a_watcher_evaluates_a_training():
    def loss(params, state, batch, key):
        return jnp.mean(batch["x"]) * params**2, (state, {})

    optimizer = optax.sgd(0.1)
    samples = batches.Batches({"x": jnp.ones(4)}, 2, key=jax.random.key(0))
    start = training.create(jnp.array(1.0), optimizer, key=jax.random.key(1))
    evaluate = descent.watcher(lambda w, batch: batch * w**2, optimizer, batch=jnp.array(3.0))
    records = []
    training.fit(start, loss, optimizer, samples, 2, evaluate=evaluate, report=records.append)
    for record in records:
        np.testing.assert_allclose(
            [record[name] for name in ("sharpness", "critical", "ratio")], [6, 20, 0.3], rtol=1e-5
        )


# --- the top of the spectrum -------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("key", [None, 0])
def test_the_spectrum_is_that_of_the_matrix(k, key):
    key = None if key is None else jax.random.key(key)
    found = descent.spectrum(LOSS, START, k, key=key)
    np.testing.assert_allclose(found.values, [7, 3, 2, 0.5, 0, -1][:k], atol=1e-5)
    vectors = np.concatenate([np.reshape(found.vectors[name], (k, -1)) for name in "ab"], axis=1)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-5)
    np.testing.assert_allclose(vectors @ MATRIX, found.values[:, None] * vectors, atol=1e-4)


def test_a_spectrum_of_many_parameters_takes_several_sweeps_and_finds_repeated_values():
    eigenvalues = np.concatenate([np.linspace(-30, 5, 296), [9.0, 9.0, 20.0, 90.0]])
    basis, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(300, 300)))
    matrix = jnp.asarray((basis * eigenvalues) @ basis.T, jnp.float32)
    found = descent.spectrum(lambda w: w @ matrix @ w / 2, jnp.ones(300), 4)
    np.testing.assert_allclose(found.values, [90, 20, 9, 9], rtol=1e-3)
    assert (found.residual < 1e-4 * 91).all()


@pytest.mark.parametrize("k", [0, 7, 2.0])
@pytest.mark.usefixtures("unchecked")
def test_a_spectrum_has_as_many_values_as_parameters(k):
    with pytest.raises(ValueError, match=f"k must be an int from 1 to 6, not {k}"):
        descent.spectrum(LOSS, START, k)
