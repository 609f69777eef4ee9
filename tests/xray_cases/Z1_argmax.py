# SOURCE: google-deepmind/dm-haiku#442: gradient 0 because the loss is taken of argmax of the logits
# EXPECT: every gradient 0; it died in argmax (int) and the cast back to float
# KIND: dead gradient
import haiku as hk
import jax
import jax.numpy as jnp


def forward(x):
    return hk.nets.MLP([8, 2])(x)


net = hk.without_apply_rng(hk.transform(forward))


def loss(params, x, y):
    logits = net.apply(params, x)
    guess = jnp.argmax(logits, axis=-1).astype(jnp.float32)  # DIED
    return jnp.mean((guess - y) ** 2)


def example_args():
    x = jnp.sin(jnp.arange(12.0)).reshape(4, 3)
    return net.init(jax.random.key(0), x), x, jnp.array([0.0, 1.0, 1.0, 0.0])
