r"""Progressive sharpening to the edge of stability, for plain descent and for Adam.

Twenty points of the Chebyshev polynomials T4 and T5 on [-1, 1], one hidden layer of 100 tanh units,
full batch, half the mean squared error. Kernels are normal with Glorot's variance
2 / (fan-in + fan-out), those of the first layer times 1.9, biases 0. Plain descent sharpens until
the largest eigenvalue of the Hessian is 2 / eta, and stays there while the loss goes on falling
(Cohen et al., arXiv 2103.00065). Adam does the same with its preconditioned Hessian, at 38 / eta
(arXiv 2207.14484): `chainrule.descent.watch` measures both as a ratio, which is 1 at the edge.

    python experiments/edge_of_stability.py
    python experiments/edge_of_stability.py --steps 4000 --seeds 1
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, Positive, Repeated, command

from chainrule import descent, losses, runs
from chainrule.models import mlp
from chainrule.plots import descent as plots

GAIN = 1.9  # of the first layer's kernel


@dataclasses.dataclass(frozen=True)
class Config(Repeated):
    """The settings of the run."""

    degrees: tuple[Count, ...] = (4, 5)
    """Of the polynomials."""
    etas: tuple[Positive, ...] = (0.25, 0.5)
    """Rates of plain descent, on each polynomial."""
    adam_etas: tuple[Positive, ...] = (0.001, 0.003, 0.01)
    """Rates of Adam, on the last polynomial."""
    wild: Positive = 1.0
    """A rate at which many seeds diverge: it is counted how many."""
    wild_seeds: Count = 5
    """How many seeds are tried at it."""
    steps: Count = 40_000
    """Steps of each descent."""
    every: Count = 200
    """Steps from one reading of the stability to the next."""
    points: Count = 20
    """Points on [-1, 1], both ends among them."""
    hidden: Count = 100
    """Hidden units."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    table = Table(title="sharpness over its critical value, mean of the second half")
    for column in ("polynomial", "optimizer", "ratio of each seed", "final loss, median"):
        table.add_column(column)
    with config.start("edge_of_stability", about=__doc__) as run:
        plain = [(k, "plain", eta) for k in config.degrees for eta in config.etas]
        adam = [(config.degrees[-1], "Adam", eta) for eta in config.adam_etas]
        for name, lanes in (("plain", plain), ("adam", adam)):
            found = {
                f"T{k}, $\\eta$ = {eta:g}": _lane(config, run, table, k, optimizer, eta)
                for k, optimizer, eta in lanes
            }
            at = np.arange(0, config.steps + 1, config.every)
            label = "sharpness / critical" if name == "plain" else "preconditioned / critical"
            run.save_figure(name, plots.readings(at, found, ylabel=label))
        _count_divergences(config, run)
    Console().print(table)
    return run.path


def problem(config: Config, degree: int) -> Any:
    """Return the loss on the points of a polynomial."""
    x = np.linspace(-1, 1, config.points)
    y = np.polynomial.Chebyshev.basis(degree)(x)
    inputs, targets = (jnp.asarray(column[:, None], jnp.float32) for column in (x, y))

    def loss(params: Any) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs, activation=jnp.tanh), targets) / 2

    return loss


def init(config: Config, seed: int) -> mlp.Params:
    """Draw the network of a seed."""
    params = mlp.init(jax.random.key(seed), (1, config.hidden, 1))
    glorot = jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")  # not truncated
    for name, gain, key in zip(
        params, (GAIN, 1.0), jax.random.split(jax.random.key(seed)), strict=True
    ):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        params[name] = {"kernel": gain * glorot(key, kernel.shape), "bias": jnp.zeros_like(bias)}
    return params


def _lane(
    config: Config, run: runs.Run, table: Table, degree: int, optimizer: str, eta: float
) -> np.ndarray:
    """Watch a descent from every seed; return the ratios, ``[seeds, readings]``."""
    loss = problem(config, degree)
    made = optax.sgd(eta) if optimizer == "plain" else optax.adam(eta)
    watch = functools.partial(descent.watch, loss, every=config.every)
    found = [watch(init(config, seed), made, config.steps) for seed in config.every_seed]
    ratios = np.stack([np.asarray(one.ratio) for one in found])
    means = ratios[:, ratios.shape[1] // 2 :].mean(axis=1)
    final = float(np.median([one.trace.loss[-1] for one in found]))
    name = f"T{degree}, {optimizer}, eta {eta:g}"
    run.result(f"{name}: ratio in the second half, median", np.median(means), 1.0)
    run.result(f"{name}: ratio in the second half, range", [means.min(), means.max()])
    run.result(f"{name}: final loss, median", final)
    table.add_row(
        f"T{degree}", f"{optimizer}, {eta:g}", ", ".join(f"{m:.3f}" for m in means), f"{final:.2g}"
    )
    return ratios


def _count_divergences(config: Config, run: runs.Run) -> None:
    seeds = range(config.seed, config.seed + config.wild_seeds)
    for degree in config.degrees:
        loss = problem(config, degree)
        wild = jnp.array([config.wild])
        lanes = [descent.sweep(loss, init(config, seed), wild, config.steps) for seed in seeds]
        diverged = sum(not np.isfinite(lane.loss[0, -1]) for lane in lanes)
        run.result(f"T{degree}, eta {config.wild:g}: diverged of {len(lanes)} seeds", diverged)


if __name__ == "__main__":
    command(main, Config, __doc__)
