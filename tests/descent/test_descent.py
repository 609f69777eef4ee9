import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent, landscapes
from chainrule.descent import run as one_program


def steep(w):
    return landscapes.quadratic(w, curvature=4.0)


# --- one run -----------------------------------------------------------------------------------


def test_on_a_quadratic_every_step_contracts_by_one_minus_eta_times_the_curvature():
    for eta in (0.125, 0.3, 0.45, 0.6):
        trace = descent.gradient_descent(steep, jnp.asarray(3.0), optax.sgd(eta), 10)
        expected = 3.0 * (1 - eta * 4.0) ** np.arange(11)
        np.testing.assert_allclose(trace.params, expected, rtol=1e-5)
        np.testing.assert_allclose(trace.loss, 2 * expected**2, rtol=1e-5)
        np.testing.assert_allclose(trace.grad_norm, 4 * np.abs(expected), rtol=1e-5)
        np.testing.assert_allclose(trace.final_params, expected[-1], rtol=1e-5)


def test_the_edge_of_a_quadratic_is_two_over_its_curvature():
    start = jnp.asarray(1.0)
    edge = descent.edge(float(descent.sharpness(steep, start, key=jax.random.key(0))))
    assert edge == pytest.approx(0.5, rel=1e-6)
    trace = descent.sweep(steep, start, jnp.asarray([0.99 * edge, 1.01 * edge]), 200)
    assert abs(float(trace.final_params[0])) < 0.05
    assert abs(float(trace.final_params[1])) > 40


@pytest.mark.parametrize(
    ("eta", "detach", "expected"),
    [
        (1e-3, False, (0.4246, -0.4246)),
        (1e-4, True, (0.5099, -0.4901)),
        (1e-4, False, (0.4903, -0.4903)),
        (1e-3, True, (0.5907, -0.4093)),
    ],
)
def test_the_coupled_loss_ends_where_the_notes_say_after_100_steps(eta, detach, expected):
    loss = functools.partial(landscapes.coupled, detach=detach)
    start = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
    final = descent.gradient_descent(loss, start, optax.sgd(eta), 100).final_params
    np.testing.assert_allclose((final["a"], final["b"]), expected, atol=5e-5)


@pytest.mark.parametrize(("detach", "limit"), [(False, (1 / 3, -1 / 3)), (True, (1.0, 0.0))])
def test_the_limits_of_the_coupled_loss(detach, limit):
    loss = functools.partial(landscapes.coupled, detach=detach)
    start = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
    final = descent.gradient_descent(loss, start, optax.sgd(0.1), 300).final_params
    np.testing.assert_allclose((final["a"], final["b"]), limit, atol=1e-5)


def test_the_three_series_of_the_notes_on_the_two_well_landscape():
    run = functools.partial(descent.gradient_descent, landscapes.two_well)
    creeping = run(jnp.asarray(-0.5), optax.sgd(0.125), 11)
    assert creeping.params.shape == (12,)
    assert (np.diff(creeping.params) < 0).all()
    np.testing.assert_allclose(creeping.final_params, -1.0467, atol=1e-3)
    other = run(jnp.asarray(0.5), optax.sgd(0.125), 11)
    assert (np.diff(other.params) > 0).all()
    np.testing.assert_allclose(other.final_params, 0.9456, atol=1e-2)
    swinging = run(jnp.asarray(-0.5), optax.sgd(0.5), 11)
    sides = np.sign(np.asarray(swinging.params)[2:] + 1.0467)
    np.testing.assert_array_equal(sides, [-1, 1] * 5)
    words = [descent.verdict(trace)[0] for trace in (creeping, other, swinging)]
    assert words == ["descending", "descending", "oscillating"]


def test_what_is_observed_is_a_function_of_the_parameters_of_every_step_and_lane():
    def observe(w):
        return {"slope": jax.grad(landscapes.two_well)(w), "right": w > 0}

    trace = descent.sweep(
        landscapes.two_well, jnp.asarray(0.5), [0.1, 0.9], 6, record_params=True, observe=observe
    )
    assert trace.observed["right"].shape == (2, 7)
    np.testing.assert_array_equal(trace.observed["right"], trace.params > 0)
    np.testing.assert_array_equal(np.abs(trace.observed["slope"]), trace.grad_norm)
    single = descent.gradient_descent(
        landscapes.two_well, jnp.asarray(0.5), optax.sgd(0.1), 6, observe=observe
    )
    np.testing.assert_allclose(single.observed["slope"], trace.observed["slope"][0], rtol=1e-6)
    assert descent.sweep(landscapes.two_well, jnp.asarray(0.5), [0.1], 6).observed is None
    with pytest.raises(
        ValueError, match=r"recording what is kept of 1 x 300001 points takes 1\.12"
    ):
        descent.gradient_descent(
            jnp.sum,
            jnp.ones(1000),
            optax.sgd(0.1),
            300_000,
            record_params=False,
            observe=lambda w: w,
        )


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1, momentum=0.9, nesterov=True),
        optax.adam(0.3),
        optax.adamw(optax.cosine_decay_schedule(0.3, 60)),
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.2)),
        optax.noisy_sgd(0.1, key=jax.random.key(1)),
        optax.polyak_sgd(),
        optax.lbfgs(),
        optax.MultiSteps(optax.sgd(0.3), 2).gradient_transformation(),
    ],
    ids=["nesterov", "adam", "adamw", "clip", "noisy", "polyak", "lbfgs", "accumulate"],
)
def test_any_optax_optimizer_descends_and_equals_the_plain_python_loop(optimizer):
    def loss(params):
        return steep(params["a"]) + landscapes.quadratic(params["b"]["c"])

    params = {"a": jnp.asarray([1.0, -2.0]), "b": {"c": jnp.asarray(3.0)}}
    trace = descent.gradient_descent(loss, params, optimizer, 6)

    update = optax.with_extra_args_support(optimizer).update

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return value, optax.apply_updates(params, updates), state

    state, losses = optimizer.init(params), []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(6):
            value, params, state = step(params, state)
            losses.append(float(value))
    losses.append(float(loss(params)))
    np.testing.assert_allclose(trace.loss, losses, rtol=2e-5, atol=1e-6)
    assert trace.loss[-1] < trace.loss[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5),
        trace.final_params,
        params,
    )


def sharpness_aware(**settings):
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    return optax.contrib.sam(optax.sgd(0.05), ascent, **settings)


def test_sam_takes_no_extra_arguments_in_its_plain_mode_and_the_gradient_in_its_opaque_one():
    w, trace = jnp.asarray([3.0, -4.0]), []
    for _ in range(3):
        trace.append(w)
        g = 4 * w
        w = w - 0.05 * 4 * (w + 0.1 * g / jnp.linalg.norm(g))
    start = trace[0]
    opaque = descent.gradient_descent(steep, start, sharpness_aware(opaque_mode=True), 3)
    np.testing.assert_allclose(opaque.params, [*trace, w], rtol=1e-5)
    plain = descent.gradient_descent(steep, start, sharpness_aware(), 6)  # every other step climbs
    np.testing.assert_allclose(plain.params[::2], [*trace, w], rtol=1e-5)


def branching_schedule(step):
    return 0.1 if step < 3 else 0.01


def branching_factory(eta):
    return optax.adam(eta) if eta < 0.1 else optax.sgd(eta)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (optax.contrib.sophia(0.1), r"optimizer\.update fails .*: obj_fn must be provided"),
        (
            optax.lookahead(optax.sgd(0.1), 5, 0.5),
            r"optimizer\.update fails on these gradients, state and params: .* no attribute '?fast",
        ),
        (optax.chain(optax.identity(), sharpness_aware()), r"unexpected keyword argument 'value'"),
        (optax.sgd(branching_schedule), r"update fails .* it branches in Python .* jnp\.where"),
    ],
    ids=["sophia", "lookahead", "chained sam", "branching schedule"],
)
def test_an_optimizer_that_cannot_run_says_why_in_one_sentence(optimizer, message):
    with pytest.raises(ValueError, match=message):
        descent.gradient_descent(steep, jnp.ones(2), optimizer, 4)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda eta: None, r"optimizer\(eta\) must return an optax optimizer, not a NoneType"),
        (branching_factory, r"optimizer\(eta\) fails: it branches .*the learning rate.*jnp\.where"),
        (lambda eta: optax.adam(rate=eta), r"optimizer\(eta\) fails: .*'rate'"),
    ],
    ids=["nothing", "branching", "misspelt"],
)
@pytest.mark.usefixtures("unchecked")
def test_a_factory_that_makes_no_optimizer_says_why_in_one_sentence(factory, message):
    with pytest.raises(ValueError, match=message):
        descent.sweep(steep, jnp.ones(2), [0.1, 0.2], 2, optimizer=factory)


def test_a_batch_function_gives_each_step_its_own_mini_batch():
    data = jnp.arange(12.0).reshape(6, 2)

    def loss(w, batch):
        return jnp.mean((w - batch) ** 2)

    def batch(step):
        return data[step % 6]

    trace = descent.gradient_descent(loss, jnp.asarray(0.0), optax.sgd(0.25), 7, batch=batch)
    w, losses = 0.0, []
    for t in range(8):
        rows = np.asarray(data[t % 6])
        losses.append(np.mean((w - rows) ** 2))
        if t < 7:
            w -= 0.25 * np.mean(2 * (w - rows))
    np.testing.assert_allclose(trace.loss, losses, rtol=1e-6)
    np.testing.assert_allclose(trace.final_params, w, rtol=1e-6)
    lanes = descent.sweep(loss, jnp.asarray(0.0), jnp.asarray([0.25, 0.1]), 7, batch=batch)
    np.testing.assert_allclose(lanes.loss[0], trace.loss, rtol=1e-6)


def test_zero_steps_record_the_start_alone():
    trace = descent.gradient_descent(steep, jnp.asarray(2.0), optax.sgd(0.1), 0)
    assert (trace.loss.tolist(), trace.params.tolist()) == ([8.0], [2.0])
    assert descent.verdict(trace) == ("descending",)


def test_parameters_are_recorded_only_when_asked_for():
    run = functools.partial(descent.gradient_descent, steep, jnp.ones(3), optax.sgd(0.1), 5)
    assert run().params.shape == (6, 3)
    assert run(record_params=False).params is None
    lanes = functools.partial(descent.sweep, steep, jnp.ones(3), jnp.asarray([0.1, 0.2]), 5)
    assert lanes().params is None
    assert lanes(record_params=True).params.shape == (2, 6, 3)


def test_descents_work_under_jit_vmap_and_in_the_dtype_of_the_parameters():
    etas = jnp.asarray([0.1, 0.2])

    def final(eta):
        return descent.gradient_descent(steep, jnp.asarray(1.0), optax.sgd(eta), 3).final_params

    expected = (1 - 4 * np.asarray(etas)) ** 3
    np.testing.assert_allclose(jax.jit(jax.vmap(final))(etas), expected, rtol=1e-5)
    np.testing.assert_allclose(
        jax.jit(lambda e: descent.sweep(steep, jnp.asarray(1.0), e, 3).final_params)(etas),
        expected,
        rtol=1e-5,
    )
    with jax.enable_x64(True):
        trace = descent.sweep(steep, jnp.asarray(1.0, jnp.float64), etas, 3)
        assert trace.loss.dtype == trace.final_params.dtype == jnp.float64
    trace = descent.sweep(steep, jnp.asarray(1.0, jnp.bfloat16), etas, 3)
    assert trace.final_params.dtype == jnp.bfloat16


# --- sweeps ------------------------------------------------------------------------------------


def test_a_sweep_equals_single_runs_lane_by_lane():
    etas = jnp.asarray([0.03, 0.125, 0.5])
    for optimizer in (optax.sgd, optax.adam, functools.partial(optax.sgd, momentum=0.9)):
        start = jnp.asarray([-1.2, 1.0])
        lanes = descent.sweep(
            lambda w: landscapes.rosenbrock(w) / 500, start, etas, 25, optimizer=optimizer
        )
        for i, eta in enumerate(etas):
            alone = descent.gradient_descent(
                lambda w: landscapes.rosenbrock(w) / 500, start, optimizer(float(eta)), 25
            )
            np.testing.assert_allclose(lanes.loss[i], alone.loss, rtol=1e-4)
            np.testing.assert_allclose(lanes.final_params[i], alone.final_params, rtol=1e-3)


def test_a_second_sweep_with_other_rates_of_the_same_number_compiles_nothing():
    traced = []

    def loss(w):
        traced.append(w)  # runs when the loss is traced, and only then
        return jnp.sum(w**2)

    sweep = functools.partial(descent.sweep, loss, jnp.ones(2), steps=3)
    with jax.log_compiles(True):
        sweep(etas=jnp.asarray([0.1, 0.2]))
        size = one_program._lanes._cache_size()
        sweep(etas=jnp.asarray([0.3, 0.4]))
        assert one_program._lanes._cache_size() == size
        sweep(etas=jnp.asarray([0.3, 0.4, 0.5]))
        assert one_program._lanes._cache_size() == size + 1


def test_a_lane_that_diverges_leaves_its_neighbours_alone():
    lanes = descent.sweep(steep, jnp.asarray(1.0), jnp.asarray([0.1, 100.0]), 60)
    alone = descent.sweep(steep, jnp.asarray(1.0), jnp.asarray([0.1]), 60)
    assert not np.isfinite(lanes.loss[1]).all()
    np.testing.assert_array_equal(lanes.loss[0], alone.loss[0])


@pytest.mark.parametrize("draws", [False, True])
def test_lanes_in_groups_are_those_of_single_runs_the_last_group_not_full(monkeypatch, draws):
    x = jax.random.normal(jax.random.key(0), (8, 3))

    def loss(w, *batch):
        return jnp.mean((jnp.tanh((batch[0] if draws else x) @ w) - 0.5) ** 2)

    batch = (lambda t: x[jnp.arange(4) + t % 4]) if draws else None
    how = {"batch": batch, "record_params": True, "observe": jnp.sum}
    start, etas = jnp.full(3, 0.1), jnp.linspace(0.1, 0.7, 7)
    whole = descent.sweep(loss, start, etas, 5, **how)
    shapes = (start,) if batch is None else (start, batch(0))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(loss))(*shapes)
    touched = sum(v.aval.size * v.aval.dtype.itemsize for e in jaxpr.eqns for v in e.outvars)
    monkeypatch.setattr(one_program, "_CACHE_BYTES", 3 * touched)
    assert one_program._groups(loss, start, 7, batch) == 3
    assert one_program._groups(loss, start, 3, batch) == 1
    one_program._lanes.clear_cache()  # it knows this sweep from before
    trace = descent.sweep(loss, start, etas, 5, **how)
    assert jax.tree.map(jnp.shape, trace) == jax.tree.map(jnp.shape, whole)
    for i, eta in enumerate(etas):
        alone = descent.gradient_descent(loss, start, optax.sgd(float(eta)), 5, **how)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], trace)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), lane, alone
        )
    monkeypatch.setattr(one_program, "_CACHE_BYTES", 0)  # a lane that does not fit goes alone
    assert one_program._groups(loss, start, 7, batch) == 7


# --- words and numbers -------------------------------------------------------------------------


def trace_of(loss, grad_norm=None):
    loss = jnp.asarray(loss)
    grad_norm = jnp.ones_like(loss) if grad_norm is None else jnp.asarray(grad_norm)
    return descent.Trace(loss, grad_norm, None, None)


@pytest.mark.parametrize(
    ("word", "loss", "grad_norm"),
    [
        ("diverged", [1.0, 0.5, np.nan], [1.0, 1.0, 0.0]),
        ("diverged", [1.0, np.inf, 0.5], [1.0, 1.0, 1.0]),
        ("diverged", [1.0, 0.5, 1.01], [1.0, 1.0, 0.0]),  # before "converged"
        ("converged", [1.0, 0.5, 0.1], [1.0, 1.0, 1e-3]),
        ("converged", [1.0, 0.5, 0.6], [1.0, 1.0, 0.0]),  # before "oscillating"
        ("converged", [1.0, 0.5, 0.1], [100.0, 1.0, 0.05]),  # the first norm is the measure
        ("oscillating", [1.0, 0.5, 0.6], [1.0, 1.0, 1.1e-3]),
        ("descending", [1.0, 0.5, 0.50004], None),
        ("oscillating", [-1.0, -1.6, -1.5], None),
        ("descending", [1.0], None),
    ],
)
def test_verdicts_follow_the_stated_rule_in_the_stated_order(word, loss, grad_norm):
    assert descent.verdict(trace_of(loss, grad_norm)) == (word,)


@pytest.mark.parametrize(
    ("rise", "word"), [(1.00005e-4, "oscillating"), (0.99995e-4, "descending")]
)
def test_a_rise_counts_by_its_share_of_the_value_before_it(rise, word):
    # Of the value after it the first would be less than 1e-4 too.
    loss = np.array([2.0, 1.0, 1.0 + rise])
    assert descent.verdict(descent.Trace(loss, np.ones(3), None, None)) == (word,)


def test_oscillating_looks_at_the_last_tenth_only_and_asks_for_a_quarter_of_rises():
    falling = np.linspace(10, 1, 81)
    early = falling.copy()
    early[10:60:2] += 0.5
    assert descent.verdict(trace_of(early)) == ("descending",)
    for rises, word in ((1, "descending"), (2, "oscillating")):
        late = falling.copy()
        late[[75, 78][:rises]] += 0.5  # each bump is one rise among the last eight steps
        assert descent.verdict(trace_of(late)) == (word,)


def test_summary_names_peak_best_and_first_nonfinite_step():
    lanes = descent.summary(trace_of([[2.0, 5.0, 1.0], [2.0, np.inf, np.nan], [2.0, 1.0, 0.25]]))
    assert lanes[0] == ("oscillating", 2.0, 5.0, 1, 1.0, 4.0, None)
    assert lanes[1][:4] == ("diverged", 2.0, 2.0, 0)
    assert math.isnan(lanes[1].final)
    assert lanes[1].first_nonfinite == 1
    assert lanes[2].ratio_to_best == 1.0
    assert math.isnan(descent.summary(trace_of([1.0, -1.0]))[0].ratio_to_best)
    nowhere = descent.summary(trace_of([np.nan, np.nan]))[0]
    assert (nowhere.peak_step, nowhere.first_nonfinite) == (-1, 0)


# --- sharpness and the edge --------------------------------------------------------------------


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [-5.0, 1.0],  # plain power iteration returns -5
        [-5.0, -2.0, -0.5],
        [3.0, 3.0, 3.0],
        [-3.0, -3.0, -3.0],  # exhausted after one iteration
        [0.0, 0.0],
        [2.0],
        [-4.0],
        np.concatenate([np.linspace(-30, 5, 99), [9.0]]),
        np.concatenate([np.geomspace(1e-4, 1, 150), [20.0, 90.0]]),
    ],
    ids=[
        "indefinite",
        "negative",
        "repeated",
        "exhausted",
        "flat",
        "one",
        "concave",
        "gap",
        "network",
    ],
)
def test_sharpness_is_the_algebraically_largest_eigenvalue(eigenvalues):
    eigenvalues = np.asarray(eigenvalues)
    n = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(n, n)))
    matrix = jnp.asarray((basis * eigenvalues) @ basis.T, jnp.float32)

    def loss(params):
        w = jnp.concatenate([params["a"], params["b"].reshape(-1)])
        return w @ matrix @ w / 2

    params = {"a": jnp.ones(n // 2), "b": jnp.ones((n - n // 2, 1))}
    found = descent.sharpness(loss, params, key=jax.random.key(5))
    np.testing.assert_allclose(found, eigenvalues.max(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sharpness_in_half_precision(dtype):
    start = jnp.ones(3, dtype)
    found = descent.sharpness(lambda w: 2 * jnp.sum(w * w), start, key=jax.random.key(0))
    np.testing.assert_allclose(found, 4, rtol=0.02)


def test_sharpness_passes_through_a_custom_vjp():
    @jax.custom_vjp
    def square(w):
        return w * w

    square.defvjp(lambda w: (w * w, w), lambda w, g: (2 * w * g,))
    found = descent.sharpness(lambda w: 3 * square(w), jnp.asarray(0.7), key=jax.random.key(0))
    np.testing.assert_allclose(found, 6.0, rtol=1e-6)


def test_the_edge_knows_plain_descent_and_momentum_and_no_other():
    assert descent.edge(4.0) == 0.5
    heavy = functools.partial(optax.sgd, momentum=0.9)
    assert descent.edge(4.0, heavy) == pytest.approx(0.95)
    assert descent.edge(0.0) == descent.edge(-3.0, heavy) == math.inf
    nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)
    assert descent.edge(4.0, nesterov) == pytest.approx(0.5 * 1.9 / 2.8)
    for other in (optax.adam, functools.partial(optax.adam, b1=0.5)):
        assert math.isnan(descent.edge(4.0, other))


@pytest.mark.parametrize(
    ("sharpness", "momentum", "message"),
    [
        (4.0, 2.0, r"momentum must be a finite number of at least 0 and below 1, not 2\.0"),
        (4.0, 1.0, r"below 1, not 1\.0"),
        (4.0, -0.1, r"not -0\.1"),
        (4.0, math.nan, r"not nan"),
        (4.0, "x", r"not 'x'"),
        ("4", 0.5, r"sharpness must be a number, not '4'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_no_edge_is_told_for_what_is_no_momentum_or_no_sharpness(sharpness, momentum, message):
    with pytest.raises(ValueError, match=message):
        descent.edge(sharpness, functools.partial(optax.sgd, momentum=momentum))


def test_an_unknown_sharpness_has_no_known_edge():
    assert math.isnan(descent.edge(math.nan))


def test_the_heavy_ball_edge_is_where_a_quadratic_starts_to_diverge():
    heavy = functools.partial(optax.sgd, momentum=0.5)
    edge = descent.edge(4.0, heavy)
    etas = jnp.asarray([0.98 * edge, 1.02 * edge])
    trace = descent.sweep(steep, jnp.asarray(1.0), etas, 400, optimizer=heavy)
    assert trace.loss[0, -1] < 1e-3
    assert trace.loss[1, -1] > 1e3


def test_the_minimum_of_the_quadratic_model_is_the_next_step():
    w, eta = jnp.asarray([0.3, -0.7]), 0.002
    model = descent.quadratic_model(landscapes.rosenbrock, w, eta)
    step = w - eta * jax.jit(jax.grad(landscapes.rosenbrock))(w)
    assert model(w) == landscapes.rosenbrock(w)
    np.testing.assert_allclose(jax.jit(jax.grad(model))(step), np.zeros(2), atol=1e-4)
    np.testing.assert_allclose(jax.jit(jax.hessian(model))(w), np.eye(2) / eta, rtol=1e-6)


@pytest.mark.parametrize("eta", [0.0, -0.1, math.inf, math.nan])
def test_a_quadratic_model_takes_a_positive_rate(eta):
    with pytest.raises(ValueError, match=rf"eta must be a finite number above 0, not {eta}"):
        descent.quadratic_model(steep, jnp.ones(2), eta)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": -1}, r"steps must be an int of at least 0, not -1"),
        ({"steps": 2.0}, r"not 2\.0"),
        ({"steps": True}, r"not True"),
        ({"params": {"w": jnp.arange(3)}}, r"params\['w'\] is int32"),
        ({"params": {}}, r"it holds no number"),
        ({"loss": lambda w: w * jnp.ones(2)}, r"returns float32 of shape \(2,\)"),
        ({"loss": lambda w: jnp.argmax(w)}, r"returns int32 of shape \(\)"),
        ({"loss": lambda w: None}, r"returns NoneType"),
        ({"loss": lambda w: (w.sum(), {})}, r"returns a tuple of 2: return the loss alone"),
        ({"loss": lambda w: {"loss": w.sum()}}, r"returns a dict of 1: return the loss alone"),
        ({"loss": jnp.ones(2), "params": jnp.sum}, r"not an array: it comes first, and params"),
        ({"optimizer": 0.1}, r"optax optimizer, not a float: .* such as optax\.sgd\(0\.1\)"),
        ({"optimizer": optax.sgd}, r"optax optimizer, not a function"),
        ({"params": jnp.ones(0)}, r"it holds no number"),
        ({"batch": 3}, r"batch must be a function of the step, not an int"),
        ({"observe": 3}, r"observe must be a function of the parameters, not an int"),
        ({"record_params": "no"}, r"record_params must be True or False, not 'no'"),
        ({"steps": 2.5}, r"not 2\.5"),
        ({"params": jnp.ones(1000), "steps": 300_000}, r"1 x 300001 points takes 1\.12 GiB"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_to_a_descent_is_refused_with_both_values(arguments, message):
    whole = {"loss": jnp.sum, "params": jnp.ones(2), "steps": 2, "optimizer": optax.sgd(0.1)}
    with pytest.raises(ValueError, match=message):
        descent.gradient_descent(**whole | arguments)


@pytest.mark.usefixtures("unchecked")
def test_a_rate_in_the_place_of_the_optimizer_of_a_sweep_is_refused():
    with pytest.raises(
        ValueError, match=r"of the learning rate, not a float: give optax\.sgd itself"
    ):
        descent.sweep(jnp.sum, jnp.ones(2), jnp.asarray([0.1]), 2, optimizer=0.1)


@pytest.mark.parametrize(
    ("etas", "message"),
    [
        (jnp.asarray(0.1), r"its shape is \(\)"),
        ("fast", r"etas must be an array of learning rates, not a str"),
        ([0.1, 1j], r"etas must be an array of learning rates, not a list"),
        (jnp.zeros((0,)), r"its shape is \(0,\)"),
        (jnp.ones((2, 2)), r"its shape is \(2, 2\)"),
        (jnp.asarray([0.5, 0.0]), r"etas holds \[0\.0\]"),
        (jnp.asarray([np.nan, 0.5, -1.0]), r"etas holds \[nan, -1\.0\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_rates_are_refused(etas, message):
    with pytest.raises(ValueError, match=message):
        descent.sweep(steep, jnp.asarray(1.0), etas, 2)


def test_a_sweep_counts_its_lanes_when_it_refuses_a_record():
    with pytest.raises(ValueError, match=r"2 x 200001 points takes 1\.49 GiB, more than 1 GiB"):
        descent.sweep(jnp.sum, jnp.ones(1000), jnp.asarray([0.1, 0.2]), 200_000, record_params=True)


def test_sharpness_refuses_no_iterations():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        descent.sharpness(steep, jnp.asarray(1.0), key=jax.random.key(0), iterations=0)


@pytest.mark.parametrize("judge", [descent.verdict, descent.summary])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_trace_is_refused(judge):
    with pytest.raises(ValueError, match="trace must be what gradient_descent or sweep returns, n"):
        judge(np.ones(3))


def test_a_trace_of_traces_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        descent.verdict(trace_of(np.ones((2, 3, 4))))
