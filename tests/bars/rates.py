"""Twelve tasks on which a learning rate is chosen, and what each of 200 rates comes to on them."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, descent, landscapes, losses
from chainrule.models import lenet, mlp, siamese

RATES = np.geomspace(1e-5, 30.0, 200).astype(np.float32)
HEAVY = functools.partial(optax.sgd, momentum=0.9)


class Task(NamedTuple):
    """What a rate is chosen for.

    Attributes:
      name: for the table.
      loss: of the parameters, and of the batch where there are batches.
      draw: from a seed to the start.
      optimizer: from a rate.
      steps: how many.
      batches: from a step to its batch, or None.
      whole: the loss by which an end is judged, of the parameters alone.
    """

    name: str
    loss: Callable[..., Any]
    draw: Callable[[int], Any]
    optimizer: Any
    steps: int
    batches: Callable[[Any], Any] | None = None
    whole: Callable[[Any], Any] | None = None


@functools.cache
def _digits(count: int):
    digits = data.first(data.mnist("train", source="embedded"), count)
    images = np.asarray(digits.images, np.float32) / 255
    small = images[:, :28, :28].reshape(count, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(count, 49)
    return (
        jnp.asarray(images[..., None]),
        jnp.asarray(small - small.mean()),
        jnp.asarray(digits.labels, jnp.int32),
    )


def tasks() -> list[Task]:
    """Return the twelve tasks."""
    images, small, labels = _digits(200)

    def classify(params):
        return losses.cross_entropy(mlp.apply(params, small), labels)

    def classify_batch(params, rows):
        return losses.cross_entropy(mlp.apply(params, small[rows]), labels[rows])

    def rows(step):
        return jax.random.randint(jax.random.fold_in(jax.random.key(7), step), (25,), 0, 200)

    def digits(seed):
        return mlp.init(jax.random.key(seed), (49, 24, 10))

    def convolve(params):
        return losses.cross_entropy(lenet.apply(params, images[:12]), labels[:12])

    first, second = np.random.default_rng(0).integers(0, 200, (2, 80))
    pairs = jnp.stack([small[first], small[second]], axis=1)
    same = labels[first] == labels[second]

    def compare(params):
        return losses.contrastive(siamese.distances(params, pairs, mlp.apply), same)

    def embedding(seed):
        return mlp.init(jax.random.key(seed), (49, 16, 4))

    x = jnp.linspace(-2, 2, 30)[:, None]
    y = jnp.sin(3 * x)

    def fit(params):
        return losses.squared_error(mlp.apply(params, x, activation=jnp.tanh), y)

    def curve(seed):
        return mlp.init(jax.random.key(seed), (1, 20, 20, 1))

    rng = np.random.default_rng(1)
    design = rng.normal(size=(60, 12)) * np.geomspace(1, 0.1, 12)
    target = design @ rng.normal(size=12) + 0.1 * rng.normal(size=60)
    design, target = jnp.asarray(design, jnp.float32), jnp.asarray(target, jnp.float32)

    def regress(w):
        return jnp.mean(jnp.square(design @ w - target))

    def flat(seed):
        return jax.random.normal(jax.random.key(seed), (12,))

    def point(seed):
        return jax.random.uniform(jax.random.key(seed), (2,), minval=-1.2, maxval=1.2)

    def product(w):
        return jnp.square(w["u"] @ w["v"] / math.sqrt(100) - 1) / 2

    def factors(seed):
        u, v = jax.random.normal(jax.random.key(seed), (2, 100))
        return {"u": u, "v": v}

    return [
        Task("digits, MLP, sgd", classify, digits, optax.sgd, 100),
        Task("digits, MLP, momentum", classify, digits, HEAVY, 100),
        Task("digits, MLP, adam", classify, digits, optax.adam, 100),
        Task("digits, MLP, sgd, batches", classify_batch, digits, optax.sgd, 100, rows, classify),
        Task(
            "digits, LeNet, momentum", convolve, lambda s: lenet.init(jax.random.key(s)), HEAVY, 32
        ),
        Task("digits, siamese, sgd", compare, embedding, optax.sgd, 120),
        Task("digits, siamese, adam", compare, embedding, optax.adam, 120),
        Task("sine, MLP, adam", fit, curve, optax.adam, 200),
        Task("sine, MLP, momentum", fit, curve, HEAVY, 200),
        Task("regression, sgd", regress, flat, optax.sgd, 150),
        Task("Rosenbrock, momentum", landscapes.rosenbrock, point, HEAVY, 200),
        Task("product of 100, sgd", product, factors, optax.sgd, 60),
    ]


def finals(task: Task, seed: int, rates: Any) -> tuple[float, np.ndarray]:
    """Return the loss at the start, and at the end of every rate, infinity for NaN."""
    params = task.draw(seed)
    whole = task.whole or task.loss
    trace = descent.sweep(
        task.loss, params, rates, task.steps, optimizer=task.optimizer, batch=task.batches
    )
    ends = np.asarray(jax.jit(lambda many: jax.lax.map(whole, many))(trace.final_params), float)
    return float(whole(params)), np.where(np.isfinite(ends), ends, np.inf)


def regret(task: Task, seed: int, chosen: float) -> float:
    """Return (chosen - best) / (start - best) of the losses at the end."""
    start, ends = finals(task, seed, RATES)
    _, (own,) = finals(task, seed, np.float32([chosen]))
    best = min(ends.min(), own)
    return float((min(own, 1e9) - best) / (start - best))


def range_test(task: Task, seed: int) -> float:
    """Return what the usual range test chooses: the rate at the steepest fall of a ramp.

    The rate rises by a constant factor a step, over as many steps as the task has; the loss is
    smoothed as is usual, and of the part before it exceeds four times its lowest the steepest
    slope against the logarithm of the rate is taken (Smith 2017; fastai's "steep" suggestion).
    """
    params, steps = task.draw(seed), task.steps
    ramp = np.geomspace(1e-5, 30.0, steps)
    optimizer = task.optimizer(optax.exponential_decay(1e-5, 1, float(ramp[1] / ramp[0])))
    trace = descent.gradient_descent(
        task.loss, params, optimizer, steps, batch=task.batches, record_params=False
    )
    loss = np.asarray(trace.loss, float)[:-1]
    smooth, mean = [], 0.0
    for t, one in enumerate(loss):
        mean = 0.95 * mean + 0.05 * one
        smooth.append(mean / (1 - 0.95 ** (t + 1)))
    smooth = np.asarray(smooth)
    lowest = np.minimum.accumulate(np.where(np.isfinite(smooth), smooth, np.inf))
    over = np.flatnonzero(~(smooth <= 4 * lowest))
    stop = max(int(over[0]) if over.size else steps, 3)
    slopes = np.gradient(smooth[:stop])
    return float(ramp[int(np.nanargmin(slopes))])
