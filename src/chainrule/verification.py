r"""Verification: how well distances tell whether two things are of one class.

A pair is accepted as being of one class where its distance is *at most* a threshold. The false
accept rate is the share of pairs of two classes that are accepted, the false reject rate the share
of pairs of one class that are not. Only the order of the distances matters: a similarity with its
sign changed will do. All functions take NumPy's arrays or JAX's, run on the host in double
precision and have no gradient.

>>> distances, same = np.array([0.1, 0.4, 0.3, 0.9]), np.array([True, True, False, False])
>>> curve = roc(distances, same)
>>> curve.false_accept.tolist(), curve.true_accept.tolist()
([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
>>> area(curve), equal_error_rate(curve), accuracy(distances, same, 0.2)
(0.75, 0.5, 0.75)
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = [
    "Roc",
    "Spread",
    "accuracy",
    "area",
    "best_threshold",
    "equal_error_rate",
    "one_shot",
    "roc",
    "spread",
]
__dir__ = __all__.copy


_MOST_DRAWS = 2**27  # numbers drawn at once, 1 GiB of them


class Roc(NamedTuple):
    """The receiver operating characteristic: what each threshold accepts.

    Attributes:
      thresholds: float64 ``[T]``, minus infinity and then every distinct distance, ascending.
      false_accept: float64 ``[T]``, the share of pairs of two classes that each accepts, 0 to 1.
      true_accept: float64 ``[T]``, the share of pairs of one class that each accepts, 0 to 1.
    """

    thresholds: Float[np.ndarray, " thresholds"]
    false_accept: Float[np.ndarray, " thresholds"]
    true_accept: Float[np.ndarray, " thresholds"]


def roc(
    distances: Float[AnyArray, " pairs"] | Float[np.ndarray, " pairs"],
    same: Bool[AnyArray, " pairs"] | Bool[np.ndarray, " pairs"],
) -> Roc:
    """Return what every threshold accepts; equal distances are accepted together.

    Args:
      distances: of the pairs.
      same: whether a pair is of one class, 0 or 1.

    Returns:
      The curve, from accepting nothing to accepting all.

    Raises:
      ValueError: the shapes differ, a distance is not finite, an entry of ``same`` is neither 0 nor
        1, or all pairs are of one class or none is.
    """
    d, y = _checked(distances, same)
    order = np.argsort(d, kind="stable")
    d, y = d[order], y[order]
    last = np.append(np.flatnonzero(np.diff(d)), len(d) - 1)
    accepted = np.stack([np.cumsum(~y)[last] / (~y).sum(), np.cumsum(y)[last] / y.sum()])
    false_accept, true_accept = np.pad(accepted, ((0, 0), (1, 0)))
    return Roc(np.concatenate([[-np.inf], d[last]]), false_accept, true_accept)


def area(curve: Roc) -> float:
    """Return the area under the curve: how often a pair of one class is nearer than another pair.

    Ties count half. 1 is perfect, 0.5 is chance.

    Args:
      curve: as `roc` returns it.
    """
    _require.instance("curve", curve, Roc, "what roc returns")
    return float(np.trapezoid(curve.true_accept, curve.false_accept))


def equal_error_rate(curve: Roc) -> float:
    """Return the rate at which false accepts and false rejects are equally frequent.

    Between two thresholds the curve is interpolated linearly.

    Args:
      curve: as `roc` returns it.
    """
    _require.instance("curve", curve, Roc, "what roc returns")
    excess = curve.false_accept - (1 - curve.true_accept)
    after = int(np.argmax(excess >= 0))  # the last is 1, the first -1
    before = after - 1
    part = -excess[before] / (excess[after] - excess[before])
    left, right = curve.false_accept[[before, after]]
    return float(left + part * (right - left))


def accuracy(
    distances: Float[AnyArray, " pairs"] | Float[np.ndarray, " pairs"],
    same: Bool[AnyArray, " pairs"] | Bool[np.ndarray, " pairs"],
    threshold: float,
) -> float:
    """Return the share of pairs on which the threshold is right.

    Args:
      distances: of the pairs.
      same: whether a pair is of one class, 0 or 1.
      threshold: chosen on *other* pairs, by `best_threshold`.

    Raises:
      ValueError: as for `roc`, or the threshold is no number.
    """
    _require.real("threshold", threshold, least=-math.inf, finite=False)
    d, y = _checked(distances, same)
    return float(((d <= threshold) == y).mean())


def best_threshold(
    distances: Float[AnyArray, " pairs"] | Float[np.ndarray, " pairs"],
    same: Bool[AnyArray, " pairs"] | Bool[np.ndarray, " pairs"],
) -> float:
    """Return the threshold with the highest accuracy, half way to the next distance.

    Of several that are equally good it is the lowest. Its accuracy on these very pairs is too
    optimistic: measure it on others.

    Args:
      distances: of pairs that are not those to be judged.
      same: whether a pair is of one class, 0 or 1.

    Raises:
      ValueError: as for `roc`.

    Example:
      >>> distances, same = np.array([0.1, 0.2, 0.6, 0.9]), np.array([True, True, False, False])
      >>> round(best_threshold(distances, same), 6)
      0.4
    """
    curve, ones = roc(distances, same), int(np.sum(np.asarray(same)))
    right = ones * curve.true_accept - (np.size(same) - ones) * curve.false_accept
    best = int(np.argmax(right))
    ends = curve.thresholds[best : best + 2]
    if best == 0:  # accept nothing
        return float(np.nextafter(curve.thresholds[1], -np.inf))
    return float(ends.mean())


def one_shot(
    embeddings: Float[AnyArray, "samples dim"] | Float[np.ndarray, "samples dim"],
    labels: Int[AnyArray, " samples"] | Int[np.ndarray, " samples"],
    *,
    ways: int,
    episodes: int,
    key: PRNGKeyArray,
) -> float:
    """Return how often the nearest of ``ways`` examples, one a class, is of the right class.

    An episode draws ``ways`` classes, one example of each, and another sample of one of them, which
    is assigned the class of its nearest example. A tie counts as wrong: a network that maps
    everything to one point gets 0. Guessing gets ``1 / ways``.

    Args:
      embeddings: one a row.
      labels: their classes.
      ways: how many classes an episode has, from 2 to all.
      episodes: how many are drawn, at least 1.
      key: draws them.

    Raises:
      ValueError: the embeddings are not one finite row a label, there are more ways than classes, a
        class has one sample, a setting is out of range, or ``key`` is no key.

    Example:
      >>> import jax
      >>> labels = np.array([0, 0, 1, 1])
      >>> one_shot(labels[:, None] * 1.0, labels, ways=2, episodes=100, key=jax.random.key(0))
      1.0
    """
    _require.one_key(key)
    e = _require.host("embeddings", embeddings).astype(np.float64)
    y = _require.host("labels", labels)
    if e.ndim != 2 or y.shape != e.shape[:1]:
        raise ValueError(
            f"embeddings {e.shape} against labels {y.shape}: they must be [samples, dim] and "
            "[samples]"
        )
    _require.within("embeddings", e)
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels of {len(classes)} class: an episode takes two or more")
    ways = _require.count("ways", ways, least=2, most=len(classes))
    episodes = _require.count("episodes", episodes, most=_MOST_DRAWS // len(classes))
    if counts.min() < 2:
        raise ValueError(f"class {classes[counts.argmin()]} has one sample: an episode takes two")
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    members = [np.flatnonzero(y == label) for label in classes]
    # Distinct classes: the order of random numbers is a random order.
    chosen = generator.random((episodes, len(classes))).argsort(axis=1)[:, :ways]
    places = (generator.random((episodes, ways)) * counts[chosen]).astype(int)
    first = chosen[:, 0]
    offset = 1 + (generator.random(episodes) * (counts[first] - 1)).astype(int)
    sought = (places[:, 0] + offset) % counts[first]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    samples = np.concatenate(members)
    shown = samples[starts[chosen] + places]
    query = samples[starts[first] + sought]
    distances = np.linalg.norm(e[shown] - e[query][:, None], axis=2)
    return float((distances[:, :1] < distances[:, 1:]).all(axis=1).mean())


class Spread(NamedTuple):
    """How far embeddings are from a single point.

    Attributes:
      ratio: the root mean square distance of the embeddings from their mean, over the root mean
        square of their length: 0 when all are one point, 1 when their mean is 0.
      dimensions: how many dimensions they use: the participation ratio of the variances along the
        principal axes, from 1 to the number of dimensions; 0 for one point.
      collapsed: whether the ratio is below the limit.
    """

    ratio: float
    dimensions: float
    collapsed: bool


def spread(
    embeddings: Float[AnyArray, "samples dim"] | Float[np.ndarray, "samples dim"],
    *,
    limit: float = 0.05,
) -> Spread:
    r"""Return the spread of embeddings, and whether they have collapsed.

    A loss that only draws pairs together is smallest where all inputs have one embedding, and
    training may end there; loss and gradient are then small, as if all were well.

    .. math::
      \text{dimensions} = \frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2}

    with the eigenvalues of the covariance, whose sum is its trace, and the sum of whose squares is
    that of its squared elements.

    Args:
      embeddings: of two inputs or more of different classes, one a row.
      limit: the ratio below which they count as collapsed, above 0.

    Raises:
      ValueError: there are fewer than two, some are NaN or infinite, or the limit is out of range.

    Example:
      >>> spread(np.ones((5, 3)))
      Spread(ratio=0.0, dimensions=0.0, collapsed=True)
      >>> spread(np.array([[1.0, 0.0], [-1.0, 0.0]]))
      Spread(ratio=1.0, dimensions=1.0, collapsed=False)
    """
    e = _require.host("embeddings", embeddings).astype(np.float64)
    _require.real("limit", limit, above=0)
    if e.ndim != 2 or len(e) < 2:
        raise ValueError(f"embeddings {e.shape}: they must be [samples, dim], two samples or more")
    _require.within("embeddings", e)
    centred = e - e.mean(axis=0)
    variance, length = np.square(centred).sum(), np.square(e).sum()
    ratio = float(np.sqrt(variance / length)) if length else 0.0
    # Of the two products with the transpose the smaller: both have these eigenvalues.
    tall = len(e) > e.shape[1]
    squares = np.square(centred.T @ centred if tall else centred @ centred.T).sum()
    dimensions = float(variance**2 / squares) if squares else 0.0
    return Spread(ratio, dimensions, ratio < limit)


def _checked(distances: object, same: object) -> tuple[np.ndarray, np.ndarray]:
    d = _require.host("distances", distances).astype(np.float64)
    y = _require.host("same", same)
    if d.shape != y.shape or d.ndim != 1:
        raise ValueError(
            f"distances {d.shape} against same {y.shape}: expected [pairs] and [pairs]"
        )
    _require.within("distances", d)
    _require.among("same", y, (0, 1), "1 or True for a pair of one class")
    y = y.astype(bool)
    if y.all() or not y.any():
        raise ValueError(
            f"same: {y.sum()} of {len(y)} pairs are of one class: there must be pairs of both sorts"
        )
    return d, y
