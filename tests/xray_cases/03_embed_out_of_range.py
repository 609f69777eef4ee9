# SOURCE: jax-ml/jax#26328: nnx.Embed with ids outside the table, masked BatchNorm, masked max
# EXPECT: the lookup fills NaN for ids >= num_embeddings; NaN leaks backward through the masked
#   layers
# KIND: NaN forward
# WHY: out of range|outside
import jax.numpy as jnp
from flax import nnx

TABLE = 5


def loss(table, ids, keep, targets):
    emb = nnx.Embed(TABLE, 3, rngs=nnx.Rngs(0))
    emb.embedding[...] = table
    norm = nnx.BatchNorm(3, rngs=nnx.Rngs(1))
    x = emb(ids)  # BORN
    m = keep[..., None]
    x = norm(x, mask=m)
    top = jnp.max(x, axis=(1, 2), where=m, initial=-10.0)
    return jnp.mean((top - targets) ** 2)


def example_args():
    table = jnp.sin(jnp.arange(15.0)).reshape(5, 3)
    ids = jnp.array([[0, 7, 2, 3], [4, 1, 9, 0]])
    return table, ids, ids < TABLE, jnp.array([0.5, 1.0])
