"""The record of one call, as data: every operator with its value and its gradient."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from chainrule import _require
from chainrule.xray.graph import Graph, Slot, Use, Vertex
from chainrule.xray.passes import Numbers
from chainrule.xray.stats import Stats, is_number, stats

__all__ = [
    "LEAF",
    "Device",
    "Edge",
    "Entry",
    "Record",
    "Trees",
    "UnknownNodeError",
    "changed",
    "entries",
    "fields_of",
    "measured",
]
__dir__ = __all__.copy

LEAF: Any = jax.tree.structure(0)
"""The pytree of one array."""


class Device(int):
    """The number of a device, among numbers of steps."""


class UnknownNodeError(LookupError, ValueError):
    """No node has this label."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Entry(Vertex):
    """A vertex with its numbers: an argument, a constant or an operator.

    Attributes:
      index: its number in the order of execution.
      values: each output: an array, or `Stats` if only those are kept.
      cotangents: the gradient of the result with respect to each output; None where none flows.
      contributions: what this use adds to the cotangent of each input; None where none flows.
      note: why no gradient passes, "" if it does.
    """

    index: int
    values: tuple[Any, ...]
    cotangents: tuple[Any, ...]
    contributions: tuple[Any, ...]
    note: str = ""

    @property
    def value(self) -> Any:
        """The first output, the only one of most operators; None of one that returns nothing."""
        return self.values[0] if self.values else None

    @property
    def cotangent(self) -> Any:
        """The gradient of the result with respect to the first output."""
        return self.cotangents[0] if self.cotangents else None

    @property
    def label(self) -> str:
        """A short name, unique in the record: the path of an argument, or ``mul_12``."""
        return self.name or f"{self.op}_{self.index}"

    def measure(self, x: Any, output: int = 0) -> Stats:
        """Return the statistics of a value or a gradient of one output."""
        return x if isinstance(x, Stats) else stats(x)._replace(dtype=str(self.avals[output].dtype))

    def stats(self, output: int = 0) -> Stats:
        """Return the statistics of one output's value."""
        return self.measure(self.values[output], output)

    def cotangent_stats(self, output: int = 0) -> Stats | None:
        """Return the statistics of one output's gradient, None where none flows."""
        g = self.cotangents[output] if self.cotangents else None
        return None if g is None else self.measure(g, output)


@dataclasses.dataclass(frozen=True, eq=False)
class Edge:
    """One use of an array.

    Attributes:
      source: the number of the node that made it.
      output: which of that node's outputs it is.
      target: the number of the node that uses it; None where it is a result of the function.
      position: which of that node's inputs it is, or which result.
      contribution: what this use adds to the array's gradient; None where none flows.
    """

    source: int
    output: int
    target: int | None
    position: int
    contribution: Any


class Trees(NamedTuple):
    """How flat rows of arrays make what the function takes and returns.

    Attributes:
      arguments: the structure of each argument.
      result: that of what it returns.
      has_aux: whether it returns a pair of which only the first part is differentiated.
    """

    arguments: tuple[Any, ...]
    result: Any
    has_aux: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record(Graph):
    """What one call of one function computed: a graph with its numbers.

    Attributes:
      function: its name.
      nodes: arguments, constants and operators in the order of execution, arguments first.
      outputs: node and output number of each result, flat.
      starts: the gradient that was given at each result, None where none was.
      wanted: the numbers of the arguments that were differentiated with respect to.
      trees: the structures of arguments and results.
      keep: "values" or "stats".
      compiled: whether everything ran as one compiled program, or operator by operator.
      steps: inside a loop, how many steps it took, inside a shard_map how many devices: every array
        but a constant leads with that axis; else None.
      over: whether that axis is of steps or of devices.
      program: what computed it, from arguments and starts, both flat, to `Numbers`; None where that
        is not at hand.
    """

    function: str
    nodes: tuple[Entry, ...]
    starts: tuple[Any, ...]
    wanted: tuple[int, ...]
    trees: Trees
    keep: Literal["values", "stats"]
    compiled: bool
    steps: int | None = None
    over: Literal["steps", "devices"] = "steps"
    program: Callable[[Sequence[Any], Sequence[Any]], Numbers] | None = None

    @functools.cached_property
    def runs(self) -> bool:
        """Whether its operators can run again; those of a record read from a file cannot."""
        return all(node.equation is not None for node in self.nodes if node.kind == "operator")

    def value(self, slot: Slot) -> Any:
        """Return the array in a slot."""
        return self.nodes[slot.node].values[slot.output]

    def taken(self, node: Entry) -> list[Any]:
        """Return the arrays that a node took."""
        return [self.value(slot) for slot in node.inputs]

    def contribution(self, use: Use) -> Any:
        """Return what one use adds to the gradient of the array, None where none flows."""
        if use.node is None:
            return self.starts[use.position]
        return self.nodes[use.node].contributions[use.position]

    @functools.cached_property
    def opened(self) -> dict[int, "Record"]:
        """What ran inside nodes, by their numbers, once it was asked for: each runs but once."""
        return {}

    @functools.cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every use of every array: by operators in the order of execution, then as results."""
        uses = [(slot, Use(n.index, k)) for n in self.nodes for k, slot in enumerate(n.inputs)]
        uses += [(slot, Use(None, k)) for k, slot in enumerate(self.outputs)]
        return tuple(Edge(*slot, *use, self.contribution(use)) for slot, use in uses)

    @functools.cached_property
    def _returned(self) -> tuple[Any, Any]:
        whole = jax.tree.unflatten(self.trees.result, [self.value(slot) for slot in self.outputs])
        return whole if self.trees.has_aux else (whole, None)

    @property
    def output(self) -> Any:
        """What the function returned, without its second part under ``has_aux``."""
        return self._returned[0]

    @property
    def aux(self) -> Any:
        """The second part of what it returned, under ``has_aux``."""
        return self._returned[1]

    @functools.cached_property
    def grads(self) -> tuple[Any, ...]:
        """One pytree of gradients per argument, as `jax.grad` gives them.

        None for what was not asked for or holds no floats, and where the gradient is unknown
        because it would come through an operator that none passes.
        """
        nodes = iter(self.nodes)
        return tuple(
            jax.tree.unflatten(tree, [self._grad(next(nodes)) for _ in range(tree.num_leaves)])
            for tree in self.trees.arguments
        )

    def _grad(self, node: Entry) -> Any:
        if node.index not in self.wanted:
            return None
        if node.cotangent is not None or node.note:
            return node.cotangent
        (aval,) = node.avals  # nothing flows back to it: its gradient is zero
        shape = tuple(aval.shape) if self.steps is None else (self.steps, *aval.shape)
        if self.keep == "values":
            return np.zeros(shape, aval.dtype)
        return Stats(shape, str(aval.dtype), 0.0, 0.0, 0.0, 0.0, float(0 not in shape), 0, 0)

    def node(self, name: str) -> Entry:
        """Return the node of that label: the path of an argument, or ``mul_12``.

        Raises:
          UnknownNodeError: there is none.
          ValueError: the name is no text.
        """
        _require.text("name", name)
        for node in self.nodes:
            if node.label == name:
                return node
        labels = ", ".join(node.label for node in self.nodes[:12])
        raise UnknownNodeError(f"no node has the name {name!r}: there are {labels}, ...")


def changed(record: Record, change: Callable[[Any], Any]) -> tuple[Entry, ...]:
    """Return the nodes of a record with other arrays, None where there is none."""

    def of(row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(None if x is None else change(x) for x in row)

    return tuple(
        dataclasses.replace(
            node,
            values=of(node.values),
            cotangents=of(node.cotangents),
            contributions=of(node.contributions),
        )
        for node in record.nodes
    )


def measured(record: Record) -> Record:
    """Return a record with statistics in the place of its arrays, of all steps together."""
    nodes = changed(record, lambda x: x if isinstance(x, Stats) else _stats(x))
    return dataclasses.replace(record, nodes=nodes, keep="stats", steps=None, program=None)


def _stats(x: Any) -> Stats | None:
    return stats(x) if is_number(x) else None


def entries(
    graph: Graph,
    numbers: Numbers,
    arguments: Sequence[Any],
    *,
    keep: str,
    notes: dict[int, str],
    parameters: Sequence[int] = (),
) -> tuple[Entry, ...]:
    """Return the nodes of a graph with the numbers of one run.

    Args:
      graph: the graph.
      numbers: what the run left behind.
      arguments: what it was run on, flat.
      keep: "values" or "stats".
      notes: node number to the reason why no gradient passes it.
      parameters: the numbers of the arguments that are parameters.

    Returns:
      One entry per node of the graph.
    """
    given = iter(arguments)
    gradients = numbers.cotangents
    found: list[Entry] = []
    rows = zip(graph.nodes, numbers.values, numbers.contributions, strict=True)
    for i, (node, values, parts) in enumerate(rows):
        if node.kind != "operator" and keep == "values":
            values = (next(given) if node.is_argument else node.constant,)
        parts = parts or (None,) * len(node.inputs)
        found.append(
            Entry(
                **fields_of(node) | ({"kind": "parameter"} if i in parameters else {}),
                index=i,
                values=tuple(values),
                cotangents=gradients[i],
                # What a slot's only use contributes is its whole cotangent, and not stored twice.
                contributions=tuple(
                    gradients[s.node][s.output] if len(graph.readers[s]) == 1 else part
                    for s, part in zip(node.inputs, parts, strict=True)
                ),
                note=notes.get(i, ""),
            )
        )
    return tuple(found)


def fields_of(node: Vertex) -> dict[str, Any]:
    """Return what a node is without the arrays of a run."""
    return {field.name: getattr(node, field.name) for field in dataclasses.fields(Vertex)}
