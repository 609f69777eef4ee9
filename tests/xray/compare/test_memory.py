"""What is held while two executions are laid side by side, in records."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray.compare import operators, run

DRAW = np.random.default_rng(0)
KERNELS = [DRAW.normal(size=(3, 3, 8, 8)).astype(np.float32) / 8 for _ in range(3)]
IMAGES = DRAW.normal(size=(4, 16, 16, 8)).astype(np.float32)


def network(kernels, x, scale=1.0):
    for kernel in kernels:
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jnp.maximum(x * scale, 0.0)
    return jnp.sum(jnp.tanh(x) ** 2)


def live():
    gc.collect()
    return sum({x.unsafe_buffer_pointer(): x.nbytes for x in jax.live_arrays()}.values())


OTHERS = (), (lambda *args: network(*args),), (lambda *args: network(*args, 0.9),)


@pytest.mark.parametrize("others", OTHERS, ids=["op by op", "the same", "another"])
def test_two_executions_take_little_more_than_two_records(others, monkeypatch):
    gc.collect()
    gc.freeze()  # or every `live` below would search the objects of other tests, too
    args = jax.tree.map(jnp.asarray, (KERNELS, IMAGES))
    before = live()
    record = xray.xray(network, *args)
    one = live() - before
    del record
    seen = []

    def watched(f):
        def watch(*args, **settings):
            seen.append(live() - before)
            found = f(*args, **settings)
            seen.append(live() - before)
            return found

        return watch

    for place, name in (
        (operators.Operators, "forward"),
        (operators.Operators, "back"),
        (run, "between"),
        (run, "shared"),
        (run, "pair"),
    ):
        monkeypatch.setattr(place, name, watched(getattr(place, name)))
    found = xray.diff(network, *others, *args)
    assert (found.first is None) == (others != OTHERS[-1])
    assert max(seen) <= 2.2 * one
    del found
    assert live() - before <= 0.05 * one  # what is compiled keeps no arrays
