"""Known NaNs of real programs, each diagnosed to its line: the one marked `# born`."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import xray
from chainrule.xray.words import below

ZERO = jnp.zeros(3)
X = jnp.array([0.5, -1.5, 2.0])
NEGATIVE_INFINITY = jnp.full(3, -jnp.inf)

CASES = []


def case(*args, phase, rule, source, kind=None):
    """Register a function: its arguments, where and why something is born, where it is from."""

    def register(f):
        CASES.append(pytest.param(f, args, phase, rule, kind, id=f"{f.__name__} ({source})"))
        return f

    return register


@case(ZERO, phase="backward", rule="norm", source="jax#3058")
def norm_at_zero(x):
    return jnp.linalg.norm(x)  # born


@case(jnp.zeros(2), phase="backward", rule="norm.*0 \\* inf", source="jax#4177")
def squared_norm_at_zero(x):
    y = x + 0.0
    return jnp.linalg.norm(y) ** 2  # born


@case(0.0, phase="backward", rule="norm.*0 \\* inf", source="jax#21723")
def squared_norm_of_a_scalar(x):
    return jnp.linalg.norm(x) ** 2  # born


@case(jnp.ones((2, 3)), X, phase="backward", rule="norm", source="a siamese network")
def siamese_loss_on_equal_images(w, x):
    difference = w @ x - w @ x
    distance = jnp.sqrt(jnp.sum(difference**2))  # born
    return jnp.maximum(1.0 - distance, 0.0) ** 2


@case(ZERO, phase="backward", rule="sqrt at 0", source="jax-md#63")
def root_at_zero(x):
    return jnp.sum(jnp.sqrt(x))  # born


@case(jnp.ones(2), phase="backward", rule="standard deviation", source="jax#11716")
def deviation_of_a_constant(x):
    return jnp.std(x)  # born


@case(jnp.array([1.0, 0.0]), phase="forward", rule="log of 0", source="probabilities by hand")
def log_of_zero(x):
    y = 2.0 * x
    return jnp.sum(jnp.log(y))  # born


@case(X, phase="forward", rule="outside its domain", source="diffrax#280")
def log_of_a_negative_number(x):
    return jnp.sum(jnp.log(x))  # born


@case(X, phase="forward", rule="negative", source="diffrax#280")
def root_of_a_negative_number(x):
    return jnp.sum(jnp.sqrt(x))  # born


@case(0.0, phase="backward", rule="sqrt at 0", source="jax#25701")
def root_of_a_square(x):
    y = x**2
    return jnp.sqrt(y)  # born


@case(jnp.array([4.0, 0.0]), phase="backward", rule="where trap", source="jax#5798")
def where_around_a_root(x):
    return jnp.sum(
        jnp.where(
            x < 1,
            x,
            jnp.sqrt(x),  # born
        )
    )


@case(
    jnp.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]),
    phase="backward",
    rule="where trap",
    source="jax#347",
)
def where_around_the_norms_of_rows(x):
    norms = jnp.sqrt(jnp.sum(x**2, axis=1))  # born
    return jnp.sum(jnp.where(norms > 0.5, norms, jnp.ones_like(norms)))


@case(1.0, phase="backward", rule="where trap", source="jax#19089")
def power_before_a_mask(x):
    delta = jnp.array([0.0, 1.0]) * x
    roots = delta**0.5  # born
    return jnp.sum(jnp.where(delta > 0, roots, 0.0))


@case(jnp.array([4.0, 0.0]), phase="backward", rule="where trap", source="JAX's FAQ")
def where_around_a_logarithm(x):
    logarithm = jnp.log(x)  # born
    return jnp.sum(jnp.where(x > 0, logarithm, 0.0))


@case(ZERO, phase="forward", rule="0 / 0.*where trap", source="optax#946")
def where_around_a_normalization(x):
    norm = jnp.sqrt(jnp.sum(x**2) + 0.0)
    unit = x / norm  # born
    return jnp.sum(jnp.where(norm == 0.0, x, unit) * X)


@case(jnp.array([0.0, 1.0]), phase="forward", rule="0 / 0.*where trap", source="jax#1722")
def sinc_by_hand(x):
    quotient = jnp.sin(x) / x  # born
    return jnp.sum(jnp.where(x == 0, 1.0, quotient))


@case(jnp.array([3.0, 0.0, -5.0]), phase="backward", rule="where trap", source="jax#1052")
def angle_behind_a_mask(a):
    angles = jnp.arctan2(a, a)  # born
    return jnp.sum(jnp.where(jnp.array([0.0, 1.0, 0.0]) > 0.5, 0.0, angles))


@case(0.0, 0.0, phase="backward", rule="arctan2", source="an angle")
def angle_of_nothing(y, x):
    return jnp.arctan2(y, x)  # born


@case(0.0, 0.5, phase="backward", rule="x = 0", source="jax#7440")
def fractional_power_at_zero(x, y):
    return x**y  # born


@case(-8.0, 1 / 3, phase="forward", rule="power", source="numpy and jax alike")
def cube_root_by_power(x, y):
    return x**y  # born


@case(1.0, phase="backward", rule="ends of", source="jax#15798")
def arccos_at_one(x):
    return jnp.arccos(x)  # born


@case(10.0, phase="backward", rule="ends of.*0 \\* inf|ends of", source="jax#23649")
def arccos_of_a_clipped_number(x):
    inside = jnp.clip(x, -1.0, 1.0)
    return jnp.arccos(inside)  # born


@case(1.0000001, phase="forward", rule="live on", source="vectorz#102")
def arccos_beyond_one(x):
    return jnp.arccos(x)  # born


@case(ZERO, X, phase="forward", rule="0 / 0", source="optax#946")
def cosine_similarity_of_zero(x, y):
    lengths = jnp.sqrt(jnp.sum(x * x)) * jnp.sqrt(jnp.sum(y * y))
    return jnp.dot(x, y) / lengths  # born


@case(ZERO, X, phase="forward", rule="0 / 0", source="optax#946")
def optax_cosine_similarity_of_zero(x, y):
    return optax.cosine_similarity(x, y, epsilon=0.0)  # born


@case(X, phase="forward", rule="0 / 0", source="an empty mask")
def mean_of_an_empty_mask(x):
    mask = x > 10.0
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.sum(mask)  # born


@case(ZERO, phase="forward", rule="inf - inf", source="torch#25110")
def softmax_of_a_masked_row(x):
    masked = x + NEGATIVE_INFINITY
    return jnp.sum(jax.nn.softmax(masked) * X)  # born


@case(1.0, phase="backward", rule="", source="jax#6811")
def logsumexp_of_a_masked_row(x):
    masked = jnp.stack([-jnp.inf + 0.0 * x, -jnp.inf + x])
    return jax.nn.logsumexp(masked)  # born


@case(jnp.array([0.0, 100.0]), phase="forward", rule="overflow of exp", source="logsumexp by hand")
def naive_logsumexp(x):
    return jnp.log(jnp.sum(jnp.exp(x)))  # born


@case(jnp.array([0.0, 100.0]), phase="forward", rule="overflow.*where trap", source="jax#23842")
def logsumexp_behind_a_mask(x):
    mask = jnp.array([True, False])
    largest = jnp.max(x, initial=-jnp.inf, where=mask)
    powers = jnp.exp(x - largest)  # born
    return jnp.log(jnp.sum(jnp.where(mask, powers, 0.0)))


@case(jnp.array([1.0, 200.0]), phase="forward", rule="overflow of exp", source="softmax by hand")
def naive_softmax(x):
    e = jnp.exp(x)  # born
    return (e / jnp.sum(e))[0]


@case(jnp.array([-100.0, 0.0]), phase="backward", rule="0 \\* inf|infinite", source="jax#777")
def naive_sigmoid_loss(x):
    p = 1.0 / (1.0 + jnp.exp(-x))  # born
    return jnp.sum(p)


@case(jnp.float16(300.0), phase="forward", rule="largest float16", source="half precision")
def half_precision_overflow(x):
    return x * x  # born


@case(jnp.float32(1e5), phase="forward", rule="largest float16", source="half precision")
def cast_to_half_precision(x):
    return x.astype(jnp.float16)  # born


@case(jnp.float32(1e30), phase="forward", rule="largest float32", source="an exploding loss")
def square_of_a_large_number(x):
    return x**2  # born


@case(ZERO, phase="forward", rule="0 \\* inf", source="entropy by hand")
def mask_by_multiplication(x):
    log = jnp.log(x)
    return jnp.sum(log * x)  # born


@case(jnp.diag(jnp.array([4.0, 1.0, 1.0])), phase="backward", rule="eigenvalues", source="jax#4646")
def eigenvectors_of_equal_eigenvalues(m):
    vectors = jnp.linalg.eigh(m)[1]  # born
    return vectors[0, 0] + vectors[1, 1]


@case(
    jnp.arange(9.0).reshape(3, 3),
    phase="forward",
    rule="positive definite",
    source="jax#775",
)
def cholesky_of_no_covariance(m):
    return jnp.sum(jnp.linalg.cholesky(m))  # born


@case({"w": ZERO}, phase="forward", rule="0 / 0", source="optax#1752")
def clip_by_global_norm(grads):
    norm = optax.tree.norm(grads)
    return jnp.sum(grads["w"] / norm * X)  # born


@case(
    jnp.array([1.0, 0.0]),
    jnp.array([0.0, 1.0]),
    phase="forward",
    rule="log of 0",
    source="cross-entropy by hand",
)
def cross_entropy_of_probabilities(p, target):
    logarithms = jnp.log(p)  # born
    return -jnp.sum(target * logarithms)


@case(jnp.ones((4, 2)), phase="backward", rule="where trap", source="layer normalization")
def layer_norm_by_hand(x):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True))  # born
    return jnp.sum(centred / jnp.where(deviation == 0.0, 1.0, deviation))


@case(jnp.array([[0.0, 1.0], [0.0, 1.0]]), phase="backward", rule="norm", source="a clustering")
def pairwise_distances(points):
    differences = points[:, None] - points[None, :]
    distances = jnp.sqrt(jnp.sum(differences**2, axis=-1))  # born
    return jnp.sum(distances)


@case(
    jnp.full((2, 2), 0.5),
    jnp.ones((4, 2)).at[2].set(0.0),
    phase="forward",
    rule="log of 0",
    source="jax#475",
)
def forward_pass_of_a_hidden_markov_model(transitions, likelihoods):
    def step(state, likelihood):
        alpha, log_probability = state
        alpha = alpha * likelihood
        z = jnp.sum(alpha)
        log_probability += jnp.log(z)  # born
        return ((alpha / z) @ transitions, log_probability), None

    return jax.lax.scan(step, (jnp.ones(2), 0.0), likelihoods)[0][1]


@case(jnp.array([3.0, 0.5]), phase="forward", rule="negative", source="a scan")
def loop(x):
    def body(h, v):
        return (
            jnp.sqrt(h) - v,  # born
            h,
        )

    return jax.lax.scan(body, 1.0, x)[0]


@case(1.0, 0.75, phase="forward", rule="negative", source="diffrax#143")
def emptying_tank_with_a_large_step(y, dt):
    def euler(state):
        y, t = state
        slope = -jnp.sqrt(y)  # born
        return y + dt * slope, t + dt

    return jax.lax.while_loop(lambda state: state[1] < 6.0, euler, (y, 0.0))[0]


@case(
    3.0,
    jnp.array([[0.5, -1.0, 1.0], [1.0, 1.0, 1.0]]),
    phase="forward",
    rule="outside its domain",
    source="a scan in a scan",
)
def loop_in_a_loop(x, rows):
    def inner(c, v):
        return jnp.log(c) * v, None  # born

    def outer(c, row):
        return jax.lax.scan(inner, c, row)[0], None

    return jax.lax.scan(outer, x, rows)[0]


@case(1.0, X, phase="forward", rule="negative", source="a cond in a scan")
def branch_in_a_loop(x, xs):
    def root(c):
        return jnp.sqrt(c)  # born

    def step(c, v):
        return jax.lax.cond(v > 0, root, lambda c: c + 2 * v, c), None

    return jax.lax.scan(step, x, xs)[0]


@case(0.0, True, phase="backward", rule="sqrt at 0", source="a cond")
def branch(x, which):
    return jax.lax.cond(
        which,
        lambda v: jnp.sqrt(v),  # born
        lambda v: v,
        x,
    )


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("f", "args", "phase", "rule", "kind"), CASES)
def test_the_line_of_the_birth_is_found(f, args, phase, rule, kind, compiled):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = xray.xray(f, *args, compiled=compiled).nonfinite()
    lines, start = inspect.getsourcelines(f)
    born = start + next(i for i, line in enumerate(lines) if line.endswith("# born\n"))
    here = [b for b in found.births if f"{__file__}:{born} ({f.__name__}" in b.line]
    assert any(b.phase == phase for b in here), str(found)
    assert any(_matches(rule, b.cause.reason) for b in here), str(found)
    assert f"{below(__file__)}:{born} " in str(found)
    assert ("not compiled" in str(found)) != compiled


def _matches(rule, text):
    return re.search(rule, text)


def test_real_threads_are_among_the_cases():
    threads = [param.id for param in CASES if "#" in param.id or "FAQ" in param.id]
    assert len(threads) >= 25


def test_steps_of_loops_are_named():
    births = xray.xray(emptying_tank_with_a_large_step, 1.0, 0.75).nonfinite().births
    y, step = np.float32(1.0), 0
    while y >= 0:
        y, step = y - np.float32(0.75) * np.sqrt(y), step + 1
    assert [(b.op, b.steps, b.index) for b in births] == [("sqrt", (step,), ())]
    assert births[0].inputs == (f"{y:.6g}",)
    assert f"born forward in sqrt at step {step}" in str(births[0])
    rows = jnp.array([[0.5, -1.0, 1.0], [1.0, 1.0, 1.0]])
    births = xray.xray(loop_in_a_loop, 3.0, rows).nonfinite().births
    assert [(b.op, b.steps) for b in births] == [("log", (1, 0))]
    assert "at step 0 of step 1" in str(births[0])


def test_an_infinity_of_a_loop_is_born_at_its_step_and_no_later_one():
    def f(w):
        return jnp.sum(jax.lax.scan(lambda h, _: (w @ h, None), jnp.ones(3), None, length=45)[0])

    births = xray.xray(f, 9.0 * jnp.eye(3)).nonfinite().births
    # 9 ** 41 is the first power beyond the largest float32; inf * 0 follows at the next step.
    forward = [(b.kind, b.steps, b.follows) for b in births if b.phase == "forward"]
    assert forward == [("Inf", (40,), False), ("NaN", (41,), True)]


def test_a_loop_that_starts_at_infinity_hides_no_birth():
    def f(x):
        return jax.lax.fori_loop(0, 4, lambda i, c: jnp.minimum(c, jnp.log(x - i)), jnp.inf)

    births = xray.xray(f, 2.0).nonfinite().births
    forward = [(b.kind, b.steps) for b in births if b.phase == "forward"]
    assert forward == [("Inf", (2,)), ("NaN", (3,))]


def test_jitted_library_functions_are_traced_once_but_keep_their_callers_apart():
    def f(x, y):
        first = jnp.linalg.norm(x)
        second = jnp.linalg.norm(y)  # bad
        return first + second

    found = xray.xray(f, X, ZERO).nonfinite()
    lines, start = inspect.getsourcelines(f)
    bad = start + next(i for i, line in enumerate(lines) if line.endswith("# bad\n"))
    assert {b.line.split(" ")[0] for b in found.births} == {f"{__file__}:{bad}"}


def test_what_never_reaches_the_result_is_called_harmless():
    found = xray.xray(lambda x: jnp.sum(jnp.where(x > 0, jax.lax.stop_gradient(1 / x), 0.0)), ZERO)
    assert [b.harmless for b in found.nonfinite().births] == [True]
    assert "masked, harmless" in str(found.nonfinite())
    assert found.nonfinite().reaches == ()


def test_all_births_are_listed_and_not_only_the_first():
    x = jnp.array([0.0, 1.0, 4.0])
    found = xray.xray(lambda x: jnp.sum(jnp.sqrt(x - 4.0)) + jnp.sum(jnp.log(x)), x).nonfinite()
    assert [(b.op, b.kind, b.index, b.phase) for b in found.births] == [
        ("sqrt", "NaN", (0,), "forward"),
        ("log", "Inf", (0,), "forward"),
        ("sqrt", "Inf", (2,), "backward"),
    ]
    assert found.births[0].inputs == ("-4",)
    assert found.births[0].count == 2
    assert found.births[2].g == "1"


def test_an_infinity_that_meets_a_zero_follows_and_is_said_to():
    births = xray.xray(lambda x: jnp.sqrt(jnp.sum(x**2)), ZERO).nonfinite().births
    assert [(b.kind, b.follows) for b in births] == [("Inf", False), ("NaN", True)]


def test_finite_programs_have_no_births():
    found = xray.xray(lambda x: jnp.sum(jnp.exp(x)), X).nonfinite()
    assert not found
    assert "every value and every gradient is finite" in str(found)


def test_an_argument_that_was_bad_before_is_named_and_no_birth():
    found = xray.xray(lambda p: jnp.sum(p["a"] * 2.0), {"a": jnp.array([1.0, jnp.nan])}).nonfinite()
    assert found.births == ()
    assert found.arguments == ("p['a']",)
    assert found


def test_an_infinite_mask_is_no_birth():
    mask = jnp.array([0.0, -jnp.inf, 0.0])
    assert not xray.xray(lambda x: jax.nn.softmax(x + mask)[0], X).nonfinite().births


def test_gradients_that_cancel_to_nan_are_born_in_their_sum():
    births = xray.xray(lambda x: jnp.sqrt(x) - jnp.sqrt(x), 0.0).nonfinite().births
    assert [b.op for b in births if b.kind == "NaN"] == ["the sum of the gradients of x"]


def test_statistics_alone_find_the_line_too():
    found = xray.xray(lambda x: jnp.linalg.norm(x), ZERO, keep="stats").nonfinite()
    assert found.births[0].op == "sqrt"
    assert "test_nonfinite.py" in str(found)


def test_backward_the_last_step_of_a_loop_runs_first():
    def roots(x):
        return jax.lax.fori_loop(0, 3, lambda i, c: jnp.sqrt(jnp.abs(c)), x).sum()

    (birth,) = xray.xray(roots, jnp.array([0.0, 2.0])).nonfinite().births
    assert (birth.steps, birth.index, birth.count, birth.g) == ((2,), (0,), 3, "1")
    assert birth.cause.reason == "sqrt at 0: its derivative there is inf"


def test_what_a_rule_multiplies_is_not_taken_for_a_derivative():
    @jax.custom_gradient
    def rectify(x):
        return jnp.maximum(x, 0), lambda g: (g * jnp.log(x),)

    births = xray.xray(lambda x: 0 * rectify(x), 0.0).nonfinite().births
    assert [(b.op, b.kind, b.cause.reason) for b in births] == [
        ("log", "Inf", "log of 0 is -inf"),
        ("mul", "NaN", "0 * inf is NaN"),
    ]


@pytest.mark.parametrize("total", [jnp.cumsum, lambda x: jnp.ones((2, 2)) @ x])
def test_infinities_that_cancel_are_no_product_with_zero_and_a_sum_is_no_norm(total):
    x = jnp.zeros((2, 2) if total is not jnp.cumsum else 4)

    def loss(x):
        return jnp.vdot(jnp.sqrt(total(x)), jnp.array([1.0, 1.0, -1.0, -1.0]))

    births = xray.xray(loss, x).nonfinite().births
    reasons = {b.kind: b.cause.reason for b in births}
    assert reasons["Inf"] == "sqrt at 0: its derivative there is inf"
    assert reasons["NaN"] == "an infinity that was born before comes in"


def test_singular_values_may_be_zero_without_equal_eigenvalues():
    tall = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    svd = xray.xray(lambda m: jnp.linalg.svd(m, full_matrices=False)[0].sum(), tall)
    (birth,) = svd.nonfinite().births
    assert "singular values equal or 0" in birth.cause.reason


def test_gradients_that_cancel_in_a_function_without_operators_are_named():
    slopes = jnp.array([jnp.inf, 1.0]), jnp.array([-jnp.inf, 1.0])
    (birth,) = xray.xray(lambda x: (x, x), jnp.ones(2), cotangent=slopes).nonfinite().births
    assert (birth.op, birth.kind) == ("the sum of the gradients of x", "NaN")


def test_a_cure_is_tried_only_where_the_values_can_be_run_again():
    def f(x):
        return jnp.sum(jnp.log(x))

    x = jnp.array([0.0, 1.0])
    assert xray.xray(f, x).nonfinite().attempt is not None
    of_statistics = xray.xray(f, x, keep="stats").nonfinite()
    assert of_statistics.attempt is None
    assert of_statistics.births
