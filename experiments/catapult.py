r"""The catapult: a rate beyond the edge throws a descent to a flatter place, where it converges.

The model is u v / sqrt(n) with n = 1000 and standard normal u and v, the loss half its square. Its
largest curvature is about lambda = (|u|^2 + |v|^2) / n, the number that decides
(Lewkowycz et al., arXiv 2003.02218): below eta lambda = 2 the loss falls; from 2 to 4 it grows
first, until the curvature has fallen enough, and then converges; beyond 4 it diverges.

    python experiments/catapult.py
"""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from settings import Count, Positive, Repeated, command

from chainrule import descent
from chainrule.plots import descent as plots
from chainrule.runs.wording import spread


@dataclasses.dataclass(frozen=True)
class Config(Repeated):
    """The settings of the run."""

    width: Count = 1000
    """n, the numbers in u and in v."""
    factors: tuple[Positive, ...] = (1.9, 2.1, 3.9, 4.1)
    """Rates, times the curvature at the start."""
    steps: Count = 200
    """Steps of each descent."""
    seeds: Count = 5
    """How many starts."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    with config.start("catapult", about=__doc__) as run:
        traces = [_descend(config, seed) for seed in config.every_seed]
        loss = np.stack([np.asarray(trace.loss) for trace in traces], axis=1)
        scaled = np.stack([np.asarray(trace.observed) for trace in traces], axis=1)
        scaled = scaled * np.asarray(config.factors)[:, None, None] / scaled[..., :1]
        table = Table(title=f"u v / sqrt({config.width}), {config.seeds} seeds: median (range)")
        for column in ("eta lambda at the start", "peak / start", "final loss", "eta lambda"):
            table.add_column(column)
        for factor, one, curvature in zip(config.factors, loss, scaled, strict=True):
            peak = one.max(axis=1) / one[:, 0]
            columns = {"peak / start": peak, "final": one[:, -1], "end": curvature[:, -1]}
            for name, values in columns.items():
                run.result(f"eta lambda {factor:g}: {name}, median", np.median(values))
                run.result(f"eta lambda {factor:g}: {name}, range", [values.min(), values.max()])
            table.add_row(f"{factor:g}", *(spread(values.tolist()) for values in columns.values()))
        lanes = {
            f"$\\eta\\lambda_0$ = {f:g}": one for f, one in zip(config.factors, loss, strict=True)
        }
        figure = plots.losses(lanes, ylabel="loss")
        figure.axes[0].get_legend().set_loc("lower left")  # the descents end on the right
        run.save_figure("loss", figure)
        halves = {name: one / 2 for name, one in zip(lanes, scaled, strict=True)}
        at = np.arange(config.steps + 1)
        run.save_figure("curvature", plots.readings(at, halves, ylabel="$\\eta\\lambda / 2$"))
    Console().print(table)
    return run.path


def _descend(config: Config, seed: int) -> descent.Trace:
    u, v = jax.random.normal(jax.random.key(seed), (2, config.width))
    start = {"u": u, "v": v}

    def loss(params: Any) -> jax.Array:
        return jnp.square(params["u"] @ params["v"] / math.sqrt(config.width)) / 2

    def curvature(params: Any) -> jax.Array:
        return (params["u"] @ params["u"] + params["v"] @ params["v"]) / config.width

    etas = jnp.asarray(config.factors) / curvature(start)
    return descent.sweep(loss, start, etas, config.steps, observe=curvature)


if __name__ == "__main__":
    command(main, Config, __doc__)
