"""The circuits of the course and the snippets of the notes, with the numbers printed for them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from chainrule import losses
from chainrule.ops.activations import affine, relu, sigmoid
from chainrule.ops.convolution import plain_conv
from chainrule.ops.elementary import add, maximum, multiply, norm, square
from chainrule.ops.linear import matvec
from chainrule.ops.pooling import max_pool
from worked.programs import Steps, Values, by_hand, by_jax, forward

# --- operators that the package has no other use for, each with its rule -------------------------


def exp(x):
    """Return e to the x."""
    return jnp.exp(x)


def exp_backward(g, x):
    """Return g e^x."""
    return g * jnp.exp(x)


def reciprocal(x):
    """Return 1 / x."""
    return 1 / x


def reciprocal_backward(g, x):
    """Return -g / x^2."""
    return -g / x**2


def log(x):
    """Return the natural logarithm."""
    return jnp.log(x)


def log_backward(g, x):
    """Return g / x."""
    return g / x


def sin(x):
    """Return the sine."""
    return jnp.sin(x)


def sin_backward(g, x):
    """Return g cos x."""
    return g * jnp.cos(x)


def cube(x):
    """Return x^3."""
    return x**3


def cube_backward(g, x):
    """Return 3 g x^2."""
    return 3 * g * x**2


def total(x):
    """Return the sum of all elements."""
    return jnp.sum(x)


def total_backward(g, x):
    """Return g in every element."""
    return jnp.full_like(x, g)


def channels_last(x):
    """Return ``[N, C, H, W]`` as ``[N, H, W, C]``."""
    return jnp.moveaxis(x, 1, -1)


def channels_last_backward(g, x):
    """Return g as ``[N, C, H, W]``."""
    return jnp.moveaxis(g, -1, 1)


def channels_first(x):
    """Return ``[N, H, W, C]`` as ``[N, C, H, W]``."""
    return jnp.moveaxis(x, -1, 1)


def channels_first_backward(g, x):
    """Return g as ``[N, H, W, C]``."""
    return jnp.moveaxis(g, 1, -1)


negate = functools.partial(affine, scale=-1.0)
double = functools.partial(affine, scale=2.0)
increment = functools.partial(affine, shift=1.0)

# --- the table -----------------------------------------------------------------------------------


class Example(NamedTuple):
    """A program with the numbers that were printed for it, in the form of `worked.printed`.

    Attributes:
      name: what it is.
      inputs: the numbers that go in.
      steps: the program.
      values: name to printed value.
      grads: name to printed gradient of the result (of its sum, where it is an array).
    """

    name: str
    inputs: dict[str, Any]
    steps: Steps
    values: dict[str, str]
    grads: dict[str, str]

    @property
    def arrays(self) -> Values:
        """The inputs as float32 arrays."""
        return {name: jnp.asarray(value, jnp.float32) for name, value in self.inputs.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all values, in the order of computation."""
        return (*self.inputs, *self.steps)

    def run(self) -> tuple[Values, Values, Values]:
        """Return all values, and the gradients of all of them by hand and by `jax.grad`."""
        ways = forward, by_hand, by_jax
        return jax.jit(lambda arrays: tuple(way(self.steps, arrays) for way in ways))(self.arrays)


_INPUTS = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
_SUM: Steps = {
    "w0 x0": (multiply, "w0", "x0"),
    "w1 x1": (multiply, "w1", "x1"),
    "w x": (add, "w0 x0", "w1 x1"),
    "s": (add, "w x", "w2"),
}
_GRADS = {"w0": "-0.20", "x0": "0.39", "w1": "-0.39", "x1": "-0.59", "w2": "0.20"}

NEURON = Example(
    "a sigmoid neuron, gate by gate",
    _INPUTS,
    {
        **_SUM,
        "-s": (negate, "s"),
        "e^-s": (exp, "-s"),
        "1 + e^-s": (increment, "e^-s"),
        "f": (reciprocal, "1 + e^-s"),
    },
    {
        "w0 x0": "-2.00",
        "w1 x1": "6.00",
        "w x": "4.00",
        "s": "1.00",
        "-s": "-1.00",
        "e^-s": "0.37",
        "1 + e^-s": "1.37",
        "f": "0.73",
    },
    {
        **_GRADS,
        "w0 x0": "0.20",
        "w1 x1": "0.20",
        "w x": "0.20",
        "s": "0.20",
        "-s": "-0.20",
        "e^-s": "-0.53",
        "1 + e^-s": "-0.53",
        "f": "1.00",
    },
)

SQUARED_LENGTH = Example(
    "|W x|^2",
    {"W": [[0.1, 0.5], [-0.3, 0.8]], "x": [0.2, 0.4]},
    {"q": (matvec, "W", "x"), "q^2": (square, "q"), "f": (total, "q^2")},
    {"q": "0.22 0.26", "f": "0.116"},
    {"W": "0.088 0.176; 0.104 0.208", "x": "-0.112 0.636", "q": "0.44 0.52"},
)

LOG_PRODUCT_SINE = Example(
    "ln x1 + x1 x2 - sin x2 (Baydin et al., 2018)",
    {"x1": 2.0, "x2": 5.0},
    {
        "ln x1": (log, "x1"),
        "x1 x2": (multiply, "x1", "x2"),
        "sum": (add, "ln x1", "x1 x2"),
        "sin x2": (sin, "x2"),
        "-sin x2": (negate, "sin x2"),
        "f": (add, "sum", "-sin x2"),
    },
    {"ln x1": "0.693", "x1 x2": "10", "sin x2": "-0.959", "sum": "10.693", "f": "11.652"},
    {"x1": "5.5", "x2": "1.716", "sin x2": "-1", "f": "1"},
)


def _pool(window: int | tuple[int, int]) -> Steps:
    """Return a max-pool of images with the channels first, as they are printed."""
    return {
        "channels last": (channels_last, "x"),
        "pooled": (functools.partial(max_pool, window=window), "channels last"),
        "f": (channels_first, "pooled"),
    }


EXAMPLES = (
    Example(
        "(x + y) z",
        {"x": -2.0, "y": 5.0, "z": -4.0},
        {"q": (add, "x", "y"), "f": (multiply, "q", "z")},
        {"q": "3", "f": "-12"},
        {"x": "-4", "y": "-4", "z": "3", "q": "-4", "f": "1"},
    ),
    NEURON,
    Example(
        "the same neuron, the sigmoid as one operator",
        _INPUTS,
        {**_SUM, "f": (sigmoid, "s")},
        {"s": "1.00", "f": "0.73"},
        {**_GRADS, "s": "0.20", "f": "1.00"},
    ),
    Example(
        "multiply switches, max routes, add distributes",
        {"x": 3.0, "y": -4.0, "z": 2.0, "w": -1.0},
        {
            "x y": (multiply, "x", "y"),
            "max": (maximum, "z", "w"),
            "sum": (add, "x y", "max"),
            "f": (double, "sum"),
        },
        {"x y": "-12.00", "max": "2.00", "sum": "-10.00", "f": "-20.00"},
        {
            "x": "-8.00",
            "y": "6.00",
            "z": "2.00",
            "w": "0.00",
            "x y": "2.00",
            "max": "2.00",
            "sum": "2.00",
            "f": "1.00",
        },
    ),
    Example(
        "branches add: (x + y) x",
        {"x": 3.0, "y": -4.0},
        {"sum": (add, "x", "y"), "f": (multiply, "sum", "x")},
        {"sum": "-1", "f": "-3"},
        {"x": "2", "y": "3", "sum": "3"},  # x: 3 through the sum and -1 past it
    ),
    SQUARED_LENGTH,
    Example(
        "|x|",
        {"x": [1.0, 2.0, 2.0]},
        {"f": (norm, "x")},
        {"f": "3"},
        {"x": "0.3333 0.6667 0.6667"},
    ),
    Example(
        "sum t^2 + sum log u",
        {"t": [1.0, 2.0, 4.0], "u": [10.0, 20.0]},
        {
            "t^2": (square, "t"),
            "sum t^2": (total, "t^2"),
            "log u": (log, "u"),
            "sum log u": (total, "log u"),
            "f": (add, "sum t^2", "sum log u"),
        },
        {"sum t^2": "21", "sum log u": "5.2983", "f": "26.2983"},
        {"t": "2 4 8", "u": "0.1000 0.0500"},
    ),
    Example(
        "sum x^3",
        {"x": [-3.0, 2.0, 5.0]},
        {"x^3": (cube, "x"), "f": (total, "x^3")},
        {"f": "106"},
        {"x": "27 12 75"},
    ),
    Example(
        "mean squared error of one number",
        {"x": [[3.0]], "t": [[0.0]]},
        {"f": (losses.squared_error, "x", "t")},
        {"f": "9"},
        {"x": "6"},
    ),
    Example(
        "mean squared error of four: the mean is over components too",
        {"x": [[3.0, 0.0, 0.0, 0.0]], "t": [[0.0, 0.0, 0.0, 0.0]]},
        {"f": (losses.squared_error, "x", "t")},
        {"f": "2.2500"},
        {"x": "1.5000 0 0 0"},
    ),
    Example(
        "ReLU",
        {"x": [0.8008, -0.2586, 0.5019, -0.2002, -0.7416]},
        {"f": (relu, "x")},
        {"f": "0.8008 0 0.5019 0 0"},
        {"x": "1 0 1 0 0"},
    ),
    Example(
        "y = sin x",
        {"x": [1.0, 2.0, 3.0]},
        {"y": (sin, "x")},
        {"y": "0.8415 0.9093 0.1411"},
        {"x": "0.5403 -0.4161 -0.9900"},
    ),
    Example(
        "y = sin x, then y + 1: the rule of the sine needs x, not y",
        {"x": [1.0, 2.0, 3.0]},
        {"sin x": (sin, "x"), "y": (increment, "sin x")},
        {"y": "1.8415 1.9093 1.1411"},
        {"x": "0.5403 -0.4161 -0.9900"},
    ),
    Example(
        "y = sin x, then y y: the rule of the product needs y",
        {"x": [1.0, 2.0, 3.0]},
        {"sin x": (sin, "x"), "y": (multiply, "sin x", "sin x")},
        {"y": "0.7081 0.8268 0.0199"},
        {"x": "0.9093 -0.7568 -0.2794"},  # sin 2x
    ),
    Example(
        "(1, 2, 3, 4) by the kernel (3, 2)",
        {"x": [[[1.0], [2.0], [3.0], [4.0]]], "u": [[[3.0]], [[2.0]]]},
        {"f": (plain_conv, "x", "u")},
        {"f": "7 12 17"},
        {"x": "3 5 5 2", "u": "6 9"},
    ),
    Example(
        "max-pool by (1, 2) of 2 channels: the first of equals wins",
        {
            "x": [
                [
                    [[1.0, 1.0, 0.0, 2.0, 1.0, 1.0], [2.0, 2.0, 2.0, 0.0, 2.0, 1.0]],
                    [[1.0, 1.0, 0.0, 0.0, 2.0, 1.0], [0.0, 2.0, 0.0, 2.0, 1.0, 0.0]],
                ]
            ]
        },
        _pool((1, 2)),
        {"f": "1 2 1; 2 2 2; 1 0 2; 2 2 1"},
        {"x": "1 0 0 1 1 0; 1 0 1 0 1 0; 1 0 1 0 1 0; 0 1 0 1 1 0"},
    ),
    Example(
        "max-pool by (2, 2) of 0 to 15",
        {"x": [[[[0.0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]]]},
        _pool(2),
        {"f": "5 7; 13 15"},
        {"x": "0 0 0 0; 0 1 0 1; 0 0 0 0; 0 1 0 1"},
    ),
    LOG_PRODUCT_SINE,
)
