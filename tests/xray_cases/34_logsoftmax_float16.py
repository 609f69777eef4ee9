# SOURCE: jax-ml/jax#40409: log_softmax of a large float16 array: forward finite, gradient NaN
# EXPECT: in log_softmax's backward: the sum of 70000 cotangents overflows float16 (inf), times exp
#   -> NaN
# KIND: Inf backward
# WHY: sum of .*float16
import jax
import jax.numpy as jnp


def loss(x):
    logp = jax.nn.log_softmax(x)  # BORN
    return jnp.sum(logp.astype(jnp.float32))


def example_args():
    return (jnp.sin(jnp.arange(70000.0)).astype(jnp.float16),)
