import pathlib
import textwrap

from chainrule.training.launch import launch
from chainrule.xray.recorder import folder

ROOT = pathlib.Path(__file__).resolve().parents[2]

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec
from chainrule import training, xray
from tests.training.test_flight import PAIRS, SGD, loss, start

rank, mesh = jax.process_index(), training.devices.mesh()
try:
    training.fit(start(), loss, SGD, PAIRS, 1, recorder={fit!r}, mesh=mesh)
except training.NonFiniteError as error:
    print("fit", rank, error.step, error.samples, error.births[0].op)
    print("mine", rank, "this is one of them" in str(error), file=sys.stderr)

@jax.jit
def step(w, x):
    return w - 0.1 * jnp.mean(x, axis=0), jnp.sum(w)

rows = np.ones((4, 2), np.float32)
rows[3, 1] = np.nan  # in the part of the second process
sharding = NamedSharding(mesh, PartitionSpec("batch"))
x = jax.make_array_from_process_local_data(sharding, rows[2 * rank : 2 * rank + 2], (4, 2))
w = training.devices.replicate(jnp.ones(2), mesh)
recorder = xray.Recorder({loop!r})
watched = recorder.watch(step)
try:
    for _ in range(6):
        w, _ = watched(w, x)
except xray.NonFiniteError as error:
    print("loop", rank, error.step, error.samples, error.autopsy.data, file=sys.stderr)
"""


def test_every_process_writes_its_part_the_one_with_the_bad_sample_says_so_and_none_hangs(
    tmp_path, capfd
):
    script, fit, loop = (tmp_path / name for name in ("script.py", "fit", "loop"))
    text = SCRIPT.format(root=str(ROOT), fit=str(fit), loop=str(loop))
    script.write_text(textwrap.dedent(text))
    assert launch(script, [], processes=2, timeout=300.0) == 0
    said = capfd.readouterr()
    print(said.out, said.err)
    # Sample 7 of 8 is the second process's, and sample 3 of 4.
    assert "fit 0 4 (7,) sqrt" in said.out
    assert "[0] mine 0 False" in said.err
    assert "[1] mine 1 True" in said.err
    assert "[0] loop 0 0 () ()" in said.err
    assert "[1] loop 1 0 (3,) ('not finite in the part of process 1: x at [3, 1] (1 NaN)',)" in (
        said.err
    )
    for rank in (0, 1):
        assert folder.read(fit / f"process-{rank}" / "step-4").about["samples"]["rows"] == [7]
        kept = folder.read(loop / f"process-{rank}" / "step-0")
        assert kept.arrays()[f"x from [{2 * rank}, 0]"].shape == (2, 2)
