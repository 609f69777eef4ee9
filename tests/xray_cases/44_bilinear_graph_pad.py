# SOURCE: deepmodeling/deepmd-kit#5717, jraph questions: graph attention, masked entries multiplied
#   by 0 after exp overflow
# EXPECT: exp overflow for the padded edge, inf * 0 = NaN in the product with the mask
# KIND: Inf forward
# WHY: overflow of exp
import jax
import jax.numpy as jnp


def attention(scores, seg, mask, n):
    top = jax.ops.segment_max(jnp.where(mask > 0, scores, -jnp.inf), seg, n)
    ex = jnp.exp(scores - top[seg])  # BORN
    ex = ex * mask  # BORN
    return ex / jax.ops.segment_sum(ex, seg, n)[seg]


def loss(w, feats, seg, mask):
    a = attention(feats @ w, seg, mask, 2)
    return jnp.sum(a * feats[:, 0])


def example_args():
    feats = jnp.array([[1.0, 0.2], [0.5, 0.3], [200.0, 1.0], [0.1, 0.1]])
    return jnp.array([1.0, -1.0]), feats, jnp.array([0, 0, 0, 1]), jnp.array([1.0, 1.0, 0.0, 1.0])
