"""Rows about gradient descent: many rates at once, and the notes' network."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Scale, close

from chainrule import data, descent, landscapes, losses
from chainrule.models import mlp


def small_sweep(scale: Scale) -> Iterator[Row]:
    """Many rates on the two-well landscape."""
    count = 100 if scale.quick else 1000
    etas, begin, steps = jnp.linspace(0.005, 0.4, count), jnp.asarray(-0.5), count
    value_and_slope = jax.jit(jax.value_and_grad(landscapes.two_well))

    def ours() -> np.ndarray:
        return np.asarray(descent.sweep(landscapes.two_well, begin, etas, steps).loss[:, -1])

    def theirs() -> np.ndarray:
        found = []
        for eta in etas:
            w, optimizer = begin, optax.sgd(eta)
            state = optimizer.init(w)
            for _ in range(steps):
                _, slope = value_and_slope(w)
                updates, state = optimizer.update(slope, state)
                w = optax.apply_updates(w, updates)
            found.append(float(value_and_slope(w)[0]))
        return np.asarray(found)

    work = f"small sweep: {len(etas)} rates, two wells, {steps} steps"
    yield Row(work, "Python loop over optax", ours, theirs, close, 0.01)


def network_sweep(scale: Scale) -> Iterator[Row]:
    """Rates of the notes' network at once, and one after another."""
    digits = data.mnist("train", source="embedded")
    inputs = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
    targets = jnp.asarray(digits.labels[:1000] == 5, jnp.float32)
    params = mlp.init(jax.random.key(0), (784, 200, 1))
    count, steps = (8, 20) if scale.quick else (64, 100)
    etas = jnp.geomspace(0.001, 0.02, count)

    def loss(params: mlp.Params) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    @jax.jit
    def single(eta: jax.Array) -> descent.Trace:
        return descent.gradient_descent(loss, params, optax.sgd(eta), steps, record_params=False)

    yield Row(
        f"sweep: {count} rates of the 784-200-1 network, {steps} steps",
        f"the {count} runs one after another, compiled once",
        lambda: np.asarray(descent.sweep(loss, params, etas, steps).loss[:, -1]),
        lambda: np.asarray([single(eta).loss[-1] for eta in etas]),
        close,
        0.95,
    )


def full_batch(scale: Scale) -> Iterator[Row]:
    """The notes' network, full-batch steps at eta = 0.01."""
    import torch

    steps = 200 if scale.quick else 1000
    digits = data.mnist("train", source="embedded")
    inputs = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
    targets = jnp.asarray(digits.labels[:1000] == 5, jnp.float32)
    params = mlp.init(jax.random.key(0), (784, 200, 1))

    def loss(params: mlp.Params) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    def ours() -> np.ndarray:
        trace = descend(params)
        return np.asarray(trace.loss[-1])

    descend = jax.jit(
        lambda params: descent.gradient_descent(
            loss, params, optax.sgd(0.01), steps, record_params=False
        )
    )
    x, y = (torch.tensor(np.asarray(array)) for array in (inputs, targets))

    def theirs() -> np.ndarray:
        w1, b1, w2, b2 = (
            torch.tensor(np.asarray(params[layer][leaf]), requires_grad=True)
            for layer in ("layer1", "layer2")
            for leaf in ("kernel", "bias")
        )
        optimizer = torch.optim.SGD((w1, b1, w2, b2), lr=0.01)

        def value() -> torch.Tensor:
            return (((x @ w1 + b1).relu() @ w2 + b2)[:, 0] - y).square().mean()

        for _ in range(steps):
            optimizer.zero_grad()
            value().backward()
            optimizer.step()
        return value().detach().numpy()

    work = f"MLP: 784-200-1, {steps} full-batch steps"
    yield Row(work, "PyTorch", ours, theirs, close, 0.95)


ROWS = (small_sweep, network_sweep, full_batch)
