r"""One hidden layer approximates any continuous function: how well, with how many units?

Three functions of the distance r from the origin, on the interval [0, 1] (where r is x) and on the
square [0, 1]^2: a smooth one, one with a kink, and one that oscillates. The network is

    f(x) = sum over units u of  v_u sigma(w_u . x + b_u) + c

with tanh or ReLU for sigma. The theorem (Cybenko 1989; Leshno, Lin, Pinkus and Schocken 1993: any
sigma but a polynomial) promises weights for any accuracy; it says neither how many units they take
nor how to find them. How they are found decides what one sees, so three ways are shown:

- *drawn*: every unit gets a direction, a steepness and a place in the domain at random. The outputs
  are linear in v and c, so that the best v and c are the solution of one linear system;
- *trained*: adam on w and b from there, with the best v and c at every step. (Adam on all weights
  at once stops improving long before the units are used up.)
- *written down*, for ReLU on the interval, and without any search: the interval in as many equal
  pieces as there are units, and at the start of each a unit that adds the change of slope. For a
  function with a bounded second derivative its error falls with the square of the units.

Without an activation, or with an affine one, the network is one affine function whatever its units:
a single hidden *linear* layer is no approximator, and that floor is drawn too.

    python experiments/universal_approximation.py

Errors are root mean squares on a grid finer than the one that is fitted, over the standard
deviation of the function: the best constant has 1. The largest error, which the theorem is about,
is kept beside them. In float64: the linear systems of many similar units are nearly singular.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, Positive, Repeated, command, now

from chainrule import descent, losses, runs, training
from chainrule.models import mlp
from chainrule.ops import activations
from chainrule.plots import capacity as plots

FUNCTIONS = {  # of the distance from the origin
    "smooth": lambda r: jnp.exp(-4 * r**2),
    "kink": lambda r: jnp.exp(-6 * jnp.abs(r - 0.6)),
    "oscillating": lambda r: jnp.sin(6 * jnp.pi * r),
}
FORMULAS = {  # of x on the interval, of the distance r on the square
    "smooth": r"$e^{-4 %s^2}$",
    "kink": r"$e^{-6 |%s - 0.6|}$",
    "oscillating": r"$\sin\, 6 \pi %s$",
}
ACTIVATIONS = {"tanh": activations.tanh, "ReLU": activations.relu}
POINTS = {1: (257, 1001), 2: (25, 65)}  # a side of the grid that is fitted, and of the finer one
RIDGE = 1e-9  # on the output weights: the linear system needs it to be regular
CONSOLE = Console()


@dataclasses.dataclass(frozen=True)
class Config(Repeated):
    """The settings of the run."""

    units: tuple[Count, ...] = (2, 4, 8, 16, 32, 64)
    """Numbers of hidden units, rising."""
    shown: tuple[Count, ...] = (2, 4, 8, 32)
    """Those whose fits are drawn."""
    dimensions: tuple[Literal[1, 2], ...] = (1, 2)
    """1 for the interval, 2 for the square."""
    steps: Count = 500
    """Steps of adam on the hidden weights."""
    eta: Positive = 0.03
    """Its learning rate at the start; it falls to 0 along half a cosine."""
    steepness: Positive = 20.0
    """The steepest unit as drawn, per unit of length; the least steep has 1."""
    seeds: Count = 5
    """How many draws of the hidden units."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    if not set(config.shown) <= set(config.units):
        raise ValueError(f"shown {config.shown} must be among units {config.units}")
    with (
        jax.enable_x64(True),
        config.start("universal_approximation", about=__doc__) as run,
    ):
        rows = [_domain(config, run, dimension) for dimension in config.dimensions]
        run.save_figure("errors", plots.errors(config.units, rows))
    return run.path


# --- the functions and the networks ------------------------------------------------------------


def grid(dimension: int, points: int):
    """Return the points of a grid on the unit cube, ``[points ** dimension, dimension]``."""
    sides = jnp.meshgrid(*[jnp.linspace(0, 1, points)] * dimension, indexing="ij")
    return jnp.stack([side.ravel() for side in sides], axis=1)


def values(name: str, inputs):
    """Return one of the functions at some points."""
    return FUNCTIONS[name](jnp.linalg.norm(inputs, axis=1))


def draw(key, dimension: int, units: int, steepness: float):
    """Draw a hidden layer whose units all have their corner, or their middle, in the domain."""
    towards, steep, where = jax.random.split(key, 3)
    direction = jax.random.normal(towards, (dimension, units))
    direction = direction / jnp.linalg.norm(direction, axis=0)[None, :]
    kernel = direction * jax.random.uniform(steep, (1, units), minval=1, maxval=steepness)
    place = jax.random.uniform(where, (dimension, units))
    return {"kernel": kernel, "bias": -jnp.sum(kernel * place, axis=0)}


def complete(hidden, inputs, targets, activation):
    """Add to a hidden layer the output layer that is best by least squares, with a tiny ridge."""
    x = activation(mlp.apply({"layer1": hidden}, inputs))
    x = jnp.append(x, jnp.ones((len(x), 1)), axis=1)
    gram = x.T @ x / len(x) + RIDGE * jnp.eye(x.shape[1])
    best = jax.scipy.linalg.solve(gram, x.T @ targets / len(x), assume_a="pos")
    return {"layer1": hidden, "layer2": {"kernel": best[:-1, None], "bias": best[-1:]}}


def train(hidden, inputs, targets, activation, config: Config):
    """Return the hidden layer after adam, the output weights being the best ones all along."""

    def loss(hidden):
        # At a minimum over the output weights the loss does not change with them, so that their
        # own dependence on the hidden weights adds nothing to the gradient.
        best = jax.lax.stop_gradient(complete(hidden, inputs, targets, activation)["layer2"])
        params = {"layer1": hidden, "layer2": best}
        outputs = mlp.apply(params, inputs, activation=activation)[:, 0]
        return losses.squared_error(outputs, targets) + RIDGE * optax.tree.vdot(best, best)

    optimizer = training.optimizer("adam", config.eta, schedule="cosine", steps=config.steps)
    trace = descent.gradient_descent(loss, hidden, optimizer, config.steps, record_params=False)
    return trace.final_params


def write_down(name: str, units: int):
    """Return the ReLU network that joins the function's values at equal distances by lines."""
    knots = jnp.linspace(0, 1, units + 1)
    heights = values(name, knots[:, None])
    slopes = jnp.diff(heights) * units
    return {
        "layer1": {"kernel": jnp.ones((1, units)), "bias": -knots[:-1]},
        "layer2": {"kernel": jnp.diff(slopes, prepend=0)[:, None], "bias": heights[:1]},
    }


def errors(outputs, targets):
    """Return the root mean square and the largest error, over the deviation of the targets."""
    off = jnp.abs(outputs - targets)
    return jnp.stack([jnp.sqrt(jnp.mean(off**2)), jnp.max(off)]) / jnp.std(targets)


# --- one domain --------------------------------------------------------------------------------


def _domain(config: Config, run: runs.Run, dimension: int) -> list[plots.Errors]:
    """Fit every function on one domain; return its panels of the figure of errors."""
    coarse, fine = (grid(dimension, points) for points in POINTS[dimension])
    targets, truth = (
        jnp.stack([values(name, points) for name in FUNCTIONS]) for points in (coarse, fine)
    )
    keys = jnp.stack([jax.random.key(config.seed + i) for i in range(config.seeds)])
    drawn = jax.jit(jax.vmap(draw, (0, None, None, None)), static_argnums=(1, 2))(
        keys, dimension, max(config.units), config.steepness
    )

    def answer(params, truth, activation):
        outputs = mlp.apply(params, fine, activation=activation)[:, 0]
        return outputs, errors(outputs, truth)

    def fit(hidden, targets, truth, activation):
        """Return outputs and errors of the network as drawn, and as trained."""
        trained = train(hidden, coarse, targets, activation, config)
        both = jax.tree.map(lambda *ends: jnp.stack(ends), hidden, trained)
        params = jax.vmap(complete, (0, None, None, None))(both, coarse, targets, activation)
        return jax.vmap(answer, (0, None, None))(params, truth, activation)

    clock = time.perf_counter()
    found, fits = {}, {}
    for name, activation in ACTIVATIONS.items():
        of_seeds = jax.vmap(functools.partial(fit, activation=activation), (0, None, None))
        program = jax.jit(jax.vmap(of_seeds, (None, 0, 0)))
        fits[name], by_size = {}, []
        now(f"[0, 1]^{dimension}: {name} of {', '.join(map(str, config.units))} units")
        for units in config.units:
            # The units of a small network are the first ones of a large one.
            hidden = jax.tree.map(lambda leaf, units=units: leaf[..., :units], drawn)
            compiled = run.compile(program, hidden, targets, truth)
            outputs, numbers = jax.device_get(compiled(hidden, targets, truth))
            by_size.append(numbers)
            fits[name][units] = outputs[:, 0, 1]
        found[name] = np.stack(by_size)  # [sizes, functions, seeds, drawn and trained, 2 errors]
    CONSOLE.print(
        f"[0, 1]^{dimension}: {len(found) * len(config.units) * len(FUNCTIONS) * config.seeds} "
        f"networks in {time.perf_counter() - clock:.1f} s, compilation included"
    )

    identity = {"kernel": jnp.eye(dimension), "bias": jnp.zeros(dimension)}

    @functools.partial(jax.jit, static_argnums=0)
    def references(name, targets, truth):
        """Return the errors of the networks that are written down, and of the best affine one."""
        networks = [write_down(name, units) for units in config.units if dimension == 1]
        best = complete(identity, coarse, targets, activations.affine)
        return (
            [answer(params, truth, activations.relu)[1][0] for params in networks],
            answer(best, truth, activations.affine)[1][0],
        )

    panels = []
    variable, power = ("x", "") if dimension == 1 else ("r", "^2")
    for i, (name, formula) in enumerate(FORMULAS.items()):
        written, affine = jax.device_get(references(name, targets[i], truth[i]))
        panels.append(
            plots.Errors(
                title=f"{formula % variable} on $[0, 1]{power}$",
                drawn={label: numbers[:, i, :, 0, 0] for label, numbers in found.items()},
                trained={label: numbers[:, i, :, 1, 0] for label, numbers in found.items()},
                written=np.asarray(written) if written else None,
                affine=float(affine),
            )
        )
    largest = {label: numbers[:, :, :, 1, 1] for label, numbers in found.items()}
    _report(config, run, f"[0, 1]^{dimension}", panels, largest)
    _draw_fits(config, run, dimension, np.asarray(fine), np.asarray(truth), fits)
    return panels


def _draw_fits(config: Config, run: runs.Run, dimension: int, fine, truth, fits) -> None:
    shown = {
        label: {units: found[units] for units in config.shown} for label, found in fits.items()
    }
    if dimension == 1:
        targets = dict(zip((formula % "x" for formula in FORMULAS.values()), truth, strict=True))
        run.save_figure("fits_interval", plots.fits(fine[:, 0], targets, shown))
        return
    kink = list(FUNCTIONS).index("kink")
    side = POINTS[dimension][1]
    squares = {
        label: {units: values[kink].reshape(side, side) for units, values in found.items()}
        for label, found in shown.items()
    }
    title = FORMULAS["kink"] % "r" + "\n" + r"$r^2 = x^2 + y^2$"
    figure = plots.surfaces(truth[kink].reshape(side, side), squares, title=title)
    run.save_figure("fits_square", figure)


def _report(
    config: Config,
    run: runs.Run,
    where: str,
    panels: list[plots.Errors],
    largest: dict[str, np.ndarray],
) -> None:
    table = Table(
        title=f"{where}: error over the deviation, median of "
        f"{runs.counted(config.seeds, 'seed')} from {config.seed}",
    )
    table.add_column("function", no_wrap=True)
    kinds = [f"{label}, {how}" for label in ACTIVATIONS for how in ("drawn", "trained")]
    for column in ("units", *kinds, "written"):
        table.add_column(column, justify="right")
    run.result(f"{where}: units", config.units)
    for i, (name, panel) in enumerate(zip(FUNCTIONS, panels, strict=True)):
        run.result(f"{where}, {name}: error of the best affine function", panel.affine)
        for label in ACTIVATIONS:
            prefix = f"{where}, {name}, {label}"
            run.result(
                f"{prefix}, drawn: error by units, median", np.median(panel.drawn[label], axis=1)
            )
            run.result(f"{prefix}, trained: error by units and seed", panel.trained[label])
            run.result(
                f"{prefix}, trained: largest error by units, median",
                np.median(largest[label][:, i], axis=1),
            )
        if panel.written is not None:
            run.result(f"{where}, {name}, ReLU, written down: error by units", panel.written)
        for j, units in enumerate(config.units):
            cells = [
                f"{np.median(errors[label][j]):.2g}"
                for label in ACTIVATIONS
                for errors in (panel.drawn, panel.trained)
            ]
            written = "" if panel.written is None else f"{panel.written[j]:.2g}"
            last = j == len(config.units) - 1
            table.add_row(name if j == 0 else "", str(units), *cells, written, end_section=last)
    CONSOLE.print(table)


if __name__ == "__main__":
    command(main, Config, __doc__)
