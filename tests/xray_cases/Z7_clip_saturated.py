# SOURCE: google-deepmind/distrax#216, cleanrl#300: log_std clipped to [-20, 2]; beyond it the
#   gradient is 0
# EXPECT: gradient of w_std 0, died in clip (all outside)
# KIND: dead gradient
import jax
import jax.numpy as jnp


def policy(params, x):
    h = jax.nn.relu(x @ params["body"])
    mean = h @ params["mean"]
    log_std = jnp.clip(h @ params["std"], -20.0, 2.0)  # DIED
    return mean, log_std


def loss(params, x, action):
    mean, log_std = policy(params, x)
    return jnp.mean(0.5 * ((action - mean) / jnp.exp(log_std)) ** 2 + log_std)


def example_args():
    params = {
        "body": jnp.abs(jnp.sin(jnp.arange(1.0, 13.0))).reshape(3, 4),
        "mean": jnp.ones((4, 1)) * 0.1,
        "std": jnp.ones((4, 1)) * 3.0,
    }
    return params, jnp.ones((5, 3)) + jnp.arange(5.0)[:, None], jnp.zeros((5, 1))
