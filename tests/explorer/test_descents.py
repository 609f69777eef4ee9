"""The page's descents are those of chainrule.descent: in QuickJS, from any start at any setting."""

import functools
import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quickjs

from chainrule import descent
from chainrule._html import resource
from chainrule._jobs.landscapes import TABLE
from chainrule._jobs.optimizers import OPTIMIZERS
from chainrule.descent import _response, updates
from chainrule.explorer import build, landscape

SETTINGS = {  # what is drawn of each optimizer, and the optimizer
    "sgd": ((), lambda: optax.sgd),
    "momentum": (("momentum",), lambda m: functools.partial(optax.sgd, momentum=m)),
    "nesterov": (
        ("momentum",),
        lambda m: functools.partial(optax.sgd, momentum=m, nesterov=True),
    ),
    "rmsprop": (("decay",), lambda d: functools.partial(optax.rmsprop, decay=d)),
    "adam": (("b1", "b2"), lambda b1, b2: functools.partial(optax.adam, b1=b1, b2=b2)),
}
RUN = """
const loaded = {};
function load(name, slope, curvature) {
  loaded[name] = [slope, curvature].map((text) => descents.each(JSON.parse(text)));
}
const written = (rows) => rows.map((row) => Array.from(row, String).join(" "));
function run(name, wanted, rates) {
  const [slope, curvature] = loaded[name];
  const d = descents.descend(slope, JSON.parse(wanted), Float32Array.from(JSON.parse(rates)));
  const verdicts = d.losses.map((loss, k) => descents.verdict(loss, d.norms[k]));
  const axes = d.params.length, steps = d.params[0].length;
  const points = Float32Array.from({ length: axes * steps }, (_, i) =>
    d.params[i % axes][Math.floor(i / axes)]);
  const [hessians] = curvature(points);
  const at = (t) => hessians.subarray(t * axes * axes, (t + 1) * axes * axes);
  const eigenvalues = d.responses.map((row, t) => [
    descents.largest([1, 1], at(t)), descents.largest(row, at(t))]);
  return JSON.stringify({ losses: written(d.losses), norms: written(d.norms), verdicts,
    params: written(d.params), slopes: written(d.slopes), eigenvalues: written(eigenvalues) });
}
"""
LARGEST = float(np.finfo(np.float32).max)
# Beyond it the square of a length overflows. Of one number some processors with JAX 0.10 take no
# square, and the length is not infinite.
LONGEST = LARGEST**0.5


@functools.cache
def context():
    made = quickjs.Context()
    for package, name in build.SCRIPTS[:-1]:
        made.eval(resource(name, package))
    made.eval(RUN)
    for one in TABLE:
        made.get("load")(one.name, *map(json.dumps, landscape.programs(one)))
    return made


def in_the_page(one, optimizer, settings, start, etas):
    """Return what the page computes at these rates; points, slopes and eigenvalues of the first."""
    wanted = {"optimizer": optimizer, "settings": settings, "start": start, "steps": one.steps}
    text = context().get("run")(one.name, json.dumps(wanted), json.dumps(np.float64(etas).tolist()))
    found = json.loads(text)
    verdicts = found.pop("verdicts")
    rows = {k: np.array([[float(x) for x in row.split()] for row in v]) for k, v in found.items()}
    return rows, verdicts


def drawn(one, optimizers, seed, count):
    """Draw settings of optimizers, a start in the window, and rates, one far beyond the edge."""
    draws = np.random.default_rng(seed)
    low, high = np.transpose(one.window)
    for optimizer in optimizers:
        names, make = SETTINGS[optimizer]
        values = [float(np.round(1 - 10 ** draws.uniform(-3, -0.05), 4)) for _ in names]
        start = draws.uniform(low, high).astype(np.float32)
        etas = np.exp(draws.uniform(*np.log(one.rates), count)).astype(np.float32)
        etas[-1] *= 10
        yield optimizer, dict(zip(names, values, strict=True)), make(*values), start, etas


def apart(ours, theirs, unit):
    """Return how far numbers are apart in a unit: not at all where both are NaN or as infinite."""
    ours, theirs = (np.clip(np.asarray(x, np.float64), -LARGEST, LARGEST) for x in (ours, theirs))
    far = np.abs(ours - theirs) / np.where(np.isnan(unit), np.inf, np.maximum(unit, 1e-30))
    nan = np.isnan(ours), np.isnan(theirs)
    return np.where(nan[0] | nan[1], np.where(nan[0] & nan[1], 0, np.inf), far)


@functools.cache
def at(one):
    """Return a function of points to losses, gradients, and lengths of these and of Hessians."""

    def one_point(w):
        loss, slope = jax.value_and_grad(one.loss)(w)
        return loss, slope, jnp.linalg.norm(slope), jnp.linalg.norm(jax.hessian(one.loss)(w))

    return jax.jit(jax.vmap(one_point))


def stepped(rule, points, slopes):
    """Return where optax steps to from each point, when the gradients are these."""

    @jax.jit
    def all_steps(points, slopes):
        def step(state, here):
            point, slope = here
            value = jnp.sum(point)  # no optimizer here looks at it
            point, state = updates.update(rule, slope, state, point, value=value, value_fn=jnp.sum)
            return state, point

        return jax.lax.scan(step, updates.init(rule, points[0]), (points, slopes))[1]

    return jax.device_get(all_steps(points[:-1], slopes[:-1]))


def compared(one, optimizers, seed, count):
    """Yield of each descent how far the page is from JAX, over what rounding explains.

    Every step is compared by itself, from the page's own point and with its own gradients. Whole
    descents part where rounding grows from step to step, as RMSprop's does near a minimum; how far
    is another matter on every processor.
    """
    for optimizer, settings, factory, start, etas in drawn(one, optimizers, seed, count):
        for eta in etas:
            page, (word,) = in_the_page(one, optimizer, settings, start.tolist(), [eta])
            points, slopes = (np.float32(page[key].T) for key in ("params", "slopes"))
            losses, norms = (np.float32(page[key][0]) for key in ("losses", "norms"))
            about = f"{one.name}, {optimizer} {settings} from {start.tolist()} at {eta}"
            assert (points[0] == start).all(), about
            assert (word,) == descent.verdict(descent.Trace(losses, norms, None, None, None)), about
            loss, slope, norm, bent = map(np.float64, jax.device_get(at(one)(points)))
            with np.errstate(over="ignore", invalid="ignore"):
                off = 2.0**-21 * np.linalg.norm(points.astype(float), axis=1)  # of a rounded point
                unit = 1e-6 * norm + bent * off + 1e-18  # squares of less underflow
                moved = stepped(factory(eta), points, slopes)
                far = np.abs(moved.astype(float) - points[:-1])
                # Adam divides by 1 - b1^t and by the root of 1 - b2^t, powers near 1, rounded.
                powers = 2.0**-25 / (1 - max(settings.values())) if "b1" in settings else 0
                roundings = (4e-6 + powers) * np.maximum.accumulate(far)
                roundings += 2.0**-22 * np.abs(moved)
                yield (
                    about,
                    losses,
                    {
                        "loss": apart(
                            losses,
                            loss,
                            1e-6 * np.maximum(1, np.abs(loss)) + norm * off + bent * off**2,
                        ),
                        "length": apart(
                            np.minimum(norms, LONGEST), np.minimum(norm, LONGEST), unit
                        ),
                        "overflow": apart(
                            np.isinf(norms), np.isinf(np.sum(slopes * slopes, axis=1)), 1e-30
                        ),
                        "gradient": apart(slopes, slope, unit[:, None]),
                        "step": apart(points[1:], moved, roundings),
                    },
                )


def same(rows):
    """Assert that descents are JAX's; return how many there were, how many overflowed."""
    count = overflowed = 0
    for about, losses, found in rows:
        for what, far in found.items():
            assert far.max() <= 1, f"{about}: {what}"
        count, overflowed = count + 1, overflowed + (not np.isfinite(losses).all())
    return count, overflowed


@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
def test_the_descents_of_the_page_are_those_of_jax(one):
    k, names = TABLE.index(one), list(SETTINGS)
    same(compared(one, [names[k], names[k - 2]], seed=1, count=5))


@pytest.mark.soak
@pytest.mark.parametrize("one", TABLE, ids=lambda one: one.name)
def test_the_descents_of_every_optimizer_are_those_of_jax(one):
    found = [same(compared(one, SETTINGS, seed, count=4)) for seed in range(100, 103)]
    count, overflowed = np.sum(found, axis=0)
    assert count == 60
    assert overflowed >= 5 or one.name == "two_well"


def test_what_is_infinite_or_nan_in_jax_is_so_in_the_page():
    one = TABLE[-1]
    trace = descent.sweep(
        one.loss, jnp.asarray([-1.0, 2.0]), jnp.asarray([0.5]), 100, record_params=True
    )
    page, (word,) = in_the_page(one, "sgd", {}, [-1.0, 2.0], [0.5])
    assert word == "diverged"
    assert np.isinf(trace.loss).any()
    assert np.isnan(trace.loss).any()
    np.testing.assert_allclose(page["losses"], trace.loss, rtol=1e-5)
    np.testing.assert_allclose(page["params"].T, trace.params[0], rtol=1e-5)
    np.testing.assert_allclose(page["norms"], trace.grad_norm, rtol=1e-5)


def test_a_verdict_is_chainrules_on_any_series():
    draws = np.random.default_rng(0)
    words = []
    for k in range(300):
        size = int(draws.integers(1, 60))
        loss = np.exp(
            -draws.uniform(0, 0.3) * np.arange(size)
            + draws.choice([0, 1e-4, 0.1]) * draws.normal(size=size)
        )
        norm = np.exp(-draws.uniform(0, 0.4) * np.arange(size))
        if k % 7 == 0:
            loss[draws.integers(size)] = draws.choice([np.nan, np.inf])
        loss, norm = loss.astype(np.float32), norm.astype(np.float32)
        call = "descents.verdict(Float32Array.from({}), Float32Array.from({}))"
        text = [json.dumps(np.float64(x).tolist()) for x in (loss, norm)]
        found = context().eval(call.format(*text))
        trace = descent.Trace(loss, norm, None, None, None)
        assert (found,) == descent.verdict(trace), (loss, norm)
        words.append(found)
    assert set(words) == {"diverged", "converged", "oscillating", "descending"}


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_sharpness_and_edge_are_those_of_chainrule(optimizer):
    one, eta, start = TABLE[3], 0.1, jnp.asarray([-1.2, 1.0])
    names, make = SETTINGS[optimizer]
    values = [0.8, 0.95][: len(names)]
    rule = make(*values)(eta)

    @jax.jit
    def at(w, state):
        value, grads = jax.value_and_grad(one.loss)(w)
        answer = _response.response(rule, w, state, value, grads)
        hessian = jax.hessian(one.loss)(w)
        after = updates.update(rule, grads, state, w, value=value, value_fn=one.loss)
        return after, jnp.linalg.eigvalsh(hessian)[-1], jax.vmap(answer)(jnp.eye(2)), hessian

    w, state = start, updates.init(rule, start)
    settings = dict(zip(names, values, strict=True))
    page, _ = in_the_page(one, optimizer, settings, start.tolist(), [eta])
    for sharpness, ratio in page["eigenvalues"][:4]:
        (w, state), expected, response, hessian = at(w, state)
        assert sharpness == pytest.approx(float(expected), rel=1e-5)
        if np.isnan(response).any():
            assert np.isnan(ratio)
        else:
            largest = np.linalg.eigvals(np.asarray(response @ hessian)).real.max()
            assert eta * ratio == pytest.approx(largest, rel=1e-4)
    assert np.isnan(page["eigenvalues"][0, 1]) == (optimizer == "adam")
    # Before any step the edge of what does not adapt is chainrule's.
    if not np.isnan(edge := descent.edge(6.0, make(*values))):
        assert 1 / page["eigenvalues"][0, 1] == pytest.approx(edge, rel=1e-6)


def test_the_settings_begin_as_the_command_line_has_them():
    call = "JSON.stringify(Object.entries(descents.RULES).map(([key, one]) => [key, one.settings]))"
    rules = dict(json.loads(context().eval(call)))
    assert list(rules) == list(OPTIMIZERS)
    for name, settings in rules.items():
        defaults = inspect.signature(OPTIMIZERS[name]).parameters
        assert settings == {key: defaults[key].default for key in SETTINGS[name][0]}
