"""What every device of a shard_map runs: on eight virtual devices, in a process of its own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from chainrule import xray

MESH = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
ROUND = [(i, (i + 1) % 4) for i in range(4)]
x = jnp.arange(1.0, 17.0).reshape(8, 2)
w = jnp.float32(2.0)


def body(w, x):
    total = jax.lax.psum(jnp.sum(w * x), ("x", "y"))
    moved = jax.lax.ppermute(x, "x", ROUND)
    return jnp.log(moved - 8.0) * total  # log


def sharded(w, x, **settings):
    specs = {"in_specs": (P(), P("x", "y")), "out_specs": P("x", "y")}
    return jnp.sum(jax.shard_map(body, mesh=MESH, **specs, **settings)(w, x))


def looped(w, x):
    root = lambda c: jnp.sqrt(c - 1.0)  # root
    f = jax.shard_map(root, mesh=MESH, in_specs=P("x"), out_specs=P("x"))
    return jnp.sum(jax.lax.scan(lambda c, _: (f(c), None), x, None, length=3)[0])


def mapped(w, x):
    return jnp.sum(jax.pmap(lambda row: jnp.log(row - 3.0) * jax.lax.psum(w, "i"), "i")(x))  # map


def scanned(w, x):
    step = lambda c, _: (jnp.sqrt(c - jax.lax.pmean(c, "x") * w), None)
    f = lambda x: jax.lax.scan(step, x, None, length=2)[0]  # scan
    return jnp.sum(jax.shard_map(f, mesh=MESH, in_specs=P("x"), out_specs=P("x"))(x))


def told(f, w, x):
    report = xray.xray(f, w, x)
    expected = jax.jit(jax.grad(f, (0, 1)))(w, x)
    births = report.nonfinite().births
    node = next((n for n in report.nodes if n.op == "shard_map"), None)
    parts = {}
    if node is not None:
        inside = report.open(node)
        parts = {n.label: np.asarray(n.cotangent).tolist() for n in inside.nodes if n.is_argument}
        parts["devices"] = inside.steps, inside.record.over
    first = births[0] if births else None
    return {
        "same": all(np.allclose(*pair, equal_nan=True) for pair in zip(report.grads, expected)),
        "grads": [np.asarray(g).tolist() for g in expected],
        "parts": parts,
        "births": [(b.op, b.kind, b.phase, b.device, b.steps, b.index) for b in births],
        "line": first and first.line.partition(" ")[0].rpartition(":")[2],
        "text": str(first),
        "cures": len(report.nonfinite().cures()) if f is sharded and births else 0,
        "nothing": not report.nonfinite(),
    }


unchecked = lambda w, x: sharded(w, x, check_vma=False)
print(json.dumps({
    "sharded": told(sharded, w, x),
    "good": told(sharded, w, x + 8.0),
    "unchecked": told(unchecked, w, x + 8.0),
    "looped": told(looped, w, x),
    "mapped": told(mapped, w, x),
    "scanned": told(scanned, w, x),
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "program.py"
    file.write_text(PROGRAM)
    flags = "--xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, str(file)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def number(text):
    lines = PROGRAM.splitlines()
    return str(1 + next(k for k, line in enumerate(lines) if line.endswith(text)))


X = np.arange(1.0, 17.0).reshape(8, 2)


def test_a_birth_in_a_shard_map_has_its_line_its_device_and_its_own_element(found):
    one = found["sharded"]
    # Device (i, j) holds rows 2 i and 2 i + 1 of column j, moved there from device (i - 1, j).
    moved = np.roll(X, 2, axis=0)
    bad = np.argwhere(moved < 8.0)[0]
    device = (bad[0] // 2) * 2 + bad[1]
    assert one["births"][0] == ["log", "NaN", "forward", int(device), [], [int(bad[0] % 2), 0]]
    assert one["line"] == number("# log")
    assert f"NaN born forward in log on device {device} at its [0, 0]" in one["text"]
    assert one["cures"] > 0


@pytest.mark.parametrize("name", ["good", "unchecked"])
def test_every_device_has_its_part_of_the_gradient(found, name):
    one = found[name]
    assert one["same"]
    assert one["nothing"]
    assert one["parts"]["devices"] == [8, "devices"]
    w, x = one["grads"]
    local = np.asarray(one["parts"]["input 1"])
    assert local.shape == (8, 2, 1)
    # Back in one piece: device (i, j) has rows 2 i, 2 i + 1 of column j.
    whole = local.reshape(4, 2, 2).transpose(0, 2, 1).reshape(8, 2)
    np.testing.assert_allclose(whole, x, rtol=1e-5)
    shares = np.asarray(one["parts"]["input 0"])
    # Where JAX checks what devices agree on, each has the sum; else each has its share of it.
    np.testing.assert_allclose(shares.sum() if name == "unchecked" else shares, w, rtol=1e-5)


def test_a_shard_map_in_a_loop_has_step_and_device(found):
    one = found["looped"]
    rows, steps = X, []
    with np.errstate(invalid="ignore"):
        for _ in range(3):
            rows = np.sqrt(rows - 1)
            steps.append(np.isnan(rows).any())
    assert one["births"][0] == ["sqrt", "NaN", "forward", 0, [steps.index(True)], [0, 0]]
    assert one["line"] == number("# root")


def test_a_pmap_is_opened_too(found):
    one = found["mapped"]
    assert one["births"][0] == ["log", "NaN", "forward", 0, [], [0]]
    assert one["line"] == number("# map")


def test_a_loop_that_exchanges_arrays_between_devices_is_named_as_a_whole(found):
    one = found["scanned"]
    assert one["births"][0][:4] == ["scan", "NaN", "forward", 0]
    assert one["line"] == number("# scan")
