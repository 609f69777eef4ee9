r"""The activations: functions of one number, applied to every element (`maxout`: of a few).

The Jacobian of an elementwise operator is diagonal: output ``i`` depends on input ``i`` alone. The
incoming gradient times that matrix is a product element by element, so a rule never builds it.

Example:
  >>> inputs, g = jnp.array([-1.0, 0.5, 2.0]), jnp.array([1.0, 10.0, 100.0])
  >>> jacobian = jax.jacobian(lambda inputs: leaky_relu(inputs, slope=0.5))(inputs)
  >>> jacobian
  Array([[0.5, 0. , 0. ],
         [0. , 1. , 0. ],
         [0. , 0. , 1. ]], dtype=float32)
  >>> g @ jacobian
  Array([  0.5,  10. , 100. ], dtype=float32)
  >>> leaky_relu_backward(g, inputs, slope=0.5)
  Array([  0.5,  10. , 100. ], dtype=float32)

  For the 200 hidden units of 1,000 digits the matrix would have 200,000 rows and as many columns,
  160 GB in float32, all 0 but for the 200,000 numbers on the diagonal.

At a corner (`relu`, `leaky_relu`, `elu` at 0, `maxout` at a tie) a rule picks one of the slopes,
the left one at 0 and that of the first at a tie, and the operator is written so that `jax.grad`
picks the same.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = [
    "affine",
    "affine_backward",
    "elu",
    "elu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "maxout",
    "maxout_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "step",
    "step_backward",
    "tanh",
    "tanh_backward",
]
__dir__ = __all__.copy


def affine(
    inputs: Float[AnyArray, "*shape"], *, scale: float = 1.0, shift: float = 0.0
) -> Float[Array, "*shape"]:
    r"""Return :math:`a x + c`: no activation at all, by default the identity.

    A network whose activations are affine is one affine map: see
    `chainrule.models.mlp.collapse`.

    Args:
      inputs: x, of any shape.
      scale: a.
      shift: c.

    Returns:
      The outputs, of the shape of the inputs.

    Example:
      >>> affine(jnp.array([-1.0, 2.0]), scale=3.0, shift=0.5)
      Array([-2.5,  6.5], dtype=float32)
    """
    _require.floats(inputs=inputs)
    scale = _require.real("scale", scale)
    shift = _require.real("shift", shift)
    return jnp.multiply(scale, inputs) + shift


def affine_backward(
    g: Float[AnyArray, "*shape"],
    inputs: Float[AnyArray, "*shape"],
    *,
    scale: float = 1.0,
    shift: float = 0.0,
) -> Float[Array, "*shape"]:
    r"""Return :math:`a g`."""
    _check(g, inputs)
    scale = _require.real("scale", scale)
    return jnp.multiply(scale, g)


def step(inputs: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    r"""Return 1 where the input is at least 0, else 0: the activation of the threshold unit.

    .. math::
      f(x) = 1_{x \ge 0}

    Its slope is 0 wherever it has one, so that no gradient passes: units of this kind cannot be
    trained by gradient descent.

    Example:
      >>> step(jnp.array([-2.0, 0.0, 3.0]))
      Array([0., 1., 1.], dtype=float32)
    """
    _require.floats(inputs=inputs)
    return jnp.greater_equal(inputs, 0).astype(inputs.dtype)


def step_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    """Return 0 everywhere."""
    _check(g, inputs)
    return jnp.zeros_like(g)


def sigmoid(inputs: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    r"""Squash every element into (0, 1).

    .. math::
      \sigma(x) = \frac{1}{1 + e^{-x}}

    Example:
      >>> sigmoid(jnp.array([0.0, 1.0]))
      Array([0.5       , 0.7310586], dtype=float32)
    """
    _require.floats(inputs=inputs)
    # The plain formula overflows for x < -88 in float32, and its gradient is NaN there.
    return jax.nn.sigmoid(inputs)


def sigmoid_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot \sigma(x) (1 - \sigma(x))`."""
    _check(g, inputs)
    outputs = sigmoid(inputs)
    return jnp.multiply(g, outputs) * (1 - outputs)


def tanh(inputs: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    r"""Squash every element into (-1, 1), :math:`\tanh(x) = 2 \sigma(2 x) - 1`.

    Example:
      >>> tanh(jnp.array([0.0, 1.0]))
      Array([0.       , 0.7615942], dtype=float32)
    """
    _require.floats(inputs=inputs)
    return jnp.tanh(inputs)


def tanh_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot (1 - \tanh^2(x))`."""
    _check(g, inputs)
    return jnp.multiply(g, 1 - jnp.square(tanh(inputs)))


def relu(inputs: Float[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    r"""Keep what is positive.

    .. math::
      f(x) = \max(x, 0), \qquad f'(0) := 0

    Example:
      >>> relu(jnp.array([0.8008, -0.2586, 0.5019, -0.2002, -0.7416]))
      Array([0.8008, 0.    , 0.5019, 0.    , 0.    ], dtype=float32)
    """
    _require.floats(inputs=inputs)
    # jnp.maximum(x, 0) would have the slope 0.5 at 0.
    return jax.nn.relu(inputs)


def relu_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`g \odot 1_{x > 0}`."""
    _check(g, inputs)
    return jnp.where(inputs > 0, g, 0)


def leaky_relu(inputs: Float[AnyArray, "*shape"], *, slope: float = 0.01) -> Float[Array, "*shape"]:
    r"""Keep what is positive, and a little of what is negative, so that no unit can die.

    .. math::
      f(x) = \begin{cases} x & x > 0 \\ a x & x \le 0 \end{cases}

    Args:
      inputs: x, of any shape.
      slope: a, the slope below 0.

    Returns:
      The outputs, of the shape of the inputs.

    Example:
      >>> leaky_relu(jnp.array([-2.0, 3.0]), slope=0.1)
      Array([-0.2,  3. ], dtype=float32)
    """
    _require.floats(inputs=inputs)
    slope = _require.real("slope", slope)
    # jax.nn.leaky_relu has the slope 1 at 0, PyTorch's the slope a, as here.
    return jnp.where(inputs > 0, inputs, slope * inputs)


def leaky_relu_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"], *, slope: float = 0.01
) -> Float[Array, "*shape"]:
    r"""Return :math:`g` where the input is positive, else :math:`a g`."""
    _check(g, inputs)
    slope = _require.real("slope", slope)
    return jnp.where(inputs > 0, g, slope * g)


def elu(inputs: Float[AnyArray, "*shape"], *, alpha: float = 1.0) -> Float[Array, "*shape"]:
    r"""Keep what is positive, and saturate below at -alpha.

    .. math::
      f(x) = \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}

    Args:
      inputs: x, of any shape.
      alpha: minus the limit at minus infinity; only with 1 there is no corner at 0.

    Returns:
      The outputs, of the shape of the inputs.

    Example:
      >>> elu(jnp.array([-1.0, 3.0]))
      Array([-0.63212055, 3. ], dtype=float32)
    """
    _require.floats(inputs=inputs)
    alpha = _require.real("alpha", alpha)
    # expm1 must not see large inputs: the branch that is not taken would send 0 * inf = NaN back.
    below = jnp.where(inputs > 0, 0, inputs)
    return jnp.where(inputs > 0, inputs, alpha * jnp.expm1(below))


def elu_backward(
    g: Float[AnyArray, "*shape"], inputs: Float[AnyArray, "*shape"], *, alpha: float = 1.0
) -> Float[Array, "*shape"]:
    r"""Return :math:`g` where the input is positive, else :math:`\alpha e^x g`."""
    _check(g, inputs)
    alpha = _require.real("alpha", alpha)
    below = jnp.where(inputs > 0, 0, inputs)
    return jnp.where(inputs > 0, g, alpha * jnp.exp(below) * g)


def _pieces(
    inputs: Float[AnyArray, "*batch units"], pieces: int
) -> Float[Array, "*batch out pieces"]:
    _require.floats(inputs=inputs)
    pieces = _require.count("pieces", pieces)
    if inputs.ndim == 0 or inputs.shape[-1] % pieces:
        raise ValueError(
            f"maxout: inputs {inputs.shape}: the units along the last axis must divide into groups "
            f"of {pieces}: give the layer before it outputs * pieces units"
        )
    return jnp.reshape(inputs, (*inputs.shape[:-1], -1, pieces))


def maxout(
    inputs: Float[AnyArray, "*batch units"], *, pieces: int = 2
) -> Float[Array, "*batch out"]:
    r"""Keep the largest of every group of neighbouring units.

    .. math::
      f(x)_i = \max_{0 \le j < k} x_{i k + j}

    After a linear layer it is a convex function made of ``k`` affine pieces, one a unit. At a tie
    the first unit wins.

    Args:
      inputs: x, ``out * pieces`` units along the last axis.
      pieces: k, the units in a group, at least 1.

    Returns:
      ``units / pieces`` outputs along the last axis.

    Raises:
      ValueError: the units do not divide into groups.

    Example:
      >>> maxout(jnp.array([1.0, 2.0, 30.0, -40.0]))
      Array([ 2., 30.], dtype=float32)

    Source: Goodfellow et al., "Maxout Networks", 2013.
    """
    groups = _pieces(inputs, pieces)
    # A plain maximum would split the gradient at a tie.
    winner = jnp.argmax(groups, axis=-1, keepdims=True)
    return jnp.take_along_axis(groups, winner, axis=-1).squeeze(-1)


def maxout_backward(
    g: Float[AnyArray, "*batch out"], inputs: Float[AnyArray, "*batch units"], *, pieces: int = 2
) -> Float[Array, "*batch units"]:
    """Return ``g`` for the unit that won its group, 0 for the others."""
    winner = jnp.argmax(_pieces(inputs, pieces), axis=-1)
    _require.incoming(g, winner.shape)
    won = jax.nn.one_hot(winner, pieces, dtype=bool)
    return jnp.where(won, g[..., None], 0).reshape(inputs.shape)


def _check(g: AnyArray, inputs: AnyArray) -> None:
    _require.floats(inputs=inputs)
    _require.incoming(g, inputs.shape)
