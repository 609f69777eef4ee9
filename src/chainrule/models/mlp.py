r"""The multi-layer perceptron: affine maps with an activation between them, and none at the end.

With :math:`x^{(0)}` the inputs, layer :math:`l` of :math:`L` computes for one sample, a column,

.. math::
  s^{(l)} = w^{(l)} x^{(l-1)} + b^{(l)}, \qquad x^{(l)} = \sigma(s^{(l)})

and :math:`x^{(L)} = s^{(L)}` are the outputs. Here the samples of a batch are rows: the kernel is
the transpose of the weight in the notes, and every product of the notes appears transposed.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.losses import squared_error
from chainrule.ops import NoRuleError, backward_of
from chainrule.ops.activations import relu
from chainrule.ops.linear import linear, linear_backward

__all__ = [
    "Activations",
    "LayerGradients",
    "Params",
    "apply",
    "backward",
    "collapse",
    "forward",
    "gradient_step",
    "init",
]
__dir__ = __all__.copy

Params = dict[str, dict[str, Float[Array, "..."]]]
"""``{"layer1": {"kernel": [in, out], "bias": [out]}, "layer2": ...}``"""


_MOST_WEIGHTS = 2**31  # 8 GiB


class Activations(NamedTuple):
    """Every value of a forward pass, or the gradients with respect to these values.

    Attributes:
      inputs: x of layer 0, ``[batch, in]``.
      s: the affine map of every layer, ``{"layer1": [batch, out], ...}``.
      x: the outputs of every layer, ``{"layer1": [batch, out], ...}``; for the last one this is s.
    """

    inputs: Float[Array, "batch in"]
    s: dict[str, Float[Array, "batch _"]]
    x: dict[str, Float[Array, "batch _"]]

    @property
    def outputs(self) -> Float[Array, "batch out"]:
        """The x of the last layer."""
        return self.x[f"layer{len(self.x)}"]


class LayerGradients(NamedTuple):
    """The gradients of the loss, from the backward pass.

    Attributes:
      params: with respect to every parameter, a tree like the parameters.
      activations: with respect to every value of the forward pass, the inputs included.
    """

    params: Params
    activations: Activations


def init(key: PRNGKeyArray, sizes: Sequence[int]) -> Params:
    r"""Draw the parameters of a network with the given widths.

    Kernels and biases are uniform in :math:`\pm 1 / \sqrt{\text{fan-in}}`, where the fan-in is the
    width of the layer before, as in the ``Linear`` of PyTorch, the notes' framework.

    Args:
      key: the source of the numbers.
      sizes: the widths, from the inputs to the outputs: two or more, each at least 1.

    Returns:
      ``{"layer1": {"kernel": [in, out], "bias": [out]}, "layer2": ...}``.

    Raises:
      ValueError: ``key`` is no key, there are fewer than two sizes, one is below 1, or they make
        more than 2^31 weights.

    Example:
      >>> params = init(jax.random.key(0), (784, 200, 1))
      >>> {name: layer["kernel"].shape for name, layer in params.items()}
      {'layer1': (784, 200), 'layer2': (200, 1)}
    """
    _require.one_key(key)
    sizes = _require.sizes("sizes", sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes {sizes}: give two widths or more, the inputs' first")
    if (weights := sum(a * b for a, b in itertools.pairwise(sizes))) > _MOST_WEIGHTS:
        raise ValueError(f"sizes {sizes} make {weights:,} weights, more than {_MOST_WEIGHTS:,}")
    params: Params = {}
    keys = jax.random.split(key, len(sizes) - 1)
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        bound = 1 / math.sqrt(fan_in)
        kernel_key, bias_key = jax.random.split(keys[index])
        params[f"layer{index + 1}"] = {
            "kernel": jax.random.uniform(
                kernel_key, (fan_in, fan_out), minval=-bound, maxval=bound
            ),
            "bias": jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound),
        }
    return params


def forward(
    params: Params,
    inputs: Float[AnyArray, "batch in"],
    *,
    activation: Callable[[Array], Array] = relu,
    probes: Activations | None = None,
) -> Activations:
    r"""Run the network and keep the s and the x of every layer.

    Args:
      params: as `init` draws them.
      inputs: one sample a row.
      activation: the function between the layers, one of `chainrule.ops.activations` for example.
      probes: added to every value on the way. The gradient with respect to a probe of zeros is the
        gradient with respect to the value that it is added to: this is how `jax.grad` sees inside.

    Returns:
      All values, the outputs among them.

    Raises:
      ValueError: the layers are not called ``layer1``, ``layer2``, ..., one has no kernel or no
        bias, or a shape does not fit.

    Example:
      >>> activations = forward(init(jax.random.key(0), (4, 3, 2)), jnp.ones((5, 4)))
      >>> jax.tree.map(jnp.shape, activations.s)
      {'layer1': (5, 3), 'layer2': (5, 2)}
    """
    names = _layers(params)
    _require.arrays(inputs=inputs)
    cure = "give chainrule.ops.activations.relu, for example"
    _require.function("activation", activation, "of an array", cure)
    if probes is not None:
        _require.instance("probes", probes, Activations, "Activations, zeros like those of forward")
    x = jnp.asarray(inputs)
    x = x if probes is None else x + probes.inputs
    activations = Activations(x, {}, {})
    for layer in names:
        s = linear(x, params[layer]["kernel"], params[layer]["bias"])
        s = s if probes is None else s + probes.s[layer]
        x = s if layer == names[-1] else activation(s)
        x = x if probes is None else x + probes.x[layer]
        activations.s[layer], activations.x[layer] = s, x
    return activations


def apply(
    params: Params,
    inputs: Float[AnyArray, "batch in"],
    *,
    activation: Callable[[Array], Array] = relu,
) -> Float[Array, "batch out"]:
    """Return the outputs of the network: `forward` without the record.

    Args:
      params: as `init` draws them.
      inputs: one sample a row.
      activation: the function between the layers, one of `chainrule.ops.activations` for example.

    Returns:
      The outputs, one row a sample.

    Raises:
      ValueError: the layers are not called ``layer1``, ``layer2``, ..., or a shape does not fit.

    Example:
      >>> params = init(jax.random.key(0), (784, 200, 1))
      >>> apply(params, jnp.zeros((5, 784))).shape
      (5, 1)
    """
    return forward(params, inputs, activation=activation).outputs


def backward(
    params: Params,
    activations: Activations,
    g: Float[AnyArray, "batch out"],
    *,
    activation: Callable[[Array], Array] = relu,
) -> LayerGradients:
    r"""Propagate a gradient back through the layers by the four equations of the notes.

    For one sample, from the last layer to the first:

    .. math::
      \frac{\partial \ell}{\partial s^{(l)}} &=
        \frac{\partial \ell}{\partial x^{(l)}} \odot \sigma'(s^{(l)}) \\
      \frac{\partial \ell}{\partial x^{(l-1)}} &=
        {w^{(l)}}^\top \frac{\partial \ell}{\partial s^{(l)}} \\
      \frac{\partial \ell}{\partial w^{(l)}} &=
        \frac{\partial \ell}{\partial s^{(l)}} {x^{(l-1)}}^\top \\
      \frac{\partial \ell}{\partial b^{(l)}} &=
        \frac{\partial \ell}{\partial s^{(l)}}

    For a batch, the last two are summed over the samples; dividing by their number is the loss's
    part.

    The gradient with respect to the inputs, ``gradients.activations.inputs``, costs a matrix
    product that training does not need: under `jax.jit` it is computed only where it is used.

    Args:
      params: as they were in `forward`.
      activations: what `forward` returned.
      g: the gradient of the loss with respect to the outputs.
      activation: as it was in `forward`; it needs a rule, see `chainrule.ops`.

    Returns:
      The gradients with respect to the parameters and to every value on the way.

    Raises:
      ValueError: g has not the shape of the outputs.
      LookupError: the activation has no rule.

    Example:
      >>> params, inputs = init(jax.random.key(0), (4, 3, 2)), jnp.ones((5, 4))
      >>> gradients = backward(params, forward(params, inputs), jnp.ones((5, 2)))
      >>> by_jax = jax.grad(lambda params: apply(params, inputs).sum())(params)
      >>> bool(jnp.allclose(gradients.params["layer1"]["kernel"], by_jax["layer1"]["kernel"]))
      True
    """
    _require.instance("activations", activations, Activations, "what forward returns")
    _require.incoming(g, activations.outputs.shape)
    rule = _rule("activation", activation)
    names = _layers(params)
    g, grads = jnp.asarray(g), Params()
    by_s: dict[str, Array] = {}
    by_x: dict[str, Array] = {}
    for index in reversed(range(len(names))):
        layer = names[index]
        below = activations.x[names[index - 1]] if index else activations.inputs
        kernel, bias = params[layer]["kernel"], params[layer]["bias"]
        by_x[layer] = g
        # dl/ds = dl/dx * sigma'(s)
        by_s[layer] = g if layer == names[-1] else rule(g, activations.s[layer])
        # dl/dx of the layer below = dl/ds w^T, dl/dw = x^T dl/ds, dl/db = 1^T dl/ds
        g, by_kernel, by_bias = linear_backward(by_s[layer], below, kernel, bias)
        grads[layer] = {"kernel": by_kernel, "bias": by_bias}
    return LayerGradients(grads, Activations(g, by_s, by_x))


def gradient_step(
    params: Params,
    inputs: Float[AnyArray, "batch in"],
    targets: AnyArray,
    eta: float | Float[AnyArray, ""],
    *,
    activation: Callable[[Array], Array] = relu,
    loss: Callable[..., Array] = squared_error,
) -> tuple[Params, Float[Array, ""]]:
    r"""Take one step of gradient descent, without autodiff.

    .. math::
      w \leftarrow w - \eta \frac{\partial \ell}{\partial w}

    The loss is a mean over the batch, and so is this gradient. (The notes print the step as a sum
    over the samples, which is this one with an ``eta`` larger by their number.)

    Args:
      params: as `init` draws them.
      inputs: one sample a row.
      targets: what the loss compares the outputs with: of their shape for `squared_error`.
      eta: the learning rate, above 0.
      activation: the function between the layers; it needs a rule, see `chainrule.ops`.
      loss: one of `chainrule.losses`, or any function with a rule.

    Returns:
      The new parameters, and the loss of the old ones.

    Raises:
      ValueError: a shape does not fit, or the rate is not positive and finite.
      LookupError: the activation or the loss has no rule.

    Example:
      >>> params, inputs = init(jax.random.key(0), (4, 3, 1)), jnp.ones((5, 4))
      >>> for _ in range(100):
      ...     params, loss = gradient_step(params, inputs, jnp.ones((5, 1)), 0.1)
      >>> bool(loss < 1e-6)
      True
    """
    eta = _require.real("eta", eta, above=0)
    loss_rule = _rule("loss", loss)
    activations = forward(params, inputs, activation=activation)
    value = loss(activations.outputs, targets)
    g, _ = loss_rule(jnp.ones_like(value), activations.outputs, targets)
    grads = backward(params, activations, g, activation=activation).params
    return jax.tree.map(lambda weight, grad: weight - eta * grad, params, grads), value


def collapse(
    params: Params, *, scale: float = 1.0, shift: float = 0.0
) -> dict[str, Float[Array, "..."]]:
    r"""Return the one affine map that a network with an affine activation is.

    With :math:`\sigma(s) = a s + c` two layers are

    .. math::
      x W_1 a W_2 + (a b_1 + c \mathbf{1}) W_2 + b_2

    which is affine in x, and so on for more layers: with nothing but affine maps, depth adds
    nothing.

    Args:
      params: as `init` draws them, of a network with ``activations.affine`` between its layers.
      scale: a.
      shift: c.

    Returns:
      A layer, ``{"kernel": [in, out], "bias": [out]}``.

    Example:
      >>> from chainrule.ops.activations import affine
      >>> params, inputs = init(jax.random.key(0), (4, 30, 20, 2)), jnp.ones((5, 4))
      >>> deep = apply(params, inputs, activation=affine)
      >>> bool(jnp.allclose(deep, linear(inputs, **collapse(params)), atol=1e-6))
      True
    """
    scale = _require.real("scale", scale)
    shift = _require.real("shift", shift)
    first, *others = _layers(params)
    kernel, bias = params[first]["kernel"], params[first]["bias"]
    for layer in others:
        above = params[layer]
        kernel = scale * kernel @ above["kernel"]
        bias = (scale * bias + shift) @ above["kernel"] + above["bias"]
    return {"kernel": kernel, "bias": bias}


def _rule(name: str, operator: Callable[..., Array]) -> Callable[..., Any]:
    """Return the rule of an argument, and name the argument if it has none."""
    _require.function(name, operator, "of arrays with a rule beside it")
    try:
        return backward_of(operator)
    except NoRuleError as error:
        raise NoRuleError(f"{name}: {error}") from error


def _layers(params: Params) -> list[str]:
    if not isinstance(params, dict):
        raise ValueError(
            f"params must be the dict of layers that init returns, not {_require.kind(params)}: "
            "they come first, and the inputs second"
        )
    # Counted, not iterated over: a dict that went through jit is sorted, layer10 before layer2.
    names = [f"layer{index}" for index in range(1, len(params) + 1)]
    if not names or set(names) != set(params):
        raise ValueError(
            f"params: the layers are called {list(params)}: expected {names or ['layer1']}"
        )
    for name in names:
        layer = params[name]
        if not isinstance(layer, dict) or set(layer) != {"kernel", "bias"}:
            found = list(layer) if isinstance(layer, dict) else _require.kind(layer)
            raise ValueError(f"params: {name} holds {found}: expected a kernel and a bias")
    return names
