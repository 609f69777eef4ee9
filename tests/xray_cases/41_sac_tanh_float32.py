# SOURCE: google-deepmind/distrax#7 second form, in brax/SAC style: log(1 - tanh(x)^2) with
#   saturated tanh
# EXPECT: log of 0 forward: -inf
# KIND: Inf forward
# WHY: log of 0
import jax.numpy as jnp


def loss(params, obs, noise):
    mean, log_std = jnp.split(obs @ params, 2, axis=-1)
    raw = mean + jnp.exp(log_std) * noise
    act = jnp.tanh(raw)
    logp = -0.5 * noise**2 - log_std - jnp.log(1 - act**2)  # BORN
    return jnp.mean(logp)


def example_args():
    return (
        jnp.ones((3, 2)),
        jnp.array([[1.0, 1.0, 1.0], [0.1, -0.2, 0.3]]),
        jnp.array([[1.0], [-0.5]]),
    )
