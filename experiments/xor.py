"""Exclusive or: no line separates it, and one product of its inputs makes it linear.

Add up what an affine function f would have to do, f(0, 0) + f(1, 1) < 0 < f(0, 1) + f(1, 0): but
the two sums are the same number, whatever f is. With the product uv as a third input they are not.

    python experiments/xor.py

The perceptron says the same without the algebra. Of the 16 Boolean functions of two inputs it
learns 14; on the other two, exclusive or and its negation, its weights return to earlier values and
repeat for ever. With the product it learns all 16, and a sigmoid of a linear function of (u, v,
uv), trained by descent, fits exclusive or to any accuracy.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, Positive, Settings, command

from chainrule import descent, features, losses, runs
from chainrule.models import mlp, perceptron
from chainrule.plots import features as figures

CORNERS = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR = 0b0110  # its column of the truth table; row i, the corner (u, v) with i = 2 u + v, is bit i
LEARNABLE = 14  # of the 16: all but exclusive or and its negation


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of the run."""

    epochs: Count = 50
    """Epochs after which the perceptron gives up."""
    eta: Positive = 4.0
    """Learning rate of the descent on the cross-entropy."""
    steps: Count = 1000
    """Steps of the descent."""


def with_product(inputs):
    """Map (u, v) to (u, v, uv)."""
    product = features.pair_products(inputs, jnp.array([[0, 1]]))
    return jnp.concatenate([inputs, product], axis=1)


def cycle(weights: np.ndarray) -> tuple[int, int]:
    """Return the first epoch whose weights return, and after how many epochs they do.

    The rule depends on the weights alone: once they return, they repeat for ever.
    """
    seen: dict[bytes, int] = {}
    for epoch, row in enumerate(weights):
        if row.tobytes() in seen:
            return seen[row.tobytes()], epoch - seen[row.tobytes()]
        seen[row.tobytes()] = epoch
    raise ValueError(f"no weights return within {len(weights) - 1} epochs: take more")


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    functions = jnp.arange(16)
    truth = (functions[:, None] >> jnp.arange(4)[None, :]) & 1

    def learn(inputs, values):
        targets = 2 * values - 1
        return perceptron.fit(inputs, targets, config.epochs, bias=True)

    def descend(inputs):
        def loss(params):
            logits = mlp.apply(params, inputs)[:, 0]
            return losses.binary_cross_entropy(logits, truth[XOR])

        start = mlp.init(jax.random.key(config.seed), (inputs.shape[1], 1))
        return descent.gradient_descent(loss, start, optax.sgd(config.eta), config.steps)

    with config.start("xor", about=__doc__) as run:
        table = Table(title="16 Boolean functions of u and v, and one of them in detail")
        for column in ("inputs", "learned", "XOR: loss", "XOR: P(1) at 00, 01, 10, 11"):
            table.add_column(column, justify="right")
        traces, fitted = {}, {}
        for name, inputs in (("u, v", CORNERS), ("u, v, uv", with_product(CORNERS))):
            found = jax.vmap(functools.partial(learn, inputs))(truth)
            learned = np.flatnonzero(found.converged)
            trace = descend(inputs)
            fitted[name] = trace.final_params["layer1"]
            odds = jax.nn.sigmoid(mlp.apply(trace.final_params, inputs)[:, 0])
            traces[f"{name}/loss"] = runs.Series(trace.loss, loss=True)
            table.add_row(
                name,
                f"{len(learned)} of 16",
                f"{trace.loss[-1]:.5f}",
                ", ".join(f"{p:.3f}" for p in odds),
            )
            run.result(
                f"({name}): functions learned by the perceptron",
                len(learned),
                LEARNABLE if name == "u, v" else 16,
            )
            run.result(
                f"({name}): loss", trace.loss[-1], float(np.log(2)) if name == "u, v" else 0.0
            )
            run.result(f"({name}): probabilities", np.asarray(odds), np.asarray(truth[XOR]))
        console.print(table)

        path = perceptron.path(CORNERS, 2 * truth[XOR] - 1, config.epochs, bias=True)
        epochs = np.asarray(path[:: len(CORNERS)])
        first, period = cycle(epochs)
        run.result("epochs after which the perceptron's weights come back on XOR", period)
        console.print(
            f"on XOR the perceptron's weights are {epochs[first].tolist()} after epoch {first} and "
            f"again after epoch {first + period}: they repeat for ever"
        )
        weights = np.append(fitted["u, v, uv"]["kernel"][:, 0], fitted["u, v, uv"]["bias"])
        run.save_figure("xor", figures.exclusive_or(weights))
        run.save_trace(traces)
        run.result("weights of u, v, uv and 1", weights)
    return run.path


if __name__ == "__main__":
    command(main, Config, __doc__)
