"""The notes' network on real digits: is it a 5?

A 784-200-1 network with ReLU, mean squared error against 0 and 1, the first 1,000 training digits
normalised by their overall mean and (unbiased) standard deviation, and 1,000 steps of full-batch
gradient descent at eta = 0.01: 1,001 recorded losses.

    python experiments/mlp_digits.py

The notes print the loss and the errors after every 100 steps: 0.1427 and 93 at the start, 0.00516
and none after 1,000. Each stands beside ours, in the table and as a curve in the figure. They do
not give their seed; ours is repeated over several, with its spread.

The hidden units of the first seed are drawn as templates, in the order of their weights in the
output, which combine them. They still look like the noise that they were drawn from; what training
changed in them, an order of magnitude smaller, has strokes.
"""

import dataclasses
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, Digit, OnDigits, Positive, Repeated, command
from worked.printouts import NETWORK

from chainrule import data, descent, losses, runs
from chainrule.models import mlp
from chainrule.plots import rate_colors
from chainrule.plots.capacity import templates
from chainrule.plots.descent import losses as draw_losses


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    eta: Positive = 1e-2
    """Learning rate."""
    steps: Count = 1000
    """Full-batch steps."""
    every: Count = 100
    """Steps between two rows of the table."""
    hidden: Count = 200
    """Hidden units."""
    samples: Count = 1000
    """How many training digits: the first ones."""
    digit: Digit = 5
    """The digit to tell from the others."""
    seeds: Count = 5
    """How many initialisations."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    if config.steps % config.every:
        raise ValueError(f"steps {config.steps} is not a multiple of every {config.every}")
    digits = data.first(config.digits("train"), config.samples)
    inputs = jnp.asarray(data.standardize(digits.images).inputs)
    targets = jnp.asarray(digits.labels == config.digit, jnp.float32)

    def loss(params):
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    def errors(params):
        return jnp.sum((mlp.apply(params, inputs)[:, 0] > 0.5) != (targets > 0.5))

    @jax.jit
    def segment(params):
        """Some steps more; plain descent keeps no state, so that segments join exactly."""
        optimizer = optax.sgd(config.eta)
        trace = descent.gradient_descent(loss, params, optimizer, config.every, record_params=False)
        return trace.loss, trace.final_params, errors(params), errors(trace.final_params)

    with config.start("mlp_digits", about=__doc__) as run:
        run.note(data=digits.provenance.to_dict())
        sizes = (inputs.shape[1], config.hidden, 1)
        init = functools.partial(mlp.init, sizes=sizes)
        descend = run.compile(segment, jax.eval_shape(init, jax.random.key(0)))
        console.print(f"compiled in {run.record['compile_seconds']:.1f} s")

        curves, counts = [], []
        for seed in config.every_seed:
            clock = time.perf_counter()
            params = init(jax.random.key(seed))
            curve, count = [], []
            for _ in range(config.steps // config.every):
                part, params, before, after = descend(params)
                curve += [part[:-1]]
                count += [before]
            curves.append(np.concatenate([*curve, part[-1:]]))
            counts.append(np.asarray([*count, after]))
            console.print(
                f"seed {seed}: loss {curves[-1][0]:.4f} -> {curves[-1][-1]:.5f}, "
                f"{counts[-1][-1]} errors, {time.perf_counter() - clock:.1f} s"
            )
            if seed == config.seed:
                _draw_templates(run, init(jax.random.key(seed)), params)
        loss_rows, error_rows = np.stack(curves), np.stack(counts)

        run.save_trace(
            {
                f"seed={seed}/loss": runs.Series(curve, loss=True)
                for seed, curve in zip(config.every_seed, loss_rows, strict=True)
            }
        )
        label = f"$\\eta$ = {config.eta:g}, {runs.counted(config.seeds, 'seed')}"
        printed = {step: row.loss for step, row in NETWORK.items() if step <= config.steps}
        colors = rate_colors([config.eta])
        figure = draw_losses({label: loss_rows}, colors=colors, points={"the notes": printed})
        run.save_figure("loss", figure)
        for row, step in enumerate(range(0, config.steps + 1, config.every)):
            notes = NETWORK.get(step)
            loss_then, errors_then = loss_rows[:, step], error_rows[:, row]
            run.result(f"loss after {step} steps, mean", loss_then.mean(), notes and notes.loss)
            if config.seeds > 1:
                run.result(f"loss after {step} steps, standard deviation", loss_then.std(ddof=1))
            expected = notes and notes.errors
            run.result(f"errors after {step} steps", errors_then, expected, per="seed")

    console.print(_table(config, loss_rows, error_rows))
    return run.path


def _draw_templates(run: runs.Run, start: mlp.Params, end: mlp.Params) -> None:
    before, after = (np.asarray(params["layer1"]["kernel"]) for params in (start, end))
    weights = np.asarray(end["layer2"]["kernel"][:, 0])
    run.save_figure("templates", templates({"weights": after, "change": after - before}, weights))
    run.result(
        f"hidden weights, seed {run.record['seed']}: root mean square of their change over theirs",
        np.linalg.norm(after - before) / np.linalg.norm(after),
    )


def _table(config: Config, loss: np.ndarray, errors: np.ndarray) -> Table:
    table = Table(
        title=f"{runs.counted(config.seeds, 'seed')} from {config.seed}: "
        f"mean squared error and training errors of {config.samples}",
    )
    for column in ("step", "loss, mean", "± std", "loss, notes", "errors, mean", "errors, notes"):
        table.add_column(column, justify="right")
    for row, step in enumerate(range(0, config.steps + 1, config.every)):
        notes = NETWORK.get(step)
        table.add_row(
            str(step),
            f"{loss[:, step].mean():.5f}",
            f"{loss[:, step].std(ddof=1):.5f}" if config.seeds > 1 else "",
            "" if notes is None else f"{notes.loss:.5f}",
            f"{errors[:, row].mean():.1f}",
            "" if notes is None else str(notes.errors),
        )
    return table


if __name__ == "__main__":
    command(main, Config, __doc__)
