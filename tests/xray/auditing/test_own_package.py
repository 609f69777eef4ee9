"""The audit of every public function of this package that has a gradient."""

import functools
import pkgutil
import random

import jax
import jax.numpy as jnp
import pytest

from chainrule import xray
from tests import public_edge

TABLES = ("_ops", "_losses", "_features", "_models", "_landscapes")
"""The calls of numerical functions: what is differentiated stands there."""

NORM = "the plain norm is there to show that its gradient at 0 is NaN; `norm` is the safe one"
MEANT = {
    "ops.elementary.plain_norm": (("norm (or standard deviation) at 0",), NORM),
    "ops.elementary.plain_norm_backward": (("0 / 0 is NaN", "already infinite"), NORM),
}
"""Function to what the audit finds there, in words of its reason, and why it stays."""

LEFT_OUT = {
    "models.dag.check": "takes shapes, and checks a graph: it computes nothing",
}
"""The beginning of a name to why it is not audited."""


@functools.cache
def functions():
    """Name to a function of float arrays, and those of its valid call."""
    found = {}
    calls = [one for table in TABLES for one in getattr(public_edge, table)().items()]
    for name, call in calls:
        if name.startswith(tuple(LEFT_OUT)):
            continue
        function = pkgutil.resolve_name(f"chainrule.{name}")
        arrays = {key: x for key, x in call.items() if _is_float(x)}
        if arrays:
            found[name] = _of_arrays(function, call, tuple(arrays)), tuple(arrays.values())
    return found


def _is_float(x):
    leaves = jax.tree.leaves(x)
    arrays = [leaf for leaf in leaves if hasattr(leaf, "dtype") and hasattr(leaf, "shape")]
    return (
        bool(leaves)
        and len(arrays) == len(leaves)
        and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    )


def _of_arrays(function, call, names):
    def f(*arrays):
        return function(**call | dict(zip(names, arrays, strict=True)))

    return f


def audited(name):
    """What the audit finds in a function; None if it has no gradient, or is no program of JAX."""
    f, args = functions()[name]
    args = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), args)
    try:
        out = jax.eval_shape(f, *args)
    except Exception:  # it needs the numbers themselves, or other types: nothing to differentiate
        return None
    if not any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(out)):
        return None
    return xray.audit(f, *args)


def complaint(name):
    """What the audit finds in a function that is not meant, as text; "" if nothing."""
    found = audited(name)
    if found is None:
        return ""
    those = [f"{one.line}: {one.why}" for one in (*found.rules, *found.traps)]
    meant, _ = MEANT.get(name, ((), ""))
    return "; ".join(one for one in those if not any(word in one for word in meant))


def test_there_are_functions_to_audit():
    assert len(functions()) > 40
    assert {name.split(".")[0] for name in functions()} >= {"ops", "losses", "models"}
    assert set(MEANT) <= set(functions())


@pytest.mark.bars
@pytest.mark.timeout(7200)
def test_every_public_function_is_healthy_or_has_its_reason():
    found = {name: said for name in functions() if (said := complaint(name))}
    assert found == {}


@pytest.mark.parametrize("draw", range(2))
def test_a_sample_is_healthy(draw):
    name = random.Random(11).sample(sorted(functions()), 2)[draw]
    assert complaint(name) == "", name
