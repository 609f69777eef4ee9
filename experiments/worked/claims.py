"""What the notes say without printing a circuit for it: a number or a word that shows each."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import losses
from chainrule.models import mlp
from chainrule.ops.activations import tanh
from chainrule.ops.elementary import add, multiply, square, square_backward
from chainrule.ops.linear import linear, linear_backward, matvec
from worked.examples import SQUARED_LENGTH, cube_backward, negate, total
from worked.programs import Steps, Values, by_hand, by_jax, forward


class Claim(NamedTuple):
    """Something the notes say, and what shows it.

    Attributes:
      name: what they say.
      expected: what should come out, in the form of `worked.printed`.
      compute: gives it by hand and by JAX, None where there is no such side.
    """

    name: str
    expected: str
    compute: Callable[[], tuple[Any, Any]]


def _normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _largest(tree: Any, other: Any) -> float:
    """Return the largest absolute difference between two trees."""
    gaps = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), *jax.device_get((tree, other)))
    return max(jax.tree.leaves(gaps))


# --- shapes and parameters -----------------------------------------------------------------------


def linear_map(fan_in: int, fan_out: int, rows: int) -> tuple[str, str]:
    """Name the shapes of the outputs, and of the gradients of the kernel and the bias."""

    def hand(*arrays: jax.Array) -> Any:
        outputs = linear(*arrays)
        return outputs, *linear_backward(jnp.ones_like(outputs), *arrays)[1:]

    def auto(*arrays: jax.Array) -> Any:
        grads = jax.grad(lambda *arrays: jnp.sum(linear(*arrays)), argnums=(1, 2))(*arrays)
        return linear(*arrays), *grads

    arrays = jnp.zeros((rows, fan_in)), jnp.zeros((fan_in, fan_out)), jnp.zeros(fan_out)
    found = [[str(x.shape) for x in jax.eval_shape(f, *arrays)] for f in (hand, auto)]
    return ", ".join(found[0]), ", ".join(found[1])


def nested_parameters() -> tuple[int, int]:
    """Count the gradients of 10-100-50-2 in its dict, and in a list inside another dict.

    Nothing has to register a parameter: a pytree is known by being made of dicts and lists.
    """
    inputs = jnp.ones((3, 10))

    def loss(nested: Any) -> jax.Array:
        layers = enumerate([*nested["hidden"], nested["output"]], start=1)
        return jnp.sum(mlp.apply({f"layer{index}": layer for index, layer in layers}, inputs))

    def hand(params: Any) -> Any:
        return mlp.backward(params, mlp.forward(params, inputs), jnp.ones((3, 2))).params

    params = jax.eval_shape(functools.partial(mlp.init, sizes=(10, 100, 50, 2)), jax.random.key(0))
    nested = {"hidden": [params["layer1"], params["layer2"]], "output": params["layer3"]}
    grads = jax.eval_shape(hand, params), jax.eval_shape(jax.grad(loss), nested)
    counts = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in grads]
    return counts[0], counts[1]


# --- the notes' two graphs in autograd -----------------------------------------------------------


@functools.cache
def tanh_network() -> tuple[Any, Any]:
    """Divide what the sum of the squared errors gives by what the mean gives: loss, gradient."""
    network: Steps = {
        "w1 x": (matvec, "w1", "x"),
        "s1": (add, "w1 x", "b1"),
        "h": (tanh, "s1"),
        "w2 h": (matvec, "w2", "h"),
        "s2": (add, "w2 h", "b2"),
        "y": (tanh, "s2"),
    }
    mean = {**network, "loss": (losses.squared_error, "y", "target")}
    sums = {
        **network,
        "-target": (negate, "target"),
        "error": (add, "y", "-target"),
        "error^2": (square, "error"),
        "loss": (total, "error^2"),
    }
    shapes = {"w1": (20, 10), "b1": (20,), "w2": (5, 20), "b2": (5,), "x": (10,), "target": (5,)}
    inputs = {name: _normal(i, *shape) / 4 for i, (name, shape) in enumerate(shapes.items())}
    ratio = forward(sums, inputs)["loss"] / forward(mean, inputs)["loss"]

    def ratios(gradients: Callable[..., Values]) -> list[Any]:
        grads = [jax.jit(functools.partial(gradients, steps))(inputs) for steps in (sums, mean)]
        lengths = [np.linalg.norm(grad["w1"]) for grad in grads]
        return [ratio, lengths[0] / lengths[1]]

    return ratios(by_hand), ratios(by_jax)


def loop(turns: int, x: str, weight: str = "w") -> Steps:
    """Return the program of the notes' loop, x = tanh(w[i] x), as often as a number says."""
    steps: dict[str, tuple[Any, ...]] = {}
    for i in range(turns):
        steps[f"{weight}[{i}] {x}"] = (matvec, f"{weight}[{i}]", x)
        steps[f"tanh {x}"] = (tanh, f"{weight}[{i}] {x}")
        x = f"tanh {x}"
    return steps


def _loop_inputs() -> Values:
    weights = {f"w[{i}]": _normal(i, 10, 10) / 3 for i in range(3)}
    return {**weights, "a": _normal(3, 10), "b": _normal(4, 10)}


def loop_uses() -> tuple[list[int], list[int]]:
    """Count the w[i] that have a gradient after 1, 2 and 3 turns of the loop."""
    inputs = _loop_inputs()

    def counts(gradients: Callable[..., Values]) -> list[int]:
        found = [gradients(loop(turns, "a"), inputs) for turns in (1, 2, 3)]
        return [sum(bool(jnp.any(grads[f"w[{i}]"] != 0)) for i in range(3)) for grads in found]

    return counts(by_hand), counts(by_jax)


def loop_sharing() -> tuple[float, float]:
    """Compare the gradient of w[i], used in u and in v, with the sum over two copies of it."""
    inputs = _loop_inputs()
    copies = {f"copy[{i}]": inputs[f"w[{i}]"] for i in range(3)}

    def program(weight: str) -> Steps:
        u, v = loop(1, "a"), loop(3, "b", weight)
        ends = next(reversed(u)), next(reversed(v))
        return {**u, **v, "u v": (multiply, *ends), "f": (total, "u v")}

    def gap(gradients: Callable[..., Values]) -> float:
        tied = gradients(program("w"), inputs)
        apart = gradients(program("copy"), {**inputs, **copies})
        sums = {f"w[{i}]": apart[f"w[{i}]"] + apart[f"copy[{i}]"] for i in range(3)}
        return _largest({name: tied[name] for name in sums}, sums)

    return gap(by_hand), gap(by_jax)


# --- accumulating and writing in place -----------------------------------------------------------


def accumulated() -> tuple[jax.Array, jax.Array]:
    """Add the gradient of sum x^3 to itself, as two calls of ``backward`` do in ``x.grad``."""
    x = jnp.array([-3.0, 2.0, 5.0])
    hand = cube_backward(jnp.ones(3), x)
    auto = jax.grad(lambda x: jnp.sum(x**3))(x)
    return hand + hand, auto + auto


def overwritten() -> tuple[np.ndarray, None]:
    """Run the rule of y y on a buffer that was changed after it had been saved.

    PyTorch counts the changes of a buffer and refuses, with a RuntimeError; this is what it saves
    one from.
    """
    x = np.array([1.0, 2.0, 3.0], np.float32)
    y = np.sin(x)
    first, second = y, y
    y *= y
    return (first + second) * np.cos(x), None


def kept() -> tuple[None, jax.Array]:
    """Keep y, let ``y += 1`` and ``y *= y`` follow, and return what was kept."""
    y = jnp.sin(jnp.array([1.0, 2.0, 3.0]))
    before = y
    y += 1
    y *= y
    return None, before


def _raised(function: Callable[[], Any]) -> tuple[None, str]:
    try:
        function()
    except TypeError as error:
        return None, type(error).__name__
    return None, "nothing raised"


def write() -> tuple[None, str]:
    """Name the error of changing one element of an array."""
    return _raised(lambda: jnp.zeros(3).__setitem__(0, 1.0))


def integer() -> tuple[None, str]:
    """Name the error of asking for the gradient with respect to an integer."""
    return _raised(lambda: jax.grad(lambda x: x * x)(3))


# --- sums and products of gradients --------------------------------------------------------------


def several_outputs() -> tuple[jax.Array, jax.Array]:
    """Pull ones back through (x^2, x^3) at x = (1, 2)."""
    x, ones = jnp.array([1.0, 2.0]), jnp.ones(2)
    _, pull = jax.vjp(lambda x: (x**2, x**3), x)
    return square_backward(ones, x) + cube_backward(ones, x), pull((ones, ones))[0]


@functools.cache
def jacobians() -> Values:
    """Return the Jacobian of every step of |W x|^2 with respect to its last input, in full."""
    values = forward(SQUARED_LENGTH.steps, SQUARED_LENGTH.arrays)
    return {
        name: jax.jacobian(operator, argnums=len(names) - 1)(*(values[n] for n in names))
        for name, (operator, *names) in SQUARED_LENGTH.steps.items()
    }


def jacobian_product() -> tuple[jax.Array, jax.Array]:
    """Return the gradient of x from the backward pass, and as the product of all Jacobians."""
    hand = by_hand(SQUARED_LENGTH.steps, SQUARED_LENGTH.arrays)["x"]
    product = functools.reduce(lambda above, below: below @ above, jacobians().values())
    return hand, product


def mini_batches() -> tuple[float, float]:
    """Compare the gradient of a sum over 12 samples with the sum over mini-batches of 4."""
    inputs, targets = _normal(0, 12, 4), _normal(1, 12, 2)
    params = {
        "layer1": {"kernel": _normal(2, 4, 6), "bias": _normal(3, 6)},
        "layer2": {"kernel": _normal(4, 6, 2), "bias": _normal(5, 2)},
    }

    def loss(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(mlp.apply(params, inputs) - targets)) / 100

    def hand(params: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        activations = mlp.forward(params, inputs)
        return mlp.backward(params, activations, (activations.outputs - targets) / 50).params

    def gap(gradient: Callable[..., Any]) -> float:
        gradient = jax.jit(gradient)
        parts = [gradient(params, inputs[i : i + 4], targets[i : i + 4]) for i in (0, 4, 8)]
        together = jax.tree.map(lambda *leaves: sum(leaves), *parts)
        return _largest(together, gradient(params, inputs, targets))

    return gap(hand), gap(jax.grad(loss))


CLAIMS = (
    Claim(
        "a linear map 10 -> 4 on 523 rows: shapes of outputs, kernel, bias",
        "(523, 4), (10, 4), (4,)",
        functools.partial(linear_map, 10, 4, rows=523),
    ),
    Claim(
        "a linear map 3 -> 5 on 1 row: shapes of outputs, kernel, bias",
        "(1, 5), (3, 5), (5,)",
        functools.partial(linear_map, 3, 5, rows=1),
    ),
    Claim("10-100-50-2: how many parameters", "6252", nested_parameters),
    Claim("two-layer tanh network: sum over mean, loss and gradient", "5 5", tanh_network),
    Claim("loop: how many w[i] have a gradient after 1, 2, 3 turns", "1 2 3", loop_uses),
    Claim("loop: gradient of the shared w[i] less the sum over copies", "0.00000", loop_sharing),
    Claim("sum x^3: the gradient accumulated twice", "54 24 150", accumulated),
    Claim(
        "y = sin x, y *= y in one buffer: a wrong gradient", "0.7651 -0.6882 -0.0394", overwritten
    ),
    Claim("y = sin x, kept, after y += 1 and y *= y", "0.8415 0.9093 0.1411", kept),
    Claim("y[0] = 1 on an array", "TypeError", write),
    Claim("the gradient with respect to an integer", "TypeError", integer),
    Claim("outputs x^2 and x^3 at (1, 2): the sum of their gradients", "5 16", several_outputs),
    Claim("|W x|^2: gradient of x as a product of Jacobians", "-0.112 0.636", jacobian_product),
    Claim("a sum over 12 samples less that over mini-batches", "0.00000", mini_batches),
)
