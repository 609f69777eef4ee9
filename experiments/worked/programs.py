"""Programs as data, short for graphs of operators in the order of computation."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from chainrule.models import dag
from chainrule.models.dag import Node, layer
from chainrule.ops import backward_of
from chainrule.ops.elementary import add

Steps = Mapping[str, tuple[Any, ...]]
"""A program: name of a value -> (operator, names of its inputs), in the order of computation."""
Values = dict[str, jax.Array]
"""A number or an array for every name."""


def forward(steps: Steps, inputs: Values) -> Values:
    """Return every value: the inputs, and what each step makes of what came before it."""
    return dag.forward(_graph(steps), {}, inputs)


def by_hand(steps: Steps, inputs: Values) -> Values:
    """Return the gradient of the (summed) result with respect to every value, by the rules.

    Raises:
      LookupError: an operator has no rule.
    """
    for operator, *_ in steps.values():
        backward_of(operator)  # a graph would fall back to autodiff
    values = forward(steps, inputs)
    result = next(reversed(steps))
    return dag.backward(
        _graph(steps), {}, values, {result: jnp.ones_like(values[result])}
    ).activations


def by_jax(steps: Steps, inputs: Values) -> Values:
    """Return the same gradients by `jax.grad`, which never looks at the rules.

    The gradient with respect to an intermediate value is that of a zero that is added to it.
    """
    probed: dict[str, Node] = {}
    for name, node in _graph(steps).items():
        probed |= {f"{name}, bare": node, name: Node(layer(add), (f"{name}, bare", f"by {name}"))}

    def result(inputs: Values, probes: Values) -> jax.Array:
        return jnp.sum(dag.forward(probed, {}, inputs | probes)[next(reversed(steps))])

    shapes = dag.check(_graph(steps), {}, inputs)
    probes = {f"by {name}": jnp.zeros(shapes[name].shape) for name in steps}
    by_inputs, by_probes = jax.grad(result, argnums=(0, 1))(inputs, probes)
    return by_inputs | {name: by_probes[f"by {name}"] for name in steps}


def _graph(steps: Steps) -> dag.Graph:
    return {name: Node(layer(operator), tuple(names)) for name, (operator, *names) in steps.items()}
