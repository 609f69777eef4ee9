"""What lies before and behind a node of a record, and where a bad number goes from it."""

import functools
from collections.abc import Iterable, Iterator, Sequence

from chainrule.xray.elements import Bad
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record

__all__ = ["Paths"]
__dir__ = __all__.copy


class Paths:
    """The ways through a record.

    Args:
      record: the record.
      values: which values are bad, per node and output.
      cotangents: which gradients are.
      parts: which contributions are, per node and input.
    """

    def __init__(
        self,
        record: Record,
        values: Sequence[Sequence[Bad]],
        cotangents: Sequence[Sequence[Bad]],
        parts: Sequence[Sequence[Bad]],
    ) -> None:
        self.record = record
        self.nodes = record.nodes
        self.values, self.cotangents, self.parts = values, cotangents, parts
        self.ends = {s.node for s in record.outputs if values[s.node][s.output]}

    def is_of_squares(self, node: Entry) -> bool:
        """Whether the first input is a sum of squares, perhaps shifted, scaled or reshaped."""
        while node.inputs:
            node = self.nodes[node.inputs[-1 if node.op == "select_n" else 0].node]
            twice = node.op in ("mul", "dot_general") and len(set(node.inputs)) == 1
            if twice or node.op in ("square", "integer_pow"):
                return True
            if not (node.known.keeps_squares or node.known.copies):
                return False
        return False

    def derived(self, node: Entry, of_rule: bool = False) -> Entry | None:
        """Return the operator whose derivative a node computes, None if that is not known.

        It stands on the same line, and a derivative reads what its operator took or made. What a
        custom rule writes itself is none: only what it differentiates.
        """
        if not set(node.transforms) & {"jvp", "transpose"}:
            return None
        if of_rule:
            own = min(len(n.transforms) for n in self.nodes if n.kind == "operator")
            if "transpose" in node.transforms or len(node.transforms) <= own:
                return None
        near = {k for s in node.inputs for k in (s.node, *self._users(s)) if k < node.index}
        for other in (self.nodes[k] for k in sorted(near)):
            before = len(other.transforms) <= len(node.transforms)
            if before and other.known.backward and other.line == node.line:
                return other
        return None

    def choice(self, start: int) -> Entry | None:
        """Return a choice between two arrays that is made downstream, None if there is none."""
        seen, todo = {start}, [start]
        while todo:
            for reader in self._readers(todo.pop()):
                if self.nodes[reader].op == "select_n":
                    return self.nodes[reader]
                if reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return None

    def below(self, births: Iterable[int]) -> set[int]:
        """Return the nodes whose values are bad because of births: those, and what took them."""
        seen, todo = set(), list(births)
        while todo:
            if (i := todo.pop()) not in seen:
                seen.add(i)
                todo += [reader for reader in self._readers(i) if any(self.values[reader])]
        return seen

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
                in_gradient |= node.is_argument and any(self.cotangents[i])
                todo += [
                    (s.node, True)
                    for s, part in zip(node.inputs, self.parts[i], strict=True)
                    if part
                ]
            else:
                in_result |= i in self.ends
                for reader in self._readers(i):
                    if any(self.values[reader]):
                        todo.append((reader, False))
                    todo.append((reader, True))
        return in_result, in_gradient

    def in_gradient(self, node: Entry) -> bool:
        """Tell whether a node belongs to the gradient that the function itself computes."""
        return node.index in self._gradients

    @functools.cached_property
    def _gradients(self) -> set[int]:
        found: set[int] = set()
        for node in reversed(self.nodes):
            slots = (Slot(node.index, k) for k in range(len(node.avals)))
            readers = [use.node for slot in slots for use in self.record.readers[slot]]
            # A factor of the derivative is computed on the way forward, and used backward only.
            factor = "jvp" in node.transforms and readers and all(k in found for k in readers)
            if "transpose" in node.transforms or factor:
                found.add(node.index)
        return found

    def _readers(self, i: int) -> Iterator[int]:
        for output in range(len(self.nodes[i].avals)):
            yield from self._users(Slot(i, output))

    def _users(self, slot: Slot) -> Iterator[int]:
        return (use.node for use in self.record.readers[slot] if use.node is not None)
