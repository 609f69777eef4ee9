"""Why batches: the time a sample takes against how many are computed at once.

For one sample every layer is a product of a matrix with a vector: each parameter is fetched from
memory, used for one multiplication and one addition, and dropped. For a batch it is a product of
two matrices: each parameter is fetched into the cache once, and used for every sample. A sample
takes as many operations as before, and a part of the bytes. Three ways to the same numbers:

- *batch*: all samples at once, as everywhere in the package;
- *compiled loop*: sample after sample in one compiled program. There is no Python in it: what it
  takes longer than the batch is the transfer of the parameters from memory, for every sample;
- *Python loop*: a call of a compiled program for each sample.

    python experiments/batch_processing.py
    python experiments/batch_processing.py --sizes 784 200 10   # parameters that stay in the cache

Two speeds of the machine, measured in the same run, say what to expect: the operations a second of
a product of square matrices, and the bytes a second at which as many numbers as there are
parameters are added up. No batch is computed faster than the first allows, and a small one hardly
faster than its parameters are read (the "roofline" of Williams, Waterman and Patterson, 2009).

Forward + backward is the squared error and its gradient with respect to all parameters, as many
bytes again, which are written once a batch; the loops add them up. (A batch of 1 is slower than a
sample of the loops: it writes to memory that is fresh from the system, at some 200 page faults a
call, the loops to memory that they have.) Everything is compiled beforehand, and timed in turns,
each way at each size once a turn, by the fastest of a few calls: medians over the turns, with the
lowest and the highest. The two speeds of the machine are those of the fastest turn, as limits are.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from rich.console import Console
from rich.table import Table
from settings import Count, NotNegative, Settings, command

from chainrule import losses, runs
from chainrule.models import mlp
from chainrule.plots import cost as plots


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The settings of the run."""

    sizes: tuple[Count, ...] = (784, 1024, 1024, 10)
    """The widths of the network, from the inputs to the outputs."""
    batches: tuple[Count, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    """How many samples are computed."""
    looped: Count = 64
    """At most so many one by one: in a loop, the time of a sample does not depend on how many."""
    side: Count = 512
    """Of the square matrices whose product is the limit."""
    turns: Count = 9
    """How often everything is timed, one after the other."""
    at_least: NotNegative = 0.03
    """Seconds to repeat a call for in a turn, of which the fastest counts."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    with config.start("batch_processing", about=__doc__) as run:
        key, inputs_key, targets_key = jax.random.split(jax.random.key(config.seed), 3)
        params = mlp.init(key, config.sizes)
        inputs = jax.random.normal(inputs_key, (max(config.batches), config.sizes[0]))
        targets = jax.random.normal(targets_key, (max(config.batches), config.sizes[-1]))
        numbers = jnp.ones(sum(leaf.size for leaf in jax.tree.leaves(params)))
        square = jnp.ones((config.side, config.side))

        calls: dict[Any, Callable[[], Any]] = {
            "product": ready(run, jnp.matmul, square, square),
            "reading": ready(run, jnp.sum, numbers),
        }
        for batch in config.batches:
            some = (params, inputs[:batch], targets[:batch])
            ways = at_once(run, *some)
            if batch <= config.looped:
                ways |= one_by_one(run, *some)
            calls |= {(*name, batch): call for name, call in ways.items()}
        console.print(f"{len(calls)} programs compiled in {run.record['compile_seconds']:.1f} s")

        seconds = timing.alternate(calls, config.turns, at_least=config.at_least)
        machine = plots.Machine(
            operations=float(2 * config.side**3 / seconds["product"].min()),
            bytes=float(numbers.nbytes / seconds["reading"].min()),
        )
        passes = []
        for name, moved in (("forward", 1), ("forward + backward", 2)):
            # Counted in the largest batch: one of 1 is a case of its own, see backward_cost.py.
            counted = calls[name, "batch", max(config.batches)].func.cost_analysis()["flops"]
            times = {
                way: {
                    batch: seconds[name, way, batch] / batch
                    for batch in config.batches
                    if (name, way, batch) in seconds
                }
                for way in ("batch", "compiled loop", "Python loop")
            }
            passes.append(
                plots.Pass(name, counted / max(config.batches), moved * numbers.nbytes, times)
            )
        _report(config, run, console, passes, machine)
        run.save_figure("batches", plots.batches(passes, machine))
    return run.path


# --- the ways to compute a batch ---------------------------------------------------------------


def forward(params, inputs):
    """Return the outputs."""
    return mlp.apply(params, inputs)


def forward_backward(params, inputs, targets):
    """Return the sum of the samples' squared errors, and its gradient."""

    def loss(params):
        return len(inputs) * losses.squared_error(mlp.apply(params, inputs), targets)

    return jax.value_and_grad(loss)(params)


def add_one(total, params, x, t):
    """Add to a sum and its gradient those of one sample."""
    return jax.tree.map(jnp.add, total, forward_backward(params, x[None], t[None]))


def ready(run: runs.Run, function: Callable[..., Any], *arguments: Any) -> functools.partial:
    """Return the call of a function with its arguments, compiled."""
    return functools.partial(run.compile(jax.jit(function), *arguments), *arguments)


def at_once(run: runs.Run, params, inputs, targets) -> dict[tuple[str, str], Callable[[], Any]]:
    """Return the calls that compute a batch as one."""
    return {
        ("forward", "batch"): ready(run, forward, params, inputs),
        ("forward + backward", "batch"): ready(run, forward_backward, params, inputs, targets),
    }


def one_by_one(run: runs.Run, params, inputs, targets) -> dict[tuple[str, str], Callable[[], Any]]:
    """Return the calls that compute a batch sample by sample."""
    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    xs, ts = list(inputs), list(targets)
    out = run.compile(jax.jit(lambda params, x: forward(params, x[None])[0]), params, xs[0])
    plus = run.compile(jax.jit(add_one), zero, params, xs[0], ts[0])

    def compiled_forward(params, inputs):
        return jax.lax.map(lambda x: forward(params, x[None])[0], inputs)

    def compiled_backward(zero, params, inputs, targets):
        def step(total, sample):
            return add_one(total, params, *sample), None

        return jax.lax.scan(step, zero, (inputs, targets))[0]

    def python_forward():
        return [out(params, x) for x in xs]

    def python_backward():
        total = zero
        for x, t in zip(xs, ts, strict=True):
            total = plus(total, params, x, t)
        return total

    return {
        ("forward", "compiled loop"): ready(run, compiled_forward, params, inputs),
        ("forward", "Python loop"): python_forward,
        ("forward + backward", "compiled loop"): ready(
            run, compiled_backward, zero, params, inputs, targets
        ),
        ("forward + backward", "Python loop"): python_backward,
    }


# --- words and numbers -------------------------------------------------------------------------


def _report(
    config: Config,
    run: runs.Run,
    console: Console,
    passes: list[plots.Pass],
    machine: plots.Machine,
) -> None:
    run.result("product of matrices: operations a second, fastest turn", machine.operations)
    run.result("reading the parameters: bytes a second, fastest turn", machine.bytes)
    for one in passes:
        run.result(f"{one.name}: operations a sample", one.operations)
        run.result(f"{one.name}: bytes of parameters, and of their gradients, a batch", one.bytes)
        for way, by_batch in one.seconds.items():
            for batch, times in by_batch.items():
                name = f"{one.name}, {way} of {batch}: seconds a sample, by turn"
                run.result(name, times, per="turn")

    first = passes[0]
    table = Table(
        title=f"{'-'.join(str(size) for size in config.sizes)}, {first.bytes / 4:,.0f} parameters: "
        f"microseconds a sample, median (lowest to highest) of {config.turns} turns",
    )
    for column in (
        "samples",
        "",
        "bytes read a sample",
        "operations a byte",
        *(one.name for one in passes),
    ):
        table.add_column(column, justify="right")
    rows = [("batch", batch, batch) for batch in first.seconds["batch"]]
    # To a loop every batch is one of 1.
    rows += [
        (way, 1, max(found)) for way, found in first.seconds.items() if way != "batch" and found
    ]
    for way, sharing, batch in rows:
        table.add_row(
            str(batch),
            way,
            f"{first.bytes / sharing:,.0f}",
            f"{first.operations * sharing / first.bytes:,.3g}",
            *(_spread(1e6 * one.seconds[way][batch]) for one in passes),
        )
    console.print(table)
    console.print(
        f"limits: {machine.operations / 1e9:.0f} GFLOP/s, a product of matrices "
        + ", ".join(
            f"({one.name} {1e6 * one.operations / machine.operations:.3g} us a sample)"
            for one in passes
        )
        + f"; {machine.bytes / 1e9:.0f} GB/s, reading ({1e6 * first.bytes / machine.bytes:.3g} us "
        "the parameters)"
    )


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):,.4g} ({values.min():,.4g} to {values.max():,.4g})"


if __name__ == "__main__":
    command(main, Config, __doc__)
