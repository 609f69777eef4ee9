"""Counterparts of what goes wrong, by trial: arrays of which both make the same again."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.xray.compare.given import Given
from chainrule.xray.compare.keys import root_of, transparent
from chainrule.xray.compare.made import Made
from chainrule.xray.compare.near import Values, floats, order, orders, shuffled, sizes
from chainrule.xray.graph import Slot
from chainrule.xray.record import Record

__all__ = ["Trial"]
__dir__ = __all__.copy

_MOST = 8  # counterparts that are tried
_FEW = 3  # of each of several
_DEEP = 12  # operators that run for each
_ROWS = 200  # of arrays that the first makes one by one
_Found = tuple[Given, bool]


class Trial:
    """The search for the counterpart of an array that goes wrong.

    It is an array that the first program makes of the same ones. If the second's operators run on
    that in the place of the wrong one, they make again what the first makes of it.

    Args:
      made: what the second program makes of the first's arrays.
      values: the arrays of the first.
      ends: which results of the second are which of the first.
    """

    def __init__(self, made: Made, values: Values, ends: Mapping[Slot, Given]) -> None:
        self.made, self.values = made, values
        self.first: Record = values.record
        self.second: Record = made.second
        self.slots = made.sweep.pairing.slots
        self.ends = ends

    def search(self, slot: Slot, free: Sequence[int], like: Sequence[int]) -> _Found | None:
        """Return the counterpart of an array, None if none is found.

        Args:
          slot: the array, of the second program.
          free: operators of the first that take the same as what makes it, and have no counterpart.
          like: those that have one.

        Returns:
          The counterpart, and whether it is made of the same arrays.
        """
        for some in (free, like):
            if (found := self._misshapen(slot, some)) is not None:
                return found, some is free
        tried = (row for row in self._ranked(slot, free) if self.holds({slot: row[0]}))
        return next(tried, None)

    def together(self, slots: Sequence[Slot]) -> dict[Slot, Given] | None:
        """Return the counterparts of arrays of one line that only go right together."""
        rows = [[given for given, _ in self._ranked(slot, ())[:_FEW]] for slot in slots]
        tries = (dict(zip(slots, some, strict=True)) for some in itertools.product(*rows))
        apart = (one for one in tries if len(set(one.values())) == len(slots))
        return next((one for one in apart if self.holds(one)), None)

    def _ranked(self, slot: Slot, free: Sequence[int]) -> list[_Found]:
        """Return likely counterparts of an array, and whether they are made of the same arrays."""
        mine, known = self._sources(slot), self._known()
        rows = []
        shape = self.made.sweep.shape(slot)
        primitive = self.second.nodes[slot.node].known
        moves = self.made.of(slot) if primitive.copies else None
        for given in self._likely(slot, known):
            roots = {root_of(self.first, s) for s in given.slots}
            part = (primitive.copies or primitive.part) and roots <= mine
            # What only moves elements makes no others.
            if moves is not None and not part:
                x = given.array(self.first.value, shape)
                if not shuffled(x, moves):
                    continue
            theirs = mine if part else self._theirs(given, known)
            if mine & theirs:
                share = len(mine & theirs) / len(mine | theirs)
                other = given.slot.node not in free
                taken = given.slot in known and not part
                rows.append((taken, other, -share, given.slot.node, given))
        rows.sort(key=lambda row: row[:4])
        return [(given, share == -1 or not other) for _, other, share, _, given in rows[:_MOST]]

    def agree(self, slot: Slot, given: Given) -> bool:
        """Tell whether an array and another are made of the same ones."""
        return self._sources(slot) == self._theirs(given, self._known())

    def missing(self, slot: Slot, given: Given) -> bool:
        """Tell whether the first program makes an array of the same in more operators."""
        theirs: set[int] = set()
        root = root_of(self.first, given.slot)
        known = self._known() - {root}
        if root in self._sources(slot):
            return False
        todo = [given.slot]
        while todo:
            x = root_of(self.first, todo.pop())
            node = self.first.nodes[x.node]
            if x not in known and node.kind == "operator" and x.node not in theirs:
                theirs.add(x.node)
                todo += node.inputs
        region = self.made.sweep.region(slot.node)
        mine = [i for i in region if not transparent(self.second.nodes[i])]
        return len(theirs) > max(len(mine), 1)

    def holds(self, some: Mapping[Slot, Given]) -> bool:
        """Tell whether of what stands for arrays the second makes what the first made of it."""
        shapes = {slot: self.made.sweep.shape(slot) for slot in some}
        instead: dict[Slot, Any] = {
            slot: given.array(self.first.value, shapes[slot]) for slot, given in some.items()
        }
        if self._ends(instead):
            return True
        below, ran = set.intersection(*map(self._below, some.values())), 0
        fits = all(np.shape(instead[slot]) == shape for slot, shape in shapes.items())
        for b in self.second.nodes[min(some).node + 1 :] if fits else ():
            takes = any(s in instead for s in b.inputs)
            known = Slot(b.index, 0) in self.slots or Slot(b.index, 0) in some
            if not takes or b.kind != "operator" or known:
                continue
            if (ran := ran + 1) > _DEEP:
                break
            for s in b.inputs:
                if s not in instead and s not in self.slots:
                    self.made.of(s)
            found = self.made.run(b.index, instead)
            instead |= {s: x for s, x in found.items() if x is not None}
            if self._ends(found):
                return True
            if not transparent(b):
                near = (one for x in found.values() for _, one in self.values.find(x))
                if any(below.issuperset(one.slots) for one in near):
                    return True
        return False

    def _ends(self, made: Mapping[Slot, Any]) -> bool:
        """Tell whether one of some arrays is the result of the program that it should be."""
        return any(
            x is not None and order(self.ends[s].array(self.first.value, np.shape(x)), x) is None
            for s, x in made.items()
            if s in self.ends
        )

    def _below(self, given: Given) -> set[Slot]:
        """Return what the first program makes of arrays."""
        found = set(given.slots)
        for a in self.first.nodes[min(given.slots).node :]:
            if not found.isdisjoint(a.inputs):
                found |= {Slot(a.index, k) for k in range(len(a.avals))}
        return found - set(given.slots)

    def _known(self) -> frozenset[Slot]:
        """Return the first's arrays that have a counterpart."""
        return frozenset(root_of(self.first, s) for g in self.slots.values() for s in g.slots)

    def _sources(self, slot: Slot) -> frozenset[Any]:
        """Return the nearest arrays with a counterpart that one of the second is made of."""

        def known(x: Slot) -> set[Any]:
            given = self.slots.get(x)
            return {root_of(self.first, s) for s in given.slots} if given is not None else set()

        return _sources(self.second, [slot], known)

    def _theirs(self, given: Given, known: frozenset[Slot]) -> frozenset[Any]:
        """Return the nearest arrays with a counterpart that some of the first are made of."""
        return _sources(self.first, given.slots, lambda x: {root_of(self.first, x)} & known)

    def _misshapen(self, slot: Slot, free: Sequence[int]) -> Given | None:
        """Return what the same operator makes of the same arrays, if its shape is another one."""
        b = self.second.nodes[slot.node]
        mine = sizes(b.avals[slot.output].shape)
        for i in free:
            avals = self.first.nodes[i].avals
            if slot.output < len(avals) and sizes(avals[slot.output].shape) != mine:
                return Given(Slot(i, slot.output))
        for given in self._laid_out_otherwise(slot):
            for row in self._read([given.slots]):
                a = self.first.nodes[row[0].node]
                if a.op == b.op and set(a.inputs) <= set(given.slots):
                    shape = np.shape(self.first.value(row[0]))
                    if next(_together(row, shape, self.made.sweep.shape(slot)), None) is None:
                        return Given(row[0])
        return None

    def _likely(self, slot: Slot, known: frozenset[Slot]) -> Iterator[Given]:
        """Yield arrays that have the same shape, in some layout."""
        shape, forms = self.made.sweep.shape(slot), self._laid_out_otherwise(slot)
        pieces = {given.piece for given in forms if given.piece}
        for one in self.first.slots():
            a = self.first.nodes[one.node]
            if a.kind != "operator" or transparent(a) or floats(a.values[one.output]) is None:
                continue
            theirs = tuple(np.shape(a.values[one.output]))
            yield from (Given(one, axes) for axes in orders(theirs, shape))
            for piece in pieces:
                for axis, size in enumerate(theirs):
                    part = (*theirs[:axis], size // piece.parts, *theirs[axis + 1 :])
                    if size % piece.parts == 0:
                        cut = piece._replace(axis=axis)
                        yield from (Given(one, axes, piece=cut) for axes in orders(part, shape))
        for row in self._read([given.slots for given in forms]):
            if not transparent(self.first.nodes[row[0].node]) and not known & set(row):
                yield from _together(row, np.shape(self.first.value(row[0])), shape)

    def _laid_out_otherwise(self, slot: Slot) -> list[Given]:
        """Return those of the arrays that one is made of which are pieces, or several together."""
        chunk = self.made.sweep.region(slot.node)
        taken = (s for i in chunk for s in self.second.nodes[i].inputs if s in self.slots)
        return [given for s in taken if (given := self.slots[s]).more or given.piece]

    def _read(self, rows: Sequence[tuple[Slot, ...]]) -> Iterator[tuple[Slot, ...]]:
        """Yield what the same operators make of each array of a row, and so on."""
        todo = list(dict.fromkeys(row for row in rows if len(row) > 1))
        seen = set(todo)
        for row in todo:
            for use in self.first.readers[row[0]] if len(seen) < _ROWS else ():
                if use.node is None:
                    continue
                made = [use.node]
                for slot in row[1:]:
                    uses = (u for u in self.first.readers[slot] if u.position == use.position)
                    nodes = (u.node for u in uses if u.node is not None and u.node not in made)
                    made += [i for i in nodes if self._alike(i, use.node)][:1]
                for k in range(len(self.first.nodes[use.node].avals)):
                    found = tuple(Slot(i, k) for i in made)
                    if len(found) == len(row) and found not in seen:
                        seen.add(found)
                        todo.append(found)
                        yield found

    def _alike(self, i: int, k: int) -> bool:
        one, two = self.first.nodes[i], self.first.nodes[k]
        return one.op == two.op and [a.shape for a in one.avals] == [a.shape for a in two.avals]


def _sources(
    record: Record, slots: Sequence[Slot], known: Callable[[Slot], set[Any]]
) -> frozenset[Any]:
    """Return the nearest known arrays, and unknown arguments, that some arrays are made of."""
    found: set[Any] = set()
    todo = [x for slot in slots for x in record.nodes[slot.node].inputs]
    seen = set(slots)
    while todo:
        x = todo.pop()
        if x in seen:
            continue
        seen.add(x)
        node = record.nodes[x.node]
        if near := known(x):
            found |= near
        elif node.kind == "operator":
            todo += node.inputs
        elif node.is_argument:
            found.add(("?", x))
    return frozenset(found)


def _together(
    slots: tuple[Slot, ...], theirs: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[Given]:
    """Yield the ways in which arrays of one shape make one of another, one after the other."""
    for along, size in enumerate(shape):
        if size % len(slots) == 0:
            part = (*shape[:along], size // len(slots), *shape[along + 1 :])
            for axes in orders(tuple(theirs), part):
                yield Given(slots[0], axes, slots[1:], along)
