"""Rosenblatt's perceptron on real digits: 0 against 1.

The rule of the notes on raw pixels, without a bias, in the order of the files: start from w = 0,
visit the examples in turn, and where y (w . x) <= 0 add y x to w; stop after an epoch without a
change. Then the same in shuffled orders, for the spread, and a toy set of points in the plane whose
line is drawn after every change.

    python experiments/perceptron.py
    python experiments/perceptron.py --data-dir FOLDER         # the full set
    python experiments/perceptron.py --negative 4 --positive 9 # not so easy

The notes print nine epochs, each beside ours in the table. They reach 0 changes at epoch 8, with a
train error of 0.00 % and a test error of 0.14 %.
"""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from settings import Count, Digit, OnDigits, Some, command
from worked.printouts import PERCEPTRON

from chainrule import data
from chainrule.models import perceptron
from chainrule.plots import perceptron as plots

NOTES = dict(enumerate(PERCEPTRON))


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    negative: Digit = 0
    """The digit with target -1."""
    positive: Digit = 1
    """The digit with target +1."""
    bias: bool = False
    """Whether a constant input is appended."""
    max_epochs: Count = 100
    """When to give up on a set that is not separable."""
    shuffles: Some = 10
    """How many shuffled orders to train in besides the order of the files."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    if config.negative == config.positive:
        raise ValueError(f"negative and positive are both {config.positive}: name two digits")
    console = Console()
    digits = [config.digits(split) for split in ("train", "test")]
    train, test = (_two_classes(split, config) for split in digits)

    with config.start("perceptron", about=__doc__) as run:
        run.note(data=digits[0].provenance.to_dict())

        def fit(key=None):
            return perceptron.fit(*train, config.max_epochs, test=test, bias=config.bias, key=key)

        clock = time.perf_counter()
        fit()
        first = time.perf_counter() - clock
        clock = time.perf_counter()
        found = jax.device_get(fit())
        seconds = time.perf_counter() - clock
        run.note(compile_seconds=round(first - seconds, 3))

        console.print(_table(config, found, len(train[0]), len(test[0])))
        console.print(_sentence(config, found))
        console.print(
            f"{found.epochs} epochs in {seconds:.3f} s, compiled in {first - seconds:.1f} s"
        )

        last = int(found.epochs) - 1
        of_notes = (config.negative, config.positive) == (0, 1)
        expected = PERCEPTRON[-1] if of_notes else (None,) * 3
        run.result("epochs to zero changes", last if found.converged else None, expected=8)
        run.result("changes in all", found.changes.sum())
        run.result("train error at the end, %", 100 * found.errors.train[last], expected[1])
        run.result("test error at the end, %", 100 * found.errors.test[last], expected[2])
        run.result("margin", found.margin)
        run.result("bound on the changes, (R / margin)^2", found.bound)
        run.save_trace(
            {
                "changes": found.changes[: last + 1],
                "train_error": found.errors.train[: last + 1],
                "test_error": found.errors.test[: last + 1],
            }
        )

        if config.shuffles:
            seeds = range(config.seed, config.seed + config.shuffles)
            others = [jax.device_get(fit(jax.random.key(seed))) for seed in seeds]
            epochs = np.asarray([other.epochs - 1 for other in others])
            errors = np.asarray([100 * other.errors.test[other.epochs - 1] for other in others])
            spread = f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""
            converged = sum(bool(other.converged) for other in others)
            run.result("shuffled: epochs to the last one, by seed", epochs, per="seed")
            run.result("shuffled: test error, %, by seed", errors, per="seed")
            console.print(
                f"{config.shuffles} shuffled orders, seeds {seeds[0]} to {seeds[-1]}: {converged} "
                f"without a change at last, after {epochs.min()} to {epochs.max()} epochs, test "
                f"error {errors.mean():.2f}{spread} %"
            )

        size = len(found.weights) - config.bias
        weights = {"last weights": found.weights[:size], "averaged weights": found.averaged[:size]}
        run.save_figure("weights", plots.weight_images(weights))
        points, targets = _toy(config.seed)
        steps = perceptron.path(points, targets, epochs=20, bias=True)
        run.save_figure("toy", plots.changes(*jax.device_get((points, targets, steps))))
    return run.path


def _two_classes(digits: data.Digits, config: Config) -> tuple[jax.Array, jax.Array]:
    """Return the raw pixels of two digits, a row each, and -1 or +1, in the order of the files."""
    chosen = np.isin(digits.labels, (config.negative, config.positive))
    inputs = digits.images[chosen].reshape(-1, 28 * 28)
    targets = np.where(digits.labels[chosen] == config.positive, 1, -1)
    return jnp.asarray(inputs), jnp.asarray(targets, jnp.int32)


def _toy(seed: int) -> tuple[jax.Array, jax.Array]:
    """Draw twenty points in the unit square, with a gap along a line that passes beside 0."""
    points = jax.random.uniform(jax.random.key(seed), (200, 2))
    score = points[:, 0] + 1.5 * points[:, 1] - 1.2
    apart = jnp.flatnonzero(jnp.abs(score) > 0.15)[:20]
    return points[apart], jnp.where(score[apart] > 0, 1, -1).astype(jnp.int32)


def _table(config: Config, found: perceptron.Fit, train: int, test: int) -> Table:
    classes = f"{config.negative} against {config.positive}"
    table = Table(title=f"{classes}: {train} training and {test} test digits")
    for column in ("epoch", "changes", "train error, %", "test error, %", "the notes"):
        table.add_column(column, justify="right")
    known = NOTES if (config.negative, config.positive) == (0, 1) else {}
    shown = max(int(found.epochs), *[epoch + 1 for epoch in known], 1)
    for epoch in range(min(shown, len(found.changes))):
        ran = epoch < found.epochs
        notes = known.get(epoch)
        table.add_row(
            str(epoch),
            str(found.changes[epoch]) if ran else "-",
            f"{100 * found.errors.train[epoch]:.2f}" if ran else "-",
            f"{100 * found.errors.test[epoch]:.2f}" if ran else "-",
            f"{notes[0]} changes, {notes[1]:.2f} / {notes[2]:.2f}" if notes else "",
        )
    return table


def _sentence(config: Config, found: perceptron.Fit) -> str:
    if found.converged:
        return (
            f"separated with {found.changes.sum()} changes; margin {found.margin:.4g}, radius "
            f"{found.radius:.4g}: at most (R / margin)^2 = {found.bound:.3g} changes"
        )
    return (
        f"not separated within {config.max_epochs} epochs: the last one made "
        f"{found.changes[-1]} changes. The weights still move; take the averaged ones."
    )


if __name__ == "__main__":
    command(main, Config, __doc__)
