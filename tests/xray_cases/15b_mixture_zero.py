# SOURCE: pyro-ppl/numpyro#2224 re-created (fixed in numpyro 0.22): log mixing weights, one weight
#   exactly 0, logits clipped for the value
# EXPECT: log(0) of a mixing probability; finite forward through logsumexp, NaN backward
# KIND: Inf forward
# WHY: log of 0
import jax
import jax.numpy as jnp


def mixture(probs, x):
    log_mix = jnp.log(probs)  # BORN
    means = jnp.array([-1.0, 0.0, 2.0])
    log_parts = -0.5 * (x[:, None] - means) ** 2
    return jax.nn.logsumexp(jax.nn.log_softmax(log_mix) + log_parts, axis=-1)


def loss(probs, x):
    return -jnp.sum(mixture(probs, x))


def example_args():
    return jnp.array([0.0, 0.4, 0.6]), jnp.array([0.1, 1.5])
