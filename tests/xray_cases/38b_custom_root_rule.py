# SOURCE: jax-ml/jax#9087, google/jaxopt#141 family: custom_vjp of a root (implicit derivative),
#   df/dx = 0 at the root
# EXPECT: division by 0 in the user's backward rule (double root)
# KIND: NaN backward
# WHY: 0 / 0
import jax
import jax.numpy as jnp


def poly(x, a):
    return (x - a) ** 2


@jax.custom_vjp
def root(a):
    def body(_, x):
        return x - poly(x, a) / jnp.where(x == a, 1.0, x - a)

    return jax.lax.fori_loop(0, 200, body, a + 1.0)


def root_fwd(a):
    x = root(a)
    return x, (x, a)


def root_bwd(res, g):
    x, a = res
    fx, fa = jax.grad(poly, argnums=(0, 1))(x, a)
    return (-g * fa / fx,)  # BORN


root.defvjp(root_fwd, root_bwd)


def loss(a):
    return root(a) ** 2


def example_args():
    return (jnp.array(2.0),)
