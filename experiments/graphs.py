r"""Networks as graphs of operators: the notes' example, step by step, then an MLP and LeNet.

    python experiments/graphs.py

The notes' example uses its first weight twice,

    x1 = w1 x0,  x2 = x0 + w2 x1,  x3 = w1 (x1 + x2),  q = |x3|

and they write it in two ways: with a weight that belongs to an operator, and with every elementary
operation as a node, where weights are inputs like others. Both are printed here, forward and
backward, one line a step with its equation, and the gradients of w1, w2 and x0 beside `jax.grad` of
the function written flat. The notes print the backward equations without the transposes; with them
the numbers agree. The gradient of w1 is the sum over its two uses, each of which is shown. The
graphs are drawn by `chainrule.xray`, which sees the same function through JAX alone. Here dq/dx is
a gradient and J[y|x] the Jacobian of the operator at y with respect to its input x.

Then the notes' loop, x = tanh(w[i] x), run once for u and three times for v, with one w of shape
(3, 10, 10) and q = u . v. Each use of w is a node of its own and carries its index, so that w[0],
which both runs use, has two shares.

Then the notes' networks as graphs, on real digits, whose gradients come from the rules beside the
operators: the same as those of `jax.grad` of the plain models. And what a graph of 200 nodes costs,
compiled, in operations and by the clock, against the same function written flat. Expected: nothing.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from settings import Count, NotNegative, OnDigits, Some, command

from chainrule import data, losses, runs, xray
from chainrule.models import dag, lenet, mlp
from chainrule.models.dag import Node, layer
from chainrule.ops.activations import relu, tanh
from chainrule.ops.convolution import conv
from chainrule.ops.elementary import add, norm
from chainrule.ops.linear import linear, matvec
from chainrule.ops.pooling import max_pool
from chainrule.plots.backpropagation import heatmaps

CONSOLE = Console()

# --- the graphs ----------------------------------------------------------------------------------


def phi2(w2, x0, x1):
    """Return x0 + w2 x1."""
    return x0 + w2 @ x1


def phi3(w1, x1, x2):
    """Return w1 (x1 + x2)."""
    return w1 @ (x1 + x2)


WEIGHTED = {
    "x1": Node(layer(matvec), ("x0",), "w1"),
    "x2": Node(phi2, ("x0", "x1"), "w2"),
    "x3": Node(phi3, ("x1", "x2"), "w1"),
    "q": Node(layer(norm), ("x3",)),
}
ELEMENTARY = {
    "x1": Node(layer(matvec), ("w1", "x0")),
    "m": Node(layer(matvec), ("w2", "x1")),
    "x2": Node(layer(add), ("x0", "m")),
    "s": Node(layer(add), ("x1", "x2")),
    "x3": Node(layer(matvec), ("w1", "s")),
    "q": Node(layer(norm), ("x3",)),
}
POINT = {"w1": [[1.0, 2.0], [0.0, 1.0]], "w2": [[0.0, 1.0], [-1.0, 3.0]], "x0": [1.0, -2.0]}


def flat(w1, w2, x0):
    """Return q, written as one would without a graph."""
    x1 = w1 @ x0
    x2 = x0 + w2 @ x1
    x3 = w1 @ (x1 + x2)
    return jnp.sqrt(jnp.sum(x3**2))


def select(w, *, index):
    """Return w[index]."""
    return w[index]


def select_backward(g, w, *, index):
    """Return g at the index, and 0 elsewhere."""
    return jnp.zeros_like(w).at[index].set(g)


def turn(_, matrix, x):
    """Return tanh(W x)."""
    return jnp.tanh(matrix @ x)


def dot(_, u, v):
    """Return u . v."""
    return u @ v


LOOP_USES = {"u": (0, "a"), "v1": (0, "b"), "v2": (1, "v1"), "v3": (2, "v2")}
"""What each turn of the loop makes: the index of w that it uses, and what it starts from."""
LOOP = {
    **{
        f"w[{index}]:{name}": Node(layer(select, index=index), ("w",))
        for name, (index, _) in LOOP_USES.items()
    },
    **{
        name: Node(turn, (f"w[{index}]:{name}", before))
        for name, (index, before) in LOOP_USES.items()
    },
    "q": Node(dot, ("u", "v3")),
}


def loop(w, a, b):
    """Return q of the notes' loop, written as they write it."""

    def run(turns, x):
        for i in range(turns):
            x = jnp.tanh(w[i] @ x)
        return x

    return run(1, a) @ run(3, b)


def flatten(_, images):
    """Return one row an image."""
    return images.reshape(images.shape[0], -1)


MLP = {
    "s1": Node(layer(linear), ("x0",), "layer1"),
    "x1": Node(layer(relu), ("s1",)),
    "s2": Node(layer(linear), ("x1",), "layer2"),
    "loss": Node(layer(losses.cross_entropy), ("s2", "labels")),
}
LENET = {
    "conv1": Node(layer(conv), ("images",), "conv1"),
    "pool1": Node(layer(max_pool, window=3), ("conv1",)),
    "relu1": Node(layer(relu), ("pool1",)),
    "conv2": Node(layer(conv), ("relu1",), "conv2"),
    "pool2": Node(layer(max_pool, window=2), ("conv2",)),
    "relu2": Node(layer(relu), ("pool2",)),
    "rows": Node(flatten, ("relu2",)),
    "dense1": Node(layer(linear), ("rows",), "dense1"),
    "relu3": Node(layer(relu), ("dense1",)),
    "dense2": Node(layer(linear), ("relu3",), "dense2"),
    "loss": Node(layer(losses.cross_entropy), ("dense2", "labels")),
}


def deep(blocks: int, width: int = 64, batch: int = 64):
    """Return a network of 4 nodes a block: as a graph and flat, both with what they are called on.

    The blocks take five layers in turn and share them. Each function returns the gradients of the
    layers, for the sum of its outputs.
    """
    affine, bend, join = layer(linear), layer(tanh), layer(add)
    graph = {}
    for i in range(blocks):
        before = f"x{i}"
        graph[f"s{i + 1}"] = Node(affine, (before,), f"layer{i % 5 + 1}")
        graph[f"h{i + 1}"] = Node(bend, (f"s{i + 1}",))
        graph[f"r{i + 1}"] = Node(join, (before, f"h{i + 1}"))
        graph[f"x{i + 1}"] = Node(bend, (f"r{i + 1}",))
    params = mlp.init(jax.random.key(0), (width,) * 6)
    inputs = jax.random.normal(jax.random.key(1), (batch, width))

    def by_graph(params, inputs):
        return gradients(graph, params, {"x0": inputs}, f"x{blocks}")[1].params

    def written_flat(params, x):
        for i in range(blocks):
            of = params[f"layer{i % 5 + 1}"]
            x = jnp.tanh(x + jnp.tanh(x @ of["kernel"] + of["bias"][None, :]))
        return x.sum()

    return by_graph, jax.grad(written_flat), (params, inputs)


def gradients(
    graph: dag.Graph, params: Any, inputs: Mapping[str, Any], output: str
) -> tuple[dict[str, jax.Array], dag.Gradients]:
    """Return the activations, and the gradients of the (summed) output."""
    activations = dag.forward(graph, params, inputs)
    g = {output: jnp.ones_like(activations[output])}
    return activations, dag.backward(graph, params, activations, g)


def weighted(w1, w2, x0):
    """Return q of the graph whose operators have weights."""
    return dag.forward(WEIGHTED, {"w1": w1, "w2": w2}, {"x0": x0})["q"]


def elementary(w1, w2, x0):
    """Return q of the graph whose weights are inputs."""
    return dag.forward(ELEMENTARY, {}, {"w1": w1, "w2": w2, "x0": x0})["q"]


# --- the run -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    samples: Count = 64
    """How many training digits for the networks: the first ones."""
    blocks: Count = 50
    """Of the graph whose cost is taken; a block is 4 nodes."""
    turns: Some = 21
    """How often both are timed, one after the other; with 0 they are not."""
    at_least: NotNegative = 0.1
    """Seconds to repeat a call for in a turn, of which the fastest counts."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    with config.start("graphs", about=__doc__) as run:
        _notes(run)
        _loop(config, run)
        _networks(config, run)
        _cost(config, run)
    return run.path


def _notes(run: runs.Run) -> None:
    point = {name: jnp.asarray(value) for name, value in POINT.items()}
    expected = dict(zip(point, jax.grad(flat, argnums=(0, 1, 2))(*point.values()), strict=True))
    weights = {name: point[name] for name in ("w1", "w2")}
    activations, grads = gradients(WEIGHTED, weights, {"x0": point["x0"]}, "q")
    _steps("a weight belongs to an operator", WEIGHTED, activations, grads)
    parts = grads.contributions["w1"]
    found = {**grads.params, "x0": grads.activations["x0"]}
    _compare(run, "weights of operators", found, expected)
    run.result("dq/w1, use by use", parts, expected["w1"])
    pictures = {f"its use in {node}": np.asarray(part) for node, part in sorted(parts.items())}
    pictures["$\\partial q / \\partial w_1$, their sum"] = np.asarray(grads.params["w1"])
    run.save_figure("uses", heatmaps([pictures], digits=2))

    activations, grads = gradients(ELEMENTARY, {}, point, "q")
    _steps("every operation is a node, weights are inputs", ELEMENTARY, activations, grads)
    _compare(run, "weights as inputs", grads.activations, expected)
    for function in (weighted, elementary):
        picture = xray.xray(function, *point.values()).to_svg(open="none", direction="right")
        run.save_text(f"{function.__name__}.svg", picture)


def _loop(config: Config, run: runs.Run) -> None:
    draws = jax.random.split(jax.random.key(config.seed), 3)
    shapes = {"w": (3, 10, 10), "a": (10,), "b": (10,)}
    point = {
        name: jax.random.normal(key, shape) / (10**0.5 if name == "w" else 1)
        for key, (name, shape) in zip(draws, shapes.items(), strict=True)
    }
    expected = jax.grad(loop)(*point.values())
    activations, grads = gradients(LOOP, {}, point, "q")
    _steps("a loop over one w of shape (3, 10, 10)", LOOP, activations, grads)
    _compare(run, "loop", {"w": grads.activations["w"]}, {"w": expected})
    parts = {
        f"w[{index}]:{name}": np.asarray(grads.activations[f"w[{index}]:{name}"])
        for name, (index, _) in LOOP_USES.items()
    }
    run.result("dq/dw of the loop, use by use", parts, expected)
    rows = []
    for index, total in enumerate(np.asarray(expected)):
        row = {name: part for name, part in parts.items() if name.startswith(f"w[{index}]")}
        rows.append({**row, f"$\\partial q / \\partial w[{index}]$": total})
    run.save_figure("loop", heatmaps(rows))
    picture = xray.xray(loop, *point.values()).to_svg(open="none", direction="right")
    run.save_text("loop.svg", picture)


def _steps(
    title: str, graph: dag.Graph, activations: Mapping[str, jax.Array], grads: dag.Gradients
) -> None:
    """Print the equation and the value of every step, forward and backward."""
    lines = dag.equations(graph, "q")
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("equation", "value"):
        table.add_column(column, header_style="dim")
    for name, equation in lines.forward.items():
        table.add_row(escape(equation), _show(activations[name]))
    table.add_section()
    for name, equation in lines.backward.items():
        table.add_row(escape(equation), _show(grads.activations[name]))
    table.add_section()
    for name, equation in lines.params.items():
        table.add_row(escape(equation), _show(grads.params[name]))
        uses = grads.contributions[name].items()
        if len(uses) > 1:
            for node, part in uses:
                table.add_row(f"    of which by {escape(node)}", _show(part))
    CONSOLE.print(table, "")


def _show(array: jax.Array) -> str:
    if array.size > 9:
        return f"{' x '.join(map(str, array.shape))}, length {np.linalg.norm(array):.4f}"
    rows = np.atleast_2d(np.asarray(array)).round(4) + 0.0  # no -0
    return "\n".join(" ".join(f"{number:9.4f}" for number in row) for row in rows)


def _compare(
    run: runs.Run, name: str, found: Mapping[str, jax.Array], expected: Mapping[str, jax.Array]
) -> None:
    for of, gradient in expected.items():
        run.result(f"dq/d{of}, {name}", found[of], gradient)
    gap = _gap({of: found[of] for of in expected}, expected)
    CONSOLE.print(f"largest difference from jax.grad of the flat function, relative: {gap:.1e}\n")


def _networks(config: Config, run: runs.Run) -> None:
    digits = data.first(config.digits("train"), config.samples)
    run.note(data=digits.provenance.to_dict())
    standard = data.standardize(digits.images).inputs
    labels = jnp.asarray(digits.labels, jnp.int32)
    rows = jnp.asarray(standard)
    images = rows.reshape(-1, 28, 28, 1)
    key = jax.random.key(config.seed)
    for name, graph, inputs, params, apply in (
        ("784-200-10", MLP, {"x0": rows}, mlp.init(key, (784, 200, 10)), mlp.apply),
        ("LeNet", LENET, {"images": images}, lenet.init(key), lenet.apply),
    ):
        _same(run, name, graph, {**inputs, "labels": labels}, params, apply)


def _same(
    run: runs.Run,
    name: str,
    graph: dag.Graph,
    inputs: dict[str, jax.Array],
    params: Any,
    apply: Callable[..., jax.Array],
) -> None:
    """Hold the loss and the gradients of a graph against those of the plain model."""
    array, labels = inputs.values()

    def plain(params: Any) -> jax.Array:
        return losses.cross_entropy(apply(params, array), labels)

    def both(params: Any) -> Any:
        activations, grads = gradients(graph, params, inputs, "loss")
        return (activations["loss"], grads.params), jax.value_and_grad(plain)(params)

    (loss, by_graph), (expected, by_jax) = run.compile(jax.jit(both), params)(params)
    gap = _gap(by_graph, by_jax)
    run.result(f"loss of {name} as a graph", loss, expected)
    run.result(
        f"{name} as a graph: largest relative difference of a gradient", gap, runs.Below(1e-5)
    )
    CONSOLE.print(
        f"{name} as a graph of {len(graph)} nodes, {len(labels)} digits: loss {loss:.6f}, as a "
        f"plain function {expected:.6f}; largest relative difference of a gradient {gap:.1e}"
    )


def _gap(found: Any, expected: Any) -> float:
    """Return the largest difference of an array, relative to its largest number."""
    gaps = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)), found, expected)
    return float(max(jax.tree.leaves(gaps)))


def _cost(config: Config, run: runs.Run) -> None:
    *programs, arguments = deep(config.blocks)
    graph, plain = (run.compile(jax.jit(program), *arguments) for program in programs)
    gap = _gap(graph(*arguments), plain(*arguments))
    operations = [int(program.cost_analysis()["flops"]) for program in (graph, plain)]
    name = f"{4 * config.blocks} nodes, compiled"
    run.result(f"{name}: largest relative difference of a gradient", gap, runs.Below(1e-5))
    run.result(f"{name}: operations", operations[0], operations[1])
    CONSOLE.print(
        f"\n{name}, forward and backward: {operations[0]:,} operations, {operations[1]:,} written "
        f"flat; both compiled in {run.record['compile_seconds']:.1f} s with all that is above"
    )
    if config.turns:
        calls = {"graph": lambda: graph(*arguments), "flat": lambda: plain(*arguments)}
        seconds = timing.alternate(calls, config.turns, at_least=config.at_least)
        ratios = seconds["graph"] / seconds["flat"]
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        run.result(f"{name}: time over that of the flat function, median", median, 1.0)
        run.result(f"{name}: the same, turn by turn", ratios, per="turn")
        CONSOLE.print(
            f"in {1e3 * np.median(seconds['graph']):.2f} ms, {median:.3f} of the flat function's "
            f"time: median of {config.turns} turns, half of them from {low:.3f} to {high:.3f}"
        )


if __name__ == "__main__":
    command(main, Config, __doc__)
