"""Pairs and triplets from any labelled set: balanced, and a function of a key.

The functions draw indices, ``[count, 2]`` or ``[count, 3]``: ``images[indices]`` are the images,
one pair a row. They draw classes first, then samples within them, so that a rare class is drawn as
often as any other. All of them run under `jax.jit`.

>>> labels = np.array([0, 0, 0, 1, 1, 7, 7, 7])
>>> members = by_class(labels)
>>> indices, same = pairs(jax.random.key(0), members, 6)
>>> labels[indices].tolist(), same.tolist()
([[..., ...], ...], [True, False, True, False, True, False])
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.data.batches import Batches

__all__ = ["Members", "Tuples", "by_class", "pairs", "triplets"]
__dir__ = __all__.copy

_MOST = 2**26  # several arrays of so many are drawn, each of 256 MB


class Members(NamedTuple):
    """The samples of a set, sorted by class.

    Attributes:
      samples: int32 ``[N]``, the indices of the samples in the order of their classes.
      starts: int32 ``[classes]``, where each class begins in ``samples``.
      counts: int32 ``[classes]``, how many samples each has, at least 1.
    """

    samples: Int[Array, " n"]
    starts: Int[Array, " classes"]
    counts: Int[Array, " classes"]


def by_class(
    labels: Integer[AnyArray, " n"] | Integer[np.ndarray, " n"], *, identical: bool = False
) -> Members:
    """Sort a labelled set by class, on the host, once.

    Args:
      labels: the class of every sample, any integers.
      identical: whether a sample may be paired with itself. If not, a class of one sample is an
        error: it has no pair.

    Returns:
      What `pairs` and `triplets` draw from.

    Raises:
      ValueError: no labels or no vector of them, a single class, or a class of one sample.

    Example:
      >>> by_class(np.array([5, 3, 5, 3, 3]))
      Members(samples=Array([1, 3, 4, 0, 2], dtype=int32), starts=Array([0, 3], dtype=int32),
              counts=Array([3, 2], dtype=int32))
    """
    _require.flag("identical", identical)
    _require.instance("labels", labels, np.ndarray | jax.Array | list | tuple, "an array")
    if isinstance(labels, jax.Array) and jnp.issubdtype(labels.dtype, jax.dtypes.prng_key):
        raise ValueError("labels must be integers [N], one a sample, not keys")
    known = _array(labels)
    if known.ndim != 1 or not known.size or not np.issubdtype(known.dtype, np.integer):
        raise ValueError(
            f"labels {known.dtype}{list(known.shape)}: expected integers [N], one a sample, N > 0"
        )
    classes, starts, counts = np.unique(np.sort(known), return_index=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f"all {len(known)} labels are {classes[0]}: pairs of different classes take two classes"
        )
    if not identical and (alone := classes[counts < 2]).size:
        raise ValueError(
            f"labels: {', '.join(map(str, alone[:5]))}{', ...' * (alone.size > 5)} has one sample: "
            "a pair within a class takes two; leave the class out, or ask for identical=True"
        )
    order = np.argsort(known, kind="stable")
    as_indices = (jnp.asarray(array, jnp.int32) for array in (order, starts, counts))
    return Members(*as_indices)


def pairs(
    key: PRNGKeyArray, members: Members, count: int, *, identical: bool = False
) -> tuple[Int[Array, "count 2"], Bool[Array, " count"]]:
    """Draw pairs, half of them within a class.

    Rows 0, 2, 4, ... are two samples of one class, drawn uniformly from the classes; rows 1, 3,
    5, ... one sample each of two different classes. The order within a pair is random. Draws are
    independent: a pair may come twice.

    Args:
      key: the source of the numbers; in a loop ``jax.random.fold_in(key, step)``.
      members: as `by_class` sorts them.
      count: how many pairs, even, so that they are balanced.
      identical: whether both samples of a pair within a class may be the same one.

    Returns:
      The indices of both samples of every pair, int32, and whether they are of the same class.

    Raises:
      ValueError: the count is odd or below 2, or there is no key.

    Example:
      >>> members = by_class(np.array([0, 0, 1, 1]))
      >>> indices, same = pairs(jax.random.key(0), members, 1000)
      >>> int(same.sum()), bool((indices[:, 0] != indices[:, 1]).all())
      (500, True)
    """
    _require.one_key(key)
    _check(members, identical)
    if _require.count("count", count, least=2, most=_MOST) % 2:
        raise ValueError(f"count must be even, not {count}: half of the pairs are within a class")
    first, second, left, right = jax.random.split(key, 4)
    classes = len(members.counts)
    here = jax.random.randint(first, (count,), 0, classes)
    same = jnp.arange(count) % 2 == 0
    there = jnp.where(same, here, _other(second, here, classes))
    a = _uniform(left, members.counts[here])
    b = _uniform(right, members.counts[there])
    if not identical:
        b = jnp.where(same, _uniform_but(right, members.counts[there], a), b)
    places = jnp.stack([members.starts[here] + a, members.starts[there] + b], axis=1)
    return members.samples[places], same


def triplets(
    key: PRNGKeyArray, members: Members, count: int, *, identical: bool = False
) -> Int[Array, "count 3"]:
    """Draw triplets: an anchor, another sample of its class, and one of a different class.

    Args:
      key: the source of the numbers; in a loop ``jax.random.fold_in(key, step)``.
      members: as `by_class` sorts them.
      count: how many triplets, at least 1.
      identical: whether the anchor may be its own positive.

    Returns:
      The indices of anchor, positive and negative, int32.

    Raises:
      ValueError: the count is below 1, or there is no key.

    Example:
      >>> labels = np.array([0, 0, 1, 1])
      >>> drawn = labels[triplets(jax.random.key(0), by_class(labels), 100)]
      >>> (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 0] != drawn[:, 2]).all()
      np.True_
    """
    _require.one_key(key)
    _check(members, identical)
    _require.count("count", count, most=_MOST)
    first, second, *keys = jax.random.split(key, 5)
    classes = len(members.counts)
    here = jax.random.randint(first, (count,), 0, classes)
    there = _other(second, here, classes)
    anchor = _uniform(keys[0], members.counts[here])
    draw: Any = _uniform if identical else _uniform_but
    positive = draw(keys[1], members.counts[here], *(() if identical else (anchor,)))
    negative = _uniform(keys[2], members.counts[there])
    starts = [members.starts[here], members.starts[here], members.starts[there]]
    places = [s + p for s, p in zip(starts, (anchor, positive, negative), strict=True)]
    return members.samples[jnp.stack(places, axis=1)]


class Tuples(Batches):
    """Pairs or triplets as the batches of a training, each a function of the key and the step.

    Used in the place of `Batches`: a batch holds ``[size, 2, ...]`` of every leaf of the data, or
    ``[size, 3, ...]``. Put the labels among the data, and the loss sees which samples are of the
    same class.

    Attributes:
      data: a pytree of arrays with one leading axis, ``[N, ...]``.
      size: the number of pairs or triplets in a batch.
      key: draws them.
      samples: N.
      per_epoch: how many batches make an epoch: ``N // size``, in which every sample is drawn
        twice on average, or three times.
      members: the samples by class.

    Args:
      data: the samples. Not copied.
      labels: their classes, ``[N]``.
      size: from 1 to N, even for pairs.
      key: draws the pairs.
      draw: `pairs` or `triplets`, or another function of (key, members, count).
      dtype: see `Batches`.

    Raises:
      ValueError: as for `Batches` and `by_class`, labels that are not one a sample, or a size that
        ``draw`` refuses.

    Example:
      >>> labels = np.array([0, 0, 0, 1, 1, 7, 7, 7])
      >>> data = {"images": np.zeros((8, 28, 28), np.uint8), "labels": labels.astype(np.int32)}
      >>> batches = Tuples(data, labels, 4, key=jax.random.key(0))
      >>> batches.per_epoch, batches(5)["images"].shape
      (2, (4, 2, 28, 28))
    """

    def __init__(
        self,
        data: Any,
        labels: Any,
        size: int,
        *,
        key: PRNGKeyArray,
        draw: Callable[[Array, Members, int], Any] = pairs,
        dtype: Literal["narrow", "keep"] = "narrow",
    ):
        super().__init__(data, size, key=key, dtype=dtype)
        _require.function("draw", draw, "(key, members, count), as pairs or triplets")
        self.members = by_class(labels)
        if len(self.members.samples) != self.samples:
            raise ValueError(
                f"{len(self.members.samples)} labels for {self.samples} samples: expected one each"
            )
        # (indices, same), or indices alone.
        self._draw = lambda key: jax.tree.leaves(draw(key, self.members, self.size))[0]
        try:  # now, and not at the first step
            jax.eval_shape(self._draw, key)
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError(f"draw fails with size {size}: {error}") from error

    def order(self, epoch: int | Int[AnyArray, ""]) -> Int[Array, "per_epoch size branches"]:
        """Return the indices of the samples in every batch of an epoch, a batch a row."""
        _require.index("epoch", epoch)
        return _order(self._draw, self.per_epoch, self.key, epoch)

    def indices(self, step: int | Int[AnyArray, ""]) -> Int[Array, "size branches"]:
        """Return the indices of the samples in a step's batch; steps count on across epochs."""
        _require.index("step", step)
        return self._draw(jax.random.fold_in(self.key, step))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _order(draw: Callable[[Array], Array], per_epoch: int, key: Array, epoch: AnyArray) -> Array:
    steps = epoch * per_epoch + jnp.arange(per_epoch)
    # One step after the other: all of an epoch's random numbers at once would take memory.
    return jax.lax.map(lambda step: draw(jax.random.fold_in(key, step)), steps)


def _check(members: object, identical: object) -> None:
    _require.instance("members", members, Members, "what by_class returns")
    _require.flag("identical", identical)


def _array(labels: Any) -> np.ndarray:
    try:
        return np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        raise ValueError(f"labels must be integers [N], one a sample: {error}") from error


def _uniform(key: Array, counts: AnyArray) -> Array:
    """Draw a number below each count."""
    return jax.random.randint(key, counts.shape, 0, counts)


def _uniform_but(key: Array, counts: AnyArray, taken: AnyArray) -> Array:
    """Draw a number below each count, and never the one taken."""
    drawn = jax.random.randint(key, counts.shape, 0, jnp.maximum(counts - 1, 1))
    return drawn + (drawn >= taken).astype(drawn.dtype)


def _other(key: Array, here: AnyArray, classes: int) -> Array:
    """Draw another class for each."""
    return jnp.add(here, jax.random.randint(key, here.shape, 1, classes)) % classes
