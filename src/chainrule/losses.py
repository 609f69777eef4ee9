"""The losses. Each one states its reduction."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def _same_shape(name: str, first: Array, second: Array) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{name}: predictions {first.shape} against targets {second.shape}: "
            "the two shapes must be equal, reshape one of them"
        )


def squared_error(
    predictions: Float[Array, "..."], targets: Float[Array, "..."]
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
    _same_shape("squared_error", predictions, targets)
    return jnp.mean(jnp.square(predictions - targets))
