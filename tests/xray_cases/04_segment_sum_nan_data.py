# SOURCE: jax-ml/jax#14179: NaN in the data of padded entries whose segment id is -1 (dropped)
# EXPECT: the NaN is in the data; grad of a * x at a NaN is 0 * NaN; born in the product with the
#   NaN datum
# KIND: NaN in the data
import jax
import jax.numpy as jnp


def loss(w, features, segments):
    weighted = w * features  # BORN
    per_graph = jax.ops.segment_sum(weighted, segments, num_segments=2)
    return jnp.sum(per_graph**2)


def example_args():
    return (
        jnp.array([1.0, 2.0, 3.0, 0.5]),
        jnp.array([1.0, -1.0, 2.0, jnp.nan]),
        jnp.array([0, 1, 0, -1]),
    )
