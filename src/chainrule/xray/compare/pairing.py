"""Which operators of two programs belong together: by what they take, by value, by order."""

import itertools
from collections.abc import Sequence
from typing import Any

from chainrule.xray.compare.gaps import guess
from chainrule.xray.compare.keys import (
    index,
    key_of,
    root_of,
    same,
    seen,
    settings,
    transparent,
    varies,
)  # fmt: skip
from chainrule.xray.compare.made import Made
from chainrule.xray.compare.near import Values, order
from chainrule.xray.compare.rows import some
from chainrule.xray.compare.sweep import Given, Pairing
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats

__all__ = ["pair"]
__dir__ = __all__.copy

_ROUNDS = 200
_TIMES, _TINY = 4.0, 1e-7  # as near as the nearest, but for rounding
_COMMUTES = ("add", "mul", "max", "min", "add_any")


def pair(
    first: Record, second: Record, arguments: Sequence[tuple[int, int]] | None = None
) -> Pairing:
    """Return what of two records belongs together.

    Args:
      first: the record that counts as true.
      second: the other.
      arguments: the numbers of those arguments that are the same, where that is known.
    """
    if same(first, second) and all(i == k for i, k in arguments or ()):
        slots = {slot: Given(slot) for slot in second.slots() if varies(second, slot)}
        nodes = {n.index: n.index for n in second.nodes if n.kind == "operator"}
        return Pairing(slots, nodes)
    return _Match(first, second).run(arguments)


class _Match:
    """The search for counterparts, operator by operator of the second program.

    Each runs on the first's arrays, as far as they are known by then. So what it makes can be found
    among those of the first program also behind an operator that is wrong.
    """

    def __init__(self, first: Record, second: Record) -> None:
        self.first, self.second = first, second
        self.slots: dict[Slot, Given] = {}
        self.nodes: dict[int, int] = {}  # second to first
        self.taken: set[int] = set()
        self.direct: dict[int, int] = {}
        self.weak: set[int] = set()
        self.far: set[int] = (
            set()
        )  # of the second, whose results are not those of their counterparts
        self.orders: dict[Any, list[str]] = {}  # of axes, and which operators have it
        self.by_inputs = index(first, {slot: slot for slot in first.slots()})
        self.by_roots = index(first, {slot: root_of(first, slot) for slot in first.slots()})
        self.values = Values(first)
        self.made = Made(first, second, self.slots)

    def run(self, arguments: Sequence[tuple[int, int]] | None) -> Pairing:
        if arguments is None:
            self._arguments()
        for i, k in arguments or ():
            one, two = self.first.nodes[i], self.second.nodes[k]
            if one.avals[0].shape == two.avals[0].shape:
                self._add(one, two)
        for _ in range(_ROUNDS):
            for b in self.second.nodes:
                if b.kind == "operator" and b.index not in self.nodes:
                    self._match(b)
            if not (self._results() or self._by_order()):
                break
        self.weak -= {k for k in self.weak if self._confirmed(k)}
        loops = {b.index: a for b in self.second.nodes if (a := self._loop(b)) is not None}
        notes = (
            f"the axes of the first are in the order {axes} in the second: {some(labels)}"
            for axes, labels in self.orders.items()
        )
        return Pairing(self.slots, self.direct, frozenset(self.weak), tuple(notes), loops)

    def _arguments(self) -> None:
        one, two = ([n for n in r.nodes if n.is_argument] for r in (self.first, self.second))
        alike = [a.avals[0].shape for a in one] == [b.avals[0].shape for b in two]
        names = {a.name: a for a in one}
        pairs = list(zip(one, two, strict=True)) if alike else []
        for a, b in pairs or ((names[b.name], b) for b in two if b.name in names):
            if a.avals[0].shape == b.avals[0].shape:
                self._add(a, b)

    def _add(self, a: Entry, b: Entry, axes: Any = None) -> None:
        self.nodes[b.index] = a.index
        self.taken.add(a.index)
        if axes is not None:
            self.orders.setdefault(axes, []).append(b.label)
        for k in range(min(len(a.avals), len(b.avals))):
            self.slots[Slot(b.index, k)] = Given(Slot(a.index, k), axes if k == 0 else None)
        self.made.forget(b.index)

    def _match(self, b: Entry) -> None:
        """Match an operator by what it takes, or by what it makes of the first's arrays."""
        made = self.made.of(Slot(b.index, 0)) if b.avals else None
        among = self._candidates(b)
        near = {i: axes for i in among if (axes := self._order(i, made)) is not False}
        if not near and not transparent(b):
            known = sorted((error, i, axes) for i, axes, error in self.values.near(made))
            # One that another operator has for a counterpart is computed here once more.
            near = {i: axes for error, i, axes in known if error <= _TIMES * known[0][0] + _TINY}
        free = [i for i in near if i not in self.taken] or [i for i in among if i not in self.taken]
        fixed = all(not varies(self.second, slot) for slot in b.inputs)
        if near:
            i = self._best(b, [i for i in free if i in near] or list(near))
            self._add(self.first.nodes[i], b, near[i])
        elif free and not fixed:
            i = self._best(b, free)
            a = self.first.nodes[i]
            self._add(a, b, self._likely_order(a, b))
            self.far.add(b.index)
        else:
            return
        if self._takes_the_same(self.first.nodes[i], b):
            self.direct[b.index] = i

    def _order(self, i: int, made: Any) -> Any:
        """Return the order of axes in which an array of the first is what was made, else False."""
        a = self.first.nodes[i]
        if made is None or not a.values or isinstance(a.value, Stats):
            return False
        return order(a.value, made)

    def _takes_the_same(self, a: Entry, b: Entry) -> bool:
        given = self.slots.get(Slot(b.index, 0))
        if len(a.inputs) != len(b.inputs) or len(a.avals) != len(b.avals) or a.op != b.op:
            return False
        if a.index in self.direct.values():  # another has its gradient already
            return False
        if given is not None and given.axes is not None:
            return False
        pairs = zip(a.inputs, b.inputs, strict=True)
        return all(self._partner(y) == seen(self.first, x) for x, y in pairs)

    def _partner(self, slot: Slot) -> Any:
        """Return the array of the first program, None for a constant; itself if there is none."""
        if not varies(self.second, slot):
            return None
        given = self.slots.get(slot)
        return ("?", slot) if given is None or given.axes is not None else given.slot

    def _candidates(self, b: Entry) -> list[int]:
        """Return the operators of the first program that take what this one takes."""
        partners = [self._partner(slot) for slot in b.inputs]
        rows = [self.by_inputs.get(key_of(b, partners), [])]
        if b.op in _COMMUTES and len(partners) == 2:
            rows.append(self.by_inputs.get(key_of(b, partners[::-1]), []))
        if not transparent(b) and any(x is not None for x in partners):
            roots = [self._root(slot) for slot in b.inputs]
            known = self.by_roots.get(key_of(b, roots), [])
            rows.append([i for i in known if not transparent(self.first.nodes[i])])
        shape = b.avals[0].shape if b.avals else ()
        # What depends on nothing but constants, or only reorders, says little but by its shape.
        strict = transparent(b) or all(x is None for x in partners)
        free = (
            [i for i in row if not (strict and self.first.nodes[i].avals[0].shape != shape)]
            for row in rows
        )
        return next(filter(None, free), [])

    def _root(self, slot: Slot) -> Any:
        """Return the array of the first program that an input is a copy of, or its own root."""
        slot = self._open_root(slot)
        if not varies(self.second, slot):
            return None
        given = self.slots.get(slot)
        return ("?", slot) if given is None else seen(self.first, root_of(self.first, given.slot))

    def _best(self, b: Entry, among: Sequence[int]) -> int:
        """Return the operator with the same settings and numbers, else the first."""
        if len(among) > 1:
            wants = settings(self.second, b)
            same = [i for i in among if settings(self.first, self.first.nodes[i]) == wants]
            return (same or among)[0]
        return among[0]

    def _confirmed(self, index: int) -> bool:
        """Tell whether what reads a guessed array makes with the first's what the first made."""
        todo, mine = [Slot(index, 0)], self.nodes[index]
        for slot in todo:
            for use in self.second.readers[slot]:
                if use.node is None:
                    continue
                if use.node not in self.nodes:
                    if transparent(self.second.nodes[use.node]):
                        todo.append(Slot(use.node, 0))
                elif use.node not in self.far:
                    reader = self.first.nodes[self.nodes[use.node]]
                    if mine in {root_of(self.first, x).node for x in reader.inputs}:
                        return True
        return False

    def _loop(self, b: Entry) -> int | None:
        """Return the loop of the first program that takes most of what an unmatched one takes."""
        if b.index in self.nodes or b.op not in ("scan", "while"):
            return None
        mine = {self.slots[slot].slot for slot in b.inputs if slot in self.slots}
        loops = {i for k, i in self.nodes.items() if self.second.nodes[k].op == b.op}
        shared = {
            a.index: len(mine & set(a.inputs))
            for a in self.first.nodes
            if a.op == b.op and a.index not in loops
        }
        best = max(shared, key=lambda i: shared[i], default=None)
        return best if best is not None and 2 * shared[best] > len(mine) else None

    def _results(self) -> bool:
        """Match what makes the results, position by position."""
        if len(self.first.outputs) != len(self.second.outputs):
            return False
        for x, y in zip(self.first.outputs, self.second.outputs, strict=True):
            a, b = self.first.nodes[x.node], self.second.nodes[y.node]
            free = a.index not in self.taken and b.index not in self.nodes
            shapes = a.avals[x.output].shape == b.avals[y.output].shape
            if free and shapes and a.kind == b.kind == "operator" and x.output == y.output:
                self._guess(a, b)
                return True
        return False

    def _guess(self, a: Entry, b: Entry) -> None:
        self._add(a, b, self._likely_order(a, b))
        self.weak.add(b.index)
        self.far.add(b.index)
        self._explain(a, b)

    def _explain(self, a: Entry, b: Entry) -> None:
        """Match what two operators take, if the second's then makes what the first's made."""
        if len(a.inputs) != len(b.inputs) or a.op != b.op:
            return
        found: list[tuple[Entry, Entry, Any]] = []
        for x, y in zip(a.inputs, b.inputs, strict=True):
            x, y = root_of(self.first, x), self._open_root(y)
            one, two = self.first.nodes[x.node], self.second.nodes[y.node]
            if y in self.slots or two.kind != "operator" or one.kind != "operator":
                continue
            if any(two is known or one is other for other, known, _ in found):
                continue
            if one.index in self.taken or sorted(one.avals[0].shape) != sorted(two.avals[0].shape):
                return
            found.append((one, two, self._likely_order(one, two)))
        for one, two, axes in found:
            self.slots[Slot(two.index, 0)] = Given(Slot(one.index, 0), axes)
        mine = self.slots.pop(Slot(b.index, 0))
        self.made.forget(0)
        axes = self._order(a.index, self.made.of(Slot(b.index, 0)))
        self.slots[Slot(b.index, 0)] = mine if axes is False else mine._replace(axes=axes)
        for one, two, order_ in found:
            del self.slots[Slot(two.index, 0)]
            if axes is not False:
                near = self._order(one.index, self.made.of(Slot(two.index, 0)))
                self._add(one, two, order_ if near is False else near)
                self.far |= {two.index} if near is False else set()
        if axes is not False and found:
            self.far.discard(b.index)
            self.weak.discard(b.index)
            for one, two, _ in found:
                self._explain(one, two)
        self.made.forget(0)

    def _open_root(self, slot: Slot) -> Slot:
        while slot not in self.slots and transparent(node := self.second.nodes[slot.node]):
            slot = node.inputs[0]
        return slot

    def _likely_order(self, a: Entry, b: Entry) -> Any:
        """Return the order of axes that the shapes leave, of several that of the most others."""
        one, two = tuple(a.avals[0].shape), tuple(b.avals[0].shape)
        if one == two or sorted(one) != sorted(two):
            return None
        fits = [
            axes
            for axes in itertools.permutations(range(len(one)))
            if tuple(one[k] for k in axes) == two
        ]
        return max(fits, key=lambda axes: len(self.orders.get(axes, ())))

    def _by_order(self) -> bool:
        """Match the first operator of a gap that both programs have there, in the same order."""
        found = guess(self.first, self.second, self.nodes, self.far)
        if found is not None:
            self._guess(*found)
        return found is not None
