"""The multi-layer perceptron: affine maps with an activation between them."""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule.ops.activations import relu
from chainrule.ops.linear import linear

Params = dict[str, dict[str, Float[Array, "..."]]]
"""``{"layer1": {"kernel": [in, out], "bias": [out]}, "layer2": ...}``"""


def init(key: PRNGKeyArray, sizes: Sequence[int]) -> Params:
    r"""Draw the parameters of a network with the given widths.

    Kernels and biases alike are uniform in :math:`\pm 1 / \sqrt{\text{fan-in}}`, the fan-in being
    the width of the layer before: what PyTorch's ``Linear``, the notes' framework, does.

    Args:
      key: the source of the numbers.
      sizes: the widths, from the inputs to the outputs: two or more, each at least 1.

    Returns:
      ``{"layer1": {"kernel": [in, out], "bias": [out]}, "layer2": ...}``.

    Raises:
      ValueError: fewer than two sizes, or one below 1.

    Example:
      >>> params = init(jax.random.key(0), (784, 200, 1))
      >>> {name: layer["kernel"].shape for name, layer in params.items()}
      {'layer1': (784, 200), 'layer2': (200, 1)}
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(
            f"mlp.init: sizes {tuple(sizes)}: give two widths or more, the inputs' first, "
            "each at least 1"
        )
    params: Params = {}
    keys = jax.random.split(key, len(sizes) - 1)
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        bound = 1 / math.sqrt(fan_in)
        kernel_key, bias_key = jax.random.split(keys[index])
        params[f"layer{index + 1}"] = {
            "kernel": jax.random.uniform(
                kernel_key, (fan_in, fan_out), minval=-bound, maxval=bound
            ),
            "bias": jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound),
        }
    return params


def apply(
    params: Params,
    inputs: Float[Array, "batch in"],
    *,
    activation: Callable[[Array], Array] = relu,
) -> Float[Array, "batch out"]:
    """Return the outputs of the network: the activation between the layers, none after the last.

    Args:
      params: as `init` draws them.
      inputs: one sample a row.
      activation: the function between the layers, one of `chainrule.ops.activations` for example.

    Returns:
      The outputs, one row a sample.

    Example:
      >>> params = init(jax.random.key(0), (784, 200, 1))
      >>> apply(params, jax.numpy.zeros((5, 784))).shape
      (5, 1)
    """
    x = inputs
    for index in range(1, len(params) + 1):
        s = linear(x, params[f"layer{index}"]["kernel"], params[f"layer{index}"]["bias"])
        x = activation(s) if index < len(params) else s
    return x
