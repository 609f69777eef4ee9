"""The notes' network on digits, descended at several rates from several seeds."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from chainrule import data, descent, losses, runs
from chainrule._jobs.optimizers import OPTIMIZERS
from chainrule._jobs.wording import CONSOLE, columns_of, edge_text, spread
from chainrule.models import mlp
from chainrule.ops.linear import linear
from chainrule.plots import descent as plots
from chainrule.plots import rate_colors


class _Seeds(NamedTuple):
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


def compare(config: Any, run: runs.Run) -> dict[str, Any]:
    """Descend from every seed at every rate, print and draw it, and return the series."""
    etas = sorted({*config.etas, *([config.reference] if config.reference else [])})
    inputs, targets = fives(config, run)
    constant = float(jnp.mean(targets) * (1 - jnp.mean(targets)))

    def loss(params: Any) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    found, columns = _every_seed(config, run, loss, inputs, etas)
    CONSOLE.print(_digits_table(config, run, etas, found))
    run.result("digits: edge at the start, by seed", found.edges, "near 0.02", per="seed")
    run.result("digits: loss of the constant predictor", constant, expected=0.0835)
    CONSOLE.print(
        f"the best constant predictor has a loss of {constant:.4f}; "
        f"predicted edge at the start {spread(found.edges)}"
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
    config: Any, run: runs.Run, loss: Callable[..., Any], inputs: jax.Array, etas: list[float]
) -> tuple[_Seeds, dict[str, runs.Series]]:
    """Descend at every rate from every seed; return what became of them, and their series."""
    optimizer = OPTIMIZERS[config.optimizer]

    def dead(params: Any) -> jax.Array:
        """Share of hidden units that no sample switches on: no gradient reaches them."""
        layer = params["layer1"]
        on = jnp.any(linear(inputs, layer["kernel"], layer["bias"]) > 0, axis=0)
        return jnp.mean(~on, dtype=float)

    @jax.jit
    def run_seed(key: Any, etas: Any) -> Any:
        params = mlp.init(key, (inputs.shape[1], config.hidden, 1))
        trace = descent.sweep(loss, params, etas, config.steps, optimizer=optimizer)
        # The start vector has a key of its own: `key` alone makes the network of mlp_digits.py.
        sharpness = descent.sharpness(loss, params, key=jax.random.key(2**31), iterations=24)
        return trace._replace(final_params=None), sharpness, jax.vmap(dead)(trace.final_params)

    rates = jnp.asarray(etas)
    CONSOLE.print("digits: compiling the network's descents ...")
    compiled = run.compile(run_seed, jax.random.key(0), rates)
    CONSOLE.print(f"digits: compiled in {run.record['compile_seconds']:.1f} s")
    columns: dict[str, runs.Series] = {}
    lanes, edges, shares, curves = [], [], [], []
    for seed in config.every_seed:
        clock = time.perf_counter()
        trace, sharpness, share = jax.device_get(compiled(jax.random.key(seed), rates))
        lanes.append(descent.summary(trace))
        edges.append(descent.edge(float(sharpness), optimizer))
        shares.append(share)
        curves.append(trace.loss)
        for lane, eta in enumerate(etas):
            columns |= columns_of("digits", eta, trace, lane, f"seed={seed}")
        CONSOLE.print(
            f"digits: seed {seed}, sharpness at the start {sharpness:.1f}, "
            f"edge {edge_text(edges[-1])}, {time.perf_counter() - clock:.1f} s"
        )
    return _Seeds(lanes, np.stack(curves), np.stack(shares), np.asarray(edges)), columns


def _digits_table(config: Any, run: runs.Run, etas: list[float], found: _Seeds) -> Table:
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
            *(spread(v).replace(" (", "\n(") for v in (peak, final, ratio, 100 * dead)),
        )
        for what, values in (("final loss", final), ("peak loss", peak), ("dead", dead)):
            run.result(f"digits, eta {eta:g}: {what}, by seed", values, per="seed")
        run.result(f"digits, eta {eta:g}: verdicts, by seed", ", ".join(words))
    return table


def _against_the_edge(
    config: Any,
    run: runs.Run,
    loss: Callable[..., Any],
    pixels: int,
    edge: np.ndarray,
    floors: dict[str, float],
) -> None:
    """Descend from the first seed at a scale of rates, to compare the predicted edge with."""
    clock = time.perf_counter()
    scale = np.geomspace(0.004, 0.6, config.sweep_rates, dtype=np.float32)
    init = jax.jit(mlp.init, static_argnums=1)  # one program, not one a matrix
    start = init(jax.random.key(config.seed), (pixels, config.hidden, 1))
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
        f"eta = {min(rising, default=math.inf):.3g} on (predicted edge {edge_text(float(edge[0]))})"
    )


def fives(config: Any, run: runs.Run) -> tuple[jax.Array, jax.Array]:
    """Return the digits as inputs, and whether each is a five."""
    digits = data.first(config.digits("train"), config.samples)
    run.note(data=digits.provenance.to_dict())
    inputs = jnp.asarray(data.standardize(digits.images).inputs)
    return inputs, jnp.asarray(digits.labels == 5, jnp.float32)
