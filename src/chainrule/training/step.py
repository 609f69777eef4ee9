"""One step of training: a pure function from a state and a batch to the next state."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from chainrule import _require
from chainrule.descent import updates

__all__ = [
    "Augment",
    "Metrics",
    "TrainState",
    "TrainingLoss",
    "create",
    "make_step",
    "unwrap_key",
    "wrap_key",
]
__dir__ = __all__.copy

TrainingLoss = Callable[
    [PyTree, PyTree, PyTree, Array], tuple[Array, tuple[PyTree, dict[str, Array]]]
]
"""``loss(params, state, batch, key) -> (scalar, (new_state, metrics))``"""
Augment = Callable[[Array, PyTree], PyTree]
"""``augment(key, batch) -> batch``"""
Metrics = dict[str, Array]
"""Numbers by name."""


class TrainState(flax.struct.PyTreeNode):
    """The state of a training between two steps: with the data, it determines all later steps.

    Attributes:
      step: int32 ``[]``, how many steps were taken.
      params: the parameters, a pytree of floating-point arrays.
      opt_state: the optimizer's state, a pytree.
      state: the model's own, for example batch statistics; ``{}`` if it has none.
      key: a typed key that never changes: step i draws from ``fold_in(key, i)``.
    """

    step: Any
    params: PyTree
    opt_state: PyTree
    state: PyTree
    key: Any


def create(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    key: PRNGKeyArray,
    state: PyTree = None,
) -> TrainState:
    """Return the state before the first step.

    Args:
      params: the parameters to start from, floating-point arrays.
      optimizer: any optax optimizer.
      key: the source of all randomness in the steps: augmentation, dropout.
      state: the model's batch statistics, if it has some.

    Raises:
      ValueError: a parameter is not floating-point, there is none, or ``key`` is not a key.

    Example:
      >>> start = create({"kernel": jnp.ones(3)}, optax.sgd(0.1), key=jax.random.key(0))
      >>> int(start.step), start.state
      (0, {})
    """
    _require.one_key(key)
    params = _require.floating(params)
    return TrainState(
        jnp.int32(0), params, _init(optimizer, params), {} if state is None else state, key
    )


def make_step(
    loss: TrainingLoss,
    optimizer: optax.GradientTransformation,
    *,
    augment: Augment | None = None,
    accumulate: int = 1,
) -> Callable[[TrainState, PyTree], tuple[TrainState, Metrics]]:
    """Return ``step(train_state, batch) -> (train_state, metrics)``: pure, to be jitted or scanned.

    The metrics are those that the loss returns, and ``loss`` and ``grad_norm`` (the Euclidean norm
    of the whole gradient, before the optimizer), at the parameters *before* the step.

    Clipping and schedules belong to the optimizer: see `chainrule.training.optimizer`.

    Args:
      loss: ``loss(params, state, batch, key) -> (scalar, (new_state, metrics))``, the scalar a mean
        over the batch, the metrics a dict of scalars.
      optimizer: any optax optimizer.
      augment: ``augment(key, batch) -> batch``, applied first.
      accumulate: into how many equal parts the batch is split; they are processed one after
        another, in the memory of one part. Gradient, loss and metrics are the means over the parts,
        which are those of the batch if the loss is a mean; batch statistics see a part at a time.

    Returns:
      The step. When it is traced, it raises a ValueError if the loss returns anything else, or if
      ``accumulate`` does not divide the batch size.

    Example:
      >>> def loss(params, state, batch, key):
      ...     return jnp.mean((params - batch) ** 2), (state, {})
      >>> optimizer = optax.sgd(0.25)
      >>> step = jax.jit(make_step(loss, optimizer))
      >>> start = create(jnp.asarray(1.0), optimizer, key=jax.random.key(0))
      >>> end, metrics = step(start, jnp.asarray([2.0, 4.0]))
      >>> float(end.params), float(metrics["loss"]), float(metrics["grad_norm"])
      (2.0, 5.0, 4.0)
    """
    _require.function("loss", loss, "(params, state, batch, key) -> (scalar, (state, metrics))")
    if augment is not None:
        _require.function("augment", augment, "(key, batch) -> batch")
    _require.count("accumulate", accumulate)
    optimizer = updates.checked(optimizer)

    def step(train_state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        _check_opt_state(train_state, optimizer)
        keys = jax.random.split(jax.random.fold_in(train_state.key, train_state.step))
        if augment is not None:
            batch = augment(keys[0], batch)

        def at(params: PyTree, state: PyTree, batch: PyTree, key: Array) -> Any:
            result = loss(params, state, batch, key)
            _check_result(result, state)
            return result

        here = (train_state.params, train_state.state, batch, keys[1])
        if accumulate == 1:
            (value, (state, metrics)), grads = jax.value_and_grad(at, has_aux=True)(*here)
        else:
            (value, metrics), grads, state = _by_parts(at, accumulate, *here)
        params, opt_state = updates.update(
            optimizer,
            grads,
            train_state.opt_state,
            train_state.params,
            value=value,
            value_fn=lambda params: at(params, *here[1:])[0],
        )
        moved = train_state.replace(
            step=train_state.step + 1, params=params, opt_state=opt_state, state=state
        )
        return moved, {"loss": value, "grad_norm": optax.tree.norm(grads), **metrics}

    return step


def _by_parts(
    at: TrainingLoss, parts: int, params: PyTree, state: PyTree, batch: PyTree, key: Array
) -> Any:
    """Return the mean (loss, metrics) and gradient over the parts of a batch, and the new state."""
    size = jax.tree.leaves(batch)[0].shape[0]
    if size % parts:
        raise ValueError(f"accumulate={parts} does not divide the batch size {size}")
    cut = jax.tree.map(lambda leaf: leaf.reshape(parts, size // parts, *leaf.shape[1:]), batch)

    def part(carry: Any, at_part: Any) -> Any:
        state, total = carry
        batch, index = at_part
        (value, (state, metrics)), grads = jax.value_and_grad(at, has_aux=True)(
            params, state, batch, jax.random.fold_in(key, index)
        )
        return (state, jax.tree.map(jnp.add, total, ((value, metrics), grads))), None

    first = jax.tree.map(lambda leaf: leaf[0], cut)
    value, (_, metrics) = jax.eval_shape(at, params, state, first, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), ((value, metrics), params))
    (state, total), _ = jax.lax.scan(part, (state, zeros), (cut, jnp.arange(parts)))
    return *jax.tree.map(lambda x: x / parts, total), state


def _check_opt_state(train_state: TrainState, optimizer: optax.GradientTransformation) -> None:
    wanted = jax.eval_shape(lambda params: _init(optimizer, params), train_state.params)
    found, here = _listed(train_state.opt_state), _listed(wanted)
    if found != here:
        only = [
            ", ".join([*sorted(a - b)[:3], *["..."] * (len(a - b) > 3)]) or "nothing more"
            for a, b in ((found, here), (here, found))
        ]
        raise ValueError(
            f"train_state was created with another optimizer: its opt_state has {only[0]}, that of "
            f"this optimizer {only[1]}: give create and the training the same one"
        )


def _listed(tree: PyTree) -> set[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {f"{jax.tree_util.keystr(path)}:{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _init(optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    with jax.numpy_dtype_promotion("standard"):  # some optimizers mix dtypes
        return updates.init(updates.checked(optimizer), params)


def _check_result(result: object, state: PyTree) -> None:
    wanted = "a loss for training returns (scalar, (new_state, metrics))"
    match result:
        case (value, (new_state, dict(metrics))):
            scalars = {"the loss": value, **metrics}
        case _:
            raise ValueError(f"{wanted}, but this one returns {jax.tree.structure(result)}")
    if taken := {"loss", "grad_norm"} & metrics.keys():
        raise ValueError(f"the metrics hold {sorted(taken)}: every step adds these, rename yours")
    shapes = {name: jnp.shape(v) for name, v in scalars.items() if jnp.shape(v) != ()}
    if shapes:
        raise ValueError(f"{wanted}, all of them scalars, but the shapes are {shapes}: take a mean")
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(
            f"the loss is {jnp.result_type(value)}: it must be a floating-point number"
        )
    before: Any = jax.tree.structure(state)
    after: Any = jax.tree.structure(new_state)
    if before != after:
        raise ValueError(f"the loss turns the state {before} into {after}: return it in one form")


def unwrap_key(leaf: Any) -> jax.Array:
    """Return a leaf as an array of numbers: that of a key is its data."""
    leaf = jnp.asarray(leaf)
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def wrap_key(data: jax.Array, like: Any) -> jax.Array:
    """Return the leaf that `unwrap_key` made ``data`` of: a key where ``like`` is one."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
    return data
