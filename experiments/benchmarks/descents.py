"""Rows about gradient descent: many rates at once, and the notes' network."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Scale, close, operations, place, pytorch

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
    yield Row(work, ours, {"Python loop over optax": theirs}, close, 0.01)


class Notes(NamedTuple):
    """The notes' network on the first 1,000 digits, is it a 5?

    Attributes:
      inputs: ``[1000, 784]``.
      targets: ``[1000]``.
      params: 784-200-1.
    """

    inputs: jax.Array
    targets: jax.Array
    params: mlp.Params

    def loss(self, params: mlp.Params) -> jax.Array:
        """Return the mean squared error."""
        return losses.squared_error(mlp.apply(params, self.inputs)[:, 0], self.targets)

    def step(self) -> float:
        """Count the operations of a loss and its gradient."""
        return operations(jax.value_and_grad(self.loss), self.params)

    def in_pytorch(self, steps: int, wrap: Callable[[Any], Any]) -> Callable[[float], Any]:
        """Return what descends in PyTorch at a rate, to the last loss."""
        import torch

        def tensor(array: Any, **settings: Any) -> Any:
            return torch.tensor(np.asarray(array), device=place(), **settings)

        x, y = tensor(self.inputs), tensor(self.targets)

        @wrap
        def value(w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
            return (((x @ w1 + b1).relu() @ w2 + b2)[:, 0] - y).square().mean()

        def run(eta: float) -> Any:
            params = tuple(
                tensor(self.params[layer][leaf], requires_grad=True)
                for layer in ("layer1", "layer2")
                for leaf in ("kernel", "bias")
            )
            optimizer = torch.optim.SGD(params, lr=eta)
            for _ in range(steps):
                optimizer.zero_grad()
                value(*params).backward()
                optimizer.step()
            return value(*params).detach().cpu().numpy()

        return run


def notes() -> Notes:
    """Return the digits and the parameters at the start."""
    digits = data.mnist("train", source="embedded")
    return Notes(
        jnp.asarray(data.standardize(digits.images[:1000]).inputs),
        jnp.asarray(digits.labels[:1000] == 5, jnp.float32),
        mlp.init(jax.random.key(0), (784, 200, 1)),
    )


def network_sweep(scale: Scale) -> Iterator[Row]:
    """Rates of the notes' network at once, and one after another."""
    case = notes()
    count, steps = (8, 20) if scale.quick else (64, 100)
    etas, loss = jnp.geomspace(0.001, 0.02, count), case.loss

    @jax.jit
    def single(eta: jax.Array) -> descent.Trace:
        return descent.gradient_descent(
            loss, case.params, optax.sgd(eta), steps, record_params=False
        )

    peers = {
        f"our {count} runs in turn": lambda: np.asarray([single(eta).loss[-1] for eta in etas])
    }
    with contextlib.suppress(ModuleNotFoundError):
        run = case.in_pytorch(steps, lambda function: function)
        peers[f"PyTorch, {count} runs in turn"] = lambda: np.asarray([run(float(e)) for e in etas])
    yield Row(
        f"sweep: {count} rates of the 784-200-1 network, {steps} steps",
        lambda: np.asarray(descent.sweep(loss, case.params, etas, steps).loss[:, -1]),
        peers,
        close,
        0.9,
        operations=lambda: count * (steps + 1) * case.step(),
    )


def full_batch(scale: Scale) -> Iterator[Row]:
    """The notes' network, full-batch steps at eta = 0.01."""
    steps, case = 200 if scale.quick else 1000, notes()

    @jax.jit
    def descend(params: mlp.Params) -> descent.Trace:
        return descent.gradient_descent(
            case.loss, params, optax.sgd(0.01), steps, record_params=False
        )

    def theirs(wrap: Callable[[Any], Any]) -> Callable[[], np.ndarray]:
        return functools.partial(case.in_pytorch(steps, wrap), 0.01)

    yield Row(
        f"MLP: 784-200-1, {steps} full-batch steps",
        lambda: np.asarray(descend(case.params).loss[-1]),
        pytorch(theirs),
        close,
        0.75,
        operations=lambda: (steps + 1) * case.step(),
    )


ROWS = {"small sweep": small_sweep, "sweep": network_sweep, "MLP": full_batch}
