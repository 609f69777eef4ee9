"""The pages to play with, which ``play.md`` shows: living graphs of the course, and learning rates.

python notebooks/play.py FOLDER    # writes them; `make book` does so, too
"""

import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp

from chainrule import data, explorer, xray
from chainrule._jobs import landscapes
from chainrule.models import lenet
from chainrule.models.pretrained.preprocessing import DIGITS
from chainrule.ops import activations, convolution, linear, pooling


def product(x, y, z):
    """The first circuit of the course."""
    return (x + y) * z


def gates(x, y, z, w):
    """Its second: a product, a maximum, a sum."""
    return 2 * (x * y + jnp.maximum(z, w))


def neuron(w, x):
    """The sigmoid neuron, gate by gate."""
    return 1 / (1 + jnp.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))


def norm(W, x):
    """A product of a matrix with a vector, squared and summed."""
    return jnp.sum(jnp.square(W @ x))


def shared(w1, w2, x0):
    """The graph of the notes in which a weight is used twice."""
    x1 = w1 * x0
    x2 = x0 + w2 * x1
    return w1 * (x1 + x2)


def exclusive_or(params, inputs, targets):
    """A network with one hidden layer and the mean squared error; what it predicts, beside it."""
    hidden = jnp.tanh(inputs @ params["layer1"]["kernel"] + params["layer1"]["bias"][None])
    outputs = (hidden @ params["layer2"]["kernel"] + params["layer2"]["bias"][None])[:, 0]
    return jnp.mean(jnp.square(outputs - targets)), outputs


def digit(params, drawing, label):
    """LeNet on a drawing, 0 paper and 1 ink: how little it takes it for a digit, and for which."""
    with jax.named_scope("standardised"):
        maps = ((drawing - DIGITS.mean[0]) / DIGITS.std[0])[None, :, :, None]
    for name, window in (("conv1", 3), ("conv2", 2)):
        with jax.named_scope(name):
            maps = convolution.conv(maps, **params[name])
            maps = activations.relu(pooling.max_pool(maps, window))
    with jax.named_scope("dense1"):
        hidden = activations.relu(linear.linear(maps.reshape(1, -1), **params["dense1"]))
    with jax.named_scope("dense2"):
        logits = linear.linear(hidden, **params["dense2"])
    with jax.named_scope("probabilities"):
        probabilities = jax.nn.softmax(logits)[0]
    with jax.named_scope("surprise"):
        return -jnp.log(probabilities[label]), probabilities


def _digit() -> xray.Report:
    seven = jnp.asarray(data.mnist("test", source="embedded").images[0], jnp.float32) / 255
    arguments = lenet.pretrained(), seven, jnp.int32(3)
    return xray.xray(digit, *arguments, argnums=1, has_aux=True)


def _xor() -> xray.Report:
    one, two = jax.random.split(jax.random.key(3))
    params = {
        "layer1": {"kernel": jax.random.normal(one, (2, 3)), "bias": jnp.zeros(3)},
        "layer2": {"kernel": jax.random.normal(two, (3, 1)), "bias": jnp.zeros(1)},
    }
    inputs = jnp.asarray([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    targets = jnp.asarray([-1.0, 1.0, 1.0, -1.0])
    return xray.xray(exclusive_or, params, inputs, targets, argnums=0, has_aux=True)


PAGES: dict[str, Callable[[], xray.Report]] = {
    "product": lambda: xray.xray(product, -2.0, 5.0, -4.0),
    "gates": lambda: xray.xray(gates, 3.0, -4.0, 2.0, -1.0),
    "neuron": lambda: xray.xray(neuron, [2.0, -3.0, -3.0], [-1.0, -2.0]),
    "norm": lambda: xray.xray(norm, jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])),
    "shared": lambda: xray.xray(shared, 2.0, -3.0, 3.0),
    "exclusive_or": _xor,
    "digit": _digit,
}
"""The pages by their names, each as a call that records it."""


def write(folder: pathlib.Path) -> None:
    """Write every page into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, recorded in PAGES.items():
        page = recorded().to_html(live=True, direction={"digit": "right"}.get(name))
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    (folder / "rates.html").write_text(explorer.page(landscapes.TABLE), encoding="utf-8")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
