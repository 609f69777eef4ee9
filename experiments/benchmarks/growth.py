"""How cost grows with the size of the work: exponents, fitted by least squares on logarithms.

An exponent of 1 says that twice as much takes twice as long. What stays the same, as the parameters
do when there are more samples, lowers it; nothing should be above the exponent of the work, which
is stated from the theory and counted by XLA.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from descents import notes
from harness import Scale, child, operations

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import timing

from chainrule import descent, landscapes, losses, training, xray
from chainrule.data.batches import Batches
from chainrule.features import hog
from chainrule.models import mlp, vgg

TURNS = 5


class Piece(NamedTuple):
    """The work in one size.

    Attributes:
      call: does it.
      first_seconds: its compilation, or its first call.
      bytes: what it takes: arguments, results and what is between.
      operations: the floating-point operations that XLA counts, if any.
    """

    call: Callable[[], Any]
    first_seconds: float
    bytes: float
    operations: float | None


class Case(NamedTuple):
    """Work that comes in several sizes.

    Attributes:
      size: what grows.
      work: what is done.
      theory: the exponent of the work.
      sizes: from small to large.
      make: from a size to the work.
    """

    size: str
    work: str
    theory: float
    sizes: Sequence[int]
    make: Callable[[int], Piece]


class Growth(NamedTuple):
    """What was found.

    Attributes:
      size: what grows.
      work: what is done.
      theory: the exponent of the work.
      sizes: from small to large.
      seconds: of a call, by the size; medians.
      first_seconds: to compile, or of a first call.
      bytes: what it takes.
      operations: that XLA counts, or None.
    """

    size: str
    work: str
    theory: float
    sizes: Sequence[int]
    seconds: Sequence[float]
    first_seconds: Sequence[float]
    bytes: Sequence[float]
    operations: Sequence[float] | None


def measure(case: Case) -> Growth:
    """Time all sizes in turn."""
    pieces = {size: case.make(size) for size in case.sizes}
    calls = {size: piece.call for size, piece in pieces.items()}
    seconds = timing.alternate(calls, TURNS, at_least=0.05)
    counted = [piece.operations for piece in pieces.values() if piece.operations is not None]
    return Growth(
        case.size,
        case.work,
        case.theory,
        tuple(case.sizes),
        tuple(float(np.median(seconds[size])) for size in case.sizes),
        tuple(piece.first_seconds for piece in pieces.values()),
        tuple(piece.bytes for piece in pieces.values()),
        tuple(counted) or None,
    )


def compiled(function: Callable[..., Any], *arguments: Any) -> Piece:
    """Return a piece of a function that compiles."""
    clock = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - clock
    sizes = program.memory_analysis()
    taken = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    counted = operations(function, *arguments)
    return Piece(lambda: program(*arguments), seconds, float(taken), counted)


def cases(scale: Scale) -> Iterator[Case]:
    """Yield what grows: samples, features, rates, nodes, equations and images."""
    few = slice(0, 3) if scale.quick else slice(None)
    rng = np.random.default_rng(0)

    def network(samples: int, features: int) -> Piece:
        x = jnp.asarray(rng.normal(size=(samples, features)), jnp.float32)
        y = jnp.asarray(rng.normal(size=samples), jnp.float32)
        params = mlp.init(jax.random.key(0), (features, 200, 1))

        def loss(params: mlp.Params, x: jax.Array, y: jax.Array) -> jax.Array:
            return losses.squared_error(mlp.apply(params, x)[:, 0], y)

        return compiled(jax.value_and_grad(loss), params, x, y)

    step = "loss and gradient of {}-200-1"
    sizes = (500, 1000, 2000, 4000, 8000)
    yield Case("samples", step.format(784), 1, sizes[few], lambda n: network(n, 784))
    sizes = (392, 784, 1568, 3136, 6272)
    name = f"{step.format('features')}, 1,000 samples"
    yield Case("features", name, 1, sizes[few], lambda n: network(1000, n))

    def histograms(count: int) -> Piece:
        images = jnp.asarray(rng.integers(0, 256, (count, 28, 28)), jnp.uint8)
        # XLA counts a group of images once.
        return compiled(hog, images)._replace(operations=None)

    sizes = (1000, 2000, 4000, 8000, 16_000)
    yield Case("images", "histograms of gradients", 1, sizes[few], histograms)

    def wells(lanes: int) -> Piece:
        def run(etas: jax.Array) -> jax.Array:
            return descent.sweep(landscapes.two_well, jnp.asarray(-0.5), etas, 100).loss

        return compiled(run, jnp.linspace(0.005, 0.4, lanes))

    # From what a cache of 32 MB holds to what it does not.
    sizes = (16_000, 32_000, 64_000, 128_000)
    yield Case("rates", "sweep, two wells, 100 steps", 1, sizes[few], wells)
    case = notes()

    def networks(lanes: int) -> Piece:
        def run(params: mlp.Params, etas: jax.Array) -> jax.Array:
            return descent.sweep(case.loss, params, etas, 5).loss

        # XLA counts a group of lanes once.
        piece = compiled(run, case.params, jnp.geomspace(0.001, 0.02, lanes))
        return piece._replace(operations=None)

    yield Case("rates", "sweep, 784-200-1, 5 steps", 1, (4, 8, 16, 32)[few], networks)

    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
    from graphs import deep

    def nodes(count: int) -> Piece:
        graph, _, arguments = deep(blocks=count // 4)
        return compiled(graph, *arguments)

    name = "gradients of a graph of operators, 5 shared layers"
    yield Case("nodes", name, 1, (40, 80, 160, 320)[few], nodes)

    def record(equations: int) -> Piece:
        def chain(x: jax.Array) -> jax.Array:
            for _ in range(equations // 2):
                x = jnp.sin(x) * 1.01
            return jnp.sum(x)

        def call() -> Any:
            report = xray.xray(chain, jnp.ones(1000))
            return [(node.values, node.cotangents) for node in report.nodes]

        clock = time.perf_counter()
        leaves = jax.tree.leaves(jax.block_until_ready(call()))
        seconds = time.perf_counter() - clock
        counted = operations(jax.value_and_grad(chain), jnp.ones(1000))
        return Piece(call, seconds, float(sum(leaf.nbytes for leaf in leaves)), counted)

    yield Case("equations", "x-ray: record of a chain", 1, (125, 250, 500, 1000)[few], record)

    def image(side: int) -> Piece:
        params = jax.jit(vgg.init, static_argnames="image_size")(jax.random.key(0), image_size=side)
        return compiled(vgg.apply, params, jnp.ones((1, side, side, 3)))

    yield Case("side of the image", "VGG16, forward", 2, (32, 64, 128, 224)[few], image)


def of_devices() -> Growth:
    """Return the growth with the number of devices that one CPU is divided into.

    They share its cores, so that the work is that of one: what grows is the overhead.
    """
    flags = "--xla_force_host_platform_device_count=8"
    found = json.loads(child(__file__, XLA_FLAGS=flags).text.splitlines()[-1])
    return Growth(**found)


def _on_devices() -> Growth:
    rng, counts = np.random.default_rng(0), (1, 2, 4, 8)
    samples = {
        "inputs": rng.normal(size=(2560, 256)).astype(np.float32),
        "targets": rng.normal(size=(2560, 1)).astype(np.float32),
    }
    batches = Batches(samples, 256, key=jax.random.key(0))
    optimizer = optax.sgd(0.01)
    params = mlp.init(jax.random.key(0), (256, 1024, 1))
    start = training.create(params, optimizer, key=jax.random.key(1))

    def loss(params: Any, state: Any, batch: Any, key: Any) -> Any:
        out = mlp.apply(params, batch["inputs"])
        return losses.squared_error(out, batch["targets"]), (state, {})

    def epoch(count: int) -> Callable[[], Any]:
        mesh = training.devices.mesh(count)
        return lambda: training.fit(start, loss, optimizer, batches, 1, mesh=mesh).params

    first, taken = [], []
    for count in counts:
        clock = time.perf_counter()
        leaves = jax.tree.leaves(jax.block_until_ready(epoch(count)()))
        first.append(time.perf_counter() - clock)
        taken.append(
            float(sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards))
        )
    seconds = timing.alternate({count: epoch(count) for count in counts}, TURNS)
    middle = [float(np.median(seconds[count])) for count in counts]
    work = "an epoch of 256-1024-1, the same batches, on parts of one CPU"
    return Growth("devices", work, 0, counts, middle, first, taken, None)


if __name__ == "__main__":
    print(json.dumps(_on_devices()._asdict()))
