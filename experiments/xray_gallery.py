"""A gallery of x-rays: pictures of functions with the value and the gradient on every node.

    python experiments/xray_gallery.py

Draws, each as a page to play with (`.html`), a picture (`.svg`) and Graphviz text (`.dot`):

- the course's pictures: (x + y) z, the sigmoid neuron gate by gate, |W x|^2;
- the notes' graphs: the norm, the network of two tanh layers, the loop whose length is data and
  whose weights are shared, and x1 = w1 x0, x2 = x0 + w2 x1, x3 = w1 (x1 + x2), q = |x3|;
- networks on real digits: an MLP, LeNet; and VGG16 on noise, which keeps statistics only;
- a siamese loss with a naive norm on a pair of equal images, whose gradient is NaN: the picture
  marks where it is born.

Beside each stands what was to be expected: the numbers that the course prints, `jax.grad`'s
gradients, the line of the NaN. About two minutes, most of them for VGG16, which takes 3 GB;
`--only product neuron` draws those.
"""

import dataclasses
import inspect
import pathlib
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from chainrule import data, losses, runs, xray
from chainrule.models import dag, lenet, mlp, vgg
from chainrule.models.dag import Node, layer
from chainrule.ops.elementary import add, norm
from chainrule.ops.linear import matvec


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of the run."""

    only: tuple[str, ...] = ()
    """The names of what to draw; nothing for all."""
    digits: int = 8
    """Digits in the MLP's batch."""
    image_size: int = 224
    """Rows and columns of VGG16's image, a multiple of 32."""
    seed: int = 0
    """Of the weights."""
    source: Literal["auto", "idx", "embedded", "tfds"] = "auto"
    """Where the digits come from."""
    data_dir: pathlib.Path | None = None
    """The folder of that source."""
    root: pathlib.Path = pathlib.Path("runs")
    """Where run folders are kept."""


# --- the functions: plain JAX, which know nothing of being drawn ----------------------------------


def product(x, y, z):
    """Return (x + y) z."""
    return (x + y) * z


def neuron(w, x):
    """Return a sigmoid of two products and a bias, gate by gate."""
    return 1 / (1 + jnp.exp(-(w[0] * x[0] + w[1] * x[1] + w[2])))


def squared_length(W, x):
    """Return the squared length of W x."""
    return jnp.sum(jnp.square(W @ x))


def length(x):
    """Return the length of x."""
    return jnp.sqrt(jnp.sum(jnp.square(x)))


def tanh_network(params, x, target):
    """Return the squared error of two tanh layers."""
    for name in ("layer1", "layer2"):
        with jax.named_scope(name):
            x = jnp.tanh(params[name]["kernel"] @ x + params[name]["bias"])
    return jnp.mean(jnp.square(x - target))


def repeated(w, x, times):
    """Apply the first so many of the layers, which other calls share."""
    for k in range(times):
        x = jnp.tanh(w[k] @ x)
    return x


def loop(w, x, y):
    """Return the product of what one layer makes of x and three layers make of y."""
    return repeated(w, x, 1) @ repeated(w, y, 3)


GRAPH = {
    "x1": Node(layer(matvec), ("x0",), "w1"),
    "w2 x1": Node(layer(matvec), ("x1",), "w2"),
    "x2": Node(layer(add), ("x0", "w2 x1")),
    "x1 + x2": Node(layer(add), ("x1", "x2")),
    "x3": Node(layer(matvec), ("x1 + x2",), "w1"),
    "q": Node(layer(norm), ("x3",)),
}


def graph(params, x0):
    """Return the end of the notes' graph, which uses w1 twice."""
    return dag.forward(GRAPH, params, {"x0": x0})["q"]


def digits_mlp(params, images, labels):
    """Return the cross-entropy of an MLP."""
    return losses.cross_entropy(mlp.apply(params, images), labels)


def naive_distance(a, b):
    """Return the distance of each row of a from that of b."""
    return jnp.sqrt(jnp.sum(jnp.square(a - b), axis=1))


def siamese(kernel, a, b, same, margin=1.0):
    """Return the contrastive loss of pairs under one linear map."""
    distance = naive_distance(a @ kernel, b @ kernel)
    apart = jnp.maximum(margin - distance, 0)
    return jnp.mean(jnp.where(same, jnp.square(distance), jnp.square(apart)))


def digits_lenet(params, images, labels):
    """Return the cross-entropy of LeNet."""
    return losses.cross_entropy(lenet.apply(params, images), labels)


def vgg16(params, images, labels):
    """Return the cross-entropy of VGG16."""
    return losses.cross_entropy(vgg.apply(params, images), labels)


# --- the drawings --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A function, what it is called on, and what is to be expected.

    Attributes:
      f: the function.
      args: makes its arguments.
      expect: from the report to rows of a name, a measured and an expected number.
      keep: what is kept of arrays.
    """

    f: Callable[..., Any]
    args: Callable[[], tuple[Any, ...]]
    expect: Callable[[xray.Report, tuple[Any, ...]], list[tuple[str, Any, Any]]]
    keep: Literal["values", "stats"] = "values"


def printed(**numbers: Any) -> Callable[..., list[tuple[str, Any, Any]]]:
    """Expect gradients by the labels' names, as the course prints them."""

    def rows(report: xray.Report, _: Any) -> list[tuple[str, Any, Any]]:
        leaves = {node.label.translate(_PLAIN): node for node in report.nodes}
        rows = [
            (f"gradient of {leaves[name].label}", np.asarray(leaves[name].cotangent), expected)
            for name, expected in numbers.items()
            if name != "result"
        ]
        return [("result", np.asarray(report.output), numbers["result"]), *rows]

    return rows


_PLAIN = str.maketrans("", "", "[]")


def by_jax(report: xray.Report, args: tuple[Any, ...]) -> list[tuple[str, Any, Any]]:
    """Expect jax.grad's gradients, by their largest difference over the largest gradient."""
    wanted = tuple(i for i, grad in enumerate(report.grads) if jax.tree.leaves(grad))
    expected = jax.jit(jax.grad(report_function(report), wanted))(*args)
    pairs = zip(
        jax.tree.leaves([report.grads[i] for i in wanted]), jax.tree.leaves(expected), strict=True
    )
    gaps = [(float(jnp.max(jnp.abs(g - e))), float(jnp.max(jnp.abs(e)))) for g, e in pairs]
    largest = max(size for _, size in gaps)
    return [("largest difference from jax.grad, relative", max(g for g, _ in gaps) / largest, 0.0)]


def report_function(report: xray.Report) -> Callable[..., Any]:
    """Return the function of this module that a report is of."""
    return globals()[report.function]


def twice_used(name: str) -> Callable[..., list[tuple[str, Any, Any]]]:
    """Expect jax.grad's gradients, and one parameter that two uses share."""

    def rows(report: xray.Report, args: tuple[Any, ...]) -> list[tuple[str, Any, Any]]:
        shared = {entry.node.label: entry for entry in report.shared()}
        total = sum(np.asarray(edge.contribution) for edge in shared[name].uses)
        gap = float(np.abs(total - np.asarray(shared[name].node.cotangent)).max())
        uses = len(shared[name].uses)
        return [
            *by_jax(report, args),
            (f"uses of {name}", uses, 2),
            (f"gradient of {name} minus the sum over its uses", gap, 0.0),
        ]

    return rows


def born_here(report: xray.Report, _: Any) -> list[tuple[str, Any, Any]]:
    """Expect the NaN to be born on the line of the square root."""
    lines, start = inspect.getsourcelines(naive_distance)
    (offset,) = (k for k, line in enumerate(lines) if "jnp.sqrt" in line)
    first = report.nonfinite().births[0]
    return [
        ("loss is finite", bool(np.isfinite(report.output)), True),
        ("gradient is finite", bool(np.isfinite(report.grads[0]).all()), False),
        ("born in", first.op, "sqrt"),
        ("born on line", int(first.line.partition(":")[2].partition(" ")[0]), start + offset),
    ]


def counted(parameters: int) -> Callable[..., list[tuple[str, Any, Any]]]:
    """Expect so many numbers to be learned."""

    def rows(report: xray.Report, _: Any) -> list[tuple[str, Any, Any]]:
        held = (node.avals[0].size for node in report.nodes if node.kind == "parameter")
        return [("parameters", sum(held), parameters)]

    return rows


def drawings(config: Config) -> dict[str, Drawing]:
    """Return every drawing by its name; nothing is computed yet."""
    keys = [jax.random.fold_in(jax.random.key(config.seed), i) for i in range(8)]

    def normal(which: int, *shape: int) -> jax.Array:
        return jax.random.normal(keys[which], shape) / shape[-1] ** 0.5

    def some_digits(count: int) -> tuple[jax.Array, jax.Array]:
        digits = data.mnist("train", config.source, config.data_dir)
        inputs = data.standardize(digits.images[:count]).inputs
        return jnp.asarray(inputs), jnp.asarray(digits.labels[:count])

    def mlp_args():
        images, labels = some_digits(config.digits)
        return mlp.init(keys[0], (784, 32, 10)), images, labels

    def lenet_args():
        images, labels = some_digits(1)
        return lenet.init(keys[0]), images.reshape(1, 28, 28, 1), labels

    def vgg_args():
        image = jax.random.normal(keys[1], (1, config.image_size, config.image_size, 3))
        params = vgg.init(keys[0], "D", image_size=config.image_size)
        return params, image, jnp.zeros(1, jnp.int32)

    def siamese_args():
        images, _ = some_digits(3)
        pairs = images[jnp.array([0, 1, 2])], images[jnp.array([1, 1, 0])]  # the second: twice one
        return normal(0, 784, 2), *pairs, jnp.array([False, False, True])

    def tanh_args():
        params = {
            "layer1": {"kernel": normal(0, 20, 10), "bias": normal(1, 20)},
            "layer2": {"kernel": normal(2, 5, 20), "bias": normal(3, 5)},
        }
        return params, normal(4, 10), normal(5, 5)

    def loop_args():
        return [normal(k, 3, 3) for k in range(3)], normal(3, 3), normal(4, 3)

    def graph_args():
        weights = {"w1": [[1.0, 2.0], [0.0, 1.0]], "w2": [[0.0, 1.0], [-1.0, 3.0]]}
        return {name: jnp.array(w) for name, w in weights.items()}, jnp.array([1.0, -2.0])

    return {
        "product": Drawing(
            product, lambda: (-2.0, 5.0, -4.0), printed(result=-12, x=-4, y=-4, z=3)
        ),
        "neuron": Drawing(
            neuron,
            lambda: ([2.0, -3.0, -3.0], [-1.0, -2.0]),
            printed(result=0.73, w0=-0.20, x0=0.39, w1=-0.39, x1=-0.59, w2=0.20),
        ),
        "squared_length": Drawing(
            squared_length,
            lambda: (jnp.array([[0.1, 0.5], [-0.3, 0.8]]), jnp.array([0.2, 0.4])),
            printed(result=0.116, W=[[0.088, 0.176], [0.104, 0.208]], x=[-0.112, 0.636]),
        ),
        "length": Drawing(
            length,
            lambda: (jnp.array([1.0, 2.0, 2.0]),),
            printed(result=3, x=[0.3333, 0.6667, 0.6667]),
        ),
        "tanh_network": Drawing(tanh_network, tanh_args, by_jax),
        "loop": Drawing(loop, loop_args, twice_used("w[0]")),
        "graph": Drawing(graph, graph_args, twice_used("params['w1']")),
        "mlp": Drawing(digits_mlp, mlp_args, by_jax),
        "siamese": Drawing(siamese, siamese_args, born_here),
        "lenet": Drawing(digits_lenet, lenet_args, counted(105_506)),
        "vgg16": Drawing(vgg16, vgg_args, counted(138_357_544), keep="stats"),
    }


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    there = drawings(config)
    if unknown := set(config.only) - set(there):
        raise ValueError(f"only names {sorted(unknown)}: there are {list(there)}")
    table = Table(title="every picture beside what was to be expected")
    for column in ("drawing", "nodes", "seconds", "what", "expected", "measured"):
        table.add_column(column, overflow="fold")
    arguments = dataclasses.asdict(config)
    with runs.start(
        "xray_gallery",
        seed=config.seed,
        arguments=arguments,
        root=config.root,
        about=__doc__,
        keep_programs=True,
    ) as run:
        for name in config.only or there:
            drawing, clock = there[name], time.perf_counter()
            args = drawing.args()
            report = xray.xray(drawing.f, *args, keep=drawing.keep)
            run.save_text(f"{name}.html", report.to_html())
            run.save_text(f"{name}.svg", report.to_svg())
            run.save_text(f"{name}.dot", report.to_dot())
            seconds = time.perf_counter() - clock
            for k, (what, measured, expected) in enumerate(drawing.expect(report, args)):
                run.result(f"{name}: {what}", measured, expected)
                about = (name, str(len(report.nodes)), f"{seconds:.1f}") if k == 0 else ("", "", "")
                table.add_row(*about, what, _show(expected), _show(measured))
            console.print(f"{name}: {len(report.nodes)} nodes, {seconds:.1f} s")
    console.print(table)
    console.print(f"report: {run.path}/report.html")
    return run.path


def _show(value: Any) -> str:
    if isinstance(value, bool | str | int):
        return str(value)
    return np.array2string(np.asarray(value), precision=4, separator=", ")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
