"""Histograms of gradients: features that take away what should not matter.

One linear predictor for all ten digits, on the pixels and on two histograms of oriented gradients:
the notes' rough recipe (cells of 8 x 8 pixels, 9 orientations; the 28 x 28 digits are continued to
32 x 32) and the full one of Dalal and Triggs (cells of 4 x 4, normalised in overlapping blocks of
2 x 2 cells). Only the features differ.

    python experiments/hog.py
    python experiments/hog.py --data-dir <folder of the four MNIST files>

* The predictor is trained on a squared hinge, one class against the rest, by L-BFGS; and once more
  by least squares in closed form. On the full set the full recipe is to reach 98.0 %.
* Histograms say less than pixels do, and fewer samples are enough to learn from them: the error
  against the number of training samples.
* Descent on the squared error reaches the answer of the closed form, slowly.
* A digit moved by one pixel is far from itself in pixels and less far in histograms; the unit is
  the distance between two different test digits.
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
from settings import Count, NotNegative, OnDigits, Repeated, command, now

from chainrule import descent, features, losses, runs
from chainrule.models import mlp
from chainrule.plots import features as figures

CONSOLE = Console()
ROUGH = {"cell": 8, "block": 1, "norm": "none"}
RECIPES = {
    "pixels": lambda images: images.reshape(len(images), -1),
    "HOG, rough": functools.partial(features.hog, **ROUGH),
    "HOG, full": features.hog,
}
AT_MOST = {"HOG, full": 0.02}  # the test error to reach on the full set
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
LARGEST_SHIFT = 4
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    samples: tuple[Count, ...] = (100, 300, 1000, 3000, 10000, 30000, 60000)
    """Sizes of the training sets, at most all digits; the largest set is the first digits."""
    steps: Count = 150
    """Steps of L-BFGS."""
    ridge: NotNegative = 4e-4
    """Weight of the sum of the squared weights in the loss, of features whose mean square is 1. Of
    3e-5, 1e-4, 4e-4 and 1e-3 the best by 10,000 training digits held out, where all were within
    0.1 %."""
    descent_steps: Count = 3000
    """Steps of the descents that are compared with the closed form."""
    descent_samples: Count = 6000
    """How many training digits they descend on: the first ones."""
    seeds: Count = 3
    """How many draws of each subset."""


@functools.partial(jax.jit, static_argnames="steps")
def train(inputs, labels, ridge, steps):
    """Return a linear predictor of ten classes: squared hinge and ridge, by L-BFGS."""
    targets = _one_against_the_rest(labels)

    def loss(params):
        penalty = ridge * jnp.sum(jnp.square(params["layer1"]["kernel"]))
        return losses.squared_hinge(mlp.apply(params, inputs), targets) + penalty

    start = _zeros(inputs)  # the loss is convex: any start will do
    return descent.gradient_descent(
        loss, start, optax.lbfgs(), steps, record_params=False
    ).final_params


@jax.jit
def least_squares(inputs, labels):
    """Return the linear predictor of least squared error, in closed form."""
    ones = jnp.ones((len(inputs), 1), inputs.dtype)
    # The default cut-off grows with the number of rows: with 60,000 it would treat half of the
    # directions as noise.
    solution, *_ = jnp.linalg.lstsq(
        jnp.concatenate([inputs, ones], axis=1), _one_against_the_rest(labels), rcond=1e-6
    )
    return {"layer1": {"kernel": solution[:-1], "bias": solution[-1]}}


@jax.jit
def error(params, inputs, labels):
    """Return the fraction of wrong answers."""
    answers = jnp.argmax(mlp.apply(params, inputs), axis=1)
    return jnp.mean(answers != labels, dtype=jnp.float32)


def shift(images, down: int, right: int):
    """Move images by whole pixels; what enters is background."""
    height, width = images.shape[1:]
    margin = max(abs(down), abs(right))
    wide = jnp.pad(images, [(0, 0), (margin, margin), (margin, margin)])
    top, left = margin - down, margin - right
    return wide[:, top : top + height, left : left + width]


def _one_against_the_rest(labels):
    return 2 * jax.nn.one_hot(labels, CLASSES) - 1


def _zeros(inputs):
    like = functools.partial(mlp.init, sizes=(inputs.shape[1], CLASSES))
    return optax.tree.zeros_like(jax.eval_shape(like, jax.random.key(0)))


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    splits = [config.digits(split) for split in ("train", "test")]
    *sizes, most = sorted({min(n, len(splits[0].images)) for n in config.samples})
    images = jnp.asarray(splits[0].images[:most], jnp.float32) / 255
    test_images = jnp.asarray(splits[1].images, jnp.float32) / 255
    labels, test_labels = jnp.asarray(splits[0].labels[:most]), jnp.asarray(splits[1].labels)

    with config.start("hog", about=__doc__) as run:
        run.note(data={d.provenance.split: d.provenance.to_dict() for d in splits})
        rows, by_samples, distances, moved = [], {}, {}, {}
        for name, recipe in RECIPES.items():
            clock = time.perf_counter()
            inputs = recipe(images)
            # Scaled, so that one strength of the ridge means the same for all of them.
            scale = jnp.sqrt(jnp.mean(jnp.square(inputs)))
            inputs, describe = inputs / scale, lambda x, f=recipe, s=scale: f(x) / s
            test_inputs = describe(test_images)

            now(f"{name}: {inputs.shape[1]} features of {len(labels)} digits")
            params = run.compile(train, inputs, labels, config.ridge, config.steps)(
                inputs, labels, config.ridge
            )
            squares = least_squares(inputs, labels)
            row = [
                float(error(p, x, y))
                for p in (params, squares)
                for x, y in ((inputs, labels), (test_inputs, test_labels))
            ]
            rows.append((name, inputs.shape[1], *row))
            by_samples[name] = _by_samples(config, sizes, inputs, labels, test_inputs, test_labels)
            by_samples[name] = np.hstack([by_samples[name], np.full((config.seeds, 1), row[1])])
            distances[name], moved[name] = _shifts(describe, params, test_images, test_labels)
            CONSOLE.print(f"{name}: {time.perf_counter() - clock:.1f} s")

        full = len(test_images) == 10_000
        for name, _, *row in rows:
            limit = runs.AtMost(AT_MOST[name]) if full and name in AT_MOST else None
            run.result(f"{name}: test error, squared hinge", row[1], limit)
            run.result(f"{name}: train error, squared hinge", row[0])
            run.result(f"{name}: test error, least squares", row[3])
            run.result(f"{name}: distance of a digit moved by one pixel", distances[name][1])
            run.result(f"{name}: test error, moved by one pixel", moved[name][1])
            for column, size in enumerate(sizes):
                wrong = by_samples[name][:, column]
                run.result(f"{name}: test error, {size} samples", wrong, per="seed")
        samples = np.asarray([*sizes, most])
        run.save_figure("error_by_samples", figures.error_by_samples(samples, by_samples))
        pixels = np.arange(LARGEST_SHIFT + 1)
        run.save_figure("shifts", figures.shifts(pixels, distances, moved))
        _pictures(run, images)
        run.save_trace(_converge(config, run, images, labels))

    CONSOLE.print(_table(rows, distances, moved))
    return run.path


def _by_samples(config, sizes, inputs, labels, test_inputs, test_labels):
    """Return test errors ``[seeds, sizes]`` of predictors trained on subsets."""
    errors = np.zeros((config.seeds, len(sizes)))
    for i in range(config.seeds):
        order = jax.random.permutation(jax.random.key(config.seed + i), len(inputs))
        for j, size in enumerate(sizes):
            some = order[:size]
            params = train(inputs[some], labels[some], config.ridge, config.steps)
            errors[i, j] = error(params, test_inputs, test_labels)
    return errors


def _shifts(describe, params, images, labels):
    """Return relative distances and errors, ``[shifts]``, means over the four directions."""
    here = describe(images)
    # Two neighbours in the file are two different digits, mostly of two classes.
    apart = jnp.mean(jnp.linalg.norm(here - jnp.roll(here, 1, axis=0), axis=1))
    distances, errors = np.zeros((2, LARGEST_SHIFT + 1))
    for pixels in range(LARGEST_SHIFT + 1):
        for down, right in DIRECTIONS:
            there = describe(shift(images, pixels * down, pixels * right))
            far = jnp.mean(jnp.linalg.norm(there - here, axis=1)) / apart
            distances[pixels] += far / len(DIRECTIONS)
            errors[pixels] += error(params, there, labels) / len(DIRECTIONS)
    return distances, errors


def _pictures(run, images):
    """Save Sobel's edges and the histograms of the first three digits."""
    few = images[:3]
    run.save_figure("edges", figures.edges(np.asarray(few), *map(np.asarray, features.sobel(few))))
    votes = {}
    for cell in (ROUGH["cell"], 4):
        side = -(-few.shape[1] // cell)
        found = features.hog(few, cell=cell, block=1, norm="none")
        votes[cell] = np.asarray(found).reshape(len(few), side, side, -1)
    run.save_figure("histograms", figures.histograms(np.asarray(few), votes))


def _converge(config, run, images, labels):
    """Compare descents on the squared error with the closed form; return their losses."""
    inputs = RECIPES["HOG, rough"](images[: config.descent_samples])
    inputs = inputs / jnp.sqrt(jnp.mean(jnp.square(inputs)))
    labels = labels[: config.descent_samples]
    targets = _one_against_the_rest(labels)

    def loss(params):
        return losses.squared_error(mlp.apply(params, inputs), targets)

    start = _zeros(inputs)
    best = float(loss(least_squares(inputs, labels)))
    eta = 1 / float(descent.sharpness(loss, start, key=jax.random.key(config.seed)))
    run.result("least squares, rough HOG: loss in closed form", best)
    columns, excess = {}, {}
    for name, optimizer in {
        "gradient descent": optax.sgd(eta),
        "Nesterov's momentum 0.99": optax.sgd(eta, momentum=0.99, nesterov=True),
        "L-BFGS": optax.lbfgs(),
    }.items():
        trace = descent.gradient_descent(
            loss, start, optimizer, config.descent_steps, record_params=False
        )
        columns[f"least squares, {name}/loss"] = runs.Series(np.asarray(trace.loss), loss=True)
        excess[name] = np.asarray(trace.loss) / best - 1
        run.result(f"least squares, rough HOG: loss by {name}", trace.loss[-1], best)
        CONSOLE.print(f"least squares: loss {best:.6f}, by {name} {trace.loss[-1]:.6f}")
    run.save_figure("convergence", figures.convergence(excess))
    return columns


def _table(rows, distances, moved) -> Table:
    table = Table(title="ten classes, a linear predictor on each: errors")
    for column in (
        "features",
        "number",
        "train",
        "test",
        "train,\nleast squares",
        "test,\nleast squares",
        "distance\nof 1 pixel",
        "test, moved\nby 1 pixel",
    ):
        table.add_column(column, justify="right")
    for name, number, *errors in rows:
        table.add_row(
            name,
            f"{number:,}",
            *(f"{value:.2%}" for value in errors),
            f"{distances[name][1]:.2f}",
            f"{moved[name][1]:.2%}",
        )
    return table


if __name__ == "__main__":
    command(main, Config, __doc__)
