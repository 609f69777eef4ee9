"""XLA's own convolution, and one whose transpose is an ordinary convolution too."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from chainrule.ops.windows import Window


def plain(
    inputs: Array, kernel: Array, window: Window, groups: int = 1, order: str = "IO"
) -> Array:
    """XLA's own convolution, by a kernel whose last axes are in this order."""
    axes = "DHW"[-len(window.size) :]
    return lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=window.strides,
        padding=window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}{order}", f"N{axes}C"),
        feature_group_count=groups,
    )


def with_way_back(inputs: Array, kernel: Array, window: Window) -> Array:
    """Convolve, so that the transpose is an ordinary convolution of g by the flipped kernel."""
    # On a mesh JAX's own rules know which device holds what.
    if max(window.strides) > 1 or not jax.sharding.get_abstract_mesh().empty:
        return _exchanged(inputs, kernel, window)
    return cast(Array, _back.bind(inputs, kernel, window=window))


def _exchanged(inputs: Array, kernel: Array, window: Window) -> Array:
    # Exchanged by hand and exchanged back by name: JAX's transpose rule drops the second.
    return plain(inputs, jnp.swapaxes(kernel, -1, -2), window, order="OI")


# `plain` as a primitive of its own, so that its transpose is ours: JAX's reverses the kernel inside
# the convolution, and oneDNN takes none that is reversed there. Behind a barrier it takes it.
_back = Primitive("conv_back")
_back.def_impl(plain)
_back.def_abstract_eval(
    lambda inputs, kernel, window: inputs.update(
        shape=(inputs.shape[0], *window.outputs, kernel.shape[-1]), weak_type=False
    )
)
mlir.register_lowering(_back, mlir.lower_fun(plain, multiple_results=False))
ad.defjvp(
    _back,
    lambda by_inputs, inputs, kernel, window: _back.bind(by_inputs, kernel, window=window),
    lambda by_kernel, inputs, kernel, window: plain(inputs, by_kernel, window),
)


def _back_transpose(g: Any, inputs: Any, kernel: Any, *, window: Window) -> tuple[Any, Any]:
    if ad.is_undefined_primal(kernel):  # it is linear in the kernel too
        by_kernel = jax.linear_transpose(
            functools.partial(plain, inputs, window=window), kernel.aval
        )
        return None, by_kernel(g)[0]
    turned = jnp.flip(jnp.swapaxes(kernel, -1, -2), range(len(window.size)))
    back = window._replace(
        inputs=window.outputs,
        outputs=window.inputs,
        padding=tuple(
            (span - 1 - lo, n - out + lo)
            for n, *_, (lo, _), out, span in zip(*window, window.spans, strict=True)
        ),
    )
    return plain(g, lax.optimization_barrier(turned), back), None


def _back_batch(args: Any, axes: Any, *, window: Window) -> tuple[Array, int]:
    (inputs, kernel), (axis, of_kernel) = args, axes
    if of_kernel is not None:
        return jax.vmap(functools.partial(_exchanged, window=window), axes)(*args), 0
    inputs = jnp.moveaxis(inputs, axis, 0)
    outputs = _back.bind(inputs.reshape(-1, *inputs.shape[2:]), kernel, window=window)
    return outputs.reshape(*inputs.shape[:2], *outputs.shape[1:]), 0


ad.primitive_transposes[_back] = _back_transpose
batching.primitive_batchers[_back] = _back_batch
