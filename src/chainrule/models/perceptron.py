r"""The perceptron: Rosenblatt's rule, as the notes give it, and fast.

.. math::
   w \leftarrow 0; \qquad \text{for each example in order: if } y \, (w \cdot x) \le 0
   \text{ then } w \leftarrow w + y \, x

`update` is the rule for one example, `path` returns the weights after each example, and `fit` takes
the same walk over a data set, sequential only at the mistakes.

References:
  Rosenblatt, The perceptron: a probabilistic model for information storage, 1958.
  Novikoff, On convergence proofs for perceptrons, 1962.
  Freund and Schapire, Large margin classification using the perceptron algorithm, 1999.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["Errors", "Features", "Fit", "apply", "fit", "path", "update"]
__dir__ = __all__.copy

Features = Callable[[Array], Array]
"""From inputs to the features that the weights multiply."""

# Examples tested with one product: few enough for their features to stay in the cache while the
# weights change, and for little of the product to be lost when they do.
_BLOCK = 32

_MOST_EPOCHS = 2**24  # there are a few numbers for each
_MOST_KEPT = 2**28  # numbers, 1 GiB


class Errors(NamedTuple):
    """Fractions of examples with ``y (w . x) <= 0`` after each epoch.

    Attributes:
      train: on the training set, in [0, 1], ``[max_epochs]``.
      test: on the test set, in [0, 1], ``[max_epochs]``; None where none was given.
    """

    train: Float[Array, " max_epochs"]
    test: Float[Array, " max_epochs"] | None


class Fit(NamedTuple):
    r"""The weights that `fit` found, and the course of its epochs.

    After the last epoch run, the rows hold no changes and the same errors, as further epochs would.

    Attributes:
      weights: the last weights, ``[m]``; the bias, if there is one, is the last of them.
      averaged: the mean of the weights after each example seen, ``[m]``.
      changes: how often each epoch changed the weights, int32 ``[max_epochs]``.
      errors: the `Errors` of `weights` after each epoch.
      epochs: how many were run, int32.
      converged: whether the last epoch run changed nothing. If not, ``max_epochs`` was reached, and
        ``averaged`` is the steadier answer: the last weights still change from example to example.
      margin: :math:`\gamma = \min_i y_i (w \cdot x_i) / \|w\|` over the training set, in the units
        of the features: positive where `weights` separate the set, and then the distance of the
        closest example from the hyperplane.
      radius: :math:`R = \max_i \|x_i\|`, in the same units.
      bound: Novikoff's :math:`(R / \gamma)^2`, which the total number of changes cannot exceed;
        infinite where the margin is not positive.
    """

    weights: Float[Array, " m"]
    averaged: Float[Array, " m"]
    changes: Int[Array, " max_epochs"]
    errors: Errors
    epochs: Int[Array, ""]
    converged: Bool[Array, ""]
    margin: Float[Array, ""]
    radius: Float[Array, ""]
    bound: Float[Array, ""]


def apply(
    weights: Float[AnyArray, " m"],
    inputs: Num[AnyArray, "batch ..."],
    *,
    features: Features | None = None,
) -> Float[Array, " batch"]:
    r"""Return the scores: the class is their sign, and 0 is a mistake for either class.

    .. math::
       w \cdot x \qquad \text{or, with a bias,} \qquad w_{1 \dots m - 1} \cdot x + w_m

    Args:
      weights: ``[m]``, one a feature, and one more, the last, where `fit` was given a bias.
      inputs: ``[batch, ...]``, as in `fit`.
      features: as in `fit`.

    Returns:
      The scores, ``[batch]``.

    Raises:
      ValueError: there are neither as many features as weights nor one fewer.

    Example:
      >>> inputs = jnp.array([[1.0, 1.0], [0.0, 3.0]])
      >>> apply(jnp.array([2.0, -1.0]), inputs)
      Array([ 1., -3.], dtype=float32)
      >>> apply(jnp.array([2.0, -1.0, 10.0]), inputs)
      Array([11.,  7.], dtype=float32)
    """
    _require.arrays(weights=weights, inputs=inputs)
    width = _width(inputs, features)
    if weights.shape not in ((width,), (width + 1,)):
        raise ValueError(
            f"{width} features take {width} weights, or {width + 1} with a bias, "
            f"got weights {weights.shape}"
        )
    return _scores(weights, inputs, bias=weights.shape[0] > width, features=features)


def update(
    weights: Float[AnyArray, " m"], example: Float[AnyArray, " m"], target: Num[AnyArray, ""]
) -> Float[Array, " m"]:
    r"""Apply the rule to one example.

    .. math::
       w + y \, x \text{ if } y \, (w \cdot x) \le 0 \text{, else } w

    Args:
      weights: ``[m]``.
      example: ``[m]``.
      target: -1 or +1.

    Returns:
      The weights after it, ``[m]``.

    Raises:
      ValueError: the shapes of the weights and the example differ.

    Example:
      >>> example, target = jnp.array([3.0, 1.0]), jnp.array(-1)
      >>> weights = update(jnp.zeros(2), example, target)
      >>> weights, update(weights, example, target)
      (Array([-3., -1.], dtype=float32), Array([-3., -1.], dtype=float32))
    """
    _require.arrays(weights=weights, example=example, target=target)
    _require.same_shape("one weight a feature", weights=weights, example=example)
    if target.shape != ():
        raise ValueError(f"target {target.shape}: it must be one number, -1 or +1")
    y = target.astype(weights.dtype)
    return jnp.where(y * _dot(example, weights) <= 0, weights + y * example, weights)


def path(
    inputs: Num[AnyArray, "examples ..."],
    targets: Num[AnyArray, "..."],
    epochs: int,
    *,
    bias: bool = False,
) -> Float[Array, "steps m"]:
    """Return the weights after every single example: the plain rule, for small sets.

    Args:
      inputs: one row an example, ``[N, m]``, in the order in which they are walked.
      targets: -1 or +1, ``[N]``.
      epochs: how often they are walked, at least 1.
      bias: whether a constant input of 1 is appended.

    Returns:
      ``[epochs * N + 1, m]``, the start included; two rows differ where a mistake was corrected.

    Raises:
      ValueError: as `fit`.

    Example:
      >>> path(jnp.array([[1.0, 2.0], [3.0, 1.0]]), jnp.array([1, -1]), epochs=1).tolist()
      [[0.0, 0.0], [1.0, 2.0], [-2.0, 1.0]]
    """
    _require.flag("bias", bias)
    _check(inputs, targets)
    kept = len(inputs) * (_width(inputs, None) + bias)
    why = f"an epoch keeps {kept} numbers"
    epochs = _require.count("epochs", epochs, most=max(1, _MOST_KEPT // kept), why=why)
    x, targets = _rows(jnp.asarray(inputs), bias, None), jnp.asarray(targets)

    def step(weights: AnyArray, i: AnyArray) -> tuple[Array, Array]:
        weights = update(weights, x[i], targets[i])
        return weights, weights

    start = jnp.zeros(x.shape[1], x.dtype)
    _, weights = jax.lax.scan(step, start, jnp.tile(jnp.arange(len(x)), epochs))
    return jnp.concatenate([start[None, :], weights])


def fit(
    inputs: Num[AnyArray, "examples ..."],
    targets: Num[AnyArray, "..."],
    max_epochs: int,
    *,
    test: tuple[Num[AnyArray, "..."], Num[AnyArray, "..."]] | None = None,
    bias: bool = False,
    key: PRNGKeyArray | None = None,
    features: Features | None = None,
) -> Fit:
    """Walk the examples in order and correct every mistake, until an epoch makes none.

    The weights change at mistakes only: a block of examples is tested with one product, and after
    its first mistake with another. So the weights are those of the plain loop: to the last bit on
    integer features while every ``sum_i |w_i x_i|`` stays below 2^24 (2^53 in float64), and beyond
    that as long as rounding changes the sign of no score.

    Works under `jax.jit`, with ``max_epochs``, ``bias`` and ``features`` static, and under
    `jax.vmap`.

    Args:
      inputs: ``[N, ...]``; without ``features``, one row an example, ``[N, m]``. Integers, such as
        raw pixels, become floats block by block.
      targets: -1 or +1, ``[N]``.
      max_epochs: when to stop, at least 1: on a set that is not separable the rule never converges.
      test: inputs and targets, on which the error after each epoch is measured as well.
      bias: whether a constant feature of 1 is appended; its weight is the last.
      key: None walks the examples in their order; a key shuffles them anew in each epoch, by
        ``jax.random.permutation(jax.random.fold_in(key, epoch), N)``.
      features: maps a block of inputs, ``[block, ...]``, row by row to features, ``[block, m]``, so
        that those of all examples never exist at once. It is compiled in: pass the same function
        object again, not another with the same code.

    Returns:
      A `Fit`.

    Raises:
      ValueError: targets are not -1 or +1, or not one an input; inputs are not finite, not rows,
        or there are none; features are not finite or not rows; a test set has another shape;
        ``key`` is no key; there is no epoch.

    Example:
      >>> inputs = jnp.array([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]])
      >>> found = fit(inputs, jnp.array([1, -1, -1]), max_epochs=10)
      >>> found.weights, bool(found.converged), found.changes.tolist()
      (Array([ 3., -2.], dtype=float32), True, [3, 1, 0, 0, 0, 0, 0, 0, 0, 0])
      >>> xor = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([-1, 1, 1, -1])
      >>> bool(fit(*xor, max_epochs=1000, bias=True).converged)
      False
      >>> with_product = lambda x: jnp.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1]], axis=1)
      >>> bool(fit(*xor, max_epochs=1000, bias=True, features=with_product).converged)
      True
    """
    max_epochs = _require.count("max_epochs", max_epochs, most=_MOST_EPOCHS)
    _require.flag("bias", bias)
    if key is not None:
        _require.one_key(key)
    _check(inputs, targets)
    _width(inputs, features)
    if test is not None:
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise ValueError(f"test must be inputs and targets, not {_require.kind(test)}")
        _check(*test, prefix="test ")
        if test[0].shape[1:] != inputs.shape[1:]:
            raise ValueError(
                "inputs and test inputs may differ in number only, got shapes "
                f"{inputs.shape} and {test[0].shape}"
            )
    settings: dict[str, Any] = {"bias": bias, "features": features}
    found = _fit(inputs, targets, test, key, max_epochs=max_epochs, **settings)
    # The largest norm is not finite where any feature is not.
    _require.within("features", found.radius, why="this is the norm of an example")
    return found


@functools.partial(jax.jit, static_argnames=("max_epochs", "bias", "features"))
def _fit(
    inputs: AnyArray,
    targets: AnyArray,
    test: tuple[AnyArray, AnyArray] | None,
    key: Array | None,
    *,
    max_epochs: int,
    bias: bool,
    features: Features | None,
) -> Fit:
    rows = functools.partial(_rows, bias=bias, features=features)
    scores = functools.partial(_scores, bias=bias, features=features)
    zero = jnp.zeros_like(rows(inputs[:1])[0])
    sets = [(inputs, targets)] if test is None else [(inputs, targets), test]
    sets = [(x, y.astype(zero.dtype)) for x, y in sets]
    n = len(inputs)

    def unfinished(carry: Any) -> Array:
        epoch, changes = carry[0], carry[3]
        return (epoch < max_epochs) & ((epoch == 0) | (changes[epoch - 1] > 0))

    def run(carry: Any) -> Any:
        epoch, weights, total, changes, errors, _ = carry
        order = None if key is None else jax.random.permutation(jax.random.fold_in(key, epoch), n)
        weights, mean, made = _walk(weights, *sets[0], rows, order)
        products = [y * scores(weights, x) for x, y in sets]
        wrong = jnp.stack([jnp.mean(p <= 0, dtype=zero.dtype) for p in products])
        changes, errors = changes.at[epoch].set(made), errors.at[:, epoch].set(wrong)
        return epoch + 1, weights, total + mean, changes, errors, jnp.min(products[0])

    changes = jnp.zeros(max_epochs, jnp.int32)
    errors = jnp.zeros((len(sets), max_epochs), zero.dtype)
    start = (jnp.array(0, jnp.int32), zero, zero, changes, errors, zero[0])
    epochs, weights, total, changes, errors, least = jax.lax.while_loop(unfinished, run, start)

    ran = jnp.arange(max_epochs, dtype=jnp.int32) < epochs
    errors = jnp.where(ran[None, :], errors, errors[:, epochs - 1][:, None])
    norm = jnp.linalg.norm(weights)
    margin = least / jnp.where(norm > 0, norm, 1)
    radius = jnp.max(_each_block(lambda x: jnp.linalg.norm(rows(x), axis=1), inputs, features))
    return Fit(
        weights=weights,
        averaged=total / epochs.astype(zero.dtype),
        changes=changes,
        errors=Errors(errors[0], None if test is None else errors[1]),
        epochs=epochs,
        converged=changes[epochs - 1] == 0,
        margin=margin,
        radius=radius,
        bound=jnp.where(margin > 0, (radius / jnp.where(margin > 0, margin, 1)) ** 2, jnp.inf),
    )


def _walk(
    weights: AnyArray, inputs: AnyArray, targets: AnyArray, rows: Features, order: AnyArray | None
) -> tuple[Array, Array, Array]:
    """Walk the examples once; return the weights, their mean and the number of changes.

    The mean over the n examples needs no sum over them: it is the last weights less the lag, the
    sum of all ``change t / n``, since t examples came before that change.
    """
    n = len(inputs)
    size = min(_BLOCK, n)

    def walk_block(b: AnyArray, carry: Any) -> Any:
        # The last block is as long as the others: it begins with examples already walked.
        start = jnp.minimum(b * size, n - size)

        def take(array: AnyArray) -> Array:
            if order is None:
                return jax.lax.dynamic_slice_in_dim(array, start, size)
            return array[jax.lax.dynamic_slice_in_dim(order, start, size)]

        x, y = rows(take(inputs)), take(targets)

        def next_mistake(weights: AnyArray, i: AnyArray) -> Array:
            mistakes = (y * _dot(x, weights) <= 0) & (jnp.arange(size) >= i)
            return jnp.where(mistakes.any(), jnp.argmax(mistakes), size)

        def mend(carry: Any) -> Any:
            i, weights, lag, made = carry
            change = y[i] * x[i]
            weights, lag = weights + change, lag + (start + i).astype(x.dtype) * change
            return next_mistake(weights, i + 1), weights, lag, made + 1

        first = next_mistake(carry[0], b * size - start)
        return jax.lax.while_loop(lambda c: c[0] < size, mend, (first, *carry))[1:]

    carry = (weights, jnp.zeros_like(weights), jnp.array(0, jnp.int32))
    final, lag, made = jax.lax.fori_loop(0, -(-n // size), walk_block, carry)
    return final, final - lag / n, made


@functools.partial(jax.jit, static_argnames=("bias", "features"))
def _scores(weights: AnyArray, inputs: AnyArray, *, bias: bool, features: Features | None) -> Array:
    def score(x: AnyArray) -> Array:
        x = _rows(x, False, features)
        # A column of ones would copy all inputs.
        return _dot(x, weights[:-1]) + weights[-1] if bias else _dot(x, weights)

    return _each_block(score, inputs, features)


def _each_block(
    f: Callable[[AnyArray], Array], inputs: AnyArray, features: Features | None
) -> Array:
    """Return ``f(inputs)``, one number an input, block by block where features are to be made.

    Where the inputs are the features, all cores can read them at once.
    """
    n = len(inputs)
    if n <= _BLOCK or (features is None and jnp.issubdtype(inputs.dtype, jnp.floating)):
        return f(inputs)
    blocks = -(-n // _BLOCK)
    starts = jnp.minimum(jnp.arange(blocks) * _BLOCK, n - _BLOCK)  # as in `_walk`
    out = jax.lax.map(lambda i: f(jax.lax.dynamic_slice_in_dim(inputs, i, _BLOCK)), starts)
    return jnp.concatenate([out[:-1].reshape(-1), out[-1, blocks * _BLOCK - n :]])


def _rows(inputs: AnyArray, bias: bool, features: Features | None) -> Array:
    """Return the features of a block as floats, one row an input, the constant last."""
    x = jnp.asarray(inputs)
    x = x if features is None else features(x)
    _require.arrays(features=x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(jnp.result_type(float))
    return jnp.pad(x, ((0, 0), (0, 1)), constant_values=1) if bias else x


def _dot(x: AnyArray, weights: AnyArray) -> Array:
    # At the default precision accelerators round the factors of a product, integers among them.
    return jnp.matmul(x, weights, precision="highest")


def _width(inputs: AnyArray, features: Features | None) -> int:
    if features is not None:
        _require.function("features", features, "of a block of inputs")
    if inputs.ndim == 0:
        raise ValueError("inputs of shape (): they must be one row an example")
    x = jax.eval_shape(functools.partial(_rows, bias=False, features=features), inputs[:2])
    if x.ndim != 2 or len(x) != len(inputs[:2]):
        raise ValueError(
            f"{'inputs' if features is None else 'features'} must be one row an example, "
            f"got shape {x.shape} for {len(inputs[:2])} inputs of shape {inputs.shape[1:]}"
        )
    return x.shape[1]


def _check(inputs: AnyArray, targets: AnyArray, *, prefix: str = "") -> None:
    _require.arrays(**{f"{prefix}inputs": inputs, f"{prefix}targets": targets})
    if inputs.ndim < 2 or len(inputs) == 0:
        raise ValueError(f"{prefix}inputs must be [N, ...] with N > 0, got shape {inputs.shape}")
    if targets.shape != inputs.shape[:1]:
        raise ValueError(
            f"{prefix}targets must be one an input, got {prefix}inputs of shape {inputs.shape} "
            f"and {prefix}targets of shape {targets.shape}"
        )
    _require.among(f"{prefix}targets", targets, (-1, 1))
    _require.within(f"{prefix}inputs", inputs)
