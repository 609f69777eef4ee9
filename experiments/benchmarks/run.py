"""Time the package against what people would use instead: `make bench`, or `make bench-quick`.

    python experiments/benchmarks/run.py
    python experiments/benchmarks/run.py --quick --only LeNet     # or growth
    python experiments/benchmarks/run.py --publish     # into results.json, the book, the README
    python experiments/benchmarks/run.py --only watch --publish  # these rows, beside the others

Both sides of a row do the same work to the same answer, which is checked first, and alternate; a
ratio below 1 means that ours is faster. Threads are those of the machine on both sides. The peers
come with `pip install -e ".[test,bench]"`; rows whose peer is not there are skipped. Where the
environment sets OPENBLAS_CORETYPE, unset it, as make does: it slows NumPy's side down.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import time
from typing import Any

import descents
import edges
import graphs_and_records
import growth
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pages
import published
import recording
import shallow
import starts
import tyro
import verbs
from harness import Row, Scale, Timing, measure
from rich.console import Console

from chainrule import runs
from chainrule.runs.surroundings import surroundings

HERE = pathlib.Path(__file__).resolve().parent
PEERS = ("torch", "scikit-learn", "scikit-image")
# Compiled in an earlier run, the compiled peer would have no first call to show.
os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
# By what the names of their rows begin with.
ROWS = {
    name: rows
    for module in (
        *(starts, descents, edges, shallow, graphs_and_records, verbs, pages, recording, networks),
    )
    for name, rows in module.ROWS.items()
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the run."""

    only: str = ""
    """Time only the rows whose names begin with this, or `growth`."""
    quick: bool = False
    """Less work in each row, and not the largest."""
    publish: bool = False
    """Whether to write results.json, the book's tables and the README's lines."""
    data_dir: pathlib.Path | None = None
    """The folder of the four MNIST files; without it the embedded digits are taken."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""


def limits() -> dict[str, float]:
    """Measure what no program can pass here: products of matrices, by any library, and copying."""
    size = 2048
    matrix, product = np.ones((size, size), np.float32), jax.jit(jnp.matmul)
    on_device = jnp.asarray(matrix)
    ways = [lambda: product(on_device, on_device), lambda: matrix @ matrix]
    with contextlib.suppress(ModuleNotFoundError):
        import torch

        tensor = torch.tensor(matrix)
        ways.append(lambda: tensor @ tensor)
    big = np.ones(2**26, np.float32)
    return {
        "gflops": 2 * size**3 / min(map(_fastest, ways)) / 1e9,
        "gigabytes_per_second": 2 * big.nbytes / _fastest(big.copy) / 1e9,  # read and written
    }


def _fastest(call: Any) -> float:
    seconds = []
    for _ in range(6):
        clock = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - clock)
    return min(seconds)


def main(config: Config) -> pathlib.Path:
    """Time every row, print the table, and return the run folder."""
    console = Console()
    timings: list[Timing] = []
    growths: list[growth.Growth] = []
    failed: list[str] = []
    load, bounds = os.getloadavg()[0], limits()
    scale = Scale(config.quick, config.data_dir)
    with runs.start(
        "benchmarks", seed=0, arguments=dataclasses.asdict(config), root=config.root
    ) as run:
        for name, rows in ROWS.items():
            if not (name.startswith(config.only) or config.only.startswith(name)):
                continue
            try:
                for row in rows(scale):
                    if row.name.startswith(config.only):
                        timings += _measured(row, run, console, config.quick)
            except ModuleNotFoundError as error:
                console.print(f"{name}: skipped, there is no {error.name} here")
            except AssertionError as error:
                failed.append(name)
                console.print(f"[red]{name}: the answers differ:[/] {error}")
        if "growth".startswith(config.only):
            growths += [growth.measure(case) for case in growth.cases(scale)]
            growths += [] if config.quick else [growth.of_devices()]
            run.note(growth=[found._asdict() for found in growths])
        # Again, as something else may have taken the machine the first time.
        bounds = {name: max(rate, bounds[name]) for name, rate in limits().items()}
        run.note(limits=bounds, load=load)
    where = surroundings()
    results = {
        "rows": [_plain(timing) for timing in timings],
        "growth": [found._asdict() for found in growths],
        "threads": len(os.sched_getaffinity(0)),
        "load": load,
        "limits": bounds,
        "quick": config.quick,
        "machine": where["machine"],
        "commit": where["commit"],
        "versions": where["versions"] | _versions(),
    }
    if config.publish and not failed:
        stored = HERE / "results.json"
        kept = published.beside(json.loads(stored.read_text()), results) if config.only else results
        texts = {stored: json.dumps(kept, indent=1) + "\n"}
        for path, text in (texts | published.pages(kept, HERE.parents[1])).items():
            path.write_text(text, encoding="utf-8")
    console.print(published.table(results), soft_wrap=True, markup=False, highlight=False)
    console.print(f"run folder: {run.path}")
    if failed:
        raise SystemExit(f"nothing is published: the answers differ in {', '.join(failed)}")
    return run.path


def _measured(row: Row, run: runs.Run, console: Console, quick: bool) -> list[Timing]:
    timings = measure(row, long_seconds=0.0 if quick else 10.0)
    for timing in timings:
        said = _plain(timing)
        run.result(f"{timing.name} / {timing.peer}", said, timing.target)
        console.print(f"{timing.name}: {published.score(said, 'middle')} of {timing.peer}")
    return timings


def _plain(timing: Timing) -> dict[str, Any]:
    return timing._asdict() | {
        "ours": timing.ours._asdict(),
        "theirs": timing.theirs._asdict(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PEERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
