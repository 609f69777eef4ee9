"""Rows about convolutional networks, against PyTorch with the same weights."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Scale

from chainrule import data, losses, training
from chainrule.data.batches import Batches
from chainrule.models import _torch, lenet, torchvision, vgg

IMAGE = (224, 224, 3)


def _within(tolerance: float) -> Callable[[np.ndarray, np.ndarray], None]:
    """Refuse answers that are farther apart than this part of the largest number."""

    def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())

    return agree


def lenet_epoch(scale: Scale) -> Iterator[Row]:
    """An epoch of the notes' network at batch 100, by Adam, the same batches in one order."""
    import torch
    from torch import nn

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

    def ours() -> np.ndarray:
        records: list[dict[str, Any]] = []
        training.fit(start, loss, optimizer, batches, 1, report=records.append)
        return np.asarray(records[0]["loss"])

    order = torch.tensor(np.asarray(batches.order(0)), dtype=torch.long)
    x, y = torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels, dtype=torch.long)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
            self.fc1, self.fc2 = nn.Linear(256, 200), nn.Linear(200, 10)
            tensors = lenet.to_torch(params)
            self.load_state_dict({name: torch.tensor(t) for name, t in tensors.items()})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.max_pool2d(self.conv1(x), 3).relu()
            x = nn.functional.max_pool2d(self.conv2(x), 2).relu()
            return self.fc2(self.fc1(x.flatten(1)).relu())

    def theirs() -> np.ndarray:
        net = Net()
        descent = torch.optim.Adam(net.parameters(), lr=1e-3)
        total = 0.0
        for rows in order:
            value = nn.functional.cross_entropy(net(x[rows]), y[rows])
            descent.zero_grad()
            value.backward()
            descent.step()
            total += value.item()
        return np.asarray(total / len(order))

    work = f"LeNet: one epoch of {count} digits, batch 100"
    yield Row(work, "PyTorch", ours, theirs, _within(0.03), 0.7)


def vgg16(scale: Scale) -> Iterator[Row]:
    """VGG16 on images of 224 x 224: forward, and a step of training."""
    import torch

    params = jax.jit(vgg.init)(jax.random.key(0))
    for batch in (1,) if scale.quick else (1, 8):
        yield _forward(params, batch, torch.float32)
    if not scale.quick:
        yield _step(params, 4, torch.float32)
        yield _forward(params, 8, torch.bfloat16)
        yield _step(params, 4, torch.bfloat16)


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
    tensors = _torch.to_torch(params, {}, torchvision.names(rows), rows, IMAGE)
    net.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()})
    net = net.to(dtype=dtype, memory_format=torch.channels_last)
    x = torch.tensor(_inputs(batch).transpose(0, 3, 1, 2)).to(dtype)
    return net, x.to(memory_format=torch.channels_last)


def _name(dtype: Any) -> tuple[str, Any, float]:
    name = str(dtype).removeprefix("torch.")
    return name, jnp.dtype(name), 0.1 if name == "bfloat16" else 1e-3


def _forward(params: Any, batch: int, dtype: Any) -> Row:
    import torch

    name, ours_dtype, tolerance = _name(dtype)
    cast = jax.tree.map(lambda leaf: leaf.astype(ours_dtype), params)
    images, apply = jnp.asarray(_inputs(batch), ours_dtype), jax.jit(vgg.apply)
    net, x = _in_pytorch(params, batch, dtype)

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return net(x).float().numpy()

    return Row(
        f"VGG16: forward, batch {batch}, {name}",
        "PyTorch, channels last",
        lambda: np.asarray(apply(cast, images), np.float32),
        theirs,
        _within(tolerance),
        1.0 if name == "float32" else None,
    )


def _step(params: Any, batch: int, dtype: Any) -> Row:
    """A step of plain descent from the same weights; the answer is the loss before it."""
    import torch

    name, ours_dtype, tolerance = _name(dtype)
    cast = jax.tree.map(lambda leaf: leaf.astype(ours_dtype), params)
    images, labels = jnp.asarray(_inputs(batch), ours_dtype), jnp.arange(batch)
    net, x = _in_pytorch(params, batch, dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-8)

    def loss(params: Any) -> jax.Array:
        return losses.cross_entropy(vgg.apply(params, images).astype(jnp.float32), labels)

    @jax.jit
    def step(params: Any) -> tuple[jax.Array, Any]:
        value, grads = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - jnp.asarray(1e-8, p.dtype) * g, params, grads)

    def theirs() -> np.ndarray:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(net(x).float(), torch.arange(batch))
        value.backward()
        optimizer.step()
        return value.detach().numpy()

    return Row(
        f"VGG16: step of training, batch {batch}, {name}",
        "PyTorch, channels last",
        lambda: np.asarray(jax.block_until_ready(step(cast))[0]),
        theirs,
        _within(tolerance),
        1.5 if name == "float32" else None,
    )


ROWS = (lenet_epoch, vgg16)
