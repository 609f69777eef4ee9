"""Convolution on CPUs: the numbers of the plain one, by other algorithms where they are faster.

XLA's own convolution is fast on a CPU as long as its dimensions are in the order of this package
and its kernel is not larger than the image. The convolutions that autodiff derives from it meet
neither condition. The gradient with respect to the kernel is a convolution with a kernel as large
as the image; the gradient with respect to the inputs has the kernel's channels exchanged; and
inside ``lax.scan`` XLA then falls back on plain loops.

So `conv` replaces its **derivative**, a linear map of the change of the inputs and of the change of
the kernel, by one that JAX transposes into fast code. Everything is ordinary JAX, and can be
differentiated again in both modes: a ``custom_vjp`` would refuse ``jacfwd``.

Milliseconds on two quiet cores, float32, the least of 3 to 5 runs in one process, alone and per
step of ``lax.scan`` (``[N, H, W, C] * [h, w, D]``; the padding keeps the size except in LeNet, the
first two rows):

===================================  =======  ============  =========  =========
kernel's gradient                    forward  autodiff      unfold     across
===================================  =======  ============  =========  =========
[100, 28, 28, 1] * [5, 5, 32]        1.0      3.6, 105      1.2, 1.7   2.9, 3.1
[100, 8, 8, 32] * [5, 5, 64]         1.6      1.9, 224      1.7, 1.1   2.3, 2.4
[100, 28, 28, 32] * [3, 3, 32]       15       19, 1,762     22, 25     18, 21
[100, 14, 14, 64] * [3, 3, 64]       15       20, 979       14, 14     13, 13
[100, 7, 7, 128] * [3, 3, 128]       8.1      10, 747       11, 10     12, 11
[4, 56, 56, 256] * [3, 3, 256]       75       120, 15,619   133, 141   109, 122
[4, 14, 14, 512] * [3, 3, 512]       19       20, 2,966     25, 23     24, 24
===================================  =======  ============  =========  =========

Large images, and all of bfloat16, are unfolded in strips of rows that a core's own cache holds,
with a product for each row of the kernel ([4, H, H, C] * [3, 3, C, D], two cores with AVX-512, not
those of the table above; of two numbers the second is with `chainrule.compiling.options`):

=================  ==================  ==================  ==================  ==================
kernel's gradient  float32, unfolded   in strips           bfloat16, unfolded  in strips
=================  ==================  ==================  ==================  ==================
224, 64, 64        244, 217            189, 158            328, 235            252, 164
112, 128, 128      168, 158            128, 110            233, 144            205, 56
56, 256, 256       97, 106             114, 99             174, 88             186, 43
28, 512, 512       91, 189             100, 166            164, 93             200, 48
=================  ==================  ==================  ==================  ==================

Alone, autodiff is faster where images are small, by a fifth at most; but a function does not know
whether it is traced for a loop, where autodiff is a hundred times slower.

The **value** is computed otherwise in three cases. For a kernel that is larger than the image,
[100, 2, 2, 512] * [3, 3, 512], XLA exchanges the operands and takes 805 ms; a product takes 11.
Small images XLA convolves on one core only (the value, then the inputs' gradient):

=======================================  ==========  ========  ==========  ========
small images                             XLA's       products  XLA's       products
=======================================  ==========  ========  ==========  ========
[100, 8, 8, 32] * [5, 5, 64], LeNet      1.6         1.3       1.1         1.1
[1000, 8, 8, 32] * [5, 5, 64]            44          13
[100, 28, 28, 32] * [3, 3, 32]           15          11        15          12
[100, 14, 14, 64] * [3, 3, 64]           15          9.7       15          9.8
=======================================  ==========  ========  ==========  ========

Where TensorFloat-32's rounding is allowed, it is Winograd's filtering, which rounds less than that
but takes seconds to compile:

=======================================  ==========  ==========
many channels                            XLA's       Winograd's
=======================================  ==========  ==========
[8, 112, 112, 128] * [3, 3, 128]         168         131
[1, 56, 56, 256] * [3, 3, 256]           21          8
[8, 56, 56, 256] * [3, 3, 256]           164         79
[8, 28, 28, 512] * [3, 3, 512]           156         59
=======================================  ==========  ==========
"""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from chainrule.ops import _winograd
from chainrule.ops._chunks import divisor, in_chunks, wide
from chainrule.ops._convolution_xla import plain, with_way_back
from chainrule.ops.windows import Window, pad, views

_FEW = 16
"""Positions along an axis that are unfolded one by one."""

_ROUGHER = ("tensorfloat32", "bfloat16")
"""What `jax.default_matmul_precision` must name, so that Winograd's rounding is allowed."""

_MANY = 128
"""Channels, features and tiles from which on Winograd's filtering is faster."""

_WIDE = 32
_LONG_ROW = 2**19
_WORTH_IT = 2**25
"""Features, and multiply-adds of a row and in all: `_on_one_core`."""

_CHUNK = 8 * 2**20
"""Bytes that are unfolded at a time: fetching fresh memory takes longer than filling it."""

_STRIP = 5 * 2**18
"""Bytes of a strip of rows that is unfolded: as many as a core's own cache holds."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def conv(inputs: Array, kernel: Array, window: Window) -> Array:
    """Return what `plain` does, by what is fast where it runs.

    Args:
      inputs: ``[batch, *space, channels]``.
      kernel: ``[*window, channels, features]``.
      window: the placement of the kernel.

    Returns:
      ``[batch, *outputs, features]``.
    """
    if math.prod(window.size) > math.prod(window.inputs):
        return _on_cpu(_product, inputs, kernel, window)
    if _minimal_wins(inputs.shape[0], window.outputs, kernel, window):
        return _on_cpu(_minimal, inputs, kernel, window)
    if _on_one_core(inputs.shape[0], window.outputs, kernel.shape[-1], kernel):
        return _on_cpu(_unfolded, inputs, kernel, window)
    return plain(inputs, kernel, window)


@functools.partial(conv.defjvp, symbolic_zeros=True)
def _conv_jvp(
    window: Window,
    primals: tuple[Array, Array],
    tangents: tuple[Array | SymbolicZero, Array | SymbolicZero],
) -> tuple[Array, Array]:
    (inputs, kernel), (by_inputs, by_kernel) = primals, tangents
    outputs = conv(inputs, kernel, window)
    change = jnp.zeros_like(outputs)
    # With a checkpoint the backward pass keeps the inputs and the kernel, not the unfolded inputs.
    checkpoint = functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=(0, 3))
    if not isinstance(by_inputs, SymbolicZero):
        change += checkpoint(_on_cpu)(_inputs_tangent, by_inputs, kernel, window)
    if not isinstance(by_kernel, SymbolicZero):
        change += checkpoint(_on_cpu)(_kernel_tangent, inputs, by_kernel, window)
    return outputs, change


def _on_cpu(f: Callable[..., Array], inputs: Array, kernel: Array, window: Window) -> Array:
    cpu, default = (functools.partial(g, window=window) for g in (f, plain))
    return cast(Array, lax.platform_dependent(inputs, kernel, cpu=cpu, default=default))


def _inputs_tangent(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve, so that the transpose is an ordinary convolution of g by the flipped kernel."""
    positions = math.prod(window.outputs)
    # That convolution would mostly multiply zeros, or have a kernel larger than g.
    if 2 * positions <= math.prod(window.inputs) or math.prod(window.size) > positions:
        return _product(inputs, kernel, window)
    if _minimal_wins(inputs.shape[0], window.inputs, kernel, window):
        return _transposed_twice(inputs, kernel, window)
    if _on_one_core(inputs.shape[0], window.inputs, kernel.shape[-2], kernel):
        return _unfolded(inputs, kernel, window)
    return with_way_back(inputs, kernel, window)


def _kernel_tangent(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve, so that the kernel's transpose is products of the unfolded inputs and g."""
    batch, dtype = inputs.shape[0], inputs.dtype
    weights = math.prod(window.size[1:]) * kernel.shape[-2]
    image = math.prod(window.outputs) * weights * dtype.itemsize
    # A strip of a small image is too little for a product, and float16 overflows in one.
    strips = dtype == jnp.bfloat16 or (dtype.itemsize >= 4 and image > _STRIP)
    # Under `jax.export` the size of a batch may be symbolic.
    some = isinstance(batch, int) and batch > 0
    if strips and some and window.strides[0] == 1 and weights >= _WIDE:
        return _in_strips(inputs, kernel, window)
    return _unfolded(inputs, kernel, window)


def _in_strips(inputs: Array, kernel: Array, window: Window) -> Array:
    """Unfold a strip of rows at a time along all axes but the first; one product a tap of that.

    The products of bfloat16 stay so, as CPUs have instructions for them, and are summed in `wide`.
    """
    (height, *across), (rows, *columns), dilation = window.size, window.outputs, window.dilation[0]
    (batch, *_), dtype, features = inputs.shape, inputs.dtype, kernel.shape[-1]
    row = math.prod((*columns, *across, inputs.shape[-1])) * dtype.itemsize
    some = divisor(rows, _STRIP // row)
    samples = divisor(batch, _STRIP // (row * rows)) if some == rows else 1
    padded = pad(inputs, window.reach)
    high = some + window.spans[0] - 1
    part = window._replace(
        inputs=(high, *padded.shape[2:-1]),
        size=(1, *across),
        padding=((0, 0),) * len(window.size),
        outputs=(high, *columns),
    )
    matrices = kernel.astype(wide(dtype)).reshape(height, -1, features)

    def strip(start: Array) -> Array:
        begin = (*start, *[0] * (len(columns) + 1))
        seen = lax.dynamic_slice(padded, begin, (samples, *part.inputs, inputs.shape[-1]))
        unfolded = lax.concatenate(views(seen, part), inputs.ndim - 1)
        total = jnp.zeros((), wide(dtype))
        for i, matrix in enumerate(matrices):
            tap = lax.slice_in_dim(unfolded, i * dilation, i * dilation + some, axis=1)
            total += _matmul(tap, matrix.astype(dtype)).astype(wide(dtype))
        return total.astype(dtype)

    starts = [(n, r) for n in range(0, batch, samples) for r in range(0, rows, some)]
    # In the backward pass a strip is unfolded again: else all would be kept.
    found = lax.map(jax.checkpoint(strip, prevent_cse=False), jnp.asarray(starts))
    return found.reshape(batch, *window.outputs, features)


def _minimal(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve by `chainrule.ops._winograd`."""
    finite = jnp.isfinite(jnp.sum(inputs)) & jnp.isfinite(jnp.sum(kernel))
    return _winograd.conv(inputs, kernel, window, finite, plain)


def _transposed_twice(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve as the transpose of Winograd's of g by the flipped kernel: its transpose is that."""
    back = window._replace(
        inputs=window.outputs,
        outputs=window.inputs,
        padding=tuple((2 - lo, 2 - hi) for lo, hi in window.padding),
    )
    g = jax.ShapeDtypeStruct((inputs.shape[0], *window.outputs, kernel.shape[-1]), inputs.dtype)
    # The gradients of the backward pass need not be finite.
    finite = jnp.isfinite(jnp.sum(kernel))
    transpose = jax.linear_transpose(
        lambda g: _winograd.conv(g, kernel, back, finite, plain, back=True), g
    )
    return cast(Array, transpose(inputs)[0])


def _minimal_wins(batch: Any, positions: tuple[int, ...], kernel: Array, window: Window) -> bool:
    """Say whether Winograd's filtering is allowed, and faster: with many channels and tiles."""
    precision = cast(Any, jax.config).jax_default_matmul_precision
    if precision not in _ROUGHER:
        return False
    ordinary = window.size == (3, 3) and window.strides == window.dilation == (1, 1)
    # Under `jax.export` the size of a batch may be symbolic.
    if not ordinary or not isinstance(batch, int) or min(kernel.shape[-2:]) < _MANY:
        return False
    tiles = batch * math.prod(-(-size // _winograd.TILE) for size in positions)
    # In an image that is not much larger than a tile, half would be padding.
    return tiles >= _MANY and min(positions) >= 6 * _winograd.TILE


def _on_one_core(batch: Any, positions: tuple[int, ...], features: int, kernel: Array) -> bool:
    """Say whether XLA's convolution leaves all cores but one idle, and unfolding is faster.

    It divides one row of outputs among the cores, where the row is worth it, and never the rows
    or the batch. What is unfolded has to be worth its copying: by many features to multiply it
    with, each the sum of twice as many products.
    """
    weights = math.prod(kernel.shape)
    row = positions[-1] * weights
    # Under `jax.export` the size of a batch may be symbolic.
    if not isinstance(batch, int) or row > _LONG_ROW:
        return False
    worth_copying = features >= _WIDE and weights // features >= 2 * _WIDE
    return worth_copying and batch * math.prod(positions[:-1]) * row > _WORTH_IT


def _unfolded(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve, so that the kernel's transpose is a product of the unfolded inputs and g."""
    *_, channels, features = kernel.shape
    height, width = window.size[0], math.prod(window.size[1:])
    rows = window.outputs[0] + window.spans[0] - 1
    across = rows * (width * channels + height * features)
    if window.strides[0] > 1 or window.outputs[0] * height * width * channels <= across:
        return _product(inputs, kernel, window)
    across *= math.prod(window.outputs[1:])
    return _in_chunks(_unfold_across, inputs, kernel, window, across)


def _product(inputs: Array, kernel: Array, window: Window) -> Array:
    values = math.prod(window.outputs) * math.prod(kernel.shape[:-1])
    return _in_chunks(_unfold, inputs, kernel, window, values)


def _unfold(inputs: Array, kernel: Array, window: Window) -> Array:
    """Unfold the inputs ("im2col") and multiply."""
    unfolded = pad(inputs, window.reach)
    for axis in range(len(window.size)):
        unfolded = _unfold_axis(unfolded, window, axis)
    # One axis after the other puts the taps of the last one first.
    axes = reversed(range(len(window.size)))
    return _matmul(unfolded, kernel.transpose(*axes, -2, -1).reshape(-1, kernel.shape[-1]))


def _unfold_axis(padded: Array, window: Window, axis: int) -> Array:
    """Put what the taps along one axis of space see side by side, among the channels."""
    size, stride, dilation, outputs = (
        sizes[axis] for sizes in (window.size, window.strides, window.dilation, window.outputs)
    )
    along, last = axis + 1, padded.ndim - 1
    if outputs > _FEW:
        extent = (outputs - 1) * stride + 1
        taps = [
            lax.slice_in_dim(padded, tap, tap + extent, stride, along)
            for tap in range(0, size * dilation, dilation)
        ]
        return lax.concatenate(taps, last)
    # The transpose of this adds slices, and that of the above whole arrays of mostly zeros.
    places = lax.split(padded, (1,) * padded.shape[along], along)
    span = window.spans[axis]
    positions = [
        lax.concatenate(places[start : start + span : dilation], last)
        for start in range(0, outputs * stride, stride)
    ]
    return lax.concatenate(positions, along)


def _unfold_across(inputs: Array, kernel: Array, window: Window) -> Array:
    """Unfold along all axes but the first, multiply, and shift the products along the first.

    With h x w weights this copies w C + h D values a position instead of h w C.
    """
    (height, *width), features, last = window.size, kernel.shape[-1], inputs.ndim - 1
    outputs, dilation = window.outputs[0], window.dilation[0]
    across = window._replace(
        size=(1, *width), outputs=(outputs + window.spans[0] - 1, *window.outputs[1:])
    )
    unfolded = lax.concatenate(views(inputs, across), last)
    products = _matmul(unfolded, jnp.moveaxis(kernel, 0, -2).reshape(-1, height * features))
    shifted = (
        lax.slice_in_dim(row, i * dilation, i * dilation + outputs, axis=1)
        # The transpose of a split is one concatenation, that of slices a sum of mostly zeros.
        for i, row in enumerate(lax.split(products, (features,) * height, axis=last))
    )
    return functools.reduce(jnp.add, shifted)


def _matmul(unfolded: Array, matrix: Array) -> Array:
    # With one axis of positions: over several XLA transposes g before it multiplies.
    *positions, values = unfolded.shape
    features = matrix.shape[-1]
    flat = unfolded.reshape(-1, values)
    if values <= features:
        products = flat @ matrix
    else:
        # The matrix's gradient is g^T U, transposed: XLA would rewrite it as U^T g, and transpose
        # the larger of the two.
        products = lax.dot_general(
            flat, lax.optimization_barrier(matrix.T), (((1,), (1,)), ((), ()))
        )
    return products.reshape(*positions, features)


def _in_chunks(
    f: Callable[[Array, Array, Window], Array],
    inputs: Array,
    kernel: Array,
    window: Window,
    values: int,
) -> Array:
    kernel = kernel.astype(wide(kernel.dtype))
    return in_chunks(lambda samples: f(samples, kernel, window), inputs, values, _CHUNK)
