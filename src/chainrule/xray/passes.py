"""Forward values and backward cotangents of a graph, in one traceable sweep each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, Slot, Vertex, active

__all__ = ["Numbers", "of_operators", "run"]

_NO_DERIVATIVE = (NotImplementedError, ValueError)


class Numbers(NamedTuple):
    """What one run of a graph leaves behind.

    Attributes:
      values: per node its outputs.
      cotangents: per node and output the sum over the uses; None where no gradient flows.
      contributions: per node and input the part of one use, kept where a slot has several uses.
    """

    values: list[tuple[Any, ...]]
    cotangents: list[tuple[Any, ...]]
    contributions: list[tuple[Any, ...]]


def run(
    graph: Graph,
    arguments: Sequence[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    notes: dict[int, str],
) -> Numbers:
    """Run a graph forward and backward.

    Args:
      graph: the graph.
      arguments: one array per input node.
      cotangents: one array per result, None for results that carry none.
      wanted: the numbers of the input nodes to differentiate with respect to.
      notes: filled with the reason for each node that a gradient cannot pass.

    Returns:
      Values, cotangents and contributions per node.
    """
    flowing = active(graph, wanted)
    values: list[tuple[Any, ...]] = []
    pulls: dict[int, Callable[..., tuple[list[Any], list[bool]]]] = {}
    given = iter(arguments)
    for i, node in enumerate(graph.nodes):
        if node.is_argument:
            values.append((next(given),))
        elif node.kind == "constant":
            values.append((node.constant,))
        else:
            inputs = [values[slot.node][slot.output] for slot in node.inputs]
            wrt = [k for k, slot in enumerate(node.inputs) if slot in flowing]
            live = [k for k in range(len(node.avals)) if Slot(i, k) in flowing]
            outputs, pull = _step(node, inputs, wrt, live, notes, i)
            values.append(tuple(_apart(outputs)))
            if pull is not None:
                pulls[i] = pull

    gradients: dict[Slot, Any] = {}
    unknown: dict[Slot, int] = {}  # slots whose gradient would come through a node without one
    for slot, g in zip(graph.outputs, cotangents, strict=True):
        if g is not None and slot in flowing:
            gradients[slot] = g if slot not in gradients else gradients[slot] + g
    contributions: list[tuple[Any, ...]] = [() for _ in values]
    for i in reversed(range(len(values))):
        node = graph.nodes[i]
        slots = [Slot(i, k) for k in range(len(node.avals))]
        culprits = [unknown[slot] for slot in slots if slot in unknown]
        incoming = _apart([gradients.get(slot) for slot in slots])
        if i in pulls:
            parts, lost = pulls[i](incoming, [slot in unknown for slot in slots])
            contributions[i] = tuple(parts)
            for slot, part in zip(node.inputs, parts, strict=True):
                if part is not None:
                    gradients[slot] = gradients[slot] + part if slot in gradients else part
        else:
            arrived = i in notes and (culprits or any(g is not None for g in incoming))
            lost = [arrived and slot in flowing for slot in node.inputs]
        culprit = culprits[0] if culprits else i
        unknown |= {slot: culprit for slot, gone in zip(node.inputs, lost, strict=True) if gone}
    for slot, culprit in unknown.items():
        gradients.pop(slot, None)
        reason = f"its gradient would come through {graph.nodes[culprit].op}_{culprit}"
        notes.setdefault(slot.node, f"{reason}, which has none: {notes[culprit]}")

    return Numbers(
        values,
        [
            tuple(gradients.get(Slot(i, k)) for k in range(len(node.avals)))
            for i, node in enumerate(graph.nodes)
        ],
        [
            tuple(
                p if len(graph.readers[s]) > 1 and s not in unknown else None
                for s, p in zip(node.inputs, parts, strict=False)
            )
            for node, parts in zip(graph.nodes, contributions, strict=True)
        ],
    )


def of_operators(graph: Graph, numbers: Numbers) -> Numbers:
    """Leave out the values of arguments and constants, which the caller has."""
    pairs = zip(graph.nodes, numbers.values, strict=True)
    return numbers._replace(values=[v if node.kind == "operator" else () for node, v in pairs])


def _apart(arrays: list[Any]) -> list[Any]:
    """Keep XLA from rewriting one operator with the next: log(exp(x)) = x would hide an Inf."""
    kept: list[Any] = jax.lax.optimization_barrier(arrays)
    return kept


def _step(
    node: Vertex,
    inputs: list[Any],
    wrt: list[int],
    live: list[int],
    notes: dict[int, str],
    index: int,
) -> tuple[list[Any], Callable[..., tuple[list[Any], list[bool]]] | None]:
    """Run one equation and return its outputs with its pull-back, None where nothing flows.

    The pull-back takes the gradients of the outputs, and which of them are unknown. It returns
    those of the inputs, and which of them are unknown therefore.
    """
    function = _jax.function(node.equation)
    if not wrt or not live:
        return function(*inputs), None

    def chosen(*arrays: Any) -> tuple[list[Any], list[Any]]:
        full = list(inputs)
        for k, array in zip(wrt, arrays, strict=True):
            full[k] = array
        outputs = function(*full)
        return [outputs[k] for k in live], outputs

    try:
        _, vjp, outputs = jax.vjp(chosen, *(inputs[k] for k in wrt), has_aux=True)
    except _NO_DERIVATIVE as error:
        notes[index] = _reason(error)
        return function(*inputs), None

    def pull(incoming: list[Any], unknown: list[bool]) -> tuple[list[Any], list[bool]]:
        parts: list[Any] = [None] * len(inputs)
        lost = [False] * len(inputs)
        if all(incoming[k] is None and not unknown[k] for k in live):
            return parts, lost
        g = [jnp.zeros_like(outputs[k]) if incoming[k] is None else incoming[k] for k in live]
        try:
            closed = jax.make_jaxpr(lambda g: vjp(g))(g)
        except _NO_DERIVATIVE as error:
            notes[index] = _reason(error)
            return parts, [k in wrt for k in range(len(inputs))]
        known = [incoming[k] is not None for k in live]
        nonzero = _jax.reached(closed, known)
        gone = _jax.reached(closed, [unknown[k] for k in live])
        for k, part, hit, out in zip(wrt, _jax.evaluate(closed, g), nonzero, gone, strict=True):
            parts[k], lost[k] = part if hit else None, out
        return parts, lost

    return outputs, pull


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def __dir__() -> list[str]:
    return sorted(__all__)
