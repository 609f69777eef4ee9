"""Rows about what it costs to have a training watched, beside the same steps alone.

    python experiments/benchmarks/recording.py     # 30 pairs each: median ratios, their intervals

Steps of `xray.Recorder`, donated and not, alternate with the same steps. What `training.fit` costs
with ``recorder=`` is not a row: until a step is not finite it runs the program that it always ran.
"""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Scale, close
from verbs import Block

from chainrule import losses, xray
from chainrule.models import lenet, vgg

PAIRS = 30
TARGET = 1.05
OPTIMIZER = optax.adam(1e-3)
State = Any


def recorded(scale: Scale) -> Iterator[Row]:
    """Take some steps that are watched, against the same steps alone."""
    for name, (step, state, batch, count) in _trainings(scale.quick).items():
        yield Row(
            f"recorder: {name}, {count} steps",
            _watched(step, state, batch, count),
            {"the steps alone": functools.partial(_alone, step, state, batch, count)},
            close,
            TARGET,
        )


def _alone(step: Callable[..., Any], state: State, batch: Any, count: int) -> np.ndarray:
    state = jax.tree.map(jnp.copy, state)
    for _ in range(count):
        state, loss = step(state, batch)
    return np.asarray(loss)


def _watched(step: Callable[..., Any], state: State, batch: Any, count: int) -> Callable[[], Any]:
    """Return the work, its first steps done: what they find out costs the later ones nothing.

    A training is long: the last steps, which `finish` looks at one by one, are left out.
    """
    recorder = xray.Recorder(tempfile.gettempdir())
    watched = recorder.watch(step)

    def work() -> np.ndarray:
        return _alone(watched, state, batch, count)

    _alone(watched, state, batch, 3)
    return work


def _trainings(quick: bool) -> dict[str, tuple[Callable[..., Any], State, Any, int]]:
    """Return a step, its state, a batch and how many steps, by name."""
    found = {}
    for name, donated in (("", ()), (", donated", (0,))):
        digits = jax.random.normal(jax.random.key(0), (100, *lenet.INPUT_SHAPE))
        labels = jnp.arange(100) % 10
        loss, params = _images(lenet.apply, lenet.init(jax.random.key(1)))
        step = _step(loss, donated)
        found[f"LeNet, batch 100{name}"] = step, _state(params), (digits, labels), 30

        images = jax.random.normal(jax.random.key(0), (32, 32, 32, 3))
        init = functools.partial(vgg.init, config="A", image_size=32, classes=10, hidden=(512,))
        loss, params = _images(vgg.apply, jax.jit(init)(jax.random.key(1)))
        step = _step(loss, donated)
        found[f"VGG11, 32 x 32, batch 32{name}"] = step, _state(params), (images, labels[:32]), 3

        model = nn.Sequential([Block() for _ in range(1 if quick else 6)])
        tokens = jax.random.normal(jax.random.key(0), (16, 64, 64))
        params = model.init(jax.random.key(1), tokens)
        step = _step(functools.partial(_squares, model), donated)
        found[f"transformer of flax, 6 blocks{name}"] = step, _state(params), (tokens, tokens), 12
    return found


def _images(apply: Callable[..., Any], params: Any) -> tuple[Callable[..., Any], Any]:
    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(apply(params, images), labels)

    return loss, params


def _squares(model: nn.Module, params: Any, tokens: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(model.apply(params, tokens) - targets))


def _state(params: Any) -> State:
    return params, OPTIMIZER.init(params)


def _step(loss: Callable[..., Any], donated: tuple[int, ...]) -> Callable[..., Any]:
    @functools.partial(jax.jit, donate_argnums=donated)
    def step(state: State, batch: Any) -> tuple[State, jax.Array]:
        params, moments = state
        value, grads = jax.value_and_grad(loss)(params, *batch)
        moved, moments = OPTIMIZER.update(grads, moments, params)
        return (optax.apply_updates(params, moved), moments), value

    return step


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Return the median, and the ends of its 95 % interval, by order statistics.

    Of n numbers it goes from the k-th to the k-th from the end, k the largest with at most 2.5 % of
    a fair coin's n throws below it.
    """
    ordered, count = np.sort(ratios), len(ratios)
    chances = np.cumsum([_choose(count, k) * 0.5**count for k in range(count + 1)])
    below = int(np.searchsorted(chances, 0.025))
    return float(np.median(ordered)), float(ordered[below - 1]), float(ordered[count - below])


def _choose(n: int, k: int) -> float:
    return float(np.prod([(n - i) / (i + 1) for i in range(k)]))


def main() -> None:
    """Print the ratio of each training, 30 pairs, and what the recorder holds."""
    for name, (step, state, batch, count) in _trainings(quick=False).items():
        alone_way = functools.partial(_alone, step, state, batch, count)
        ways = [_watched(step, state, batch, count), alone_way]
        found: dict[str, list[float]] = {"seconds": [], "of the processor": []}
        for pair in range(PAIRS + 1):
            order = ways[:: 1 if pair % 2 else -1]
            taken = {way: _taken(way) for way in order}
            if pair:  # the first one compiles
                pairs = zip(*(taken[way] for way in ways), strict=True)
                for kind, (watched, alone) in zip(found, pairs, strict=True):
                    found[kind].append(watched / alone)
        said = [
            f"{kind} {middle:.3f} ({low:.3f} to {high:.3f})"
            for kind, ratios in found.items()
            for middle, low, high in [interval(np.asarray(ratios))]
        ]
        print(
            f"{name}: {', '.join(said)}; {1e3 * taken[ways[1]][0] / count:.1f} ms a step; holds "
            f"{_held(step, state, batch) / 2**20:.1f} MiB, the state is "
            f"{sum(x.nbytes for x in jax.tree.leaves(state)) / 2**20:.1f}",
            flush=True,
        )


def _taken(way: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds that it takes, and those of the processor, all threads together."""
    clock, processor = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - clock, time.process_time() - processor


def _held(step: Callable[..., Any], state: State, batch: Any) -> int:
    """Return how many bytes a recorder holds after a few steps."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = xray.Recorder(folder)
        _alone(recorder.watch(step), state, batch, 4)
        return recorder.held


ROWS = {"recorder": recorded}

if __name__ == "__main__":
    main()
