"""Forward values and backward cotangents of a graph, in one traceable sweep each."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, Slot, active

__all__ = ["Numbers", "Operator", "apart", "of_operators", "run"]
__dir__ = __all__.copy

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


Operator = Callable[..., list[Any]]
"""One operator as a function from the arrays that it takes to the list of those that it makes."""

_Pull = Callable[[list[Any], list[bool]], tuple[list[Any], list[bool]]]


def run(
    graph: Graph,
    arguments: Sequence[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    notes: dict[int, str],
    *,
    operators: Mapping[int, Operator] | None = None,
    before: Numbers | None = None,
    also: Collection[Slot] = (),
) -> Numbers:
    """Run a graph forward and backward.

    Args:
      graph: the graph.
      arguments: one array per input node.
      cotangents: one array per result, None for results that carry none.
      wanted: the numbers of the input nodes to differentiate with respect to.
      notes: filled with the reason for each node that a gradient cannot pass.
      operators: what stands in for the operators of some nodes, by their numbers.
      before: the numbers of a run without stand-ins on the same arguments, every contribution
        included: what the stand-ins cannot change is taken from there. None computes everything.
      also: what else to differentiate with respect to, where JAX has no reason to.

    Returns:
      Values, cotangents and contributions per node.
    """
    flowing = active(graph, wanted, also)
    operators = operators or {}
    everything = set(range(len(graph.nodes)))
    below, around = (everything, everything) if before is None else _affected(graph, operators)
    old = before or Numbers([], [], [])
    values: list[tuple[Any, ...]] = []
    pulls: dict[int, _Pull] = {}
    given = iter(arguments)
    for i, node in enumerate(graph.nodes):
        if node.is_argument:
            values.append((next(given),))
        elif node.kind == "constant":
            # As JAX would have it: a rule may index a constant with what is being traced.
            values.append((jnp.asarray(node.constant),))
        elif i not in around:
            values.append(old.values[i])
        else:
            inputs = [values[slot.node][slot.output] for slot in node.inputs]
            wrt = [k for k, slot in enumerate(node.inputs) if slot in flowing]
            live = [k for k in range(len(node.avals)) if Slot(i, k) in flowing]
            function = operators.get(i) or _jax.function(node.equation)
            outputs, pull = _step(function, inputs, wrt, live, notes, i)
            values.append(tuple(apart(outputs)) if i in below else old.values[i])
            if pull is not None:
                pulls[i] = pull
    kept = {i: old.contributions[i] for i in everything - around}
    return _backward(graph, values, cotangents, flowing, pulls, kept, notes)


def _affected(graph: Graph, operators: Iterable[int]) -> tuple[set[int], set[int]]:
    """Return the nodes whose values stand-ins can change, and those whose gradients can change."""
    below = set(operators)
    for i, node in enumerate(graph.nodes):
        if any(slot.node in below for slot in node.inputs):
            below.add(i)
    around = set(below)
    for i in reversed(range(len(graph.nodes))):
        if i in around:
            around |= {slot.node for slot in graph.nodes[i].inputs}
    return below, around


def _backward(
    graph: Graph,
    values: list[tuple[Any, ...]],
    cotangents: Sequence[Any],
    flowing: set[Slot],
    pulls: Mapping[int, _Pull],
    kept: Mapping[int, tuple[Any, ...]],
    notes: dict[int, str],
) -> Numbers:
    """Go backward through a graph that ran forward."""
    gradients: dict[Slot, Any] = {}
    unknown: dict[Slot, int] = {}  # slots whose gradient would come through a node without one

    def add(slot: Slot, part: Any) -> None:
        if part is not None:
            gradients[slot] = gradients[slot] + part if slot in gradients else part

    for slot, g in zip(graph.outputs, cotangents, strict=True):
        if slot in flowing:
            add(slot, g)
    contributions: list[tuple[Any, ...]] = [() for _ in values]
    for i in reversed(range(len(values))):
        node = graph.nodes[i]
        slots = [Slot(i, k) for k in range(len(node.avals))]
        culprits = [unknown[slot] for slot in slots if slot in unknown]
        incoming = apart([gradients.get(slot) for slot in slots])
        lost = [False] * len(node.inputs)
        if i in pulls:
            parts, lost = pulls[i](incoming, [slot in unknown for slot in slots])
            contributions[i] = tuple(parts)
        elif i in kept:
            contributions[i] = kept[i]
        else:
            arrived = i in notes and (culprits or any(g is not None for g in incoming))
            lost = [arrived and slot in flowing for slot in node.inputs]
        for slot, part in zip(node.inputs, contributions[i], strict=False):
            add(slot, part)
        culprit = culprits[0] if culprits else i
        unknown |= {slot: culprit for slot, gone in zip(node.inputs, lost, strict=True) if gone}
    for slot, culprit in unknown.items():
        gradients.pop(slot, None)
        reason = f"its gradient would come through {graph.nodes[culprit].op}_{culprit}"
        notes.setdefault(slot.node, f"{reason}, which has none: {notes[culprit]}")
    return _numbers(graph, values, gradients, contributions, unknown)


def _numbers(
    graph: Graph,
    values: list[tuple[Any, ...]],
    gradients: Mapping[Slot, Any],
    contributions: list[tuple[Any, ...]],
    unknown: Mapping[Slot, int],
) -> Numbers:
    return Numbers(
        values,
        [
            tuple(gradients.get(Slot(i, k)) for k in range(len(node.avals)))
            for i, node in enumerate(graph.nodes)
        ],
        [
            tuple(
                part if len(graph.readers[slot]) > 1 and slot not in unknown else None
                for slot, part in zip(node.inputs, parts, strict=False)
            )
            for node, parts in zip(graph.nodes, contributions, strict=True)
        ],
    )


def of_operators(graph: Graph, numbers: Numbers) -> Numbers:
    """Leave out the values of arguments and constants, which the caller has."""
    pairs = zip(graph.nodes, numbers.values, strict=True)
    return numbers._replace(values=[v if node.kind == "operator" else () for node, v in pairs])


def apart(arrays: list[Any]) -> list[Any]:
    """Keep XLA from rewriting one operator with the next: log(exp(x)) = x would hide an Inf."""
    kept: list[Any] = jax.lax.optimization_barrier(arrays)
    return kept


def _step(
    function: Operator,
    inputs: list[Any],
    wrt: list[int],
    live: list[int],
    notes: dict[int, str],
    index: int,
) -> tuple[list[Any], _Pull | None]:
    """Run one operator and return its outputs with its pull-back, None where nothing flows.

    The pull-back takes the gradients of the outputs, and which of them are unknown. It returns
    those of the inputs, and which of them are unknown therefore.
    """
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
