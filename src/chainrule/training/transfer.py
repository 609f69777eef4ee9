r"""Transfer: a new last layer, trained on the features of a network that stays as it is.

The features of a network that learned many classes serve for others: only a linear layer is
learned, which takes seconds and a few images a class.

>>> import jax
>>> from chainrule.models import vgg
>>> params = vgg.init(jax.random.key(0), ((4,),), image_size=8, hidden=())
>>> images, labels = jax.random.normal(jax.random.key(1), (6, 8, 8, 3)), jnp.arange(6) % 2
>>> features = vgg.embed(params, images, block=1)     # [6, 4], computed once
>>> layer = last_layer(features, labels, classes=2)
>>> linear(features, layer["kernel"], layer["bias"]).shape     # the logits
(6, 2)
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from chainrule import _require, losses
from chainrule._arrays import AnyArray
from chainrule.ops.linear import linear

__all__ = ["last_layer"]
__dir__ = __all__.copy


def last_layer(
    features: Float[AnyArray, "batch features"],
    labels: Int[AnyArray, " batch"],
    classes: int,
    *,
    decay: float = 1e-3,
    steps: int = 500,
) -> dict[str, Array]:
    r"""Return the linear layer that tells classes best from features, by logistic regression.

    .. math::
      \frac{1}{N} \sum_n \ell\Big(\frac{x_n - \mu}{\sigma} W + b, t_n\Big)
      + \frac{\text{decay}}{2} \lVert W \rVert^2

    with the cross-entropy :math:`\ell`, the mean :math:`\mu` of each feature and one deviation
    :math:`\sigma` of all. The problem is convex; L-BFGS starts at 0 and ends after ``steps`` or
    where the gradient is below 1e-5. The layer that is returned takes features as they are.

    Args:
      features: what a network makes of the images, see `chainrule.models.vgg.embed`.
      labels: the class of each, from 0.
      classes: how many there are.
      decay: the price of large weights, above 0: without one they grow without end where the
        classes can be told apart.
      steps: how many at most.

    Returns:
      ``{"kernel": [features, classes], "bias": [classes]}``.

    Raises:
      ValueError: shapes that do not fit, labels out of range, features that are not finite or all
        equal, or a setting out of range.

    Example:
      >>> features = jnp.asarray([[0.0, 5.0], [1.0, 5.0], [4.0, 5.0], [5.0, 5.0]])
      >>> layer = last_layer(features, jnp.array([0, 0, 1, 1]), classes=2)
      >>> linear(features, layer["kernel"], layer["bias"]).argmax(axis=1)
      Array([0, 0, 1, 1], dtype=int32)
    """
    _require.floats(features=features)
    _require.arrays(labels=labels)
    classes = _require.count("classes", classes, least=2, most=2**20)
    _require.real("decay", decay, above=0)
    steps = _require.count("steps", steps, most=2**20)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features {features.shape}: they must be [batch, features], of some each")
    if labels.shape != features.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be one integer a row of the features {features.shape}, not "
            f"{labels.dtype}{list(labels.shape)}"
        )
    _require.within("features", features)
    _require.within("labels", labels, least=0, most=classes - 1)
    inputs = jnp.asarray(features, jnp.float32)
    mean = inputs.mean(axis=0)
    deviation = float(jnp.sqrt(jnp.mean((inputs - mean[None, :]) ** 2)))
    if deviation == 0:
        raise ValueError("features are the same in every row: they tell no classes apart")
    found = _fit((inputs - mean[None, :]) / deviation, jnp.asarray(labels), classes, decay, steps)
    kernel = found["kernel"] / deviation
    return {"kernel": kernel, "bias": found["bias"] - mean @ kernel}


def _fit(inputs: Array, labels: Array, classes: int, decay: float, steps: int) -> dict[str, Array]:
    def loss(layer: dict[str, Array]) -> Array:
        logits = linear(inputs, layer["kernel"], layer["bias"])
        price = 0.5 * decay * jnp.sum(layer["kernel"] ** 2)
        return losses.cross_entropy(logits, labels) + price

    optimizer = optax.lbfgs()
    valued = optax.value_and_grad_from_state(loss)

    @jax.jit
    def run() -> dict[str, Array]:
        def goes_on(carry: Any) -> Array:
            _, _, size, step = carry
            return (step < steps) & (size > 1e-5)

        def step(carry: Any) -> Any:
            layer, state, _, step = carry
            value, grads = valued(layer, state=state)
            updates, state = optimizer.update(
                grads, state, layer, value=value, grad=grads, value_fn=loss
            )
            return optax.apply_updates(layer, updates), state, optax.tree.norm(grads), step + 1

        layer = {
            "kernel": jnp.zeros((inputs.shape[1], classes)),
            "bias": jnp.zeros(classes),
        }
        start = layer, optimizer.init(layer), jnp.float32(jnp.inf), 0
        return jax.lax.while_loop(goes_on, step, start)[0]

    found: dict[str, Array] = run()
    return found
