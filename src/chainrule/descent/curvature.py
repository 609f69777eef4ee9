"""The curvature at a point, and the learning rate that it allows."""

import functools
import math

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from chainrule import _require
from chainrule.descent._arguments import Loss, checked
from chainrule.descent.updates import OptimizerFactory

__all__ = ["edge", "quadratic_model", "sharpness"]


def sharpness(loss: Loss, params: PyTree, *, key: Array, iterations: int = 64) -> Float[Array, ""]:
    """Return the algebraically largest eigenvalue of the Hessian of ``loss`` at ``params``.

    Lanczos iteration on Hessian-vector products: the largest eigenvalue of its tridiagonal
    matrix approaches the Hessian's from below, even where a negative eigenvalue is larger in
    absolute value (plain power iteration would return that one). The cost is ``iterations``
    Hessian-vector products, each a few gradients; the memory is a few copies of the parameters.
    Exact when there are no more parameters than iterations.

    The basis is not reorthogonalised. That only repeats eigenvalues already found, and the largest
    one stays where it is (Paige 1980).

    Args:
      loss: ``loss(params) -> scalar``, twice differentiable in reverse mode.
      params: any pytree of floating-point arrays.
      key: for the random start vector.
      iterations: at most this many Hessian-vector products, at least 1.

    Returns:
      The eigenvalue, a scalar, in units of loss per squared parameter.

    Raises:
      ValueError: the loss or the parameters do not suit `gradient_descent`, ``key`` is no key, or
        ``iterations`` is below 1.

    References:
      Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950.

    Example:
      >>> def saddle(w):
      ...     return (w[0] ** 2 - 5 * w[1] ** 2) / 2
      >>> round(float(sharpness(saddle, jnp.asarray([0.3, 0.2]), key=jax.random.key(0))), 4)
      1.0
    """
    params = checked(loss, params)
    _require.one_key(key)
    return _sharpness(params, key, loss, _require.count("iterations", iterations))


def edge(sharpness: float, optimizer: OptimizerFactory = optax.sgd) -> float:
    r"""Return the learning rate beyond which descent is predicted to leave a point.

    On a quadratic whose largest curvature is ``s``, plain descent diverges beyond
    :math:`2 / s`, descent with heavy-ball momentum :math:`\beta` beyond
    :math:`2 (1 + \beta) / s` (Polyak 1964). Elsewhere it is the prediction of the quadratic
    model at the point where the sharpness was measured.

    Args:
      sharpness: the largest eigenvalue of the Hessian, see `sharpness`.
      optimizer: what `sweep` takes. Known are ``optax.sgd`` and
        ``functools.partial(optax.sgd, momentum=beta)``.

    Returns:
      The rate; infinity when the sharpness is not positive (no edge), NaN when the sharpness is
      NaN or the optimizer any other (no prediction).

    Raises:
      ValueError: the sharpness is no number, or the momentum not in [0, 1).

    Example:
      >>> edge(80.0)
      0.025
      >>> edge(80.0, functools.partial(optax.sgd, momentum=0.5))
      0.0375
      >>> edge(-1.0), edge(80.0, optax.adam)
      (inf, nan)
    """
    known = optimizer is optax.sgd
    momentum = 0.0
    if isinstance(optimizer, functools.partial) and optimizer.func is optax.sgd:
        known = not optimizer.args and set(optimizer.keywords) <= {"momentum"}
        momentum = optimizer.keywords.get("momentum") or 0.0
        momentum = _require.real("momentum", momentum, least=0, below=1)
    _require.real("sharpness", sharpness, finite=False)
    if not known or math.isnan(sharpness):
        return math.nan
    return 2 * (1 + momentum) / float(sharpness) if sharpness > 0 else math.inf


def quadratic_model(loss: Loss, params: PyTree, eta: float) -> Loss:
    r"""Return the model of the loss whose minimum is the next step of plain descent.

    .. math:: m(w) = f(w_0) + \nabla f(w_0)^\top (w - w_0) + \frac{1}{2 \eta} \|w - w_0\|^2

    It touches the loss at ``params``, and its argmin is ``params - eta * gradient``: a step is
    safe where the model lies above the loss, that is where ``1 / eta`` exceeds the curvature.

    Args:
      loss: ``loss(params) -> scalar``.
      params: where the model touches the loss.
      eta: the learning rate, above 0.

    Returns:
      A function from parameters to a scalar.

    Raises:
      ValueError: the loss or the parameters do not suit `gradient_descent`, or ``eta`` is not a
        positive finite number.

    Example:
      >>> from chainrule import landscapes
      >>> model = quadratic_model(landscapes.quadratic, jnp.asarray(2.0), eta=0.5)
      >>> [float(model(jnp.asarray(w))) for w in (2.0, 1.0, 0.0)]  # f = 2, slope 2, next step 1
      [2.0, 1.0, 2.0]
    """
    params = checked(loss, params)
    eta = _require.real("eta", eta, above=0)
    value, grads = jax.value_and_grad(loss)(params)

    def model(w: PyTree) -> Float[Array, ""]:
        step = jax.tree.map(jnp.subtract, w, params)
        return value + optax.tree.vdot(grads, step) + optax.tree.vdot(step, step) / (2 * eta)

    return model


@functools.partial(jax.jit, static_argnums=(2, 3))
def _sharpness(params, key, loss, iterations):  # type: ignore[no-untyped-def]
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def along(w: Array, v: Array) -> Array:
        return jnp.vdot(jax.grad(lambda w: loss(unravel(w)))(w), v)

    def lanczos(carry, _):  # type: ignore[no-untyped-def]
        previous, v, beta, alive = carry
        # Reverse over reverse: forward mode would refuse any operator with a custom_vjp.
        u = jax.grad(along)(flat, v) - beta * previous
        alpha = jnp.vdot(u, v)
        u = u - alpha * v
        norm = jnp.linalg.norm(u)
        # An invariant subspace is exhausted when only rounding is left of the new direction.
        goes_on = alive & (norm > 10 * jnp.finfo(u.dtype).eps * (jnp.abs(alpha) + beta))
        u = jnp.where(goes_on, u / jnp.where(goes_on, norm, 1), 0)
        beta = jnp.where(goes_on, norm, 0)
        return (v, u, beta, goes_on), (alpha, beta, alive)

    v = jax.random.normal(key, flat.shape, flat.dtype)
    carry = (jnp.zeros_like(v), v / jnp.linalg.norm(v), jnp.zeros((), v.dtype), jnp.asarray(True))
    _, (alpha, beta, alive) = jax.lax.scan(lanczos, carry, length=min(iterations, flat.size))
    # The first entry is a Rayleigh quotient and cannot exceed the largest eigenvalue, which a 0
    # left behind by an exhausted subspace would do when all are negative.
    alpha = jnp.where(alive, alpha, alpha[0])
    if alpha.dtype.itemsize < 4:  # there are no eigenvalues in half precision
        alpha, beta = alpha.astype(jnp.float32), beta.astype(jnp.float32)
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]


def __dir__() -> list[str]:
    return sorted(__all__)
