"""Programs as data, with one loop forward and one loop backward that run them all."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from chainrule.ops import backward_of

Steps = Mapping[str, tuple[Any, ...]]
"""A program: name of a value -> (operator, names of its inputs), in the order of computation."""
Values = dict[str, jax.Array]
"""A number or an array for every name."""


def forward(steps: Steps, inputs: Values, probes: Values | None = None) -> Values:
    """Return every value: the inputs, and what each step makes of what came before it.

    Args:
      steps: the program; its last step gives the result.
      inputs: the values that it starts from.
      probes: numbers to be added to the values on the way.
    """
    values = dict(inputs)
    for name, (operator, *names) in steps.items():
        values[name] = operator(*(values[n] for n in names))
        if probes is not None:
            values[name] = values[name] + probes[name]
    return values


def backward(steps: Steps, values: Values) -> Values:
    """Return the gradient of the (summed) result by every value, by the operators' rules."""
    result = next(reversed(steps))
    grads = {name: jnp.zeros_like(value) for name, value in values.items()}
    grads[result] = jnp.ones_like(values[result])
    for name, (operator, *names) in reversed(steps.items()):
        back = backward_of(operator)(grads[name], *(values[n] for n in names))
        for n, g in zip(names, back if len(names) > 1 else (back,), strict=True):
            grads[n] = grads[n] + g  # what is used twice has two gradients coming in
    return grads


def by_hand(steps: Steps, inputs: Values) -> Values:
    """Return the gradient by every value: forward, then `backward`."""
    return backward(steps, forward(steps, inputs))


def by_jax(steps: Steps, inputs: Values) -> Values:
    """Return the same gradients by `jax.grad`, which never looks at the rules.

    The gradient by an intermediate value is the gradient by a zero that is added to it.
    """

    def result(inputs: Values, probes: Values) -> jax.Array:
        return jnp.sum(forward(steps, inputs, probes)[next(reversed(steps))])

    shapes = jax.eval_shape(functools.partial(forward, steps), inputs)
    probes = {name: jnp.zeros(shapes[name].shape) for name in steps}
    by_inputs, by_probes = jax.grad(result, argnums=(0, 1))(inputs, probes)
    return by_inputs | by_probes
