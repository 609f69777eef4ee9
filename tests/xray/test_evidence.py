"""Causes that rest on a number of this program, and are not named where the number is another."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray import evidence
from chainrule.xray.rerun import in_dtype, rerun

HALF = jnp.float16
TABLE = jnp.arange(12.0).reshape(4, 3)


def reasons(f, *args, **settings):
    births = xray.xray(f, *args, **settings).nonfinite().births
    return [birth.cause.reason for birth in births]


CASES = {
    "index, the second of a batch": (
        lambda t, i: jnp.sum(jnp.take(t, i, axis=0)), (TABLE, jnp.array([[0, 3], [1, 40]])),
        "index out of range: 40 on an axis of size 4",
    ),
    "index along the last axis": (
        lambda t, i: jnp.sum(t.at[:, i].get(mode="fill")), (TABLE, jnp.array([2, 8])),
        "index out of range: 8 on an axis of size 3",
    ),
    "an epsilon under a root": (
        lambda x: jnp.sum(x / jnp.sqrt(jnp.sum(x * x) + 1e-60)), (jnp.zeros(2),),
        "0 / 0 is NaN; 1e-60 is 0 in float32",
    ),
    "an epsilon in half precision": (
        lambda x: jnp.sum(jnp.log(jnp.maximum(x, 2e-9))), (jnp.zeros(2, HALF),),
        "log of 0 is -inf; 2e-09 is 0 in float16",
    ),
    "a sum of integers": (
        lambda w, n: w * jnp.sqrt(jnp.sum(n).astype(jnp.float32)),
        (2.0, jnp.full(3, 10**9)), "before it, 3000000000 did not fit int32 and became -1294967296",
    ),
    "a difference of integers": (
        lambda w, n: jnp.sum(w * jnp.log(-(n - 1).astype(jnp.float32))),
        (2.0, jnp.array([-5, -(2**31)])), "before it, -2147483649 did not fit int32",
    ),
    "slogdet of three rows": (
        lambda a: jnp.linalg.slogdet(a)[1], (jnp.ones((3, 3)),),
        "the matrix is singular: its singular values go from 3 down to",
    ),
    "solve": (
        lambda a: jnp.sum(jnp.linalg.solve(a, jnp.arange(2.0))),
        (jnp.array([[1.0, 3.0], [2.0, 6.0]]),), "the matrix is singular",
    ),
    "cholesky, the second of a batch": (
        lambda a: jnp.sum(jnp.linalg.cholesky(a)),
        (jnp.stack([jnp.eye(2), jnp.array([[1.0, 3.0], [3.0, 1.0]])]),),
        "its smallest eigenvalue is -2",
    ),
    "a row of -inf": (
        lambda x: jnp.sum(jax.nn.softmax(jnp.where(x > 1, x, -jnp.inf))[:, 0]),
        (jnp.array([[2.0, 3.0], [0.0, 1.0]]),), "every element of this row is -inf",
    ),
    "a sum of gradients": (
        lambda x: jnp.sum(jnp.broadcast_to(x, (3, 400)).astype(jnp.float32) * 100.0),
        (jnp.array(1.0, HALF),), "the sum of 1,200 gradients, 120000, exceeds the largest float16",
    ),
    "a product with 0 and inf": (
        lambda x: jnp.sum(jnp.exp(x) @ jnp.array([0.0, 1.0])), (jnp.array([[200.0, 1.0]]),),
        r"0 \* inf is NaN, in a sum of products",
    ),
    "a product with inf and -inf": (
        lambda x: jnp.exp(x) @ jnp.array([-1.0, 1.0]), (jnp.array([200.0, 200.0]),),
        "inf - inf is NaN, in a sum of products",
    ),
    "a square in half precision": (
        lambda x: jnp.sum((x * x).astype(jnp.float32)), (jnp.array([300.0, 1.0], HALF),),
        "the result, 90000, exceeds the largest float16, 65504",
    ),
    "a product in a loop": (
        lambda x: jax.lax.scan(lambda c, v: (c * v, None), 1.0, x)[0],
        (jnp.full(3, 1e15),), r"the result, 1e\+45, exceeds the largest float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("f", "args", "expected"), CASES.values(), ids=CASES)
def test_the_cause_is_named_with_its_number(f, args, expected):
    found = reasons(f, *args)
    assert any(re.search(expected, reason) for reason in found), found


def test_what_another_number_refutes_is_not_named():
    far = reasons(lambda x: jnp.sum(jnp.log(x + 1e-9)), jnp.array([-1e-9]))
    assert far
    assert "is 0 in" not in "".join(far)  # the epsilon counts, and still the sum is 0
    plain = reasons(lambda w, n: jnp.sum(w / (n * 3).astype(jnp.float32)), 2.0, jnp.array([0, 7]))
    assert plain
    assert "did not fit" not in "".join(plain)
    regular = reasons(lambda a: jnp.log(jnp.linalg.det(a) - 1.0), jnp.eye(3))
    assert regular
    assert "singular" not in "".join(regular)
    one = reasons(lambda x: jnp.sum((x - jnp.inf) - (x - jnp.inf)), jnp.ones(2))
    assert any("inf - inf" in reason for reason in one)
    assert "every element of this row" not in "".join(one)


def test_with_statistics_only_no_number_is_claimed():
    assert "index" not in "".join(reasons(*_stats(), keep="stats"))


def _stats():
    return (lambda t: jnp.sum(jnp.take(t, jnp.array([9]), axis=0)), TABLE)


# --- a wider dtype --------------------------------------------------------------------------------


def everything(a, x):
    def step(c, v):
        return jnp.tanh(c * v), jax.nn.relu(c)

    c, ys = jax.lax.scan(step, x[0], x)
    k = jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 2), (0, x[1]))[1]
    noise = jax.random.normal(jax.random.key(0), (2,))
    branch = jax.lax.cond(x[0] > 0, lambda y: y**3, lambda y: y, x[2])
    rows = jax.nn.softmax(ys) @ jnp.ones(3) + jax.nn.logsumexp(x.astype(HALF)).astype(x.dtype)
    solved = jnp.linalg.solve(a, x[:2]).sum() + jnp.linalg.slogdet(a)[1]
    return c + jax.lax.stop_gradient(k) + jnp.sum(noise * x[:2]) + branch + rows + solved


def test_a_record_runs_in_float64_with_loops_branches_and_random_numbers():
    a, x = jnp.array([[2.0, 1.0], [1.0, 3.0]]), jnp.array([0.5, 1.5, -2.0])
    record = xray.xray(everything, a, x).record
    kept = [str(node.equation) for node in record.nodes]
    with jax.enable_x64(True):
        wide = rerun(record, {}, dtype=jnp.float64)
    made = [str(v.dtype) for n in wide.nodes for v in n.values if n.kind == "operator"]
    assert {dtype for dtype in made if "float" in dtype} == {"float64"}
    np.testing.assert_allclose(wide.output, record.output, rtol=1e-3)  # float16 is in it
    np.testing.assert_allclose(wide.grads[1], record.grads[1], rtol=1e-3)
    assert [str(node.equation) for node in record.nodes] == kept


def test_a_part_of_a_record_runs_in_float32_and_the_rest_as_it_was():
    def f(x):
        return jnp.sum(x / jnp.sqrt(jnp.mean(jnp.square(x), dtype=x.dtype)))

    x = jnp.array([300.0, 1.0, 2.0], HALF)
    record = xray.xray(f, x).record
    part = [n.index for n in record.nodes if n.op in ("square", "reduce_sum", "div", "sqrt")][:4]
    wide = rerun(record, {}, dtype=jnp.float32, within=part)
    assert float(record.output) == 0.0
    np.testing.assert_allclose(wide.output, f(x.astype(jnp.float32)), rtol=2e-3)
    assert wide.grads[0].dtype == HALF
    np.testing.assert_allclose(
        wide.grads[0], jax.jit(jax.grad(f))(x.astype(jnp.float32)), rtol=2e-2, atol=1e-5
    )


def test_an_operator_in_its_own_dtype_is_itself():
    record = xray.xray(lambda x: jnp.exp(x), 2.0).record
    (made,) = in_dtype(record.node("exp_1"), None)(jnp.float32(2.0))
    assert made == jnp.exp(jnp.float32(2.0))
    with jax.enable_x64(True):
        (made,) = in_dtype(record.node("exp_1"), jnp.float64)(jnp.float32(100.0))
    assert (made.dtype, float(made)) == (jnp.float64, pytest.approx(np.exp(100.0)))


def test_the_scene_of_a_step_shows_that_step():
    report = xray.xray(lambda x: jax.lax.scan(lambda c, v: (c * v, None), 1.0, x)[0], TABLE[1])
    inside = report.open(report.nodes[[n.op for n in report.nodes].index("scan")]).record
    node = next(n for n in inside.nodes if n.op == "mul")
    scene = evidence.Scene(inside, node, (1,), (), node.value, 0, False, False)
    assert [float(x) for x in scene.taken] == [3.0, 4.0]
