"""The notes' network for digits, after LeNet-5 (LeCun et al., 1998): two convolutions, two layers.

It is the table `ROWS`, which `chainrule.models.stack` runs. The ReLU follows the pool: the
ReLU of the maximum is the maximum of the ReLUs, at a ninth of the cost.

Example:
  >>> from chainrule.models import stack
  >>> print(stack.describe(ROWS, INPUT_SHAPE))
  name    kind   outputs       padding        sees     parameters  multiply-adds  outputs, kB
  conv1   conv   24 x 24 x 32  0+0, 0+0       5 x 5           832        460,800         73.7
  pool1   max    8 x 8 x 32    0+0, 0+0       7 x 7             0              0          8.2
  conv2   conv   4 x 4 x 64    0+0, 0+0       19 x 19      51,264        819,200          4.1
  pool2   max    2 x 2 x 64    0+0, 0+0       22 x 22           0              0          1.0
  dense1  dense  200                          28 x 28      51,400         51,200          0.8
  dense2  dense  10                           28 x 28       2,010          2,000          0.0
  total                                                   105,506      1,333,200         87.9
"""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray
from chainrule.models import stack
from chainrule.models.pretrained import layouts, shipped
from chainrule.models.stack import Conv, Dense, Pool, Tree
from chainrule.models.stack.rows import as_matrix
from chainrule.ops.activations import relu

__all__ = [
    "INPUT_SHAPE",
    "ROWS",
    "TORCH_NAMES",
    "apply",
    "features",
    "from_torch",
    "init",
    "pretrained",
    "to_torch",
]
__dir__ = __all__.copy

INPUT_SHAPE = (28, 28, 1)
"""One digit."""

ROWS = (
    Conv("conv1", 32, kernel=5),
    Pool("pool1", 3, activation=relu),
    Conv("conv2", 64, kernel=5),
    Pool("pool2", 2, activation=relu),
    Dense("dense1", 200, activation=relu),
    Dense("dense2", 10),
)
"""The layers, as a table for `chainrule.models.stack`."""

TORCH_NAMES = {"conv1": "conv1", "conv2": "conv2", "dense1": "fc1", "dense2": "fc2"}
"""The names of the layers in the notes' ``Net``."""

_WITHIN_ONE_OVER_ROOT = as_matrix(jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))


def init(key: PRNGKeyArray) -> Tree:
    r"""Draw the parameters.

    Kernels are uniform within :math:`\pm 1 / \sqrt{\text{fan-in}}`, as PyTorch, the notes'
    framework, draws them; biases are 0. The variance is a sixth of that of He et al. (2015). After
    one epoch of Adam on 50,000 digits it left 85, 101 and 92 errors among 10,000 others, theirs 113
    and 106 (seeds 0, 1, 2).

    Args:
      key: the source of the numbers.

    Returns:
      ``{"conv1": {"kernel": [5, 5, 1, 32], "bias": [32]}, "conv2": ..., ...}`` to ``"dense2"``,
      105,506 numbers.

    Example:
      >>> {name: layer["kernel"].shape for name, layer in init(jax.random.key(0)).items()}
      {'conv1': (5, 5, 1, 32), 'conv2': (5, 5, 32, 64), 'dense1': (256, 200), 'dense2': (200, 10)}
    """
    return stack.init(key, ROWS, INPUT_SHAPE, kernel_init=_WITHIN_ONE_OVER_ROOT)


def apply(
    params: Tree, inputs: Float[AnyArray, "batch height width channels"]
) -> Float[Array, "batch 10"]:
    """Return the logits of the ten digits.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, 28, 28, 1]``.

    Returns:
      Logits, ``[batch, 10]``, for `chainrule.losses.cross_entropy`.

    Raises:
      ValueError: images of another shape, or parameters that are not those of `init`.

    Example:
      >>> import jax.numpy as jnp
      >>> params = jax.eval_shape(init, jax.random.key(0))
      >>> jax.eval_shape(apply, params, jnp.zeros((5, 28, 28, 1))).shape
      (5, 10)
    """
    _check(inputs)
    return stack.apply(params, inputs, ROWS)


def features(
    params: Tree, inputs: Float[AnyArray, "batch height width channels"]
) -> dict[str, Array]:
    """Return the outputs of every row: ``conv1``, ``pool1``, ..., and ``dense2``, the logits.

    Args:
      params: as `init` draws them.
      inputs: ``[batch, 28, 28, 1]``.

    Returns:
      ``{name: [batch, ...]}`` in the order of the rows.

    Raises:
      ValueError: as for `apply`.
    """
    _check(inputs)
    return stack.features(params, inputs, ROWS)


def pretrained() -> Tree:
    """Return the weights that live in the package: 9,949 of 10,000 test digits are right.

    ``experiments/make_pretrained.py`` trained them on 55,000 digits of MNIST, moved at random by up
    to two pixels; the number of epochs was fixed before. Digits are light on a dark ground, and
    standardised by `chainrule.models.pretrained.preprocessing.DIGITS`.

    Returns:
      Parameters for `apply`, float32.

    Example:
      >>> from chainrule import data
      >>> from chainrule.models.pretrained.preprocessing import DIGITS, preprocess
      >>> digits = data.mnist("test", source="embedded").images[:5, ..., None]
      >>> jax.jit(apply)(pretrained(), preprocess(digits, DIGITS)).argmax(axis=1)
      Array([7, 2, 1, 0, 4], dtype=int32)
    """
    params, _ = shipped.read("lenet")
    return params


def from_torch(tensors: Mapping[str, np.ndarray]) -> Tree:
    """Return the parameters of the notes' ``Net``, trained in PyTorch.

    The channels of the kernels move to the end, and the inputs of ``fc1``, which PyTorch counts
    channel by channel, into our order: rows, columns, channels.

    Args:
      tensors: its ``state_dict()`` as NumPy arrays: ``conv1.weight``, ``conv1.bias``, ...

    Returns:
      Parameters for `apply`, float32.

    Raises:
      ValueError: tensors are missing, unexpected, of another shape or not floating-point; the
        error lists all of them.
    """
    params, _ = layouts.from_torch(tensors, TORCH_NAMES, ROWS, INPUT_SHAPE)
    return params


def to_torch(params: Tree) -> dict[str, np.ndarray]:
    """Return the tensors that the notes' ``Net`` loads with ``load_state_dict``.

    It is the inverse of `from_torch`.

    Args:
      params: as `init` draws them.

    Returns:
      ``{"conv1.weight": [32, 1, 5, 5], "conv1.bias": [32], ...}``, NumPy arrays.
    """
    return layouts.to_torch(params, {}, TORCH_NAMES, ROWS, INPUT_SHAPE)


def _check(inputs: AnyArray) -> None:
    _require.arrays(inputs=inputs)
    if inputs.shape[1:] != INPUT_SHAPE:
        raise ValueError(
            f"lenet: inputs {inputs.shape}: they must be [batch, 28, 28, 1]; a batch without the "
            "axis of channels gets it by inputs[..., None]"
        )
