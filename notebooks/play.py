"""The pages to play with, which ``play.md`` shows: living graphs of the course's circuits and networks.

python notebooks/play.py FOLDER    # writes them; `make book` does so, too
"""

import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp

from chainrule import xray


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
}
"""The pages by their names, each as a call that records it."""


def write(folder: pathlib.Path) -> None:
    """Write every page into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, recorded in PAGES.items():
        (folder / f"{name}.html").write_text(recorded().to_html(live=True), encoding="utf-8")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
