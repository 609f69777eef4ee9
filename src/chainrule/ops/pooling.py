"""The pools: the largest or the mean value under a window that moves over the inputs.

Images are ``[batch, height, width, channels]``; with one axis or three between the batch and the
channels everything works as well. Each channel is pooled by itself.

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
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chainrule.ops import _windows
from chainrule.ops._windows import Padding, PerAxis, Window


def max_pool(
    inputs: Float[Array, "batch *space channels"],
    window: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Float[Array, "batch *outputs channels"]:
    r"""Keep the largest value under each position of the window.

    .. math::
      o_i = \max_k x_{i s + k d}

    A tie goes to the first maximum, the last axis running fastest, in value and gradient, as in
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
        padding below 0 or so wide that some position holds nothing but padding, or a window larger
        than the padded inputs.

    Example:
      >>> max_pool(jnp.array([5.0, 5.0, 1.0, 2.0, 0.0, 7.0])[None, :, None], 3)[0, :, 0]
      Array([5., 7.], dtype=float32)
    """
    placed = _place("max_pool", inputs, window, stride, padding, dilation, ceil_mode)
    return _max(inputs, placed)[0]


def max_pool_backward(
    g: Float[Array, "batch *outputs channels"],
    inputs: Float[Array, "batch *space channels"],
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
    placed = _place("max_pool", inputs, window, stride, padding, dilation, ceil_mode)
    _, winner = _max(inputs, placed)
    taps = range(math.prod(placed.size))
    return _windows.put_back([jnp.where(winner == tap, g, 0) for tap in taps], placed)


def max_pool_with_indices(
    inputs: Float[Array, "batch *space channels"],
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
    values, winner = _max(inputs, placed)
    # Counted along the space: where each position begins, and how far from there the tap lies.
    strides = np.append(np.cumprod(placed.inputs[:0:-1])[::-1], 1).astype(int)
    begins = _over_space(
        np.add,
        [
            step * (np.arange(out) * s - lo)
            for step, (_, _, s, _, (lo, _), out) in zip(
                strides, zip(*placed, strict=True), strict=True
            )
        ],
    )
    offsets = np.asarray(placed.offsets) @ strides
    return values, jnp.asarray(offsets, jnp.int32)[winner] + jnp.asarray(begins, jnp.int32)


def max_pool_with_indices_backward(
    g: Float[Array, "batch *outputs channels"],
    inputs: Float[Array, "batch *space channels"],
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


def avg_pool(
    inputs: Float[Array, "batch *space channels"],
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
      count_include_pad: whether the padding counts as values: n is the number of taps on the inputs
        or the padding, else on the inputs only. What ``ceil_mode`` lets stand beyond the padding is
        never counted.

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
    counts = jnp.asarray(_counts(placed, count_include_pad), inputs.dtype)
    return functools.reduce(jnp.add, _windows.views(inputs, placed)) / counts


def avg_pool_backward(
    g: Float[Array, "batch *outputs channels"],
    inputs: Float[Array, "batch *space channels"],
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
    placed = _place("avg_pool", inputs, window, stride, padding, dilation, ceil_mode)
    share = g / jnp.asarray(_counts(placed, count_include_pad), g.dtype)
    return _windows.put_back([share] * math.prod(placed.size), placed)


def _place(
    name: str,
    inputs: Array,
    window: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Window:
    space = _windows.space(name, inputs)
    size = _windows.per_axis(f"{name}: window", window, len(space))
    placed = _windows.place(
        name,
        space,
        size,
        stride=size if stride is None else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    if not all(taps.any(axis=0).all() for taps in _taps(placed)):
        raise ValueError(
            f"{name}: a window of {size} with dilation {placed.dilation} and padding "
            f"{placed.padding} holds nothing but padding somewhere on inputs of {space}: "
            "take less padding or a larger window"
        )
    return placed


def _taps(placed: Window, padded: bool = False) -> list[np.ndarray]:
    """Say for each axis which taps of which position, [size, outputs], lie on the inputs."""
    found = []
    for n, k, s, d, (lo, hi), out in zip(*placed, strict=True):
        at = np.arange(k)[:, None] * d + np.arange(out)[None, :] * s - lo
        # With the padding counted: nothing lies before it, but ceil_mode goes beyond it.
        found.append(at < n + hi if padded else (at >= 0) & (at < n))
    return found


def _over_space(combine: np.ufunc, per_axis: Sequence[np.ndarray]) -> np.ndarray:
    """Spread one row of values an axis over all of them, and over the batch and the channels."""
    return functools.reduce(combine.outer, per_axis)[None, ..., None]


def _counts(placed: Window, count_include_pad: bool) -> np.ndarray:
    taps = _taps(placed, padded=count_include_pad)
    return _over_space(np.multiply, [on.sum(axis=0) for on in taps])


def _max(inputs: Array, placed: Window) -> tuple[Array, Array]:
    """Return the largest values and which tap of the window each of them stood at."""
    first, *others = _windows.views(inputs, placed, -np.inf)
    inside = [
        _over_space(np.logical_and, [on[i] for on, i in zip(_taps(placed), tap, strict=True)])
        for tap in np.ndindex(*placed.size)
    ]
    best, winner, seen = first, jnp.zeros(first.shape, jnp.int32), inside[0]
    for tap, view in enumerate(others, start=1):
        wins = (view > best) | jnp.isnan(view)
        # Where all taps so far were padding the first input wins, also if it is minus infinity.
        if (new := inside[tap] & ~seen).any():
            wins |= jnp.asarray(new)
        best, winner = jnp.where(wins, view, best), jnp.where(wins, tap, winner)
        seen = seen | inside[tap]
    return best, winner
