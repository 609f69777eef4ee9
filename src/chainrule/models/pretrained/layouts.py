"""The parameters of a stack under the names and in the layout of PyTorch.

PyTorch has the channels first: convolutions ``[D, C, *window]``, linear maps ``[D, in]``, and the
``in`` of the first linear map counts channels, rows, columns where ours counts rows, columns,
channels.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from chainrule import _require
from chainrule.data.tensors import Stored, pieces
from chainrule.models import stack
from chainrule.models.stack import Conv, Norm, Row, Tree

__all__ = ["from_torch", "to_torch"]
__dir__ = __all__.copy

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}
_ALIGNED = 64  # bytes
_COUNTER = ".num_batches_tracked"  # PyTorch counts the batches, we do not


class _Tensor(NamedTuple):
    """One array in both layouts.

    Attributes:
      path: ``"block1/conv2/kernel"``.
      running: whether it is in the state, not in the parameters.
      ours: its shape here.
      theirs: its shape in PyTorch.
      grid: ``[D, C, *window]``, between the two layouts, if it is a kernel; else ``()``.
    """

    path: str
    running: bool
    ours: tuple[int, ...]
    theirs: tuple[int, ...]
    grid: tuple[int, ...] = ()


def from_torch(
    tensors: Mapping[str, Any],
    names: Mapping[str, str],
    rows: Sequence[Row],
    input_shape: tuple[int, ...],
) -> tuple[Tree, Tree]:
    """Return the parameters and the running statistics that are stored in PyTorch's layout.

    Args:
      tensors: name to array, as a ``state_dict()`` has them, or to `chainrule.data.tensors.Stored`
        arrays, of which a few rows are read at a time.
      names: from the name of each row that has parameters to the name of its tensors, without
        ``.weight`` and ``.bias``.
      rows: the architecture.
      input_shape: that of one input, ``(*space, channels)``.

    Returns:
      Parameters and state for `chainrule.models.stack.apply`, float32.

    Raises:
      ValueError: tensors are missing, unexpected, of another shape or not floating-point; the
        error lists all of them.
    """
    _require.instance("tensors", tensors, Mapping, "a mapping of names to arrays")
    if strangers := [name for name in tensors if not isinstance(name, str)]:
        raise ValueError(f"tensors holds {strangers}: names must be text")
    expected = _tensors(names, rows, input_shape)
    arrays = {
        name: a if isinstance(a, Stored) else np.asarray(a)
        for name, a in tensors.items()
        if not name.endswith(_COUNTER)
    }
    wrong = [f"{name} is missing" for name in expected if name not in arrays]
    wrong += [f"{name} is not expected" for name in arrays if name not in expected]
    for name, array in arrays.items():
        if name not in expected:
            continue
        *_, shape, grid = expected[name]
        # timm writes a linear map as a convolution that has one position.
        if array.shape not in (shape, grid or shape, (*shape, 1, 1) if grid else shape):
            wrong.append(f"{name} is {array.shape}, expected {shape}")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            wrong.append(f"{name} is {array.dtype}, expected floating-point numbers")
    if wrong:
        raise ValueError(
            f"{len(wrong)} tensors do not fit, is this another network?\n  " + "\n  ".join(wrong)
        )
    flat: tuple[Tree, Tree] = ({}, {})
    for name, (path, running, ours, _, grid) in expected.items():
        flat[running][path] = _moved(arrays[name], ours, grid)
    params, state = (unflatten_dict(leaves, sep="/") for leaves in flat)
    return params, state


def _moved(array: Any, ours: tuple[int, ...], grid: tuple[int, ...]) -> Array:
    """Return an array in our layout and in float32; beside the result it takes little memory."""
    # JAX takes memory that begins at such a multiple as it is, on a CPU.
    raw = np.empty(4 * math.prod(ours) + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    result = raw[start : start + 4 * math.prod(ours)].view(np.float32).reshape(ours)
    target = result.reshape(*grid[2:], grid[1], grid[0]) if grid else result.reshape(ours or (1,))
    first = 0
    for part in pieces(array):
        last = first + (part.shape[0] if part.shape else 1)
        if grid:
            moved = np.moveaxis(part.reshape(-1, *grid[1:]), (0, 1), (-1, -2))
            target[..., first:last] = moved
        else:
            target[first:last] = part
        first = last
    return jax.device_put(result)


def to_torch(
    params: Tree,
    state: Tree,
    names: Mapping[str, str],
    rows: Sequence[Row],
    input_shape: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """Return parameters and running statistics in PyTorch's layout: the inverse of `from_torch`.

    Raises:
      ValueError: arrays are missing or have another shape than the rows make for such an input; the
        error lists all of them.
    """
    _require.instance("params", params, dict, "the dict of layers that init returns")
    _require.instance("state", state, dict, "the dict of statistics that init_state returns")
    flat = [_flat("params", params), _flat("state", state)]
    expected = _tensors(names, rows, input_shape)
    shapes = {path: np.shape(leaf) for leaves in flat for path, leaf in leaves.items()}
    if wrong := [
        f"{path} is {shapes.get(path, 'missing')}, expected {ours}"
        for path, _, ours, *_ in expected.values()
        if shapes.get(path) != ours
    ]:
        raise ValueError(
            f"params: {len(wrong)} arrays do not fit inputs of {input_shape}:\n  "
            + "\n  ".join(wrong)
        )
    tensors = {}
    for name, (path, running, _, theirs, grid) in expected.items():
        array = np.asarray(flat[running][path])
        if grid:
            array = np.moveaxis(array.reshape(*grid[2:], grid[1], grid[0]), (-1, -2), (0, 1))
        tensors[name] = np.ascontiguousarray(array.reshape(theirs))
    return tensors


def _flat(name: str, tree: Tree) -> Tree:
    if strangers := [key for key in tree if not isinstance(key, str)]:
        raise ValueError(f"{name} holds {strangers}: names must be text")
    return cast(Tree, flatten_dict(tree, sep="/"))


def _tensors(
    names: Mapping[str, str], rows: Sequence[Row], input_shape: tuple[int, ...]
) -> dict[str, _Tensor]:
    """Return name to tensor, in the order of the rows."""
    _require.instance("names", names, Mapping, "a mapping of the names of rows to those of tensors")
    found = {}
    for row, inputs, params, _ in stack.steps(rows, input_shape):
        if params and row.name not in names:
            raise ValueError(f"names holds no {row.name!r}: it must name every row with parameters")
        for leaf, ours in params.items():
            theirs: tuple[int, ...] = ours
            grid: tuple[int, ...] = ()
            if leaf == "kernel":
                *window, channels, features = ours if isinstance(row, Conv) else (*inputs, ours[-1])
                grid = (features, channels, *window)
                theirs = grid if isinstance(row, Conv) else ours[::-1]
            name = f"{names[row.name]}.{_LEAVES[leaf]}"
            found[name] = _Tensor(f"{row.name}/{leaf}", False, ours, theirs, grid)
        if isinstance(row, Norm):
            for leaf, theirs_called in _STATISTICS.items():
                shape = params["scale"]
                name = f"{names[row.name]}.{theirs_called}"
                found[name] = _Tensor(f"{row.name}/{leaf}", True, shape, shape)
    return found
