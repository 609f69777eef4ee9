"""Which samples of a batch make a step fail: found by putting other samples in their place.

The step itself runs again, compiled as it was, on the batch in which some samples are replaced by
samples that did not make it fail. Shapes, positions and random numbers stay the same, and so does
what is taken over the whole batch. A sample is named if the step fails with it among harmless ones;
samples that fail only together, as two equal ones in a contrastive loss, are named together.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray.recorder.calls import Call, is_array

__all__ = ["Rows", "Samples", "find", "rows_of"]
__dir__ = __all__.copy

_SECONDS = 60.0  # nothing new is begun afterwards
_TILED = 8  # samples that are tried as the harmless one


@dataclasses.dataclass(frozen=True)
class Rows:
    """Where the samples are.

    Attributes:
      leaves: the numbers of the arrays whose first axis counts them; none if that is not known.
      size: how many there are.
      why: why it is not known, "" if it is.
    """

    leaves: tuple[int, ...]
    size: int
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples that make a step fail.

    Attributes:
      rows: their places in the batch, in order.
      size: how many samples the batch has; 0 if that is not known.
      together: whether the step fails only with all of them in the batch.
      why: what was tried, or why none is named.
    """

    rows: tuple[int, ...] = ()
    size: int = 0
    together: bool = False
    why: str = ""

    def __str__(self) -> str:
        return self.said(())

    def said(self, of_data: Sequence[int]) -> str:
        """Return them in words.

        Args:
          of_data: the place in the whole data of each sample of the batch, if that is known.
        """
        if not self.rows:
            return f"no sample is named: {self.why}"
        first = ", ".join(map(str, self.rows[:8])) + ", ..." * (len(self.rows) > 8)
        many = len(self.rows) > 1
        count = f"{len(self.rows)} of {self.size} samples: " if len(self.rows) > 8 else ""
        text = f"{count}sample{'s' * many} {first} of the batch"
        if len(of_data):
            rows = ", ".join(str(int(of_data[k])) for k in self.rows[:8])
            rows += ", ..." * (len(self.rows) > 8)
            text += f" (row{'s' * many} {rows} of the data)"
        return f"{text}{', only together' * self.together}: {self.why}"


def rows_of(call: Call, groups: Collection[Any]) -> Rows:
    """Return where the samples of a batch are: along the first axis of all its arrays.

    Args:
      call: the call of the step.
      groups: the arguments that hold the batch.
    """
    found = {
        k: call.leaves[k].shape[0]
        for k, group in enumerate(call.groups)
        if group in groups and _has_rows(call.leaves[k])
    }
    sizes = set(found.values())
    if not found:
        return Rows((), 0, "no argument beside the state holds an array with an axis for samples")
    if len(sizes) > 1:
        shapes = ", ".join(f"{call.names[k]} {list(call.leaves[k].shape)}" for k in found)
        return Rows((), 0, f"the first axes of the batch differ ({shapes})")
    return Rows(tuple(found), sizes.pop())


def _has_rows(leaf: Any) -> bool:
    if not is_array(leaf) or leaf.ndim == 0 or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return False
    return not (leaf.dtype == np.uint32 and leaf.shape == (2,))  # a key of the older kind


Fails = Callable[[Call], bool]


def find(call: Call, rows: Rows, fails: Fails, others: Sequence[Mapping[int, Any]] = ()) -> Samples:
    """Return which samples make a step fail.

    Args:
      call: the call that fails.
      rows: where its samples are.
      fails: runs a call, and tells whether it fails.
      others: other batches, as arrays by the numbers of their leaves, to take samples from.
    """
    if rows.why:
        return Samples(why=f"{rows.why}; batch= says which argument holds it")
    host = {k: np.asarray(call.leaves[k]) for k in rows.leaves}
    tried = _Trials(call, host, fails, time.monotonic() + _SECONDS)
    every = tuple(range(rows.size))
    try:
        harmless = next((one for one in _harmless(host, rows, others) if not tried(one, ())), None)
        if harmless is None:
            why = "the step fails with all other samples that were put in their place, too"
            return Samples((), rows.size, False, why)
        found = tuple(_alone(every, lambda some: tried(harmless, some)))
        left = tuple(k for k in every if k not in found)
        if found and not tried(harmless, left):
            return Samples(found, rows.size, False, _said(found, rows))
        if found:
            why = f"{_said(found, rows)}; without them it fails still, of others together"
            return Samples(found, rows.size, False, why)
        least = tuple(sorted(_together((), every, lambda some: tried(harmless, some))))
    except _LateError:
        return Samples((), rows.size, False, f"not found within {_SECONDS:.0f} s")
    if len(least) == rows.size > 1:
        return Samples((), rows.size, False, "the step fails only with all samples of the batch")
    why = "the step fails with all of them among others, and with none of them left out"
    return Samples(least, rows.size, True, why)


def _said(found: Sequence[int], rows: Rows) -> str:
    if rows.size == 1:
        return "the only one; with another in its place the step is finite"
    each = "each of them" if len(found) > 1 else "it"
    them = "them" if len(found) > 1 else "it"
    return f"the step fails with {each} among other samples, and is finite without {them}"


class _LateError(Exception):
    """The time is over."""


@dataclasses.dataclass
class _Trials:
    call: Call
    host: Mapping[int, np.ndarray]
    fails: Fails
    until: float

    def __call__(self, harmless: Mapping[int, np.ndarray], kept: Sequence[int]) -> bool:
        """Tell whether the step fails with these samples among harmless ones."""
        if time.monotonic() > self.until:
            raise _LateError
        places, new = np.asarray(kept, int), {}
        for k, real in self.host.items():
            mixed = np.array(harmless[k])
            mixed[places] = real[places]
            leaf = self.call.leaves[k]
            new[k] = jax.device_put(mixed, leaf.sharding) if isinstance(leaf, jax.Array) else mixed
        return self.fails(self.call.replace(new))


def _harmless(
    host: Mapping[int, np.ndarray], rows: Rows, others: Sequence[Mapping[int, Any]]
) -> Iterator[Mapping[int, np.ndarray]]:
    """Yield batches of which one may not fail: others, and parts of the batch itself."""
    for other in others:
        if all(k in other and other[k].shape == real.shape for k, real in host.items()):
            yield {k: np.asarray(other[k]).astype(real.dtype) for k, real in host.items()}
    every = np.arange(rows.size)
    orders = []
    for parts in (2, 4):
        size = rows.size // parts
        orders += [every % size + size * part for part in range(parts) if size > 1]
    step = max(1, rows.size // _TILED)
    orders += [np.full(rows.size, k) for k in range(0, rows.size, step)] * (rows.size > 1)
    for order in orders:
        yield {k: real[order] for k, real in host.items()}


def _alone(some: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> Iterator[int]:
    """Yield the samples with which the step fails alone, by halves."""
    if not fails(some):
        return
    if len(some) == 1:
        yield some[0]
        return
    half = len(some) // 2
    yield from _alone(some[:half], fails)
    yield from _alone(some[half:], fails)


def _together(
    fixed: Sequence[int], some: Sequence[int], fails: Callable[[Sequence[int]], bool]
) -> Sequence[int]:
    """Return the fewest of some samples that fail together with the fixed ones.

    None of them can be left out (Junker, "QuickXplain", AAAI 2004).
    """
    if fixed and fails(fixed):
        return ()
    if len(some) == 1:
        return some
    half = len(some) // 2
    first, second = some[:half], some[half:]
    of_second = _together((*fixed, *first), second, fails)
    of_first = _together((*fixed, *of_second), first, fails)
    return (*of_first, *of_second)
