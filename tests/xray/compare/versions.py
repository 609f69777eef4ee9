"""A program whose records in two versions of JAX are compared.

    python -m tests.xray.compare.versions FILE.xray

writes the record under the JAX that runs it.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np


def convolved(params, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, params["k"], (1, 1), "SAME", dimension_numbers=numbers)
    x = jax.nn.relu(x + params["b"][None, None, None])
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(x), -1, x.shape[-1])


def attended(params, x):
    centred = x - x.mean(-1, keepdims=True)
    x = centred * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
    scores = jnp.einsum("nqd,nkd->nqk", x @ params["q"], x) / 2
    allowed = jnp.tril(jnp.ones(scores.shape[1:], bool))
    return jax.nn.softmax(jnp.where(allowed[None], scores, -1e9), axis=-1) @ x


def remembered(params, x, slope=1.0):
    def step(h, row):
        h = jnp.tanh(row + h @ params["h"]) * slope
        return h, jax.nn.gelu(h)

    return jax.lax.scan(step, jnp.zeros_like(x[:, 0]), x.swapaxes(0, 1))[1]


def loss(params, x, labels, slope=1.0):
    h = remembered(params, attended(params, convolved(params, x)), slope)
    logs = jax.nn.log_softmax(h.mean(0) @ params["out"])
    return -jnp.take_along_axis(logs, labels[:, None], 1).mean()


def arguments():
    draw = np.random.default_rng(5)
    shapes = {"k": (3, 3, 1, 4), "b": (4,), "q": (4, 4), "h": (4, 4), "out": (4, 3)}
    params = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return params, draw.normal(size=(2, 4, 6, 1)).astype(np.float32), np.int32([2, 0])


if __name__ == "__main__":
    from chainrule import xray

    xray.xray(loss, *arguments()).save(sys.argv[1])
