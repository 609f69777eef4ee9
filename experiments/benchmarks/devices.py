"""What devices communicate in a step of training, and what that costs here.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python experiments/benchmarks/devices.py

The collectives are read from the compiled program of a step of VGG16 on 224 x 224 images, one a
device, which is compiled and not run. The times are those of a small perceptron on devices that one
CPU is divided into: they share its cores, so that what is seen is the overhead, and no speed-up.

On eight devices there is one collective, an all-reduce of 553.4 MB: the gradient of all parameters,
whatever the batch. A ring brings 2 (n - 1) / n of it over every link: 0.97 GB with n = 8 devices,
1.09 GB with 64. The arithmetic is 93 GFLOP an image (3 passes of 15.47 G multiply-adds). On devices
of F FLOP/s with links of B bytes/s the links are the first to saturate below 0.97e9 F / (93e9 B)
images a device. Take F = 1e14 and B = 1e11 (to calculate with, nothing here was run on such): that
is 10 images a device with 8, and 12 with 64. A batch of 256 leaves 32 to each of 8 devices, which
compute three times as long as they send; to each of 64 it leaves 4, and these wait for their links.
Nine tenths of what is sent belongs to the three dense layers.

With ``--no-plain``, the convolution for CPUs, there are 26 all-gathers of 714.5 MB beside 522.9 MB
of all-reduces: it goes through the batch in chunks, which XLA does not divide.
"""

import collections
import dataclasses
import math
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import timing
import tyro
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

from chainrule import losses, training
from chainrule.data.batches import Batches
from chainrule.models import mlp, vgg
from chainrule.ops.convolution import plain_conv
from chainrule.training import devices

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the measurement."""

    network: str = "D"
    """A configuration of VGG."""
    plain: bool = True
    """With XLA's own convolution, as on accelerators, or with that for CPUs."""
    image_size: int = 224
    """Height and width of its images."""
    turns: int = 9
    """How often each number of devices is timed, in turn."""


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """Return for each kind of collective in a compiled program how many there are, and the bytes.

    >>> collectives("%a = (f32[2,3]{1,0}, f32[]) all-reduce(%x, %y), channel_id=1")
    {'all-reduce': (1, 28)}
    """
    found = collections.defaultdict(lambda: (0, 0))
    kinds = "|".join(COLLECTIVES)
    for shapes, kind in re.findall(rf"^.*? = (.*?) ({kinds})(?:-start)?\(", program, re.M):
        size = sum(
            BYTES[dtype] * math.prod(map(int, filter(None, dims.split(","))))
            for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        )
        count, total = found[kind]
        found[kind] = (count + 1, total + size)
    return dict(found)


def of_vgg(config: Config, mesh: jax.sharding.Mesh) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return the bytes of the parameters, and the collectives of a step."""

    def loss(params, state, batch, key):
        logits = vgg.apply(params, batch["images"], train=True)
        return losses.cross_entropy(logits, batch["labels"]), (state, {})

    optimizer = optax.sgd(0.01)

    def begin():
        params = vgg.init(jax.random.key(0), config.network, config.image_size)
        return training.create(params, optimizer, key=jax.random.key(1))

    copied = NamedSharding(mesh, PartitionSpec())
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=copied),
        jax.eval_shape(begin),
    )
    size = (mesh.size, config.image_size, config.image_size, 3)
    batch = {
        "images": jax.ShapeDtypeStruct(size, jnp.float32, sharding=spread),
        "labels": jax.ShapeDtypeStruct(size[:1], jnp.int32, sharding=spread),
    }
    step = jax.jit(training.make_step(loss, optimizer), out_shardings=copied)
    replaced = {"conv": plain_conv} if config.plain else {}
    with mock.patch.multiple("chainrule.models.stack.rows", **replaced):
        text = step.lower(state, batch).compile().as_text()
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    return weights, collectives(text)


def step_times(config: Config) -> dict[int, np.ndarray]:
    """Return the seconds of an epoch of 40 steps of a perceptron, by the number of devices."""
    rng = np.random.default_rng(0)
    samples = {
        "inputs": rng.normal(size=(2560, 256)).astype(np.float32),
        "targets": rng.normal(size=(2560, 1)).astype(np.float32),
    }
    batches = Batches(samples, 64, key=jax.random.key(0))
    optimizer = optax.sgd(0.01)
    start = training.create(
        mlp.init(jax.random.key(0), (256, 256, 1)), optimizer, key=jax.random.key(1)
    )

    def loss(params, state, batch, key):
        return losses.squared_error(mlp.apply(params, batch["inputs"]), batch["targets"]), (
            state,
            {},
        )

    def epoch(count: int):
        mesh = devices.mesh(count) if count else None
        return lambda: training.fit(start, loss, optimizer, batches, 1, mesh=mesh).params

    counts = [count for count in (0, 1, 2, 4, 8) if count <= jax.device_count()]
    return timing.alternate({count: epoch(count) for count in counts}, config.turns)


def main(config: Config) -> None:
    """Print both tables."""
    console, mesh = Console(), devices.mesh()
    weights, found = of_vgg(config, mesh)
    table = Table(
        title=f"VGG {config.network}, {weights / 1e6:.1f} MB of parameters, {mesh.size} devices"
    )
    for column in ("collective", "in a step", "MB in a step"):
        table.add_column(column, justify="right")
    for kind, (count, size) in found.items():
        table.add_row(kind, str(count), f"{size / 1e6:.1f}")
    console.print(table)

    table = Table(title="40 steps of 256-256-1 at batch 64, ms a step (median, quartiles)")
    for column in ("devices", "ms", "quartiles"):
        table.add_column(column, justify="right")
    for count, seconds in step_times(config).items():
        low, middle, high = np.quantile(seconds / 40 * 1e3, (0.25, 0.5, 0.75))
        table.add_row(str(count or "no mesh"), f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
