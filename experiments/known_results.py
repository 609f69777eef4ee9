"""Two results of others on MNIST that need no seed: they check the digits and the arithmetic.

    python experiments/known_results.py --data-dir FOLDER

Nothing is drawn at random and nothing is trained by descent, so that everybody gets the same
numbers from the same 70,000 digits:

- the nearest of all training digits, by the distance of their pixels (L2);
- 40 principal components, each divided by its standard deviation, with all their squares and
  products, and ten linear functions of these 861 features by least squares.

LeCun's page of results on MNIST (yann.lecun.com/exdb/mnist) prints 3.09 % for nearest neighbours
and 3.3 % for 40 components with a quadratic classifier; all digits give 3.09 and 3.33 % here. With
the digits that come with the package nothing is expected: there are ten times fewer.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from settings import Count, OnDigits, command

from chainrule import data, features

PUBLISHED = {"nearest neighbour": 3.09, "40 components, quadratic": 3.3}
"""Test errors in %, as LeCun's page prints them."""
ALL = 60_000
CONSOLE = Console()


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    components: Count = 40
    """Principal components."""
    samples: Count = ALL
    """How many training digits: the first ones."""
    block: Count = 500
    """Test digits whose distances are computed at a time."""


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray, block: int) -> np.ndarray:
    """Return the label of the nearest training row for every test row, the first one of equals."""
    # |a - b|^2 = |a|^2 - 2 (a . b - |b|^2 / 2): the nearest has the largest bracket.
    half = jnp.sum(train**2, axis=1) / 2

    @jax.jit
    def largest(rows):
        return jnp.argmax(rows @ train.T - half[None, :], axis=1)

    parts = [largest(test[at : at + block]) for at in range(0, len(test), block)]
    return labels[np.concatenate(parts)]


def whitened(train: np.ndarray, test: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components of both, of mean 0 and variance 1 on the first."""
    mean = train.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(train - mean, rowvar=False, bias=True))
    last = slice(-1, -components - 1, -1)  # the largest come last
    scaled = directions[:, last] / np.sqrt(variances[last])
    return (train - mean) @ scaled, (test - mean) @ scaled


def quadratic(inputs: np.ndarray) -> np.ndarray:
    """Return a 1, the inputs, and all their squares and products."""
    pairs = np.stack(np.triu_indices(inputs.shape[1]), axis=1)
    products = features.pair_products(jnp.asarray(inputs), jnp.asarray(pairs))
    return np.hstack([np.ones((len(inputs), 1)), inputs, products])


def least_squares(inputs: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the class of the largest of ten linear functions, fitted to ones and zeros."""
    wanted = np.eye(10)[labels]
    weights = np.linalg.solve(inputs.T @ inputs, inputs.T @ wanted)
    return (test @ weights).argmax(axis=1)


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    with jax.enable_x64(True), config.start("known_results", about=__doc__) as run:
        train = data.first(config.digits("train"), config.samples)
        test = config.digits("test")
        run.note(data=train.provenance.to_dict())
        pixels, pixels_test = (
            digits.images.reshape(len(digits.images), -1).astype(np.float64)  # sums are exact
            for digits in (train, test)
        )
        by_nearest = nearest(pixels, train.labels, pixels_test, config.block)
        inputs, inputs_test = whitened(pixels / 255, pixels_test / 255, config.components)
        by_products = least_squares(quadratic(inputs), train.labels, quadratic(inputs_test))
        found = {
            "nearest neighbour": by_nearest,
            f"{config.components} components, quadratic": by_products,
        }
        for name, classes in found.items():
            wrong = int(np.sum(classes != test.labels))
            share = 100 * wrong / len(test.labels)
            printed = PUBLISHED.get(name) if len(train.labels) == ALL else None
            run.result(f"{name}: errors", wrong)
            run.result(f"{name}: test error, %", share, printed)
            beside = f", published {printed} %" if printed else ""
            CONSOLE.print(f"{name}: {wrong} of {len(test.labels)} wrong, {share:.2f} %{beside}")
    return run.path


if __name__ == "__main__":
    command(main, Config, __doc__)
