r"""Threshold logic units: a weighted sum, and whether it reaches zero.

.. math::
   f(x) = 1\{w \cdot x + b \ge 0\}

McCulloch and Pitts' unit has Boolean inputs and *one common weight*: `OR`, `AND`, `NOT` and the
unit that joins the rows in `from_truth_table` are of that kind. The perceptron has real inputs and
*a weight each*: of that kind are the units that `from_truth_table` makes for the rows, and the one
that `descend` finds.

Both are one representation, a network of layers of units, ``{"layer1": {"kernel", "bias"}, ...}``
with a single unit in the last layer, so that `apply` evaluates them all.

References:
  McCulloch and Pitts, A logical calculus of the ideas immanent in nervous activity, 1943.
  Rosenblatt, The perceptron: a perceiving and recognizing automaton, 1957.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["AND", "NOT", "OR", "Params", "apply", "descend", "from_truth_table", "rows"]
__dir__ = __all__.copy

Params = dict[str, dict[str, Any]]
"""``{"layer1": {"kernel", "bias"}, ...}``."""


def _unit(weights: list[float], bias: float) -> Params:
    # NumPy leaves: importing this module must not start a device.
    kernel = np.array(weights, np.float32)[:, None]
    return {"layer1": {"kernel": kernel, "bias": np.array([bias], np.float32)}}


OR = _unit([1.0, 1.0], -0.5)
"""1 where one of two inputs is 1."""
AND = _unit([1.0, 1.0], -1.5)
"""1 where both inputs are 1."""
NOT = _unit([-1.0], 0.5)
"""1 where the one input is 0."""


def apply(params: Params, inputs: Shaped[AnyArray, "batch in"]) -> Int[Array, " batch"]:
    r"""Evaluate a network of threshold units.

    .. math::
       h_0 = x, \qquad h_l = 1\{h_{l-1} W_l + b_l \ge 0\}

    Being a step, it has no gradient: `descend` goes through a sigmoid.

    Args:
      params: `OR`, `AND`, `NOT`, or what `from_truth_table` or `descend` returned.
      inputs: 0 or 1, of any dtype, ``[batch, in]``.

    Returns:
      0 or 1, int32 ``[batch]``.

    Raises:
      ValueError: the first layer takes another number of inputs, or an input is neither 0 nor 1.

    Example:
      >>> u, v = rows(2).T
      >>> apply(AND, jnp.stack([u, apply(NOT, v[:, None])], axis=1))  # u and not v
      Array([0, 0, 1, 0], dtype=int32)
    """
    _require.arrays(inputs=inputs)
    _require.instance("params", params, dict, "a dict of layers, as OR and AND are")
    if "layer1" not in params:
        raise ValueError(f"params holds {list(params)}: the first layer is called layer1")
    kernel = params["layer1"]["kernel"]
    if inputs.ndim != 2 or inputs.shape[1] != kernel.shape[0]:
        raise ValueError(
            f"the first layer takes {kernel.shape[0]} inputs, got inputs of shape {inputs.shape}: "
            "they must be [batch, in]"
        )
    _require.among("inputs", inputs, (0, 1))
    bits = jnp.asarray(inputs, kernel.dtype)
    for i in range(len(params)):
        layer = params[f"layer{i + 1}"]
        bits = jnp.where(bits @ layer["kernel"] + layer["bias"][None, :] >= 0, 1.0, 0.0)
    return bits[:, 0].astype(jnp.int32)


def rows(n: int) -> Int[Array, "rows n"]:
    """Return the rows of a truth table of n inputs in counting order.

    Args:
      n: number of inputs, 1 to 20.

    Returns:
      0 or 1, int32 ``[2**n, n]``; the first input is the most significant.

    Raises:
      ValueError: n is out of its range.

    Example:
      >>> rows(2).tolist()
      [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return jnp.asarray(_rows(_require.count("n", n, most=20)), jnp.int32)


def from_truth_table(table: Sequence[Any] | np.ndarray | AnyArray) -> Params:
    r"""Build a network that computes any Boolean function, exactly.

    One unit per true row :math:`r` fires on that row alone, and an `OR` of all these units is the
    output:

    .. math::
       h_r(x) = 1\{(2r - 1) \cdot x - \textstyle\sum_i r_i + \frac12 \ge 0\}, \qquad
       f(x) = 1\{\textstyle\sum_r h_r(x) - \frac12 \ge 0\}

    The units of the rows are perceptrons, with weights of +1 and -1; the output unit is McCulloch
    and Pitts'.

    Args:
      table: 0 or 1, or Booleans, ``[2**n]`` with n of at least 1; one entry a row, in the order of
        `rows`.

    Returns:
      Two layers, float32: ``layer1`` with a kernel ``[n, true rows]`` and a bias ``[true rows]``,
      ``layer2`` with a kernel ``[true rows, 1]`` and a bias ``[1]``. A function that is never true
      has no unit in its first layer.

    Raises:
      ValueError: the length is not ``2**n``, or an entry is neither 0 nor 1.

    Example:
      >>> xor = from_truth_table([0, 1, 1, 0])
      >>> xor["layer1"]["kernel"].tolist()
      [[-1.0, 1.0], [1.0, -1.0]]
      >>> apply(xor, rows(2))
      Array([0, 1, 1, 0], dtype=int32)
    """
    bits = _check_table(table)
    true = _rows(bits.size.bit_length() - 1)[bits == 1]
    params = {
        "layer1": {"kernel": 2 * true.T - 1, "bias": 0.5 - true.sum(axis=1)},
        "layer2": {"kernel": np.ones((len(true), 1)), "bias": np.array([-0.5])},
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def descend(
    table: Sequence[Any] | np.ndarray | AnyArray, *, eta: float = 1.0, steps: int = 100
) -> Params:
    r"""Find the weights of one unit by gradient descent instead of by hand.

    The step has no gradient, so the descent, from zero, is on the cross-entropy of a sigmoid of the
    same sum, averaged over the rows :math:`x` of the table, with :math:`y = \pm 1` for true and
    false:

    .. math::
       \frac{1}{2^n} \sum_x \log\big(1 + e^{-y (w \cdot x + b)}\big)

    The unit is a perceptron, with a real weight each. For a function that no single unit computes,
    such as XOR, the unit found is wrong on some row.

    Args:
      table: as in `from_truth_table`.
      eta: learning rate, above 0.
      steps: number of full-batch steps, at least 0.

    Returns:
      ``{"layer1": {"kernel": [n, 1], "bias": [1]}}``.

    Raises:
      ValueError: as `from_truth_table`, or the rate or the number of steps is out of its range.

    Example:
      >>> found = descend([0, 0, 0, 1])
      >>> AND["layer1"]["kernel"][:, 0].tolist(), AND["layer1"]["bias"].tolist()
      ([1.0, 1.0], [-1.5])
      >>> found["layer1"]["kernel"][:, 0].tolist(), found["layer1"]["bias"].tolist()
      ([3.0, 3.0], [-4.8])
      >>> apply(AND, rows(2)).tolist(), apply(found, rows(2)).tolist()
      ([0, 0, 0, 1], [0, 0, 0, 1])
    """
    bits = _check_table(table)
    eta = _require.real("eta", eta, above=0)
    steps = _require.count("steps", steps, least=0, most=2**31 - 1)
    inputs = jnp.asarray(_rows(bits.size.bit_length() - 1), float)
    signs = jnp.asarray(np.where(bits == 1, 1.0, -1.0))

    def loss(unit: dict[str, AnyArray]) -> Array:
        logits = inputs @ unit["kernel"][:, 0] + unit["bias"]
        return jnp.mean(jax.nn.softplus(-signs * logits))

    def step(_: Any, unit: dict[str, AnyArray]) -> dict[str, Array]:
        return jax.tree.map(lambda w, g: w - eta * g, unit, jax.grad(loss)(unit))

    start = {"kernel": jnp.zeros((inputs.shape[1], 1)), "bias": jnp.zeros(1)}
    return {"layer1": jax.lax.fori_loop(0, steps, step, start)}


def _rows(n: int) -> np.ndarray:
    return (np.arange(2**n)[:, None] >> np.arange(n)[::-1]) & 1


def _check_table(table: Sequence[Any] | np.ndarray | AnyArray) -> np.ndarray:
    bits = _require.host("table", table)
    if bits.ndim != 1 or bits.size < 2 or bits.size & (bits.size - 1):
        raise ValueError(
            f"a truth table of n inputs has 2**n entries (2, 4, 8, ...), got shape {bits.shape}"
        )
    _require.among("table", bits, (0, 1))
    return bits
