r"""Vanishing and exploding gradients: twenty layers, initialised badly and well.

Twenty layers of 100 units on standardised digits, kernels normal with the variance g**2 / fan-in,
biases 0. Going back through one layer of ReLUs multiplies the mean square of the gradient by
g**2 / 2, because half of the units pass it on (He et al., 2015): from the last hidden layer to the
first the norm changes by (g**2 / 2)**((hidden - 1) / 2). With g = sqrt(2), He's, it stays; with
g = 1, Xavier's, it shrinks to 0.0020 of it, with g = 0.5 it vanishes, with g = 2 it explodes.
tanh has the slope 1 at 0, so that small kernels (g = 0.5) shrink the gradient by 0.5 a layer, while
g = 1 nearly keeps it; for larger ones the units saturate, and yet the gradient grows.

    python experiments/gradient_flow.py

Then the ReLU networks are trained, and the flow of a fixed batch is recorded after every epoch.
"""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, OnDigits, Positive, Repeated, command, now

from chainrule import data, losses, plots, training, xray
from chainrule.data.batches import Batches
from chainrule.models import stack
from chainrule.ops.activations import relu
from chainrule.plots import layers as draw

GAINS = {"g = 0.5": 0.5, "g = 1 (Xavier)": 1.0, "g = 1.41 (He)": math.sqrt(2), "g = 2": 2.0}
ACTIVATIONS = {"ReLU": relu, "tanh": jnp.tanh}


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    hidden: Count = 19
    """Hidden layers; one more makes the logits."""
    width: Count = 100
    """Units of each."""
    samples: Count = 2000
    """How many training digits: the first ones."""
    batch: Count = 100
    """Size of a mini-batch, and of the fixed batch whose flow is recorded."""
    epochs: Count = 10
    """Epochs of each training."""
    eta: Positive = 0.02
    """Learning rate."""
    seeds: Count = 5
    """How many initialisations."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    digits = data.first(config.digits("train"), config.samples)
    inputs = data.standardize(digits.images).inputs
    labels = jnp.asarray(digits.labels)
    inputs = jnp.asarray(inputs).reshape(len(labels), -1)
    probed = inputs[: config.batch], labels[: config.batch]
    console = Console()
    with config.start("gradient_flow", about=__doc__) as run:
        run.note(data=digits.provenance.to_dict())
        found = {
            name: {gain: _drawn(config, function, g, *probed) for gain, g in GAINS.items()}
            for name, function in ACTIVATIONS.items()
        }
        table = Table(title="gradient of the first hidden layer over that of the last")
        for column in ("units", "kernels", "expected", "median", "range", "saturated", "flags"):
            table.add_column(column)
        for name, gain, flows in ((n, g, f) for n, gs in found.items() for g, f in gs.items()):
            ratios = _relative(flows)[:, 0]
            expected = _expected(config, GAINS[gain])[0] if name == "ReLU" else None
            run.result(f"{name}, {gain}: first / last, median", np.median(ratios), expected)
            run.result(f"{name}, {gain}: first / last, range", [ratios.min(), ratios.max()])
            shares = [layer.saturated for flow in flows for layer in flow.layers[:-1]]
            saturated = "" if None in shares else f"{100 * np.mean(shares):.0f} %"
            table.add_row(
                name,
                gain,
                "" if expected is None else f"{expected:.2g}",
                f"{np.median(ratios):.2g}",
                f"{ratios.min():.2g} to {ratios.max():.2g}",
                saturated,
                ", ".join(sorted({f for flow in flows for row in flow.layers for f in row.flags})),
            )
        panels = {
            name: {gain: _relative(flows) for gain, flows in gains.items()}
            for name, gains in found.items()
        }
        relu_expected = {gain: _expected(config, g) for gain, g in GAINS.items()}
        label = f"gradient, norm / that of layer {config.hidden}"
        run.save_figure("profiles", draw.profiles(panels, {"ReLU": relu_expected}, label))
        run.save_figure("flow", plots.flow(found["ReLU"]["g = 1 (Xavier)"][0]))
        _train(config, run, inputs, labels, probed, console)
    console.print(table)
    return run.path


def _rows(config: Config, activation: Any) -> tuple[stack.Dense, ...]:
    hidden = [
        stack.Dense(f"layer{k + 1}", config.width, activation=activation)
        for k in range(config.hidden)
    ]
    return (*hidden, stack.Dense(f"layer{config.hidden + 1}", 10))


def _init(config: Config, activation: Any, g: float, seed: int, inputs: int) -> stack.Tree:
    scale = jax.nn.initializers.variance_scaling(g**2, "fan_in", "normal")
    rows = _rows(config, activation)
    return stack.init(jax.random.key(seed), rows, (inputs,), kernel_init=scale)


@functools.cache  # what is recorded twice, compiles once
def _loss(config: Config, activation: Any) -> Any:
    rows = _rows(config, activation)

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(stack.apply(params, inputs, rows), labels)

    return loss


def _drawn(config: Config, activation: Any, g: float, inputs: Any, labels: Any) -> list[Any]:
    """Return the flow of every seed."""
    loss = _loss(config, activation)
    seeds = config.every_seed
    drawn = (_init(config, activation, g, seed, inputs.shape[1]) for seed in seeds)
    return [xray.xray(loss, params, inputs, labels, argnums=0).flow() for params in drawn]


def _relative(flows: list[Any]) -> np.ndarray:
    """Return the gradients of the hidden layers over that of the last, ``[seeds, hidden]``."""
    norms = np.asarray([[layer.gradient_norm for layer in flow.layers[:-1]] for flow in flows])
    return norms / norms[:, -1:]


def _expected(config: Config, g: float) -> np.ndarray:
    return (g**2 / 2) ** ((config.hidden - 1 - np.arange(config.hidden)) / 2)


def _train(
    config: Config, run: Any, inputs: Any, labels: Any, probed: Any, console: Console
) -> None:
    """Train the ReLU networks of the first seed, and record the flow after every epoch."""
    loss = _loss(config, relu)

    def with_state(params: Any, state: Any, batch: Any, key: Any) -> Any:
        return loss(params, *batch), (state, {})

    record = xray.probe(loss, *probed)
    optimizer = optax.sgd(config.eta)
    batches = Batches((inputs, labels), config.batch, key=jax.random.key(config.seed))
    curves, values = {}, {}
    for gain, g in GAINS.items():
        params = _init(config, relu, g, config.seed, inputs.shape[1])
        start = training.create(params, optimizer, key=jax.random.key(config.seed))
        kept: list[dict[str, Any]] = []
        now(f"trained, {gain}")
        try:
            training.fit(
                start,
                with_state,
                optimizer,
                batches,
                config.epochs,
                evaluate=lambda state: record(state.params),
                report=kept.append,
            )
        except ArithmeticError as error:
            console.print(f"{gain}: {error}")
            run.result(f"trained, {gain}", "not finite")
            continue
        names = [f"gradient_norm/layer{k + 1}" for k in range(config.hidden)]
        curves[gain] = np.asarray([[row[name] for name in names] for row in kept])
        values[gain] = np.asarray([row["loss"] for row in kept])
        run.result(f"trained, {gain}: loss of the last epoch", values[gain][-1])
        steps = np.asarray([row["step"] for row in kept])
    if curves:
        run.save_figure("along", draw.along(steps, curves, values))


if __name__ == "__main__":
    command(main, Config, __doc__)
