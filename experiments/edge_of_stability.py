r"""Progressive sharpening to the edge of stability, for plain descent and for Adam.

Twenty points of the Chebyshev polynomials T4 and T5 on [-1, 1], one hidden layer of 100 tanh units,
full batch, half the mean squared error. Kernels are normal with Glorot's variance
2 / (fan-in + fan-out), those of the first layer times 1.9, biases 0. Plain descent sharpens until
the largest eigenvalue of the Hessian is 2 / eta, and stays there while the loss goes on falling
(Cohen et al., arXiv 2103.00065). Adam does the same with its preconditioned Hessian, at 38 / eta
(arXiv 2207.14484): `chainrule.descent.watch` measures both as a ratio, which is 1 at the edge.

    python experiments/edge_of_stability.py
    python experiments/edge_of_stability.py --steps 4000 --seeds 1
    python experiments/edge_of_stability.py --samples 1000 --etas 0.02 0.05 --steps 3000 --every 50

The last one descends on digits instead: 784-200-200-10, tanh, half the squared distance from the
class's unit vector, mean over the digits, drawn as PyTorch draws.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, OnDigits, Positive, Repeated, Some, command, now

from chainrule import data, descent, losses, runs
from chainrule.models import mlp
from chainrule.plots import descent as plots

GAIN = 1.9  # of the first layer's kernel


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
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
    samples: Some = 0
    """Take so many digits, the first ones, in place of the polynomials, and plain descent alone."""


class Problem(NamedTuple):
    """What is descended on.

    Attributes:
      name: for tables.
      loss: of the parameters.
      draw: from a seed to the start.
    """

    name: str
    loss: Callable[[Any], jax.Array]
    draw: Callable[[int], mlp.Params]


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    table = Table(title="sharpness over its critical value, mean of the second half")
    for column in ("problem", "optimizer", "ratio of each seed", "final loss, median"):
        table.add_column(column)
    with config.start("edge_of_stability", about=__doc__) as run:
        if config.samples:
            problems = [digits(config, run)]
        else:
            draw = functools.partial(init, config)
            problems = [Problem(f"T{k}", problem(config, k), draw) for k in config.degrees]
        lanes = {"plain": [(one, "plain", eta) for one in problems for eta in config.etas]}
        if not config.samples:
            lanes["adam"] = [(problems[-1], "Adam", eta) for eta in config.adam_etas]
        for name, kind in lanes.items():
            found = {
                f"{lane[0].name}, $\\eta$ = {lane[2]:g}": _lane(config, run, table, *lane)
                for lane in kind
            }
            at = np.arange(0, config.steps + 1, config.every)
            label = "sharpness / critical" if name == "plain" else "preconditioned / critical"
            run.save_figure(name, plots.readings(at, found, ylabel=label))
        if not config.samples:
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


def digits(config: Config, run: runs.Run) -> Problem:
    """Return the network of ten classes on the first digits."""
    chosen = data.first(config.digits("train"), config.samples)
    run.note(data=chosen.provenance.to_dict())
    inputs = jnp.asarray(data.standardize(chosen.images).inputs)
    targets = jax.nn.one_hot(jnp.asarray(chosen.labels), 10)

    def loss(params: Any) -> jax.Array:
        outputs = mlp.apply(params, inputs, activation=jnp.tanh)
        return 10 * losses.squared_error(outputs, targets) / 2

    sizes = (inputs.shape[1], 200, 200, 10)
    return Problem(
        f"{config.samples} digits", loss, lambda seed: mlp.init(jax.random.key(seed), sizes)
    )


def _lane(
    config: Config, run: runs.Run, table: Table, one: Problem, optimizer: str, eta: float
) -> np.ndarray:
    """Watch a descent from every seed; return the ratios, ``[seeds, readings]``."""
    now(f"{one.name}, {optimizer}, eta {eta:g}: {config.steps:,} steps from {config.seeds} seeds")
    made = optax.sgd(eta) if optimizer == "plain" else optax.adam(eta)
    watch = functools.partial(descent.watch, one.loss, every=config.every)
    found = [watch(one.draw(seed), made, config.steps) for seed in config.every_seed]
    ratios = np.stack([np.asarray(watched.ratio) for watched in found])
    means = ratios[:, ratios.shape[1] // 2 :].mean(axis=1)
    final = float(np.median([watched.trace.loss[-1] for watched in found]))
    name = f"{one.name}, {optimizer}, eta {eta:g}"
    run.result(f"{name}: ratio in the second half, median", np.median(means), 1.0)
    run.result(f"{name}: ratio in the second half, range", [means.min(), means.max()])
    if optimizer == "plain":
        run.result(f"{name}: ratio at the start, of each seed", ratios[:, 0], per="seed")
    first = [int(np.argmax(row >= 1)) * config.every if (row >= 1).any() else -1 for row in ratios]
    run.result(f"{name}: steps to a ratio of 1, of each seed", first, per="seed")
    run.result(f"{name}: final loss, median", final)
    table.add_row(
        one.name, f"{optimizer}, {eta:g}", ", ".join(f"{m:.3f}" for m in means), f"{final:.2g}"
    )
    return ratios


def _count_divergences(config: Config, run: runs.Run) -> None:
    seeds = range(config.seed, config.seed + config.wild_seeds)
    for degree in config.degrees:
        now(f"T{degree}, eta {config.wild:g}: {config.steps:,} steps from {len(seeds)} seeds")
        loss = problem(config, degree)
        wild = jnp.array([config.wild])
        lanes = [descent.sweep(loss, init(config, seed), wild, config.steps) for seed in seeds]
        diverged = sum(not np.isfinite(lane.loss[0, -1]) for lane in lanes)
        run.result(f"T{degree}, eta {config.wild:g}: diverged of {len(lanes)} seeds", diverged)


if __name__ == "__main__":
    command(main, Config, __doc__)
