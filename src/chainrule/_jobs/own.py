"""A loss of the user's in the explorer: its landscape, or recorded sweeps around its edge."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from chainrule import descent
from chainrule._jobs.landscapes import spread
from chainrule.explorer import Landscape, Problem, Sweep, landscape
from chainrule.xray.live.equations import CannotLiveError

_BELOW, _ABOVE = 100.0, 10.0  # how far the rates reach from the edge at the start
_MARGIN = 0.15  # of a window around what it shows


def load(spec: str, start: Sequence[str], found: Any) -> tuple[Callable[..., Any], list[PyTree]]:
    """Return a loss of the parameters alone, and the starts.

    Args:
      spec: what names the loss, for messages.
      start: the numbers of each start, with commas between them; where there are none, what
        ``example_args()`` beside the loss returns.
      found: the loss and its module.

    Raises:
      ValueError: there is no start, or its numbers are none or too many.
    """
    loss, module = found
    given = getattr(module, "example_args", None)
    if given is None and not start:
        raise ValueError(
            f"{spec}: where to start? Give --start=1.5 or --start=-1,2, or define example_args() "
            "beside it, which returns the parameters and whatever else the loss takes"
        )
    first, *rest = given() if given is not None else (None,)
    starts = [_numbers(spec, text, first) for text in start] or [first]
    return lambda params: loss(params, *rest), starts


def _numbers(spec: str, text: str, like: PyTree) -> PyTree:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--start must be numbers with commas between them, not {text!r}"
        ) from None
    if like is None:
        if len(values) > 2:
            raise ValueError(
                f"--start has {len(values)} numbers: one or two, or define example_args() in {spec}"
            )
        return jnp.float32(values[0]) if len(values) == 1 else jnp.asarray(values, jnp.float32)
    vector, tree = jax.flatten_util.ravel_pytree(like)
    if vector.size != len(values):
        raise ValueError(
            f"--start has {len(values)} numbers, but the parameters of {spec} are {vector.size}"
        )
    return tree(jnp.asarray(values, vector.dtype))


def explored(
    name: str,
    loss: Callable[..., Any],
    starts: Sequence[PyTree],
    optimizers: Mapping[str, descent.OptimizerFactory],
    *,
    count: int,
    steps: int,
    say: Callable[[str], Any],
) -> Landscape | Problem:
    """Return the landscape of a loss of one or two numbers, or else recorded sweeps over it.

    Args:
      name: of the loss.
      loss: of the parameters alone.
      starts: the parameters to begin from, of A and of B; of a network the first is taken.
      optimizers: of the recorded sweeps, by name, each a function from a learning rate.
      count: rates a sweep.
      steps: of each descent.
      say: is told what is swept, before it is.

    Raises:
      ValueError: the loss cannot be descended on, or does not stay finite at any rate.
    """
    say(f"{name}: measuring the edge at the start ...")
    sharpness = float(descent.sharpness(loss, starts[0], key=jax.random.key(0)))
    edge = descent.edge(sharpness)
    near = edge if 0 < edge < math.inf else 0.1
    rates, chosen = (near / _BELOW, near * _ABOVE), (near / 4, near * 0.9)
    about = f"{name}, {count} rates around {near:.3g}" + (
        ", its edge at the start." if near == edge else "."
    )
    if sum(np.size(leaf) for leaf in jax.tree.leaves(starts[0])) <= 2:
        made = _landscape(name, about, loss, starts, rates, chosen, count, steps)
        try:
            landscape.programs(made)
        except CannotLiveError as why:
            say(f"{name}: its descents are recorded, for a page cannot compute them: {why}")
        else:
            return made
    return _network(name, about, loss, starts[0], optimizers, rates, chosen, count, steps, say)


def _landscape(
    name: str,
    about: str,
    loss: Callable[..., Any],
    starts: Sequence[PyTree],
    rates: tuple[float, float],
    chosen: tuple[float, float],
    count: int,
    steps: int,
) -> Landscape:
    vector, tree = jax.flatten_util.ravel_pytree(starts[0])
    flat = [jax.flatten_util.ravel_pytree(start)[0] for start in starts]

    def on_axes(w: Any) -> Any:
        return loss(tree(w.astype(vector.dtype)))

    seen = [
        descent.sweep(on_axes, w, spread(*rates, 24, ()), steps, record_params=True) for w in flat
    ]
    losses = np.concatenate([np.ravel(trace.loss) for trace in seen])
    visited = np.concatenate([np.reshape(trace.params, (-1, vector.size)) for trace in seen])
    return Landscape(
        name=name,
        title=name,
        about=about,
        loss=on_axes,
        axes=_names(starts[0]),
        starts=[list(map(float, w)) for w in flat],
        rates=rates,
        chosen=chosen,
        steps=steps,
        window=_window(visited),
        floor=float(np.min(losses, initial=0.0, where=np.isfinite(losses))),
        lanes=count,
    )


def _names(params: PyTree) -> tuple[str, ...]:
    """Return what the one or two numbers are called."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "w"
        size = np.size(leaf)
        names += [name] if size == 1 else [f"{name}[{i}]" for i in range(size)]
    return tuple(names)


def _window(points: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return bounds around most of what was visited, the starts among it; two of one scale."""
    points = points[np.isfinite(points).all(axis=1)]
    low, high = (np.quantile(points, q, axis=0) for q in (0.02, 0.98))
    low, high = np.minimum(low, points[0]), np.maximum(high, points[0])
    room = np.maximum(high - low, 1e-3 * (1 + np.abs(points[0]))) * (0.5 + _MARGIN)
    if len(room) == 2:  # the plot is 1.42 times as wide as high
        room = np.maximum(room, [room[1] * 1.42, room[0] / 1.42])
    middle = (low + high) / 2
    return tuple((float(m - r), float(m + r)) for m, r in zip(middle, room, strict=True))


def _network(
    name: str,
    about: str,
    loss: Callable[..., Any],
    start: PyTree,
    optimizers: Mapping[str, descent.OptimizerFactory],
    bounds: tuple[float, float],
    chosen: tuple[float, float],
    count: int,
    steps: int,
    say: Callable[[str], Any],
) -> Problem:
    rates = spread(*bounds, count, chosen)

    def distance(params: PyTree) -> Any:
        return optax.tree.norm(jax.tree.map(jnp.subtract, params, start))

    sweeps = []
    for optimizer, make in optimizers.items():
        say(f"{name}: {count} rates with {optimizer} ...")
        trace = descent.sweep(loss, start, rates, steps, optimizer=make, observe=distance)
        sharpness = float(descent.sharpness(loss, start, key=jax.random.key(0)))
        sweeps.append(
            Sweep(
                optimizer=optimizer,
                start="its start",
                loss=np.asarray(trace.loss),
                grad_norm=np.asarray(trace.grad_norm),
                verdicts=descent.verdict(trace),
                edges={"edge at the start": descent.edge(sharpness, make)},
                counts={"distance from the start": np.asarray(trace.observed)},
            )
        )
    floor = min(0.0, *(float(np.nanmin(sweep.loss)) for sweep in sweeps))
    return Problem(name, name, about, rates, sweeps, chosen, floor)
