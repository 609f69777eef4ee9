"""Losses of distances and similarities: they draw the like together and push the rest apart."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.losses._reduction import check_mean

__all__ = [
    "contrastive",
    "contrastive_backward",
    "supervised_contrastive",
    "supervised_contrastive_backward",
    "triplet",
    "triplet_backward",
]
__dir__ = __all__.copy


def contrastive(
    distances: Float[AnyArray, "*shape"], same: Bool[AnyArray, "*shape"], margin: float = 1.0
) -> Float[Array, ""]:
    r"""Return the contrastive loss: pairs of one class are drawn together, others pushed apart.

    .. math::
      \ell = \frac{1}{n} \sum_i \frac{1}{2} \begin{cases}
        d_i^2 & \text{of one class} \\ \max(0, m - d_i)^2 & \text{else} \end{cases}

    Reduction: the mean over all ``n`` pairs. The half is the paper's; its label Y is 0 for a pair
    that belongs together, ours is True.

    Two different inputs with equal embeddings have the largest loss, but no direction in which to
    part: with a distance whose gradient there is 0 such a pair stays where it is.

    Args:
      distances: d, of any shape, at least 0, not squared.
      same: whether the two of a pair belong together, of the same shape.
      margin: m, above 0: how far apart is far enough. Between unit vectors no distance is above 2.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ or are empty, the margin is not positive and finite, or (outside
        jit) a distance is negative.

    Example:
      >>> distances, same = jnp.array([2.0, 0.5, 3.0]), jnp.array([True, False, False])
      >>> contrastive(distances, same, margin=1.5)  # (4 + 1 + 0) / 2 / 3
      Array(0.8333333, dtype=float32)

    References:
      Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR
      2006, equation 4.
    """
    margin = _check_pairs(distances, same, margin)
    missing = jax.nn.relu(margin - distances)
    return jnp.mean(jnp.where(same, jnp.square(distances), jnp.square(missing))) / 2


def contrastive_backward(
    g: Float[AnyArray, ""],
    distances: Float[AnyArray, "*shape"],
    same: Bool[AnyArray, "*shape"],
    margin: float = 1.0,
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`\frac{g}{n} d` for a pair of one class, else :math:`-\frac{g}{n}(m - d)_+`."""
    margin = _check_pairs(distances, same, margin)
    _require.incoming(g, ())
    missing = jax.nn.relu(margin - distances)
    return jnp.where(same, distances, -missing) * (g / distances.size), None


def triplet(
    positive: Float[AnyArray, "*shape"], negative: Float[AnyArray, "*shape"], margin: float = 1.0
) -> Float[Array, ""]:
    r"""Return the triplet loss: an anchor is drawn nearer to its like than to another, by a margin.

    .. math::
      \ell = \frac{1}{n} \sum_i \max(0, d^+_i - d^-_i + m)

    Reduction: the mean over all ``n`` triplets, those that are satisfied included.

    With distances it is PyTorch's ``TripletMarginLoss``, with squared distances FaceNet's. At the
    corner, where the margin is exactly reached, the gradient is 0.

    Args:
      positive: from the anchors to inputs of their class, of any shape.
      negative: from the same anchors to inputs of other classes, of the same shape.
      margin: m, above 0, in the unit of the distances.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ or are empty, the margin is not positive and finite, or (outside
        jit) a distance is negative.

    Example:
      >>> triplet(jnp.array([1.0, 2.0]), jnp.array([1.5, 4.0]), margin=1.0)
      Array(0.25, dtype=float32)

    References:
      Weinberger and Saul, "Distance metric learning for large margin nearest neighbor
      classification", JMLR 2009; Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015,
      equation 2.
    """
    margin = _check_triplets(positive, negative, margin)
    return jnp.mean(jax.nn.relu(positive - negative + margin))


def triplet_backward(
    g: Float[AnyArray, ""],
    positive: Float[AnyArray, "*shape"],
    negative: Float[AnyArray, "*shape"],
    margin: float = 1.0,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Return :math:`\frac{g}{n}` where :math:`d^+ - d^- + m > 0`, and minus that: else 0."""
    margin = _check_triplets(positive, negative, margin)
    _require.incoming(g, ())
    gradient = jnp.where(positive - negative + margin > 0, g / positive.size, 0)
    return gradient, -gradient


def supervised_contrastive(
    similarities: Float[AnyArray, "batch batch"],
    labels: Int[AnyArray, " batch"],
    temperature: float = 0.1,
) -> Float[Array, ""]:
    r"""Return the supervised contrastive loss: every pair of a class against the whole batch.

    With :math:`P_i` the others of the class of ``i`` in the batch,

    .. math::
      \ell = \frac{1}{|\{i : P_i \ne \emptyset\}|} \sum_{i : P_i \ne \emptyset} \frac{-1}{|P_i|}
        \sum_{j \in P_i} \log \frac{e^{s_{ij} / \tau}}{\sum_{k \ne i} e^{s_{ik} / \tau}}

    Reduction: the mean over the samples that have another one of their class; 0 without any. It is
    the one loss of this package for which a batch is more than its samples: repeating the batch
    adds negatives, and positives that are too easy. With two views of each image and the
    image's index for a label it is NT-Xent (Chen et al., "SimCLR", 2020).

    Args:
      similarities: s, of every sample with every other, usually products of unit vectors. The
        diagonal is not used.
      labels: the class of every sample.
      temperature: tau, above 0: the smaller, the more the nearest count.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes do not fit, or the temperature is not positive and finite.

    Example:
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> supervised_contrastive(jnp.zeros((4, 4)), labels)  # log 3
      Array(1.0986123, dtype=float32)

    References:
      Khosla et al., "Supervised contrastive learning", NeurIPS 2020, equation 2.
    """
    temperature = _check_similarities(similarities, labels, temperature)
    log_p, positive, weights = _log_softmax_of_others(similarities, labels, temperature)
    return -jnp.sum(weights[:, None] * jnp.where(positive, log_p, 0))


def supervised_contrastive_backward(
    g: Float[AnyArray, ""],
    similarities: Float[AnyArray, "batch batch"],
    labels: Int[AnyArray, " batch"],
    temperature: float = 0.1,
) -> tuple[Float[Array, "batch batch"], None]:
    r"""Return the softmax less the uniform distribution over the like, scaled.

    .. math::
      \frac{g}{\tau |\{i : P_i \ne \emptyset\}|} \Big( p_{ij} - \frac{1_{j \in P_i}}{|P_i|} \Big)
    """
    temperature = _check_similarities(similarities, labels, temperature)
    _require.incoming(g, ())
    log_p, positive, weights = _log_softmax_of_others(similarities, labels, temperature)
    others = ~jnp.eye(len(labels), dtype=bool)
    count = jnp.sum(positive, axis=1).astype(similarities.dtype)
    softmax = jnp.where(others, jnp.exp(log_p), 0) * count[:, None]
    excess = softmax - positive.astype(similarities.dtype)
    return weights[:, None] * excess * (g / temperature), None


def _log_softmax_of_others(
    similarities: AnyArray, labels: AnyArray, temperature: float
) -> tuple[Array, Array, Array]:
    """Return log p, the mask of the like, and the weight of each of them for its anchor."""
    others = ~jnp.eye(len(labels), dtype=bool)
    positive = (labels[:, None] == labels[None, :]) & others
    count = jnp.sum(positive, axis=1)
    anchors = jnp.maximum(jnp.sum(count > 0), 1)
    weights = jnp.where(count > 0, 1 / (jnp.maximum(count, 1) * anchors), 0)
    logits = jnp.where(others, similarities / temperature, -jnp.inf)
    log_p = jax.nn.log_softmax(logits, axis=1)
    return log_p, positive, weights.astype(similarities.dtype)


def _check_pairs(distances: AnyArray, same: AnyArray, margin: float) -> float:
    check_mean(distances=distances, same=same)
    _require.among("same", same, (0, 1), "True for a pair of one class")
    _require.within("distances", distances, least=0, finite=False)
    return _check_margin(margin)


def _check_triplets(positive: AnyArray, negative: AnyArray, margin: float) -> float:
    check_mean(positive=positive, negative=negative)
    _require.within("positive", positive, least=0, finite=False)
    _require.within("negative", negative, least=0, finite=False)
    return _check_margin(margin)


def _check_margin(margin: float) -> float:
    return _require.real("margin", margin, above=0, why="else one point for all inputs has no loss")


def _check_similarities(similarities: AnyArray, labels: AnyArray, temperature: float) -> float:
    _require.floats(similarities=similarities)
    _require.arrays(labels=labels)
    if similarities.shape != (*labels.shape, *labels.shape) or labels.ndim != 1:
        raise ValueError(
            f"similarities {similarities.shape} against labels {labels.shape}: "
            "they must be [batch, batch] and [batch]"
        )
    return _require.real("temperature", temperature, above=0)
