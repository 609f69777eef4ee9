"""A few Newton steps on the arguments, towards the number that an operator cannot take."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.auditing.candidates import Candidate, reach
from chainrule.xray.auditing.inputs import Input, said
from chainrule.xray.passes import Operator
from chainrule.xray.record import Record
from chainrule.xray.rerun import Change, prefix, prepare

__all__ = ["Steps"]
__dir__ = __all__.copy

_STEPS = 12
_COORDINATES = 3  # elements of the arguments that are moved alone
_ULPS = 24
_MOST = 40  # operators
_NEAR = 1e-6  # of the first distance: so close, and no closer, rounding lets it come


class _Nearest(NamedTuple):
    """The closest that an operand came.

    Attributes:
      arrays: the arguments there, by their numbers.
      residual: the distance.
      crossed: whether it was on both sides: between them it is reached, but for rounding.
    """

    arrays: Mapping[int, Any]
    residual: float
    crossed: bool


class Steps:
    """Newton steps for some operators of one record.

    Args:
      record: the record.
      candidates: the operators, each with the number that it cannot take.
    """

    def __init__(self, record: Record, candidates: Sequence[Candidate]) -> None:
        self.record = record
        self.candidates = list(candidates)[:_MOST]
        slots = [record.nodes[c.node].inputs[c.pole.input] for c in self.candidates if c.pole]
        self.slots = slots
        arguments = [node for node in record.nodes if node.is_argument]
        self.taken = {node.index: jnp.asarray(node.value) for node in arguments}
        self.room = {node.index: reach(record, node) for node in arguments}
        operands = prefix(record, slots)
        self._operands = jax.jit(lambda given: operands(list(given.values())))

        def pull(moving: Mapping[int, Any], still: Mapping[int, Any], gs: Any) -> Any:
            def made(some: Mapping[int, Any]) -> Any:
                whole = {**still, **some}
                return operands([whole[k] for k in self.taken])

            return jax.vjp(made, moving)[1](gs)[0]

        self._pull = jax.jit(pull)
        self.nearest: dict[Candidate, _Nearest] = {}
        self.start: dict[Candidate, tuple[int, float]] = {}

    def inputs(self, candidate: Candidate) -> Iterator[Input]:
        """Yield arguments for which an operand is, or may be, what its operator cannot take."""
        number = self.candidates.index(candidate)
        pole = candidate.pole
        assert pole is not None
        first = self._at(number, {})
        good = np.isfinite(first)
        if not good.any():
            return
        distance = np.where(good, np.abs(first - pole.value), np.inf)
        element = int(np.argmin(distance))
        self.start[candidate] = element, float(distance[element])
        if distance[element] == 0 or not self._slopes(number, element, {}, candidate):
            return
        for where in self._steepest(number, element, candidate):
            yield from self._walk(candidate, number, element, where)
        yield from self._walk(candidate, number, element, None)

    def _at(self, number: int, moved: Mapping[int, Any]) -> Any:
        made = self._operands({**self.taken, **moved})[number]
        return np.ravel(np.asarray(made, np.float64))

    def _slopes(
        self, number: int, element: int, moved: Mapping[int, Any], candidate: Candidate
    ) -> dict[int, Any]:
        """Return the gradient of one element of an operand, as far as it is finite and not 0."""
        whole = {**self.taken, **moved}
        floats = {k for k in candidate.arguments if jnp.issubdtype(whole[k].dtype, jnp.floating)}
        moving = {k: whole[k] for k in sorted(floats)}
        still = {k: x for k, x in whole.items() if k not in floats}
        gs = []
        for k, slot in enumerate(self.slots):
            aval = self.record.nodes[slot.node].avals[slot.output]
            g = np.zeros(int(np.prod(aval.shape)), np.float32)
            if k == number:
                g[element] = 1.0
            gs.append(jnp.asarray(g.reshape(aval.shape), aval.dtype))
        try:
            found = self._pull(moving, still, gs)
        except (TypeError, ValueError, NotImplementedError):
            return {}
        found = {k: np.asarray(g, np.float64) for k, g in found.items()}
        return {k: g for k, g in found.items() if np.isfinite(g).all() and np.any(g)}

    def _steepest(
        self, number: int, element: int, candidate: Candidate
    ) -> Iterator[tuple[int, int]]:
        slopes = self._slopes(number, element, {}, candidate)
        each = [(abs(g.flat[i]), k, i) for k, g in slopes.items() for i in _largest(g)]
        each.sort(key=lambda one: -one[0])
        yield from ((k, int(i)) for _, k, i in each[:_COORDINATES])

    def _walk(
        self, candidate: Candidate, number: int, element: int, where: tuple[int, int] | None
    ) -> Iterator[Input]:
        """Step towards the pole, along one element of the arguments or along all of them."""
        pole, moved, sides = candidate.pole, dict[int, Any](), set[float]()
        assert pole is not None
        best, best_moved = np.inf, moved
        for _ in range(_STEPS):
            value = self._at(number, moved)[element]
            residual = pole.value - value
            sides.add(float(np.sign(residual)))
            if not np.isfinite(value) or abs(residual) >= best:
                break
            best, best_moved = abs(residual), moved
            if residual == 0:
                break
            slopes = self._slopes(number, element, moved, candidate)
            moved = self._step(number, element, moved, slopes, residual, where)
        crossed = {-1.0, 1.0} <= sides
        known = self.nearest.get(candidate)
        if known is None or best < known.residual or (crossed and not known.crossed):
            self.nearest[candidate] = _Nearest(best_moved, best, crossed or best == 0)
        if best_moved:
            yield self._said(best_moved, where)
        if where is not None and best and best_moved:
            yield from self._exactly(candidate, number, element, where, best_moved)

    def _step(
        self,
        number: int,
        element: int,
        moved: Mapping[int, Any],
        slopes: Mapping[int, Any],
        residual: float,
        where: tuple[int, int] | None,
    ) -> dict[int, Any]:
        if where is not None:
            slope = slopes.get(where[0])
            slope = None if slope is None else slope.flat[where[1]]
            if not slope:
                return dict(moved)
            move = {where[0]: np.zeros(self.taken[where[0]].shape)}
            move[where[0]].flat[where[1]] = residual / slope
        else:
            square = sum(float(np.sum(g**2)) for g in slopes.values())
            move = {k: residual * g / square for k, g in slopes.items()} if square else {}
        # A square comes only half as far as a line does.
        both = [self._added(moved, move, times) for times in (1.0, 2.0)]
        target = self._at(number, moved)[element] + residual
        off = [abs(self._at(number, one)[element] - target) for one in both]
        return both[int(np.argmin(off))]

    def _added(self, moved: Mapping[int, Any], move: Mapping[int, Any], times: float) -> dict:
        found = dict(moved)
        for k, step in move.items():
            here = np.asarray(found.get(k, self.taken[k]), np.float64)
            there = np.clip(here + times * step, self.room[k].low, self.room[k].high)
            found[k] = jnp.asarray(np.where(step == 0, here, there), self.taken[k].dtype)
        return found

    def _exactly(
        self,
        candidate: Candidate,
        number: int,
        element: int,
        where: tuple[int, int],
        moved: Mapping[int, Any],
    ) -> Iterator[Input]:
        """Yield the nearest floats for which the operand is the number itself, or past it."""
        pole = candidate.pole
        assert pole is not None
        k, i = where
        x = np.array(moved[k])
        if x.dtype not in (np.float32, np.float64, np.float16):
            return
        for side in (np.inf, -np.inf):
            there = x.copy()
            for _ in range(_ULPS):
                there.flat[i] = np.nextafter(there.flat[i], x.dtype.type(side))
                value = self._at(number, {**moved, k: jnp.asarray(there)})[element]
                if value == pole.value or (pole.side and (value - pole.value) * pole.side > 0):
                    yield self._said({**moved, k: jnp.asarray(there)}, where)
                    break
        if pole.side:  # a little beyond
            scale = 1e-3 * max(abs(pole.value), self.start[candidate][1])
            slopes = self._slopes(number, element, moved, candidate)
            beyond = self._step(number, element, moved, slopes, pole.side * scale, where)
            yield self._said(beyond, where)

    def _said(self, moved: Mapping[int, Any], where: tuple[int, int] | None) -> Input:
        if where is None:
            names = ", ".join(self.record.nodes[k].label for k in moved)
            return Input(f"{names} moved by Newton steps", moved)
        k, i = where
        x = np.asarray(moved[k])
        index = np.unravel_index(i, x.shape)
        at = f"[{', '.join(map(str, index))}]" if x.ndim else ""
        return Input(f"{self.record.nodes[k].label}{at} = {float(x.flat[i]):.9g}", moved)

    def operand(self, candidate: Candidate) -> tuple[Record, Input] | None:
        """Return the record with the operand set to the number, None if it cannot come near it."""
        nearest, pole = self.nearest.get(candidate), candidate.pole
        if nearest is None or pole is None:
            return None
        element, distance = self.start[candidate]
        if not nearest.crossed and nearest.residual > _NEAR * distance:
            return None
        slot = self.record.nodes[candidate.node].inputs[pole.input]
        source = self.record.nodes[slot.node]
        if source.kind != "operator":
            return None

        def change(operator: Operator, _: Any) -> Operator:
            def stand_in(*inputs: Any) -> list[Any]:
                made = list(operator(*inputs))
                x = made[slot.output]
                flat = jnp.ravel(x).at[element].set(jnp.asarray(pole.value, x.dtype))
                made[slot.output] = flat.reshape(x.shape)
                return made

            return stand_in

        changes: dict[tuple[int, ...], Change] = {(slot.node,): change}
        changed = prepare(self.record, changes, arguments=nearest.arrays)(None)
        shape = source.avals[slot.output].shape
        at = f"[{', '.join(map(str, np.unravel_index(element, shape)))}]" if shape else ""
        node = self.record.nodes[candidate.node]
        text = f"what {node.op} takes, {source.label}{at}, set to {said(pole.value)}"
        return changed, Input(text, nearest.arrays)


def _largest(g: Any) -> Any:
    return np.argsort(-np.abs(g).ravel(), kind="stable")[:_COORDINATES]
