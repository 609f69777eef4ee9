"""Rows about graphs of operators and the record of an x-ray: what looking costs."""

import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Row, Scale, close

from chainrule import losses, xray
from chainrule.models import lenet, vgg


def graph_of_operators(scale: Scale) -> Iterator[Row]:
    """A graph of 200 nodes with shared layers, forward and backward, compiled."""
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
    from graphs import deep

    *programs, arguments = deep(blocks=50)
    compiled = [jax.jit(program) for program in programs]

    def run(program: Callable[..., Any]) -> np.ndarray:
        for _ in range(50):  # milliseconds each
            grads = jax.block_until_ready(program(*arguments))
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])

    yield Row(
        "graph: 200 nodes, the gradients of 5 shared layers, 50 times",
        lambda: run(compiled[0]),
        {"jax.jit(jax.grad) of the flat function": lambda: run(compiled[1])},
        close,
        1.0,
    )


def records(scale: Scale) -> Iterator[Row]:
    """All values and gradients of a call, against the gradient of the parameters alone."""
    yield _record("LeNet", lenet, (100, *lenet.INPUT_SHAPE), 2.5)
    yield _record("VGG16", vgg, (1, 224, 224, 3), 3.0)


def long_record(scale: Scale) -> Iterator[Row]:
    """The record of a function of many equations, whose first call is mostly compilation."""
    count = 1000 if scale.quick else 5000

    def chain(x: jax.Array) -> jax.Array:
        for _ in range(count // 2):
            x = jnp.sin(x) * 1.01
        return jnp.sum(x)

    gradient, x = jax.jit(jax.value_and_grad(chain)), jnp.linspace(0.1, 1.0, 10_000)

    def ours() -> np.ndarray:
        report = xray.xray(chain, x)
        jax.block_until_ready([(node.values, node.cotangents) for node in report.nodes])
        return np.asarray(report.grads[0])

    work = f"x-ray: the record of a function of {count} equations"
    peer = {"compiled value_and_grad": lambda: np.asarray(gradient(x)[1])}
    yield Row(work, ours, peer, close, 5.0)


def _record(name: str, model: Any, shape: tuple[int, ...], target: float) -> Row:
    key = jax.random.key(0)
    params, inputs = model.init(key), jax.random.normal(jax.random.fold_in(key, 1), shape)
    labels = jnp.arange(shape[0]) % 10

    def loss(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(model.apply(params, inputs), labels)

    gradient, last = jax.jit(jax.value_and_grad(loss)), list(params)[-1]

    def ours() -> np.ndarray:
        report = xray.xray(loss, params, inputs, labels, argnums=0)
        jax.block_until_ready([(node.values, node.cotangents) for node in report.nodes])
        return np.asarray(report.grads[0][last]["bias"])

    def theirs() -> np.ndarray:
        _, grads = jax.block_until_ready(gradient(params, inputs, labels))
        return np.asarray(grads[last]["bias"])

    work = f"x-ray: the record of {name}'s loss, batch {shape[0]}"
    return Row(work, ours, {"compiled value_and_grad": theirs}, close, target)


ROWS = {
    "graph": graph_of_operators,
    "x-ray: the record of": records,
    "x-ray: the record of a function": long_record,
}
