"""Time the package against what people would use instead: `make bench`.

    python experiments/benchmarks/run.py
    python experiments/benchmarks/run.py --only sweep

Both sides of a row do the same work to the same answer, which is checked first, and alternate; a
ratio below 1 means that ours is faster. Threads are those of the machine on both sides.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from harness import Row, measure
from rich.console import Console
from rich.table import Table

from chainrule import data, descent, landscapes, losses, runs, xray
from chainrule.models import lenet, mlp, perceptron, vgg


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the run."""

    only: str = ""
    """Time only the rows with this in their name."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""


def _close(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def small_sweep() -> Iterator[Row]:
    """A hundred rates on the two-well landscape."""
    etas, begin, steps = jnp.linspace(0.005, 0.4, 100), jnp.asarray(-0.5), 100
    value_and_slope = jax.jit(jax.value_and_grad(landscapes.two_well))

    def ours() -> np.ndarray:
        return np.asarray(descent.sweep(landscapes.two_well, begin, etas, steps).loss[:, -1])

    def theirs() -> np.ndarray:
        found = []
        for eta in etas:
            w, optimizer = begin, optax.sgd(eta)
            state = optimizer.init(w)
            for _ in range(steps):
                _, slope = value_and_slope(w)
                updates, state = optimizer.update(slope, state)
                w = optax.apply_updates(w, updates)
            found.append(float(value_and_slope(w)[0]))
        return np.asarray(found)

    work = f"small sweep: {len(etas)} rates, two wells, {steps} steps"
    yield Row(work, "Python loop over optax", ours, theirs, _close, 0.01)


def network_sweep() -> Iterator[Row]:
    """Rates of the notes' network at once, and one after another."""
    digits = data.mnist("train", source="embedded")
    inputs = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
    targets = jnp.asarray(digits.labels[:1000] == 5, jnp.float32)
    params = mlp.init(jax.random.key(0), (784, 200, 1))
    etas = jnp.geomspace(0.001, 0.02, 8)

    def loss(params: mlp.Params) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    single = jax.jit(
        lambda eta: descent.gradient_descent(
            loss, params, optax.sgd(eta), 20, record_params=False
        ).loss[-1]
    )
    yield Row(
        "sweep: 8 rates of the 784-200-1 network, 20 steps",
        "the 8 runs one after another, compiled once",
        lambda: np.asarray(descent.sweep(loss, params, etas, 20).loss[:, -1]),
        lambda: np.asarray([single(eta) for eta in etas]),
        _close,
        0.95,
    )


def zero_against_one() -> Iterator[Row]:
    """The perceptron on 0 against 1, to zero changes."""
    digits = data.mnist("train", source="embedded")
    chosen = digits.labels < 2
    inputs = digits.images[chosen].reshape(-1, 784).astype(np.float32)
    targets = np.where(digits.labels[chosen] == 0, -1, 1)
    on_device = jnp.asarray(inputs), jnp.asarray(targets)

    def loop() -> np.ndarray:
        weights = np.zeros(784, np.float32)
        for _ in range(100):
            changes = 0
            for x, y in zip(inputs, targets, strict=True):
                if y * (weights @ x) <= 0:
                    weights += y * x
                    changes += 1
            if changes == 0:
                break
        return weights

    def learner() -> np.ndarray:
        from sklearn.linear_model import Perceptron

        model = Perceptron(fit_intercept=False, shuffle=False, max_iter=20, tol=None)
        return model.fit(inputs, targets).coef_[0]

    def ours() -> np.ndarray:
        return np.asarray(perceptron.fit(*on_device, 100).weights)

    def separates(ours: np.ndarray, theirs: np.ndarray) -> None:
        assert (targets * (inputs @ ours) > 0).all()
        assert (targets * (inputs @ theirs) > 0).all()

    work = f"perceptron: 0 against 1, {len(inputs)} digits, to zero changes"
    yield Row(work, "NumPy loop", ours, loop, np.testing.assert_array_equal, 0.35)
    yield Row(work, "scikit-learn, 20 epochs", ours, learner, separates, 0.5)


def graph_of_operators() -> Iterator[Row]:
    """A graph of 200 nodes with shared layers, forward and backward, compiled."""
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
    from graphs import deep

    *programs, arguments = deep(blocks=50)
    compiled = [jax.jit(program) for program in programs]

    def run(program: Callable[..., Any]) -> np.ndarray:
        for _ in range(50):  # milliseconds each
            grads = jax.block_until_ready(program(*arguments))
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])

    yield Row(
        "graph: 200 nodes, the gradients by 5 shared layers, 50 times",
        "jax.jit(jax.grad) of the flat function",
        lambda: run(compiled[0]),
        lambda: run(compiled[1]),
        _close,
        1.1,
    )


def records() -> Iterator[Row]:
    """All values and gradients of a call, against the gradient of the parameters alone."""
    yield _record("LeNet", lenet, (100, *lenet.INPUT_SHAPE), 5.0)
    yield _record("VGG16", vgg, (1, 224, 224, 3), 3.0)


def _record(name: str, model: Any, shape: tuple[int, ...], target: float) -> Row:
    key = jax.random.key(0)
    params, inputs = model.init(key), jax.random.normal(jax.random.fold_in(key, 1), shape)
    labels = jnp.arange(shape[0]) % 10

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(model.apply(params, inputs), labels)

    gradient, last = jax.jit(jax.value_and_grad(loss)), list(params)[-1]

    def ours() -> np.ndarray:
        report = xray.xray(loss, params, inputs, labels, argnums=0)
        jax.block_until_ready([(node.values, node.cotangents) for node in report.nodes])
        return np.asarray(report.grads[0][last]["bias"])

    def theirs() -> np.ndarray:
        _, grads = jax.block_until_ready(gradient(params, inputs, labels))
        return np.asarray(grads[last]["bias"])

    work = f"x-ray: the record of {name}'s loss, batch {shape[0]}"
    return Row(work, "compiled value_and_grad", ours, theirs, _close, target)


def start() -> Iterator[Row]:
    """Starting the command, against starting Python."""

    def run(*command: str) -> int:
        return subprocess.run(
            [sys.executable, *command], capture_output=True, check=True
        ).returncode

    yield Row(
        "start: chainrule --help",
        "python -c pass",
        lambda: run("-m", "chainrule.cli", "--help"),
        lambda: run("-c", "pass"),
        np.testing.assert_equal,
    )


ROWS = (start, small_sweep, network_sweep, zero_against_one, graph_of_operators, records)


def main(config: Config) -> pathlib.Path:
    """Time every row, print the table, and return the run folder."""
    # Set by some systems; it would slow NumPy's side down.
    os.environ.pop("OPENBLAS_CORETYPE", None)
    table = Table(title="our time / the peer's: median of the pairs, range")
    for column in ("work", "peer", "ratio", "range", "target", "ours, s", "first call, s"):
        table.add_column(column, justify="left" if column in ("work", "peer") else "right")
    with runs.start(
        "benchmarks", seed=0, arguments=dataclasses.asdict(config), root=config.root
    ) as run:
        for row in (row for rows in ROWS for row in rows()):
            if config.only not in row.name:
                continue
            timing = measure(row)
            run.result(f"{row.name} / {row.peer}", timing._asdict(), expected=row.target)
            table.add_row(
                row.name,
                row.peer,
                f"{timing.ratio:.2f}",
                f"{timing.low:.2f} to {timing.high:.2f}",
                "" if row.target is None else f"{row.target:g}",
                f"{timing.ours_seconds:.3g}",
                f"{timing.first_seconds:.3g}",
            )
    console = Console()
    console.print(table)
    console.print(f"run folder: {run.path}")
    return run.path


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
