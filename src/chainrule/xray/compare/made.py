"""What a second program makes of a first's arrays, operator by operator, while both are matched."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.xray.compare.given import Given
from chainrule.xray.compare.sweep import Pairing, Sweep
from chainrule.xray.compare.ways import Way
from chainrule.xray.graph import Slot
from chainrule.xray.record import Record

__all__ = ["Made"]
__dir__ = __all__.copy


class Made:
    """What the second program's operators make of the first's arrays, one by one.

    Args:
      first: the first record.
      second: the second.
      slots: what is matched by now; it grows.
    """

    def __init__(self, first: Record, second: Record, slots: dict[Slot, Given]) -> None:
        self.second = second
        self.sweep = Sweep(first, second, Pairing(slots, {}), Way("op by op", compiled=False))
        self.known: dict[Slot, Any] = {}

    def forget(self, after: int) -> None:
        """Forget what is made behind an operator that got a counterpart, and all that has one."""
        slots = self.sweep.pairing.slots
        self.known = {s: x for s, x in self.known.items() if s.node <= after and s not in slots}

    def of(self, slot: Slot) -> Any:
        """Return what is made, None where that is not known."""
        if not self.second.runs:
            return self.second.value(slot)
        if slot not in self.known and self.second.nodes[slot.node].kind == "operator":
            for i in self.sweep.region(slot.node):
                if Slot(i, 0) not in self.known:
                    self.known |= self.run(i, {})
        return self.known.get(slot)

    def run(self, index: int, instead: Mapping[Slot, Any]) -> dict[Slot, Any]:
        """Return what one operator makes, with other arrays in the place of some that it takes."""
        node = self.second.nodes[index]
        made: Sequence[Any] = [None] * len(node.avals)
        free = (s for s in node.inputs if s not in self.sweep.pairing.slots)
        known = {s: x for s in free if (x := self.known.get(s)) is not None}
        with contextlib.suppress(TypeError, ValueError, KeyError):  # the shapes are others
            made = self.sweep.make(index, {**known, **instead})
        return {Slot(index, k): x for k, x in enumerate(made)}
