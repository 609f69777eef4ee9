r"""Why that class: which pixels a score of a classifier depends on, by its own gradients.

Each function returns a map for every image, computed from the logit :math:`s_c` of one class.
Three of them take any function from images to logits; `grad_cam` takes the part of a network that
follows a layer, which `halves` cuts out of a table of rows.

A map shows on what the score depends here, to first order. It does not show that the network is
right, nor what it would answer without these pixels: take them out and ask again. A method whose
maps stay the same when the weights are drawn anew says nothing about the weights (Adebayo et al.,
"Sanity checks for saliency maps", 2018); those here change, and a test holds them to it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models import stack
from chainrule.models.stack import Row, Tree
from chainrule.models.stack.rows import checked

__all__ = ["enlarge", "grad_cam", "gradient", "halves", "input_times_gradient", "smoothed"]
__dir__ = __all__.copy

Logits = Callable[[Array], Array]
"""From images ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""

_MOST_SAMPLES = 2**16


def gradient(
    logits: Logits,
    images: Float[AnyArray, "batch height width channels"],
    classes: Int[AnyArray, " batch"] | None = None,
) -> Float[Array, "batch height width channels"]:
    r"""Return the gradient of a class's logit with respect to the image.

    .. math::
      \partial s_c / \partial x

    (Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2014, who draw the
    largest magnitude over the channels.)

    Args:
      logits: from images to logits ``[batch, classes]``; no image may change those of another.
      images: the inputs of the network.
      classes: whose logit, one an image; the likeliest of each if None.

    Returns:
      One number for every number of the images.

    Raises:
      ValueError: the logits are not ``[batch, classes]`` floating-point numbers, or the classes
        are not one integer an image within their range.

    Example:
      >>> weights = jnp.asarray([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
      >>> linear = lambda images: images.reshape(-1, 4) @ weights
      >>> gradient(linear, jnp.ones((1, 2, 2, 1)))[0, :, :, 0]  # of class 1, whose logit is 3
      Array([[0., 0.],
             [3., 0.]], dtype=float32)
    """
    inputs, chosen = _checked(logits, images, classes)
    return _gradient(logits, inputs, chosen)


def smoothed(
    logits: Logits,
    images: Float[AnyArray, "batch height width channels"],
    classes: Int[AnyArray, " batch"] | None = None,
    *,
    key: PRNGKeyArray,
    noise: float = 0.15,
    samples: int = 25,
) -> Float[Array, "batch height width channels"]:
    r"""Return the mean of the gradients at noisy copies of each image.

    .. math::
      \frac{1}{n} \sum_{i=1}^{n} \frac{\partial s_c}{\partial x}(x + \epsilon_i), \qquad
      \epsilon_i \sim N(0, \sigma^2), \quad \sigma = \text{noise} \cdot (\max x - \min x)

    (Smilkov et al., "SmoothGrad", 2017.) The class is that of the image without noise.

    Args:
      logits: as for `gradient`.
      images: the inputs of the network.
      classes: as for `gradient`.
      key: draws the noise.
      noise: its standard deviation, as a share of the range of each image; at least 0.
      samples: how many copies, one after the other, at least 1.

    Returns:
      One number for every number of the images.

    Raises:
      ValueError: as for `gradient`, or a setting is out of range.

    Example:
      >>> square = lambda images: jnp.sum(images**2, axis=(1, 2, 3))[:, None]
      >>> key = jax.random.key(0)
      >>> smoothed(square, jnp.ones((1, 1, 2, 1)), key=key)[0, 0, :, 0]  # 2 x: no noise, no range
      Array([2., 2.], dtype=float32)
    """
    _require.one_key(key)
    noise = _require.real("noise", noise, least=0, most=1e6)
    samples = _require.count("samples", samples, most=_MOST_SAMPLES)
    inputs, chosen = _checked(logits, images, classes)
    axes = (1, 2, 3)
    extent = inputs.max(axis=axes, keepdims=True) - inputs.min(axis=axes, keepdims=True)

    def add(index: Array, total: Array) -> Array:
        drawn = jax.random.normal(jax.random.fold_in(key, index), inputs.shape, inputs.dtype)
        return total + _gradient(logits, inputs + noise * extent * drawn, chosen)

    return jax.lax.fori_loop(0, samples, add, jnp.zeros_like(inputs)) / samples


def input_times_gradient(
    logits: Logits,
    images: Float[AnyArray, "batch height width channels"],
    classes: Int[AnyArray, " batch"] | None = None,
) -> Float[Array, "batch height width channels"]:
    r"""Return each input times its gradient: its share of the logit, to first order.

    .. math::
      x \cdot \partial s_c / \partial x

    Without biases a network of ReLUs, maxima and linear maps doubles its logits where its inputs
    are doubled, and the shares add up to the logit exactly (Euler). With biases the rest is theirs.
    An input of 0, the mean of all images where they are standardised, has no share.

    Args:
      logits: as for `gradient`.
      images: the inputs of the network.
      classes: as for `gradient`.

    Returns:
      One number for every number of the images.

    Raises:
      ValueError: as for `gradient`.

    Example:
      >>> total = lambda images: 3 * jnp.sum(images, axis=(1, 2, 3))[:, None]
      >>> input_times_gradient(total, jnp.asarray([1.0, 2.0]).reshape(1, 1, 2, 1))[0, 0, :, 0]
      Array([3., 6.], dtype=float32)
    """
    inputs, chosen = _checked(logits, images, classes)
    return inputs * _gradient(logits, inputs, chosen)


def grad_cam(
    head: Logits,
    maps: Float[AnyArray, "batch rows columns channels"],
    classes: Int[AnyArray, " batch"] | None = None,
) -> Float[Array, "batch rows columns"]:
    r"""Return where the maps of a layer speak for a class: class activation by gradients.

    .. math::
      \operatorname{relu}\Big(\sum_k \alpha_k A_k\Big), \qquad
      \alpha_k = \frac{1}{\text{positions}} \sum_{ij} \frac{\partial s_c}{\partial A_{kij}}

    (Selvaraju et al., "Grad-CAM", 2017, who take the last convolution.) `enlarge` brings it to the
    size of the image.

    Args:
      head: what follows the layer, from its maps to logits; see `halves`.
      maps: the outputs of the layer.
      classes: as for `gradient`.

    Returns:
      One number for every position, at least 0.

    Raises:
      ValueError: as for `gradient`.

    Example:
      >>> average = lambda maps: jnp.mean(maps, axis=(1, 2))  # a class a channel
      >>> maps = jnp.asarray([[1.0, 4.0], [2.0, 0.0]]).reshape(1, 2, 1, 2)
      >>> grad_cam(average, maps)[0, :, 0]  # of class 1
      Array([2., 0.], dtype=float32)
    """
    inputs, chosen = _checked(head, maps, classes, names=("head", "maps"))
    weights = jnp.mean(_gradient(head, inputs, chosen), axis=(1, 2), keepdims=True)
    return jax.nn.relu(jnp.sum(weights * inputs, axis=-1))


def halves(
    params: Tree, rows: Sequence[Row], layer: str, *, state: Tree | None = None
) -> tuple[Logits, Logits]:
    """Cut a network in two behind a layer.

    Args:
      params: of `chainrule.models.stack.init`.
      rows: the table of the network, for example `chainrule.models.vgg.rows_of` of its parameters.
      layer: the name of the row that ends the first half.
      state: the running statistics, with batch normalisation.

    Returns:
      ``body``, from inputs to the outputs of the layer, and ``head``, from these to logits.

    Raises:
      ValueError: there is no such row.

    Example:
      >>> from chainrule.models import lenet
      >>> params, images = lenet.init(jax.random.key(0)), jnp.ones((1, 28, 28, 1))
      >>> body, head = halves(params, lenet.ROWS, "conv2")
      >>> body(images).shape, bool(jnp.array_equal(head(body(images)), lenet.apply(params, images)))
      ((1, 4, 4, 64), True)
    """
    table = checked(rows)
    names = [row.name for row in table]
    _require.one_of("layer", layer, names)
    at = names.index(layer) + 1

    def body(inputs: Array) -> Array:
        outputs: Array = stack.apply(params, inputs, table[:at], state=state)
        return outputs

    def head(maps: Array) -> Array:
        logits: Array = stack.apply(params, maps, table[at:], state=state)
        return logits

    return body, head


def enlarge(
    maps: Float[AnyArray, "batch _ _"], height: int, width: int
) -> Float[Array, "batch height width"]:
    """Return maps in the size of the images, interpolated linearly.

    Args:
      maps: one number a position.
      height: of the images.
      width: of the images.

    Returns:
      One number a pixel.

    Raises:
      ValueError: the maps are no batch of them, or a side is out of range.

    Example:
      >>> enlarge(jnp.asarray([[[0.0, 4.0]]]), 1, 4)
      Array([[[0., 1., 3., 4.]]], dtype=float32)
    """
    _require.floats(maps=maps)
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"maps {maps.shape}: they must be [batch, rows, columns]")
    sides = [
        _require.count(name, side, most=2**14)
        for name, side in (("height", height), ("width", width))
    ]
    return jax.image.resize(jnp.asarray(maps), (maps.shape[0], *sides), "linear")


def _gradient(logits: Logits, inputs: Array, classes: Array) -> Array:
    def score(inputs: Array) -> Array:
        return jnp.sum(jnp.take_along_axis(logits(inputs), classes[:, None], axis=1))

    return jax.grad(score)(inputs)


def _checked(
    logits: Logits,
    images: AnyArray,
    classes: AnyArray | None,
    names: tuple[str, str] = ("logits", "images"),
) -> tuple[Array, Array]:
    function, name = names
    _require.function(function, logits, f"from {name} to logits")
    _require.floats(**{name: images})
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"{name} {images.shape}: they must be [batch, height, width, channels]; one is a batch "
            f"of one, {name}[None]"
        )
    inputs, batch = jnp.asarray(images), images.shape[0]
    found = jax.eval_shape(logits, inputs)
    shape: Any = getattr(found, "shape", ())
    dtype: Any = getattr(found, "dtype", np.bool_)
    right = len(shape) == 2 and shape[0] == batch and shape[1] > 0
    if not right or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"{function} must return [{batch}, classes] floating-point numbers for {name} of "
            f"{images.shape}, not {dtype}{shape}"
        )
    if classes is None:
        return inputs, jnp.argmax(logits(inputs), axis=1)
    _require.arrays(classes=classes)
    if classes.shape != (batch,) or not jnp.issubdtype(classes.dtype, jnp.integer):
        raise ValueError(
            f"classes must be one integer an image, of shape ({batch},), not "
            f"{classes.dtype}{list(classes.shape)}"
        )
    if _require.is_concrete(classes):
        outside = np.asarray(classes)[(np.asarray(classes) < 0) | (np.asarray(classes) >= shape[1])]
        if outside.size:
            raise ValueError(f"classes holds {outside[0]}, and there are {shape[1]}, from 0")
    return inputs, jnp.asarray(classes, jnp.int32)
