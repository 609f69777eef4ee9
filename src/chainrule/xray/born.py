"""Which elements an operator made bad by itself: decided by running it on good numbers instead.

An element is born bad where it is bad although what it was made of was finite. Where inputs are
bad too, they are replaced by several finite numbers: what is still bad for all of them was born
here. A NaN that is made of infinities, as inf - inf, follows from the birth of those.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.elements import Bad, fits
from chainrule.xray.inside import pullback
from chainrule.xray.record import Entry, Record

__all__ = ["FILLERS", "Mask", "Origin", "after", "aligned", "backward", "forward"]
__dir__ = __all__.copy

FILLERS = (1.0, 0.5, 2.0)
"""Finite numbers in the place of bad ones; each operator has at least one of them in its domain."""

Mask = np.ndarray | np.bool_
"""Which elements; of a scalar NumPy makes a number."""

_Run = Callable[[Sequence[Any]], list[Any]]


class Origin(NamedTuple):
    """Where an array is bad of its operator's own doing.

    Attributes:
      nan: where a NaN was born, or made of infinities.
      inf: where an Inf was born.
      follows: where a NaN was made of infinities.
    """

    nan: Mask
    inf: Mask
    follows: Mask


def aligned(array: Any, before: Sequence[Any]) -> Origin:
    """Return the origin in an array whose elements depend on the same elements of others only.

    Args:
      array: the array.
      before: what it was made of, each of a shape that broadcasts to its own.
    """
    nan = inf = np.zeros(np.shape(array), bool)
    for x in before:
        nan, inf = nan | np.isnan(x), inf | np.isinf(x)
    born = np.isnan(array) & ~nan
    return Origin(born, np.isinf(array) & ~nan & ~inf, born & inf)


def forward(record: Record, node: Entry, trusted: Sequence[bool]) -> list[Origin | None]:
    """Return the origins in the outputs of an operator, None for those without a bad element.

    Args:
      record: the record; it keeps values.
      node: one of its operators.
      trusted: for each input, whether a NaN in it is as good as a number, until something takes
        it: the program writes it out.
    """
    run = _batched(record, node, lambda inputs: _jax.function(node.equation)(*inputs))
    return _origins(node.values, record.taken(node), trusted, [False] * len(trusted), run)


def backward(record: Record, node: Entry, trusted: Sequence[bool]) -> list[Origin | None]:
    """Return the origins in what an operator contributes to the gradients of its inputs.

    Args:
      record: the record; it keeps values.
      node: one of its operators.
      trusted: for each input, whether an Inf in it is as good as a number, as the bound of a range
        or an empty buffer is that goes into a function with a custom rule: it was not born.
    """
    pull, live = pullback(node)
    arrays = [*record.taken(node), *(node.cotangents[k] for k in live)]
    none, infs = [False] * len(arrays), [*trusted, *(False for _ in live)]
    return _origins(node.contributions, arrays, none, infs, _batched(record, node, pull))


def _batched(record: Record, node: Entry, run: _Run) -> _Run:
    """Return a run of an operator, of all steps at once inside a loop."""
    if record.steps is None:
        return run
    constant = [record.nodes[slot.node].kind == "constant" for slot in node.inputs]

    def steps(arrays: Sequence[Any]) -> list[Any]:
        axes = [None if k < len(constant) and constant[k] else 0 for k in range(len(arrays))]
        return jax.vmap(lambda *one: run(one), axes)(*arrays)

    return steps


def after(node: Entry, origin: Origin | None, part: Bad, outputs: Sequence[Bad]) -> Origin | None:
    """Leave out what is bad backward only because the value at the same element is bad."""
    if origin is None or not any(outputs):
        return origin
    shape = np.shape(part.array)
    nan = inf = np.zeros(shape, bool)
    for bad in outputs:
        if node.known.elementwise and fits(bad.array.shape, shape):
            nan, inf = nan | np.isnan(bad.array), inf | np.isinf(bad.array)
        else:
            nan, inf = nan | bad.nan, inf | bad.inf
    born_nan = origin.nan & ~nan
    return Origin(born_nan, origin.inf & ~nan & ~inf, (origin.follows | inf) & born_nan)


def _origins(
    made: Sequence[Any],
    arrays: Sequence[Any],
    good_nans: Sequence[bool],
    good_infs: Sequence[bool],
    run: _Run,
) -> list[Origin | None]:
    """Return the origins in what a run makes of arrays, in some of which NaN or Inf is meant."""
    bad = [None if x is None else _nan(x) | _inf(x) for x in made]
    nans = [_nan(x) & np.bool_(not good) for x, good in zip(arrays, good_nans, strict=True)]
    infs = [_inf(x) & np.bool_(not good) for x, good in zip(arrays, good_infs, strict=True)]
    dirty = [nan | inf for nan, inf in zip(nans, infs, strict=True)]
    born = _still(bad, arrays, dirty, run, lambda x: _nan(x) | _inf(x))
    follows: list[Any] = [None if x is None else _nan(x) & False for x in made]
    if any(inf.any() for inf in infs):
        follows = _still([x if x is None else _nan(x) for x in made], arrays, nans, run, _nan)
    return [
        None
        if x is None or not (_nan(x) | _inf(x)).any()
        else Origin(_nan(x) & (own | late), _inf(x) & own, _nan(x) & late & ~own)
        for x, own, late in zip(made, born, follows, strict=True)
    ]


def _still(
    bad: Sequence[Any],
    arrays: Sequence[Any],
    dirty: Sequence[Mask],
    run: _Run,
    test: Callable[[Any], Mask],
) -> list[Any]:
    """Return which of the bad elements stay bad whatever stands in the place of dirty ones."""
    found = list(bad)
    if any(there.any() for there in dirty):
        for filler in FILLERS:
            if not any(there is not None and there.any() for there in found):
                break
            again = run([_filled(x, there, filler) for x, there in zip(arrays, dirty, strict=True)])
            pairs = zip(found, again, strict=True)
            found = [there if there is None else there & test(x) for there, x in pairs]
    return found


def _filled(x: Any, bad: Mask, filler: float) -> Any:
    return jnp.where(bad, jnp.asarray(filler, jnp.asarray(x).dtype), x) if bad.any() else x


def _nan(x: Any) -> Mask:
    return np.isnan(_floats(x))


def _inf(x: Any) -> Mask:
    return np.isinf(_floats(x))


def _floats(x: Any) -> np.ndarray:
    """Return the array as NumPy knows it; zeros of what can be neither NaN nor Inf."""
    if isinstance(x, float | complex) or jnp.issubdtype(jnp.asarray(x).dtype, jnp.inexact):
        array = np.asarray(x)
        return array if array.dtype.kind in "fc" else array.astype(np.float32)
    return np.zeros(np.shape(x))
