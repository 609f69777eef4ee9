"""What the notes and the course say of shapes, sizes and counts."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.models import lenet, mlp, stack, vgg
from chainrule.models.stack import Conv, Pool
from chainrule.ops.convolution import conv
from chainrule.ops.linear import linear, linear_backward
from chainrule.ops.pooling import max_pool
from worked.claims import Claim, norms
from worked.printouts import LINEAR, NORM

# --- linear layers -------------------------------------------------------------------------------


def linear_map(fan_in: int, fan_out: int, rows: int) -> tuple[str, str]:
    """Name the shapes of the outputs, and of the gradients of the kernel and the bias."""

    def hand(*arrays: jax.Array) -> Any:
        outputs = linear(*arrays)
        return outputs, *linear_backward(jnp.ones_like(outputs), *arrays)[1:]

    def auto(*arrays: jax.Array) -> Any:
        grads = jax.grad(lambda *arrays: jnp.sum(linear(*arrays)), argnums=(1, 2))(*arrays)
        return linear(*arrays), *grads

    arrays = jnp.zeros((rows, fan_in)), jnp.zeros((fan_in, fan_out)), jnp.zeros(fan_out)
    found = [[str(x.shape) for x in jax.eval_shape(f, *arrays)] for f in (hand, auto)]
    return ", ".join(found[0]), ", ".join(found[1])


def nested_parameters() -> tuple[int, int]:
    """Count the gradients of 10-100-50-2 in its dict, and in a list inside another dict.

    Nothing has to register a parameter: a pytree is known by being made of dicts and lists.
    """
    inputs = jnp.ones((3, 10))

    def loss(nested: Any) -> jax.Array:
        layers = enumerate([*nested["hidden"], nested["output"]], start=1)
        return jnp.sum(mlp.apply({f"layer{index}": layer for index, layer in layers}, inputs))

    def hand(params: Any) -> Any:
        return mlp.backward(params, mlp.forward(params, inputs), jnp.ones((3, 2))).params

    params = jax.eval_shape(functools.partial(mlp.init, sizes=(10, 100, 50, 2)), jax.random.key(0))
    nested = {"hidden": [params["layer1"], params["layer2"]], "output": params["layer3"]}
    grads = jax.eval_shape(hand, params), jax.eval_shape(jax.grad(loss), nested)
    counts = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in grads]
    return counts[0], counts[1]


def within_bound() -> tuple[int, None]:
    """Count the printed parameters of a linear layer within 1 / sqrt(fan-in) of 0."""
    weight = np.array(LINEAR["weight"])
    numbers = np.append(weight, LINEAR["bias"])
    return int(np.sum(np.abs(numbers) <= weight.shape[1] ** -0.5)), None


def norm_of_draws() -> tuple[str, None]:
    """Say where the printed norm lies among those of 1,000 draws."""
    low, high = np.quantile(norms(1000), (0.01, 0.99))
    return "inside" if low < NORM < high else "outside", None


def unstructured() -> tuple[list[float], list[float]]:
    """Count the weights of a linear layer from a 256 x 256 RGB image to one, and their gigabytes.

    Nothing is allocated.
    """
    size = 256 * 256 * 3
    weights = jax.eval_shape(lambda: jnp.zeros((size, size)))
    return [size**2, 4e-9 * size**2], [weights.size, 1e-9 * weights.size * weights.dtype.itemsize]


# --- convolutions and pools ----------------------------------------------------------------------


def conv_shape(
    inputs: Sequence[int], weight: Sequence[int], padding: int = 0, dilation: int = 1
) -> tuple[str, str]:
    """Name the shape of a convolution, channels first, by `conv` and by XLA."""

    def hand(inputs: jax.Array, weight: jax.Array) -> jax.Array:
        inputs, kernel = jnp.moveaxis(inputs, 1, -1), jnp.transpose(weight, (2, 3, 1, 0))
        return jnp.moveaxis(conv(inputs, kernel, padding=padding, dilation=dilation), -1, 1)

    def auto(inputs: jax.Array, weight: jax.Array) -> jax.Array:
        around = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(
            inputs, weight, (1, 1), around, rhs_dilation=(dilation,) * 2
        )

    arrays = [jax.ShapeDtypeStruct(tuple(shape), jnp.float32) for shape in (inputs, weight)]
    by_conv, by_xla = (jax.eval_shape(way, *arrays) for way in (hand, auto))
    return str(by_conv.shape), str(by_xla.shape)


def pooled_away() -> tuple[float, float]:
    """Return the share of 4 x 4 numbers that a pool of 2 x 2 leaves out."""
    images = jnp.zeros((1, 4, 4, 1))
    windows = (1, 2, 2, 1)

    def auto(images: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, windows, windows, "valid")

    ways = functools.partial(max_pool, window=2), auto
    left = [jax.eval_shape(way, images).size / images.size for way in ways]
    return 1 - left[0], 1 - left[1]


# --- networks ------------------------------------------------------------------------------------


def net(samples: int) -> tuple[str, None]:
    """Name the shapes of the notes' ``Net``: before its first linear layer, and its outputs."""
    params = jax.eval_shape(lenet.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((samples, *lenet.INPUT_SHAPE), jnp.float32)
    found = jax.eval_shape(lenet.features, params, images)
    pooled = found["pool2"].shape
    return f"{(pooled[0], math.prod(pooled[1:]))}, {found['dense2'].shape}", None


def net_parameters() -> tuple[str, None]:
    """Name the shapes of the parameters of the notes' ``Net``, as PyTorch lays them out."""
    params = jax.eval_shape(lenet.init, jax.random.key(0))
    tensors = lenet.to_torch(jax.tree.map(lambda leaf: np.zeros(leaf.shape), params)).values()
    return ", ".join(str(list(tensor.shape)) for tensor in tensors), None


def vgg16() -> tuple[list[int], list[int]]:
    """Count VGG16's layers with weights, its parameters and its classes."""
    rows = vgg.rows("D")
    described = stack.describe(rows, (224, 224, 3))
    layers = sum(hasattr(row, "features") for row in rows)
    params = jax.eval_shape(vgg.init, jax.random.key(0))
    leaves = jax.tree.leaves(params)
    outputs = jax.eval_shape(vgg.apply, params, jnp.zeros((1, 224, 224, 3)))
    return (
        [layers, described.parameters, described.layers[-1].outputs[-1]],
        [len(leaves) // 2, sum(leaf.size for leaf in leaves), outputs.shape[-1]],
    )


ALEXNET = (
    Conv("conv1", 1, kernel=11, stride=4),
    Pool("pool1", 3, stride=2),
    Conv("conv2", 1, kernel=5, padding=2),
    Pool("pool2", 3, stride=2),
    Conv("conv3", 1, padding=1),
    Conv("conv4", 1, padding=1),
    Conv("conv5", 1, padding=1),
    Pool("pool5", 3, stride=2),
)
"""The convolutional part of AlexNet, with one channel: what it sees does not depend on them."""


def field(rows: Sequence[Any], size: int) -> tuple[int, int]:
    """Return how many pixels a number behind the last pool sees: counted, and by its gradient.

    The gradient is that of one number in the middle, along one axis, where every convolution and
    every pool adds up its window: it is 0 just where nothing is seen.
    """
    spatial = [row for row in rows if isinstance(row, Conv | Pool)]
    (sees,) = stack.describe(spatial, (size, 1)).layers[-1].receptive_field

    def middle(line: jax.Array) -> jax.Array:
        for row in spatial:
            width = row.kernel if isinstance(row, Conv) else row.window
            step = row.stride or width
            around = [(row.padding, row.padding)]
            line = jax.lax.conv_general_dilated(line, jnp.ones((1, 1, width)), (step,), around)
        return line[0, 0, line.shape[-1] // 2]

    seen = jax.jit(jax.grad(middle))(jnp.zeros((1, 1, size)))
    return sees, int(np.sum(np.asarray(seen) != 0))


SHAPES = (
    Claim(
        "a linear map 10 -> 4 on 523 rows: shapes of outputs, kernel, bias",
        "(523, 4), (10, 4), (4,)",
        functools.partial(linear_map, 10, 4, rows=523),
    ),
    Claim(
        "a linear map 3 -> 5 on 1 row: shapes of outputs, kernel, bias",
        "(1, 5), (3, 5), (5,)",
        functools.partial(linear_map, 3, 5, rows=1),
    ),
    Claim(
        "the linear map 3 -> 5 as printed: how many of its 20 numbers are within 1 / sqrt(3)",
        "20",
        within_bound,
    ),
    Claim("10-100-50-2: how many parameters", "6252", nested_parameters),
    Claim(
        "q = |x3| as printed, 11.2018: among 1,000 draws, from their 1 % to their 99 %",
        "inside",
        norm_of_draws,
    ),
    Claim(
        "256 x 256 RGB to as many: the weights of a linear layer, and their gigabytes (about 150)",
        "3.87e+10 1.5e+02",
        unstructured,
    ),
    Claim(
        "117 images of 10 x 13, 4 channels, by 5 kernels of 2 x 3",
        "(117, 5, 9, 11)",
        functools.partial(conv_shape, (117, 4, 10, 13), (5, 4, 2, 3)),
    ),
    Claim(
        "5 images of 50 x 50, 3 channels, by 7 kernels of 3 x 3",
        "(5, 7, 48, 48)",
        functools.partial(conv_shape, (5, 3, 50, 50), (7, 3, 3, 3)),
    ),
    Claim(
        "the same with padding 1",
        "(5, 7, 50, 50)",
        functools.partial(conv_shape, (5, 3, 50, 50), (7, 3, 3, 3), padding=1),
    ),
    Claim(
        "20 x 30 by a kernel of 3 with dilation 4: 1 + (3 - 1) 4 - 1 = 8 fewer",
        "(1, 1, 12, 22)",
        functools.partial(conv_shape, (1, 1, 20, 30), (1, 1, 3, 3), dilation=4),
    ),
    Claim("4 x 4 under a pool of 2 x 2: the share that is left out", "0.75", pooled_away),
    Claim(
        "Net on 12 digits: shapes before the first linear layer, and at the end",
        "(12, 256), (12, 10)",
        functools.partial(net, 12),
    ),
    Claim(
        "Net: the shapes of its parameters",
        "[32, 1, 5, 5], [32], [64, 32, 5, 5], [64], [200, 256], [200], [10, 200], [10]",
        net_parameters,
    ),
    Claim("VGG16: layers with weights, parameters, classes", "16 138357544 1000", vgg16),
    Claim(
        "AlexNet: pixels that a number behind its last pool sees (Araujo et al., 2019)",
        "195",
        functools.partial(field, ALEXNET, 427),
    ),
    Claim(
        "VGG16: the same",
        "212",
        functools.partial(field, vgg.rows("D"), 448),
    ),
)
