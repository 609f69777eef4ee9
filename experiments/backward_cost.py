r"""Does the backward pass cost twice the forward pass?

For a layer with an ``[in, out]`` kernel and a batch of N the forward pass is one product of
matrices, of 2 N in out operations: a multiplication and an addition each. The backward pass is two
of the same size: one for the gradient with respect to the kernel, one for that with respect to the
inputs, which the layer below needs. Hence the notes' rule of thumb. But nothing is below the first
layer: unless the gradient with respect to the inputs is asked for, its second product is left out.
With m_1, ..., m_L the sizes in times out of the layers,

    backward / forward = 2                               with the gradient of the inputs,
                         2 - m_1 / (m_1 + ... + m_L)     without

which is 2 - 1 / L for L layers of one size. In the notes' 784-200-1 the first layer is 99.9 % of
the whole, so that to train it the backward pass takes as many operations as the forward pass: the
ratio is 1.0.

    python experiments/backward_cost.py

These ratios are compared with the operations that XLA counts in the compiled programs, and with
the clock, for several widths, depths and batches. Forward is the network and its mean squared
error; backward is what `jax.value_and_grad` takes beyond that. The notes also say that the products
of matrices are where the computation is: their share is counted, and timed with a program that has
nothing else, no bias, no activation, no loss.

What one sees: by operations the ratios are as predicted, except for a batch of 1, where the
gradient of a kernel is an outer product without sums: one operation an element instead of two. By
the clock it is a rule for large batches. The forward pass reads the parameters; the backward pass
reads them again and writes as many gradients, and for a small batch that is what takes the time
(see batch_processing.py).
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import timing
from rich.console import Console
from rich.table import Table
from settings import Count, NotNegative, Settings, command

from chainrule import losses, runs
from chainrule.models import mlp
from chainrule.plots import cost as plots

NOTES = (784, 200, 1)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of the run."""

    widths: tuple[Count, ...] = (32, 64, 128, 256, 512, 1024)
    """Units of every layer, inputs and outputs included, at the depth and the batch below."""
    depths: tuple[Count, ...] = (1, 2, 3, 4, 6, 8)
    """Layers, at the width and the batch below."""
    batches: tuple[Count, ...] = (1, 4, 16, 64, 256, 1024)
    """Samples, at the width and the depth below."""
    width: Count = 512
    """Units of every layer where they are not varied."""
    depth: Count = 4
    """Layers where they are not varied."""
    batch: Count = 256
    """Samples where they are not varied."""
    samples: Count = 1000
    """Samples of the notes' network."""
    turns: Count = 9
    """How often everything is timed, one after the other."""
    at_least: NotNegative = 0.03
    """Seconds to repeat a call for in a turn, of which the fastest counts."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    plain = (config.width,) * (config.depth + 1)
    sweeps = {
        "width": {str(w): ((w,) * (config.depth + 1), config.batch) for w in config.widths},
        "depth": {str(d): ((config.width,) * (d + 1), config.batch) for d in config.depths},
        "batch": {str(n): (plain, n) for n in config.batches},
        "notes": {"-".join(map(str, NOTES)): (NOTES, config.samples)},
    }
    with config.start("backward_cost", about=__doc__) as run:
        counted: dict[Any, float] = {}
        calls: dict[Any, Callable[[], Any]] = {}
        for sizes, batch in dict.fromkeys(
            case for cases in sweeps.values() for case in cases.values()
        ):
            arrays = draw(config.seed, sizes, batch)
            for name, program in PROGRAMS.items():
                compiled = run.compile(jax.jit(program), *arrays)
                counted[sizes, batch, name] = compiled.cost_analysis()["flops"]
                calls[sizes, batch, name] = functools.partial(compiled, *arrays)
        console.print(f"{len(calls)} programs compiled in {run.record['compile_seconds']:.1f} s")
        seconds = timing.alternate(calls, config.turns, at_least=config.at_least)

        found = {
            name: {value: compare(*case, counted, seconds) for value, case in cases.items()}
            for name, cases in sweeps.items()
        }
        _report(config, run, console, found)
        run.save_figure("backward", plots.ratios(found))
    return run.path


# --- the programs ------------------------------------------------------------------------------


def draw(seed: int, sizes: tuple[int, ...], batch: int):
    """Return parameters, inputs and targets."""
    params_key, inputs_key, targets_key = jax.random.split(jax.random.key(seed), 3)
    return (
        mlp.init(params_key, sizes),
        jax.random.normal(inputs_key, (batch, sizes[0])),
        jax.random.normal(targets_key, (batch, sizes[-1])),
    )


def loss(params, inputs, targets):
    """Return the mean squared error of the network, and its outputs."""
    # Were the outputs not wanted, XLA (jaxlib 0.10, on CPUs) would fuse all layers with the loss,
    # which is up to ten times slower, and slower than the forward and backward pass together.
    outputs = mlp.apply(params, inputs)
    return losses.squared_error(outputs, targets), outputs


def products(params, inputs, targets):
    """Run the products alone: a network of kernels, and the targets as incoming gradient."""

    def chain(params):
        x = inputs
        for index in range(1, len(params) + 1):
            x = x @ params[f"layer{index}"]["kernel"]
        return x

    outputs, pull_back = jax.vjp(chain, params)
    return outputs, pull_back(targets)


PROGRAMS = {
    "forward": loss,
    "without": jax.value_and_grad(loss, has_aux=True),
    "with": jax.value_and_grad(loss, argnums=(0, 1), has_aux=True),
    "products": products,
}


def operations(sizes: tuple[int, ...], batch: int) -> dict[str, int]:
    """Return the operations of the products of matrices in every program."""
    layers = [2 * batch * a * b for a, b in itertools.pairwise(sizes)]
    forward = sum(layers)
    without = 3 * forward - layers[0]
    return {"forward": forward, "without": without, "with": 3 * forward, "products": without}


def compare(sizes, batch, counted, seconds) -> plots.Cost:
    """Return the ratios of backward to forward, and the share of the products."""
    predicted = operations(sizes, batch)
    count, clock = (
        {name: source[sizes, batch, name] for name in PROGRAMS} for source in (counted, seconds)
    )
    return plots.Cost(
        *(
            {name: source[name] / source["forward"] - 1 for name in ("without", "with")}
            for source in (predicted, count, clock)
        ),
        share_counted=count["products"] / count["without"],
        share_timed=clock["products"] / clock["without"],
    )


# --- words and numbers -------------------------------------------------------------------------


def _report(
    config: Config, run: runs.Run, console: Console, found: dict[str, dict[str, plots.Cost]]
) -> None:
    fixed = {
        "width": f"{config.depth} layers, batch {config.batch}",
        "depth": f"{config.width} units a layer, batch {config.batch}",
        "batch": f"{config.depth} layers of {config.width} units",
        "notes": f"batch {config.samples}",
    }
    console.print(
        "Backward over forward, without and with the gradient of the inputs, and the share of the "
        f"matrix products; by the clock medians of {config.turns} turns (lowest to highest)"
    )
    for name, costs in found.items():
        table = Table(title=fixed[name])
        for column in (name, "", "by products", "counted", "by the clock", "share", "by the clock"):
            table.add_column(column, justify="right")
        for value, cost in costs.items():
            prefix = f"{name} {value}"
            for which in ("without", "with"):
                first = which == "without"
                table.add_row(
                    value if first else "",
                    which,
                    f"{cost.predicted[which]:.3f}",
                    f"{cost.counted[which]:.3f}",
                    _spread(cost.timed[which]),
                    f"{cost.share_counted:.3f}" if first else "",
                    _spread(cost.share_timed) if first else "",
                    end_section=not first,
                )
                what = f"{prefix}, {which} the gradient of the inputs: backward / forward"
                run.result(f"{what}, operations", cost.counted[which], cost.predicted[which])
                run.result(
                    f"{what}, time by turn", cost.timed[which], cost.predicted[which], per="turn"
                )
            run.result(f"{prefix}: share of the products, operations", cost.share_counted)
            run.result(
                f"{prefix}: share of the products, time by turn", cost.share_timed, per="turn"
            )
        console.print(table)


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f}\n({values.min():.2f} to {values.max():.2f})"


if __name__ == "__main__":
    command(main, Config, __doc__)
