"""What becomes of a birth: decided by running the record again without it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.passes import Operator
from chainrule.xray.record import Entry, Record
from chainrule.xray.rerun import Change, Place, prepare

__all__ = ["Spot", "Verdict", "judge", "rejecting"]
__dir__ = __all__.copy

_FILLERS = (math.inf, 1.0, 0.5)  # for an Inf, inf stands for the largest finite number of its sign


class Spot(NamedTuple):
    """The bad elements that one operator gave birth to.

    Attributes:
      place: the operator.
      forward: output number to where its elements are bad; True for all that are, at any step. The
        number None stands for every output.
      backward: input number to where what it contributes there is bad, likewise.
    """

    place: Place
    forward: Mapping[int | None, Any]
    backward: Mapping[int | None, Any]


class Verdict(NamedTuple):
    """What one spot does to the result and to the gradients of the arguments.

    Attributes:
      in_result: whether the result depends on what stands there.
      in_gradient: whether a gradient does.
      lost: whether it became a finite number on the way, on which one of them depends: 1 / inf = 0
        is another number than 1 / x for the largest finite x.
    """

    in_result: bool
    in_gradient: bool
    lost: bool


def judge(record: Record, spots: Sequence[Spot]) -> list[Verdict] | None:
    """Return the verdict on each spot.

    All spots are healed: finite numbers stand in the place of their bad elements, the largest of
    its sign for an Inf where that will do. Then one spot at a time is left as it was, and healed
    with another number. It is harmless if neither changes the result nor any gradient.

    Args:
      record: the record; it keeps values.
      spots: all births, but for those that follow from others.

    Returns:
      One verdict a spot; None if the program cannot be healed, because something bad remains.
    """
    healed = {k: _healed(x) for k, x in _bad_arguments(record)}
    changes: dict[Place, Change] = {
        spot.place: _heal(spot, number) for number, spot in enumerate(spots)
    }
    run = prepare(record, changes, arguments=healed)
    on = np.ones(len(spots), bool)
    for filler in _FILLERS:
        fillers = np.full(len(spots), filler, np.float32)
        base = run((on, fillers))
        if _is_finite(base):
            break
    else:
        return None
    another = np.float32(1.0 if filler == math.inf else 2.0 * filler)
    verdicts = []
    for number in range(len(spots)):
        mine = np.arange(len(spots)) == number
        left = run((on & ~mine, fillers))
        other = run((on, np.where(mine, another, fillers)))
        opposite = run((on, np.where(mine, -another, fillers)))
        in_result = not _same(_results, base, left, other, opposite)
        in_gradient = not _same(_gradients, base, left, other, opposite)
        as_large = _same(_results, base, left) and _same(_gradients, base, left)
        verdicts.append(Verdict(in_result, in_gradient, _is_finite(left) and not as_large))
    return verdicts


def rejecting(record: Record, place: Place, where: Any) -> Entry | None:
    """Return the `jax.numpy.where` that rejects some elements of an operator's result.

    The elements are replaced by several numbers, while every choice is made as it was: a choice
    rejects them if its result stays the same though one of its branches does not.

    Args:
      record: the record; it keeps values.
      place: the operator, which stands in no loop.
      where: which elements of its first output; True for all.
    """
    (index,) = place

    def replaced(operator: Operator, setting: Any) -> Operator:
        def stand_in(*inputs: Any) -> list[Any]:
            first, *others = operator(*inputs)
            return [jnp.where(where, setting.astype(first.dtype), first), *others]

        return stand_in

    def decided(which: Any) -> Change:
        return lambda operator, _: lambda _, *branches: operator(which, *branches)

    choices = [n for n in record.nodes if n.op == "select_n" and n.index > index]
    changes: dict[Place, Change] = {(n.index,): decided(record.value(n.inputs[0])) for n in choices}
    run = prepare(record, {**changes, place: replaced})
    one, other = (run(np.float32(filler)) for filler in _FILLERS[1:])
    for node in choices:
        branches = node.inputs[1:]
        moved = not all(_equal(one.value(slot), other.value(slot)) for slot in branches)
        if moved and _equal(one.nodes[node.index].value, other.nodes[node.index].value):
            return node
    return None


def _heal(spot: Spot, number: int) -> Change:
    """Return the change that puts a finite number in the place of bad elements, if it is on."""

    def change(operator: Operator, setting: Any) -> Operator:
        on, filler = setting[0][number], setting[1][number]

        def stand_in(*inputs: Any) -> list[Any]:
            guarded = [
                _guard(x, mask, on, filler)
                if (mask := _mask(spot.backward, k, x)) is not None
                else x
                for k, x in enumerate(inputs)
            ]
            return [
                _put(x, mask, on, filler) if (mask := _mask(spot.forward, k, x)) is not None else x
                for k, x in enumerate(operator(*guarded))
            ]

        return stand_in

    return change


def _mask(masks: Mapping[int | None, Any], number: int, x: Any) -> Any:
    """Return which elements of an array to replace, None for none."""
    if not jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact):
        return None
    mask = masks.get(number, masks.get(None))
    return mask if mask is None or isinstance(mask, bool) else jnp.asarray(mask)


def _put(x: Any, mask: Any, on: Any, filler: Any) -> Any:
    largest = jnp.nan_to_num(x, nan=1.0)  # of its sign, where it is infinite
    good = jnp.where(jnp.isinf(filler), largest, filler.astype(x.dtype))
    return jnp.where(mask & ~jnp.isfinite(x) & on, good, x)


def _guard(x: Any, mask: Any, on: Any, filler: Any) -> Any:
    """Return an array unchanged; bad elements of its gradient are replaced."""

    @jax.custom_vjp
    def same(x: Any, on: Any, filler: Any) -> Any:
        return x

    def back(kept: Any, g: Any) -> tuple[Any, None, None]:
        return _put(g, mask, *kept), None, None

    same.defvjp(lambda x, on, filler: (x, (on, filler)), back)
    return same(x, on, filler)


def _bad_arguments(record: Record) -> list[tuple[int, Any]]:
    """Return the arguments that hold a NaN; an Inf among them may be meant."""
    return [
        (node.index, node.value)
        for node in record.nodes
        if node.is_argument and _is_float(node) and bool(np.isnan(_array(node.value)).any())
    ]


def _is_float(node: Any) -> bool:
    return bool(jnp.issubdtype(node.avals[0].dtype, jnp.inexact))


def _healed(x: Any) -> Any:
    x = jnp.asarray(x)
    return jnp.where(jnp.isnan(x), jnp.ones((), x.dtype), x)


def _results(record: Record) -> list[Any]:
    return [_array(record.value(slot)) for slot in record.outputs]


def _gradients(record: Record) -> list[Any]:
    found = (record.nodes[k].cotangent for k in record.wanted)
    return [_array(g) for g in found if g is not None]


def _array(x: Any) -> Any:
    if "key<" in str(getattr(x, "dtype", "")):
        x = jax.random.key_data(x)
    array = np.asarray(x)
    return array if array.dtype.kind in "fcbiu" else array.astype(np.float32)


def _same(parts: Any, *records: Record) -> bool:
    first, *others = (parts(record) for record in records)
    return all(_equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def _equal(a: Any, b: Any) -> bool:
    a, b = _array(a), _array(b)
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def _is_finite(record: Record) -> bool:
    return all(bool(np.isfinite(x).all()) for x in _results(record) + _gradients(record))
