"""What stands inside a node, run again: a body once, a loop step by step, on every device."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, build, differentiable
from chainrule.xray.passes import Numbers, of_operators, run
from chainrule.xray.record import Entry
from chainrule.xray.stats import is_number

__all__ = [
    "ClosedError",
    "Inside",
    "TooLargeError",
    "body_graph",
    "fits_easily",
    "once",
    "shards",
    "steps",
    "trips",
]
__dir__ = __all__.copy

_KEPT = 32  # compiled replays, each for the next call of the same program
_LARGEST = 4 * 2**30  # bytes of all steps of a loop together


class ClosedError(ValueError):
    """What is inside a node cannot be run again by itself."""


class TooLargeError(ClosedError):
    """The steps of a loop do not fit in memory."""


@dataclasses.dataclass(frozen=True)
class Inside:
    """The graph inside a node, run on the numbers it took: see `chainrule.xray.Record`."""

    graph: Graph
    numbers: Numbers
    arguments: list[Any]
    starts: list[Any]
    wanted: Sequence[int]
    notes: dict[int, str]
    steps: int | None = None
    over: Literal["steps", "devices"] = "steps"


def body_graph(body: _jax.ClosedJaxpr, line: str) -> Graph:
    """Return the graph of a body of a node, of which the line is given."""
    return build(body, [f"input {k}" for k in range(len(body.in_avals))], line)


def fits_easily(node: Entry) -> bool:
    """Tell whether all that the steps of a scan make takes little memory; True of another node."""
    if node.op != "scan" or node.custom:
        return True
    body, _, _, length, _ = _jax.scan_layout(node.equation)
    return length * _bytes(body_graph(body, node.line)) <= _LARGEST // 16


def once(
    body: _jax.ClosedJaxpr,
    arrays: list[Any],
    cotangents: Sequence[Any],
    wanted: Sequence[int],
    node: Entry,
) -> Inside:
    """Run a body once, forward and backward.

    Args:
      body: the body.
      arrays: what it takes.
      cotangents: the gradients of its results, None where none flows.
      wanted: the numbers of the arguments to differentiate with respect to.
      node: the operator that it is the body of.
    """
    graph = body_graph(body, node.line)
    notes: dict[int, str] = {}
    numbers = _jax.compile_whole(lambda x, g: run(graph, x, g, wanted, notes))(
        arrays, list(cotangents)
    )
    return Inside(graph, numbers, arrays, list(cotangents), wanted, notes)


def steps(node: Entry, arrays: list[Any], asked: Sequence[bool]) -> Inside:
    """Replay a scan: forward for the carries, backward for the gradient of every step."""
    body, consts, carries, length, _ = _jax.scan_layout(node.equation)
    asked = list(asked)
    asked[consts : consts + carries] = [any(asked)] * carries
    flags = zip(asked, body.in_avals, strict=True)
    wanted = tuple(k for k, (ask, aval) in enumerate(flags) if ask and differentiable(aval))
    graph, notes, replay = _scan(node.equation, node.line, wanted)
    _check_size(node, graph, length, 2)
    fixed, start = arrays[:consts], arrays[consts:][:carries]
    xs, avals, incoming = arrays[consts + carries :], body.out_avals, node.cotangents
    g_end = [_zeros(g, a) for g, a in zip(incoming[:carries], avals[:carries], strict=True)]
    pairs = zip(incoming[carries:], avals[carries:], strict=True)
    g_ys = [_zeros(g, a, (length,)) for g, a in pairs]
    befores, numbers, gs = replay(fixed, start, xs, g_end, g_ys)
    arguments = [*(_repeat(x, length) for x in fixed), *befores, *xs]
    return Inside(graph, numbers, arguments, gs, wanted, notes, length)


def _zeros(g: Any, aval: Any, lead: tuple[int, ...] = ()) -> Any:
    # NumPy's need no program of their own.
    return np.zeros(lead + tuple(aval.shape), aval.dtype) if g is None else g


_Replay = tuple[Graph, dict[int, str], Callable[..., Any]]


@functools.lru_cache(_KEPT)
def _scan(equation: Any, line: str, wanted: tuple[int, ...]) -> _Replay:
    """Return the graph of a scan's body, the notes on it, and the replay, compiled once."""
    body, consts, carries, length, reverse = _jax.scan_layout(equation)
    graph, avals = body_graph(body, line), body.out_avals
    notes: dict[int, str] = {}
    flows = [differentiable(aval) for aval in avals]

    def replay(fixed: list[Any], start: Any, xs: Any, g_end: Any, g_ys: Any) -> Any:
        def forward(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            outputs = _jax.evaluate(body, [*fixed, *carry, *x])
            return outputs[:carries], carry

        def backward(g_carry: list[Any], step: Any) -> tuple[list[Any], tuple[Numbers, list[Any]]]:
            carry, x, g_y = step
            gs = [g if ok else None for g, ok in zip([*g_carry, *g_y], flows, strict=True)]
            numbers = run(graph, [*fixed, *carry, *x], gs, wanted, notes)
            before = [numbers.cotangents[consts + k][0] for k in range(carries)]
            back = [_zeros(g, aval) for g, aval in zip(before, avals[:carries], strict=True)]
            return back, (of_operators(graph, numbers), gs)

        _, befores = jax.lax.scan(forward, start, xs, length, reverse=reverse)
        rows = befores, xs, g_ys
        _, (numbers, gs) = jax.lax.scan(backward, g_end, rows, length, reverse=not reverse)
        return befores, numbers, gs

    return graph, notes, _jax.compile_whole(replay)


def trips(node: Entry, arrays: list[Any]) -> Inside:
    """Replay a while, forward only: once to count its trips, once to keep what they make."""
    _, _, asked, consts = _jax.while_layout(node.equation)
    graph, count, replay = _while(node.equation, node.line)
    settings, fixed, start = arrays[:asked], arrays[asked:][:consts], arrays[asked + consts :]
    length = int(count(settings, fixed, start))
    _check_size(node, graph, length, 1)
    befores, numbers = replay(length)(fixed, start)
    arguments = [*(_repeat(x, length) for x in fixed), *befores]
    return Inside(graph, numbers, arguments, [None] * len(start), (), {}, length)


@functools.lru_cache(_KEPT)
def _while(equation: Any, line: str) -> tuple[Graph, Callable[..., Any], Callable[..., Any]]:
    """Return the graph of a while's body, what counts its trips, and the replay of so many."""
    condition, body, _, _ = _jax.while_layout(equation)
    graph = body_graph(body, line)

    def count(settings: list[Any], fixed: list[Any], start: list[Any]) -> Any:
        def unfinished(state: Any) -> Any:
            return _jax.evaluate(condition, [*settings, *state[1]])[0]

        def counted(state: Any) -> Any:
            return state[0] + 1, _jax.evaluate(body, [*fixed, *state[1]])

        return jax.lax.while_loop(unfinished, counted, (jnp.int32(0), start))[0]

    @functools.lru_cache(_KEPT)
    def replay(length: int) -> Callable[..., Any]:
        def trips(fixed: list[Any], start: list[Any]) -> Any:
            def trip(carry: list[Any], _: None) -> tuple[list[Any], tuple[list[Any], Numbers]]:
                numbers = run(graph, [*fixed, *carry], [None] * len(start), (), {})
                after = [numbers.values[slot.node][slot.output] for slot in graph.outputs]
                return after, (carry, of_operators(graph, numbers))

            return jax.lax.scan(trip, start, None, length)[1]

        return _jax.compile_whole(trips)

    # Compiled like the trips themselves, so that rounding cannot make one more or one less.
    return graph, _jax.compile_whole(count), replay


def shards(node: Entry, arrays: list[Any], asked: Sequence[bool]) -> Inside:
    """Run a shard_map again, where every device keeps what it computes."""
    body, settings = _jax.shard_layout(node.equation)
    mesh, names = settings["mesh"], settings["axis_names"]
    ins, outs = settings.pop("in_specs"), settings.pop("out_specs")
    graph = body_graph(body, node.line)
    sizes = {name: size for name, size in mesh.shape.items() if name in names}
    _check_size(node, graph, math.prod(sizes.values()), 2)
    notes: dict[int, str] = {}
    wanted = tuple(k for k, ask in enumerate(asked) if ask)
    live = [k for k, g in enumerate(node.cotangents) if g is not None]

    def local(arrays: list[Any], some: list[Any]) -> Any:
        gs: list[Any] = [None] * len(outs)
        for k, g in zip(live, some, strict=True):
            mentioned = jax.tree.leaves(tuple(outs[k]))
            # So JAX shares out a gradient among devices of which it does not know that they agree.
            times = math.prod(size for name, size in sizes.items() if name not in mentioned)
            gs[k] = g if settings["check_vma"] or times == 1 else g / times
        numbers = of_operators(graph, run(graph, arrays, gs, wanted, notes))
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), (arrays, gs, numbers))

    rows = jax.sharding.PartitionSpec(tuple(sizes))
    specs = list(ins), [outs[k] for k in live]
    replay = jax.shard_map(local, in_specs=specs, out_specs=rows, **settings)
    arguments, gs, numbers = _jax.compile_whole(replay)(arrays, [node.cotangents[k] for k in live])
    return Inside(
        graph, numbers, arguments, gs, wanted, notes, math.prod(sizes.values()), over="devices"
    )


def _repeat(x: Any, length: int) -> Any:
    """Give an array the leading axis of steps without taking memory for it, but for keys."""
    shape = (length, *x.shape)
    return np.broadcast_to(np.asarray(x), shape) if is_number(x) else jnp.broadcast_to(x, shape)


def _check_size(node: Entry, graph: Graph, length: int, arrays: int) -> None:
    """Raise before the steps of a loop fill the memory."""
    if (needed := _bytes(graph) * length * arrays) > _LARGEST:
        raise TooLargeError(
            f"the {length} steps of {node.label} hold {needed / 2**30:.3g} GiB, more than "
            f"{_LARGEST / 2**30:g}: record a call with fewer steps"
        )


def _bytes(graph: Graph) -> int:
    """Return what one run of the operators of a graph makes."""
    made = [aval for vertex in graph.nodes if vertex.equation for aval in vertex.avals]
    return sum(math.prod(a.shape) * jnp.dtype(a.dtype).itemsize for a in made if is_number(a))
