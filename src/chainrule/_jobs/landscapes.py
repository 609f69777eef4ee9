"""The landscapes of the explorer, each swept at many rates by every optimizer from every start."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import descent, landscapes
from chainrule.explorer import Problem, Sweep

Optimizers = Mapping[str, descent.OptimizerFactory]


class Landscape(NamedTuple):
    """A loss of one or two parameters, and what of it is shown.

    Attributes:
      name: for file names.
      title: for the reader.
      about: a sentence or two.
      loss: ``loss(w [axes]) -> scalar``.
      axes: what the parameters are called.
      starts: ``[starts][axes]``.
      rates: the lowest and the highest.
      chosen: the two to begin with.
      steps: how many.
      window: lowest and highest value of each axis; two have one scale, and fill the page where
        the first spans 1.42 times the second.
      minima: ``[k][axes]``, the first one the lowest; none where they are not known.
    """

    name: str
    title: str
    about: str
    loss: Callable[[jax.Array], jax.Array]
    axes: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]
    rates: tuple[float, float]
    chosen: tuple[float, float]
    steps: int
    window: tuple[tuple[float, float], ...]
    minima: tuple[tuple[float, ...], ...]


# The roots of two_well's derivative.
_RIGHT, _, _LEFT = sorted(np.roots([2, 0, -2, 0.2]).real, reverse=True)

TABLE = (
    Landscape(
        "two_well",
        "two wells",
        "Half of (w² - 1)² and a fifth of w: a deep well at -1.05, where the curvature is 4.57, a "
        "shallow one at 0.95, where it is 3.37. A rate beyond the edge 2 / 4.57 = 0.437 cannot "
        "come to rest in the deep one.",
        lambda w: landscapes.two_well(w[0]),
        ("w",),
        ((-0.5,), (0.5,), (1.4,)),
        (0.005, 1.25),
        (0.125, 0.5),
        40,
        ((-1.6, 1.6),),
        ((_LEFT,), (_RIGHT,)),
    ),
    Landscape(
        "quadratic",
        "parabola",
        "Half of w²: plain descent multiplies w by 1 - η at every step. It creeps in below η = 1, "
        "is there at once at 1, swings in up to the edge 2, and out beyond.",
        landscapes.quadratic,
        ("w",),
        ((1.0,),),
        (0.02, 4.0),
        (0.5, 1.9),
        40,
        ((-2.0, 2.0),),
        ((0.0,),),
    ),
    Landscape(
        "bowl",
        "bowl",
        "A parabola in two directions, of curvature 1 along u and 10 along v. The steep direction "
        "sets the edge, 2 / 10, and the flat one how long it takes. From (2, 0) the steep one is "
        "never felt.",
        lambda w: landscapes.quadratic(w * jnp.sqrt(jnp.asarray([1.0, 10.0]))),
        ("u", "v"),
        ((-2.0, 1.2), (2.0, 0.0)),
        (0.002, 3.0),
        (0.03, 0.19),
        40,
        ((-2.92, 2.92), (-2.0, 2.0)),
        ((0.0, 0.0),),
    ),
    Landscape(
        "coupled",
        "coupled",
        "(a - 1)² + (b + 1)² + (a - b)²: the coupling pulls a and b together, and the minimum away "
        "from (1, -1) to (1/3, -1/3). The curvatures are 2 and 6, the edge 1/3.",
        lambda w: landscapes.coupled({"a": w[0], "b": w[1]}),
        ("a", "b"),
        ((-1.2, 1.0), (0.5, -0.5)),
        (0.002, 2.0),
        (0.05, 0.32),
        40,
        ((-2.15, 2.81), (-2.0, 1.4)),
        ((1 / 3, -1 / 3),),
    ),
    Landscape(
        "rosenbrock",
        "Rosenbrock's valley",
        "(1 - u)² + 100 (v - u²)²: a curved valley, at its end 2,500 times flatter than its walls. "
        "The walls set the edge, near 0.002 at the minimum; with a rate below it the way along the "
        "floor takes thousands of steps.",
        landscapes.rosenbrock,
        ("u", "v"),
        ((-1.2, 1.0), (0.0, 2.0)),
        (1e-4, 1.0),
        (0.001, 0.004),
        100,
        ((-2.92, 2.92), (-1.0, 3.0)),
        ((1.0, 1.0),),
    ),
)


def spread(low: float, high: float, count: int, marked: Sequence[float]) -> np.ndarray:
    """Return rates evenly spaced in their logarithm, the nearest ones moved onto those marked."""
    rates = np.geomspace(low, high, count)
    for eta in marked:
        if low <= eta <= high:
            rates[np.abs(np.log(rates / eta)).argmin()] = eta
    return rates.astype(np.float32)


def problems(
    optimizers: Optimizers, count: int, etas: Sequence[float], say: Callable[[str], Any]
) -> Iterator[Problem]:
    """Sweep over every landscape.

    Args:
      optimizers: by name, each a function from a learning rate.
      count: rates a sweep.
      etas: rates that are among them wherever they fit.
      say: is told what is swept, before it is.

    Yields:
      What the explorer shows, with every number recorded.
    """
    for one in TABLE:
        yield problem(one, optimizers, count, etas, say)


def problem(
    one: Landscape,
    optimizers: Optimizers,
    count: int,
    etas: Sequence[float],
    say: Callable[[str], Any],
) -> Problem:
    """Sweep over one landscape by every optimizer from every start."""
    rates = spread(*one.rates, count, [*one.chosen, *etas])
    sweeps: list[Sweep] = []
    for name, optimizer in optimizers.items():
        say(f"{one.title}: {count} rates with {name} ...")
        sweeps += _sweeps(one, name, optimizer, rates)
    if one.minima:
        floor = float(one.loss(jnp.asarray(one.minima[0], jnp.float32)))
    else:
        floor = min(0.0, *(float(np.nanmin(sweep.loss)) for sweep in sweeps))
    return Problem(
        name=one.name,
        title=one.title,
        about=one.about,
        rates=rates,
        sweeps=sweeps,
        chosen=one.chosen,
        floor=floor,
        axes=one.axes,
        grid=_grid(one, jax.jit(jax.vmap(one.loss))),
        minima=one.minima,
    )


def _sweeps(
    one: Landscape, name: str, optimizer: descent.OptimizerFactory, rates: np.ndarray
) -> Iterator[Sweep]:
    def observe(w: jax.Array) -> dict[str, jax.Array]:
        curvatures = jnp.linalg.eigvalsh(jax.hessian(one.loss)(w))
        return {"slope": jax.grad(one.loss)(w), "sharpness": curvatures[-1]}

    run = functools.partial(
        descent.sweep,
        one.loss,
        etas=jnp.asarray(rates),
        steps=one.steps,
        optimizer=optimizer,
        record_params=True,
        observe=observe,
    )
    # One program for all starts.
    starts = jnp.asarray(one.starts, jnp.float32)
    traces = jax.device_get(jax.jit(jax.vmap(run))(starts))
    factor: Any = descent.edge(1.0, optimizer)
    factors = [factor] * len(one.starts)
    if np.isnan(factor):
        factors = jax.device_get(
            jax.jit(jax.vmap(functools.partial(_moving, one, optimizer, rates)))(starts)
        )
    for i, start in enumerate(one.starts):
        trace = jax.tree.map(lambda leaf, i=i: leaf[i], traces)
        sharpness = trace.observed["sharpness"]
        lowest = np.argmin(np.nan_to_num(trace.loss[:, -1], nan=np.inf))
        values = ", ".join(f"{x:g}" for x in start)
        names = ", ".join(one.axes)
        yield Sweep(
            optimizer=name,
            start=f"{names} = {values}" if len(start) == 1 else f"({names}) = ({values})",
            loss=trace.loss,
            grad_norm=trace.grad_norm,
            verdicts=descent.verdict(trace),
            edges={
                "edge at the start": descent.edge(float(sharpness[0, 0]), optimizer),
                "edge at the lowest point": descent.edge(float(sharpness[lowest, -1]), optimizer),
            },
            factor=factors[i],
            params=trace.params,
            slopes=trace.observed["slope"],
            sharpness=sharpness,
        )


def _moving(
    one: Landscape, optimizer: descent.OptimizerFactory, rates: np.ndarray, start: jax.Array
) -> jax.Array:
    """Return ``[rates, steps + 1]``, the rate times the critical sharpness at each step."""

    def lane(eta: jax.Array) -> jax.Array:
        watched = descent.watch(one.loss, start, optimizer(eta), one.steps, every=1)
        return eta * watched.critical

    return jax.vmap(lane)(jnp.asarray(rates))


def _grid(one: Landscape, values: Callable[[Any], jax.Array]) -> tuple[np.ndarray, ...]:
    if len(one.axes) == 1:
        w = np.linspace(*one.window[0], 241, dtype=np.float32)
        return w, np.asarray(values(w[:, None]))
    # Fine enough for the floor of a narrow valley.
    u, v = (np.linspace(low, high, 241, dtype=np.float32) for low, high in one.window)
    points = np.stack(np.meshgrid(u, v), axis=-1)
    return u, v, np.asarray(jax.vmap(values)(points))
