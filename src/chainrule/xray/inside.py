"""What is inside a node: the body of a custom rule, the branch taken, the steps of a scan."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, build, differentiable
from chainrule.xray.passes import Numbers, run

if TYPE_CHECKING:
    from chainrule.xray.record import Node


@dataclasses.dataclass(frozen=True)
class Inside:
    """The graph inside a node, run on the numbers that the node took.

    Attributes:
      graph: its operators.
      numbers: its values and gradients; of a scan with a leading axis of steps.
      arguments: what went in, one per input of the graph; of a scan with that axis, too.
      starts: the gradient of each result; of a scan with that axis, too.
      notes: node number to the reason why no gradient passes it.
      steps: how many steps a scan took, None of anything else.
    """

    graph: Graph
    numbers: Numbers
    arguments: list[Any]
    starts: list[Any]
    notes: dict[int, str]
    steps: int | None


def can_open(node: "Node") -> bool:
    """Tell whether a node has an inside."""
    eqn = node.operator.equation
    if eqn is None:
        return False
    return _jax.rule_body(eqn) is not None or eqn.primitive.name in ("cond", "scan")


def scan_constants(node: "Node") -> int:
    """Return how many of the first inputs every step of a scan takes; 0 of another node."""
    eqn = node.operator.equation
    return _jax.scan_layout(eqn)[1] if eqn is not None and eqn.primitive.name == "scan" else 0


def look(node: "Node", taken: Sequence[Any]) -> Inside:
    """Run the inside of a node.

    Args:
      node: a node whose operator has a body.
      taken: the values of its inputs.

    Returns:
      The inside.

    Raises:
      ValueError: the operator has no inside.
    """
    if not can_open(node):
        raise ValueError(f"{node.label} has no inside: only custom rules, cond and scan have one")
    eqn = node.operator.equation
    body = _jax.rule_body(eqn)
    if body is not None:  # its own gradient is the rule's, and not that of the body
        return _once(body, taken, [None] * len(body.out_avals), (), node.line)
    if eqn.primitive.name == "scan":
        return _steps(node, taken)
    branches = eqn.params["branches"]
    which = int(np.clip(int(taken[0]), 0, len(branches) - 1))
    wanted = tuple(k for k, part in enumerate(node.contributions[1:]) if part is not None)
    return _once(branches[which], taken[1:], node.cotangents, wanted, node.line)


def _once(
    body: _jax.ClosedJaxpr,
    taken: Sequence[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    line: str,
) -> Inside:
    graph = build(
        body, [f"input {k}" for k in range(len(taken))], line if _jax.is_library(body) else ""
    )
    notes: dict[int, str] = {}
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    numbers = _jax.compile_whole(lambda x, g: run(graph, x, g, wanted, notes))(
        arrays, list(cotangents)
    )
    return Inside(graph, numbers, arrays, list(cotangents), notes, None)


def _steps(node: "Node", taken: Sequence[Any]) -> Inside:
    """Replay a scan: forward for the carries, backward for the gradient of every step."""
    body, consts, carries, length, reverse = _jax.scan_layout(node.operator.equation)
    graph = build(
        body, [f"input {k}" for k in range(len(taken))], node.line if _jax.is_library(body) else ""
    )
    notes: dict[int, str] = {}
    avals = body.out_avals
    wanted = tuple(k for k, aval in enumerate(body.in_avals) if differentiable(aval))
    flows = [differentiable(aval) for aval in avals]

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
        return back, (numbers, gs)

    def replay(start: list[Any], xs: list[Any], g_end: list[Any], g_ys: list[Any]) -> Any:
        _, befores = jax.lax.scan(forward, start, xs, length, reverse=reverse)
        _, (numbers, gs) = jax.lax.scan(
            backward, g_end, (befores, xs, g_ys), length, reverse=not reverse
        )
        return befores, numbers, gs

    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    fixed, start, xs = (
        arrays[:consts],
        arrays[consts : consts + carries],
        arrays[consts + carries :],
    )
    incoming = node.cotangents
    g_end = [zeros(g, a) for g, a in zip(incoming[:carries], avals[:carries], strict=True)]
    pairs = zip(incoming[carries:], avals[carries:], strict=True)
    g_ys = [zeros(g, a, (length,)) for g, a in pairs]
    befores, numbers, gs = _jax.compile_whole(replay)(start, xs, g_end, g_ys)
    repeated = [jnp.broadcast_to(x, (length, *x.shape)) for x in fixed]
    return Inside(graph, numbers, [*repeated, *befores, *xs], gs, notes, length)
