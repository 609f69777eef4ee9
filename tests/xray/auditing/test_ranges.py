"""The range of an operator's results, from that of what it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.xray.auditing import ranges
from chainrule.xray.graph import build

RISING = {
    "exp": jnp.exp, "exp2": jnp.exp2, "expm1": jnp.expm1, "log": jnp.log, "log1p": jnp.log1p,
    "log2": jnp.log2, "sqrt": jnp.sqrt, "tanh": jnp.tanh, "asinh": jnp.arcsinh,
    "atan": jnp.arctan, "sinh": jnp.sinh, "floor": jnp.floor, "ceil": jnp.ceil,
    "round": jnp.round, "logistic": jax.lax.logistic, "sign": jnp.sign, "cbrt": jnp.cbrt,
    "erf": jax.lax.erf,
}  # fmt: skip


def of(f, low, high):
    graph = build(jax.make_jaxpr(f)(jnp.ones(())), ("x",))
    return list(ranges.ranges(graph, [ranges.Range(low, high)]).values())[-1]


@pytest.mark.parametrize("name", RISING)
@pytest.mark.parametrize(("low", "high"), [(0.25, 4.0), (2.5, 3.75)])
def test_what_rises_has_the_range_of_its_ends(name, low, high):
    found = of(RISING[name], low, high)
    ends = np.asarray(RISING[name](jnp.array([low, high])), np.float64)
    np.testing.assert_allclose((found.low, found.high), ends, rtol=1e-6)


@pytest.mark.parametrize("f", [jnp.log, jnp.log2])
def test_the_logarithm_of_what_may_be_zero_or_less_has_no_lowest_number(f):
    found = of(f, -1.0, 4.0)
    assert found.low == -np.inf
    assert found.high == pytest.approx(float(f(4.0)))


@pytest.mark.parametrize(
    ("op", "truth", "low", "high"),
    [
        ("gt", True, 2, 5), ("ge", True, 2, 5), ("lt", True, -5, 2), ("le", True, -5, 2),
        ("eq", True, 2, 2), ("ne", True, -5, 5), ("gt", False, -5, 2), ("lt", False, 2, 5),
        ("eq", False, -5, 5), ("ne", False, 2, 2),
    ],
)  # fmt: skip
def test_a_comparison_with_two_leaves_what_can_have_that_answer(op, truth, low, high):
    found = ranges._where(ranges.Range(-5, 5), op, ranges.Range(2, 2), truth)
    assert (found.low, found.high) == (low, high)
