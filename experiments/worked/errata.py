"""The slips of the notes: what comes out as printed, and what is right."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from chainrule import data, descent, landscapes, losses
from chainrule.models import mlp
from chainrule.ops.activations import affine, relu
from chainrule.ops.elementary import add, norm, square_backward
from chainrule.ops.linear import matvec, matvec_backward
from worked.claims import integer, jacobians, tanh_network
from worked.examples import NEURON
from worked.printed import agrees, show
from worked.programs import Steps, Values, by_hand


class Slip(NamedTuple):
    """A slip of the notes or of the course.

    Attributes:
      printed: what they say.
      right: what is meant, and where the numbers are from.
      expected: what comes out when it is right, in the form of `worked.printed`; empty where
        nobody printed it.
      compute: gives what comes out as printed (None where nothing does) and what is right.
    """

    printed: str
    right: str
    expected: str
    compute: Callable[[], tuple[Any, Any]]


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


def detached() -> tuple[float, float]:
    """Differentiate the coupled loss with respect to a, with its coupling and detached."""
    params = {"a": jnp.array(0.5), "b": jnp.array(-0.5)}
    slopes = [jax.grad(landscapes.coupled)(params, detach=stop)["a"] for stop in (False, True)]
    return float(slopes[0]), float(slopes[1])


# --- networks ------------------------------------------------------------------------------------


def best_fit(units: int, activation: Callable[[jax.Array], jax.Array]) -> float:
    """Return the error (root mean square) of the best sum of some hidden units for x^2 on [-1, 1].

    The units are the activation of x - b, the b spread over the interval, and a constant is added.
    """
    x = np.linspace(-1, 1, 201, dtype=np.float32)[:, None]
    hidden = activation(jnp.asarray(x - np.linspace(-1, 1, units, dtype=np.float32)))
    columns = np.hstack([hidden, np.ones_like(x)])
    weights, *_ = np.linalg.lstsq(columns, x**2, rcond=1e-5)
    return float(np.sqrt(np.mean((columns @ weights - x**2) ** 2)))


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


ERRATA = (
    Slip(
        "backward through a graph: dl/dx = J dl/dy, summed over what x goes into",
        "J^T dl/dy (the equations of the MLP have the transpose). Here dq/dx0 of x1 = w1 x0, "
        "x2 = x0 + w2 x1, x3 = w1 (x1 + x2), q = |x3|",
        "",
        transposes,
    ),
    Slip(
        "the Jacobian of f_N o ... o f_1 is J_1 ... J_N",
        "J_N ... J_1, the last map first. Here x -> W x -> its squares",
        "0.044 0.220; -0.156 0.416",
        order,
    ),
    Slip(
        "w - eta times the sum over n of the gradients, eta = 0.01",
        "the mean, which their code takes. Here the losses of 784-200-1 after 0, 1, "
        "2 and 3 steps on 1,000 digits",
        "",
        summed_step,
    ),
    Slip(
        "a square too many on the loss",
        "none: it multiplies the gradient by 2 l. Here (3, 0, 0, 0) against 0",
        "1.5 0 0 0",
        stray_square,
    ),
    Slip(
        "one takes the mean of the squared error of 5 outputs, another its sum",
        "both, if said: with the sum everything is 5 times larger, and so is the step. Here the "
        "rate that makes the same step as 0.01 with the mean",
        "0.002",
        lambda: (0.01, 0.01 / float(tanh_network()[0][1])),
    ),
    Slip(
        "requires_grad on a tensor of integers",
        "on floats: write 3.0 for 3. Here x^2 at 3",
        "6",
        integers,
    ),
    Slip(
        "no_grad sets requires_grad to False",
        "the flag stays; what is computed inside is not recorded. Here x, used once inside and "
        "once outside, at 3",
        "3",
        unrecorded,
    ),
    Slip(
        "it does take into account (what is detached)",
        "it does not. Here by a of (a-1)^2 + (b+1)^2 + (a-b)^2 at (0.5, -0.5), the last a detached",
        "-1",
        detached,
    ),
    Slip(
        "two descents side by side: eta = 1e-3, and detached eta = 1e-4",
        "at one rate. At 1e-3 the first ends at (0.4246, -0.4246), and the detached one here",
        "0.5907 -0.4093",
        rates,
    ),
    Slip(
        "a single hidden linear layer is a universal approximator",
        "a hidden layer with an activation that is no polynomial. Here the error of the "
        "best fit of x^2 on [-1, 1]: 1 and 100 linear units, and 100 ReLU",
        "0.00",
        hidden_layer,
    ),
    Slip(
        "a convolution: sum over j of x_{i+j-1} u_k",
        "u_j. Here (1, 2, 3, 4) by (3, 2); as printed, with k = 1",
        "7 12 17",
        convolution,
    ),
    Slip(
        "the sum on the way to the middle number of that example",
        "2 x 3 + 3 x 2; the result is printed right",
        "12",
        lambda: (None, convolution()[1][1]),
    ),
    Slip(
        "with a stride or a dilation above 1 the map gets smaller",
        "unless it is padded. Here 20 pixels by a kernel of 3: dilation 4 (padding 0 and 4), "
        "stride 2 (padding 0 and 11)",
        "20 20",
        map_sizes,
    ),
    Slip(
        "the course: the neuron's gradient of x0 is 0.40",
        "0.39; twice 0.20 is 0.40, but that 0.20 was rounded on the way",
        "0.39",
        rounded,
    ),
)


Found = tuple[Slip, Any, Any]
"""A slip, what comes out as printed, and what is right."""
COLUMNS = ("the notes", "right", "as printed gives", "right gives", "")


def found() -> list[Found]:
    """Compute every slip both ways."""
    return [(slip, *slip.compute()) for slip in ERRATA]


def _cells(slip: Slip, printed: Any, right: Any) -> tuple[str, ...]:
    mark = "" if not slip.expected else "✓" if agrees(right, slip.expected) else "✗"
    return slip.printed, slip.right, show(printed), show(right), mark


def table(rows: list[Found]) -> Table:
    """Return the slips as a table for the terminal."""
    drawn = Table(title="Errata", title_justify="left", title_style="bold", show_lines=True)
    for column in COLUMNS:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*(cell.replace("; ", "\n") for cell in _cells(*row)))
    return drawn


def markdown(rows: list[Found]) -> str:
    """Return the slips as a table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(*row) for row in rows)]
    # A bar would end the cell, and a pair of underscores or asterisks would turn to italics.
    for mark in "|*_":
        lines = [tuple(cell.replace(mark, f"\\{mark}") for cell in line) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
