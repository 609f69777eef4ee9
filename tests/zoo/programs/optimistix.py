"""Roots, fixed points and fits of optimistix, differentiated as implicit functions."""

import jax
import jax.numpy as jnp
import optimistix as optx

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(shared=("a",), repeated=("b",), inside=True)
def root():
    def equation(y, args):
        return args["a"] * y + jnp.tanh(args["a"] * y) - args["b"]  # OPERATOR: tanh

    def loss(args):
        solver = optx.Newton(rtol=1e-5, atol=1e-5)
        solution = optx.root_find(equation, solver, jnp.array([0.3, 0.1]), args)  # OPERATOR
        return jnp.sum(solution.value**2)  # OPERATOR

    return loss, {"a": jnp.array([1.5, 0.7]), "b": jnp.array([1.0, -2.0])}


@program(repeated=("data",), inside=True)
def curve_fit():
    times = jnp.linspace(0.0, 2.0, 6)

    def residuals(y, data):
        amplitude, rate = y
        return amplitude * jnp.exp(-rate * times) - data  # OPERATOR: exp

    def loss(data):
        solver = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
        start = (jnp.array(1.0), jnp.array(1.0))  # PERHAPS
        solution = optx.least_squares(residuals, solver, start, args=data)  # OPERATOR
        amplitude, rate = solution.value
        return amplitude * rate  # OPERATOR: mul

    return loss, 2.0 * jnp.exp(-0.5 * times) + 0.1 * jnp.sin(9 * times)


@program(layers=("weight",), repeated=("weight", "bias"), inside=True)
def equilibrium():
    x = jnp.array([0.3, -0.1, 0.8])

    def cell(z, params):
        return jnp.tanh(params["weight"] @ z + params["bias"] + x)  # OPERATOR: dot_general, tanh

    def loss(params):
        solver = optx.FixedPointIteration(rtol=1e-6, atol=1e-6)
        z = optx.fixed_point(cell, solver, jnp.zeros(3), params, throw=False).value  # OPERATOR
        return jnp.mean((z - 1) ** 2)  # OPERATOR

    return loss, {"weight": jax.random.normal(KEY, (3, 3)) / 4, "bias": jnp.zeros(3)}
