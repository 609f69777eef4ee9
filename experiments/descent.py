"""Compare gradient descents: eta = 0.125 against eta = 0.5.

Two losses by default. On a one-dimensional landscape with two wells, where every step can be drawn:
a small rate creeps into the well it starts in, a large one overshoots. And on the notes' network
on real digits (784-200-1, ReLU, mean squared error, the first 1,000 training digits), where the
edge 2 / sharpness is near 0.02, so that both rates lie far beyond it: what happens then is shown
next to eta = 0.01, with the share of hidden units that end up dead.

    python experiments/descent.py
    python experiments/descent.py --etas 0.01 0.03 0.1 --losses digits --optimizer momentum
    python experiments/descent.py --losses rosenbrock --etas 0.0005 0.001 0.0015 --steps 2000
    python experiments/descent.py --explore

The last one runs sweeps of 200 rates on every landscape, and of 40 on the network, and leaves them
in `explorer.html`: a page to play with, in which every number is one of these runs.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import sys
import time
import webbrowser
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from exploring import digits as explored_digits
from exploring import landscapes as explored_landscapes
from rich.console import Console
from rich.table import Table
from settings import Count, NotNegative, OnDigits, Positive, Repeated, Some, command

from chainrule import data, descent, explorer, landscapes, losses, runs
from chainrule.models import mlp
from chainrule.ops.linear import linear
from chainrule.plots import descent as plots
from chainrule.plots import rate_colors, trajectory

OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": functools.partial(optax.sgd, momentum=0.9),
    "nesterov": functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
}
STARTS = {
    "quadratic": jnp.asarray(1.0),
    "rosenbrock": jnp.asarray([-1.2, 1.0]),
    "coupled": {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)},
}
CONSOLE = Console()


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
    """Rates of each of its sweeps over a landscape."""
    explore_digits_rates: Some = 40
    """And over the digits' network, a few hundred times dearer; 0 to leave the network out."""
    explore_steps: Count = 60
    """Steps of the network there."""
    explore_optimizers: tuple[Literal["sgd", "momentum", "nesterov", "rmsprop", "adam"], ...] = (
        "sgd",
        "momentum",
        "adam",
    )
    """The optimizers to choose from."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    series: dict[str, Any] = {}
    with config.start("descent", about=__doc__) as run:
        if config.explore:
            _explore(config, run)
        for name in () if config.explore else config.losses:
            if name == "two_well":
                series |= _two_well(config, run)
            elif name == "digits":
                series |= _digits(config, run)
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

    walks, columns, rows = [], {}, []
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
        columns |= _columns("two_well", eta, trace, 0, f"start={start:g}")
        rows.append((f"{eta:g}", f"{start:g}", descent.summary(trace)[0], f"{w[-1]:.4f}"))
        run.result(f"two_well, eta {eta:g} from {start:g}: verdict", rows[-1][2].verdict)
        run.result(f"two_well, eta {eta:g} from {start:g}: final w", w[-1])
    _print_table(f"two wells, {config.frames - 1} steps", ("start", "final w"), rows)

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
        f"edge at the start w = {start:g}: {_edge(at_start)}; "
        f"at w = {float(rest):.4f}, the lowest point reached: {_edge(at_rest)}"
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


def _trajectory(loss, eta: float, w, losses, points) -> trajectory.Trajectory:
    """Return a walk with the slope and the quadratic model at each of its iterates."""

    def at(w):
        return jax.grad(loss)(w), jax.vmap(descent.quadratic_model(loss, w, eta))(points)

    return trajectory.Trajectory(eta, w, losses, *map(np.asarray, jax.vmap(at)(w)))


# --- other landscapes --------------------------------------------------------------------------


def _landscape(config: Config, run: runs.Run, name: str) -> dict[str, Any]:
    optimizer = OPTIMIZERS[config.optimizer]
    loss: Callable[..., Any] = getattr(landscapes, name)
    start = STARTS[name]
    trace = descent.sweep(loss, start, jnp.asarray(config.etas), config.steps, optimizer=optimizer)
    key = jax.random.key(config.seed)
    edge = descent.edge(float(descent.sharpness(loss, start, key=key)), optimizer)
    run.result(f"{name}: edge at the start", edge)
    columns, rows = {}, []
    for lane, (eta, numbers) in enumerate(zip(config.etas, descent.summary(trace), strict=True)):
        columns |= _columns(name, eta, trace, lane)
        rows.append((f"{eta:g}", numbers))
        run.result(f"{name}, eta {eta:g}: verdict", numbers.verdict)
        run.result(f"{name}, eta {eta:g}: final loss", numbers.final)
    _print_table(f"{name}, {config.steps} steps, edge {_edge(edge)}", (), rows)
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


# --- the notes' network on digits --------------------------------------------------------------


class Seeds(NamedTuple):
    """What became of every rate from every seed.

    Attributes:
      lanes: ``[seeds][rates]``.
      loss: ``[seeds, rates, steps + 1]``.
      dead: ``[seeds, rates]``, the share of hidden units that are dead at the end.
      edges: ``[seeds]``, predicted at the start.
    """

    lanes: list[tuple[descent.Lane, ...]]
    loss: np.ndarray
    dead: np.ndarray
    edges: np.ndarray


def _digits(config: Config, run: runs.Run) -> dict[str, Any]:
    etas = sorted({*config.etas, *([config.reference] if config.reference else [])})
    inputs, targets = _fives(config, run)
    constant = float(jnp.mean(targets) * (1 - jnp.mean(targets)))

    def loss(params):
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    found, columns = _every_seed(config, run, loss, inputs, etas)
    CONSOLE.print(_digits_table(config, run, etas, found))
    run.result("digits: edge at the start, by seed", found.edges, "near 0.02", per="seed")
    run.result("digits: loss of the constant predictor", constant, expected=0.0835)
    CONSOLE.print(
        f"the best constant predictor has a loss of {constant:.4f}; "
        f"predicted edge at the start {_spread(found.edges)}"
    )
    floors = {"constant predictor": constant}
    names = [f"$\\eta$ = {eta:g}" for eta in etas]
    figure = plots.losses(
        {name: found.loss[:, lane] for lane, name in enumerate(names)},
        colors=rate_colors(etas),
        floors=floors,
        dead={name: found.dead[:, lane] for lane, name in enumerate(names)},
    )
    run.save_figure("digits", figure)
    _against_the_edge(config, run, loss, inputs.shape[1], found.edges[:1], floors)
    return columns


def _every_seed(
    config: Config, run: runs.Run, loss: Callable[..., Any], inputs: jax.Array, etas: list[float]
) -> tuple[Seeds, dict[str, runs.Series]]:
    """Descend at every rate from every seed; return what became of them, and their series."""
    optimizer = OPTIMIZERS[config.optimizer]

    def dead(params):
        """Share of hidden units that no sample switches on: no gradient reaches them."""
        layer = params["layer1"]
        on = jnp.any(linear(inputs, layer["kernel"], layer["bias"]) > 0, axis=0)
        return jnp.mean(~on, dtype=float)

    @jax.jit
    def run_seed(key, etas):
        params = mlp.init(key, (inputs.shape[1], config.hidden, 1))
        trace = descent.sweep(loss, params, etas, config.steps, optimizer=optimizer)
        # The start vector has a key of its own: `key` alone makes the network of mlp_digits.py.
        sharpness = descent.sharpness(loss, params, key=jax.random.key(2**31), iterations=24)
        return trace._replace(final_params=None), sharpness, jax.vmap(dead)(trace.final_params)

    rates = jnp.asarray(etas)
    compiled = run.compile(run_seed, jax.random.key(0), rates)
    CONSOLE.print(f"digits: compiled in {run.record['compile_seconds']:.1f} s")
    columns, lanes, edges, shares, curves = {}, [], [], [], []
    for seed in config.every_seed:
        clock = time.perf_counter()
        trace, sharpness, share = jax.device_get(compiled(jax.random.key(seed), rates))
        lanes.append(descent.summary(trace))
        edges.append(descent.edge(float(sharpness), optimizer))
        shares.append(share)
        curves.append(trace.loss)
        for lane, eta in enumerate(etas):
            columns |= _columns("digits", eta, trace, lane, f"seed={seed}")
        CONSOLE.print(
            f"digits: seed {seed}, sharpness at the start {sharpness:.1f}, "
            f"edge {_edge(edges[-1])}, {time.perf_counter() - clock:.1f} s"
        )
    return Seeds(lanes, np.stack(curves), np.stack(shares), np.asarray(edges)), columns


def _digits_table(config: Config, run: runs.Run, etas: list[float], found: Seeds) -> Table:
    table = Table(
        title=f"{config.hidden} hidden units on {config.samples} digits, {config.steps} steps, "
        f"{runs.counted(config.seeds, 'seed')}: median (lowest to highest)",
    )
    for column in ("eta", "verdicts", "peak", "final loss", "final / best", "dead units, %"):
        table.add_column(column, justify="left" if column == "verdicts" else "right")
    for i, eta in enumerate(etas):
        seeds = [lanes[i] for lanes in found.lanes]
        words = [lane.verdict for lane in seeds]
        peak, final, ratio = np.asarray(
            [(lane.peak, lane.final, lane.ratio_to_best) for lane in seeds]
        ).T
        dead = found.dead[:, i]
        table.add_row(
            f"{eta:g}",
            "\n".join(f"{words.count(word)} {word}" for word in sorted(set(words))),
            *(_spread(v).replace(" (", "\n(") for v in (peak, final, ratio, 100 * dead)),
        )
        for what, values in (("final loss", final), ("peak loss", peak), ("dead", dead)):
            run.result(f"digits, eta {eta:g}: {what}, by seed", values, per="seed")
        run.result(f"digits, eta {eta:g}: verdicts, by seed", ", ".join(words))
    return table


def _against_the_edge(
    config: Config,
    run: runs.Run,
    loss: Callable[..., Any],
    pixels: int,
    edge: np.ndarray,
    floors: dict[str, float],
) -> None:
    """Descend from the first seed at a scale of rates, to compare the predicted edge with."""
    clock = time.perf_counter()
    scale = np.geomspace(0.004, 0.6, config.sweep_rates, dtype=np.float32)
    start = mlp.init(jax.random.key(config.seed), (pixels, config.hidden, 1))
    optimizer = OPTIMIZERS[config.optimizer]
    dense = descent.summary(
        descent.sweep(loss, start, scale, config.sweep_steps, optimizer=optimizer)
    )
    final, peak = np.asarray([[(lane.final, lane.peak) for lane in dense]]).T
    run.save_figure("digits_sweep", plots.outcomes(scale, final.T, peak.T, edge, floors=floors))
    rising = [float(eta) for eta, lane in zip(scale, dense, strict=True) if lane.peak_step > 0]
    run.result(
        f"digits, seed {config.seed}: lowest of {config.sweep_rates} rates to rise above the start",
        min(rising, default=math.inf),
        expected=float(edge[0]),
    )
    CONSOLE.print(
        f"digits: {config.sweep_rates} rates x {config.sweep_steps} steps from seed {config.seed}, "
        f"{time.perf_counter() - clock:.1f} s: the loss rises above its start from "
        f"eta = {min(rising, default=math.inf):.3g} on (predicted edge {_edge(float(edge[0]))})"
    )


def _fives(config: Config, run: runs.Run) -> tuple[jax.Array, jax.Array]:
    digits = data.first(config.digits("train"), config.samples)
    run.note(data=digits.provenance.to_dict())
    inputs = jnp.asarray(data.standardize(digits.images).inputs)
    return inputs, jnp.asarray(digits.labels == 5, jnp.float32)


# --- a page to play with -----------------------------------------------------------------------


def _explore(config: Config, run: runs.Run) -> None:
    optimizers = {name: OPTIMIZERS[name] for name in config.explore_optimizers}
    clock = time.perf_counter()
    problems = []
    for problem in explored_landscapes.problems(optimizers, config.explore_rates, config.etas):
        problems.append(problem)
        CONSOLE.print(f"{problem.title}: {time.perf_counter() - clock:.1f} s")
    if config.explore_digits_rates:
        inputs, targets = _fives(config, run)
        etas = [*([config.reference] if config.reference else []), *config.etas]
        CONSOLE.print(
            f"digits: {config.explore_digits_rates} rates of the network, the longest part"
        )
        digits = explored_digits.problem(
            inputs,
            targets,
            optimizers,
            hidden=config.hidden,
            count=config.explore_digits_rates,
            steps=config.explore_steps,
            etas=etas,
            seed=config.seed,
        )
        problems.append(digits)
        CONSOLE.print(f"{digits.title}: {time.perf_counter() - clock:.1f} s")
    for problem in problems:
        for sweep in problem.sweeps:
            where = f"{problem.name}, {sweep.optimizer} from {sweep.start}"
            for edge, value in sweep.edges.items():
                run.result(f"{where}: {edge}", value)
            stayed = [word != "diverged" for word in sweep.verdicts]
            highest = problem.rates[stayed].max() if any(stayed) else math.nan
            run.result(f"{where}: highest rate that did not diverge", highest)
    run.save_text("explorer.html", explorer.page(problems))


def _open(page: pathlib.Path) -> None:
    """Open a page where there is a display; elsewhere a browser in the terminal might be found."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display or sys.platform in ("darwin", "win32"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(page.resolve().as_uri())
    CONSOLE.print(f"play with learning rates: {page}", soft_wrap=True)


# --- words and numbers -------------------------------------------------------------------------


def _columns(
    where: str, eta: float, trace: descent.Trace, lane: int, beside: str | None = None
) -> dict[str, runs.Series]:
    """Return the loss and the norm of the gradient of a lane, by what it is a lane of."""
    columns = {}
    for what in ("loss", "grad_norm"):
        name = "/".join(filter(None, (where, f"eta={eta:g}", beside, what)))
        stem = "/".join(filter(None, (where, beside, what)))
        values = np.asarray(getattr(trace, what)[lane])
        columns[name] = runs.Series(values, loss=what == "loss", eta=eta, stem=stem)
    return columns


def _edge(edge: float) -> str:
    if math.isnan(edge):
        return "no prediction"
    return "none" if math.isinf(edge) else f"{edge:.4g}"


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.nanmin(values), np.nanmedian(values), np.nanmax(values)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})" if len(values) > 1 else f"{middle:.3g}"


def _print_table(title: str, extra: tuple[str, ...], rows: list[Any]) -> None:
    table = Table(title=title)
    columns = ("eta", *extra[:1], "verdict", "start loss", "peak (step)", "final loss", *extra[1:])
    for column in columns:
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for row in rows:
        numbers = next(cell for cell in row if isinstance(cell, descent.Lane))
        place = row.index(numbers)
        table.add_row(
            *row[:place],
            numbers.verdict,
            f"{numbers.start:.4f}",
            f"{numbers.peak:.4g} ({numbers.peak_step})",
            f"{numbers.final:.5g}",
            *row[place + 1 :],
        )
    CONSOLE.print(table)


if __name__ == "__main__":
    config, folder = command(main, Config, __doc__)
    if config.explore:
        _open(folder / "explorer.html")
