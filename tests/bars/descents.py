"""Descents made from a seed, around their edge, and what an exact Hessian says of each of them.

Nothing here uses what is judged by it: the descents are loops over optax, the curvature is
`numpy.linalg.eigvalsh` of `jax.hessian` in float64, and the edge of each optimizer its formula.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import landscapes

BETA, DECAY, EPS = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Made:
    """One descent.

    Attributes:
      name: what it is, in words.
      loss: of the parameters.
      params: the start.
      kind: of the optimizer, one of `OPTIMIZERS`.
      eta: its rate.
      steps: how many.
      every: how many from one reading to the next.
    """

    name: str
    loss: Callable[[Any], jax.Array]
    params: Any
    kind: str
    eta: float
    steps: int
    every: int

    @property
    def optimizer(self):
        return OPTIMIZERS[self.kind](self.eta)


OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=BETA),
    "nesterov": functools.partial(optax.sgd, momentum=BETA, nesterov=True),
    "adam": optax.adam,
}


def descents(seed: int, numbers: Iterable[int]):
    """Yield descents: networks, products and landscapes by turns, the optimizers drawn."""
    problems = [_network, _product, _network, _landscape]
    for i in numbers:
        rng = np.random.default_rng([seed, i])
        kind = str(rng.choice(["sgd", "sgd", "momentum", "nesterov", "adam"]))
        name, loss, params = problems[i % len(problems)](rng)
        if kind == "adam":
            eta = float(np.exp(rng.uniform(math.log(0.01), math.log(0.2))))
        else:
            # Around the edge at the start: below it a network may sharpen until it is there.
            top = max(float(np.linalg.eigvalsh(hessian(loss, params))[-1]), 0.5)
            low, most = (0.6, 1.1) if problems[i % len(problems)] is _network else (0.4, 2.6)
            eta = float(np.exp(rng.uniform(math.log(low), math.log(most)))) * edge(kind) / top
        steps = int(rng.integers(400, 900))
        every = int(rng.choice([5, 10, 20]))
        yield Made(f"{name}, {kind} {eta:.3g}", loss, params, kind, eta, steps, every)


def edge(kind: str) -> float:
    """Return the rate at which a curvature of 1 is the edge."""
    return {"sgd": 2.0, "momentum": 2 + 2 * BETA, "nesterov": (2 + 2 * BETA) / (1 + 2 * BETA)}[kind]


def _network(rng):
    layers = int(rng.integers(1, 3))
    hidden = [int(rng.integers(5, 15 - 4 * layers)) for _ in range(layers)]
    sizes = [int(rng.integers(1, 3)), *hidden, 1]
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu, "softplus": jax.nn.softplus}
    word = str(rng.choice(["tanh", "tanh", "relu", "softplus"]))
    act = activation[word]
    x = rng.normal(size=(int(rng.integers(8, 24)), sizes[0]))
    y = np.sin(float(rng.uniform(2, 5)) * x.sum(axis=1))
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    params = {
        f"layer{i}": {
            "kernel": jnp.asarray(rng.normal(size=(a, b)) * math.sqrt(2 / a), jnp.float32),
            "bias": jnp.asarray(0.1 * rng.normal(size=b), jnp.float32),
        }
        for i, (a, b) in enumerate(itertools.pairwise(sizes), 1)
    }

    def loss(params):
        h = x
        for i in range(1, len(sizes)):
            layer = params[f"layer{i}"]
            h = h @ layer["kernel"] + layer["bias"][None, :]
            h = h if i == len(sizes) - 1 else act(h)
        return jnp.mean(jnp.square(h[:, 0] - y))

    return f"{word} {'-'.join(map(str, sizes))}", loss, params


def _product(rng):
    """The model of the catapult."""
    width = int(rng.integers(10, 40))
    u, v = (jnp.asarray(part, jnp.float32) for part in rng.normal(size=(2, width)))

    def loss(params):
        return jnp.square(params["u"] @ params["v"] / math.sqrt(width)) / 2

    return f"product of {width}", loss, {"u": u, "v": v}


def _landscape(rng):
    which = str(rng.choice(["two_well", "rosenbrock", "bowl"]))
    if which == "two_well":
        return which, landscapes.two_well, jnp.asarray(rng.uniform(-1.5, 1.5), jnp.float32)
    if which == "rosenbrock":
        return which, landscapes.rosenbrock, jnp.asarray(rng.uniform(-1, 1, size=2), jnp.float32)
    curvatures = jnp.asarray(np.exp(rng.uniform(-2, 3, size=5)), jnp.float32)
    start = jnp.asarray(rng.normal(size=5), jnp.float32)
    return which, lambda w: jnp.sum(curvatures * w**2) / 2, start


def hessian(loss, params) -> np.ndarray:
    """Return the exact Hessian, [n, n], in float64."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    return np.asarray(jax.jit(jax.hessian(lambda w: loss(unravel(w))))(flat), np.float64)


@dataclasses.dataclass(frozen=True)
class Truth:
    """What an exact Hessian says of a descent.

    Attributes:
      ratios: ``[steps + 1]``, the sharpness over the critical one; NaN once it has diverged.
      crossing: the first step at which it is above 1, or None.
      points: ``[steps + 1, n]``, the parameters.
      states: the optimizer's states, each leaf ``[steps + 1, ...]``.
      unravel: from a point to parameters.
    """

    ratios: np.ndarray
    crossing: int | None
    points: np.ndarray
    states: Any
    unravel: Callable[[jax.Array], Any]


def truth(made: Made) -> Truth:
    """Descend with optax alone, and take the exact Hessian at every step."""
    flat, unravel = jax.flatten_util.ravel_pytree(made.params)
    optimizer = made.optimizer

    def loss(w):
        return made.loss(unravel(w))

    @jax.jit
    def run(flat):
        def step(carry, _):
            w, state = carry
            with jax.numpy_dtype_promotion("standard"):
                updates, after = optimizer.update(jax.grad(loss)(w), state, w)
            return (optax.apply_updates(w, updates), after), (w, state, jax.hessian(loss)(w))

        return jax.lax.scan(step, (flat, optimizer.init(flat)), length=made.steps + 1)[1]

    points, states, curvatures = jax.device_get(run(flat))
    ratios = np.full(made.steps + 1, np.nan)
    for t, matrix in enumerate(curvatures.astype(np.float64)):
        if np.isfinite(matrix).all():
            ratios[t] = _ratio(made, matrix, states, t)
    above = np.flatnonzero(ratios > 1)
    return Truth(ratios, int(above[0]) if above.size else None, points, states, unravel)


def _ratio(made: Made, matrix: np.ndarray, states: Any, t: int) -> float:
    if made.kind != "adam":
        return float(np.linalg.eigvalsh(matrix)[-1]) * made.eta / edge(made.kind)
    nu = np.asarray(states[0].nu[t], np.float64)
    if t == 0:
        return math.nan  # before its first step it has no preconditioner
    root = np.sqrt(DECAY * nu / (1 - DECAY ** (t + 1))) + EPS
    scaled = matrix / np.sqrt(root[:, None] * root[None, :])
    top = float(np.linalg.eigvalsh(scaled)[-1])
    return top * made.eta * (1 - BETA) / (2 + 2 * BETA) / (1 - BETA ** (t + 1))


def survives(made: Made, found: Truth, since: int, factor: float, steps: int) -> bool:
    """Run on from a step at another rate, by a loop of its own: does it end no higher?"""
    optimizer = OPTIMIZERS[made.kind](made.eta * factor)
    loss = jax.jit(lambda w: made.loss(found.unravel(w)))
    w = jnp.asarray(found.points[since])
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[since]), found.states)

    @jax.jit
    def step(w, state):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        return optax.apply_updates(w, updates), state

    first, values = float(loss(w)), []
    for _ in range(steps):
        w, state = step(w, state)
        values.append(float(loss(w)))
    # Where it has converged already, the last digits of its loss are rounding.
    return bool(np.isfinite(values).all()) and values[-1] <= 1.01 * first
