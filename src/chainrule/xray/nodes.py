"""Nodes and edges with their numbers, read from the run of a graph."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from chainrule.xray.graph import Graph, Operator, Slot
from chainrule.xray.passes import Numbers
from chainrule.xray.stats import Stats, stats


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An argument, a constant or an operator, with its numbers.

    Attributes:
      index: its number in the order of execution.
      kind: "parameter" (an argument inside a dict, a list or another container, or one that argnums
        names), "input" (another argument), "constant" or "operator".
      op: the primitive (``"mul"``), or the function that has a custom rule (``"relu"``).
      name: the path of an argument (``"params['layer1']['kernel']"``), else "".
      inputs: node and output number behind each input, one per use.
      line: ``file:line (function)`` in the user's code; "" for arguments and constants.
      within: the innermost line, which differs from ``line`` inside an installed library.
      scope: the `jax.named_scope` around it, separated by slashes.
      calls: the jitted or rematerialized functions around it, outermost first.
      avals: shape and dtype of each output.
      values: each output: an array, or `Stats` if only those are kept.
      cotangents: the gradient of the result with respect to each output; None where none flows.
      contributions: what this use adds to the cotangent of each input; None where none flows.
      note: why no gradient passes, "" if it does.
    """

    index: int
    kind: Literal["parameter", "input", "constant", "operator"]
    op: str
    name: str
    inputs: tuple[Slot, ...]
    line: str
    within: str
    scope: str
    calls: tuple[str, ...]
    avals: tuple[Any, ...]
    values: tuple[Any, ...]
    cotangents: tuple[Any, ...]
    contributions: tuple[Any, ...]
    note: str
    operator: Operator = dataclasses.field(repr=False)

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
        """A short name, unique in the report: the path of an argument, or ``mul_12``."""
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


def read_nodes(
    graph: Graph,
    notes: dict[int, str],
    leaves: Sequence[Any],
    numbers: Numbers,
    keep: str,
    parameters: Sequence[int],
) -> tuple[Node, ...]:
    """Return the nodes of a graph with the numbers of one run.

    Args:
      graph: the graph.
      notes: node number to the reason why no gradient passes it.
      leaves: the arguments, flat.
      numbers: what the run left behind.
      keep: "values" or "stats".
      parameters: the numbers of the arguments that are parameters.

    Returns:
      One node per operator of the graph.
    """
    given = iter(leaves)
    gradients = numbers.cotangents
    nodes: list[Node] = []
    rows = zip(graph.operators, numbers.values, numbers.contributions, strict=True)
    for i, (operator, values, parts) in enumerate(rows):
        if operator.kind != "operator" and keep == "values":
            values = (next(given) if operator.kind == "input" else operator.value,)
        # What a slot's only use contributes is its whole cotangent, and not stored twice.
        contributions = [
            gradients[slot.node][slot.output] if graph.uses[slot] == 1 else part
            for slot, part in zip(
                operator.inputs, parts or (None,) * len(operator.inputs), strict=True
            )
        ]
        nodes.append(
            Node(
                **{field: getattr(operator, field) for field in _COPIED},
                index=i,
                kind="parameter" if i in parameters else operator.kind,
                values=tuple(values),
                cotangents=gradients[i],
                contributions=tuple(contributions),
                note=notes.get(i, ""),
                operator=operator,
            )
        )
    return tuple(nodes)


_COPIED = ("op", "name", "inputs", "line", "within", "scope", "calls", "avals")
