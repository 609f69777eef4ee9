# SOURCE: jax-ml/jax#2380: determinant (here slogdet) of a singular matrix, and its derivative
# EXPECT: log of 0 in slogdet, inverse of a singular matrix backward
# KIND: Inf forward
# WHY: log of 0|singular
import jax.numpy as jnp


def loss(a):
    sign, logdet = jnp.linalg.slogdet(a)  # BORN
    return sign * jnp.exp(logdet)


def example_args():
    return (jnp.array([[1.0, 2.0], [2.0, 4.0]]),)
