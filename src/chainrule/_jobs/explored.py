"""The notes' network in the explorer: is it a 5? Loss, errors and dead units along the way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import descent, losses
from chainrule._jobs.landscapes import spread
from chainrule.explorer import Problem, Sweep
from chainrule.models import mlp
from chainrule.ops.linear import linear


def problem(
    inputs: jax.Array,
    targets: jax.Array,
    optimizers: Mapping[str, descent.OptimizerFactory],
    *,
    hidden: int,
    count: int,
    steps: int,
    etas: Sequence[float],
    seed: int,
    say: Callable[[str], Any],
) -> Problem:
    """Sweep over the network.

    Args:
      inputs: ``[samples, pixels]``.
      targets: ``[samples]``, 0 or 1.
      optimizers: by name, each a function from a learning rate.
      hidden: hidden units.
      count: rates a sweep.
      steps: full-batch steps.
      etas: rates that are among them.
      seed: of the start.
      say: is told what is swept, before it is.

    Returns:
      What the explorer shows, with every number recorded.
    """
    params = mlp.init(jax.random.key(seed), (inputs.shape[1], hidden, 1))
    samples = inputs.shape[0]

    def loss(params: Any) -> jax.Array:
        return losses.squared_error(mlp.apply(params, inputs)[:, 0], targets)

    def observe(params: Any) -> Any:
        scores = mlp.apply(params, inputs)[:, 0]
        layer = params["layer1"]
        on = jnp.any(linear(inputs, layer["kernel"], layer["bias"]) > 0, axis=0)
        return jnp.sum((scores > 0.5) != (targets > 0.5)), jnp.sum(~on)

    def edge(params: Any, optimizer: descent.OptimizerFactory) -> float:
        key = jax.random.key(2**31)
        return descent.edge(
            float(descent.sharpness(loss, params, key=key, iterations=24)), optimizer
        )

    names = (f"errors of {samples}", f"dead units of {hidden}")
    rates = spread(1e-3, 1.0, count, etas)
    sweeps = []
    for name, optimizer in optimizers.items():
        say(f"digits: {count} rates of the network with {name}, the longest part ...")
        trace = descent.sweep(loss, params, rates, steps, optimizer=optimizer, observe=observe)
        lowest = int(np.argmin(np.nan_to_num(trace.loss[:, -1], nan=np.inf)))
        end = jax.tree.map(lambda leaf: leaf[lowest], trace.final_params)  # noqa: B023
        sweeps.append(
            Sweep(
                optimizer=name,
                start=f"seed {seed}",
                loss=np.asarray(trace.loss),
                grad_norm=np.asarray(trace.grad_norm),
                verdicts=descent.verdict(trace),
                edges={
                    "edge at the start": edge(params, optimizer),
                    "edge at the lowest point": edge(end, optimizer),
                },
                counts=dict(zip(names, map(np.asarray, trace.observed), strict=True)),
            )
        )
    return Problem(
        name="digits",
        title="digits",
        about=f"Is it a 5? The notes' network, {inputs.shape[1]}-{hidden}-1 with ReLU and mean "
        f"squared error, on {samples} digits, full batch, at {count} rates. A spike may kill "
        "hidden units: no digit switches them on any more, and no gradient reaches them.",
        rates=rates,
        sweeps=sweeps,
        chosen=(etas[0], etas[min(1, len(etas) - 1)]),
    )
