"""Whatever expression is drawn, the record holds jax.grad's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import xray

UNARY = {
    "sin": jnp.sin,
    "tanh": jnp.tanh,
    "square": jnp.square,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "remat": jax.checkpoint(jnp.cos),
    "jit": jax.jit(lambda x: x * jnp.exp(-x * x)),
    "reversed": lambda x: x[::-1],
    "stopped": lambda x: x * jax.lax.stop_gradient(x),
    "cumulated": lambda x: jnp.cumsum(x) / 3.0,
}
BINARY = {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "max": jnp.maximum,
    "where": lambda x, y: jnp.where(x > y, x, 2.0 * y),
}

step = st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 99)),
    st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 99), st.integers(0, 99)),
)


def expression(program):
    """Each step reads earlier results, by number modulo how many there are."""

    def f(x, y):
        results = [x, y]
        for name, *reads in program:
            operands = [results[i % len(results)] for i in reads]
            results.append((UNARY | BINARY)[name](*operands))
        return jnp.sum(results[-1]) + jnp.sum(results[len(results) // 2])

    return f


@settings(max_examples=12, deadline=None, derandomize=True)
@given(program=st.lists(step, min_size=1, max_size=10))
def test_random_expressions(program):
    f = expression(program)
    x, y = jnp.array([0.5, -1.25, 0.75]), jnp.array([-0.5, 0.25, 1.5])
    report = xray.xray(f, x, y)
    value, expected = jax.jit(jax.value_and_grad(f, (0, 1)))(x, y)
    np.testing.assert_allclose(report.output, value, rtol=1e-5, atol=1e-5)
    for got, e in zip(report.grads, expected, strict=True):
        np.testing.assert_allclose(got, e, rtol=1e-4, atol=1e-4)
    for node in report.nodes:
        for output, g in enumerate(node.cotangents):
            uses = [e for e in report.edges if (e.source, e.output) == (node.index, output)]
            ends = sum(slot == (node.index, output) for slot in report.outputs)
            if g is not None and uses and not ends:
                parts = [e.contribution for e in uses if e.contribution is not None]
                np.testing.assert_allclose(sum(parts), g, rtol=1e-4, atol=1e-4)
