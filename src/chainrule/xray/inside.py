"""What is inside a node: the body of a custom rule, the branch taken, the steps of a loop."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, build, differentiable
from chainrule.xray.passes import Numbers, of_operators, run
from chainrule.xray.stats import is_number

if TYPE_CHECKING:
    from chainrule.xray.nodes import Node


_LARGEST = 4 * 2**30  # bytes of all steps of a loop together


class TooLargeError(ValueError):
    """The steps of a loop do not fit in memory."""


@dataclasses.dataclass(frozen=True)
class Inside:
    """The graph inside a node, run on the numbers that the node took.

    Attributes:
      graph: its operators.
      numbers: its values and gradients; of a loop with a leading axis of steps.
      arguments: what went in, one per input of the graph; of a loop with that axis, too.
      starts: the gradient of each result; of a loop with that axis, too.
      notes: node number to the reason why no gradient passes it.
      steps: how many steps a loop took, None of anything else.
    """

    graph: Graph
    numbers: Numbers
    arguments: list[Any]
    starts: list[Any]
    notes: dict[int, str]
    steps: int | None


def is_rule(node: "Node") -> bool:
    """Tell whether a node is a function with a custom rule."""
    eqn = node.operator.equation
    return eqn is not None and _jax.rule_body(eqn) is not None


def can_open(node: "Node") -> bool:
    """Tell whether a node has an inside."""
    eqn = node.operator.equation
    return is_rule(node) or (eqn is not None and eqn.primitive.name in ("cond", "scan", "while"))


def scan_constants(node: "Node") -> int:
    """Return how many of the first inputs every step of a scan takes; 0 of another node."""
    eqn = node.operator.equation
    return _jax.scan_layout(eqn)[1] if eqn is not None and eqn.primitive.name == "scan" else 0


def runs_backward(node: "Node") -> bool:
    """Tell whether a node is a scan whose last step comes first."""
    eqn = node.operator.equation
    return eqn is not None and eqn.primitive.name == "scan" and _jax.scan_layout(eqn)[-1]


def look(node: "Node", taken: Sequence[Any]) -> Inside:
    """Run the inside of a node.

    Args:
      node: a node whose operator has a body.
      taken: the values of its inputs.

    Returns:
      The inside.

    Raises:
      ValueError: the operator has no inside.
      TooLargeError: the steps of a loop do not fit in memory.
    """
    if not can_open(node):
        raise ValueError(
            f"{node.label} has no inside: only custom rules, cond, scan and while have one"
        )
    eqn = node.operator.equation
    body = _jax.rule_body(eqn)
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    if body is not None:  # its own gradient is the rule's, and not that of the body
        return _once(body, arrays, [None] * len(body.out_avals), (), node)
    if eqn.primitive.name == "scan":
        return _steps(node, arrays)
    if eqn.primitive.name == "while":
        return _trips(node, arrays)
    branches = eqn.params["branches"]
    which = int(np.clip(int(arrays[0]), 0, len(branches) - 1))
    wanted = tuple(k for k, part in enumerate(node.contributions[1:]) if part is not None)
    return _once(_jax.close(branches[which]), arrays[1:], node.cotangents, wanted, node)


def _graph(body: _jax.ClosedJaxpr, node: "Node") -> Graph:
    names = [f"input {k}" for k in range(len(body.in_avals))]
    return build(body, names, node.line if _jax.is_library(body) else "")


def _once(
    body: _jax.ClosedJaxpr,
    arrays: list[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    node: "Node",
) -> Inside:
    graph = _graph(body, node)
    notes: dict[int, str] = {}
    numbers = _jax.compile_whole(lambda x, g: run(graph, x, g, wanted, notes))(
        arrays, list(cotangents)
    )
    return Inside(graph, numbers, arrays, list(cotangents), notes, None)


def _steps(node: "Node", arrays: list[Any]) -> Inside:
    """Replay a scan: forward for the carries, backward for the gradient of every step."""
    body, consts, carries, length, reverse = _jax.scan_layout(node.operator.equation)
    graph = _graph(body, node)
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
    return Inside(graph, numbers, arguments, gs, notes, length)


def _trips(node: "Node", arrays: list[Any]) -> Inside:
    """Replay a while, forward only: once to count its trips, once to keep what they make."""
    condition, body, asked, consts = _jax.while_layout(node.operator.equation)
    graph = _graph(body, node)
    settings, fixed, start = arrays[:asked], arrays[asked:][:consts], arrays[asked + consts :]
    nothing = [None] * len(start)

    def goes_on(state: Any) -> Any:
        return _jax.evaluate(condition, [*settings, *state[1]])[0]

    def counted(state: Any) -> Any:
        return state[0] + 1, _jax.evaluate(body, [*fixed, *state[1]])

    def trip(carry: list[Any], _: None) -> tuple[list[Any], tuple[list[Any], Numbers]]:
        numbers = run(graph, [*fixed, *carry], nothing, (), {})
        after = [numbers.values[slot.node][slot.output] for slot in graph.outputs]
        return after, (carry, of_operators(graph, numbers))

    # Compiled like the trips themselves, so that rounding cannot make one more or one less.
    count = _jax.compile_whole(lambda x: jax.lax.while_loop(goes_on, counted, (jnp.int32(0), x))[0])
    length = int(count(start))
    _check_size(node, graph, length, 1)
    replay = _jax.compile_whole(lambda x: jax.lax.scan(trip, x, None, length)[1])
    befores, numbers = replay(start)
    arguments = [*(_repeat(x, length) for x in fixed), *befores]
    return Inside(graph, numbers, arguments, nothing, {}, length)


def _repeat(x: Any, length: int) -> Any:
    """Give an array the leading axis of steps without taking memory for it, but for keys."""
    shape = (length, *x.shape)
    return np.broadcast_to(np.asarray(x), shape) if is_number(x) else jnp.broadcast_to(x, shape)


def _check_size(node: "Node", graph: Graph, length: int, arrays: int) -> None:
    """Raise before the steps of a loop fill the memory."""
    made = [aval for operator in graph.operators if operator.equation for aval in operator.avals]
    step = sum(math.prod(a.shape) * jnp.dtype(a.dtype).itemsize for a in made if is_number(a))
    if (needed := step * length * arrays) > _LARGEST:
        raise TooLargeError(
            f"the {length} steps of {node.label} hold {needed / 2**30:.3g} GiB, more than "
            f"{_LARGEST / 2**30:g}: record a call with fewer steps"
        )
