"""Time the networks and the sweep against PyTorch on the accelerator of this machine.

    python experiments/benchmarks/accelerator.py
    python experiments/benchmarks/accelerator.py --quick        # small parts of it, in a minute

Needs JAX and PyTorch built for the accelerator, and a C++ compiler for PyTorch's compiled side.
Both sides run on the same device, alternate, and must give the same answer. Float32 is float32 on
both: TensorFloat-32 is allowed only in the rows that say so. The times include the way of the
answer to the host, one number or a row of logits. The table goes to the terminal and, as JSON, into
the run folder. Without an accelerator both sides run on the CPU, and the table says so.
"""

import dataclasses
import importlib.metadata
import pathlib

import descents
import jax
import networks
import tyro
from harness import Scale, Timing, measure, place, rounding
from rich.console import Console
from rich.table import Table

from chainrule import runs
from chainrule.runs.surroundings import surroundings

WORK = (descents.network_sweep, networks.lenet_epoch, networks.siamese_epoch, networks.vgg16)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the run."""

    quick: bool = False
    """Less work in each row, and not the largest."""
    data_dir: pathlib.Path | None = None
    """The folder of the four MNIST files; without it the embedded digits are taken."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""


def main(config: Config) -> pathlib.Path:
    """Time every row, print the table, and return the run folder."""
    console, timings = Console(), list[Timing]()
    on_cpu = jax.default_backend() == "cpu"
    device = surroundings()["machine"]["processor"] if on_cpu else jax.devices()[0].device_kind
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "torch")
    )
    console.print(f"{device}, PyTorch on {place()}; {versions}")
    arguments = dataclasses.asdict(config)
    with runs.start("accelerator", seed=0, arguments=arguments, root=config.root) as run:
        run.note(device=device, versions=versions)
        for rows in WORK:
            for row in rows(Scale(config.quick, config.data_dir)):
                with rounding(None):
                    found = measure(row, long_seconds=0.0 if config.quick else 10.0)
                for timing in found:
                    ratios = {"median": timing.middle, "low": timing.low, "high": timing.high}
                    run.result(f"{timing.name} / {timing.peer}", ratios)
                    console.print(f"{timing.name}: {timing.middle:.2f} of {timing.peer}")
                timings += found
    console.print(_table(device, timings))
    console.print(f"run folder: {run.path}")
    return run.path


def _table(device: str, timings: list[Timing]) -> Table:
    title = f"{device}: our time over the peer's, below 1 ours is faster"
    table = Table("work", "against", title=title)
    for column in ("ratio (range, rounds)", "ours, ms", "the peer's, ms", "first call, s"):
        table.add_column(column, justify="right")
    for one in timings:
        table.add_row(
            one.name,
            one.peer,
            f"{one.middle:.2f} ({one.low:.2f} to {one.high:.2f}, {one.rounds})",
            f"{1e3 * one.ours.seconds:.4g}",
            f"{1e3 * one.theirs.seconds:.4g}",
            f"{one.ours.first_seconds:.1f}, {one.theirs.first_seconds:.1f}",
        )
    return table


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
