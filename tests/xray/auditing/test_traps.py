"""Traps: each is provoked, and plain JAX breaks on the input that is named."""

import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray.auditing import candidates, findings, growth, ranges

M = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
POSITIVE = jnp.abs(M) + 0.5
X = jnp.array([0.3, 1.0, 2.0])


def breaks(f, args, trap):
    """Whether plain JAX makes something that is not finite of the input that a trap names."""
    names = list(inspect.signature(f).parameters)
    given = [trap.arguments.get(name, x) for name, x in zip(names, args, strict=True)]
    floats = tuple(k for k, x in enumerate(given) if jnp.issubdtype(x.dtype, jnp.floating))
    made = jax.tree.leaves(jax.jit(jax.value_and_grad(f, floats))(*given))
    return not all(np.isfinite(x).all() for x in made)


def in_range(args, trap, f):
    """Whether every array lies in the range of the one that was given, once as wide again."""
    names = list(inspect.signature(f).parameters)
    for name, x in zip(names, args, strict=True):
        x, y = (np.asarray(a, np.float32) for a in (x, trap.arguments.get(name, x)))
        width = float(x.max() - x.min()) or abs(float(x.max())) or 1.0
        if not (float(x.min()) - width <= float(y.min()) and float(y.max()) <= x.max() + width):
            return False
    return True


TRAPS = {
    "the where trap": (
        lambda x: jnp.sum(jnp.where(x > 0.1, jnp.sqrt(x), 0.0)), (POSITIVE,), "sqrt",
    ),
    "a shifted logarithm": (
        lambda x: jnp.sum(jnp.where(x > 0.7, jnp.log(x - 0.7), 0.0)), (POSITIVE,), "log",
    ),
    "a mask of weights": (
        lambda x, k: jnp.sum(x * k) / jnp.sum(k), (X, jnp.array([1.0, 0.0, 1.0])), "div",
    ),
    "equal rows": (lambda a, b: jnp.sum(jnp.linalg.norm(a - b, axis=1)), (M, M + 1), "sqrt"),
    "a constant column": (lambda x: jnp.sum(jnp.std(x, axis=0)), (M,), "sqrt"),
    "a logarithm to base 2": (lambda x: jnp.sum(jnp.log2(x)), (POSITIVE,), "log2"),
    "a power": (lambda x: jnp.sum(x**0.5), (POSITIVE,), "pow"),
    "an arccos": (lambda x: jnp.sum(jnp.arccos(x)), (X / 3,), "acos"),
    "an empty row of a mask": (
        lambda s, k: jnp.sum(jax.nn.softmax(jnp.where(k, s, -jnp.inf))[:, 0]), (M, M > -9), "sub",
    ),
    "a length of 0": (
        lambda s, n: jnp.sum(
            jax.nn.softmax(jnp.where(jnp.arange(3)[None] < n[:, None], s, -jnp.inf))[:, 0]
        ),
        (M, jnp.array([1, 2, 3, 3])), "sub",
    ),
    "equal eigenvalues": (
        lambda m: jnp.sum(jnp.linalg.eigh(m.T @ m)[1] * jnp.arange(9.0).reshape(3, 3)), (M,),
        "eigh",
    ),
    "a matrix without an inverse": (
        lambda m: jnp.sum(jnp.linalg.inv(m)), (M[:3] + jnp.eye(3),), "custom_linear_solve",
    ),
    "a logarithm in a loop": (
        lambda x: jnp.sum(jax.lax.scan(lambda c, y: (c + jnp.log(y), c), jnp.zeros(3), x)[0]),
        (POSITIVE,), "log",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_what_is_reported_breaks_in_plain_jax_within_the_range(name):
    f, args, op = TRAPS[name]
    assert np.isfinite(jax.jit(f)(*args))
    found = xray.audit(f, *args)
    trap = found.traps[0]
    assert trap.op in (op, op.removesuffix("2"))  # an older JAX writes log2 as log over log 2
    assert trap.reached == "arguments"
    first = inspect.getsourcelines(f)[1]
    assert first <= int(re.search(r"test_traps\.py:(\d+)", trap.line)[1]) <= first + 6
    assert breaks(f, args, trap)
    assert in_range(args, trap, f)
    assert trap.how in str(found)


HEALTHY = {
    "a double where": (
        lambda x: jnp.sum(jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)), M,
    ),
    "softmax": (lambda x: -jnp.sum(jax.nn.log_softmax(50 * x)[:, 0]), M),
    "a variance with an epsilon": (
        lambda x: jnp.sum(jnp.square(x) / jnp.sqrt(x.var(0, keepdims=True) + 1e-5)), M,
    ),
    "a bounded loop": (
        lambda x: jnp.sum(jax.lax.scan(lambda h, y: (jnp.tanh(h + y), h), M[0], x)[0]), M,
    ),
    "softplus": (lambda x: jnp.sum(jnp.log(jax.nn.softplus(x) + 1e-3)), M),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_what_cannot_break_is_not_reported(name):
    xray.assert_healthy(*HEALTHY[name])


def test_what_breaks_already_is_said_to():
    (trap,) = xray.audit(lambda x: jnp.sum(jnp.log(x)), jnp.array([0.0, 1.0])).traps
    assert trap.reached == "as called"
    assert "provoked with the numbers that were given" in str(trap)


def test_newton_finds_the_number_that_no_simple_input_is():
    def loss(w, b):
        return jnp.sum(jnp.arccos(jnp.tanh(w) * 1.25 + b))  # reaches 1 at 0.8

    args = jnp.array([0.1, 0.6]), jnp.array([0.2])
    trap = xray.audit(loss, *args).traps[0]
    assert trap.reached == "arguments"
    assert breaks(loss, args, trap)


def test_an_operand_that_only_rounding_keeps_away_is_set_and_that_is_said():
    def loss(x):
        return jnp.sum(1.0 / (jnp.exp(jnp.sin(x)) - 1.7))

    x = jnp.array([0.3, 0.5])
    (trap,) = xray.audit(loss, x).traps
    if trap.reached == "operand":
        assert "set to 0; not reached from the arguments" in str(trap)
    else:
        assert breaks(loss, (x,), trap)


def test_the_cure_was_tried_on_the_program_as_it_was_provoked():
    def loss(x):
        return jnp.sum(jnp.where(x > 0.1, jnp.sqrt(x), 0.0))

    (trap,) = xray.audit(loss, POSITIVE).traps
    assert "jnp.sqrt(" in trap.cure()
    assert "tried: all finite" in trap.cure()
    assert trap.cure() is trap.cure()


def test_an_integer_beyond_its_type_and_an_index_beyond_its_axis_are_found_without_a_nan():
    def product(i):
        return jnp.sum(i * i).astype(float)

    (trap,) = xray.audit(lambda x, i: jnp.sum(x) * product(i), X, jnp.array([20_000, 40_000])).traps
    assert trap.op == "mul"
    number, _, became = trap.why.partition(" does not fit int32 and becomes ")
    assert int(number) == 60_000**2
    assert int(became) == 60_000**2 - 2**32

    def rows(table, i):
        return jnp.sum(table[i + 1])

    (trap,) = xray.audit(rows, M, jnp.array([0, 1, 2])).traps
    assert trap.why.startswith("index out of range: 5 on an axis of size 4")
    assert trap.how == "i[0] = 4"
    assert xray.audit(lambda t, i: jnp.sum(t[jnp.clip(i + 1, 0, 3)]), M, jnp.array([0, 1])).healthy


def test_a_scan_is_run_on_until_its_state_overflows():
    def loss(w, xs):
        def step(h, x):
            return h @ w + x, h  # the state

        return jnp.sum(jax.lax.scan(step, X, xs)[0])

    (trap,) = xray.audit(loss, 0.7 * jnp.eye(3), M).traps
    assert trap.why.startswith("its state grows without bound: within ")
    assert trap.how.startswith("w twice as large")
    rows, start = inspect.getsourcelines(loss)
    line = start + next(k for k, row in enumerate(rows) if "# the state" in row)
    assert f"test_traps.py:{line} " in trap.line
    steps = int(trap.why.split("within ")[1].split(" ")[0].replace(",", ""))
    h = np.asarray(X, np.float32)
    with np.errstate(over="ignore"):
        for t in range(steps):
            h = np.float32(1.4) * h + np.asarray(M)[t % 4]
    assert not np.isfinite(h).all()
    assert steps % 4 == 0


def test_integers_and_states_inside_of_branches_and_loops_are_looked_at():
    def rows(table, i):
        return jnp.sum(jax.lax.map(lambda k: table[k + 1], i))

    (trap,) = xray.audit(rows, M, jnp.array([0, 1, 2])).traps
    assert trap.why.startswith("index out of range: 5 on an axis of size 4")

    def products(x, i):
        return jnp.sum(x) * jnp.sum(jax.lax.map(lambda k: jnp.tanh((k * k).astype(float)), i))

    (trap,) = xray.audit(products, X, jnp.array([20_000, 40_000])).traps
    assert trap.why.startswith(f"{60_000**2} does not fit int32 and becomes ")

    def branch(x):
        def grow(x):
            return jax.lax.scan(lambda h, _: (1.5 * h, None), x, None, 4)[0]

        return jnp.sum(jax.lax.cond(x[0] > 0, grow, jnp.negative, x))

    (trap,) = xray.audit(branch, X).traps
    assert trap.op == "scan"
    assert trap.why.startswith("its state grows without bound: within 220 steps")
    assert 2 * 1.5**216 < float(jnp.finfo(jnp.float32).max) < 2 * 1.5**220


def test_an_input_that_the_program_refuses_by_itself_is_no_trap():
    def refuse(x):
        if (np.asarray(x) < 0.2).any():
            raise ValueError("below 0.2")
        return np.asarray(x)

    def loss(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        checked = jax.pure_callback(refuse, shape, jax.lax.stop_gradient(x))
        return jnp.sum(jnp.log(x)) + jnp.sum(checked)

    found = xray.audit(loss, POSITIVE)
    assert found.traps == ()
    assert found.tried > 3


def test_reasons_lead_to_headings_of_the_page():
    page = (pathlib.Path(__file__).parents[3] / "notebooks/traps.md").read_text(encoding="utf-8")
    titles = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    anchors = {re.sub(r"[^a-z0-9 ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert {heading for _, heading in findings._HEADINGS} <= anchors
    (trap,) = xray.audit(lambda x: jnp.sum(jnp.log(x)), POSITIVE).traps
    assert trap.page == "traps.html#division-logarithm-and-root"
    assert str(trap).endswith("more: traps.html#division-logarithm-and-root of the book")


def test_traps_are_ignored_by_operator_and_by_line():
    def loss(x):
        return jnp.sum(jnp.log(x))

    line = inspect.getsourcelines(loss)[1] + 1
    for name in ("log", f"test_traps.py:{line}"):
        found = xray.audit(loss, POSITIVE, ignore=(name,))
        assert found.healthy
        assert "1 traps ignored" in str(found)
    with pytest.raises(AssertionError, match=r"loss is not healthy\n\n[^$]*log: Inf in its value"):
        xray.assert_healthy(loss, POSITIVE)
    with pytest.raises(ValueError, match=r"ignore is the text 'log': give a sequence, as in"):
        xray.audit(loss, POSITIVE, ignore="log")


@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        (lambda x: x * x, 0.0, 36.0),
        (lambda x: -3 * x + 1, -17.0, 13.0),
        (lambda x: jnp.abs(x) + 2, 2.0, 8.0),
        (lambda x: jnp.where(x > 0, x, 1.0), 0.0, 6.0),
        (lambda x: jnp.sum(x), -12.0, 18.0),
        (lambda x: 1 / (x * x + 1), 1 / 37, 1.0),
        (lambda x: jnp.exp(x - jnp.max(x)), 0.0, 1.0),
        (lambda x: jnp.clip(x, -1, 2) ** 3, -1.0, 8.0),
    ],
)
def test_ranges_hold_what_the_program_makes_and_little_more(f, low, high):
    x = jnp.array([-1.0, 1.0, 2.0])  # widened once: from -4 to 5
    record = xray.xray(lambda x: jnp.sum(f(x)), x).record
    made = record.nodes[-1].inputs[0] if jax.eval_shape(f, x).shape else record.outputs[0]
    found = ranges.ranges(record, [ranges.Range(-4.0, 6.0)])[made]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_ranges_hold_every_value_of_random_inputs():
    def f(x):
        y = jnp.tanh(x) * 2 - x / 3
        return jnp.sum(jnp.where(y > 0.5, jnp.log1p(jnp.abs(y)), jnp.sqrt(y * y + 0.1)))

    x = jnp.linspace(-1.0, 2.0, 7)
    record = xray.xray(f, x).record
    known = ranges.ranges(record, [ranges.widened(x)])
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = jnp.asarray(rng.uniform(-4, 5, 7), jnp.float32)
        for node in xray.xray(f, other).nodes:
            for k, value in enumerate(node.values):
                one = known[candidates.Slot(node.index, k)]
                found = np.asarray(value, float)
                assert one.low - 1e-4 <= found.min()
                assert found.max() <= one.high + 1e-4


def test_a_scan_of_integers_or_of_no_steps_is_left_alone():
    def loss(xs):
        count = jax.lax.scan(lambda n, x: (n + 1, None), 0, xs)[0]
        return jnp.sum(xs) * count.astype(float)

    assert list(growth.growing(xray.xray(loss, M).record)) == []
