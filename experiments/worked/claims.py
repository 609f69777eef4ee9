"""What the notes say without printing a circuit for it: a number or a word that shows each."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import descent, landscapes, losses
from chainrule.models import mlp, threshold
from chainrule.ops.activations import tanh
from chainrule.ops.elementary import add, multiply, multiply_backward, square, square_backward
from chainrule.ops.linear import matvec
from worked.examples import (
    LOG_PRODUCT_SINE,
    SQUARED_LENGTH,
    cube_backward,
    log_backward,
    negate,
    sin_backward,
    total,
)
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


# --- units and flags -----------------------------------------------------------------------------


def truth_tables() -> tuple[list[int], None]:
    """Evaluate or, and, not on their inputs in counting order."""
    pairs, ones = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]]), jnp.array([[0], [1]])
    units = (threshold.OR, pairs), (threshold.AND, pairs), (threshold.NOT, ones)
    return [int(out) for unit, rows in units for out in threshold.apply(unit, rows)], None


def tracked() -> tuple[None, str]:
    """Tell which of x + y and x + z depends on z, the only one that is differentiated."""
    x, y, z = jnp.array([1.0, 2.0]), jnp.array([4.0, 5.0]), jnp.array([7.0, 3.0])
    sums = (lambda z: jnp.sum(x + y)), (lambda z: jnp.sum(x + z))
    return None, " ".join(str(bool(jnp.any(jax.grad(f)(z) != 0))) for f in sums)


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


def norms(draws: int) -> np.ndarray:
    """Return q = |x3| of the notes' graph for so many draws: w1 and w2 uniform, x normal."""
    random = np.random.default_rng(0)
    w1, w2 = random.random((2, draws, 5, 5))
    x0 = random.normal(size=(draws, 5, 1))
    x1 = w1 @ x0
    return np.linalg.norm(w1 @ (x1 + x0 + w2 @ x1), axis=(1, 2))


def select(w, *, index):
    """Return w[index]."""
    return w[index]


def select_backward(g, w, *, index):
    """Return g at the index, and 0 elsewhere."""
    return jnp.zeros_like(w).at[index].set(g)


def loop(turns: int, x: str, weight: str = "w") -> Steps:
    """Return the program of the notes' loop, x = tanh(w[i] x), as often as a number says."""
    steps: dict[str, tuple[Any, ...]] = {}
    for i in range(turns):
        steps[f"{weight}[{i}] for {x}"] = (functools.partial(select, index=i), weight)
        steps[f"{weight}[{i}] {x}"] = (matvec, f"{weight}[{i}] for {x}", x)
        steps[f"tanh {x}"] = (tanh, f"{weight}[{i}] {x}")
        x = f"tanh {x}"
    return steps


def _loop_inputs() -> Values:
    return {"w": _normal(0, 3, 10, 10) / 3, "a": _normal(3, 10), "b": _normal(4, 10)}


def loop_uses() -> tuple[list[int], list[int]]:
    """Count the w[i] that have a gradient after 1, 2 and 3 turns of the loop."""
    inputs = _loop_inputs()

    def counts(gradients: Callable[..., Values]) -> list[int]:
        programs = [jax.jit(functools.partial(gradients, loop(turns, "a"))) for turns in (1, 2, 3)]
        found = [np.asarray(program(inputs)["w"]) for program in programs]
        return [int(np.sum(np.any(grad != 0, axis=(1, 2)))) for grad in found]

    return counts(by_hand), counts(by_jax)


def loop_sharing() -> tuple[float, float]:
    """Compare the gradient of w, used in u and in v, with the sum over two copies of it."""
    inputs = _loop_inputs()

    def program(weight: str) -> Steps:
        u, v = loop(1, "a"), loop(3, "b", weight)
        ends = next(reversed(u)), next(reversed(v))
        return {**u, **v, "u v": (multiply, *ends), "f": (total, "u v")}

    def gap(gradients: Callable[..., Values]) -> float:
        tied = jax.jit(functools.partial(gradients, program("w")))(inputs)
        copied = {**inputs, "copy": inputs["w"]}
        apart = jax.jit(functools.partial(gradients, program("copy")))(copied)
        return _largest(tied["w"], apart["w"] + apart["copy"])

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


# --- gradients of gradients, and a graph used twice -----------------------------------------------


def second_derivative() -> tuple[jax.Array, jax.Array]:
    """Differentiate the sum of the gradient of sum x^3, which is 3 x^2."""
    x = jnp.array([-3.0, 2.0, 5.0])

    def gradient(x: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(x**3))(x)

    # By hand: the gradient is a program too, three times the squares.
    return square_backward(jnp.full(3, 3.0), x), jax.grad(lambda x: jnp.sum(gradient(x)))(x)


def pulled_twice() -> tuple[list[float], list[float]]:
    """Pull 1 and then 2 back through one recording of sum x^3."""
    x = jnp.array([-3.0, 2.0, 5.0])
    _, pull = jax.vjp(lambda x: jnp.sum(x**3), x)
    hand, auto = (
        jnp.concatenate([way(1.0), way(2.0)])
        for way in (lambda g: cube_backward(jnp.full(3, g), x), lambda g: pull(jnp.asarray(g))[0])
    )
    return hand.tolist(), auto.tolist()


def shares() -> tuple[list[float], list[float]]:
    """Split the gradients of ln x1 + x1 x2 - sin x2 over the uses of x1 and of x2.

    By JAX each use is an argument of its own.
    """
    _, grads, _ = LOG_PRODUCT_SINE.run()
    x1, x2 = LOG_PRODUCT_SINE.arrays.values()
    of_product = multiply_backward(grads["x1 x2"], x1, x2)
    hand = log_backward(grads["ln x1"], x1), *of_product, sin_backward(grads["sin x2"], x2)

    def untied(in_log: Any, left: Any, right: Any, in_sine: Any) -> jax.Array:
        return jnp.log(in_log) + left * right - jnp.sin(in_sine)

    auto = jax.grad(untied, argnums=(0, 1, 2, 3))(x1, x1, x2, x2)
    return [float(g) for g in hand], [float(g) for g in auto]


# --- descents ------------------------------------------------------------------------------------


def coupled(eta: float, detach: bool) -> tuple[list[Any], list[Any]]:
    """Return where 100 steps on (a-1)^2 + (b+1)^2 + (a-b)^2 from (0.5, -0.5) end."""

    def hand(a: float, b: float) -> list[float]:
        for _ in range(100):
            coupling = 2 * (a - b)
            by_a = 2 * (a - 1) + (0 if detach else coupling)
            a, b = a - eta * by_a, b - eta * (2 * (b + 1) - coupling)
        return [a, b]

    loss = functools.partial(landscapes.coupled, detach=detach)
    start = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
    final = descent.gradient_descent(loss, start, optax.sgd(eta), 100).final_params
    return hand(0.5, -0.5), [final["a"], final["b"]]


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
        "or, and on (0, 0), (0, 1), (1, 0), (1, 1), not on 0, 1",
        "0 1 1 1 0 0 0 1 1 0",
        truth_tables,
    ),
    Claim("z is differentiated: do x + y and x + z depend on it?", "False True", tracked),
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
    Claim("sum x^3: the derivative of its gradient", "-18 12 30", second_derivative),
    Claim("sum x^3: 1 and then 2 through one recording", "27 12 75 54 24 150", pulled_twice),
    Claim(
        "ln x1 + x1 x2 - sin x2 at (2, 5): shares of the uses of x1, x2 (Baydin et al., 2018)",
        "0.5 5 2 -0.284",
        shares,
    ),
    Claim(
        "(a-1)^2 + (b+1)^2 + (a-b)^2: 100 steps at 1e-3",
        "0.4246 -0.4246",
        functools.partial(coupled, 1e-3, False),
    ),
    Claim(
        "the same at 1e-4, the last a detached",
        "0.5099 -0.4901",
        functools.partial(coupled, 1e-4, True),
    ),
    Claim("a sum over 12 samples less that over mini-batches", "0.00000", mini_batches),
)
