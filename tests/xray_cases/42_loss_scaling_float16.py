# SOURCE: keras-team/keras-core#410, flax mixed-precision questions: sum of squares in float16
#   exceeds 65504
# EXPECT: overflow of a float16 reduction forward (inf), inf / inf -> NaN in the normalisation
# KIND: Inf forward
# WHY: exceeds the largest float16
import jax.numpy as jnp


def rms(x):
    return jnp.sqrt(jnp.mean(jnp.square(x), dtype=x.dtype))  # BORN


def loss(w, x):
    h = x @ w
    return jnp.sum((h / rms(h)).astype(jnp.float32) ** 3)


def example_args():
    return (100 * jnp.eye(4)).astype(jnp.float16), (jnp.ones((3, 4)) * jnp.arange(1.0, 5.0)).astype(
        jnp.float16
    )
