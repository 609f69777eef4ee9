r"""Analytic losses with known minima and edges, on which descents are compared.

Every landscape is a pure function of the parameters, so that `chainrule.descent` takes it as a
loss. The docstrings state what is known of each exactly, and the tests check it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["coupled", "quadratic", "rosenbrock", "two_well"]
__dir__ = __all__.copy


def quadratic(w: Float[AnyArray, "..."], curvature: float = 1.0) -> Float[Array, ""]:
    r"""Parabola, :math:`f(w) = \frac{a}{2} \sum_i w_i^2`.

    Plain descent multiplies ``w`` by exactly ``1 - eta a`` at each step: it creeps in for
    ``eta < 1 / a``, oscillates in for ``eta < 2 / a`` and diverges beyond, the edge ``2 / a``.

    Args:
      w: the parameters, of any shape.
      curvature: ``a``, every eigenvalue of the Hessian.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the parameters have another shape or are no floating-point numbers.

    Example:
      >>> float(quadratic(jnp.asarray(3.0), curvature=4.0))
      18.0
    """
    _require.floats(w=w)
    curvature = _require.real("curvature", curvature)
    return curvature / 2 * jnp.sum(w * w)


def two_well(w: Float[AnyArray, ""]) -> Float[Array, ""]:
    r"""Two minima of different depth, :math:`f(w) = \frac{1}{2}(w^2 - 1)^2 + \frac{w}{5}`.

    The notes illustrate that descent finds a *local* minimum by three series of pictures in one
    dimension (two starts at eta = 0.125 and one at eta = 0.5), but they do not give the function.
    This one is our reconstruction: it shows the behaviour of the series, not their numbers.

    The stationary points are the roots of ``2 w^3 - 2 w + 1/5``: minima at -1.0467 (the global
    one, -0.2048) and 0.9456 (0.1947), a maximum at 0.1011 between them. The curvature
    ``6 w^2 - 2`` is 4.573 and 3.365 in the minima, so the local edges are 0.437 and 0.594.

    Args:
      w: the parameter, a scalar.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the parameters have another shape or are no floating-point numbers.

    Example:
      >>> float(two_well(jnp.asarray(-1.0)))
      -0.2
    """
    _require.floats(w=w)
    if w.shape != ():
        raise ValueError(f"w {w.shape}: it must be a scalar, ()")
    w = jnp.asarray(w)
    return (w * w - 1) ** 2 / 2 + w / 5


def rosenbrock(w: Float[AnyArray, "2"]) -> Float[Array, ""]:
    r"""Rosenbrock's valley, :math:`f(w) = (1 - w_1)^2 + 100 (w_2 - w_1^2)^2`.

    The minimum is 0 at (1, 1), where the Hessian has eigenvalues 0.3994 and 1001.6: the valley
    floor is 2,500 times flatter than its walls.

    Args:
      w: the two parameters.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the parameters have another shape or are no floating-point numbers.

    References:
      Rosenbrock, "An automatic method for finding the greatest or least value of a function",
      The Computer Journal 3, 1960.

    Example:
      >>> float(rosenbrock(jnp.asarray([-1.0, 2.0])))
      104.0
    """
    _require.floats(w=w)
    if w.shape != (2,):
        raise ValueError(f"w {w.shape}: it must be two parameters, (2,)")
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def coupled(params: dict[str, Float[AnyArray, ""]], detach: bool = False) -> Float[Array, ""]:
    r"""Two parameters and a coupling, :math:`f(a, b) = (a - 1)^2 + (b + 1)^2 + (a - b)^2`.

    The minimum is at (1/3, -1/3). With ``detach`` no gradient passes through the ``a`` of the
    coupling, as in the notes: the value is the same, but ``a`` is no longer pulled towards ``b``.
    The descent then follows the gradient of no function, and comes to rest at (1, 0).

    Args:
      params: ``{"a", "b"}``, two scalars.
      detach: whether ``a`` is a constant in the coupling.

    Returns:
      The loss, a scalar.

    Raises:
      ValueError: the parameters have another shape or are no floating-point numbers.

    Example:
      >>> params = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
      >>> float(coupled(params))
      1.5
      >>> [float(jax.grad(coupled)(params, detach=stop)["a"]) for stop in (False, True)]
      [1.0, -1.0]
    """
    _require.instance("params", params, dict, 'a dict of two scalars, {"a", "b"}')
    if set(params) != {"a", "b"}:
        raise ValueError(f'params holds {list(params)}: it must be two scalars, {{"a", "b"}}')
    _require.flag("detach", detach)
    _require.floats(a=params["a"], b=params["b"])
    a, b = jnp.asarray(params["a"]), jnp.asarray(params["b"])
    seen = jax.lax.stop_gradient(a) if detach else a
    return (a - 1) ** 2 + (b + 1) ** 2 + (seen - b) ** 2
