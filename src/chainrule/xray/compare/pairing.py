"""Which arrays of two programs belong together: by what is made of what is known by then."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.xray.compare import keys
from chainrule.xray.compare.given import Given
from chainrule.xray.compare.loops import ends, parted, states
from chainrule.xray.compare.made import Made
from chainrule.xray.compare.near import Values, is_exchanged, order
from chainrule.xray.compare.rows import some
from chainrule.xray.compare.sweep import Pairing
from chainrule.xray.compare.trial import Trial
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats

__all__ = ["arguments_of", "pair"]
__dir__ = __all__.copy

_ROUNDS = 60
_TIMES, _TINY = 4.0, 1e-7  # as near as the nearest, but for rounding
_SEVERAL = (2, 3)  # arrays of one line
_COMMUTES = ("add", "mul", "max", "min", "add_any")


def pair(
    first: Record,
    second: Record,
    arguments: Sequence[tuple[int, int]] | None = None,
    scalars: bool = True,
) -> Pairing:
    """Return what of two records belongs together.

    Args:
      first: the record that counts as true.
      second: the other.
      arguments: the numbers of those arguments that are the same, where that is known.
      scalars: whether a single number tells enough to be found by its value.
    """
    if keys.same(first, second) and all(i == k for i, k in arguments or ()):
        slots = {slot: Given(slot) for slot in second.slots() if keys.varies(second, slot)}
        nodes = {n.index: n.index for n in second.nodes if n.kind == "operator"}
        return Pairing(slots, nodes)
    if arguments is None:
        return _Match(first, second, arguments_of(first, second), {}, scalars).run()
    tries = [_Match(first, second, arguments, one) for one in states(first, second, arguments)]
    best = max(tries, key=_Match.count) if len(tries) > 1 else tries[0]
    return best.run()


def arguments_of(first: Record, second: Record) -> list[tuple[int, int]]:
    """Return which arguments of two programs are the same: those in the same places, or by name."""
    one, two = ([n for n in r.nodes if n.is_argument] for r in (first, second))
    if [a.avals[0].shape for a in one] == [b.avals[0].shape for b in two]:
        return [(a.index, b.index) for a, b in zip(one, two, strict=True)]
    names = {a.name: a.index for a in one}
    return [(names[b.name], b.index) for b in two if b.name in names]


class _Match:
    """The search for counterparts, array by array of the second program.

    Each of its operators runs on the first's arrays, as far as they are known by then, and what it
    makes is looked for among the first's. What is not found is of no matter where the two meet
    again: something is spelled otherwise. Where they do not, the first array is looked for that has
    a counterpart after all: one from which the second makes again what the first makes.
    """

    def __init__(
        self,
        first: Record,
        second: Record,
        arguments: Sequence[tuple[int, int]],
        carried: dict[Slot, Given],
        scalars: bool = True,
    ) -> None:
        self.first, self.second, self.scalars = first, second, scalars
        self.slots: dict[Slot, Given] = dict(carried)
        for i, k in arguments:
            if first.nodes[i].avals[0].shape == second.nodes[k].avals[0].shape:
                self.slots[Slot(k, 0)] = Given(Slot(i, 0))
        self.direct: dict[int, int] = {}
        self.weak: set[int] = set()
        self.orders: dict[Any, list[str]] = {}  # of axes, and which operators have it
        self.by_inputs = keys.index(first, {slot: slot for slot in first.slots()})
        roots = {slot: keys.root_of(first, slot) for slot in first.slots()}
        self.by_roots = keys.index(first, roots)
        self.values = Values(first)
        self.made = Made(first, second, self.slots)
        self.ends = ends(first, second, carried)
        self.trial = Trial(self.made, self.values, self.ends)
        self.short: set[int] = set()
        self.turned = False  # whether another sign, or order of axes, was taken to be meant
        self.seen: dict[Slot, Any] = {}  # what was looked for, and not found

    def count(self) -> int:
        """Match what the first pass matches, and return how much that is."""
        self._pass()
        return len(self.slots)

    def run(self) -> Pairing:
        for _ in range(_ROUNDS):
            self._pass()
            if not self._try():
                break
        loops = parted(self.first, self.second, self.slots)
        notes = (
            f"the axes of the first are in the order {axes} in the second: {some(labels)}"
            for axes, labels in self.orders.items()
        )
        weak, short = frozenset(self.weak), frozenset(self.short)
        return Pairing(self.slots, self.direct, weak, tuple(notes), loops, short)

    def _pass(self) -> None:
        """Match what each operator makes of the first's arrays, in the order of execution."""
        for b in self.second.nodes:
            if b.kind == "operator" and not all(slot in self.slots for slot in _outputs(b)):
                self._match(b)

    def _match(self, b: Entry) -> None:
        near = {i: axes for i in self._candidates(b) if (axes := self._order(i, b)) is not False}
        if near:
            taken = {given.slot.node for given in self.slots.values()}
            i = self._best(b, [i for i in near if i not in taken] or list(near))
            for k, slot in enumerate(_outputs(b)):
                self._add(slot, Given(Slot(i, k), near[i] if k == 0 else None))
            if self._takes_the_same(self.first.nodes[i], b):
                self.direct[b.index] = i
        elif keys.transparent(b):
            given = self.slots.get(b.inputs[0])
            if given is not None and keys.rounds(self.second, b):
                self._add(Slot(b.index, 0), given)
        else:
            for slot in _outputs(b):
                if slot not in self.slots:
                    self._find(slot)

    def _find(self, slot: Slot) -> None:
        """Match an array with the nearest of the first, if one is near."""
        made = self.made.of(slot)
        if made is None or self.seen.get(slot) is made or not (self.scalars or np.size(made) > 1):
            return
        self.seen[slot] = made
        known = self.values.find(made)
        if not known:
            return
        near = [given for error, given in known if error <= _TIMES * known[0][0] + _TINY]
        # One that another operator has for a counterpart is computed here once more.
        taken = {(given.slots, given.piece) for given in self.slots.values()}
        free = (given for given in near if (given.slots, given.piece) not in taken)
        given = next(free, near[0])
        if not self._mixed_up(slot, given):
            self._add(slot, given)

    def _mixed_up(self, slot: Slot, given: Given) -> bool:
        """Tell whether arrays are put together that the first puts together in another order."""
        if self.second.nodes[slot.node].op != "concatenate" or not given.more:
            return False
        rows = (n.inputs for n in self.first.nodes if n.op == "concatenate")
        theirs = ([keys.root_of(self.first, s) for s in row] for row in rows)
        return any(row != list(given.slots) and set(row) == set(given.slots) for row in theirs)

    def _add(self, slot: Slot, given: Given) -> None:
        if given.axes is not None:
            label = self.second.nodes[slot.node].label
            self.orders.setdefault(given.axes, []).append(label)
        self.slots[slot] = given
        self.made.forget(slot.node)

    def _order(self, i: int, b: Entry) -> Any:
        """Return the order of axes in which what is made is that of an operator, else False."""
        a = self.first.nodes[i]
        if len(a.values) != len(b.avals) or not a.values or isinstance(a.value, Stats):
            return False
        found = [
            order(x, made)
            for x, made in zip(a.values, map(self.made.of, _outputs(b)), strict=True)
            if made is not None
        ]
        same = len(found) == len(a.values) and all(axes is None for axes in found[1:])
        if not same or is_exchanged(found[0], a.value, self.made.of(Slot(b.index, 0))):
            return False
        return found[0]

    def _takes_the_same(self, a: Entry, b: Entry) -> bool:
        given = self.slots.get(Slot(b.index, 0))
        if len(a.inputs) != len(b.inputs) or len(a.avals) != len(b.avals) or a.op != b.op:
            return False
        if a.index in self.direct.values():  # another has its gradient already
            return False
        if given is not None and (given.axes is not None or not given.whole):
            return False
        pairs = zip(a.inputs, b.inputs, strict=True)
        return all(self._partner(y) == keys.seen(self.first, x) for x, y in pairs)

    def _partner(self, slot: Slot) -> Any:
        """Return the array of the first program, None for a constant; itself if there is none."""
        if not keys.varies(self.second, slot):
            return None
        given = self.slots.get(slot)
        plain = given is not None and given.axes is None and given.whole
        return given.slot if given is not None and plain else ("?", slot)

    def _candidates(self, b: Entry) -> list[int]:
        """Return the operators of the first program that take what this one takes."""
        partners = [self._partner(slot) for slot in b.inputs]
        rows = [self.by_inputs.get(keys.key_of(b, partners), [])]
        if b.op in _COMMUTES and len(partners) == 2:
            rows.append(self.by_inputs.get(keys.key_of(b, partners[::-1]), []))
        if not keys.transparent(b) and any(x is not None for x in partners):
            roots = [self._root(slot) for slot in b.inputs]
            known = self.by_roots.get(keys.key_of(b, roots), [])
            rows.append([i for i in known if not keys.transparent(self.first.nodes[i])])
        shape = b.avals[0].shape if b.avals else ()
        # What depends on nothing but constants, or only reorders, says little but by its shape.
        strict = keys.transparent(b) or all(x is None for x in partners)
        free = (
            [i for i in row if not (strict and self.first.nodes[i].avals[0].shape != shape)]
            for row in rows
        )
        return next(filter(None, free), [])

    def _root(self, slot: Slot) -> Any:
        """Return the array of the first program that an input is a copy of, or its own root."""
        while slot not in self.slots and keys.transparent(node := self.second.nodes[slot.node]):
            slot = node.inputs[0]
        if not keys.varies(self.second, slot):
            return None
        given = self.slots.get(slot)
        if given is None or not given.whole:
            return ("?", slot)
        return keys.seen(self.first, keys.root_of(self.first, given.slot))

    def _best(self, b: Entry, among: Sequence[int]) -> int:
        """Return the operator with the same settings and numbers, else the first."""
        if len(among) > 1:
            wants = keys.settings(self.second, b)
            same = [i for i in among if keys.settings(self.first, self.first.nodes[i]) == wants]
            return (same or among)[0]
        return among[0]

    def _try(self) -> bool:
        """Match the first array that goes wrong, and has a counterpart after all."""
        wrong = self._open()
        taken = {given.slot.node for given in self.slots.values()}
        rows: dict[Any, list[Slot]] = {}  # of each operator and line
        for slot in wrong:
            b = self.second.nodes[slot.node]
            like = [] if keys.transparent(b) else self._candidates(b)
            free = [i for i in like if i not in taken]
            turned = [] if keys.transparent(b) else self.values.turned(self.made.of(slot))
            if turned:
                given = turned[0][1]
                right = given._replace(negative=False, axes=None)
                if self.trial.holds({slot: right}):
                    self._assume(slot, right, certain=False)
                else:  # another sign, or order, on purpose
                    self._add(slot, given)
                    self.turned = True
                return True
            if (found := self.trial.search(slot, free, like)) is not None:
                self._assume(slot, *found)
                return True
            row = rows.setdefault((b.op, b.line), [])
            row.append(slot)
            if len(row) in _SEVERAL and (both := self.trial.together(row)) is not None:
                for one, given in both.items():
                    self._assume(one, given, certain=False)
                return True
        for slot in wrong:
            if (end := self.ends.get(slot)) is not None:
                self._assume(slot, end, self.trial.agree(slot, end))
                return True
        return False

    def _assume(self, slot: Slot, given: Given, certain: bool = True) -> None:
        """Match an array with one that it is not."""
        if not certain or self.turned:
            self.weak.add(slot.node)
        if self.trial.missing(slot, given):
            self.short.add(slot.node)
        self._add(slot, given)
        a, b = self.first.nodes[given.slot.node], self.second.nodes[slot.node]
        if self._takes_the_same(a, b):
            self.direct[b.index] = a.index

    def _open(self) -> list[Slot]:
        """Return the arrays without a counterpart of which a result without one is made."""
        found: set[Slot] = set()
        for b in reversed(self.second.nodes):
            if b.kind != "operator":
                continue
            for slot in _outputs(b):
                if slot in self.slots:
                    continue
                readers = [use.node for use in self.second.readers[slot]]
                if any(
                    k is None or any(s in found for s in _outputs(self.second.nodes[k]))
                    for k in readers
                ):
                    found.add(slot)
        return sorted(found)


def _outputs(b: Entry) -> list[Slot]:
    return [Slot(b.index, k) for k in range(len(b.avals))]
