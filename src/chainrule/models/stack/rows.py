"""The rows of a network, and what each of them computes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.ops import windows
from chainrule.ops.convolution import conv
from chainrule.ops.linear import linear
from chainrule.ops.pooling import avg_pool, max_pool
from chainrule.ops.windows import Padding, PerAxis, Window

__all__ = [
    "Conv",
    "Dense",
    "Dropout",
    "Norm",
    "Pool",
    "Row",
    "as_matrix",
    "checked",
    "param_shapes",
    "run",
    "window",
]
__dir__ = __all__.copy

Activation = Callable[[Array], Array]

Leaves = dict[str, Any]
"""The arrays of one row, ``{"kernel": ..., "bias": ...}`` for example."""


class Conv(NamedTuple):
    """A convolution with a bias, see `chainrule.ops.convolution.conv`.

    Attributes:
      name: of its ``kernel`` and ``bias`` in the parameters.
      features: how many channels it makes.
      kernel: its size, one number for every axis of space or one for each.
      stride: from one position to the next.
      padding: zeros around the inputs.
      dilation: from one weight to the next.
      groups: into how many parts the channels are divided.
      activation: what follows.
    """

    name: str
    features: int
    kernel: PerAxis = 3
    stride: PerAxis = 1
    padding: Padding = 0
    dilation: PerAxis = 1
    groups: int = 1
    activation: Activation | None = None


class Norm(NamedTuple):
    r"""Batch normalisation (Ioffe and Szegedy, 2015).

    .. math::
      y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    The mean and the variance of each channel are those of the batch while training, and the running
    ones otherwise. Both use the biased variance (over n).

    Attributes:
      name: of its ``scale`` and ``bias`` in the parameters, and of ``mean`` and ``var`` in the
        state.
      momentum: the share of the running statistics that a step keeps, from 0 to 1.
      epsilon: added to the variance, so that its root is not 0; at least 0.
      activation: what follows.
    """

    name: str
    momentum: float = 0.9
    epsilon: float = 1e-5
    activation: Activation | None = None


class Pool(NamedTuple):
    """A pool, see `chainrule.ops.pooling`.

    Attributes:
      name: its name among the features.
      window: its size, one number for every axis of space or one for each.
      stride: from one position to the next; the window's size unless given.
      padding: around the inputs.
      ceil_mode: whether to keep the positions that the window only partly fills.
      kind: whether it keeps the largest value or the mean.
      activation: what follows.
      dilation: from one tap of the window to the next.
    """

    name: str
    window: PerAxis = 2
    stride: PerAxis | None = None
    padding: Padding = 0
    ceil_mode: bool = False
    kind: Literal["max", "avg"] = "max"
    activation: Activation | None = None
    dilation: PerAxis = 1


class Dense(NamedTuple):
    """A fully connected layer with a bias.

    Attributes:
      name: of its ``kernel`` and ``bias`` in the parameters.
      features: how many values it makes.
      activation: what follows.
    """

    name: str
    features: int
    activation: Activation | None = None


class Dropout(NamedTuple):
    """While training with a key, sets values to 0 with this probability and scales up the others.

    Attributes:
      name: its name among the features.
      rate: the probability of 0, at least 0 and below 1.
    """

    name: str
    rate: float


Row = Conv | Norm | Pool | Dense | Dropout


def checked(rows: Any) -> tuple[Row, ...]:
    """Return a table of rows, and refuse anything else."""
    if not isinstance(rows, Sequence) or not all(isinstance(row, Row) for row in rows):
        found = rows if isinstance(rows, Sequence) else _require.kind(rows)
        raise ValueError(
            f"rows must be a sequence of Conv, Norm, Pool, Dense and Dropout, not {found}"
        )
    return tuple(rows)


def as_matrix(draw: Callable[..., Array]) -> Callable[..., Array]:
    """Make an initializer that depends on the fan-in alone draw kernels as matrices.

    The numbers are the same, and XLA compiles the draw in a tenth of the time: with four axes it
    takes two seconds a shape.

    Args:
      draw: as those of ``jax.nn.initializers``, with the mode ``fan_in``.
    """

    def drawn(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
        return draw(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)

    return drawn


def run(
    row: Row,
    layer: Leaves,
    statistics: Leaves,
    inputs: AnyArray,
    key: PRNGKeyArray | None,
    train: bool,
) -> tuple[Array, Leaves]:
    """Return the outputs of a row, and its new statistics (of a `Norm` row, else none).

    Args:
      row: the row.
      layer: its parameters.
      statistics: ``{"mean", "var"}`` of a `Norm` row.
      inputs: ``[batch, ...]``.
      key: for dropout; without one nothing is dropped.
      train: whether the statistics are those of the batch.

    Raises:
      ValueError: a setting of the row is out of range, its inputs do not fit, or a batch to take
        statistics of is empty.
    """
    _check(row)
    match row:
        case Conv():
            outputs = conv(
                inputs,
                layer["kernel"],
                layer["bias"],
                stride=row.stride,
                padding=row.padding,
                dilation=row.dilation,
                groups=row.groups,
            )
        case Norm():
            outputs, statistics = _normalise(row, layer, statistics, inputs, train)
        case Pool():
            pool = {"max": max_pool, "avg": avg_pool}[row.kind]
            outputs = pool(inputs, row.window, row.stride, row.padding, row.dilation, row.ceil_mode)
        case Dense():
            flat = inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))
            outputs = linear(flat, layer["kernel"], layer["bias"])
        case Dropout():
            if key is None:
                return jnp.asarray(inputs), {}
            kept = jax.random.bernoulli(key, 1 - row.rate, inputs.shape)
            return jnp.where(kept, inputs / (1 - row.rate), 0), {}
    return outputs if row.activation is None else row.activation(outputs), statistics


def _normalise(
    row: Norm, layer: Leaves, statistics: Leaves, inputs: AnyArray, train: bool
) -> tuple[Array, Leaves]:
    mean, var = statistics["mean"], statistics["var"]
    if train:
        if 0 in inputs.shape:
            raise ValueError(f"inputs {inputs.shape}: an empty batch has no mean and no variance")
        # Half precision is too coarse for sums over a batch.
        wide, axes = inputs.astype(mean.dtype), tuple(range(inputs.ndim - 1))
        mean, var = jnp.mean(wide, axes), jnp.var(wide, axes)
        share = 1 - row.momentum
        statistics = {
            "mean": row.momentum * statistics["mean"] + share * jax.lax.stop_gradient(mean),
            "var": row.momentum * statistics["var"] + share * jax.lax.stop_gradient(var),
        }
    scale = layer["scale"] * jax.lax.rsqrt(var + row.epsilon)
    shift = layer["bias"] - mean * scale
    ones = (1,) * (inputs.ndim - 1)
    scale, shift = (v.astype(inputs.dtype).reshape(*ones, -1) for v in (scale, shift))
    return inputs * scale + shift, statistics


def param_shapes(row: Row, inputs: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a row's parameters, given that of one input."""
    _check(row)
    match row:
        case Conv():
            size = windows.per_axis("kernel", row.kernel, len(inputs) - 1)
            kernel = (*size, inputs[-1] // row.groups, row.features)
            return {"kernel": kernel, "bias": (row.features,)}
        case Dense():
            return {"kernel": (math.prod(inputs), row.features), "bias": (row.features,)}
        case Norm():
            return {"scale": inputs[-1:], "bias": inputs[-1:]}
    return {}


def _check(row: Row) -> None:
    """Check the settings of a row that no operator checks."""
    match row:
        case Conv():
            _require.counts(features=row.features, groups=row.groups)
        case Dense():
            _require.count("features", row.features)
        case Norm():
            _require.real("momentum", row.momentum, least=0, most=1)
            _require.real("epsilon", row.epsilon, least=0)
        case Pool():
            _require.one_of("kind", row.kind, ("max", "avg"))
        case Dropout():
            _require.real("rate", row.rate, least=0, below=1)


def window(row: Row, inputs: tuple[int, ...]) -> Window | None:
    """Return the placement of a row's window, if it has one, given the shape of one input."""
    space = inputs[:-1]
    match row:
        case Conv():
            size, stride, dilation, ceil_mode = row.kernel, row.stride, row.dilation, False
        case Pool():
            size, dilation, ceil_mode = row.window, row.dilation, row.ceil_mode
            stride = size if row.stride is None else row.stride
        case _:
            return None
    return windows.place(
        row.name,
        space,
        windows.per_axis("window", size, len(space)),
        stride=stride,
        padding=row.padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
