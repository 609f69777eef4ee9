"""Losses of predictions against targets: squared error, cross-entropies, hinges."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "hinge",
    "hinge_backward",
    "perceptron",
    "perceptron_backward",
    "squared_error",
    "squared_error_backward",
    "squared_hinge",
    "squared_hinge_backward",
]


def _check_shapes(predictions: Array, targets: Array) -> None:
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions {predictions.shape} against targets {targets.shape}: "
            "the two shapes must be equal, reshape one of them"
        )


def _check_range(labels: Array, low: int, high: int, what: str) -> None:
    # Under jit there is no value yet to look at.
    if isinstance(labels, jax.core.Tracer) or labels.size == 0:
        return
    values = np.asarray(labels)
    smallest, largest = values.min(), values.max()
    if not low <= smallest <= largest <= high:
        raise ValueError(f"labels from {smallest} to {largest}: they must be {what}")


def squared_error(
    predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"]
) -> Float[Array, ""]:
    r"""Return the mean of the squared differences.

    .. math::
      \ell = \frac{1}{n} \sum_i (p_i - t_i)^2

    Reduction: the mean over *all* ``n`` elements, the batch and the components alike, as in the
    notes. With ``[N, D]`` predictions the gradient is therefore ``D`` times smaller than that of a
    sum over components: compare learning rates between two losses only when both reduce alike.

    Args:
      predictions: p, of any shape.
      targets: t, of the same shape.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ. ``[N, 1]`` against ``[N]`` would silently give N x N pairs.

    Example:
      >>> squared_error(jnp.array([3.0, 0.0, 0.0, 0.0]), jnp.zeros(4))
      Array(2.25, dtype=float32)
    """
    _check_shapes(predictions, targets)
    return jnp.mean(jnp.square(predictions - targets))


def squared_error_backward(
    g: Float[Array, ""], predictions: Float[Array, "*shape"], targets: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Return :math:`g \frac{2}{n} (p - t)` for the predictions, minus that for the targets."""
    gradient = g * 2 / predictions.size * (predictions - targets)
    return gradient, -gradient


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    r"""Return the cross-entropy of the softmax of the logits with integer labels.

    .. math::
      \ell = \frac{1}{N} \sum_n \Big( \log \sum_k e^{s_{n k}} - s_{n y_n} \Big)

    Reduction: the mean over the batch. There is no division by the number of classes.

    Args:
      logits: s, one row a sample, any real numbers.
      labels: y, the class of every sample, in 0 .. classes - 1.

    Returns:
      The loss, a scalar; under jit a label out of range makes it NaN.

    Raises:
      ValueError: the batch sizes differ, the labels are no integers, or (outside jit) one of them
        is out of range.

    Example:
      >>> cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7]))  # log 10
      Array(2.3025851, dtype=float32)
    """
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"logits {logits.shape} against labels {labels.shape}: they must be [batch, classes] "
            "and [batch]; take jnp.argmax(labels, axis=1) of one-hot labels"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels of dtype {labels.dtype}: they must be integers, the number of the class each: "
            "labels.astype(int)"
        )
    classes = logits.shape[-1]
    _check_range(labels, 0, classes - 1, f"0 to {classes - 1} for {classes} columns of logits")
    # Indices count from the end when negative: move those labels to where "fill" answers NaN.
    index = jnp.where(labels < 0, classes, labels)[:, None]
    picked = jnp.take_along_axis(logits, index, axis=-1, mode="fill", fill_value=jnp.nan)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


def cross_entropy_backward(
    g: Float[Array, ""], logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> tuple[Float[Array, "batch classes"], None]:
    r"""Return :math:`\frac{g}{N} (\mathrm{softmax}(s) - \mathrm{onehot}(y))` for the logits."""
    batch, classes = logits.shape
    excess = jax.nn.softmax(logits, axis=-1) - jax.nn.one_hot(labels, classes, dtype=logits.dtype)
    return g / batch * excess, None


def binary_cross_entropy(
    logits: Float[Array, "*shape"], labels: Num[Array, "*shape"]
) -> Float[Array, ""]:
    r"""Return the cross-entropy of the sigmoid of the logits with labels between 0 and 1.

    .. math::
      \ell = -\frac{1}{n} \sum_i \big( y_i \log \sigma(s_i) + (1 - y_i) \log \sigma(-s_i) \big)
           = \frac{1}{n} \sum_i \big( \log(1 + e^{s_i}) - y_i s_i \big)

    Reduction: the mean over all ``n`` elements.

    Args:
      logits: s, of any shape, any real numbers.
      labels: y, of the same shape, in [0, 1], integer or real.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ, or (outside jit) a label is outside [0, 1].

    Example:
      >>> binary_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([0, 1]))  # log 2
      Array(0.6931472, dtype=float32)
    """
    _check_shapes(logits, labels)
    _check_range(labels, 0, 1, "between 0 and 1")
    return jnp.mean(jax.nn.softplus(logits) - labels.astype(logits.dtype) * logits)


def binary_cross_entropy_backward(
    g: Float[Array, ""], logits: Float[Array, "*shape"], labels: Num[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`\frac{g}{n} (\sigma(s) - y)` for the logits."""
    return g / logits.size * (jax.nn.sigmoid(logits) - labels.astype(logits.dtype)), None


def _agreement(
    scores: Float[Array, "*shape"], targets: Num[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Return y s, which is positive where the score has the sign that it should have."""
    _check_shapes(scores, targets)
    if not isinstance(targets, jax.core.Tracer) and not (np.abs(np.asarray(targets)) == 1).all():
        found = np.unique(np.asarray(targets))[:5].tolist()
        raise ValueError(
            f"targets {found}: they must be -1 or +1, map labels y in {{0, 1}} to 2 y - 1"
        )
    return targets.astype(scores.dtype) * scores


def hinge(
    scores: Float[Array, "*shape"], targets: Num[Array, "*shape"], *, margin: float = 1.0
) -> Float[Array, ""]:
    r"""Return the hinge loss: what is missing to a margin on the right side.

    .. math::
      \ell = \frac{1}{n} \sum_i \max(0, m - y_i s_i)

    Reduction: the mean over all ``n`` elements.

    At the corner, :math:`y s = m`, the sample still counts: the gradient is :math:`-y`, as in
    scikit-learn's ``SGDClassifier``.

    Args:
      scores: s, of any shape.
      targets: y, of the same shape, -1 or +1.
      margin: m, at least 0.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ, or (outside jit) a target is neither -1 nor +1.

    Example:
      >>> hinge(jnp.array([2.0, 0.5, 0.5, -1.0]), jnp.array([1, 1, -1, 1]))
      Array(1., dtype=float32)
    """
    agreement = _agreement(scores, targets)
    # Written with > so that the corner keeps its slope, and NaN stays NaN.
    return jnp.mean(jnp.where(agreement > margin, 0, margin - agreement))


def hinge_backward(
    g: Float[Array, ""],
    scores: Float[Array, "*shape"],
    targets: Num[Array, "*shape"],
    *,
    margin: float = 1.0,
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{g}{n} y` for the scores where :math:`y s \le m`, else 0."""
    signs = targets.astype(scores.dtype)
    return jnp.where(signs * scores > margin, 0, -g / scores.size * signs), None


def squared_hinge(
    scores: Float[Array, "*shape"], targets: Num[Array, "*shape"]
) -> Float[Array, ""]:
    r"""Return the squared hinge loss, which has no corner.

    .. math::
      \ell = \frac{1}{n} \sum_i \max(0, 1 - y_i s_i)^2

    Reduction: the mean over all ``n`` elements.

    Args:
      scores: s, of any shape.
      targets: y, of the same shape, -1 or +1.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ, or (outside jit) a target is neither -1 nor +1.

    Example:
      >>> squared_hinge(jnp.array([2.0, 0.5, 0.5, -1.0]), jnp.array([1, 1, -1, 1]))
      Array(1.625, dtype=float32)
    """
    return jnp.mean(jnp.square(jax.nn.relu(1 - _agreement(scores, targets))))


def squared_hinge_backward(
    g: Float[Array, ""], scores: Float[Array, "*shape"], targets: Num[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{2 g}{n} y \max(0, 1 - y s)` for the scores."""
    signs = targets.astype(scores.dtype)
    return -2 * g / scores.size * signs * jax.nn.relu(1 - signs * scores), None


def perceptron(scores: Float[Array, "*shape"], targets: Num[Array, "*shape"]) -> Float[Array, ""]:
    r"""Return the loss that the perceptron's rule descends: the hinge with margin 0.

    .. math::
      \ell = \frac{1}{n} \sum_i \max(0, -y_i s_i)

    Reduction: the mean over all ``n`` elements.

    The rule of the notes updates when :math:`y s \le 0`: at a score of exactly 0, which is every
    sample when the weights are 0, the gradient is the whole :math:`-y`. (`optax.losses` gives half
    of it there.) A step of 1 on one sample, with :math:`s = w^\top x`, is that rule.

    Args:
      scores: s, of any shape.
      targets: y, of the same shape, -1 or +1.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the shapes differ, or (outside jit) a target is neither -1 nor +1.

    Example:
      >>> scores, targets = jnp.array([2.0, -3.0, 0.0]), jnp.array([1, 1, -1])
      >>> perceptron(scores, targets)
      Array(1., dtype=float32)
      >>> -3 * jax.grad(perceptron)(scores, targets)  # y where the rule updates
      Array([ 0.,  1., -1.], dtype=float32)

    Source: Rosenblatt, 1957; the notes' update :math:`w \leftarrow w + y x` if :math:`y s \le 0`.
    """
    return hinge(scores, targets, margin=0.0)


def perceptron_backward(
    g: Float[Array, ""], scores: Float[Array, "*shape"], targets: Num[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{g}{n} y` for the scores where :math:`y s \le 0`, else 0."""
    return hinge_backward(g, scores, targets, margin=0.0)


def __dir__() -> list[str]:
    return sorted(__all__)
