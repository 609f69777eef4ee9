"""Where a trap may lie: operators whose inputs can reach what makes them infinite or undefined."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp

from chainrule.xray import _jax
from chainrule.xray.auditing.origins import origin
from chainrule.xray.auditing.ranges import EVERYTHING, Range, of_array, ranges, widened
from chainrule.xray.bodies import body_graph
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.primitives import Pole
from chainrule.xray.record import Entry, Record

__all__ = ["Candidate", "Kind", "arguments_of", "find", "reach"]
__dir__ = __all__.copy

Kind = Literal["pole", "matrix", "mask", "overflow", "index", "inside", "integers"]
"""What may happen: infinite or undefined at a number; for some matrices; where a mask empties a
row; an integer beyond its type; an index out of range; the first three in a loop or a branch; the
other two there."""

_INTEGERS = (
    *("mul", "add", "sub", "reduce_sum", "integer_pow", "cumsum", "square"),
    *("reduce_prod", "cumprod"),
)
_PARTS = ("slice", "dynamic_slice", "gather")
_MOVED = ("convert_element_type", "concatenate", "select_n", "add")


class Candidate(NamedTuple):
    """One operator, and what may happen there.

    Attributes:
      node: the number of its node in the record; of what is inside a loop, that of the loop.
      kind: what may happen.
      pole: where, if it is at a number.
      arguments: the numbers of the arguments that it depends on.
    """

    node: int
    kind: Kind
    pole: Pole | None
    arguments: frozenset[int]


def find(record: Record) -> list[Candidate]:
    """Return every operator of a record that may be a trap, in the order of execution.

    Args:
      record: the record; it keeps values.
    """
    known = ranges(record, [reach(record, node) for node in record.nodes if node.is_argument])
    before = arguments_of(record)
    found = []
    for i, node in enumerate(record.nodes):
        if node.kind == "operator" and before[i]:
            some = dict.fromkeys(_in(record, i, known))
            found += [Candidate(i, kind, pole, before[i]) for kind, pole in some]
    return found


def reach(record: Record, node: Entry) -> Range:
    """Return what an argument can hold; of the indices of a library, the positions that there are.

    Args:
      record: the record.
      node: the argument.
    """
    size = _indexed(record).get(node.index)
    if size is None:
        return widened(node.value)
    own = of_array(node.value)
    return Range(min(own.low, 0.0), max(own.high, size - 1.0))


def arguments_of(graph: Graph) -> list[frozenset[int]]:
    """Return for each node the numbers of the arguments that it depends on."""
    found: list[frozenset[int]] = []
    for i, node in enumerate(graph.nodes):
        own = frozenset([i]) if node.is_argument else frozenset()
        found.append(own.union(*(found[slot.node] for slot in node.inputs)))
    return found


def _indexed(record: Record) -> dict[int, int]:
    """Return the arguments that a library takes as indices as they are, with the axis's size."""
    found: dict[int, int] = {}
    for node in record.nodes:
        if node.op == "gather" and node.within != node.line:
            axes = node.equation.params["dimension_numbers"].start_index_map
            table = record.nodes[node.inputs[0].node].avals[node.inputs[0].output].shape
            origin = _plain_source(record, node.inputs[1])
            if origin is not None and len(axes) == 1:
                found[origin] = min(table[axes[0]], found.get(origin, table[axes[0]]))
    return found


def _plain_source(graph: Graph, slot: Slot) -> int | None:
    """Return the argument that an index is, but for the way negative ones are counted."""
    todo, found = [slot], set()
    while todo:
        node = graph.nodes[(slot := todo.pop()).node]
        if node.is_argument:
            found.add(slot.node)
        elif node.op == "select_n":
            todo += node.inputs[1:]
        elif node.op in _PARTS:
            todo += node.inputs[:1]
        elif node.known.copies or node.op in _MOVED:
            todo += node.inputs
        elif node.kind != "constant" and node.op != "iota":
            return None
    return found.pop() if len(found) == 1 else None


def _in(
    graph: Graph, index: int, known: Mapping[Slot, Range]
) -> Iterator[tuple[Kind, Pole | None]]:
    """Yield what may happen in one operator."""
    node = graph.nodes[index]
    taken = [known[slot] for slot in node.inputs]
    dtype = node.avals[0].dtype if node.avals else jnp.dtype(bool)
    if jnp.issubdtype(dtype, jnp.inexact):
        for pole in () if _is_power(node, taken) else node.known.poles:
            if _reaches(taken[pole.input], pole):
                yield "pole", pole
        if node.known.degenerate and taken[0].free:
            yield "matrix", None
        if node.op == "select_n" and taken[0].free and _is_mask(graph, node):
            yield "mask", None
    elif jnp.issubdtype(dtype, jnp.signedinteger) and node.op in _INTEGERS:
        made, about = known[Slot(index, 0)], jnp.iinfo(dtype)
        finite = math.isfinite(made.low) and math.isfinite(made.high)
        if finite and made.free and (made.low < about.min or made.high > about.max):
            yield "overflow", None
    if node.op in ("gather", "dynamic_slice") and _can_miss(graph, node, taken):
        yield "index", None
    if not node.custom:
        for kind in dict.fromkeys(_inside(node, taken)):
            yield kind, None


def _is_power(node: Vertex, taken: Sequence[Range]) -> bool:
    """Tell whether an operator is a power without a pole: of a positive integer."""
    if node.op == "integer_pow":
        return bool(node.equation.params["y"] >= 0)
    return node.op == "pow" and not taken[1].free and taken[1].low == taken[1].high >= 2


def _reaches(x: Range, pole: Pole) -> bool:
    beyond = (pole.side < 0 and x.low < pole.value) or (pole.side > 0 and x.high > pole.value)
    return x.free and (beyond or x.holds(pole.value))


def _is_mask(graph: Graph, node: Vertex) -> bool:
    def infinite(slot: Slot) -> bool:
        constant = graph.nodes[origin(graph, slot).node].constant
        return constant is not None and bool(jnp.any(jnp.isneginf(jnp.asarray(constant))))

    return any(infinite(slot) for slot in node.inputs[1:])


def _can_miss(graph: Graph, node: Vertex, taken: Sequence[Range]) -> bool:
    table = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output].shape
    sizes = node.equation.params["slice_sizes"]
    if node.op == "dynamic_slice":
        ends = [size - taken for size, taken in zip(table, sizes, strict=True)]
        pairs = list(zip(taken[1:], ends, strict=False))
    elif "CLIP" in str(node.equation.params["mode"]):
        return False
    else:
        axes = node.equation.params["dimension_numbers"].start_index_map
        pairs = [(taken[1], min((table[a] - sizes[a] for a in axes), default=0))]
    return any(row.free and (row.low < 0 or row.high > end) for row, end in pairs)


def _inside(node: Vertex, taken: Sequence[Range]) -> Iterator[Kind]:
    """Yield "inside" for what may be infinite or undefined in a loop or a branch.

    And "integers" for what may overflow there, or be out of range.
    """
    for body, given in _bodies(node, taken):
        graph = body_graph(body, node.line)
        known = ranges(graph, given)
        for i, inner in enumerate(graph.nodes):
            if inner.kind == "operator":
                for kind, _ in _in(graph, i, known):
                    integers = kind in ("overflow", "index", "integers")
                    if kind != "index" or _is_bounded(inner, known):
                        yield "integers" if integers else "inside"


def _is_bounded(node: Vertex, known: Mapping[Slot, Range]) -> bool:
    """Tell whether an index comes from arguments, and not from what a loop carries."""
    some = [known[slot] for slot in node.inputs[1 : 2 if node.op == "gather" else None]]
    return all(math.isfinite(index.low) and math.isfinite(index.high) for index in some)


def _bodies(
    node: Vertex, taken: Sequence[Range]
) -> Iterator[tuple[_jax.ClosedJaxpr, Sequence[Range]]]:
    """Yield what a loop or a branch runs, and what that takes; what a loop carries can be all."""
    if node.op == "cond":
        for one in node.equation.params["branches"]:
            yield _jax.close(one), taken[1:]
    elif node.op == "scan":
        body, consts, carries, _, _ = _jax.scan_layout(node.equation)
        yield body, [*taken[:consts], *[EVERYTHING] * carries, *taken[consts + carries :]]
    elif node.op == "while":
        _, body, _, _ = _jax.while_layout(node.equation)
        yield body, [EVERYTHING] * len(body.in_avals)
    elif node.op == "shard_map":
        body, _ = _jax.shard_layout(node.equation)
        yield body, taken
