# SOURCE: patrick-kidger/diffrax#742, #280: finite solution, NaN only backward: sqrt'(0) in the
#   vector field
# EXPECT: sqrt at 0 in the user's vector field, backward, at the first step (y0[1] = 0)
# KIND: Inf backward
# WHY: sqrt at 0
import diffrax
import jax.numpy as jnp


def field(t, y, k):
    flow = jnp.sqrt(y[1])  # BORN
    return jnp.stack([-k * flow, k * (1.0 - y[1])])


def loss(k, y0):
    out = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Euler(),
        t0=0.0,
        t1=1.0,
        dt0=0.25,
        y0=y0,
        args=k,
        saveat=diffrax.SaveAt(t1=True),
        max_steps=8,
    )
    return jnp.sum(out.ys**2)


def example_args():
    return jnp.array(0.3), jnp.array([1.0, 0.0])
