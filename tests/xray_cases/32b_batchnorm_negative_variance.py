# SOURCE: google/flax#1491: variance as E[x^2] - E[x]^2 negative by rounding, rsqrt of a negative
#   number
# EXPECT: rsqrt of a negative number in the normalisation (flax clips today: re-created by hand)
# KIND: NaN forward
# WHY: root of a negative number
import jax
import jax.numpy as jnp
import numpy as np


def batch_norm(x, scale, eps=1e-5):
    mean = x.mean(0)
    var = jnp.mean(x * x, 0) - mean * mean
    return (x - mean) * jax.lax.rsqrt(var + eps) * scale  # BORN


def loss(scale, x):
    return jnp.sum(batch_norm(x, scale) ** 2)


def example_args():
    rng = np.random.default_rng(0)
    x = (3000.0 + rng.uniform(0, 300, (1, 8)) + 0.001 * rng.normal(size=(17, 8))).astype(np.float32)
    return jnp.ones(8), jnp.asarray(x)
