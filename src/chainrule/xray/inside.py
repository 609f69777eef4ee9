"""What is inside a node: the body of a custom rule, the branch taken, the steps of a loop."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, Vertex, build, differentiable
from chainrule.xray.passes import Numbers, of_operators, run
from chainrule.xray.record import LEAF, Entry, Record, Trees, entries
from chainrule.xray.stats import is_number

__all__ = [
    "TooLargeError",
    "body_graph",
    "branch",
    "can_enter",
    "enter",
    "enter_backward",
    "pullback",
    "runs_backward",
    "scan_constants",
]
__dir__ = __all__.copy

_LARGEST = 4 * 2**30  # bytes of all steps of a loop together


class TooLargeError(ValueError):
    """The steps of a loop do not fit in memory."""


def can_enter(node: Entry) -> bool:
    """Tell whether a node has an inside."""
    return node.custom or (node.equation is not None and node.op in ("cond", "scan", "while"))


def scan_constants(node: Entry) -> int:
    """Return how many of the first inputs every step of a scan takes; 0 of another node."""
    return _jax.scan_layout(node.equation)[1] if _is_scan(node) else 0


def runs_backward(node: Entry) -> bool:
    """Tell whether a node is a scan whose last step comes first."""
    return _is_scan(node) and _jax.scan_layout(node.equation)[-1]


def _is_scan(node: Entry) -> bool:
    return node.op == "scan" and not node.custom and node.equation is not None


def enter(record: Record, node: Entry | str, step: int | None = None) -> Record:
    """Return the record of what ran inside a node.

    Args:
      record: the record; it must keep values.
      node: a node of it, or its label.
      step: of a node inside a loop, at which of its steps to look.

    Returns:
      A record like any other. Inside a loop every array but a constant has a leading axis, one
      element a step.

    Raises:
      ValueError: the node has no inside, ``step`` does not belong to it, or only statistics are
        kept.
      TooLargeError: the steps of a loop do not fit in memory.
    """
    if isinstance(node, str):
        node = record.node(node)
    elif not isinstance(node, Entry) or node not in record.nodes:
        what = f"{node.label} of another record" if isinstance(node, Entry) else repr(node)
        raise ValueError(f"node is {what}: give a node of this record, or its label")
    if record.keep != "values":
        raise ValueError("only statistics are kept: call xray with keep='values' to open nodes")
    taken = record.taken(node)
    if record.steps is not None or step is not None:
        node, taken = _at_step(record, node, taken, step)
    if not can_enter(node):
        raise ValueError(
            f"node {node.label} has no inside: only custom rules, cond, scan and while have one"
        )
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    inside = _look(node, arrays)
    return _record(record, node, inside)


def _record(record: Record, node: Entry, inside: "_Inside") -> Record:
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


def enter_backward(record: Record, node: Entry, step: int | None = None) -> Record:
    """Return the record of what a node computed on its way backward, a custom rule say.

    Args:
      record: the record; it must keep values.
      node: a node of it.
      step: of a node inside a loop, at which of its steps to look.
    """
    taken: Sequence[Any] = record.taken(node)
    if record.steps is not None:
        node, taken = _at_step(record, node, taken, step)
    pull, live = pullback(node)
    arrays = [*taken, *(node.cotangents[k] for k in live)]
    closed = jax.make_jaxpr(pull)(arrays)
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in arrays]
    inside = _once(closed, arrays, [None] * len(closed.out_avals), (), node)
    return _record(record, node, inside)


def _at_step(
    record: Record, node: Entry, taken: Sequence[Any], step: int | None
) -> tuple[Entry, list[Any]]:
    """Return a node inside a loop as it was at one step, and what it took there."""
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


@dataclasses.dataclass(frozen=True)
class _Inside:
    """The graph inside a node, run on the numbers that the node took; see `Record`."""

    graph: Graph
    numbers: Numbers
    arguments: list[Any]
    starts: list[Any]
    wanted: Sequence[int]
    notes: dict[int, str]
    steps: int | None = None


def _look(node: Entry, arrays: list[Any]) -> _Inside:
    body = _jax.custom_rule(node.equation)
    if body is not None:  # its own gradient is the rule's, and not that of the body
        return _once(body, arrays, [None] * len(body.out_avals), (), node)
    if node.op == "scan":
        return _steps(node, arrays)
    if node.op == "while":
        return _trips(node, arrays)
    taken = node.equation.params["branches"][_which(node, arrays[0])]
    wanted = tuple(k for k, part in enumerate(node.contributions[1:]) if part is not None)
    return _once(_jax.close(taken), arrays[1:], node.cotangents, wanted, node)


def _which(node: Entry, index: Any) -> int:
    return int(np.clip(int(index), 0, len(node.equation.params["branches"]) - 1))


def branch(record: Record, node: Entry, step: int | None = None) -> int:
    """Return the number of the branch that a cond took, inside a loop at one of its steps."""
    index = record.taken(node)[0]
    batched = step is not None and record.nodes[node.inputs[0].node].kind != "constant"
    return _which(node, index[step] if batched else index)


def body_graph(body: _jax.ClosedJaxpr, node: Vertex) -> Graph:
    """Return the graph of a body of a node."""
    names = [f"input {k}" for k in range(len(body.in_avals))]
    return build(body, names, node.line)


def _once(
    body: _jax.ClosedJaxpr,
    arrays: list[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    node: Entry,
) -> _Inside:
    graph = body_graph(body, node)
    notes: dict[int, str] = {}
    numbers = _jax.compile_whole(lambda x, g: run(graph, x, g, wanted, notes))(
        arrays, list(cotangents)
    )
    return _Inside(graph, numbers, arrays, list(cotangents), wanted, notes)


def _steps(node: Entry, arrays: list[Any]) -> _Inside:
    """Replay a scan: forward for the carries, backward for the gradient of every step."""
    body, consts, carries, length, reverse = _jax.scan_layout(node.equation)
    graph = body_graph(body, node)
    _check_size(node, graph, length, 2)
    notes: dict[int, str] = {}
    avals = body.out_avals
    wanted = tuple(k for k, aval in enumerate(body.in_avals) if differentiable(aval))
    flows = [differentiable(aval) for aval in avals]
    fixed, start = arrays[:consts], arrays[consts:][:carries]
    xs = arrays[consts + carries :]

    def zeros(g: Any, aval: Any, lead: tuple[int, ...] = ()) -> Any:
        return jnp.zeros(lead + tuple(aval.shape), aval.dtype) if g is None else g

    def forward(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = _jax.evaluate(body, [*fixed, *carry, *x])
        return outputs[:carries], carry

    def backward(g_carry: list[Any], step: Any) -> tuple[list[Any], tuple[Numbers, list[Any]]]:
        carry, x, g_y = step
        gs = [g if ok else None for g, ok in zip([*g_carry, *g_y], flows, strict=True)]
        numbers = run(graph, [*fixed, *carry, *x], gs, wanted, notes)
        before = [numbers.cotangents[consts + k][0] for k in range(carries)]
        back = [zeros(g, aval) for g, aval in zip(before, avals[:carries], strict=True)]
        return back, (of_operators(graph, numbers), gs)

    def replay(start: list[Any], xs: list[Any], g_end: list[Any], g_ys: list[Any]) -> Any:
        _, befores = jax.lax.scan(forward, start, xs, length, reverse=reverse)
        _, (numbers, gs) = jax.lax.scan(
            backward, g_end, (befores, xs, g_ys), length, reverse=not reverse
        )
        return befores, numbers, gs

    incoming = node.cotangents
    g_end = [zeros(g, a) for g, a in zip(incoming[:carries], avals[:carries], strict=True)]
    pairs = zip(incoming[carries:], avals[carries:], strict=True)
    g_ys = [zeros(g, a, (length,)) for g, a in pairs]
    befores, numbers, gs = _jax.compile_whole(replay)(start, xs, g_end, g_ys)
    arguments = [*(_repeat(x, length) for x in fixed), *befores, *xs]
    return _Inside(graph, numbers, arguments, gs, wanted, notes, length)


def _trips(node: Entry, arrays: list[Any]) -> _Inside:
    """Replay a while, forward only: once to count its trips, once to keep what they make."""
    condition, body, asked, consts = _jax.while_layout(node.equation)
    graph = body_graph(body, node)
    settings, fixed, start = arrays[:asked], arrays[asked:][:consts], arrays[asked + consts :]
    nothing = [None] * len(start)

    def unfinished(state: Any) -> Any:
        return _jax.evaluate(condition, [*settings, *state[1]])[0]

    def counted(state: Any) -> Any:
        return state[0] + 1, _jax.evaluate(body, [*fixed, *state[1]])

    def trip(carry: list[Any], _: None) -> tuple[list[Any], tuple[list[Any], Numbers]]:
        numbers = run(graph, [*fixed, *carry], nothing, (), {})
        after = [numbers.values[slot.node][slot.output] for slot in graph.outputs]
        return after, (carry, of_operators(graph, numbers))

    # Compiled like the trips themselves, so that rounding cannot make one more or one less.
    count = _jax.compile_whole(
        lambda x: jax.lax.while_loop(unfinished, counted, (jnp.int32(0), x))[0]
    )
    length = int(count(start))
    _check_size(node, graph, length, 1)
    replay = _jax.compile_whole(lambda x: jax.lax.scan(trip, x, None, length)[1])
    befores, numbers = replay(start)
    arguments = [*(_repeat(x, length) for x in fixed), *befores]
    return _Inside(graph, numbers, arguments, nothing, (), {}, length)


def _repeat(x: Any, length: int) -> Any:
    """Give an array the leading axis of steps without taking memory for it, but for keys."""
    shape = (length, *x.shape)
    return np.broadcast_to(np.asarray(x), shape) if is_number(x) else jnp.broadcast_to(x, shape)


def _check_size(node: Entry, graph: Graph, length: int, arrays: int) -> None:
    """Raise before the steps of a loop fill the memory."""
    made = [aval for vertex in graph.nodes if vertex.equation for aval in vertex.avals]
    step = sum(math.prod(a.shape) * jnp.dtype(a.dtype).itemsize for a in made if is_number(a))
    if (needed := step * length * arrays) > _LARGEST:
        raise TooLargeError(
            f"the {length} steps of {node.label} hold {needed / 2**30:.3g} GiB, more than "
            f"{_LARGEST / 2**30:g}: record a call with fewer steps"
        )
