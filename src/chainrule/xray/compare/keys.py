"""What tells the operators of two programs apart: their names, their settings, what they take."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray.elements import numbers
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.record import Entry

__all__ = [
    "index",
    "key_of",
    "root_of",
    "rounds",
    "same",
    "seen",
    "settings",
    "transparent",
    "varies",
]
__dir__ = __all__.copy

_Key = tuple[Any, ...]


def same(first: Graph, second: Graph) -> bool:
    """Tell whether two graphs have the same operators on the same arrays, with any settings."""
    if len(first.nodes) != len(second.nodes) or first.outputs != second.outputs:
        return False
    return all(
        a.op == b.op
        and a.inputs == b.inputs
        and a.is_argument == b.is_argument
        and len(a.avals) == len(b.avals)
        for a, b in zip(first.nodes, second.nodes, strict=True)
    )


def varies(graph: Graph, slot: Slot) -> bool:
    """Tell whether an array is computed or given, and not written in the program."""
    return graph.nodes[slot.node].kind != "constant"


def transparent(node: Vertex) -> bool:
    """Tell whether an operator hands on the elements that it takes, in another order or type."""
    return not node.custom and (
        node.known.copies or node.op in ("convert_element_type", "reduce_precision")
    )


def rounds(graph: Graph, node: Vertex) -> bool:
    """Tell whether an operator changes nothing but the precision of floats."""
    types = [graph.nodes[s.node].avals[s.output].dtype for s in node.inputs]
    types += [aval.dtype for aval in node.avals]
    floats = all(jnp.issubdtype(dtype, jnp.floating) for dtype in types)
    return floats and node.op in ("convert_element_type", "reduce_precision")


def seen(graph: Graph, slot: Slot) -> Slot | None:
    """Return an array, None for a constant."""
    return slot if varies(graph, slot) else None


def key_of(node: Vertex, inputs: Sequence[Any]) -> _Key:
    """Return what tells an operator from others: its name and what it takes."""
    return node.op, node.custom, len(node.avals), tuple(inputs)


def index(graph: Graph, of: dict[Slot, Slot]) -> dict[_Key, list[int]]:
    """Return the operators of a graph by their keys, with a name for each array."""
    found: dict[_Key, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        if node.kind == "operator":
            key = key_of(node, [seen(graph, of[slot]) for slot in node.inputs])
            found.setdefault(key, []).append(i)
    return found


def root_of(graph: Graph, slot: Slot) -> Slot:
    """Return the array that another is a copy of, in another order or type."""
    while graph.nodes[slot.node].inputs and transparent(graph.nodes[slot.node]):
        slot = graph.nodes[slot.node].inputs[0]
    return slot


def settings(graph: Graph, node: Entry) -> str:
    """Return the numbers and the settings of an operator, to tell two from another."""
    literals = [
        np.asarray(x.constant).tolist()
        for slot in node.inputs
        if (x := graph.nodes[slot.node]).kind == "constant"
        and not x.avals[0].shape
        and numbers(x.constant) is not None
    ]
    plain = {} if node.equation is None or node.custom else node.equation.params
    return f"{literals} {sorted((k, str(v)) for k, v in plain.items() if 'jaxpr' not in k)}"
