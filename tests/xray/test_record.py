"""The record holds jax.grad's numbers, where each came from and from which line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.xray import xray


def assert_same(report, f, *args, argnums=0, rtol=1e-5):
    expected = jax.jit(jax.grad(f, argnums))(*args)
    chosen = report.grads[argnums] if isinstance(argnums, int) else None
    got = chosen if chosen is not None else tuple(report.grads[i] for i in argnums)
    jax.tree.map(lambda g, e: np.testing.assert_allclose(g, e, rtol=rtol, atol=1e-6), got, expected)


def test_the_first_picture_of_the_course_has_its_numbers():
    report = xray(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)
    numbers = [(n.label, float(n.value), float(n.cotangent)) for n in report.nodes]
    assert numbers == [
        ("x", -2.0, -4.0),
        ("y", 5.0, -4.0),
        ("z", -4.0, 3.0),
        ("add_3", 3.0, -4.0),
        ("mul_4", -12.0, 1.0),
    ]


def test_a_value_used_three_times_keeps_the_part_of_each_use():
    report = xray(lambda w: w * w * w, 2.0)
    parts = [float(e.contribution) for e in report.edges if e.source == 0]
    assert parts == [4.0, 4.0, 4.0]
    assert float(report.grads[0]) == 12.0


@pytest.mark.parametrize("compiled", [True, False])
def test_jit_and_remat_are_looked_into(compiled):
    @jax.jit
    def inner(x):
        return jnp.sin(x) * x

    def f(x):
        return jnp.sum(inner(x) + jax.checkpoint(jnp.tanh)(x))

    x = jnp.array([0.5, -1.5, 2.0])
    report = xray(f, x, compiled=compiled)
    assert [n.op for n in report.nodes if n.kind == "operator"] == [
        "sin",
        "mul",
        "tanh",
        "add",
        "reduce_sum",
    ]
    assert report.node("sin_1").calls == ("inner",)
    assert_same(report, f, x)
