"""Differential equations that diffrax solves, each by another way of differentiating."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(
    layers=("layers[0]", "layers[1]"),
    shared=("layers/0/weight", "layers/0/bias", "layers/1/weight", "layers/1/bias"),
    grad=eqx.filter_grad,
    inside=True,
)
def neural_ode():
    class Field(eqx.Module):
        mlp: eqx.nn.MLP

        def __init__(self, key):
            self.mlp = eqx.nn.MLP(2, 2, 4, depth=1, activation=jax.nn.softplus, key=key)

        def __call__(self, t, y, args):
            return self.mlp(y)  # OPERATOR: dot_general

    class NeuralODE(eqx.Module):
        field: Field

        def __call__(self, ts, y0):
            solution = dfx.diffeqsolve(  # OPERATOR
                dfx.ODETerm(self.field),
                dfx.Tsit5(),
                t0=ts[0],  # OPERATOR
                t1=ts[-1],  # OPERATOR
                dt0=ts[1] - ts[0],  # OPERATOR
                y0=y0,
                stepsize_controller=dfx.PIDController(rtol=1e-3, atol=1e-6),
                saveat=dfx.SaveAt(ts=ts),
                max_steps=64,
            )
            return solution.ys

    ts, y0 = jnp.linspace(0.0, 1.0, 4), jnp.array([1.0, -0.5])

    @eqx.filter_jit
    def loss(model, y0):
        ys = model(ts, y0)
        return jnp.mean((ys - jnp.cos(ts)[:, None]) ** 2)  # OPERATOR: cos

    return loss, NeuralODE(Field(KEY)), y0


@program(shared=("rate",), inside=True)
def decay_through_the_steps():
    def field(t, y, rate):
        return -rate * y  # OPERATOR: mul

    def loss(params):
        solution = dfx.diffeqsolve(  # OPERATOR
            dfx.ODETerm(field),
            dfx.Heun(),
            t0=0.0,
            t1=1.0,
            dt0=0.25,
            y0=params["y"],
            args=params["rate"],
            adjoint=dfx.DirectAdjoint(),
            max_steps=8,
        )
        return jnp.sum(solution.ys**2)  # OPERATOR

    return loss, {"y": jnp.array([1.0, -2.0]), "rate": jnp.array(0.7)}


@program(shared=("drift", "noise"), inside=True)
def stochastic():
    def loss(params):
        def drift(t, y, args):
            return -params["drift"] * y  # OPERATOR: mul

        def diffusion(t, y, args):
            return params["noise"] * jnp.cos(t)  # OPERATOR: cos

        path = dfx.VirtualBrownianTree(0.0, 1.0, tol=1e-2, shape=(), key=KEY)  # PERHAPS
        terms = dfx.MultiTerm(dfx.ODETerm(drift), dfx.ControlTerm(diffusion, path))
        solution = dfx.diffeqsolve(  # OPERATOR
            terms,
            dfx.Euler(),
            t0=0.0,
            t1=1.0,
            dt0=0.25,
            y0=params["y"],
            saveat=dfx.SaveAt(steps=True),
            max_steps=6,
        )
        inside = jnp.isfinite(solution.ys)  # OPERATOR: is_finite
        return jnp.sum(jnp.where(inside, solution.ys, 0.0) ** 2)  # OPERATOR

    return loss, {"drift": jnp.array(0.5), "noise": jnp.array(0.3), "y": jnp.array(1.0)}


@program(layers=("inner", "outer"), shared=("inner", "outer"), inside=True)
def continuous_adjoint():
    inner, outer = jax.random.normal(KEY, (2, 2, 2))

    def field(t, y, params):
        hidden = jnp.tanh(params["inner"] @ y)  # OPERATOR: dot_general, tanh
        return params["outer"] @ hidden  # OPERATOR: dot_general

    def loss(params):
        solution = dfx.diffeqsolve(  # OPERATOR
            dfx.ODETerm(field),
            dfx.Tsit5(),
            0.0,
            1.0,
            0.1,
            jnp.array([0.2, 0.4]),  # PERHAPS
            args=params,
            stepsize_controller=dfx.PIDController(rtol=1e-4, atol=1e-6),
            adjoint=dfx.BacksolveAdjoint(),
        )
        return solution.ys[-1].sum()  # OPERATOR

    return loss, {"inner": inner, "outer": outer}
