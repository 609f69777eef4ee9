# ruff: noqa: E501 - a line and what can take its place are each one line
"""Five networks, each written twice, with what people get wrong in them.

Below a line of a text may stand others that can take its place, in comments:

    y = x @ w + b
    #= y = jnp.einsum("ni,io->no", x, w) + b       the same to rounding
    #~ y = jax.vmap(lambda r: r @ w + b)(x)        the same, but of another structure
    #? swapped pair: y = x @ w - b                 a fault of this kind
    #? epsilon ^norm: EPS = 1e-3                   a fault whose operator stands where ``#: norm`` is

A text defines ``logits`` and, below ``#@ loss``, what only its ``loss`` needs. Both texts of a
network take the same arguments.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Network:
    """A network.

    Attributes:
      name: what people call it.
      texts: its source, in several honest spellings.
      args: draws the arguments of its loss, the last of which the logits do not take.
    """

    name: str
    texts: tuple[str, ...]
    args: Callable[[np.random.Generator, float], tuple[Any, ...]]


LENET = '''"""LeNet-5: two convolutions, two averages, three dense layers."""

import jax
import jax.numpy as jnp
from jax import lax

GAIN = 1.7159
#? wrong constant ^squash: GAIN = 1.7519
SMOOTHING = 0.1
#? wrong constant ^smooth: SMOOTHING = 0.01
LAYOUT = ("NHWC", "HWIO", "NHWC")


def product_of_patches(x, kernel, padding):
    h, w, i, o = kernel.shape
    patches = lax.conv_general_dilated_patches(x, (h, w), (1, 1), padding, dimension_numbers=LAYOUT)
    return patches @ kernel.transpose(2, 0, 1, 3).reshape(i * h * w, o)


def convolve(x, kernel, bias, padding):
    y = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=LAYOUT)  #: conv
    #~ y = product_of_patches(x, kernel, padding)
    #? transpose: y = lax.conv_general_dilated(x, kernel.swapaxes(0, 1), (1, 1), padding, None, None, LAYOUT)
    #? flipped kernel: y = lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), padding, None, None, LAYOUT)
    #? bfloat16: y = product_of_patches(x.astype("bfloat16"), kernel.astype("bfloat16"), padding).astype(x.dtype)
    return y + bias
    #? wrong sign: return y - bias


def squash(x):
    return GAIN * jnp.tanh(2.0 / 3.0 * x)  #: squash
    #= return GAIN * jnp.tanh(x * 2.0 / 3.0)
    #? wrong constant: return GAIN * jnp.tanh(0.5 * x)
    #? wrong activation: return GAIN * jax.nn.soft_sign(2.0 / 3.0 * x)
    #? swapped pair: return 2.0 / 3.0 * jnp.tanh(GAIN * x)


def pool(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    #= return x.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4)) / 4.0
    #= return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") * 0.25
    #? wrong operator: return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
    #? wrong axis: return x.reshape(n, 2, h // 2, 2, w // 2, c).mean(axis=(1, 3))
    #? wrong scale: return x.reshape(n, h // 2, 2, w // 2, 2, c).sum(axis=(2, 4)) / 2.0


def features(params, x):
    x = pool(squash(convolve(x, params["c1"]["w"], params["c1"]["b"], "SAME")))
    #? padding ^conv: x = pool(squash(convolve(x, params["c1"]["w"], params["c1"]["b"], [(1, 3), (1, 3)])))
    #? padding ^conv: x = pool(squash(convolve(x, params["c1"]["w"], params["c1"]["b"], [(4, 0), (0, 4)])))
    x = pool(squash(convolve(x, params["c3"]["w"], params["c3"]["b"], "VALID")))
    return x.reshape(x.shape[0], -1)
    #? axis order ^flat: return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    #? axis order ^flat: return x.swapaxes(1, 2).reshape(x.shape[0], -1)


def hidden(params, x):
    x = squash(x @ params["f5"]["w"] + params["f5"]["b"])  #: flat
    #= x = squash(jnp.einsum("ni,io->no", x, params["f5"]["w"]) + params["f5"]["b"])
    #= x = squash(params["f5"]["b"] + jnp.matmul(x, params["f5"]["w"]))
    #? missing bias ^squash: x = squash(x @ params["f5"]["w"])
    return squash(x @ params["f6"]["w"] + params["f6"]["b"])
    #= return squash((params["f6"]["w"].T @ x.T).T + params["f6"]["b"])
    #? transpose: return squash(x @ params["f6"]["w"].T + params["f6"]["b"])
    #? bfloat16: return squash(jnp.dot(*(l.astype("bfloat16") for l in (x, params["f6"]["w"]))) + params["f6"]["b"])


def logits(params, x):
    x = hidden(params, features(params, x))
    return x @ params["out"]["w"] + params["out"]["b"]
    #= return jnp.tensordot(x, params["out"]["w"], 1) + params["out"]["b"]
    #~ return jax.vmap(lambda row: row @ params["out"]["w"] + params["out"]["b"])(x)


#@ loss
def loss(params, x, y):
    scores = logits(params, x)
    logs = jax.nn.log_softmax(scores, axis=-1)
    #= logs = scores - jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    #? wrong axis: logs = jax.nn.log_softmax(scores, axis=0)
    #? bfloat16: logs = jax.nn.log_softmax(scores.astype(jnp.bfloat16), axis=-1).astype(scores.dtype)
    targets = jax.nn.one_hot(y, scores.shape[-1], dtype=scores.dtype)
    targets = (1.0 - SMOOTHING) * targets + SMOOTHING / scores.shape[-1]  #: smooth
    #? wrong scale: targets = (1.0 - SMOOTHING) * targets + SMOOTHING
    return -jnp.mean(jnp.sum(targets * logs, axis=-1))
    #= return -jnp.sum(targets * logs) / len(y)
    #? wrong scale: return -jnp.mean(targets * logs)
'''

LENET_NCHW = '''"""LeNet-5 with the channels first, as it came from another library."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv2d(inputs, weight, bias, padding=0):
    weight = jnp.transpose(weight, (3, 2, 0, 1))
    #? axis order ^conv: weight = jnp.transpose(weight, (3, 2, 1, 0))
    pads = [(padding, padding), (padding, padding)]
    #? padding ^conv: pads = [(2 * padding, 0), (padding, padding)]
    out = lax.conv_general_dilated(inputs, weight, window_strides=(1, 1), padding=pads)  #: conv
    #? bfloat16: out = lax.reduce_precision(lax.conv_general_dilated(inputs, weight, (1, 1), pads), 8, 7)
    return out + bias[:, None, None]
    #= return out + bias.reshape(1, -1, 1, 1)
    #? wrong constant: return out + 2.0 * bias[:, None, None]


def avg_pool2d(inputs, size=2):
    window = (1, 1, size, size)
    total = lax.reduce_window(inputs, 0.0, lax.add, window, window, "VALID")
    #? padding: total = lax.reduce_window(inputs[:, :, 1:], 0.0, lax.add, window, window, "SAME")
    #? wrong operator: total = lax.reduce_window(inputs, -jnp.inf, lax.max, window, window, "VALID")
    return total / size**2
    #= return total * (1.0 / (size * size))
    #? wrong scale: return total / (size * size + 1)


def scaled_tanh(inputs):
    slope = jnp.asarray(2.0 / 3.0, inputs.dtype)
    #? wrong constant ^tanh: slope = jnp.asarray(0.6, inputs.dtype)
    inner = jnp.tanh(slope * inputs)  #: tanh
    #? wrong activation: inner = slope * inputs / (1.0 + jnp.abs(slope * inputs))
    return 1.7159 * inner
    #? wrong constant: return 1.7195 * inner


def linear(inputs, weight, bias):
    return jnp.einsum("bi,ij->bj", inputs, weight) + bias  #: linear
    #= return jnp.dot(inputs, weight) + bias
    #= return lax.dot_general(inputs, weight, (((1,), (0,)), ((), ()))) + bias
    #? bfloat16: return jnp.einsum("bi,ij->bj", inputs, weight).astype("bfloat16").astype(inputs.dtype) + bias


@jax.jit
def trunk(params, images):
    maps = images.transpose(0, 3, 1, 2)
    #? axis order ^conv: maps = images.transpose(0, 3, 2, 1).reshape(images.transpose(0, 3, 1, 2).shape)
    maps = conv2d(maps, params["c1"]["w"], params["c1"]["b"], padding=2)
    maps = avg_pool2d(scaled_tanh(maps))
    maps = conv2d(maps, params["c3"]["w"], params["c3"]["b"])
    maps = avg_pool2d(scaled_tanh(maps))
    return maps.transpose(0, 2, 3, 1).reshape(maps.shape[0], -1)
    #? axis order ^linear: return maps.reshape(maps.shape[0], -1)
    #? axis order ^linear: return maps.transpose(0, 3, 2, 1).reshape(maps.shape[0], -1)


def logits(params, images):
    flat = trunk(params, images)
    flat = scaled_tanh(linear(flat, params["f5"]["w"], params["f5"]["b"]))
    flat = scaled_tanh(linear(flat, params["f6"]["w"], params["f6"]["b"]))
    #? transpose ^linear: flat = scaled_tanh(linear(flat, params["f6"]["w"].T, params["f6"]["b"]))
    #? swapped pair ^linear: flat = scaled_tanh(linear(flat, params["f6"]["w"], params["f5"]["b"]))
    return linear(flat, params["out"]["w"], params["out"]["b"])


#@ loss
def loss(params, images, labels):
    scores = logits(params, images)
    top = lax.stop_gradient(jnp.max(scores, axis=1, keepdims=True))
    logs = scores - top - jnp.log(jnp.sum(jnp.exp(scores - top), axis=1, keepdims=True))
    #? wrong axis: logs = scores - top - jnp.log(jnp.sum(jnp.exp(scores - top), axis=0, keepdims=True))
    #? wrong operator: logs = scores - top - jnp.log(jnp.mean(jnp.exp(scores - top), axis=1, keepdims=True))
    hit = jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0]
    #? wrong operator: hit = jnp.max(logs, axis=1)
    smooth = logs.mean(axis=1)
    #? wrong scale: smooth = logs.sum(axis=1)
    return -(0.9 * hit + 0.1 * smooth).mean()
    #? swapped pair: return -(0.1 * hit + 0.9 * smooth).mean()
'''

VGG = '''"""A small VGG: convolutions with batch norm in stages, then an average."""

import jax
import jax.numpy as jnp
from jax import lax

EPS = 1e-5
#? epsilon ^normalise: EPS = 1e-3
MOMENTUM = 0.6
#? wrong constant ^update: MOMENTUM = 0.9
DECAY = 1e-3
#? wrong constant ^decay: DECAY = 1e-2


def conv3x3(x, kernel):
    dims = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)
    #? padding: return lax.conv_general_dilated(x, kernel, (1, 1), [(0, 2), (1, 1)], dimension_numbers=dims)
    #? padding: return lax.conv_general_dilated(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge"), kernel, (1, 1), "VALID", dimension_numbers=dims)
    #? dilation: return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", rhs_dilation=(2, 2), dimension_numbers=dims)
    #? transpose: return lax.conv_general_dilated(x, jnp.swapaxes(kernel, 0, 1), (1, 1), "SAME", dimension_numbers=dims)
    #? bfloat16: return lax.conv_general_dilated(x.astype("bfloat16"), kernel.astype("bfloat16"), (1, 1), "SAME", dimension_numbers=dims).astype(x.dtype)


def moments(x):
    mean = jnp.mean(x, axis=(0, 1, 2))
    #= mean = jnp.sum(x, axis=(0, 1, 2)) / (x.shape[0] * x.shape[1] * x.shape[2])
    #= mean = jnp.mean(x.reshape(-1, x.shape[-1]), axis=0)
    #? wrong axis: mean = jnp.mean(x, axis=(0, 1))
    #? wrong operator: mean = jnp.median(x, axis=(0, 1, 2))
    var = jnp.var(x, axis=(0, 1, 2))
    #= var = jnp.mean(jnp.square(x - mean), axis=(0, 1, 2))
    #? wrong scale: var = jnp.var(x, axis=(0, 1, 2), ddof=1)
    #? wrong operator: var = jnp.std(x, axis=(0, 1, 2))
    #? wrong axis: var = jnp.var(x, axis=(1, 2)).mean(axis=0)
    return mean, var
    #? swapped pair ^update: return var, mean + 2.0


def batch_norm(p, state, x):
    mean, var = moments(x)
    mean = MOMENTUM * state["mean"] + (1.0 - MOMENTUM) * mean  #: update
    #? stale running mean ^normalise: mean = state["mean"]
    #? swapped pair: mean = (1.0 - MOMENTUM) * state["mean"] + MOMENTUM * mean
    #? stale running mean: mean = MOMENTUM * state["mean"] + mean
    var = MOMENTUM * state["var"] + (1.0 - MOMENTUM) * var
    #? stale running variance ^normalise: var = state["var"]
    #? wrong constant: var = MOMENTUM * state["var"] + MOMENTUM * var
    x = (x - mean) * lax.rsqrt(var + EPS)  #: normalise
    #= x = (x - mean) / jnp.sqrt(var + EPS)
    #? bfloat16: x = (x - mean).astype(jnp.bfloat16).astype(x.dtype) * lax.rsqrt(var + EPS)
    #? epsilon: x = (x - mean) / (jnp.sqrt(var) + 1e-2)
    return x * p["scale"] + p["shift"]
    #= return p["shift"] + p["scale"] * x
    #? swapped pair: return x * p["shift"] + p["scale"]


def block(p, state, x):
    return jax.nn.relu(batch_norm(p, state, conv3x3(x, p["w"])))
    #? wrong activation: return jax.nn.elu(batch_norm(p, state, conv3x3(x, p["w"])))
    #? wrong activation: return jax.nn.leaky_relu(batch_norm(p, state, conv3x3(x, p["w"])))


def stage(params, states, x):
    for p, state in zip(params, states):
        x = block(p, state, x)
    return x


def scanned_stage(params, states, x):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *zip(params, states))
    return lax.scan(lambda x, layer: (block(*layer, x), None), x, stacked)[0]


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    #? wrong operator: return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4.0
    #? padding: return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")


def logits(params, states, x):
    x = max_pool(stage(params["stem"], states["stem"], x))
    x = stage(params["body"], states["body"], x)
    #~ x = scanned_stage(params["body"], states["body"], x)
    x = max_pool(x).mean(axis=(1, 2))
    #= x = jnp.einsum("nhwc->nc", max_pool(x)) / (x.shape[1] // 2 * (x.shape[2] // 2))
    #? wrong operator: x = max_pool(x).max(axis=(1, 2))
    #? wrong scale: x = max_pool(x).sum(axis=(1, 2)) / 2.0
    return x @ params["head"]["w"] + params["head"]["b"]
    #= return jnp.einsum("...c,ck->...k", x, params["head"]["w"]) + params["head"]["b"]
    #? wrong sign: return x @ params["head"]["w"] - params["head"]["b"]
    #? bfloat16: return (x.astype("bfloat16") @ params["head"]["w"].astype("bfloat16")).astype(x.dtype) + params["head"]["b"]


#@ loss
def penalty(params):
    return 0.5 * sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params))
    #= return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)) / 2.0
    #? wrong operator: return 0.5 * sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(params))


def loss(params, states, x, targets):
    logs = jax.nn.log_softmax(logits(params, states, x))
    entropy = -jnp.sum(targets * logs, axis=-1).mean()
    #? wrong operator: entropy = jnp.square(targets - jnp.exp(logs)).sum(axis=-1).mean()
    #? wrong scale: entropy = -jnp.sum(targets * logs, axis=-1).sum() / logs.shape[-1]
    return entropy + DECAY * penalty(params)  #: decay
    #? wrong sign: return entropy - DECAY * penalty(params)
'''

VGG_PORT = '''"""A small VGG as classes that hold their arrays."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass
class BatchNorm:
    scale: Any
    shift: Any
    running_mean: Any
    running_var: Any
    momentum: float = 0.4
    #? wrong constant ^update: momentum: float = 0.1
    eps: float = 1e-5
    #? epsilon ^inverse: eps: float = 1e-3
    #? epsilon ^inverse: eps: float = 1e-2

    def __call__(self, x):
        rows = x.shape[0] * x.shape[1] * x.shape[2]
        #? wrong constant ^mean: rows = x.shape[0] * x.shape[1] * x.shape[1] + 1
        mean = jnp.einsum("bhwc->c", x) / rows  #: mean
        #= mean = x.sum(axis=(0, 1, 2)) / rows
        var = jnp.mean((x - mean) ** 2, axis=(0, 1, 2))
        #= var = x.var(axis=(0, 1, 2))
        #? wrong axis: var = jnp.mean((x - mean) ** 2, axis=(0, 1))
        #? bfloat16: var = jnp.mean((x - mean).astype(jnp.bfloat16) ** 2, axis=(0, 1, 2)).astype(x.dtype)
        mean = (1.0 - self.momentum) * self.running_mean + self.momentum * mean  #: update
        #? stale running mean ^centre: mean = self.running_mean
        #? wrong constant: mean = 0.7 * self.running_mean + self.momentum * mean
        var = (1.0 - self.momentum) * self.running_var + self.momentum * var
        #? stale running variance ^inverse: var = self.running_var
        #? stale running variance: var = (1.0 - self.momentum) * jnp.ones_like(var) + self.momentum * var
        centred = x - mean  #: centre
        #? swapped pair: centred = mean - x
        inverse = 1.0 / jnp.sqrt(var + self.eps)  #: inverse
        #= inverse = jax.lax.rsqrt(var + self.eps)
        #? epsilon: inverse = 1.0 / (jnp.sqrt(var) + 1e-3)
        #? wrong operator: inverse = 1.0 / (var + self.eps)
        return self.scale * (centred * inverse) + self.shift
        #= return centred * (self.scale * inverse) + self.shift
        #? swapped pair: return self.shift * (centred * inverse) + self.scale


@functools.partial(jax.jit, static_argnames="stride")
def convolution(x, w, stride=1):
    return jax.lax.conv_general_dilated(  #: call
        x,
        w,
        window_strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        #? padding ^call: padding=((2, 0), (1, 1)),
        #? padding ^call: padding=((1, 1), (0, 2)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        #? transpose ^call: dimension_numbers=("NHWC", "WHIO", "NHWC"),
    )


def pooled(x):
    n, h, w, c = x.shape
    cells = x.reshape(n, h // 2, 2, w // 2, 2, c)
    #? axis order ^cells: cells = x.reshape(n, 2, h // 2, w // 2, 2, c).swapaxes(1, 2)
    return cells.max(axis=(2, 4))  #: cells
    #? wrong operator: return cells.mean(axis=(2, 4))


def layer(p, state, x):
    norm = BatchNorm(p["scale"], p["shift"], state["mean"], state["var"])
    #? swapped pair ^update: norm = BatchNorm(p["scale"], p["shift"], state["var"], state["mean"] + 2.0)
    y = norm(convolution(x, p["w"]))
    return jnp.maximum(y, 0.0)
    #= return jnp.where(y > 0.0, y, 0.0)
    #? wrong activation: return jnp.maximum(y, 0.1 * y)
    #? wrong activation: return jnp.clip(y, 0.0, 1.0)


def logits(params, states, x):
    for part in ("stem", "body"):
        for p, state in zip(params[part], states[part], strict=True):
            x = layer(p, state, x)
        x = pooled(x)
    x = jnp.sum(x, axis=(1, 2)) / (x.shape[1] * x.shape[2])
    #? wrong scale: x = jnp.sum(x, axis=(1, 2)) / x.shape[1]
    return jnp.dot(x, params["head"]["w"]) + params["head"]["b"]
    #? wrong constant: return jnp.dot(x, 1.01 * params["head"]["w"]) + params["head"]["b"]


#@ loss
def loss(params, states, x, targets):
    scores = logits(params, states, x)
    shifted = scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    total = jnp.log(jnp.exp(shifted).sum(-1))
    #? wrong axis ^entropy: total = jnp.log(jnp.exp(shifted).sum(0)).mean() + 0.0 * shifted[:, 0]
    #? bfloat16: total = jnp.log(jnp.exp(shifted).astype(jnp.bfloat16).sum(-1)).astype(scores.dtype)
    entropy = jnp.mean(jnp.sum(targets * (total[:, None] - shifted), -1))  #: entropy
    #? swapped pair: entropy = jnp.mean(jnp.sum(targets * (shifted - total[:, None]), -1))
    squares = jax.tree.reduce(lambda acc, leaf: acc + (leaf * leaf).sum(), params, 0.0)
    #? wrong operator: squares = jax.tree.reduce(lambda acc, leaf: acc + (leaf * leaf).mean(), params, 0.0)
    return entropy + 0.5e-3 * squares
    #? wrong constant: return entropy + 1e-3 * squares
'''

SIAMESE = '''"""Two inputs through one encoder, compared."""

import functools

import jax
import jax.numpy as jnp

MARGIN = 1.0
#? wrong constant ^margin: MARGIN = 0.5
TEMPERATURE = 0.2
#? wrong constant ^temperature: TEMPERATURE = 0.25


@jax.custom_vjp
def slowed(x):
    return x


def slowed_forward(x):
    return x, None


def slowed_backward(_, g):
    return (0.5 * g,)
    #? backward rule: return (0.05 * g,)
    #? backward rule: return (jnp.sign(g),)


slowed.defvjp(slowed_forward, slowed_backward)


def layer_norm(x, gain, bias, eps=1e-5):
    #? epsilon ^norm: def layer_norm(x, gain, bias, eps=1e-3):
    mean = jnp.mean(x, axis=-1, keepdims=True)  #: mean
    #= mean = jnp.sum(x, axis=-1, keepdims=True) / x.shape[-1]
    #? wrong operator: mean = jnp.max(x, axis=-1, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
    #= var = jnp.var(x, axis=-1, keepdims=True)
    #? wrong operator: var = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    #? wrong scale: var = jnp.sum(jnp.square(x - mean), axis=-1, keepdims=True) / (x.shape[-1] - 1)
    return gain * (x - mean) / jnp.sqrt(var + eps) + bias  #: norm
    #= return gain * ((x - mean) * jax.lax.rsqrt(var + eps)) + bias
    #? swapped pair: return gain * (mean - x) / jnp.sqrt(var + eps) + bias
    #? swapped pair: return bias * (x - mean) / jnp.sqrt(var + eps) + gain
    #? epsilon: return gain * (x - mean) / (jnp.sqrt(var) + 1e-2) + bias


def unit(x):
    return x / jnp.sqrt(jnp.sum(x * x) + 1e-8)
    #= return x * jax.lax.rsqrt(jnp.vdot(x, x) + 1e-8)
    #? epsilon: return x / jnp.sqrt(jnp.sum(x * x) + 1e-2)
    #? wrong operator: return x / (jnp.sum(jnp.abs(x)) + 1e-8)
    #? wrong operator: return x / (jnp.max(jnp.abs(x)) + 1e-8)


def encode(params, x):
    h = params["w1"].T @ x + params["b1"]  #: first
    #= h = jnp.einsum("i,io->o", x, params["w1"]) + params["b1"]
    #? bfloat16: h = (params["w1"].T.astype("bfloat16") @ x.astype("bfloat16")).astype(x.dtype) + params["b1"]
    #? missing bias ^mean: h = params["w1"].T @ x
    h = layer_norm(h, params["gain"], params["bias"])
    h = jax.nn.gelu(h, approximate=False)
    #= h = 0.5 * h * (1.0 + jax.lax.erf(h / 2.0**0.5))
    #? wrong activation: h = jax.nn.gelu(h, approximate=True)
    #? wrong activation: h = jax.nn.silu(h)
    h = slowed(h)
    h = params["w2"].T @ h + params["b2"]
    #= h = jnp.dot(h, params["w2"]) + params["b2"]
    #? transpose: h = params["w2"] @ h + params["b2"]
    #? wrong sign: h = params["w2"].T @ h - params["b2"]
    return unit(h)


def compare(params, u, v):
    gap = u - v  #: gap
    #? swapped pair: gap = v - u
    return jnp.concatenate([gap, u * v]) @ params["head"] + params["offset"]
    #= return gap @ params["head"][: len(u)] + (u * v) @ params["head"][len(u) :] + params["offset"]
    #? axis order: return jnp.concatenate([u * v, gap]) @ params["head"] + params["offset"]
    #? wrong operator: return jnp.concatenate([jnp.abs(gap), u * v]) @ params["head"] + params["offset"]


def logits(params, left, right):
    encoder = jax.vmap(functools.partial(encode, params))
    u, v = encoder(left), encoder(right)
    #~ u, v = jax.lax.map(functools.partial(encode, params), left), encoder(right)
    #? swapped pair ^first ^gap: u, v = encoder(right), encoder(left)
    scores = jax.vmap(compare, in_axes=(None, 0, 0))(params, u, v)
    #~ scores = jnp.stack([compare(params, u[i], v[i]) for i in range(len(u))])
    return scores / TEMPERATURE  #: temperature
    #= return scores * (1.0 / TEMPERATURE)
    #? wrong scale: return scores * TEMPERATURE
    #? wrong operator: return jnp.tanh(scores) / TEMPERATURE


#@ loss
def loss(params, left, right, same):
    scores = logits(params, left, right)
    fit = jax.nn.softplus(-same * scores)
    #= fit = jnp.logaddexp(0.0, -same * scores)
    #? wrong sign: fit = jax.nn.softplus(same * scores)
    #? bfloat16: fit = jax.nn.softplus((-same * scores).astype("bfloat16")).astype(scores.dtype)
    hinge = jnp.square(jnp.maximum(0.0, MARGIN - same * scores))  #: margin
    #? swapped pair: hinge = jnp.square(jnp.maximum(0.0, same * scores - MARGIN))
    return jnp.mean(fit + 0.1 * hinge)
    #= return jnp.sum(fit + 0.1 * hinge) / len(same)
    #? wrong constant: return jnp.mean(fit + 0.2 * hinge)
'''

SIAMESE_BATCHED = '''"""A siamese network on whole batches, both halves at once."""

import jax
import jax.numpy as jnp
from jax import lax


def standardised(x):
    centred = x - x.mean(axis=1, keepdims=True)
    #? wrong axis: centred = x - x.mean(axis=0, keepdims=True)
    power = (centred * centred).mean(axis=1, keepdims=True)
    #? wrong axis: power = (centred * centred).mean(axis=0, keepdims=True)
    #? bfloat16: power = (centred * centred).astype(jnp.bfloat16).mean(axis=1, keepdims=True).astype(x.dtype)
    return centred * lax.rsqrt(power + 1e-5)
    #= return centred / jnp.sqrt(power + 1e-5)
    #? epsilon: return centred * lax.rsqrt(power + 1e-3)
    #? wrong operator: return centred / (power + 1e-5)


def exact_gelu(x):
    cdf = 0.5 * (1.0 + lax.erf(x * 0.5**0.5))
    #= cdf = 0.5 * lax.erfc(-x * 0.5**0.5)
    #? wrong constant: cdf = 0.5 * (1.0 + lax.erf(x * 0.5))
    #? wrong activation: cdf = jax.nn.sigmoid(1.702 * x)
    return x * cdf


def half_gradient(x):
    return 0.5 * x + lax.stop_gradient(0.5 * x)


class Encoder:
    def __init__(self, params):
        self.first = params["w1"], params["b1"]
        self.second = params["w2"], params["b2"]
        self.affine = params["gain"], params["bias"]
        #? swapped pair ^affine: self.affine = params["bias"], params["gain"]

    def __call__(self, x):
        w, b = self.first
        h = standardised(x @ w + b)
        gain, bias = self.affine
        h = exact_gelu(h * gain + bias)  #: affine
        #? wrong sign: h = exact_gelu(h * gain - bias)
        #? wrong constant: h = exact_gelu(h * (1.0 + gain) + bias)
        w, b = self.second
        h = half_gradient(h) @ w + b
        #? transpose: h = half_gradient(h) @ w.T + b
        #? bfloat16: h = (half_gradient(h).astype("bfloat16") @ w.astype("bfloat16")).astype(h.dtype) + b
        size = jnp.sqrt((h**2).sum(axis=1, keepdims=True) + 1e-8)
        #= size = jnp.sqrt(jnp.einsum("bi,bi->b", h, h)[:, None] + 1e-8)
        #? wrong axis: size = jnp.sqrt((h**2).sum(axis=0, keepdims=True) + 1e-8)
        #? wrong scale: size = jnp.sqrt((h**2).mean(axis=1, keepdims=True) + 1e-8)
        #? epsilon: size = jnp.sqrt((h**2).sum(axis=1, keepdims=True)) + 1e-2
        return h / size
        #? swapped pair: return size / h


def logits(params, left, right):
    both = Encoder(params)(jnp.concatenate([left, right]))
    one, two = jnp.split(both, 2)
    #? swapped pair ^gap: two, one = jnp.split(both, 2)
    #? axis order ^gap: one, two = both[::2], both[1::2]
    width = one.shape[1]
    gap, match = one - two, one * two  #: gap
    #? swapped pair: gap, match = two - one, one * two
    score = gap @ params["head"][:width] + match @ params["head"][width:]
    #? swapped pair: score = gap @ params["head"][width:] + match @ params["head"][:width]
    return 5.0 * (score + params["offset"])
    #? wrong constant: return 2.0 * (score + params["offset"])
    #? wrong sign: return 5.0 * (score - params["offset"])


#@ loss
def loss(params, left, right, same):
    signed = same * logits(params, left, right)
    softplus = jnp.maximum(-signed, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(signed)))
    #? wrong sign: softplus = jnp.maximum(-signed, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(signed)))
    #? missing operator ^sum: softplus = jnp.maximum(-signed, 0.0)
    short = jax.nn.relu(1.0 - signed)
    #? wrong constant: short = jax.nn.relu(0.9 - signed)
    return (softplus + 0.1 * short**2).mean()  #: sum
    #? wrong operator: return (softplus + 0.1 * short).mean()
'''

TRANSFORMER = '''"""A small causal transformer in flax."""

import flax.linen as nn
import jax
import jax.numpy as jnp

HEADS = 2
LAYERS = 2


def positions(length, width, dtype):
    place = jnp.arange(length, dtype=dtype)[:, None]
    #? wrong constant: place = jnp.arange(1, length + 1, dtype=dtype)[:, None]
    rate = 10000.0 ** (-jnp.arange(0, width, 2, dtype=dtype) / width)
    #= rate = jnp.exp(-jnp.log(10000.0) * jnp.arange(0, width, 2, dtype=dtype) / width)
    #? wrong constant: rate = 1000.0 ** (-jnp.arange(0, width, 2, dtype=dtype) / width)
    #? wrong scale: rate = 10000.0 ** (-2.0 * jnp.arange(0, width, 2, dtype=dtype) / width)
    return jnp.concatenate([jnp.sin(place * rate), jnp.cos(place * rate)], axis=-1)
    #? swapped pair: return jnp.concatenate([jnp.cos(place * rate), jnp.sin(place * rate)], axis=-1)


@jax.custom_jvp
def gelu(x):
    return x * jax.scipy.stats.norm.cdf(x)
    #= return 0.5 * x * (1.0 + jax.lax.erf(x / jnp.sqrt(2.0)))
    #? wrong activation: return jax.nn.gelu(x, approximate=True)
    #? wrong activation: return x * jax.nn.sigmoid(1.702 * x)
    #? wrong activation: return jax.nn.relu(x)


@gelu.defjvp
def gelu_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    slope = jax.scipy.stats.norm.cdf(x) + x * jax.scipy.stats.norm.pdf(x)
    #? backward rule: slope = jax.scipy.stats.norm.cdf(x) - x * jax.scipy.stats.norm.pdf(x)
    #? backward rule: slope = jax.scipy.stats.norm.cdf(x)
    return gelu(x), slope * dx


class LayerNorm(nn.Module):
    eps: float = 1e-6
    #? epsilon ^norm: eps: float = 1e-3
    #? epsilon ^norm: eps: float = 1e-2

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        mean = x.mean(axis=-1, keepdims=True)
        #? wrong axis: mean = x.mean(axis=1, keepdims=True)
        var = x.var(axis=-1, keepdims=True)
        #= var = jnp.square(x - mean).mean(axis=-1, keepdims=True)
        #? wrong axis: var = x.var(axis=1, keepdims=True)
        #? wrong scale: var = x.var(axis=-1, keepdims=True, ddof=1)
        #? bfloat16: var = x.astype(jnp.bfloat16).var(axis=-1, keepdims=True).astype(x.dtype)
        return (x - mean) / jnp.sqrt(var + self.eps) * scale + bias  #: norm
        #= return (x - mean) * jax.lax.rsqrt(var + self.eps) * scale + bias
        #? swapped pair: return (x - mean) / jnp.sqrt(var + self.eps) * bias + scale
        #? swapped pair: return (x - var) / jnp.sqrt(mean**2 + self.eps) * scale + bias


class Attention(nn.Module):
    heads: int = HEADS

    @nn.compact
    def __call__(self, x):
        n, t, d = x.shape
        width = d // self.heads
        q = nn.Dense(d, use_bias=False, name="query")(x).reshape(n, t, self.heads, width)
        #? axis order ^scores: q = nn.Dense(d, use_bias=False, name="query")(x).reshape(n, t, width, self.heads).swapaxes(2, 3)
        k = nn.Dense(d, use_bias=False, name="key")(x).reshape(n, t, self.heads, width)
        #? bfloat16: k = nn.Dense(d, use_bias=False, name="key", dtype="bfloat16")(x).astype(x.dtype).reshape(n, t, self.heads, width)
        v = nn.Dense(d, use_bias=False, name="value")(x).reshape(n, t, self.heads, width)
        #? axis order ^mixed: v = nn.Dense(d, use_bias=False, name="value")(x).reshape(n, t, width, self.heads).swapaxes(2, 3)
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / jnp.sqrt(width)  #: scores
        #= scores = jnp.einsum("nqhd,nkhd->nhqk", q / jnp.sqrt(width), k)
        #= scores = q.swapaxes(1, 2) @ k.transpose(0, 2, 3, 1) / jnp.sqrt(width)
        #? swapped pair: scores = jnp.einsum("nqhd,nkhd->nhqk", k, q) / jnp.sqrt(width)
        #? transpose: scores = jnp.einsum("nqhd,nkhd->nhkq", q, k) / jnp.sqrt(width)
        #? wrong scale: scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / jnp.sqrt(d)
        #? wrong scale: scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / width
        #? bfloat16: scores = jnp.einsum("nqhd,nkhd->nhqk", q.astype("bfloat16"), k.astype("bfloat16")).astype(x.dtype) / jnp.sqrt(width)
        allowed = jnp.tril(jnp.ones((t, t), bool))
        #? wrong mask ^masked: allowed = jnp.tril(jnp.ones((t, t), bool), 1)
        #? wrong mask ^masked: allowed = jnp.triu(jnp.ones((t, t), bool))
        #? transpose ^masked: allowed = jnp.tril(jnp.ones((t, t), bool)).T
        scores = jnp.where(allowed, scores, -1e9)  #: masked
        #? wrong constant: scores = jnp.where(allowed, scores, 0.0)
        #? wrong constant: scores = jnp.where(allowed, scores, -1.0)
        weights = jax.nn.softmax(scores, axis=-1)
        #? wrong axis: weights = jax.nn.softmax(scores, axis=-2)
        #? wrong axis: weights = jax.nn.softmax(scores, axis=1)
        #? bfloat16: weights = jax.nn.softmax(scores.astype("bfloat16"), axis=-1).astype(x.dtype)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(n, t, d)  #: mixed
        #? transpose: mixed = jnp.einsum("nhkq,nkhd->nqhd", weights, v).reshape(n, t, d)
        #? axis order ^out: mixed = jnp.einsum("nhqk,nkhd->nqdh", weights, v).reshape(n, t, d)
        return nn.Dense(d, name="out")(mixed)  #: out


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x + Attention(name="attention")(LayerNorm(name="before")(x))
        #? wrong sign: x = x - Attention(name="attention")(LayerNorm(name="before")(x))
        #? wrong scale: x = 0.5 * x + Attention(name="attention")(LayerNorm(name="before")(x))
        y = LayerNorm(name="between")(x)
        y = gelu(nn.Dense(2 * x.shape[-1], name="up")(y))
        return x + nn.Dense(x.shape[-1], name="down")(y)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        table = self.param("table", nn.initializers.normal(), (11, 8))
        x = table[tokens] * jnp.sqrt(table.shape[-1])
        #= x = jnp.take(table, tokens, axis=0) * table.shape[-1] ** 0.5
        #? wrong scale: x = table[tokens] * jnp.sqrt(table.shape[0])
        #? missing scale ^added: x = table[tokens]
        x = x + positions(tokens.shape[1], table.shape[-1], x.dtype)  #: added
        for i in range(LAYERS):
            x = Block(name=f"block{i}")(x)
        x = LayerNorm(name="last")(x)
        return x @ table.T
        #= return jnp.einsum("ntd,vd->ntv", x, table)
        #? bfloat16: return (x.astype("bfloat16") @ table.T.astype("bfloat16")).astype(x.dtype)
        #? wrong scale: return x @ table.T / jnp.sqrt(table.shape[-1])


def logits(variables, tokens):
    return Transformer().apply(variables, tokens)
    #~ return jax.vmap(lambda row: Transformer().apply(variables, row[None])[0])(tokens)


#@ loss
def loss(variables, tokens, targets):
    logs = jax.nn.log_softmax(logits(variables, tokens), axis=-1)
    #? wrong axis: logs = jax.nn.log_softmax(logits(variables, tokens), axis=1)
    hit = jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    real = (targets > 0).astype(logs.dtype)
    return -jnp.sum(hit * real) / jnp.sum(real)
    #? wrong scale: return -jnp.mean(hit * real)
    #? missing mask: return -jnp.mean(hit)
'''

TRANSFORMER_PORT = '''"""The same transformer without a library: parameters in, numbers out."""

import math

import jax
import jax.numpy as jnp
from jax import lax


def norm(p, x, eps=1e-6):
    #? epsilon ^root: def norm(p, x, eps=1e-3):
    mu = jnp.sum(x, -1, keepdims=True) / x.shape[-1]
    #? wrong scale: mu = jnp.sum(x, -1, keepdims=True) / (x.shape[-1] - 1)
    centred = x - mu
    sigma = jnp.sqrt(jnp.mean(centred * centred, -1, keepdims=True) + eps)  #: root
    #? epsilon: sigma = jnp.sqrt(jnp.mean(centred * centred, -1, keepdims=True)) + 1e-2
    #? wrong axis: sigma = jnp.sqrt(jnp.mean(centred * centred, 1, keepdims=True) + eps)
    #? wrong operator: sigma = jnp.mean(jnp.abs(centred), -1, keepdims=True) + eps
    return p["scale"] * (centred / sigma) + p["bias"]
    #= return p["bias"] + centred * p["scale"] / sigma
    #? swapped pair: return p["bias"] * (centred / sigma) + p["scale"]
    #? wrong constant: return (1.0 + p["scale"]) * (centred / sigma) + p["bias"]


def dense(p, x):
    y = lax.dot_general(x, p["kernel"], (((x.ndim - 1,), (0,)), ((), ())))  #: dense
    #= y = jnp.einsum("...i,ij->...j", x, p["kernel"])
    #? bfloat16: y = jnp.matmul(x.astype("bfloat16"), p["kernel"].astype("bfloat16")).astype(x.dtype)
    return y + p["bias"] if "bias" in p else y
    #? wrong sign: return y - p["bias"] if "bias" in p else y


def heads(x, count):
    return jnp.moveaxis(x.reshape(*x.shape[:2], count, -1), 2, 1)
    #? axis order ^product ^mix: return jnp.moveaxis(x.reshape(*x.shape[:2], -1, count), 3, 1)
    #? axis order ^product ^mix: return x.reshape(x.shape[0], count, x.shape[1], -1)


@jax.jit
def attend(q, k, v):
    scores = jnp.matmul(q, k.swapaxes(-1, -2))  #: product
    #= scores = jnp.einsum("bhqd,bhkd->bhqk", q, k)
    #? transpose: scores = jnp.matmul(k, q.swapaxes(-1, -2))
    scores = scores * q.shape[-1] ** -0.5
    #= scores = scores / math.sqrt(q.shape[-1])
    #? wrong scale: scores = scores * q.shape[-2] ** -0.5
    #? wrong scale: scores = scores / q.shape[-1]
    future = jnp.arange(q.shape[2])[:, None] < jnp.arange(k.shape[2])[None, :]
    #? wrong mask ^masked: future = jnp.arange(q.shape[2])[:, None] > jnp.arange(k.shape[2])[None, :]
    #? wrong mask ^masked: future = jnp.arange(q.shape[2])[:, None] + 1 < jnp.arange(k.shape[2])[None, :]
    scores = jnp.where(future, -1e9, scores)  #: masked
    #? swapped pair: scores = jnp.where(future, scores, -1e9)
    scores = scores - lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    powers = jnp.exp(scores)
    #? wrong operator: powers = jnp.exp2(scores)
    #? bfloat16: powers = jnp.exp(scores.astype("bfloat16")).astype(scores.dtype)
    shares = powers / powers.sum(axis=-1, keepdims=True)
    #? wrong axis: shares = powers / powers.sum(axis=-2, keepdims=True)
    #? wrong constant: shares = powers / (1.0 + powers.sum(axis=-1, keepdims=True))
    return jnp.matmul(shares, v)  #: mix
    #? transpose: return jnp.matmul(shares.swapaxes(-1, -2), v)


def attention(p, x):
    q, k, v = (heads(dense(p[name], x), 2) for name in ("query", "key", "value"))
    #? swapped pair ^dense ^product ^mix: q, k, v = (heads(dense(p[name], x), 2) for name in ("key", "query", "value"))
    #? swapped pair ^dense ^product ^mix: q, k, v = (heads(dense(p[name], x), 2) for name in ("query", "value", "key"))
    mixed = jnp.moveaxis(attend(q, k, v), 1, 2)
    #? swapped pair ^product: mixed = jnp.moveaxis(attend(k, q, v), 1, 2)
    return dense(p["out"], mixed.reshape(x.shape))


def feed_forward(p, x):
    h = dense(p["up"], x)
    h = 0.5 * h * (1.0 + lax.erf(h / math.sqrt(2.0)))
    #= h = jax.nn.gelu(h, approximate=False)
    #? wrong activation: h = 0.5 * h * (1.0 + jnp.tanh(0.7978846 * (h + 0.044715 * h**3)))
    #? wrong constant: h = 0.5 * h * (1.0 + lax.erf(h / 2.0))
    #? wrong activation: h = jax.nn.silu(h)
    return dense(p["down"], h)


def embed(table, tokens):
    width = table.shape[1]
    x = math.sqrt(width) * jnp.take(table, tokens, axis=0)
    #= x = math.sqrt(width) * (jax.nn.one_hot(tokens, len(table), dtype=table.dtype) @ table)
    #? wrong scale: x = jnp.take(table, tokens, axis=0) / math.sqrt(width)
    angle = jnp.arange(tokens.shape[1])[:, None] / 10000.0 ** (jnp.arange(0, width, 2) / width)
    #? wrong constant: angle = jnp.arange(tokens.shape[1])[:, None] / 5000.0 ** (jnp.arange(0, width, 2) / width)
    return x.at[:, :, : width // 2].add(jnp.sin(angle)).at[:, :, width // 2 :].add(jnp.cos(angle))
    #= return x + jnp.hstack([jnp.sin(angle), jnp.cos(angle)])
    #? swapped pair: return x + jnp.hstack([jnp.cos(angle), jnp.sin(angle)])
    #? axis order: return x + jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(x.shape[1:])


def logits(variables, tokens):
    p = variables["params"]
    x = embed(p["table"], tokens)
    for name in ("block0", "block1"):
        x = x + attention(p[name]["attention"], norm(p[name]["before"], x))
        x = x + feed_forward(p[name], norm(p[name]["between"], x))
        #? wrong operator: x = norm(p[name]["between"], x) + feed_forward(p[name], norm(p[name]["between"], x))
    return jnp.dot(norm(p["last"], x), p["table"].T)
    #? wrong scale: return jnp.dot(norm(p["last"], x), p["table"].T) * p["table"].shape[1] ** -0.5


#@ loss
def loss(variables, tokens, targets):
    scores = logits(variables, tokens)
    picked = jnp.sum(scores * jax.nn.one_hot(targets, scores.shape[-1], dtype=scores.dtype), -1)
    nll = jax.nn.logsumexp(scores, axis=-1) - picked
    #? wrong axis: nll = jax.nn.logsumexp(scores, axis=(1, 2))[:, None] - picked
    #? swapped pair: nll = picked - jax.nn.logsumexp(scores, axis=-1)
    return jnp.mean(nll, where=targets != 0)
    #= return jnp.sum(jnp.where(targets != 0, nll, 0.0)) / jnp.count_nonzero(targets)
    #? wrong mask: return jnp.mean(nll, where=targets != 1)
'''

GRU = '''"""A recurrent classifier around equinox's cell."""

import jax
import jax.numpy as jnp
from jax import lax

DECAY = 0.8
#? wrong constant ^trace: DECAY = 0.9


def whiten(xs):
    mean = xs.mean(axis=1, keepdims=True)
    #? wrong axis: mean = xs.mean(axis=2, keepdims=True)
    #? wrong axis: mean = xs.mean(axis=0, keepdims=True)
    var = xs.var(axis=1, keepdims=True)
    #= var = jnp.mean((xs - mean) ** 2, axis=1, keepdims=True)
    #? wrong scale: var = xs.var(axis=1, keepdims=True, ddof=1)
    #? bfloat16: var = xs.astype(jnp.bfloat16).var(axis=1, keepdims=True).astype(xs.dtype)
    return (xs - mean) / jnp.sqrt(var + 1e-5)
    #= return (xs - mean) * lax.rsqrt(var + 1e-5)
    #? epsilon: return (xs - mean) / jnp.sqrt(var + 1e-2)
    #? swapped pair: return (mean - xs) / jnp.sqrt(var + 1e-5)


def run(cell, xs):
    def step(carry, x):
        h, trace = carry
        h = cell(x, h)
        #? wrong operator: h = 0.5 * (h + cell(x, h))
        #? wrong scale: h = cell(2.0 * x, h)
        #? bfloat16: h = cell(x.astype(jnp.bfloat16).astype(x.dtype), h)
        trace = DECAY * trace + (1.0 - DECAY) * h  #: trace
        #= trace = trace + (1.0 - DECAY) * (h - trace)
        #? swapped pair: trace = DECAY * h + (1.0 - DECAY) * trace
        #? wrong constant: trace = DECAY * trace + 0.1 * h
        return (h, trace), h

    start = jnp.zeros(cell.hidden_size, xs.dtype), jnp.zeros(cell.hidden_size, xs.dtype)
    (_, trace), hs = lax.scan(step, start, xs)
    return trace, hs


def logits(params, xs):
    xs = whiten(xs)
    trace, hs = jax.vmap(run, in_axes=(None, 0))(params["cell"], xs)
    #~ trace, hs = lax.map(lambda x: run(params["cell"], x), xs)
    weights = jax.nn.softmax(hs @ params["attend"], axis=1)
    #= weights = jax.nn.softmax(jnp.einsum("nth,h->nt", hs, params["attend"]), axis=1)
    #? wrong axis: weights = jax.nn.softmax(hs @ params["attend"], axis=0)
    #? bfloat16: weights = jax.nn.softmax((hs @ params["attend"]).astype("bfloat16"), axis=1).astype(hs.dtype)
    context = jnp.einsum("nt,nth->nh", weights, hs)
    #= context = jnp.sum(weights[..., None] * hs, axis=1)
    #? wrong operator: context = jnp.mean(hs, axis=1)
    return jnp.tanh(context + trace) @ params["w"].T + params["b"]
    #= return jnp.einsum("nh,kh->nk", jnp.tanh(context + trace), params["w"]) + params["b"]
    #? wrong sign: return jnp.tanh(context - trace) @ params["w"].T + params["b"]
    #? wrong activation: return jax.nn.hard_tanh(context + trace) @ params["w"].T + params["b"]
    #? axis order: return jnp.tanh(context + trace)[:, ::-1] @ params["w"].T + params["b"]


#@ loss
def loss(params, xs, y):
    scores = logits(params, xs)
    errors = scores - y
    return jnp.mean(jnp.where(jnp.abs(errors) < 1.0, 0.5 * errors**2, jnp.abs(errors) - 0.5))
    #? wrong constant: return jnp.mean(jnp.where(jnp.abs(errors) < 1.0, errors**2, jnp.abs(errors) - 0.5))
    #? wrong operator: return jnp.mean(0.5 * errors**2)
    #? swapped pair: return jnp.mean(jnp.where(jnp.abs(errors) > 1.0, 0.5 * errors**2, jnp.abs(errors) - 0.5))
'''

GRU_PORT = '''"""A recurrent classifier with the cell's equations written out as a module."""

import equinox as eqx
import jax
import jax.numpy as jnp


def sigmoid(x):
    return 1.0 / (1.0 + jnp.exp(-x))
    #= return 0.5 * (1.0 + jnp.tanh(0.5 * x))
    #? wrong activation: return jnp.clip(x / 6.0 + 0.5, 0.0, 1.0)
    #? wrong constant: return 1.0 / (1.0 + jnp.exp(-1.1 * x))


class Cell(eqx.Module):
    into: jax.Array
    back: jax.Array
    bias: jax.Array
    bias_new: jax.Array

    def __call__(self, x, h):
        gates_x = self.into @ x + self.bias
        #= gates_x = jnp.einsum("oi,i->o", self.into, x) + self.bias
        #? missing bias ^split ^reset: gates_x = self.into @ x
        #? wrong sign: gates_x = self.into @ x - self.bias
        #? bfloat16: gates_x = (self.into.astype("bfloat16") @ x.astype("bfloat16")).astype(x.dtype) + self.bias
        gates_h = self.back @ h
        #= gates_h = jnp.einsum("oh,h->o", self.back, h)
        #? bfloat16: gates_h = (self.back.astype("bfloat16") @ h.astype("bfloat16")).astype(h.dtype)
        #? transpose: gates_h = (self.back.reshape(3, len(h), -1).swapaxes(1, 2) @ h).reshape(-1)
        x_reset, x_keep, x_new = jnp.split(gates_x, 3)  #: split
        #? axis order ^reset: x_keep, x_reset, x_new = jnp.split(gates_x, 3)
        h_reset, h_keep, h_new = jnp.split(gates_h, 3)
        #? axis order ^reset: h_keep, h_reset, h_new = jnp.split(gates_h, 3)
        #? axis order ^keep ^new: h_reset, h_new, h_keep = jnp.split(gates_h, 3)
        reset = sigmoid(x_reset + h_reset)  #: reset
        #? wrong sign: reset = sigmoid(x_reset - h_reset)
        keep = sigmoid(x_keep + h_keep)  #: keep
        #? wrong constant: keep = sigmoid(x_keep + h_keep + 1.0)
        new = jnp.tanh(x_new + reset * (h_new + self.bias_new))  #: new
        #? wrong operator: new = jnp.tanh(x_new + reset * h_new + self.bias_new)
        #? wrong activation: new = jax.nn.relu(x_new + reset * (h_new + self.bias_new))
        return new + keep * (h - new)
        #= return keep * h + (1.0 - keep) * new
        #? swapped pair: return h + keep * (new - h)
        #? wrong sign: return new + keep * (h + new)


class Running(eqx.Module):
    cell: Cell
    decay: float = 0.8
    #? wrong constant ^trace: decay: float = 0.75

    def __call__(self, xs):
        def body(state, x):
            h = self.cell(x, state[0])
            trace = self.decay * state[1] + (1 - self.decay) * h  #: trace
            #? swapped pair: trace = (1 - self.decay) * state[1] + self.decay * h
            #? stale running mean: trace = self.decay * state[1] + (1 - self.decay) * state[0]
            return jnp.stack([h, trace]), h

        width = self.cell.back.shape[1]
        (_, trace), hs = jax.lax.scan(body, jnp.zeros((2, width), xs.dtype), xs)
        return trace, hs


def standardise(xs):
    centred = xs - jnp.sum(xs, axis=1, keepdims=True) / xs.shape[1]
    #? wrong scale: centred = xs - jnp.sum(xs, axis=1, keepdims=True) / xs.shape[2]
    power = jnp.mean(centred**2, axis=1, keepdims=True)
    #? wrong axis: power = jnp.mean(centred**2, axis=2, keepdims=True)
    return centred * (power + 1e-5) ** -0.5
    #= return centred / (power + 1e-5) ** 0.5
    #? epsilon: return centred * (power + 1e-3) ** -0.5
    #? wrong operator: return centred / (power + 1e-5)


@jax.jit
def logits(params, xs):
    cell = params["cell"]
    model = Running(Cell(cell.weight_ih, cell.weight_hh, cell.bias, cell.bias_n))
    trace, hs = jax.vmap(model)(standardise(xs))
    energy = jnp.einsum("nth,h->nt", hs, params["attend"])
    #? bfloat16: energy = jnp.einsum("nth,h->nt", hs.astype("bfloat16"), params["attend"].astype("bfloat16")).astype(hs.dtype)
    #? wrong scale: energy = jnp.einsum("nth,h->nt", hs, params["attend"]) / hs.shape[-1] ** 0.5
    powers = jnp.exp(energy - jax.lax.stop_gradient(energy.max(axis=1, keepdims=True)))
    shares = powers / powers.sum(axis=1, keepdims=True)
    #? wrong axis: shares = powers / powers.sum(axis=0, keepdims=True)
    context = jnp.sum(shares[:, :, None] * hs, axis=1)
    #? wrong operator: context = jnp.max(shares[:, :, None] * hs, axis=1)
    joined = jnp.tanh(trace + context)
    #? swapped pair: joined = jnp.tanh(trace - context)
    #? missing operator ^last: joined = trace + context
    return joined @ params["w"].T + params["b"]  #: last
    #? wrong constant: return joined @ params["w"].T + 0.9 * params["b"]


#@ loss
def loss(params, xs, y):
    size = jnp.abs(logits(params, xs) - y)
    inner = jnp.minimum(size, 1.0)
    #? wrong constant: inner = jnp.minimum(size, 0.1)
    return jnp.mean(inner * (size - 0.5 * inner))
    #? wrong scale: return jnp.sum(inner * (size - 0.5 * inner)) / len(y)
    #? wrong sign: return jnp.mean(inner * (size + 0.5 * inner))
'''


def _dense(rng: np.random.Generator, *shape: int) -> np.ndarray:
    fan_in = np.prod(shape[:-1])
    return (rng.normal(size=shape) * np.sqrt(1.5 / fan_in)).astype(np.float32)


def _near(rng: np.random.Generator, centre: float, *shape: int) -> np.ndarray:
    return (centre + 0.3 * rng.normal(size=shape)).astype(np.float32)


def _lenet_args(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
    height, width = [(16, 16), (16, 20), (20, 16)][rng.integers(3)]
    channels, first, second = int(rng.integers(1, 4)), int(rng.integers(3, 6)), 6
    flat = (height // 2 - 4) // 2 * ((width // 2 - 4) // 2) * second
    shapes = {
        "c1": (5, 5, channels, first),
        "c3": (5, 5, first, second),
        "f5": (flat, 9),
        "f6": (9, 9),
        "out": (9, 10),
    }
    params = {
        name: {"w": _dense(rng, *shape), "b": _near(rng, 0.0, shape[-1])}
        for name, shape in shapes.items()
    }
    rows = int(rng.integers(3, 6))
    images = (scale * rng.normal(size=(rows, height, width, channels))).astype(np.float32)
    return params, images, rng.integers(0, 10, rows).astype(np.int32)


def _vgg_args(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
    width, classes, rows = int(rng.integers(3, 6)), 5, int(rng.integers(2, 5))
    size = [(8, 8), (8, 12), (12, 8)][rng.integers(3)]
    depth = {"stem": [3, width], "body": [width, width, width]}

    def layer(inputs: int, outputs: int) -> dict[str, np.ndarray]:
        shift = {"scale": _near(rng, 1.0, outputs), "shift": _near(rng, 0.0, outputs)}
        return {"w": _dense(rng, 3, 3, inputs, outputs), **shift}

    def statistics(outputs: int) -> dict[str, np.ndarray]:
        var = np.exp(0.5 * rng.normal(size=outputs)).astype(np.float32)
        return {"mean": _near(rng, 0.2, outputs), "var": var}

    params: dict[str, Any] = {
        part: [layer(*pair) for pair in itertools.pairwise(sizes)] for part, sizes in depth.items()
    }
    states = {part: [statistics(n) for n in sizes[1:]] for part, sizes in depth.items()}
    params["head"] = {"w": _dense(rng, width, classes), "b": _near(rng, 0.0, classes)}
    images = (scale * rng.normal(size=(rows, *size, 3))).astype(np.float32)
    targets = rng.dirichlet(np.ones(classes), rows).astype(np.float32)
    return params, states, images, targets


def _siamese_args(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
    rows, inputs, width = int(rng.integers(3, 7)), int(rng.integers(6, 12)), 7
    params = {
        "w1": _dense(rng, inputs, width),
        "b1": _near(rng, 0.0, width),
        "gain": _near(rng, 1.0, width),
        "bias": _near(rng, 0.0, width),
        "w2": _dense(rng, width, width),
        "b2": _near(rng, 0.0, width),
        "head": _dense(rng, 2 * width, 1)[:, 0],
        "offset": _near(rng, 0.5),
    }
    left, right = (scale * rng.normal(size=(2, rows, inputs))).astype(np.float32)
    return params, left, right, rng.choice([-1.0, 1.0], rows).astype(np.float32)


def _transformer_args(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
    rows, length, width = int(rng.integers(2, 4)), int(rng.integers(5, 8)), 8

    def norm() -> dict[str, np.ndarray]:
        return {"scale": _near(rng, 1.0, width), "bias": _near(rng, 0.0, width)}

    def dense(inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {"kernel": _dense(rng, inputs, outputs), "bias": _near(rng, 0.0, outputs)}

    def block() -> dict[str, Any]:
        maps = {name: {"kernel": _dense(rng, width, width)} for name in ("query", "key", "value")}
        return {
            "before": norm(),
            "attention": {**maps, "out": dense(width, width)},
            "between": norm(),
            "up": dense(width, 2 * width),
            "down": dense(2 * width, width),
        }

    table = (0.5 * scale * rng.normal(size=(11, width))).astype(np.float32)
    params = {"table": table, "block0": block(), "block1": block(), "last": norm()}
    tokens = rng.integers(0, 11, (2, rows, length)).astype(np.int32)
    tokens[1, :, -1] = 0
    return {"params": params}, tokens[0], tokens[1]


def _gru_args(rng: np.random.Generator, scale: float) -> tuple[Any, ...]:
    import equinox as eqx
    import jax

    rows, steps, inputs, width = (
        int(rng.integers(*ends)) for ends in ((2, 5), (4, 8), (2, 5), (4, 7))
    )
    params = {
        "cell": eqx.nn.GRUCell(inputs, width, key=jax.random.key(int(rng.integers(2**31)))),
        "attend": _near(rng, 0.0, width),
        "w": _dense(rng, width, 3).T.copy(),
        "b": _near(rng, 0.0, 3),
    }
    xs = (scale * rng.normal(size=(rows, steps, inputs))).astype(np.float32)
    return params, xs, rng.normal(size=(rows, 3)).astype(np.float32)


NETWORKS = (
    Network("LeNet", (LENET, LENET_NCHW), _lenet_args),
    Network("VGG", (VGG, VGG_PORT), _vgg_args),
    Network("siamese", (SIAMESE, SIAMESE_BATCHED), _siamese_args),
    Network("transformer", (TRANSFORMER, TRANSFORMER_PORT), _transformer_args),
    Network("GRU", (GRU, GRU_PORT), _gru_args),
)
