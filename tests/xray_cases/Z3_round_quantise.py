# SOURCE: jax-ml/jax#9032 (straight-through estimator): quantised weights by round, no
#   straight-through
# EXPECT: gradient of the weights 0, died in round; the bias still learns
# KIND: dead gradient
import jax.numpy as jnp


def quantise(w, step):
    return jnp.round(w / step) * step  # DIED


def loss(params, x, y):
    h = jnp.tanh(x @ quantise(params["w1"], 0.1) + params["b1"])
    return jnp.mean((h @ quantise(params["w2"], 0.1) - y) ** 2)


def example_args():
    params = {
        "w1": jnp.sin(jnp.arange(12.0)).reshape(3, 4),
        "b1": jnp.zeros(4),
        "w2": jnp.cos(jnp.arange(4.0)),
    }
    return params, jnp.ones((5, 3)) * jnp.arange(5.0)[:, None], jnp.arange(5.0)
