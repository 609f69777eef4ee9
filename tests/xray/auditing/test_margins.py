"""Margins: bits from overflow, loss scales, and the answer for float16, tried in float16."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray

X = jnp.array([0.5, 1.0, 2.0])


def margins(f, *args):
    return xray.audit(f, *args).margins


def test_the_bits_from_overflow_and_underflow_are_those_of_the_numbers():
    found = margins(lambda x: jnp.sum(x * 2.0**100), X)
    row = next(row for row in found.rows if row.op == "mul" and row.what == "value")
    assert row.largest == 2.0**101
    assert row.over() == pytest.approx(math.log2(float(jnp.finfo(jnp.float32).max)) - 101)
    assert row.over(jnp.bfloat16) == pytest.approx(27, abs=0.01)
    assert row.under() == pytest.approx(99 + 126)
    assert found.rows[0].op == "reduce_sum"  # the largest of all
    assert found.float16().startswith("no: reduce_sum at ")
    assert "more than 65504" in found.float16()


@pytest.mark.parametrize("scale", [1.0, 2.0**-20, 2.0**-30])
def test_the_smallest_loss_scale_keeps_the_gradients_and_the_largest_does_not_overflow(scale):
    def loss(x):
        return jnp.sum(jnp.sin(x) * scale)

    low, high = margins(loss, X).loss_scale

    def gradient(factor):  # in plain float16, the loss scaled
        g = jnp.float16(scale * factor) * jnp.cos(X).astype(jnp.float16)
        return np.asarray(g)

    exact = scale * np.cos(np.asarray(X, np.float64))
    assert np.all(gradient(low) != 0)
    assert low == 1.0 or np.any(gradient(low / 4) == 0)
    assert np.isfinite(np.float16(high * np.abs(exact).max()))


def test_an_epsilon_that_is_0_in_float16_is_named():
    def loss(x):
        return jnp.sum(x / jnp.sqrt(x**2 + 1e-9))  # the epsilon

    assert "1e-09, written at tests/xray/auditing/test_margins.py:" in margins(loss, X).float16()
    assert np.float16(1e-9) == 0


def test_gradients_too_far_apart_for_any_loss_scale():
    def loss(x):
        return jnp.sum(x * jnp.array([2.0**14, 2.0**-28, 1.0]))

    assert "no: against underflow the loss scale is at least 2**" in margins(loss, X).float16()


def test_a_loop_counts_too():
    def loss(x):
        return jnp.sum(jax.lax.scan(lambda c, _: (c * 1000.0, None), x, None, 3)[0])

    row = margins(loss, X).rows[0]
    assert row.largest >= 2e9
    assert "a value of mul" not in str(row)
