r"""Siamese networks: several inputs through one network, compared by their embeddings.

The branches are not copies. There is one set of parameters, used once a branch, so that the
gradient is the sum of the branches' contributions: with the embeddings :math:`z_b = f(w, x_b)`,

.. math::
  \frac{\partial \ell}{\partial w} = \sum_b
    \Big( \frac{\partial f}{\partial w}(w, x_b) \Big)^\top \frac{\partial \ell}{\partial z_b}

Any ``apply(params, inputs) -> [N, dim]`` is an embedding. A batch holds the branches of a pair or a
triplet side by side, ``[N, branches, ...]``, as `chainrule.data.pairs` draws them. The distances
and the losses that compare them are in `chainrule.ops.distances` and `chainrule.losses`.

Example:
  >>> from chainrule import losses
  >>> from chainrule.models import mlp
  >>> embed = on_sphere(mlp.apply)
  >>> params = mlp.init(jax.random.key(0), (784, 32, 8))
  >>> images = jax.random.uniform(jax.random.key(1), (6, 2, 784))  # six pairs
  >>> same = jnp.array([True, False, True, False, True, False])
  >>> def loss(params):
  ...     return losses.contrastive(distances(params, images, embed), same)
  >>> jax.tree.map(jnp.shape, jax.grad(loss)(params)["layer2"])
  {'bias': (8,), 'kernel': (32, 8)}
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops.distances import euclidean, unit

__all__ = [
    "Embed",
    "anchor_distances",
    "apply",
    "apply_untied",
    "contributions",
    "distances",
    "init_untied",
    "on_sphere",
    "untie",
]
__dir__ = __all__.copy

_MOST_BRANCHES = 2**16

Embed = Callable[[PyTree, Array], Array]
"""``embed(params, inputs) -> embeddings``."""


def on_sphere(embed: Embed) -> Embed:
    """Return the embedding with its outputs divided by their lengths: no distance exceeds 2.

    Args:
      embed: ``embed(params, inputs) -> [N, dim]``.

    Example:
      >>> on_sphere(lambda params, x: params * x)(jnp.array(2.0), jnp.array([[3.0, 4.0]]))
      Array([[0.6, 0.8]], dtype=float32)
    """
    _require.function("embed", embed, "of the parameters and the inputs")

    def embed_on_sphere(params: PyTree, inputs: Array) -> Array:
        return unit(embed(params, inputs))

    return embed_on_sphere


def apply(
    params: PyTree, inputs: Float[AnyArray, "batch branches *shape"], embed: Embed
) -> Float[Array, "batch branches dim"]:
    """Embed every branch with the same parameters.

    All branches go through the network as one larger batch: the parameters are shared, and there is
    no second pass.

    Args:
      params: of the embedding.
      inputs: two branches for pairs, three for triplets, or more.
      embed: ``embed(params, inputs [N, ...]) -> [N, dim]``, each input for itself.

    Returns:
      One embedding an input.

    Raises:
      ValueError: the inputs have no axis of branches, or the embedding is not one row an input.

    Example:
      >>> apply(jnp.eye(3), jnp.ones((5, 2, 3)), lambda params, x: x @ params).shape
      (5, 2, 3)
    """
    _check_branches(inputs)
    batch, branches, *shape = inputs.shape
    return _embed(embed, params, inputs.reshape(batch * branches, *shape)).reshape(
        batch, branches, -1
    )


def distances(
    params: PyTree, inputs: Float[AnyArray, "batch 2 *shape"], embed: Embed
) -> Float[Array, " batch"]:
    """Return the distance between the two embeddings of every pair.

    It is symmetric in the two inputs, and its gradient is 0, not NaN, for an input paired with
    itself.

    Args:
      params: of the embedding.
      inputs: pairs.
      embed: as in `apply`.

    Raises:
      ValueError: as for `apply`, or the number of branches is not two.
    """
    z = apply(params, inputs, embed)
    if z.shape[1] != 2:
        raise ValueError(
            f"inputs {inputs.shape} have {z.shape[1]} branches: a distance takes two, [N, 2, ...]; "
            "of triplets, take anchor_distances"
        )
    return euclidean(z[:, 0], z[:, 1])


def anchor_distances(
    params: PyTree, inputs: Float[AnyArray, "batch 3 *shape"], embed: Embed
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Return the distances of every anchor to the positive and to the negative of its triplet.

    Args:
      params: of the embedding.
      inputs: triplets: anchor, positive, negative.
      embed: as in `apply`.

    Returns:
      Two distances a triplet, for `chainrule.losses.triplet`.

    Raises:
      ValueError: as for `apply`, or the number of branches is not three.

    Example:
      >>> points = jnp.array([[[0.0], [1.0], [5.0]]])
      >>> anchor_distances(None, points, lambda _, x: x)
      (Array([1.], dtype=float32), Array([5.], dtype=float32))
    """
    z = apply(params, inputs, embed)
    if z.shape[1] != 3:
        raise ValueError(f"inputs {inputs.shape} have {z.shape[1]} branches: a triplet has three")
    return euclidean(z[:, 0], z[:, 1]), euclidean(z[:, 0], z[:, 2])


def init_untied(key: PRNGKeyArray, init: Callable[[PRNGKeyArray], PyTree], branches: int) -> PyTree:
    """Draw separate parameters for every branch: what a siamese network is *not*.

    Args:
      key: the source of the numbers.
      init: ``init(key) -> params`` of one embedding.
      branches: how many, at least 1.

    Returns:
      ``{"branch1": params, "branch2": params, ...}`` for `apply_untied`.

    Raises:
      ValueError: ``key`` is no key, ``init`` no function, or there are no branches.
    """
    _require.one_key(key)
    _require.function("init", init, "of a key")
    branches = _require.count("branches", branches, most=_MOST_BRANCHES)
    keys = jax.random.split(key, branches)
    return {f"branch{b + 1}": init(keys[b]) for b in range(branches)}


def untie(params: PyTree, branches: int) -> PyTree:
    """Give every branch the same parameters under its own name.

    `apply_untied` of these equals `apply` of the shared parameters, and the gradients with respect
    to the branches are their contributions to the gradient with respect to the shared ones.

    Args:
      params: the shared parameters.
      branches: how many, at least 1.

    Raises:
      ValueError: there are no branches.
    """
    branches = _require.count("branches", branches, most=_MOST_BRANCHES)
    return {f"branch{b + 1}": params for b in range(branches)}


def apply_untied(
    params: Mapping[str, PyTree], inputs: Float[AnyArray, "batch branches *shape"], embed: Embed
) -> Float[Array, "batch branches dim"]:
    """Embed every branch with its own parameters.

    Args:
      params: ``{"branch1": ..., "branch2": ...}``.
      inputs: as many branches.
      embed: as in `apply`.

    Raises:
      ValueError: as for `apply`, or the parameters are not one set a branch.

    Example:
      >>> params = untie(jnp.eye(2), 3)
      >>> apply_untied(params, jnp.ones((5, 3, 2)), lambda params, x: x @ params).shape
      (5, 3, 2)
    """
    _check_branches(inputs)
    names = [f"branch{b + 1}" for b in range(inputs.shape[1])]
    found = list(params) if isinstance(params, Mapping) else [_require.kind(params)]
    if set(found) != set(names):
        raise ValueError(f"parameters {found} for inputs {inputs.shape}: expected {names}")
    z = [_embed(embed, params[name], inputs[:, b]) for b, name in enumerate(names)]
    return jnp.stack(z, axis=1)


def contributions(
    loss: Callable[[Float[Array, "batch branches dim"]], Float[Array, ""]],
    params: PyTree,
    inputs: Float[AnyArray, "batch branches *shape"],
    embed: Embed,
) -> dict[str, PyTree]:
    """Return the contribution of each branch to the gradient with respect to the shared parameters.

    Args:
      loss: a function of the embeddings.
      params: the shared parameters.
      inputs: one branch or more.
      embed: as in `apply`.

    Returns:
      ``{"branch1": gradient, ...}``. Their sum is the gradient with respect to ``params``.

    Raises:
      ValueError: as for `apply`.

    Example:
      The product of w a and w b is w^2 a b: each of the two uses of w gives w a b.

      >>> w, inputs = jnp.array([3.0]), jnp.array([[[2.0], [5.0]]])
      >>> contributions(lambda z: z[0, 0, 0] * z[0, 1, 0], w, inputs, lambda w, x: w[None, :] * x)
      {'branch1': Array([30.], dtype=float32), 'branch2': Array([30.], dtype=float32)}
    """
    _require.function("loss", loss, "of the embeddings")
    _check_branches(inputs)
    copies = untie(_require.floating(params), inputs.shape[1])

    def of_copies(copies: PyTree) -> Float[Array, ""]:
        return loss(apply_untied(copies, inputs, embed))

    _require.scalar_loss(of_copies, copies)
    return jax.grad(of_copies)(copies)


def _embed(embed: Embed, params: PyTree, inputs: AnyArray) -> Array:
    _require.function("embed", embed, "of the parameters and the inputs")
    z = embed(params, jnp.asarray(inputs))
    if not isinstance(z, jax.Array | np.ndarray):
        raise ValueError(f"embed must return an array, one row an input, not {_require.kind(z)}")
    if z.ndim != 2 or len(z) != len(inputs):
        raise ValueError(
            f"the embedding of inputs {inputs.shape} is {z.shape}: expected one row an input"
        )
    return z


def _check_branches(inputs: AnyArray) -> None:
    _require.arrays(inputs=inputs)
    if inputs.ndim < 3:
        raise ValueError(
            f"inputs {inputs.shape}: expected [batch, branches, ...], stack the branches on axis 1"
        )
