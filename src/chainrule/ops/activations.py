"""The activations: functions of one number, applied to every element."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sigmoid(inputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Squash every element into (0, 1).

    .. math::
      \sigma(x) = \frac{1}{1 + e^{-x}}

    Example:
      >>> sigmoid(jnp.array([0.0, 1.0]))
      Array([0.5       , 0.7310586], dtype=float32)
    """
    return jax.nn.sigmoid(inputs)


def sigmoid_backward(
    g: Float[Array, "*shape"], inputs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot \sigma(x) (1 - \sigma(x))`."""
    outputs = sigmoid(inputs)
    return g * outputs * (1 - outputs)


def tanh(inputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Squash every element into (-1, 1), :math:`\tanh(x) = 2 \sigma(2 x) - 1`.

    Example:
      >>> tanh(jnp.array([0.0, 1.0]))
      Array([0.       , 0.7615942], dtype=float32)
    """
    return jnp.tanh(inputs)


def tanh_backward(
    g: Float[Array, "*shape"], inputs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot (1 - \tanh^2(x))`."""
    return g * (1 - jnp.square(tanh(inputs)))


def relu(inputs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Keep what is positive, max(x, 0); the gradient at exactly 0 is 0.

    Example:
      >>> relu(jnp.array([0.8008, -0.2586, 0.5019, -0.2002, -0.7416]))
      Array([0.8008, 0.    , 0.5019, 0.    , 0.    ], dtype=float32)
    """
    # jnp.maximum(x, 0) would have the gradient 0.5 at 0.
    return jax.nn.relu(inputs)


def relu_backward(
    g: Float[Array, "*shape"], inputs: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot 1_{x > 0}`."""
    return jnp.where(inputs > 0, g, 0)
