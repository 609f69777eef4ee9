# SOURCE: jax-ml/jax#14397: a polynomial as x ** arange(3), at x = 0; exponents float
# EXPECT: pow at base 0 and exponent 0: 0 * 0 ** -1; true derivative is the coefficient of x: 3
# KIND: NaN backward
# WHY: x \*\* y at x = 0|exponent 0
import jax.numpy as jnp


def loss(x, c):
    basis = x ** jnp.arange(3.0)  # BORN
    return jnp.dot(c, basis)


def example_args():
    return jnp.array(0.0), jnp.array([1.0, 3.0, 4.0])
