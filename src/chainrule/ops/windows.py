"""The placement of a window on its inputs: the geometry that convolution and pooling share."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops._chunks import wide

__all__ = [
    "Padding",
    "PerAxis",
    "Window",
    "pad",
    "per_axis",
    "place",
    "place_transposed",
    "put_back",
    "space",
    "views",
]
__dir__ = __all__.copy

PerAxis = SupportsIndex | Sequence[SupportsIndex]
"""One int for every axis of space, or one for each."""

Padding = SupportsIndex | str | Sequence[SupportsIndex | Sequence[SupportsIndex]]
"""One int for every side, one or a pair ``(lo, hi)`` an axis, or ``"same"`` or ``"valid"``."""


_LARGEST = 2**31 - 1  # XLA's dimensions
_MOST = 2**28  # positions of a padded image, 1 GiB a channel in float32


class Window(NamedTuple):
    """A window and the positions it takes: plain integers, one of each an axis of space.

    Attributes:
      inputs: the sizes of the inputs, before the padding.
      size: its own.
      strides: from one position to the next.
      dilation: from one of its taps to the next: 1 has no holes.
      padding: the values added before and after.
      outputs: how many positions there are.
    """

    inputs: tuple[int, ...]
    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """From the first to the last tap, ``1 + (size - 1) dilation``."""
        return _spans(self.size, self.dilation)

    @property
    def reach(self) -> list[tuple[int, int]]:
        """The padding that the positions need; negative at the end where values are left over."""
        return [
            (lo, (out - 1) * s + (k - 1) * d + 1 - n - lo)
            for n, k, s, d, (lo, _), out in zip(*self, strict=True)
        ]

    @property
    def offsets(self) -> list[tuple[int, ...]]:
        """Where each tap lies from the first one, the last axis running fastest."""
        return [
            tuple(i * d for i, d in zip(tap, self.dilation, strict=True))
            for tap in np.ndindex(*self.size)
        ]


def place(
    name: str,
    inputs: tuple[int, ...],
    size: tuple[int, ...],
    *,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool = False,
) -> Window:
    """Place a window of this size on inputs with these axes of space.

    Raises:
      ValueError: the number of values is not the number of axes, a size, stride or dilation is no
        int of at least 1, a padding is no int of at least 0 or too large for memory, or the window
        is larger than the padded inputs.
    """
    axes = len(inputs)
    size = per_axis(f"{name}: window", size, axes)
    strides = per_axis(f"{name}: stride", stride, axes)
    dilations = per_axis(f"{name}: dilation", dilation, axes)
    spans = _spans(size, dilations)
    pads = _pads(name, padding, inputs, spans, strides)
    padded = tuple(n + lo + hi for n, (lo, hi) in zip(inputs, pads, strict=True))
    if math.prod(padded) > max(_MOST, 16 * math.prod(inputs)):
        raise ValueError(
            f"{name}: padding {pads} turns inputs of {inputs} into {padded}, "
            f"{math.prod(padded):,} positions: take less padding"
        )
    outputs = []
    for n, span, s, (lo, hi) in zip(inputs, spans, strides, pads, strict=True):
        room = n + lo + hi - span
        if room < 0:
            raise ValueError(
                f"{name}: a window of {size} with dilation {dilations} spans {spans}, larger than "
                f"inputs of {inputs} with padding {pads}: take larger inputs, a smaller window or "
                "more padding"
            )
        # As in PyTorch: a position that only ceil_mode adds must begin on an input or before it.
        extra = ceil_mode and room % s > 0 and (room // s + 1) * s < n + lo
        outputs.append(room // s + 1 + extra)
    return Window(inputs, size, strides, dilations, pads, tuple(outputs))


def place_transposed(
    name: str,
    outputs: tuple[int, ...],
    size: tuple[int, ...],
    *,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    extra: SupportsIndex | Sequence[SupportsIndex] = 0,
) -> Window:
    """Place a window so that it takes this many positions: on inputs whose sizes follow from that.

    Args:
      name: of the operator, for messages.
      outputs: how many positions there are to be along each axis.
      size: as for `place`, and so are the others.
      stride: from one position to the next.
      padding: values added around the inputs.
      dilation: from one tap to the next.
      extra: how many values of the inputs no position reaches, at the end of each axis.

    Raises:
      ValueError: as for `place`, or extra is not below the larger of stride and dilation.
    """
    axes = len(outputs)
    strides = per_axis(f"{name}: stride", stride, axes)
    dilations = per_axis(f"{name}: dilation", dilation, axes)
    more = per_axis(f"{name}: output_padding", extra, axes, least=0)
    if any(m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ValueError(
            f"{name}: output_padding {more} must be below the larger of stride {strides} and "
            f"dilation {dilations}: another output would lie there"
        )
    spans = _spans(per_axis(f"{name}: window", size, axes), dilations)
    if isinstance(padding, str) and padding == "same":
        if any(more):
            raise ValueError(f'{name}: padding "same" leaves no choice, output_padding {more}')
        inputs = tuple(n * s for n, s in zip(outputs, strides, strict=True))
    else:
        pads = _pads(name, padding, outputs, spans, strides)
        inputs = tuple(
            (n - 1) * s - lo - hi + span + m
            for n, s, (lo, hi), span, m in zip(outputs, strides, pads, spans, more, strict=True)
        )
    if min(inputs) < 1 or math.prod(inputs) > max(_MOST, 16 * math.prod(outputs)):
        raise ValueError(
            f"{name}: a window of {size} with stride {strides} and padding {padding!r} makes "
            f"outputs of {inputs} from {outputs}: at least 1 and at most {_MOST:,} in all"
        )
    placed = place(name, inputs, size, stride=strides, padding=padding, dilation=dilations)
    return placed._replace(outputs=outputs)  # with wide holes there may be room for one more


def per_axis(name: str, value: PerAxis, axes: int, *, least: int = 1) -> tuple[int, ...]:
    """Spread one number over the axes, or check that there is one for each, all large enough."""
    values = list(value) if _many(value) else [value] * axes  # type: ignore[arg-type]
    try:
        found = tuple(_require.count(name, one, least=least, most=_LARGEST) for one in values)
    except ValueError:
        found = ()
    if len(found) != axes:
        raise ValueError(
            f"{name} {value!r}: give one int, or one for each of the {axes} axes of space, and "
            f"none below {least}"
        )
    return found


def _many(value: Any) -> bool:
    """Say whether there are several values: ints of NumPy are one, as Python's are."""
    return isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _spans(size: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 + (k - 1) * d for k, d in zip(size, dilation, strict=True))


def _pads(
    name: str,
    padding: Padding,
    inputs: tuple[int, ...],
    spans: tuple[int, ...],
    strides: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    word = padding if isinstance(padding, str) else ""
    if word == "valid":
        return tuple((0, 0) for _ in inputs)
    if word == "same":
        # One position for each stride that begins on the inputs; an odd value goes after.
        short = [
            max((-(-n // s) - 1) * s + span - n, 0)
            for n, span, s in zip(inputs, spans, strides, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in short)
    sides: list[Any] = list(padding) if _many(padding) else [padding] * len(inputs)  # type: ignore[arg-type]
    ends = [side if _many(side) else (side, side) for side in sides]
    try:
        pads = tuple(
            tuple(_require.count("padding", n, least=0, most=_LARGEST) for n in pair)
            for pair in ends
        )
    except ValueError:
        pads = ()
    if len(pads) != len(inputs) or any(len(pair) != 2 for pair in pads):
        raise ValueError(
            f"{name}: padding {padding!r}: give one int, or for each of the {len(inputs)} axes of "
            'space one int or a pair (lo, hi), none below 0, or the word "same" or "valid"'
        )
    return tuple((lo, hi) for lo, hi in pads)


def space(name: str, inputs: AnyArray) -> tuple[int, ...]:
    """Return the sizes between the batch and the channels, of which there are one to three.

    Raises:
      ValueError: there are fewer or more, or the inputs are no floating-point numbers.
    """
    _require.arrays(inputs=inputs)
    if not 3 <= inputs.ndim <= 5:
        raise ValueError(
            f"{name}: inputs of shape {inputs.shape}: they must be [batch, *space, channels] with "
            "one to three axes of space"
        )
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            f"{name}: inputs of dtype {inputs.dtype}: they must be floating-point numbers, "
            "images / 255 for example"
        )
    return inputs.shape[1:-1]


def pad(
    inputs: Num[AnyArray, "batch *space channels"],
    ends: Sequence[tuple[int, int]],
    fill: int | float = 0,
) -> Num[Array, "batch *padded channels"]:
    """Put values before and after each axis of space; a negative number cuts values off."""
    if not any(map(any, ends)):
        return jnp.asarray(inputs)
    none = (0, 0, 0)
    fit = [none, *((lo, hi, 0) for lo, hi in ends), none]
    return lax.pad(inputs, jnp.asarray(fill, inputs.dtype), fit)


def views(
    inputs: Num[AnyArray, "batch *space channels"], window: Window, fill: int | float = 0
) -> list[Num[Array, "batch *outputs channels"]]:
    """Return the values under each tap of the window at every position, one array a tap."""
    padded = pad(inputs, window.reach, fill)
    if window.strides == window.size and window.spans == window.size:
        return _cells(padded, window)
    batch, channels = inputs.shape[0], inputs.shape[-1]
    extent = [(out - 1) * s + 1 for out, s in zip(window.outputs, window.strides, strict=True)]
    return [
        lax.slice(
            padded,
            (0, *offset, 0),
            (batch, *(o + e for o, e in zip(offset, extent, strict=True)), channels),
            (1, *window.strides, 1),
        )
        for offset in window.offsets
    ]


def _cells(padded: AnyArray, window: Window) -> list[Array]:
    # Windows that tile the inputs are splits of a reshape. The transpose of a split is one
    # concatenation, that of a strided slice a sum of arrays of the whole size.
    cells = [jnp.asarray(padded)]
    for axis, (out, k) in enumerate(zip(window.outputs, window.size, strict=True), start=1):
        if k == 1:
            continue
        cells = [
            lax.squeeze(part, (axis + 1,))
            for cell in cells
            for part in lax.split(
                cell.reshape(*cell.shape[:axis], out, k, *cell.shape[axis + 1 :]),
                (1,) * k,
                axis=axis + 1,
            )
        ]
    return cells


def put_back(
    parts: Sequence[Num[AnyArray, "batch *outputs channels"]], window: Window
) -> Num[Array, "batch *space channels"]:
    """Return the sum of the taps' contributions to the inputs: the transpose of `views`.

    Halves are summed in float32: 256 + 1 is 256 in bfloat16.
    """
    none = (0, 0, 0)
    spread = []
    for part, offset in zip(parts, window.offsets, strict=True):
        fit = [
            (o - lo, n - (o - lo) - ((out - 1) * s + 1), s - 1)
            for o, (n, _, s, _, (lo, _), out) in zip(offset, zip(*window, strict=True), strict=True)
        ]
        part = jnp.asarray(part, wide(part.dtype))
        spread.append(lax.pad(part, jnp.zeros((), part.dtype), [none, *fit, none]))
    return functools.reduce(jnp.add, spread).astype(parts[0].dtype)
