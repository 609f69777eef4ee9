"""Convolution over one, two or three axes of space, in the sense of deep learning.

Images are ``[batch, height, width, channels]`` and kernels ``[height, width, channels, features]``;
signals and volumes have one axis of space or three. **The kernel is not flipped**: what deep
learning calls convolution is the cross-correlation of signal processing.

Example:
  The example of the notes, with the intermediate sums 1*3 + 2*2, 2*3 + 3*2 and 3*3 + 4*2:

  >>> import jax.numpy as jnp
  >>> inputs, kernel = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([3.0, 2.0])
  >>> conv(inputs[None, :, None], kernel[:, None, None])[0, :, 0]
  Array([ 7., 12., 17.], dtype=float32)
"""

from collections.abc import Sequence
from typing import SupportsIndex

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops import _convolution_cpu, _convolution_xla, windows
from chainrule.ops._chunks import wide
from chainrule.ops.windows import Padding, PerAxis, Window

__all__ = [
    "conv", "conv_backward", "conv_transpose", "conv_transpose_backward", "plain_conv",
]  # fmt: skip
__dir__ = __all__.copy


def conv(
    inputs: Float[AnyArray, "batch *space channels"],
    kernel: Float[AnyArray, "*window channels_per_group features"],
    bias: Float[AnyArray, " features"] | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Float[Array, "batch *outputs features"]:
    r"""Take the products of the kernel with the inputs at every position, without a flip.

    .. math::
      s_i = b + \sum_k W_k^\top x_{i s + k d}

    Here i and k count positions and weights along all axes of space, and :math:`W_k` is the matrix
    ``[channels, features]`` of the k-th weight. A padded value is 0.

    On a CPU the derivative, and for small images the value too, is computed as matrix products:
    inside ``lax.scan`` a hundred times as fast as the gradient that autodiff derives of XLA's
    convolution, and outside between three times as fast and a fifth slower. On other devices, and
    with groups, it is XLA's own. Either can be differentiated again, in both modes. `plain_conv` is
    XLA's own everywhere.

    Within ``jax.default_matmul_precision("tensorfloat32")`` a CPU convolves large images by many
    kernels of 3 x 3 with Winograd's filtering: a quarter of the products, an error of up to 3e-5
    of the largest output, which is less than TensorFloat-32's, and seconds to compile. NaN and
    infinities reach the same outputs as without it; in the gradient they spread to the tiles of
    4 x 4 that they touch.

    Args:
      inputs: x, ``[batch, *space, channels]`` with one to three axes of space.
      kernel: W, ``[*window, channels / groups, features]``.
      bias: b, one number a feature; none adds nothing.
      stride: s, from one position to the next, one number for every axis of space or one for each.
      padding: a number for every side, one an axis (on both sides), a pair ``(lo, hi)`` an axis,
        ``"valid"`` for none, or ``"same"``: as much as makes ``ceil(size / stride)`` outputs, an
        odd value after the inputs.
      dilation: d, from one weight to the next: the kernel has the span of ``1 + (size - 1) d``.
      groups: the channels and the features are divided into that many consecutive parts, and the
        features of a part depend on the channels of that part only.

    Returns:
      s, ``[batch, *outputs, features]``, where an axis of n values gives
      ``(n + lo + hi - span) // s + 1``.

    Raises:
      ValueError: no or more than three axes of space, a kernel with other axes or larger than the
        padded inputs, channels or features that do not divide into the groups, a stride or
        dilation below 1, a padding below 0 or beyond all memory, or dtypes that differ or are not
        floating-point.

    Example:
      The difference of each value and the one before it, with the slope of a kernel of two weights:

      >>> inputs = jnp.array([1.0, 4.0, 9.0, 16.0])[None, :, None]
      >>> slope = jnp.array([-1.0, 1.0])[:, None, None]
      >>> conv(inputs, slope, padding=((1, 0),))[0, :, 0]
      Array([1., 3., 5., 7.], dtype=float32)
    """
    window = _place("conv", inputs, kernel, bias, stride, padding, dilation, groups)
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    if groups > 1:
        return _add_bias(_convolution_xla.plain(inputs, kernel, window, groups), bias)
    return _add_bias(_convolution_cpu.conv(inputs, kernel, window), bias)


def plain_conv(
    inputs: Float[AnyArray, "batch *space channels"],
    kernel: Float[AnyArray, "*window channels_per_group features"],
    bias: Float[AnyArray, " features"] | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Float[Array, "batch *outputs features"]:
    """Return what `conv` does, always by XLA's own convolution: its definition and its oracle.

    Args:
      inputs: as for `conv`, and so is everything else.
      kernel: the weights.
      bias: one number a feature.
      stride: from one position to the next.
      padding: zeros around the inputs.
      dilation: from one weight to the next.
      groups: how many parts the channels fall into.

    Returns:
      ``[batch, *outputs, features]``.

    Raises:
      ValueError: as for `conv`.
    """
    window = _place("plain_conv", inputs, kernel, bias, stride, padding, dilation, groups)
    inputs, kernel = jnp.asarray(inputs), jnp.asarray(kernel)
    return _add_bias(_convolution_xla.plain(inputs, kernel, window, groups), bias)


def conv_backward(
    g: Float[AnyArray, "batch *outputs features"],
    inputs: Float[AnyArray, "batch *space channels"],
    kernel: Float[AnyArray, "*window channels_per_group features"],
    bias: Float[AnyArray, " features"] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> tuple[Array, ...]:
    r"""Return the gradients of the inputs, the kernel and, where there is one, the bias.

    .. math::
      \frac{\partial \ell}{\partial x_j} = \sum_{i, k \,:\, j = i s + k d} W_k g_i, \qquad
      \frac{\partial \ell}{\partial W_k} = \sum_{n, i} x_{i s + k d} \, g_i^\top, \qquad
      \frac{\partial \ell}{\partial b} = \sum_{n, i} g_i

    A weight serves every position of every image, and its gradient is the sum over them. That of
    the inputs is again a convolution: of ``g``, with ``s - 1`` zeros put between its values, by the
    flipped kernel with its channels and features exchanged.

    Raises:
      ValueError: as for `conv`, or g has not the shape or the dtype of the outputs.
    """
    window = _place("conv_backward", inputs, kernel, bias, stride, padding, dilation, groups)
    _incoming("conv_backward", g, inputs, window.outputs, kernel.shape[-1])
    gradients = (
        _by_inputs(g, kernel, window, groups),
        _by_kernel(g, inputs, kernel, window, groups),
    )
    return gradients if bias is None else (*gradients, jnp.sum(g, axis=range(g.ndim - 1)))


plain_conv_backward = conv_backward
"""The rule of `plain_conv` is that of `conv`."""


def conv_transpose(
    inputs: Float[AnyArray, "batch *space features"],
    kernel: Float[AnyArray, "*window channels_per_group features"],
    bias: Float[AnyArray, " channels"] | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    output_padding: SupportsIndex | Sequence[SupportsIndex] = 0,
) -> Float[Array, "batch *outputs channels"]:
    r"""Go the way of `conv` back: every value spreads the kernel over what it would see.

    .. math::
      s_j = b + \sum_{i, k \,:\, j = i s + k d} W_k x_i

    It is the transpose of the linear map that `conv` is for the same kernel and settings: the
    gradient of its inputs, as `conv_backward` computes it. With a stride it enlarges an image, with
    weights that can be learned (Zeiler et al., "Deconvolutional networks", CVPR 2010).

    Args:
      inputs: x, ``[batch, *space, features]`` with one to three axes of space.
      kernel: W, ``[*window, channels / groups, features]``: that of the `conv` whose transpose this
        is, from the channels to the features. PyTorch's, ``[features, channels / groups,
        *window]``, with its axes moved.
      bias: b, one number a channel; none adds nothing.
      stride: s, how many positions of the outputs lie between two inputs.
      padding: how many outputs are cut off, given as for `conv`; ``"same"`` makes ``n s`` of n.
      dilation: d, from one weight to the next.
      groups: the features and the channels are divided into that many consecutive parts.
      output_padding: how many outputs more are kept at the end of each axis, fewer than its stride
        or its dilation: a `conv` with a stride makes the same of several sizes.

    Returns:
      s, ``[batch, *outputs, channels]``, where an axis of n values gives
      ``(n - 1) s - lo - hi + span + output_padding``.

    Raises:
      ValueError: as for `conv`; nothing is left of the outputs, or ``output_padding`` is not below
        the larger of stride and dilation, or given with ``"same"``.

    Example:
      Each value writes the kernel, two positions further on:

      >>> inputs, kernel = jnp.array([1.0, 10.0]), jnp.array([1.0, 2.0, 3.0])
      >>> conv_transpose(inputs[None, :, None], kernel[:, None, None], stride=2)[0, :, 0]
      Array([ 1.,  2., 13., 20., 30.], dtype=float32)
    """
    window = _place_transposed(
        "conv_transpose", inputs, kernel, bias, stride, padding, dilation, groups, output_padding
    )
    return _add_bias(_by_inputs(inputs, kernel, window, groups), bias)


def conv_transpose_backward(
    g: Float[AnyArray, "batch *outputs channels"],
    inputs: Float[AnyArray, "batch *space features"],
    kernel: Float[AnyArray, "*window channels_per_group features"],
    bias: Float[AnyArray, " channels"] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    output_padding: SupportsIndex | Sequence[SupportsIndex] = 0,
) -> tuple[Array, ...]:
    r"""Return the gradients of the inputs, the kernel and, where there is one, the bias.

    .. math::
      \frac{\partial \ell}{\partial x_i} = \sum_k W_k^\top g_{i s + k d}, \qquad
      \frac{\partial \ell}{\partial W_k} = \sum_{n, i} g_{i s + k d} \, x_i^\top, \qquad
      \frac{\partial \ell}{\partial b} = \sum_{n, j} g_j

    The transpose of a transpose: that of the inputs is `conv` of ``g``.

    Raises:
      ValueError: as for `conv_transpose`, or g has not the shape or the dtype of the outputs.
    """
    name = "conv_transpose_backward"
    window = _place_transposed(
        name, inputs, kernel, bias, stride, padding, dilation, groups, output_padding
    )
    _incoming(name, g, inputs, window.inputs, kernel.shape[-2] * groups)
    exactly = window._replace(padding=tuple(window.reach))  # no position more than there are inputs
    gradients = (
        _convolution_xla.plain(jnp.asarray(g), jnp.asarray(kernel), exactly, groups),
        _by_kernel(inputs, g, kernel, window, groups),
    )
    return gradients if bias is None else (*gradients, jnp.sum(g, axis=range(g.ndim - 1)))


def _place_transposed(
    name: str,
    inputs: AnyArray,
    kernel: AnyArray,
    bias: AnyArray | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    output_padding: SupportsIndex | Sequence[SupportsIndex],
) -> Window:
    """Return the window of the convolution whose transpose is meant: its inputs are our outputs."""
    space, groups = _axes(name, inputs, kernel, bias, groups)
    per_group, features = kernel.shape[-2:]
    if features != inputs.shape[-1] or features % groups:
        raise ValueError(
            f"{name}: inputs {inputs.shape} and kernel {kernel.shape} in {groups} groups: the "
            f"inputs must have the {features} features of the kernel, and these divide into the "
            "groups"
        )
    _fit(name, inputs, kernel, bias, per_group * groups)
    return windows.place_transposed(
        name,
        space,
        kernel.shape[:-2],
        stride=stride,
        padding=padding,
        dilation=dilation,
        extra=output_padding,
    )


def _axes(
    name: str, inputs: AnyArray, kernel: AnyArray, bias: AnyArray | None, groups: int
) -> tuple[tuple[int, ...], int]:
    """Return the space of the inputs and the groups, of arrays that have the axes they need."""
    space = windows.space(name, inputs)
    _require.arrays(kernel=kernel, **({} if bias is None else {"bias": bias}))
    groups = _require.count(f"{name}: groups", groups)
    if kernel.ndim != inputs.ndim:
        raise ValueError(
            f"{name}: kernel {kernel.shape} for inputs {inputs.shape}: it must have {inputs.ndim} "
            "axes, those of the window, the channels and the features"
        )
    return space, groups


def _fit(
    name: str, inputs: AnyArray, kernel: AnyArray, bias: AnyArray | None, outputs: int
) -> None:
    """Check the bias of so many output channels, and that all arrays have one dtype."""
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"{name}: bias {bias.shape} for kernel {kernel.shape}: it must be ({outputs},), one "
            "number for each channel of the outputs"
        )
    if {kernel.dtype, *([] if bias is None else [bias.dtype])} != {inputs.dtype}:
        also = "" if bias is None else f" and bias {bias.dtype}"
        raise ValueError(
            f"{name}: inputs {inputs.dtype}, kernel {kernel.dtype}{also}: cast them to one dtype"
        )


def _incoming(
    name: str, g: AnyArray, inputs: AnyArray, space: tuple[int, ...], channels: int
) -> None:
    _require.incoming(g, (inputs.shape[0], *space, channels))
    if g.dtype != inputs.dtype:
        raise ValueError(f"{name}: g {g.dtype} for inputs {inputs.dtype}: cast them to one dtype")


def _place(
    name: str,
    inputs: AnyArray,
    kernel: AnyArray,
    bias: AnyArray | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
) -> Window:
    space, groups = _axes(name, inputs, kernel, bias, groups)
    channels, (per_group, features) = inputs.shape[-1], kernel.shape[-2:]
    if per_group * groups != channels or features % groups:
        raise ValueError(
            f"{name}: inputs {inputs.shape} and kernel {kernel.shape} in {groups} groups: the "
            f"{channels} channels and the {features} features must divide into the groups, and the "
            f"kernel have as many channels as a group, not {per_group}"
        )
    _fit(name, inputs, kernel, bias, features)
    return windows.place(
        name, space, kernel.shape[:-2], stride=stride, padding=padding, dilation=dilation
    )


def _add_bias(outputs: Array, bias: AnyArray | None) -> Array:
    if bias is None:
        return outputs
    row = bias.reshape((1,) * (outputs.ndim - 1) + (-1,))
    if (wider := wide(row.dtype)) != row.dtype:
        # So its gradient, a sum over all positions, is one of widened numbers, which a library of
        # XLA's takes: 0.97 of the time of a step of VGG16 (bfloat16, two cores).
        row = jnp.broadcast_to(row.astype(wider), outputs.shape).astype(row.dtype)
    return outputs + row


def _by_inputs(g: AnyArray, kernel: AnyArray, window: Window, groups: int) -> Array:
    # From [channels of a group, features] to [features of a group, channels].
    axes, (per_group, features) = "DHW"[-len(window.size) :], kernel.shape[-2:]
    parts = kernel.reshape(*window.size, per_group, groups, features // groups)
    exchanged = jnp.swapaxes(parts, -1, -3).reshape(*window.size, -1, per_group * groups)
    return lax.conv_general_dilated(
        jnp.asarray(g),
        jnp.flip(exchanged, axis=range(len(window.size))),
        window_strides=(1,) * len(window.size),
        padding=[
            (span - 1 - lo, span - 1 - hi)
            for span, (lo, hi) in zip(window.spans, window.reach, strict=True)
        ],
        lhs_dilation=window.strides,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
    )


def _by_kernel(
    g: AnyArray, inputs: AnyArray, kernel: AnyArray, window: Window, groups: int
) -> Array:
    per_group, features = kernel.shape[-2:]
    right = g.reshape(-1, groups, features // groups)
    taps = [
        jnp.einsum("pgc,pgf->cgf", view.reshape(-1, groups, per_group), right)
        for view in windows.views(inputs, window)
    ]
    return jnp.stack(taps).reshape(kernel.shape)
