"""Rows about convolutional networks, against PyTorch with the same weights."""

import functools
import itertools
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Child, Row, Scale, child, operations, place, pytorch, rounding

from chainrule import compiling, data, losses, runs, training
from chainrule.data.batches import Batches
from chainrule.data.pairs import Tuples
from chainrule.models import lenet, torchvision, vgg
from chainrule.models.pretrained import layouts

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1]
IMAGE = (224, 224, 3)
# How glibc gets the memory of a step, for both sides, where the environment says so.
MEMORY = {
    "huge pages": ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    "memory kept": ("MALLOC_MMAP_MAX_", "0"),
}


def _within(tolerance: float) -> Callable[[np.ndarray, np.ndarray], None]:
    """Refuse answers that are farther apart than this part of the largest number."""

    def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())

    return agree


def lenet_epoch(scale: Scale) -> Iterator[Row]:
    """An epoch of the notes' network at batch 100, by Adam, the same batches in one order.

    On a CPU ours takes a batch in two parts, which a cache holds; PyTorch gains nothing by that.
    """
    import torch
    from lenet_torch import Net

    digits = data.mnist("train", scale.source, scale.data_dir)
    count = 6000 if scale.quick else len(digits.labels)
    images = digits.images[:count, ..., None].astype(np.float32) / 255
    labels = digits.labels[:count]
    batches = Batches({"images": images, "labels": labels}, 100, key=jax.random.key(0))
    params, optimizer = lenet.init(jax.random.key(1)), optax.adam(1e-3)
    start = training.create(params, optimizer, key=jax.random.key(2))

    def loss(params: Any, state: Any, batch: Any, key: jax.Array) -> Any:
        logits = lenet.apply(params, batch["images"])
        return losses.cross_entropy(logits, batch["labels"]), (state, {})

    settings = {"accumulate": 2} if jax.default_backend() == "cpu" else {}

    def ours() -> np.ndarray:
        records: list[dict[str, Any]] = []
        training.fit(start, loss, optimizer, batches, 1, report=records.append, **settings)
        return np.asarray(records[0]["loss"])

    net, begin = Net().to(place()), _tensors(lenet.to_torch(params))
    order, x, y = _samples(batches.order(0), images, labels)

    def theirs(wrap: Callable[[Any], Any]) -> Callable[[], np.ndarray]:
        @wrap
        def value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(net(x), y)

        return functools.partial(_epoch, net, begin, value, (x, y), order, 1e-3)

    work = f"LeNet: one epoch of {count} digits, batch 100"
    yield Row(work, ours, pytorch(theirs), _within(0.03), 0.85)


def lenet_to_99(scale: Scale) -> Iterator[Row]:
    """From the start of the process to 99.0 % of the test digits, which takes all of MNIST."""
    import torch  # noqa: F401

    if scale.quick or scale.data_dir is None:
        return
    folder, script = str(scale.data_dir), pathlib.Path(__file__).with_name("lenet_torch.py")

    def trained(seed: int, root: str, cache: str) -> Child:
        where = ("--data-dir", folder, "--root", root, "--no-figures")
        what = ("--recipe", "fast", "--seeds", "1", "--seed", str(seed))
        ran = child(str(EXPERIMENTS / "lenet_mnist.py"), *what, *where, XDG_CACHE_HOME=cache)
        (found, *_) = runs.find(root).runs
        wrong = runs.load(found[0]).record["results"]["test error, mean"]["value"]
        return ran._replace(text=f"seed {seed} {1 - wrong:.4f}")

    def peer() -> Callable[[], Child]:
        seeds = itertools.count()

        def theirs() -> Child:
            seed = next(seeds)
            ran = child(str(script), folder, "--seed", str(seed))
            return ran._replace(text=f"seed {seed} {ran.text.strip()}")

        return theirs

    def agree(ours: Child, theirs: Child) -> None:
        accuracies = [float(side.text.split()[-1]) for side in (ours, theirs)]
        assert min(accuracies) >= 0.99, (ours.text, theirs.text)

    def row(name: str, kept: str | None, target: float) -> Row:
        seeds = itertools.count()

        def ours() -> Child:
            with tempfile.TemporaryDirectory() as root:
                return trained(next(seeds), root, kept or root)

        work = f"LeNet: start of the process to 99.0 % of the test digits, {name}"
        return Row(work, ours, {"PyTorch": peer()}, agree, target, shown=True)

    yield row("the first time", None, 0.9)
    with tempfile.TemporaryDirectory() as kept:
        yield row("the programs kept from an earlier run", kept, 0.75)


def siamese_epoch(scale: Scale) -> Iterator[Row]:
    """An epoch of pairs, as the experiment draws them and without moving the digits."""
    import torch
    from lenet_torch import Net

    sys.path.append(str(EXPERIMENTS))
    from siamese import MEAN, ROWS, Config, trainings

    digits = data.mnist("train", scale.source, scale.data_dir)
    count, config = 3000 if scale.quick else len(digits.labels), Config()
    images = digits.images[:count, ..., None].astype(np.float32) / 255
    labels = digits.labels[:count]
    method = trainings(config)["seen", "pairs"]
    pairs = Tuples(
        {"images": images, "labels": labels}, labels, config.batch // 2, key=jax.random.key(0)
    )
    params, optimizer = method.init(jax.random.key(1)), optax.adam(config.eta)
    start = training.create(params, optimizer, key=jax.random.key(2))

    def ours() -> np.ndarray:
        records: list[dict[str, Any]] = []
        training.fit(start, method.loss, optimizer, pairs, 1, report=records.append)
        return np.asarray(records[0]["loss"])

    named = layouts.to_torch(params, {}, lenet.TORCH_NAMES, ROWS, lenet.INPUT_SHAPE)
    net, begin = Net(16, 64).to(place()), _tensors(named)
    order, x, y = _samples(pairs.order(0), images, labels)

    def theirs(wrap: Callable[[Any], Any]) -> Callable[[], np.ndarray]:
        @wrap
        def value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            z = torch.nn.functional.normalize(net(x.flatten(0, 1) - MEAN)).unflatten(0, (-1, 2))
            # PyTorch's own distance has no gradient at equal points, and draws hold none here.
            distances = (z[:, 0] - z[:, 1]).square().sum(1).add(1e-12).sqrt()
            same = y[:, 0] == y[:, 1]
            apart = (config.margin - distances).relu()
            return torch.where(same, distances.square(), apart.square()).mean() / 2

        return functools.partial(_epoch, net, begin, value, (x, y), order, config.eta)

    work = (
        f"siamese: one epoch of {len(order) * config.batch // 2} pairs, batch {config.batch // 2}"
    )
    yield Row(work, ours, pytorch(theirs), _within(0.03), 0.85)


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.tensor(array) for name, array in arrays.items()}


def _samples(order: Any, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any, Any]:
    """Return the rows of each batch, the images and the labels as PyTorch takes them."""
    import torch

    x = torch.tensor(images.transpose(0, 3, 1, 2), device=place())
    rows, y = (
        torch.tensor(np.asarray(numbers), dtype=torch.long, device=place())
        for numbers in (order, labels)
    )
    return rows, x, y


def _epoch(
    net: Any, begin: Any, value: Any, samples: tuple[Any, ...], order: Any, eta: float
) -> np.ndarray:
    """Train by Adam in PyTorch, in this order, and return the mean loss."""
    import torch

    net.load_state_dict(begin)
    descent, total = torch.optim.Adam(net.parameters(), lr=eta), 0.0
    for rows in order:
        loss = value(*(part[rows] for part in samples))
        descent.zero_grad()
        loss.backward()
        descent.step()
        total += loss.item()
    return np.asarray(total / len(order))


class _Case(NamedTuple):
    """What a row about VGG16 runs.

    Attributes:
      batch: how many images.
      dtype: PyTorch's.
      target: of the ratio.
      compiled: whether PyTorch compiles it, too.
      precision: how coarsely products may be rounded, see `harness.rounding`.
    """

    batch: int
    dtype: Any
    target: float
    compiled: bool = True
    precision: str | None = None


def vgg16(scale: Scale) -> Iterator[Row]:
    """VGG16 on images of 224 x 224: forward, and a step of training."""
    import torch

    params = jax.jit(vgg.init)(jax.random.key(0))
    sizes = ((1, 1.0),) if scale.quick else ((1, 1.0), (8, 0.92))
    steps, (forward, _) = (1 if scale.quick else 4), sizes[-1]
    for precision in (None,) if scale.quick else (None, "tensorfloat32"):
        for batch, target in sizes:
            yield _forward(params, _Case(batch, torch.float32, target, precision=precision))
        yield _step(params, _Case(steps, torch.float32, 0.97, precision=precision))
    # To compile takes most of the time of a quick run.
    yield _forward(params, _Case(forward, torch.bfloat16, 0.95, not scale.quick))
    yield _step(params, _Case(steps, torch.bfloat16, 1.2, not scale.quick))


def onednn(scale: Scale) -> Iterator[Row]:
    """Forward with the compiler's options for oneDNN, against the same program without them."""
    options = compiling.options()
    if not options:
        return
    params = jax.jit(vgg.init)(jax.random.key(0))
    cases = [("bfloat16", 0.1), ("float32", 1e-3)]
    for name, tolerance in cases[:1] if scale.quick else cases:
        batch = 1 if scale.quick else 8
        given = jax.tree.map(lambda x, name=name: x.astype(name), (params, _inputs(batch)))
        yield _with_and_without(f"VGG16, batch {batch}, {name}", vgg.apply, given, tolerance)
    given = lenet.init(jax.random.key(0)), jnp.ones((100, *lenet.INPUT_SHAPE))
    yield _with_and_without("LeNet, batch 100, float32", lenet.apply, given, 1e-3)


def _with_and_without(name: str, apply: Any, given: Any, tolerance: float) -> Row:
    def work(options: Mapping[str, Any]) -> Callable[[], np.ndarray]:
        whole = jax.jit(apply, compiler_options=dict(options))
        return lambda: np.asarray(whole(*given), np.float32)

    own, other = work({}), work(compiling.options())
    return Row(f"oneDNN: {name}", other, {"XLA's own": own}, _within(tolerance), 1.0)


def _inputs(batch: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, *IMAGE)).astype(np.float32)


def _in_pytorch(params: Any, batch: int, dtype: Any) -> tuple[Any, Any]:
    """Return PyTorch's VGG16 with these weights, channels last, and its images."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for block in vgg.CONFIGS["D"]:
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(*layers))
    net.add_module("flat", nn.Flatten())
    dense = [nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(0.0), nn.Linear(4096, 4096), nn.ReLU()]
    net.add_module("classifier", nn.Sequential(*dense, nn.Dropout(0.0), nn.Linear(4096, 1000)))
    rows = vgg.rows_of(params)
    tensors = layouts.to_torch(params, {}, torchvision.names(rows), rows, IMAGE)
    net.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()})
    net = net.to(device=place(), dtype=dtype, memory_format=torch.channels_last)
    x = torch.tensor(_inputs(batch).transpose(0, 3, 1, 2), device=place()).to(dtype)
    return net, x.to(memory_format=torch.channels_last)


def _numbers(dtype: Any, precision: str | None) -> tuple[str, Any, float]:
    """Name the numbers; return our dtype, and how far answers may be apart."""
    name = str(dtype).removeprefix("torch.")
    said = f"{name}, {precision} allowed" if precision else name
    for how, (variable, value) in MEMORY.items():
        said += f", {how}" if value in os.environ.get(variable, "").split(":") else ""
    return said, jnp.dtype(name), 0.1 if name == "bfloat16" else 1e-3


def _rounded(precision: str | None, work: Callable[[], Any]) -> Callable[[], Any]:
    """Do the work where products may be rounded as coarsely as this, see `harness.rounding`."""

    def rounded() -> Any:
        with rounding(precision):
            return work()

    return rounded


def _options(precision: str | None) -> dict[str, Any]:
    """Return the compiler's options for VGG16: coarser numbers have an algorithm of their own."""
    return compiling.options() if precision is None else {}


def _forward(params: Any, case: _Case) -> Row:
    import torch

    batch, dtype, target, compiled, precision = case
    numbers, ours_dtype, tolerance = _numbers(dtype, precision)
    cast = jax.tree.map(lambda leaf: leaf.astype(ours_dtype), params)
    images = jnp.asarray(_inputs(batch), ours_dtype)
    apply = jax.jit(vgg.apply, compiler_options=_options(precision))
    net, x = _in_pytorch(params, batch, dtype)

    def theirs(wrap: Callable[[Any], Any]) -> Callable[[], np.ndarray]:
        apply = wrap(net)

        def forward() -> np.ndarray:
            with torch.inference_mode():
                return apply(x).float().cpu().numpy()

        return _rounded(precision, forward)

    return Row(
        f"VGG16: forward, batch {batch}, {numbers}",
        _rounded(precision, lambda: np.asarray(apply(cast, images), np.float32)),
        pytorch(theirs, "PyTorch, channels last", compiled=compiled),
        _within(tolerance),
        target,
        operations=lambda: operations(vgg.apply, cast, images),
    )


def _step(params: Any, case: _Case) -> Row:
    """A step of plain descent from the same weights; the answer is the loss before it.

    PyTorch's weights are changed, ours are not: the rate is so small that it shows in no answer.
    """
    import torch

    batch, dtype, target, compiled, precision = case
    numbers, ours_dtype, tolerance = _numbers(dtype, precision)
    cast = jax.tree.map(lambda leaf: leaf.astype(ours_dtype), params)
    images, labels = jnp.asarray(_inputs(batch), ours_dtype), jnp.arange(batch)
    net, x = _in_pytorch(params, batch, dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-12)

    def loss(params: Any) -> jax.Array:
        return losses.cross_entropy(vgg.apply(params, images).astype(jnp.float32), labels)

    def step(params: Any) -> tuple[jax.Array, Any]:
        value, grads = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - jnp.asarray(1e-12, p.dtype) * g, params, grads)

    whole, targets = jax.jit(step, compiler_options=_options(precision)), torch.arange(batch)
    targets = targets.to(place())

    def theirs(wrap: Callable[[Any], Any]) -> Callable[[], np.ndarray]:
        @wrap
        def value(x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(net(x).float(), targets)

        def step() -> np.ndarray:
            optimizer.zero_grad()
            loss = value(x)
            loss.backward()
            optimizer.step()
            return loss.detach().cpu().numpy()

        return _rounded(precision, step)

    return Row(
        f"VGG16: step of training, batch {batch}, {numbers}",
        _rounded(precision, lambda: np.asarray(jax.block_until_ready(whole(cast))[0])),
        pytorch(theirs, "PyTorch, channels last", compiled=compiled),
        _within(tolerance),
        target,
        operations=lambda: operations(jax.value_and_grad(loss), cast),
    )


ROWS = {
    "LeNet: one epoch": lenet_epoch,
    "LeNet: start of the process": lenet_to_99,
    "siamese": siamese_epoch,
    "VGG16": vgg16,
    "oneDNN": onednn,
}
