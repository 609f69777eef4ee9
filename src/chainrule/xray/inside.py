"""What is inside a node: the body of a custom rule, the branch taken, the steps of a loop."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.bodies import ClosedError, Inside, once, shards, steps, trips
from chainrule.xray.graph import active
from chainrule.xray.record import LEAF, Entry, Record, Trees, entries

__all__ = [
    "asked",
    "at_step",
    "branch",
    "can_enter",
    "enter",
    "enter_backward",
    "pullback",
    "runs_backward",
    "scan_constants",
]
__dir__ = __all__.copy


def can_enter(node: Entry) -> bool:
    """Tell whether a node has an inside."""
    return node.equation is not None and (
        node.custom or node.op in ("cond", "scan", "while", "shard_map")
    )


def scan_constants(node: Entry) -> int:
    """Return how many of the first inputs every step of a scan takes; 0 of another node."""
    return _jax.scan_layout(node.equation)[1] if _is_scan(node) else 0


def runs_backward(node: Entry) -> bool:
    """Tell whether a node is a scan whose last step comes first."""
    return _is_scan(node) and _jax.scan_layout(node.equation)[-1]


def _is_scan(node: Entry) -> bool:
    return node.op == "scan" and not node.custom and node.equation is not None


@_jax.quiet
def enter(record: Record, node: Entry | str, step: int | None = None) -> Record:
    """Return the record of what ran inside a node.

    Args:
      record: the record; it must keep values.
      node: a node of it, or its label.
      step: of a node inside a loop, at which of its steps to look.

    Returns:
      A record like any other. Inside a loop every array but a constant has a leading axis, one
      element a step; inside a shard_map one a device.

    Raises:
      ValueError: the node has no inside, ``step`` does not belong to it, or only statistics are
        kept.
      ClosedError: what is inside cannot run by itself: the steps of a loop do not fit in memory, or
        exchange arrays between devices.
    """
    if isinstance(node, str):
        node = record.node(node)
    elif not isinstance(node, Entry) or node not in record.nodes:
        what = f"{node.label} of another record" if isinstance(node, Entry) else repr(node)
        raise ValueError(f"node is {what}: give a node of this record, or its label")
    if record.keep != "values":
        raise ValueError("only statistics are kept: call xray with keep='values' to open nodes")
    if not record.runs:
        raise ValueError(
            f"{record.function} was read from a file, and what is inside {node.label} cannot run "
            "again: record the call here"
        )
    if record.steps is None and step is None:
        if node.index not in record.opened:
            record.opened[node.index] = _enter(record, node, step)
        return record.opened[node.index]
    return _enter(record, node, step)


def _enter(record: Record, node: Entry, step: int | None) -> Record:
    taken = record.taken(node)
    if record.steps is not None or step is not None:
        node, taken = at_step(record, node, taken, step)
    if not can_enter(node):
        raise ValueError(
            f"node {node.label} has no inside: only custom rules, cond, scan, while and shard_map "
            "have one"
        )
    if record.over == "devices" and _jax.is_collective(node.equation):
        raise ClosedError(
            f"what is inside {node.label} exchanges arrays between devices: it cannot run on one"
        )
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    inside = _look(node, arrays, asked(record, node))
    return _record(record, node, inside)


def _record(record: Record, node: Entry, inside: "Inside") -> Record:
    count = len(inside.arguments)
    results = len(inside.graph.outputs)
    return Record(
        function=node.label,
        nodes=entries(
            inside.graph, inside.numbers, inside.arguments, keep="values", notes=inside.notes
        ),
        outputs=inside.graph.outputs,
        starts=tuple(inside.starts),
        wanted=tuple(inside.wanted),
        trees=Trees((LEAF,) * count, LEAF if results == 1 else jax.tree.structure((0,) * results)),
        keep="values",
        compiled=record.compiled,
        steps=inside.steps,
        over=inside.over,
    )


def pullback(node: Entry) -> tuple[Callable[[Sequence[Any]], list[Any]], list[int]]:
    """Return the way backward through a node, from values to what it contributes.

    Args:
      node: an operator.

    Returns:
      The function, from its inputs and the gradients of its outputs in one row to the contribution
      to each input, None where none flows; and the numbers of those outputs.
    """
    wrt = [k for k, part in enumerate(node.contributions) if part is not None]
    live = [k for k, g in enumerate(node.cotangents) if g is not None]
    count = len(node.inputs)

    def pull(arrays: Sequence[Any]) -> list[Any]:
        inputs, gs = list(arrays[:count]), arrays[count:]

        def chosen(*some: Any) -> list[Any]:
            for k, x in zip(wrt, some, strict=True):
                inputs[k] = x
            outputs = _jax.function(node.equation)(*inputs)
            return [outputs[k] for k in live]

        parts = jax.vjp(chosen, *(inputs[k] for k in wrt))[1](list(gs))
        return [parts[wrt.index(k)] if k in wrt else None for k in range(count)]

    return pull, live


@_jax.quiet
def enter_backward(record: Record, node: Entry, step: int | None = None) -> Record:
    """Return the record of what a node computed on its way backward, a custom rule say.

    Args:
      record: the record; it must keep values.
      node: a node of it.
      step: of a node inside a loop, at which of its steps to look.
    """
    taken: Sequence[Any] = record.taken(node)
    if record.steps is not None:
        node, taken = at_step(record, node, taken, step)
    pull, live = pullback(node)
    arrays = [*taken, *(node.cotangents[k] for k in live)]
    try:
        closed = jax.make_jaxpr(pull)(arrays)
    except NameError as error:  # the name of an axis of the shard_map around it
        raise ClosedError(f"{node.label} asks for the devices around it: {error}") from error
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in arrays]
    inside = once(closed, arrays, [None] * len(closed.out_avals), (), node)
    return _record(record, node, inside)


def at_step(
    record: Record, node: Entry, taken: Sequence[Any], step: int | None
) -> tuple[Entry, list[Any]]:
    """Return a node inside a loop as it was at one step, and what it took there.

    Args:
      record: the record of the steps.
      node: a node of it.
      taken: what the node took, all steps together.
      step: the number of the step.

    Raises:
      ValueError: there is no such step.
    """
    steps = record.steps or 0
    if not isinstance(step, int | np.integer) or not -steps <= step < steps:
        raise ValueError(
            f"step is {step!r}, {node.label} stands "
            + (f"inside a loop of {steps} steps: name one of them" if steps else "in no loop")
        )

    def at(arrays: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(None if x is None else x[step] for x in arrays)

    constant = [record.nodes[s.node].kind == "constant" for s in node.inputs]
    pairs = zip(taken, constant, strict=True)
    there = dataclasses.replace(
        node,
        values=at(node.values),
        cotangents=at(node.cotangents),
        contributions=at(node.contributions),
    )
    return there, [x if c else x[step] for x, c in pairs]


def asked(record: Record, node: Entry) -> list[bool]:
    """Tell which inputs of a node a gradient is asked for: what jax.grad never computes is not bad.

    One that is 0 everywhere is asked for too.
    """
    flowing = active(record, record.wanted)
    comes = any(g is not None for g in node.cotangents)
    return [comes and slot in flowing for slot in node.inputs]


def _look(node: Entry, arrays: list[Any], asked: list[bool]) -> Inside:
    body = _jax.custom_rule(node.equation)
    if body is not None:  # its own gradient is the rule's, and not that of the body
        return once(body, arrays, [None] * len(body.out_avals), (), node)
    if node.op == "scan":
        return steps(node, arrays, asked)
    if node.op == "while":
        return trips(node, arrays)
    if node.op == "shard_map":
        return shards(node, arrays, asked)
    taken = node.equation.params["branches"][_which(node, arrays[0])]
    wanted = tuple(k for k, part in enumerate(node.contributions[1:]) if part is not None)
    return once(_jax.close(taken), arrays[1:], node.cotangents, wanted, node)


def _which(node: Entry, index: Any) -> int:
    return int(np.clip(int(index), 0, len(node.equation.params["branches"]) - 1))


def branch(record: Record, node: Entry, step: int | None = None) -> int:
    """Return the number of the branch that a cond took, inside a loop at one of its steps."""
    index = record.taken(node)[0]
    batched = step is not None and record.nodes[node.inputs[0].node].kind != "constant"
    return _which(node, index[step] if batched else index)
