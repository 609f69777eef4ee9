"""Linear systems that lineax solves, dense, without a matrix, and overdetermined."""

import jax
import jax.numpy as jnp
import lineax as lx

from tests.zoo.zoo import program

KEY = jax.random.key(0)


@program(repeated=("matrix",))
def dense():
    def loss(matrix, vector):
        operator = lx.MatrixLinearOperator(matrix)
        solution = lx.linear_solve(operator, vector)  # OPERATOR: linear_solve
        return jnp.sum(solution.value**2)  # OPERATOR

    matrix = jax.random.normal(KEY, (3, 3)) + 3 * jnp.eye(3)
    return loss, matrix, jnp.array([1.0, -1.0, 0.5])


@program(shared=("features", "log_ridge"), inside=True)
def conjugate_gradients():
    targets = jnp.array([1.0, 0.0, -1.0, 2.0])

    def loss(params):
        features = params["features"]

        def normal_equations(w):
            ridge = jnp.exp(params["log_ridge"]) * w  # OPERATOR: exp
            return features.T @ (features @ w) + ridge  # OPERATOR: dot_general

        right = features.T @ targets  # OPERATOR: dot_general
        operator = lx.FunctionLinearOperator(  # PERHAPS
            normal_equations, jax.eval_shape(lambda: right), lx.positive_semidefinite_tag
        )
        solver = lx.CG(rtol=1e-6, atol=1e-6)
        w = lx.linear_solve(operator, right, solver).value  # OPERATOR: linear_solve
        return jnp.mean((features @ w - targets) ** 2)  # OPERATOR: dot_general

    return loss, {"features": jax.random.normal(KEY, (4, 2)), "log_ridge": jnp.array(-1.0)}


@program()
def overdetermined():
    t = jnp.linspace(-1.0, 1.0, 5)

    def loss(params):
        wave = jnp.sin(params["frequency"] * t)  # OPERATOR: sin
        columns = jnp.stack([jnp.ones(5), t, wave], axis=1)  # OPERATOR
        operator = lx.MatrixLinearOperator(columns)
        w = lx.linear_solve(operator, params["y"], solver=lx.QR()).value  # OPERATOR: linear_solve
        return w @ jnp.array([0.5, 1.0, -1.0])  # OPERATOR: dot_general

    return loss, {"frequency": jnp.array(2.0), "y": jnp.array([1.0, 0.5, -0.5, 0.2, 2.0])}
