r"""Whether a step of an optimizer is stable: its response to a gradient that alternates in sign.

One step maps a small change :math:`z` of the parameters :math:`w` and of the optimizer's state to
:math:`z' = A z + B g`, where :math:`g` is the gradient. On a quadratic loss with Hessian
:math:`c H` that is :math:`g = c H w`. A change that turns over at every step, :math:`z' = -z`,
obeys :math:`(1 + A) z = -B g`, so that

.. math:: w = c\, K H w, \qquad K g = -\left[(1 + A)^{-1} B g\right]_w

The smallest factor :math:`c > 0` at which the step has the eigenvalue -1, and beyond which it
oscillates and grows, is therefore one over the largest eigenvalue of :math:`K H`. Plain descent
has :math:`K = \eta / 2`, heavy ball :math:`\eta / (2 + 2 \beta)`, and Adam
:math:`\eta (1 - \beta_1) / (2 + 2 \beta_1) P^{-1}` with the preconditioner
:math:`P = \mathrm{diag}(\sqrt{\hat v} + \epsilon)` that it has at that step.

References:
  Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability",
  ICLR 2021, and "Adaptive gradient methods at the edge of stability", arXiv 2207.14484.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from chainrule.descent import _krylov, updates
from chainrule.descent._arguments import Loss, hessian

_TOLERANCE = 1e-3  # of a residual: that of a symmetric map's eigenvalue is its square


def measure(
    loss: Loss,
    params: PyTree,
    optimizer: optax.GradientTransformation,
    opt_state: PyTree,
    plain: Array,
    step: Array,
    *,
    size: int,
    sweeps: int,
) -> tuple[_krylov.Eigen, _krylov.Eigen]:
    """Return the largest eigenvalues of H, found from the vectors ``plain``, and of K H."""
    (value, grads), curve = jax.value_and_grad(loss)(params), hessian(loss, params)
    answer = response(optimizer, params, opt_state, value, grads)
    search = functools.partial(_krylov.largest, size=size, sweeps=sweeps, tolerance=_TOLERANCE)
    return (
        search(_krylov.flat(curve, params), plain, symmetric=True),
        search(_krylov.flat(lambda v: answer(curve(v)), params), step, symmetric=False),
    )


def response(
    optimizer: optax.GradientTransformation,
    params: PyTree,
    opt_state: PyTree,
    value: Float[Array, ""],
    grads: PyTree,
) -> Callable[[PyTree], PyTree]:
    """Return the map K, from gradients to changes of the parameters, in trees like ``params``.

    Args:
      optimizer: a black box.
      params: where it is.
      opt_state: its state there; what is not floating-point in it stands still.
      value: the loss there.
      grads: the gradient there, which tells a step that answers it without a derivative.
    """
    leaves, tree = jax.tree.flatten(opt_state)
    moving = {i: x for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating)}

    def step(params: PyTree, floats: dict[int, Array], grads: PyTree) -> tuple[PyTree, PyTree]:
        state = jax.tree.unflatten(tree, [floats.get(i, x) for i, x in enumerate(leaves)])
        params, after = updates.update(
            optimizer, grads, state, params, value=value, value_fn=lambda _: value
        )
        after = jax.tree.leaves(after)
        return params, {i: after[i] for i in floats}

    fresh = jax.tree.leaves(updates.init(optimizer, params))
    begun = _any(jnp.not_equal, moving, {i: fresh[i] for i in moving})
    at = (params, jax.tree.map(lambda x: jnp.where((x == 0) & begun, _small(x.dtype), x), moving))
    _, linear = jax.linearize(step, *at, jax.tree.map(jnp.zeros_like, params))
    eps = min(jnp.finfo(leaf.dtype).eps for leaf in jax.tree.leaves(params))
    rounds = math.ceil(-math.log(eps) / math.log(3))

    def answer(g: PyTree) -> PyTree:
        def closer(_: Array, z: Any) -> Any:
            to = linear(*jax.tree.map(jnp.negative, z), g)  # B g - A z
            return jax.tree.map(lambda z, to: z + 2 / 3 * (to - z), z, to)

        # The eigenvalues of A are those of averages, within [0, 1]: each round leaves a third of
        # the error at most.
        start = jax.tree.map(jnp.zeros_like, at)
        return jax.tree.map(jnp.negative, jax.lax.fori_loop(0, rounds, closer, start)[0])

    # A step that takes the gradient's sign has the derivative 0, and moves all the same.
    moves = _any(jnp.not_equal, step(*at, grads)[0], params)
    felt = _any(lambda a: a != 0, answer(grads))
    known = jnp.where(moves & ~felt, jnp.nan, 1)
    return lambda g: jax.tree.map(lambda a: a * known.astype(a.dtype), answer(g))


def _small(dtype: jnp.dtype) -> Array:
    """Return what stands in for the zeros of a state, so small that nothing else changes.

    A mean of squares is 0 until its parameter gets a gradient, as that of a weight between a pixel
    that is nearly always black and a ReLU. It stands still, but the slope of its root at 0 is
    infinite, and 0 times that is NaN.
    """
    return jnp.array(jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps, dtype)  # no zero once it fades


def _any(of: Callable[..., Array], *trees: PyTree) -> Array:
    found = jax.tree.map(lambda *leaves: jnp.any(of(*leaves)), *trees)
    return jnp.any(jnp.array(jax.tree.leaves(found), bool))
