"""Gradient descents compared: on landscapes, where every step can be drawn, and on digits."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import descent, landscapes, runs
from chainrule._jobs import explore, network
from chainrule._jobs.optimizers import OPTIMIZERS
from chainrule._jobs.settings import Count, NotNegative, OnDigits, Positive, Repeated, Some
from chainrule._jobs.wording import CONSOLE, columns_of, edge_text, print_table
from chainrule.plots import descent as plots
from chainrule.plots import rate_colors, trajectory

ABOUT = """Compare gradient descents: eta = 0.125 against eta = 0.5.

On a landscape with two wells, where every step can be drawn, and on the notes' network on digits.
"""
STARTS: dict[str, Any] = {
    "quadratic": jnp.asarray(1.0),
    "rosenbrock": jnp.asarray([-1.2, 1.0]),
    "coupled": {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)},
}


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    etas: tuple[Positive, ...] = (0.125, 0.5)
    """The learning rates to compare."""
    losses: tuple[Literal["two_well", "digits", "quadratic", "rosenbrock", "coupled"], ...] = (
        "two_well",
        "digits",
    )
    """What to descend on."""
    optimizer: Literal["sgd", "momentum", "nesterov", "rmsprop", "adam"] = "sgd"
    """Momentum is 0.9; the other settings are optax's."""
    steps: Count = 200
    """Steps on the digits and on every landscape but two_well."""
    frames: Count = 12
    """Iterates to draw on two_well, the start included."""
    starts: tuple[float, ...] = (-0.5, 0.5)
    """Starts on two_well: the first rate leaves from all of them, the others from the first."""
    reference: NotNegative | None = 0.01
    """A rate to show the others next to on the digits."""
    sweep_rates: Count = 12
    """Rates of a sweep over the digits from the first seed, from 0.004 to 0.6."""
    sweep_steps: Count = 60
    """Its steps."""
    seeds: Count = 5
    """How many initialisations of the network."""
    samples: Count = 1000
    """How many training digits: the first ones."""
    hidden: Count = 200
    """Hidden units of the network."""
    explore: bool = False
    """Leave a page to play with instead, explorer.html, and open it where there is a display."""
    explore_rates: Count = 200
    """Rates of its picture of all rates on a landscape."""
    explore_digits_rates: Some = 40
    """Rates of each sweep over the digits' network; 0 to leave the network out."""
    explore_steps: Count = 60
    """Steps of the network there."""
    explore_optimizers: tuple[Literal["sgd", "momentum", "nesterov", "rmsprop", "adam"], ...] = (
        "sgd",
        "momentum",
        "adam",
    )
    """The optimizers to choose from on the digits; on a landscape all are there."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    series: dict[str, Any] = {}
    with config.start("descent", about=ABOUT) as run:
        if config.explore:
            explore.course(config, run)
        for name in () if config.explore else config.losses:
            CONSOLE.print(f"{name} ...")
            if name == "two_well":
                series |= _two_well(config, run)
            elif name == "digits":
                series |= network.compare(config, run)
            else:
                series |= _landscape(config, run, name)
        if series:
            run.save_trace(series)
    return run.path


# --- one dimension, where every step can be drawn ----------------------------------------------


def _two_well(config: Config, run: runs.Run) -> dict[str, Any]:
    optimizer = OPTIMIZERS[config.optimizer]
    pairs = [(config.etas[0], start) for start in config.starts]
    pairs += [(eta, config.starts[0]) for eta in config.etas[1:]]
    loss = landscapes.two_well

    columns: dict[str, Any] = {}
    walks, rows = [], []
    for eta, start in pairs:
        trace = descent.sweep(
            loss,
            jnp.asarray(start),
            jnp.asarray([eta]),
            config.frames - 1,
            optimizer=optimizer,
            record_params=True,
        )
        w = np.asarray(trace.params[0])
        walks.append((eta, w, np.asarray(trace.loss[0])))
        columns |= columns_of("two_well", eta, trace, 0, f"start={start:g}")
        rows.append((f"{eta:g}", f"{start:g}", descent.summary(trace)[0], f"{w[-1]:.4f}"))
        run.result(f"two_well, eta {eta:g} from {start:g}: verdict", rows[-1][2].verdict)
        run.result(f"two_well, eta {eta:g} from {start:g}: final w", w[-1])
    print_table(f"two wells, {config.frames - 1} steps", ("start", "final w"), rows)

    visited = np.concatenate([w for _, w, _ in walks])
    points = np.linspace(visited.min() - 0.35, visited.max() + 0.35, 241, dtype=np.float32)
    curve = np.asarray(jax.vmap(loss)(points))
    drawn = [_trajectory(loss, *walk, points) for walk in walks]
    run.save_figure("two_well", trajectory.frames(drawn, points, curve))
    run.save_text("two_well.html", trajectory.animation(drawn, points, curve))

    _two_well_sweep(config, run)
    return columns


def _two_well_sweep(config: Config, run: runs.Run) -> None:
    """Sweep over hundreds of rates at once: where do they come to rest?"""
    optimizer, loss = OPTIMIZERS[config.optimizer], landscapes.two_well
    start = jnp.asarray(config.starts[0])
    etas = np.linspace(0.0025, 1.0, 400, dtype=np.float32)
    dense = jax.jit(
        lambda etas: descent.sweep(loss, start, etas, 1000, optimizer=optimizer, record_params=True)
    )
    clock = time.perf_counter()
    trace = run.compile(dense, etas)(etas)
    jax.block_until_ready(trace)
    seconds = time.perf_counter() - clock
    key = jax.random.key(config.seed)
    at_start = descent.edge(float(descent.sharpness(loss, start, key=key)), optimizer)
    rest = trace.params[int(np.argmin(np.nan_to_num(trace.loss[:, -1], nan=np.inf))), -1]
    at_rest = descent.edge(float(descent.sharpness(loss, rest, key=key)), optimizer)
    run.result("two_well: edge at the start", at_start)
    run.result("two_well: edge at the lowest point reached", at_rest)
    CONSOLE.print(
        f"{len(etas)} rates x 1,000 steps in {seconds:.2f} s, compilation included; "
        f"edge at the start w = {start:g}: {edge_text(at_start)}; "
        f"at w = {float(rest):.4f}, the lowest point reached: {edge_text(at_rest)}"
    )
    figure = plots.final_against_rate(
        etas,
        np.asarray(trace.params[:, -60:]),
        edges={
            f"edge at the start, $w = {start:g}$": at_start,
            f"edge at $w = {float(rest):.3f}$": at_rest,
        },
        marked=config.etas,
        stationary={"minimum": -1.0467, "maximum": 0.1010, "minimum ": 0.9456},
    )
    run.save_figure("two_well_sweep", figure)


def _trajectory(loss: Any, eta: float, w: Any, losses: Any, points: Any) -> trajectory.Trajectory:
    """Return a walk with the slope and the quadratic model at each of its iterates."""
    return trajectory.Trajectory(eta, w, losses, *map(np.asarray, _models(w, points, loss, eta)))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _models(w: Any, points: Any, loss: Any, eta: float) -> Any:
    def at(w: Any) -> Any:
        return jax.grad(loss)(w), jax.vmap(descent.quadratic_model(loss, w, eta))(points)

    return jax.vmap(at)(w)


# --- other landscapes --------------------------------------------------------------------------


def _landscape(config: Config, run: runs.Run, name: str) -> dict[str, Any]:
    optimizer = OPTIMIZERS[config.optimizer]
    loss: Callable[..., Any] = getattr(landscapes, name)
    start = STARTS[name]
    trace = descent.sweep(loss, start, jnp.asarray(config.etas), config.steps, optimizer=optimizer)
    key = jax.random.key(config.seed)
    edge = descent.edge(float(descent.sharpness(loss, start, key=key)), optimizer)
    run.result(f"{name}: edge at the start", edge)
    columns: dict[str, Any] = {}
    rows = []
    for lane, (eta, numbers) in enumerate(zip(config.etas, descent.summary(trace), strict=True)):
        columns |= columns_of(name, eta, trace, lane)
        rows.append((f"{eta:g}", numbers))
        run.result(f"{name}, eta {eta:g}: verdict", numbers.verdict)
        run.result(f"{name}, eta {eta:g}: final loss", numbers.final)
    print_table(f"{name}, {config.steps} steps, edge {edge_text(edge)}", (), rows)
    lanes = {
        f"$\\eta$ = {eta:g}": np.asarray(trace.loss[lane])[None]
        for lane, eta in enumerate(config.etas)
    }
    colors = rate_colors(config.etas)
    run.save_figure(name, plots.losses(lanes, colors=colors, ylabel="loss"))
    outcomes = np.asarray([[row[1].final for row in rows], [row[1].peak for row in rows]])
    figure = plots.outcomes(
        np.asarray(config.etas), outcomes[:1], outcomes[1:], np.asarray([edge]), ylabel="loss"
    )
    run.save_figure(f"{name}_sweep", figure)
    return columns
