# SOURCE: patrick-kidger/diffrax#143: the vector field has sqrt(y[2]), a large step makes y[2]
#   negative
# EXPECT: sqrt of a negative number in the user's vector field, inside diffrax's loop
# KIND: NaN forward
# WHY: negative number
import diffrax
import jax.numpy as jnp


def field(t, y, k):
    drain = jnp.sqrt(y[1])  # BORN
    return jnp.stack([-k * y[0], -drain - k * y[0]])


def loss(k, y0):
    out = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Euler(),
        t0=0.0,
        t1=4.0,
        dt0=1.0,
        y0=y0,
        args=k,
        saveat=diffrax.SaveAt(t1=True),
        max_steps=8,
    )
    return jnp.sum(out.ys**2)


def example_args():
    return jnp.array(0.3), jnp.array([1.0, 1.0])
