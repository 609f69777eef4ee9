"""The curvature at a point, and the learning rate that it allows."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from chainrule import _require
from chainrule.descent import _krylov, updates
from chainrule.descent._arguments import Loss, at_point, checked, hessian, on_batches
from chainrule.descent._response import measure
from chainrule.descent.updates import OptimizerFactory

__all__ = [
    "Spectrum", "Stability", "edge", "quadratic_model", "sharpness", "spectrum", "stability",
]  # fmt: skip
__dir__ = __all__.copy

_START = 3  # vectors that a search for stability starts from


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


class Spectrum(NamedTuple):
    """The top of the Hessian's spectrum.

    Attributes:
      values: ``[k]``, its largest eigenvalues, in descending order.
      vectors: their eigenvectors, in trees like the parameters with a leading axis ``k``; together
        orthonormal.
      residual: ``[k]``, the norms of ``H v - value v``.
    """

    values: Float[Array, " k"]
    vectors: PyTree
    residual: Float[Array, " k"]


def spectrum(
    loss: Loss, params: PyTree, k: int, *, batch: PyTree = None, key: Array | None = None
) -> Spectrum:
    """Return the ``k`` algebraically largest eigenvalues of the Hessian, and their eigenvectors.

    Lanczos iteration with full orthogonalisation and thick restarts: repeated eigenvalues are found
    as often as they are there. The memory is that of ``4 k + 20`` copies of the parameters.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given; twice
        differentiable in reverse mode.
      params: any pytree of floating-point arrays.
      k: how many, at most as many as there are parameters.
      batch: the examples on which the loss is measured.
      key: for the vectors to start from; they are the same each time without one.

    Returns:
      The `Spectrum`.

    Raises:
      ValueError: as `stability`, or there are not ``k`` parameters.

    Example:
      >>> found = spectrum(lambda w: (w[0] ** 2 + 4 * w[1] ** 2 - w[2] ** 2) / 2, jnp.ones(3), 2)
      >>> found.values.round(3).tolist(), jnp.abs(found.vectors).round(3).tolist()
      ([4.0, 1.0], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    """
    params, batches = at_point(loss, params, batch, key)
    k = _require.count("k", k, most=sum(leaf.size for leaf in jax.tree.leaves(params)))
    return _spectrum(params, batches, key, loss, k)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _spectrum(params, batches, key, loss, k):  # type: ignore[no-untyped-def]
    product = hessian(on_batches(loss, batches), params)
    found = _krylov.largest(
        _krylov.flat(product, params),
        _krylov.start(params, k + 2, key),
        wanted=k,
        size=2 * k + 10,
        sweeps=100,
        tolerance=1e-4,
        symmetric=True,
    )
    vectors = jax.vmap(_krylov.unflat(params))(found.vectors[:k])
    return Spectrum(found.values[:k], vectors, found.residual[:k])


class Stability(NamedTuple):
    """How far a step is from its edge.

    Attributes:
      sharpness: the largest eigenvalue of the Hessian.
      critical: the sharpness at which the step would be at its edge, were the Hessian multiplied by
        a number: ``sharpness / ratio``. NaN where nothing is curved.
      ratio: above 1 the step is unstable. NaN where the step has no derivative with respect to the
        gradient.
      method: how both were found: the products with the Hessian, and the residuals.
    """

    sharpness: Float[Array, ""]
    critical: Float[Array, ""]
    ratio: Float[Array, ""]
    method: str


def stability(
    loss: Loss,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    opt_state: PyTree,
    *,
    batch: PyTree = None,
    key: Array | None = None,
) -> Stability:
    r"""Measure how far the next step of an optimizer is from its edge of stability.

    The optimizer is a black box: one step of it is linearised, at the state as it is and at zero
    gradient, so that averages of squared gradients stand still. The loss is replaced by its
    quadratic model. ``1 / ratio`` is the factor on the Hessian at which the step begins to
    oscillate and grow. Along a direction of negative curvature every step grows, without
    oscillating: such directions have no part in the ratio.

    For plain descent the critical sharpness is :math:`2 / \eta`, with heavy-ball momentum
    :math:`(2 + 2 \beta) / \eta`; for Adam the ratio is the largest eigenvalue of
    :math:`P^{-1} H` over :math:`(2 + 2 \beta_1) / ((1 - \beta_1) \eta)`, which is
    :math:`38 / \eta` at 0.9.

    There is no ratio, but NaN, for an optimizer whose step has no derivative at zero gradient:
    one that takes the gradient's sign or divides by its norm, and Adam before its first step. A
    weight that had no gradient yet has the preconditioner :math:`\epsilon`.

    Args:
      loss: ``loss(params) -> scalar``, or ``loss(params, batch)`` when ``batch`` is given; twice
        differentiable in reverse mode.
      params: any pytree of floating-point arrays.
      optimizer: any optax optimizer.
      opt_state: its state, from ``optimizer.init`` and as many updates as were made.
      batch: the examples on which the loss is measured. With a mini-batch the sharpness is that of
        its loss, and noise lets the descent leave before the ratio reaches 1.
      key: for the vectors to start from; they are the same each time without one.

    Returns:
      The `Stability`; about 20 products with the Hessian find it, in the memory of 20 to 30 copies
      of the parameters.

    Raises:
      ValueError: the loss or the parameters do not suit `gradient_descent`; the loss cannot be
        differentiated twice, or is not finite; the state is not the optimizer's.

    Example:
      >>> loss = lambda w: (w[0] ** 2 + 50 * w[1] ** 2) / 2
      >>> w, heavy = jnp.ones(2), optax.sgd(0.1, momentum=0.5)
      >>> found = stability(loss, w, heavy, heavy.init(w))
      >>> [round(float(number), 3) for number in found[:3]]
      [50.0, 30.0, 1.667]
    """
    params, batches = at_point(loss, params, batch, key)
    optimizer = updates.checked(optimizer)
    _check_state(optimizer, params, opt_state)
    plain, step = _stability(params, opt_state, batches, key, loss, optimizer)
    products = int(plain.products + step.products)
    method = (
        f"Arnoldi iteration, {products} products with the Hessian, residuals "
        f"{plain.residual[0]:.1e} and {step.residual[0]:.1e}"
    )
    sharpness, ratio = plain.values[0], step.values[0]
    return Stability(sharpness, sharpness / ratio, ratio, method)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _stability(params, opt_state, batches, key, loss, optimizer):  # type: ignore[no-untyped-def]
    start = _krylov.start(params, _START, key)
    at = on_batches(loss, batches)
    return measure(at, params, optimizer, opt_state, start, start, size=3 * _START, sweeps=50)


def _check_state(
    optimizer: optax.GradientTransformation, params: PyTree, opt_state: PyTree
) -> None:
    due = jax.eval_shape(functools.partial(updates.init, optimizer), params)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (opt_state, due)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"opt_state has the shapes {shapes[0]}, but for these params the optimizer's are "
            f"{shapes[1]}: give what optimizer.init or optimizer.update returned"
        )


def edge(sharpness: float, optimizer: OptimizerFactory = optax.sgd) -> float:
    r"""Return the learning rate beyond which descent is predicted to leave a point.

    On a quadratic whose largest curvature is ``s``, plain descent diverges beyond
    :math:`2 / s`, descent with heavy-ball momentum :math:`\beta` beyond
    :math:`2 (1 + \beta) / s` (Polyak 1964), with Nesterov's beyond
    :math:`2 (1 + \beta) / ((1 + 2 \beta) s)`. Elsewhere it is the prediction of the quadratic
    model at the point where the sharpness was measured. The edge of an adaptive optimizer depends
    on its state, not on the sharpness alone: see `stability`.

    Args:
      sharpness: the largest eigenvalue of the Hessian, see `sharpness`.
      optimizer: what `sweep` takes. Known are ``optax.sgd`` and
        ``functools.partial(optax.sgd, momentum=beta, nesterov=...)``.

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
    known, factor = optimizer is optax.sgd, 2.0
    if isinstance(optimizer, functools.partial) and optimizer.func is optax.sgd:
        known = not optimizer.args and set(optimizer.keywords) <= {"momentum", "nesterov"}
        momentum = optimizer.keywords.get("momentum") or 0.0
        momentum = _require.real("momentum", momentum, least=0, below=1)
        factor = 2 * (1 + momentum)
        if optimizer.keywords.get("nesterov"):
            factor /= 1 + 2 * momentum
    _require.real("sharpness", sharpness, finite=False)
    if not known or math.isnan(sharpness):
        return math.nan
    return factor / float(sharpness) if sharpness > 0 else math.inf


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
    product = _krylov.flat(hessian(loss, params), params)

    def lanczos(carry, _):  # type: ignore[no-untyped-def]
        previous, v, beta, alive = carry
        u = product(v) - beta * previous
        alpha = jnp.vdot(u, v)
        u = u - alpha * v
        norm = jnp.linalg.norm(u)
        # An invariant subspace is exhausted when only rounding is left of the new direction.
        goes_on = alive & (norm > 10 * jnp.finfo(u.dtype).eps * (jnp.abs(alpha) + beta))
        u = jnp.where(goes_on, u / jnp.where(goes_on, norm, 1), 0)
        beta = jnp.where(goes_on, norm, 0)
        return (v, u, beta, goes_on), (alpha, beta, alive)

    (v,) = _krylov.start(params, 1, key)
    carry = (jnp.zeros_like(v), v / jnp.linalg.norm(v), jnp.zeros((), v.dtype), jnp.asarray(True))
    _, (alpha, beta, alive) = jax.lax.scan(lanczos, carry, length=min(iterations, v.size))
    # The first entry is a Rayleigh quotient and cannot exceed the largest eigenvalue, which a 0
    # left behind by an exhausted subspace would do when all are negative.
    alpha = jnp.where(alive, alpha, alpha[0])
    tridiagonal = jnp.diag(alpha) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]
