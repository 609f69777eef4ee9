"""What lies before and behind a node of a record, and where a bad number goes from it."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.xray.elements import Bad

if TYPE_CHECKING:
    from chainrule.xray.nodes import Node
    from chainrule.xray.record import Report

# A sum of squares stays one through these.
_PASSING = frozenset(
    {"reduce_sum", "div", "mul", "add", "reshape", "broadcast_in_dim", "squeeze", "select_n"}
    | {"convert_element_type"}
)


class Paths:
    """The ways through a report.

    Args:
      report: the report.
      values: which values are bad, per node and output.
      cotangents: which gradients are.
      parts: which contributions are, per node and input.
    """

    def __init__(
        self,
        report: "Report",
        values: Sequence[Sequence[Bad]],
        cotangents: Sequence[Sequence[Bad]],
        parts: Sequence[Sequence[Bad]],
    ) -> None:
        self.nodes = report.nodes
        self.values, self.cotangents, self.parts = values, cotangents, parts
        self.ends = {s.node for s in report.outputs if values[s.node][s.output]}

    def is_of_squares(self, node: "Node") -> bool:
        """Whether the first input is a sum of squares, perhaps shifted, scaled or reshaped."""
        while node.inputs:
            node = self.nodes[node.inputs[-1 if node.op == "select_n" else 0].node]
            square = node.op in ("square", "integer_pow") or (
                node.op == "mul" and len(set(node.inputs)) == 1
            )
            if square:
                return True
            if node.op not in _PASSING:
                return node.op == "dot_general"
        return False

    def is_masked(self, start: int) -> bool:
        """Whether a choice between two arrays is made downstream."""
        seen, todo = {start}, [start]
        while todo:
            for reader in self._readers.get(todo.pop(), ()):
                if self.nodes[reader].op == "select_n":
                    return True
                if reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return False

    def reach(self, start: int, phase: str) -> tuple[bool, bool]:
        """Follow what is bad: whether it gets to the result, and to an argument's gradient."""
        in_result = in_gradient = False
        seen: set[tuple[int, bool]] = set()
        todo = [(start, phase == "backward")] + ([(start, True)] if phase == "forward" else [])
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            i, backward = state
            node = self.nodes[i]
            if backward:
                in_gradient |= node.kind in ("input", "parameter") and any(self.cotangents[i])
                todo += [
                    (s.node, True)
                    for s, part in zip(node.inputs, self.parts[i], strict=True)
                    if part
                ]
            else:
                in_result |= i in self.ends
                for reader in self._readers.get(i, ()):
                    if any(self.values[reader]):
                        todo.append((reader, False))
                    todo.append((reader, True))
        return in_result, in_gradient

    @functools.cached_property
    def _readers(self) -> dict[int, list[int]]:
        readers: dict[int, list[int]] = {}
        for node in self.nodes:
            for slot in node.inputs:
                readers.setdefault(slot.node, []).append(node.index)
        return readers
