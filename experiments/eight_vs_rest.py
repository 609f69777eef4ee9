"""Is it an 8? A linear predictor on pixels, and on products of pairs of pixels besides.

The perceptron learns from the 784 pixels alone and then from 1,000, 4,000 and 10,000 products of
two pixels more, drawn at random. The features of all digits never exist at once: they are made
block by block, as the perceptron needs them, so that memory does not grow with their number.

    python experiments/eight_vs_rest.py
    python experiments/eight_vs_rest.py --data-dir <folder of the four MNIST files>

The classes are not separable, and the last weights depend on the last few mistakes: reported is the
*averaged* perceptron (Freund and Schapire, 1999), with the last weights beside it. An answer is
wrong when its score is 0 or has the wrong sign. On the full test set, always answering no is wrong
for 9.74 %.
"""

import dataclasses
import functools
import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from settings import Count, Digit, OnDigits, Repeated, Some, command

from chainrule import features, runs
from chainrule.models import perceptron
from chainrule.plots import COLORS
from chainrule.plots import features as figures

AT_MOST = {0: 0.063, 1000: 0.038, 4000: 0.028}  # test errors to reach on the full set


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    counts: tuple[Some, ...] = (0, 1000, 4000, 10000)
    """How many products of pairs, one predictor each; a smaller set begins a larger one."""
    epochs: Count = 5
    """Passes over the training digits, each in its own order."""
    digit: Digit = 8
    """The digit to tell from the others."""
    seeds: Count = 3
    """How many draws of pairs and orders."""


@functools.partial(jax.jit, static_argnames="epochs")
def learn(train, test, pairs, key, epochs):
    """Return the errors of the averaged weights, ``[train, test]``, and the fit itself."""

    def with_products(pixels):
        x = pixels.astype(jnp.float32) / 255
        return jnp.concatenate([x, features.pair_products(x, pairs)], axis=1)

    found = perceptron.fit(*train, epochs, test=test, bias=True, key=key, features=with_products)

    def error(inputs, targets):
        scores = perceptron.apply(found.averaged, inputs, features=with_products)
        return jnp.mean(targets * scores <= 0, dtype=jnp.float32)

    return jnp.stack([error(*train), error(*test)]), found


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    splits = [config.digits(split) for split in ("train", "test")]
    # They stay bytes: as floats the full set would take 140 MB more.
    sets = [
        (
            jnp.asarray(digits.images.reshape(len(digits.images), -1)),
            jnp.asarray(np.where(digits.labels == config.digit, 1, -1), jnp.float32),
        )
        for digits in splits
    ]
    train, test = sets
    pixels = train[0].shape[1]
    floor = float(jnp.mean(test[1] > 0))
    seeds = config.every_seed

    with config.start("eight_vs_rest", about=__doc__) as run:
        run.note(data={digits.provenance.split: digits.provenance.to_dict() for digits in splits})
        averaged = np.zeros((len(config.counts), len(seeds), 2))
        last = np.zeros_like(averaged)
        columns = {}
        for i, count in enumerate(config.counts):
            for j, seed in enumerate(seeds):
                pair_key, order_key = jax.random.split(jax.random.key(seed))
                pairs = features.pairs(pair_key, pixels, max(config.counts))[:count]
                if j == 0:
                    compiled = run.compile(learn, train, test, pairs, order_key, config.epochs)
                clock = time.perf_counter()
                averaged[i, j], found = jax.device_get(compiled(train, test, pairs, order_key))
                last[i, j] = found.errors.train[-1], found.errors.test[-1]
                columns |= {
                    f"pairs={count}/seed={seed}/changes": found.changes,
                    f"pairs={count}/seed={seed}/train_error": found.errors.train,
                    f"pairs={count}/seed={seed}/test_error": found.errors.test,
                }
                console.print(
                    f"{pixels} pixels and {count} products, seed {seed}: test error "
                    f"{averaged[i, j, 1]:.2%}, {time.perf_counter() - clock:.1f} s"
                )
        run.save_trace(columns)

        full = len(test[0]) == 10_000
        limits = [AT_MOST.get(count) if full else None for count in config.counts]
        for i, count in enumerate(config.counts):
            run.result(
                f"{count} products: test error, averaged weights",
                averaged[i, :, 1],
                runs.AtMost(limits[i]) if limits[i] else None,
                per="seed",
            )
            run.result(
                f"{count} products: train error, averaged weights", averaged[i, :, 0], per="seed"
            )
            run.result(f"{count} products: test error, last weights", last[i, :, 1], per="seed")
        run.result("test error of always no", floor, 0.0974 if full else None)
        run.result("largest resident memory, GB", _resident(), runs.Below(2))
        figure = figures.error_by_features(
            pixels + np.asarray(config.counts),
            {"train": averaged[..., 0].T, "test": averaged[..., 1].T},
            colors=(COLORS["train"], COLORS["test"]),
            floor=("always no", floor),
        )
        run.save_figure("error_by_features", figure)

    console.print(_table(config, pixels, averaged, last, limits, floor))
    console.print(f"largest resident memory {_resident():.2f} GB")
    return run.path


def _resident() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _table(
    config: Config,
    pixels: int,
    averaged: np.ndarray,
    last: np.ndarray,
    limits: list[float | None],
    floor: float,
) -> Table:
    table = Table(
        title=f"{config.digit} against the rest, {config.epochs} epochs, errors over "
        f"{runs.counted(config.seeds, 'seed')} from {config.seed}; "
        f"always no is wrong for {floor:.2%}",
    )
    names = ("train, averaged", "test, averaged", "± std", "train, last", "test, last", "at most")
    for column in ("features", *names):
        table.add_column(column, justify="right")
    for i, count in enumerate(config.counts):
        table.add_row(
            f"{pixels + count:,}",
            *(f"{value:.2%}" for value in averaged[i].mean(axis=0)),
            f"{averaged[i, :, 1].std(ddof=1):.2%}" if config.seeds > 1 else "",
            *(f"{value:.2%}" for value in last[i].mean(axis=0)),
            f"{limits[i]:.1%}" if limits[i] else "",
        )
    return table


if __name__ == "__main__":
    command(main, Config, __doc__)
