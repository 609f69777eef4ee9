"""Pooling: the largest or the mean value under a window that moves over the inputs.

Images are ``[batch, height, width, channels]``; with one axis or three between the batch and the
channels they work as well. Each channel is pooled separately.

Example:
  A maximum keeps a quarter of the values, and its gradient goes to the values that it kept:

  >>> import jax.numpy as jnp
  >>> inputs = jnp.arange(16.0).reshape(1, 4, 4, 1)
  >>> max_pool(inputs, 2)[0, ..., 0]
  Array([[ 5.,  7.],
         [13., 15.]], dtype=float32)
  >>> g = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, ..., None]
  >>> max_pool_backward(g, inputs, window=2)[0, ..., 0]
  Array([[0., 0., 0., 0.],
         [0., 1., 0., 2.],
         [0., 0., 0., 0.],
         [0., 3., 0., 4.]], dtype=float32)
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops import windows
from chainrule.ops._chunks import wide
from chainrule.ops.windows import Padding, PerAxis, Window

__all__ = [
    "avg_pool",
    "avg_pool_backward",
    "max_pool",
    "max_pool_backward",
    "max_pool_with_indices",
    "max_pool_with_indices_backward",
    "max_unpool",
    "max_unpool_backward",
]
__dir__ = __all__.copy

_MOST_TAPS = 2**16  # each is an operation of the program


def max_pool(
    inputs: Float[AnyArray, "batch *space channels"],
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch *outputs channels"]:
    r"""Keep the largest value under each position of the window.

    .. math::
      o_i = \max_k x_{i s + k d}

    At a tie the first maximum wins, the last axis running fastest, in value and gradient, as in
    PyTorch and in XLA's own pooling; the maximum over a reshape would split its gradient. NaN
    passes. Padding never wins.

    Args:
      inputs: x, ``[batch, *space, channels]`` with one to three axes of space.
      window: its size, one number for every axis of space or one for each.
      stride: s, from one position to the next; the window's size unless given.
      padding: a number for every side, one an axis (on both sides), a pair ``(lo, hi)`` an axis,
        ``"same"`` or ``"valid"``.
      dilation: d, from one tap of the window to the next.
      ceil_mode: whether to keep the positions at the end that the window only partly fills, as
        long as they begin on an input or in the padding before it.

    Returns:
      o, ``[batch, *outputs, channels]``, where an axis of n values gives
      ``(n + lo + hi - 1 - (window - 1) d) // s + 1``.

    Raises:
      ValueError: no or more than three axes of space, a window, stride or dilation below 1, a
        padding below 0 or so wide that some position holds nothing but padding, a window larger
        than the padded inputs or of more than 65,536 taps, or inputs that are not floating-point.

    Example:
      >>> max_pool(jnp.array([5.0, 5.0, 1.0, 2.0, 0.0, 7.0])[None, :, None], 3)[0, :, 0]
      Array([5., 7.], dtype=float32)
    """
    placed = _place("max_pool", inputs, window, stride, padding, dilation, ceil_mode)
    return _largest([jnp.asarray(inputs)], placed)[0]


def max_pool_backward(
    g: Float[AnyArray, "batch *outputs channels"],
    inputs: Float[AnyArray, "batch *space channels"],
    *,
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch *space channels"]:
    r"""Return the gradient of the inputs: each value gets ``g`` of the positions where it won.

    .. math::
      \frac{\partial \ell}{\partial x_j} = \sum_{i \,:\, j = \arg\max_i} g_i
    """
    placed = _place("max_pool_backward", inputs, window, stride, padding, dilation, ceil_mode)
    _require.incoming(g, (inputs.shape[0], *placed.outputs, inputs.shape[-1]))
    _, where = _max_and_place(inputs, placed)
    # The place under each tap: where it is the winner's, g goes back to it.
    places = windows.views(_places(placed), placed, -1)
    return windows.put_back([jnp.where(where == place, g, 0) for place in places], placed)


def max_pool_with_indices(
    inputs: Float[AnyArray, "batch *space channels"],
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> tuple[
    Float[Array, "batch *outputs channels"],
    Int[Array, "batch *outputs channels"],
]:
    """Return what `max_pool` does, and where each of the largest values was found.

    Args:
      inputs: as for `max_pool`, and so is everything else.
      window: its size.
      stride: from one position to the next.
      padding: around the inputs.
      dilation: from one tap to the next.
      ceil_mode: whether to keep the positions at the end that the window only partly fills.

    Returns:
      The values, and int32 indices of the same shape that count along the space of the inputs, the
      last axis running fastest: on ``[height, width]``, index ``row * width + column``.

    Raises:
      ValueError: as for `max_pool`.

    Example:
      >>> inputs = jnp.array([5.0, 5.0, 1.0, 2.0, 0.0, 7.0])[None, :, None]
      >>> values, indices = max_pool_with_indices(inputs, 3)
      >>> indices[0, :, 0]
      Array([0, 5], dtype=int32)
    """
    placed = _place("max_pool_with_indices", inputs, window, stride, padding, dilation, ceil_mode)
    return _max_and_place(inputs, placed)


def max_pool_with_indices_backward(
    g: Float[AnyArray, "batch *outputs channels"],
    inputs: Float[AnyArray, "batch *space channels"],
    *,
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch *space channels"]:
    """Return the gradient of the inputs; ``g`` is that of the values, the indices have none."""
    return max_pool_backward(
        g,
        inputs,
        window=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def max_unpool(
    inputs: Float[AnyArray, "batch *outputs channels"],
    indices: Int[AnyArray, "batch *outputs channels"],
    size: PerAxis,
) -> Float[Array, "batch *space channels"]:
    """Put values back to where a maximum was found, and 0 elsewhere.

    What `max_pool_with_indices` returns goes back to its place; what was not the largest is lost
    (Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014). Where
    windows overlap and several values go to one place, the last of them stays.

    Args:
      inputs: the values, ``[batch, *outputs, channels]``.
      indices: where each of them goes, of the same shape: counted along the space of the result,
        the last axis running fastest.
      size: of the space of the result, one number for every axis or one for each.

    Returns:
      ``[batch, *size, channels]``.

    Raises:
      ValueError: the shapes differ, the indices are no integers, or one of them lies outside.

    Example:
      >>> inputs = jnp.array([5.0, 5.0, 1.0, 2.0, 0.0, 7.0])[None, :, None]
      >>> max_unpool(*max_pool_with_indices(inputs, 3), 6)[0, :, 0]
      Array([5., 0., 0., 0., 0., 7.], dtype=float32)
    """
    found = _last_there("max_unpool", inputs, indices, size)
    flat = jnp.reshape(inputs, (inputs.shape[0], -1, inputs.shape[-1]))
    values = jnp.take_along_axis(flat, jnp.maximum(found, 0), axis=1)
    space = windows.per_axis("size", size, inputs.ndim - 2)
    return jnp.where(found < 0, 0, values).reshape(len(inputs), *space, inputs.shape[-1])


def max_unpool_backward(
    g: Float[AnyArray, "batch *space channels"],
    inputs: Float[AnyArray, "batch *outputs channels"],
    indices: Int[AnyArray, "batch *outputs channels"],
    *,
    size: PerAxis,
) -> tuple[Float[Array, "batch *outputs channels"], None]:
    """Return the gradient of the values: ``g`` at their places, 0 for one that did not stay."""
    found = _last_there("max_unpool_backward", inputs, indices, size)
    wanted = windows.per_axis("size", size, inputs.ndim - 2)
    _require.incoming(g, (inputs.shape[0], *wanted, inputs.shape[-1]))
    places = jnp.reshape(indices, (inputs.shape[0], -1, inputs.shape[-1]))
    mine = jnp.arange(places.shape[1], dtype=found.dtype)[None, :, None]
    stayed = jnp.take_along_axis(found, places, axis=1) == mine
    there = jnp.take_along_axis(jnp.reshape(g, found.shape), places, axis=1)
    return jnp.where(stayed, there, 0).reshape(inputs.shape), None


def _last_there(name: str, inputs: AnyArray, indices: AnyArray, size: PerAxis) -> Array:
    """Return for each place the number of the last value that goes there, -1 for none."""
    space = windows.space(name, inputs)
    _require.arrays(indices=indices)
    if indices.shape != inputs.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(
            f"{name}: indices {indices.dtype} {indices.shape} for inputs {inputs.shape}: give "
            "integers of the same shape, as max_pool_with_indices returns them"
        )
    wanted = windows.per_axis(f"{name}: size", size, len(space))
    most = math.prod(wanted)
    why = f"a result of {wanted} has {most} places"
    _require.within("indices", indices, least=0, most=most - 1, why=why)
    batch, channels = inputs.shape[0], inputs.shape[-1]
    places = jnp.reshape(indices, (batch, -1, channels))
    numbers = jnp.arange(places.shape[1], dtype=jnp.int32)[None, :, None]
    rows, columns = jnp.ogrid[:batch, :channels]
    nowhere = jnp.full((batch, most, channels), -1, jnp.int32)
    return nowhere.at[rows[:, None], places, columns[:, None]].max(
        jnp.broadcast_to(numbers, places.shape)
    )


def avg_pool(
    inputs: Float[AnyArray, "batch *space channels"],
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "batch *outputs channels"]:
    r"""Return the mean of the values under each position of the window.

    .. math::
      o_i = \frac{1}{n_i} \sum_k x_{i s + k d}

    Args:
      inputs: x, ``[batch, *space, channels]`` with one to three axes of space.
      window: its size, one number for every axis of space or one for each.
      stride: s, from one position to the next; the window's size unless given.
      padding: zeros around the inputs, given as for `max_pool`.
      dilation: d, from one tap of the window to the next.
      ceil_mode: whether to keep the positions at the end that the window only partly fills.
      count_include_pad: whether n counts the taps on the padding beside those on the inputs. Taps
        beyond the padding, which ``ceil_mode`` allows, are never counted.

    Returns:
      o, ``[batch, *outputs, channels]``.

    Raises:
      ValueError: as for `max_pool`.

    Example:
      >>> inputs = jnp.array([3.0, 6.0, 9.0])[None, :, None]
      >>> avg_pool(inputs, 2, padding=1)[0, :, 0]
      Array([1.5, 7.5], dtype=float32)
      >>> avg_pool(inputs, 2, padding=1, count_include_pad=False)[0, :, 0]
      Array([3. , 7.5], dtype=float32)
    """
    placed = _place("avg_pool", inputs, window, stride, padding, dilation, ceil_mode)
    counts = _counts(placed, count_include_pad, inputs.dtype)
    views = windows.views(jnp.asarray(inputs, counts.dtype), placed)
    return (functools.reduce(jnp.add, views) / counts).astype(inputs.dtype)


def avg_pool_backward(
    g: Float[AnyArray, "batch *outputs channels"],
    inputs: Float[AnyArray, "batch *space channels"],
    *,
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "batch *space channels"]:
    r"""Return the gradient of the inputs: ``g / n`` goes back to every value of its position.

    .. math::
      \frac{\partial \ell}{\partial x_j} = \sum_{i, k \,:\, j = i s + k d} g_i / n_i
    """
    placed = _place("avg_pool_backward", inputs, window, stride, padding, dilation, ceil_mode)
    _require.incoming(g, (inputs.shape[0], *placed.outputs, inputs.shape[-1]))
    counts = _counts(placed, count_include_pad, g.dtype)
    share = jnp.asarray(g, counts.dtype) / counts
    return windows.put_back([share] * math.prod(placed.size), placed).astype(g.dtype)


def _place(
    name: str,
    inputs: AnyArray,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Window:
    _require.flag("ceil_mode", ceil_mode)
    space = windows.space(name, inputs)
    size = windows.per_axis(f"{name}: window", window, len(space))
    if math.prod(size) > _MOST_TAPS:
        raise ValueError(
            f"{name}: a window of {size} has {math.prod(size):,} taps, more than {_MOST_TAPS:,}: "
            "reduce whole axes with jnp.max or jnp.mean"
        )
    placed = windows.place(
        name,
        space,
        size,
        stride=size if stride is None else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    if not all((last > first).all() for first, last in _inside(placed)):
        raise ValueError(
            f"{name}: a window of {size} with dilation {placed.dilation} and padding "
            f"{placed.padding} holds nothing but padding somewhere on inputs of {space}: "
            "take less padding or a larger window"
        )
    return placed


def _inside(placed: Window, padded: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each axis which taps of a position lie on the inputs: from first to before last.

    With the padding counted as inputs, all do but those that ``ceil_mode`` lets stand beyond it.
    """
    found = []
    for n, k, s, d, (lo, hi), out in zip(*placed, strict=True):
        start = np.arange(out) * s - lo
        first = np.zeros_like(start) if padded else np.clip(-(start // d), 0, k)
        last = np.clip(-((start - n - padded * hi) // d), 0, k)
        found.append((first, last))
    return found


def _counts(placed: Window, count_include_pad: bool, dtype: jnp.dtype) -> Array:
    """Return how many taps count at each position, [1, *outputs, 1], in `wide` precision."""
    _require.flag("count_include_pad", count_include_pad)
    inside = _inside(placed, padded=count_include_pad)
    counts = functools.reduce(np.multiply.outer, [last - first for first, last in inside])
    return jnp.asarray(counts[None, ..., None], wide(dtype))


def _max_and_place(inputs: AnyArray, placed: Window) -> tuple[Array, Array]:
    """Return the largest values and where they stand, counted along the space of the inputs."""
    values, where = _largest([jnp.asarray(inputs), _places(placed)], placed)
    return values, jnp.broadcast_to(where, values.shape)


def _largest(arrays: list[Array], placed: Window) -> list[Array]:
    """Return the largest values of the first array, and what stands at their places in the others.

    The last axis goes first: the first of the largest in its row, then the first such row, is the
    first of all. That takes the sum of the window's sides, and not their product, of comparisons.

    Forward and backward on two busy CPU cores, as parts of the time of ``lax.reduce_window``, the
    median of 5 to 9 turns in one process, and the same inside ``lax.scan``: cells of 3 x 3 on
    [100, 24, 24, 32] 0.10 and 0.11, of 2 x 2 on [100, 4, 4, 64] 0.12 and 0.09; windows of 3 x 3 on
    [20, 28, 28, 32] with stride 2 0.13 and 0.14 (all nine taps at once: 0.64 and 1.16), with
    stride 1 0.08 and 0.14.
    """
    for axis, (start, end) in reversed(list(enumerate(_inside(placed)))):
        one = _along(placed, axis)
        fills = (-np.inf, *(0 for _ in arrays[1:]))
        views = (windows.views(x, one, fill) for x, fill in zip(arrays, fills, strict=True))
        best, *others = map(list, zip(*views, strict=True))
        seen = start <= 0
        for tap, row in enumerate(others, start=1):
            wins = lax.gt(row[0], best[0]) | lax.ne(row[0], row[0])  # NaN wins
            # Where all before was padding the first input wins, also if it is minus infinity.
            inside = (start <= tap) & (tap < end)
            if (new := inside & ~seen).any():
                across = [-1 if a == axis + 1 else 1 for a in range(wins.ndim)]
                wins |= jnp.asarray(new).reshape(across)
            best = [
                lax.select(wins, *(jnp.broadcast_to(x, wins.shape) for x in pair))
                for pair in zip(row, best, strict=True)
            ]
            seen = seen | inside
        arrays = best
    return arrays


def _places(placed: Window) -> Array:
    """Number the places along the space of the inputs, the last axis running fastest."""
    places = jnp.arange(math.prod(placed.inputs), dtype=jnp.int32)
    return places.reshape(1, *placed.inputs, 1)


def _along(placed: Window, axis: int) -> Window:
    """Return the part of a window along one axis, when the axes behind it are done."""
    still = (1,) * len(placed.size)
    return Window(
        *(
            (*before[:axis], whole[axis], *after[axis + 1 :])
            for before, whole, after in (
                (placed.inputs, placed.inputs, placed.outputs),
                (still, placed.size, still),
                (still, placed.strides, still),
                (still, placed.dilation, still),
                (((0, 0),) * len(still), placed.padding, ((0, 0),) * len(still)),
                (placed.inputs, placed.outputs, placed.outputs),
            )
        )
    )
