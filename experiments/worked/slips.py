"""What comes out of each slip of the notes and the course as printed, and what is right."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from chainrule import data, descent, landscapes, losses
from chainrule.models import mlp
from chainrule.ops.activations import affine, relu
from chainrule.ops.convolution import conv
from chainrule.ops.elementary import add, norm, square_backward
from chainrule.ops.linear import matvec, matvec_backward
from worked.claims import integer, jacobians
from worked.examples import NEURON
from worked.programs import Steps, Values, by_hand, forward

# --- gradients -----------------------------------------------------------------------------------


def untransposed(matrix, vector):
    """Return W x; the rule beside it is the notes', without the transpose."""
    return matvec(matrix, vector)


def untransposed_backward(g, matrix, vector):
    """Return the gradient of W as it is, and W g where that of x is W^T g."""
    by_matrix, _ = matvec_backward(g, matrix, vector)
    return by_matrix, matrix @ g


def graph(product: Callable[..., Any] = matvec) -> tuple[Steps, Values]:
    """Return the notes' graph, which uses w1 twice, and a point to look at it."""
    steps: Steps = {
        "x1": (product, "w1", "x0"),
        "w2 x1": (product, "w2", "x1"),
        "x2": (add, "x0", "w2 x1"),
        "x1 + x2": (add, "x1", "x2"),
        "x3": (product, "w1", "x1 + x2"),
        "q": (norm, "x3"),
    }
    inputs = {"w1": [[1.0, 2.0], [0.0, 1.0]], "w2": [[0.0, 1.0], [-1.0, 3.0]], "x0": [1.0, -2.0]}
    return steps, {name: jnp.asarray(value) for name, value in inputs.items()}


def transposes() -> tuple[jax.Array, jax.Array]:
    """Return the gradient of x0 without the transposes, and with them."""
    return by_hand(*graph(untransposed))["x0"], by_hand(*graph())["x0"]


def order() -> tuple[jax.Array, jax.Array]:
    """Multiply the Jacobians of x -> W x -> its squares the wrong way and the right way."""
    steps = jacobians()
    return steps["q"] @ steps["q^2"], steps["q^2"] @ steps["q"]


def stray_square() -> tuple[jax.Array, jax.Array]:
    """Return the gradient of the squared mean squared error, and of the mean squared error."""
    x, zeros, one = jnp.array([3.0, 0.0, 0.0, 0.0]), jnp.zeros(4), jnp.array(1.0)
    above = square_backward(one, losses.squared_error(x, zeros))
    gradients = [losses.squared_error_backward(g, x, zeros)[0] for g in (above, one)]
    return gradients[0], gradients[1]


def rounded() -> tuple[float, float]:
    """Return the neuron's gradient of x0 from a rounded incoming one, and from the exact one."""
    _, grads, _ = NEURON.run()
    return NEURON.inputs["w0"] * float(jnp.round(grads["w0 x0"], 2)), float(grads["x0"])


# --- descents ------------------------------------------------------------------------------------


def summed_step() -> tuple[list[jax.Array], list[jax.Array]]:
    """Return the losses of 3 steps at 0.01, of the sum over 1,000 digits and of the mean.

    The step of the sum is the step of the mean at a rate 1,000 times larger.
    """
    digits = data.mnist("train", source="embedded")
    inputs = jnp.asarray(data.standardize(digits.images[:1000]).inputs)
    targets = jnp.asarray(digits.labels[:1000, None] == 5, jnp.float32)
    start = mlp.init(jax.random.key(0), (784, 200, 1))
    step = jax.jit(mlp.gradient_step)

    def losses_at(eta: float) -> list[jax.Array]:
        params, found = start, []
        for _ in range(4):
            params, loss = step(params, inputs, targets, eta)
            found.append(loss)
        return found

    return losses_at(10.0), losses_at(0.01)


def rates() -> tuple[list[Any], list[Any]]:
    """Return where 100 steps on the coupled loss end, detached, at 1e-4 and at 1e-3."""

    def end(eta: float) -> list[Any]:
        loss = functools.partial(landscapes.coupled, detach=True)
        start = {"a": jnp.asarray(0.5), "b": jnp.asarray(-0.5)}
        final = descent.gradient_descent(loss, start, optax.sgd(eta), 100).final_params
        return [final["a"], final["b"]]

    return end(1e-4), end(1e-3)


# --- what is recorded ----------------------------------------------------------------------------


def integers() -> tuple[str, float]:
    """Differentiate x^2 at the integer 3, and at 3.0."""
    return integer()[1], float(jax.grad(lambda x: x * x)(3.0))


def unrecorded() -> tuple[float, float]:
    """Differentiate x times x, the first not recorded: if the second were not either, and so."""
    stop = jax.lax.stop_gradient
    both = jax.grad(lambda x: stop(x) * stop(x))(3.0)
    return float(both), float(jax.grad(lambda x: stop(x) * x)(3.0))


def uncalled() -> tuple[str, jax.Array]:
    """Return what `jax.vjp` hands over, and what calling it gives: the gradient of w1."""
    steps, inputs = graph()

    def q(w1: jax.Array) -> jax.Array:
        return forward(steps, {**inputs, "w1": w1})["q"]

    _, pull = jax.vjp(q, inputs["w1"])
    return "a function" if callable(pull) else "a number", pull(jnp.array(1.0))[0]


def unnamed() -> tuple[str, list[float]]:
    """Ask a session for a name that nothing was given, and for one that was."""
    steps, inputs = graph()
    gradients = by_hand(steps, inputs)
    session = {"gw1": gradients["w1"], "gw2": gradients["w2"]}
    try:
        session["grads"]
    except KeyError as error:
        return f"no {error.args[0]}", session["gw2"]
    return "grads", session["gw2"]


# --- networks ------------------------------------------------------------------------------------


def hidden_columns(
    units: int, activation: Callable[[jax.Array], jax.Array]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what hidden units make of 201 points, a constant beside them, and x^2."""
    x = np.linspace(-1, 1, 201, dtype=np.float32)[:, None]
    hidden = activation(jnp.asarray(x - np.linspace(-1, 1, units, dtype=np.float32)))
    return np.hstack([hidden, np.ones_like(x)]), x**2


def best_fit(units: int, activation: Callable[[jax.Array], jax.Array]) -> float:
    """Return the error (root mean square) of the best sum of some hidden units for x^2 on [-1, 1].

    The units are the activation of x - b, the b spread over the interval, and a constant is added.
    """
    columns, targets = hidden_columns(units, activation)
    weights, *_ = np.linalg.lstsq(columns, targets, rcond=1e-5)
    return float(np.sqrt(np.mean((columns @ weights - targets) ** 2)))


def sampled_weights() -> tuple[int, int]:
    """Count the parameters of 784-200-1 with a kernel for each of 1,000 samples, and with one."""
    init = functools.partial(mlp.init, sizes=(784, 200, 1))
    layers = jax.eval_shape(init, jax.random.key(0)).values()
    kernels, biases = (sum(layer[kind].size for layer in layers) for kind in ("kernel", "bias"))
    return 1000 * kernels + biases, kernels + biases


def bent_output() -> tuple[float, float]:
    """Return the error (root mean square) of a ReLU network for -x, with a ReLU at its end too."""
    x = jnp.linspace(-1, 1, 201)[:, None]
    outputs = mlp.apply({"layer1": {"kernel": -jnp.eye(1), "bias": jnp.zeros(1)}}, x)
    wrong = [jnp.sqrt(jnp.mean((ends + x) ** 2)) for ends in (relu(outputs), outputs)]
    return float(wrong[0]), float(wrong[1])


def saturated() -> tuple[list[float], list[float]]:
    """Return the smallest hidden and output |tanh| of 10-20-5, and the gradient of w1's length.

    Weights, biases and inputs are uniform on [0, 1); then the weights are normal, of variance
    1 / fan-in.
    """
    random = np.random.default_rng(0)
    x, target = random.random(10), random.random(5)
    shapes = (20, 10), (5, 20)

    def look(kernels: list[np.ndarray], biases: list[np.ndarray]) -> list[float]:
        (w1, w2), (b1, b2) = kernels, biases
        h = np.tanh(w1 @ x + b1)
        y = np.tanh(w2 @ h + b2)
        by_s2 = 2 / 5 * (y - target) * (1 - y**2)
        by_s1 = w2.T @ by_s2 * (1 - h**2)
        return [np.abs(h).min(), np.abs(y).min(), np.linalg.norm(np.outer(by_s1, x))]

    uniform = look([random.random(shape) for shape in shapes], [random.random(n) for n in (20, 5)])
    centred = [random.normal(size=shape) / shape[1] ** 0.5 for shape in shapes]
    return uniform, look(centred, [np.zeros(20), np.zeros(5)])


def steps_taken() -> tuple[None, list[float]]:
    """Return the error of 100 ReLU for x^2 after 10, 100 and 1,000 steps, and the best one.

    The steps are those of a descent on the output weights from 0, at one over the sharpness.
    """
    columns, targets = hidden_columns(100, relu)
    gram, pull = columns.T @ columns, columns.T @ targets
    eta, weights, errors = 1 / np.linalg.eigvalsh(gram)[-1], np.zeros_like(pull), []
    for step in range(1, 1001):
        weights = weights - eta * (gram @ weights - pull)
        if step in (10, 100, 1000):
            errors.append(float(np.sqrt(np.mean((columns @ weights - targets) ** 2))))
    return None, [*errors, best_fit(100, relu)]


def hidden_layer() -> tuple[list[float], float]:
    """Fit with 1 and with 100 linear hidden units, and with 100 ReLU."""
    return [best_fit(1, affine), best_fit(100, affine)], best_fit(100, relu)


def convolution() -> tuple[jax.Array, jax.Array]:
    """Slide (3, 2) over (1, 2, 3, 4) with u_k, k = 1 throughout, and with u_j."""
    x, u = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([3.0, 2.0])
    windows = jnp.stack([x[i : i + 2] for i in range(3)])
    return jnp.sum(windows * u[0], axis=1), windows @ u


def map_sizes() -> tuple[list[int], list[int]]:
    """Return what 20 pixels become under dilation 4 and stride 2: not padded, and padded."""

    def size(padding: int, *, stride: int = 1, dilation: int = 1) -> int:
        convolve = functools.partial(
            jax.lax.conv_general_dilated,
            window_strides=(stride,),
            padding=[(padding, padding)],
            rhs_dilation=(dilation,),
        )
        return jax.eval_shape(convolve, jnp.zeros((1, 1, 20)), jnp.zeros((1, 1, 3))).shape[-1]

    return [size(0, dilation=4), size(0, stride=2)], [size(4, dilation=4), size(11, stride=2)]


def padded() -> tuple[int, int]:
    """Return what 50 pixels become under a kernel of 3, padded by 3 and by 1."""
    kernel = jnp.zeros((3, 1, 1))
    sizes = [
        jax.eval_shape(functools.partial(conv, padding=width), jnp.zeros((1, 50, 1)), kernel)
        for width in (3, 1)
    ]
    return sizes[0].shape[1], sizes[1].shape[1]
