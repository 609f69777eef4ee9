"""Losses of predictions against targets: squared error, cross-entropies, hinges."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.losses._reduction import check_mean

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
__dir__ = __all__.copy


def squared_error(
    predictions: Float[AnyArray, "*shape"], targets: Float[AnyArray, "*shape"]
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
      ValueError: the shapes differ or are empty. ``[N, 1]`` against ``[N]`` would silently give
        N x N pairs.

    Example:
      >>> squared_error(jnp.array([3.0, 0.0, 0.0, 0.0]), jnp.zeros(4))
      Array(2.25, dtype=float32)
    """
    check_mean(predictions=predictions, targets=targets)
    return jnp.mean(jnp.square(predictions - targets))


def squared_error_backward(
    g: Float[AnyArray, ""],
    predictions: Float[AnyArray, "*shape"],
    targets: Float[AnyArray, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    r"""Return :math:`g \frac{2}{n} (p - t)` for the predictions, minus that for the targets."""
    check_mean(predictions=predictions, targets=targets)
    _require.incoming(g, ())
    gradient = jnp.subtract(predictions, targets) * (g * 2 / predictions.size)
    return gradient, -gradient


def cross_entropy(
    logits: Float[AnyArray, "*batch classes"], labels: Int[AnyArray, "*batch"]
) -> Float[Array, ""]:
    r"""Return the cross-entropy of the softmax of the logits with integer labels.

    .. math::
      \ell = \frac{1}{N} \sum_n \Big( \log \sum_k e^{s_{n k}} - s_{n y_n} \Big)

    Reduction: the mean over all ``N`` labels: the batch, and the positions of a sequence or the
    pixels of an image where the labels have more axes. There is no division by the number of
    classes.

    Args:
      logits: s, the classes along the last axis, any real numbers.
      labels: y, a class for every row of logits, in 0 .. classes - 1.

    Returns:
      The loss, a scalar; under jit a label out of range makes it NaN.

    Raises:
      ValueError: the shapes do not fit, there is no label, the labels are no integers, or (outside
        jit) one of them is out of range.

    Example:
      >>> cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7]))  # log 10
      Array(2.3025851, dtype=float32)
    """
    _check_labels(logits, labels)
    # Indices count from the end when negative: move those labels to where "fill" answers NaN.
    index = jnp.where(labels < 0, logits.shape[-1], labels)[..., None]
    picked = jnp.take_along_axis(logits, index, axis=-1, mode="fill", fill_value=jnp.nan)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


def cross_entropy_backward(
    g: Float[AnyArray, ""],
    logits: Float[AnyArray, "*batch classes"],
    labels: Int[AnyArray, "*batch"],
) -> tuple[Float[Array, "*batch classes"], None]:
    r"""Return :math:`\frac{g}{N} (\mathrm{softmax}(s) - \mathrm{onehot}(y))` for the logits."""
    _check_labels(logits, labels)
    _require.incoming(g, ())
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return (jax.nn.softmax(logits, axis=-1) - targets) * (g / labels.size), None


def _check_labels(logits: AnyArray, labels: AnyArray) -> None:
    _require.floats(logits=logits)
    _require.arrays(labels=labels)
    if logits.ndim == 0 or logits.shape[:-1] != labels.shape or labels.size == 0:
        raise ValueError(
            f"logits {logits.shape} against labels {labels.shape}: they must be [..., classes] "
            "and [...], one label or more; take jnp.argmax(labels, axis=-1) of one-hot labels"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels of dtype {labels.dtype}: they must be integers, one class number each: "
            "labels.astype(int)"
        )
    last = logits.shape[-1] - 1
    why = f"logits {logits.shape} have {last + 1} classes"
    _require.within("labels", labels, least=0, most=last, why=why)


def binary_cross_entropy(
    logits: Float[AnyArray, "*shape"], labels: Num[AnyArray, "*shape"]
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
      ValueError: the shapes differ or are empty, or (outside jit) a label is outside [0, 1].

    Example:
      >>> binary_cross_entropy(jnp.array([0.0, 0.0]), jnp.array([0, 1]))  # log 2
      Array(0.6931472, dtype=float32)
    """
    _check_probabilities(logits, labels)
    return jnp.mean(jax.nn.softplus(logits) - labels.astype(logits.dtype) * logits)


def binary_cross_entropy_backward(
    g: Float[AnyArray, ""], logits: Float[AnyArray, "*shape"], labels: Num[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`\frac{g}{n} (\sigma(s) - y)` for the logits."""
    _check_probabilities(logits, labels)
    _require.incoming(g, ())
    missing = jax.nn.sigmoid(logits) - jnp.asarray(labels, logits.dtype)
    return missing * (g / logits.size), None


def _check_probabilities(logits: AnyArray, labels: AnyArray) -> None:
    check_mean(logits=logits, labels=labels)
    _require.within("labels", labels, least=0, most=1)


def _agreement(
    scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    """Return y s, which is positive where the score has the right sign."""
    check_mean(scores=scores, targets=targets)
    _require.among("targets", targets, (-1, 1), "map labels y in {0, 1} to 2 y - 1")
    return jnp.asarray(targets, scores.dtype) * scores


def hinge(
    scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"], *, margin: float = 1.0
) -> Float[Array, ""]:
    r"""Return the hinge loss: how far the scores fall short of a margin.

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
      ValueError: the shapes differ or are empty, the margin is negative or not finite, or (outside
        jit) a target is neither -1 nor +1.

    Example:
      >>> hinge(jnp.array([2.0, 0.5, 0.5, -1.0]), jnp.array([1, 1, -1, 1]))
      Array(1., dtype=float32)
    """
    margin = _require.real("margin", margin, least=0)
    agreement = _agreement(scores, targets)
    # Written with > so that the corner keeps its slope, and NaN stays NaN.
    return jnp.mean(jnp.where(agreement > margin, 0, margin - agreement))


def hinge_backward(
    g: Float[AnyArray, ""],
    scores: Float[AnyArray, "*shape"],
    targets: Num[AnyArray, "*shape"],
    *,
    margin: float = 1.0,
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{g}{n} y` for the scores where :math:`y s \le m`, else 0."""
    margin = _require.real("margin", margin, least=0)
    _require.incoming(g, ())
    beyond = _agreement(scores, targets) > margin
    return jnp.where(beyond, 0, -g / scores.size * targets.astype(scores.dtype)), None


def squared_hinge(
    scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"]
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
      ValueError: the shapes differ or are empty, or (outside jit) a target is neither -1 nor +1.

    Example:
      >>> squared_hinge(jnp.array([2.0, 0.5, 0.5, -1.0]), jnp.array([1, 1, -1, 1]))
      Array(1.625, dtype=float32)
    """
    return jnp.mean(jnp.square(jax.nn.relu(1 - _agreement(scores, targets))))


def squared_hinge_backward(
    g: Float[AnyArray, ""], scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{2 g}{n} y \max(0, 1 - y s)` for the scores."""
    _require.incoming(g, ())
    missing = jax.nn.relu(1 - _agreement(scores, targets))
    return missing * targets.astype(scores.dtype) * (-2 * g / scores.size), None


def perceptron(
    scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"]
) -> Float[Array, ""]:
    r"""Return the loss that the perceptron rule descends on: the hinge with margin 0.

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
      ValueError: the shapes differ or are empty, or (outside jit) a target is neither -1 nor +1.

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
    g: Float[AnyArray, ""], scores: Float[AnyArray, "*shape"], targets: Num[AnyArray, "*shape"]
) -> tuple[Float[Array, "*shape"], None]:
    r"""Return :math:`-\frac{g}{n} y` for the scores where :math:`y s \le 0`, else 0."""
    return hinge_backward(g, scores, targets, margin=0.0)
