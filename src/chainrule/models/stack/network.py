"""A table of rows as a network: its parameters, its statistics and its outputs."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models.stack import rows as _rows
from chainrule.models.stack.rows import Dropout, Norm, Pool, Row

__all__ = ["Step", "Tree", "apply", "features", "init", "init_state", "steps"]
__dir__ = __all__.copy

Tree = dict[str, Any]
"""Layers, nested as their names are: ``{"block1": {"conv2": {"kernel": ..., "bias": ...}}}``"""

_MOST_PARAMETERS = 2**31  # 8 GiB in float32

_HE_NORMAL = _rows.as_matrix(jax.nn.initializers.he_normal())


def init(
    key: PRNGKeyArray,
    rows: Sequence[Row],
    input_shape: tuple[int, ...],
    *,
    kernel_init: Callable[..., Array] | None = None,
    dtype: Any = jnp.float32,
) -> Tree:
    r"""Draw the parameters of a network.

    Kernels are normal with the variance 2 / fan-in (He et al., 2015) unless ``kernel_init`` says
    otherwise, biases are 0, scales 1.

    Args:
      key: the source of the numbers.
      rows: the architecture.
      input_shape: that of one input, ``(*space, channels)``.
      kernel_init: draws the kernels, ``kernel_init(key, shape, dtype)``, as those of
        ``jax.nn.initializers`` do.
      dtype: of the parameters.

    Returns:
      The layers that have parameters, nested as their names are.

    Raises:
      ValueError: ``key`` is no key, two rows have one name, or a row does not fit its inputs, with
        its name: for example a pool whose window is larger than what the pools before it left.
    """
    _require.one_key(key)
    if kernel_init is not None:
        _require.function("kernel_init", kernel_init, "(key, shape, dtype) -> array")
    try:
        is_array = isinstance(dtype, jax.Array | np.ndarray)
        right = not is_array and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(f"dtype must be floating-point, such as jnp.float32, not {dtype!r}")
    draw = {
        "kernel": kernel_init or _HE_NORMAL,
        "bias": jax.nn.initializers.zeros,
        "scale": jax.nn.initializers.ones,
    }
    params: Tree = {}
    found = steps(rows, input_shape)
    size = sum(math.prod(shape) for step in found for shape in step.params.values())
    if size > _MOST_PARAMETERS:
        raise ValueError(
            f"rows for input_shape {input_shape} have {size:,} parameters, more than "
            f"{_MOST_PARAMETERS:,}: describe needs no memory"
        )
    for index, step in enumerate(found):
        if step.params:
            once = jax.random.fold_in(key, index)
            layer = {leaf: draw[leaf](once, shape, dtype) for leaf, shape in step.params.items()}
            _put(params, step.row.name, layer)
    return params


def init_state(params: Tree) -> Tree:
    """Return the running statistics that a network starts with: mean 0 and variance 1.

    Args:
      params: as `init` draws them.

    Returns:
      ``{"mean", "var"}`` for every `Norm` row, nested as the parameters; without such a row ``{}``.

    Example:
      >>> init_state({"conv": {"kernel": jnp.ones(3)}, "norm": {"scale": jnp.ones(1)}})
      {'norm': {'mean': Array([0.], dtype=float32), 'var': Array([1.], dtype=float32)}}
    """
    _require.instance("params", params, dict, "the dict of layers that init returns")
    state: Tree = {}
    for name, layer in params.items():
        if not isinstance(layer, dict):
            continue
        if "scale" in layer:
            scale = layer["scale"]
            # A running mean moves by less than half precision can tell.
            dtype = jnp.float32 if scale.dtype.itemsize < 4 else scale.dtype
            state[name] = {
                "mean": jnp.zeros(scale.shape, dtype),
                "var": jnp.ones(scale.shape, dtype),
            }
        elif inner := init_state(layer):
            state[name] = inner
    return state


def apply(
    params: Tree,
    inputs: Float[AnyArray, "batch *space channels"],
    rows: Sequence[Row],
    *,
    state: Tree | None = None,
    key: PRNGKeyArray | None = None,
    train: bool = False,
) -> Any:
    """Run the network.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, *space, channels]``.
      rows: the architecture.
      state: the running statistics, where the network has `Norm` rows.
      key: for the `Dropout` rows; without one nothing is dropped.
      train: whether the statistics are those of the batch, and `Dropout` rows use the key.

    Returns:
      The outputs of the last row; with ``train`` and a ``state`` also the state after this batch,
      ``(outputs, state)``.

    Raises:
      ValueError: inputs do not fit a row or its parameters, or parameters or a state are missing,
        with the name of the row.
    """
    outputs: AnyArray = inputs
    new_state: Tree = {}
    for name, outputs, statistics in _run(params, inputs, rows, state, key, train):  # noqa: B007
        if statistics:
            _put(new_state, name, statistics)
    outputs = jnp.asarray(outputs)  # with no row at all they are the inputs
    return (outputs, new_state) if train and state is not None else outputs


def features(
    params: Tree,
    inputs: Float[AnyArray, "batch *space channels"],
    rows: Sequence[Row],
    *,
    state: Tree | None = None,
) -> dict[str, Array]:
    """Run the network in evaluation mode and return the outputs of every row, by its name.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, *space, channels]``.
      rows: the architecture.
      state: the running statistics, where the network has `Norm` rows.

    Returns:
      ``{name: [batch, ...]}`` in the order of the rows.

    Raises:
      ValueError: as for `apply`.
    """
    return {name: outputs for name, outputs, _ in _run(params, inputs, rows, state, None, False)}


def _run(
    params: Tree,
    inputs: AnyArray,
    rows: Sequence[Row],
    state: Tree | None,
    key: PRNGKeyArray | None,
    train: bool,
) -> Iterator[tuple[str, Array, Tree]]:
    """Yield the name of each row, its outputs and, for a `Norm` row, its statistics."""
    _require.arrays(inputs=inputs)
    if key is not None:
        _require.one_key(key)
    _require.flag("train", train)
    for index, row in enumerate(_rows.checked(rows)):
        with _naming(row):
            layer = {} if isinstance(row, Pool | Dropout) else _get(params, row.name, "params")
            statistics = _get(state, row.name, "state") if isinstance(row, Norm) else {}
            once = jax.random.fold_in(key, index) if train and key is not None else None
            with jax.named_scope(row.name):  # what profiles and x-rays call it
                inputs, statistics = _rows.run(row, layer, statistics, inputs, once, train)
        yield row.name, inputs, statistics


class Step(NamedTuple):
    """A row with the shapes of one input, of the row's parameters and of its outputs."""

    row: Row
    inputs: tuple[int, ...]
    params: dict[str, tuple[int, ...]]
    outputs: tuple[int, ...]


def steps(rows: Sequence[Row], input_shape: tuple[int, ...]) -> list[Step]:
    """Follow the shape of one input through the rows.

    Raises:
      ValueError: as for `init`.
    """
    rows = _rows.checked(rows)
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"rows {names}: {sorted(twice)} twice: give every row its own name")
    found, shape = [], _require.sizes("input_shape", input_shape)
    if not shape:
        raise ValueError("input_shape (): give the axes of one input, (*space, channels)")
    for row in rows:
        with _naming(row, f" (input_shape {tuple(input_shape)})"):
            params = _rows.param_shapes(row, shape)
            as_arrays = {leaf: jax.ShapeDtypeStruct(s, jnp.float32) for leaf, s in params.items()}
            statistics = {leaf: as_arrays.get("scale") for leaf in ("mean", "var")}
            outputs, _ = jax.eval_shape(
                lambda *arrays, row=row: _rows.run(row, *arrays, key=None, train=False),
                as_arrays,
                statistics,
                jax.ShapeDtypeStruct((1, *shape), jnp.float32),
            )
        found.append(Step(row, shape, params, outputs.shape[1:]))
        shape = outputs.shape[1:]
    return found


@contextlib.contextmanager
def _naming(row: Row, where: str = "") -> Iterator[None]:
    """Begin every error with the name of the row, and end it with where it arose."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{row.name}: {error}{where}") from error


def _get(tree: Tree | None, name: str, argument: str) -> Tree:
    found: Any = tree
    for part in name.split("/"):
        if not isinstance(found, dict) or part not in found:
            raise ValueError(
                f"no {argument} of this name: pass what init and init_state return for these rows"
            )
        found = found[part]
    return cast(Tree, found)


def _put(tree: Tree, name: str, layer: Tree) -> None:
    *path, last = name.split("/")
    for part in path:
        tree = tree.setdefault(part, {})
    tree[last] = layer
