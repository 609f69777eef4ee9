"""Rows about what is asked of a record, an audit and a comparison too, beside the record alone."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from harness import Row, Scale, close

from chainrule import losses, xray
from chainrule.models import lenet

VERBS: dict[str, tuple[Callable[[xray.Report], Any], float | None]] = {
    "shared()": (lambda report: str(report.shared()), 3.0),
    "nonfinite()": (lambda report: str(report.nonfinite()), 2.0),
    "deaths()": (lambda report: str(report.deaths()), None),
}
"""What is asked, printed as well, and how many times the record it may take with it."""


def verbs(scale: Scale) -> Iterator[Row]:
    """Record a call and ask one thing, against the record alone."""
    for name, make in (("LSTM", _lstm), ("transformer", _transformer), ("simulation", _simulation)):
        loss, params = make(scale.quick)

        def record(loss: Any = loss, params: Any = params) -> xray.Report:
            return _computed(xray.xray(loss, params))

        def gradient(report: xray.Report) -> np.ndarray:
            return np.asarray(jax.tree.leaves(report.grads[0])[0])

        for verb, (ask, target) in VERBS.items():

            def ours(ask: Any = ask, record: Any = record) -> np.ndarray:
                report = record()
                ask(report)
                return gradient(report)

            nodes = len(record().nodes)
            yield Row(
                f"x-ray, {verb}: {name}, {nodes} nodes",
                ours,
                {"the record alone": lambda record=record: gradient(record())},
                close,
                target,
            )
    count = 10 if scale.quick else 100
    loss, args = _lenet(count)
    yield Row(
        f"x-ray, audit(): LeNet, batch {count}",
        lambda: xray.audit(loss, *args),
        {"the record alone": lambda: _computed(xray.xray(loss, *args))},
        _without_rules,
        20.0,
    )

    for what, others in (("compiled, op by op", ()), ("with another softmax", (_otherwise,))):
        yield Row(
            f"x-ray, diff(): LeNet, batch {count}, {what}",
            lambda others=others: xray.diff(loss, *others, *args),
            {"the record alone": lambda: _computed(xray.xray(loss, *args))},
            _without_parting,
            3.0,
        )


def _otherwise(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the loss of LeNet, the cross-entropy written out."""
    scores = lenet.apply(params, images)
    shifted = scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    total = jnp.log(jnp.exp(shifted).sum(-1))
    return jnp.mean(total - jnp.take_along_axis(shifted, labels[:, None], 1)[:, 0])


def _without_parting(ours: Any, _: Any) -> None:
    if ours.first is not None:
        raise ValueError(f"the two compute the same, but: {ours}")


def _computed(report: xray.Report) -> xray.Report:
    jax.block_until_ready([(node.values, node.cotangents) for node in report.nodes])
    return report


def _without_rules(ours: Any, _: Any) -> None:
    if ours.rules:
        raise ValueError(f"the rules of LeNet's operators are right, but: {ours}")


def _lenet(count: int) -> tuple[Callable[..., jax.Array], tuple[Any, ...]]:
    """Return the loss of LeNet, and its arguments."""

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(lenet.apply(params, images), labels)

    images = jax.random.uniform(jax.random.key(0), (count, *lenet.INPUT_SHAPE))
    return loss, (lenet.init(jax.random.key(1)), images, jnp.arange(count) % 10)


def _lstm(quick: bool) -> tuple[Callable[[Any], jax.Array], Any]:
    """Return a loss over an LSTM of 64 units, on 16 sequences of 50 steps."""
    model = nn.RNN(nn.OptimizedLSTMCell(64))
    inputs = jax.random.normal(jax.random.key(0), (16, 10 if quick else 50, 32))
    params = model.init(jax.random.key(1), inputs)
    return lambda params: jnp.mean(jnp.square(model.apply(params, inputs))), params


class Block(nn.Module):
    """A block of a transformer, 64 wide, four heads."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the sequences after the block."""
        x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
        return x + nn.Dense(64)(nn.gelu(nn.Dense(256)(nn.LayerNorm()(x))))


def _transformer(quick: bool) -> tuple[Callable[[Any], jax.Array], Any]:
    """Return a loss over a transformer of six blocks, 64 wide, on 8 sequences of 32."""
    model = nn.Sequential([Block() for _ in range(1 if quick else 6)])
    inputs = jax.random.normal(jax.random.key(0), (8, 32, 64))
    params = model.init(jax.random.key(1), inputs)
    return lambda params: jnp.mean(jnp.square(model.apply(params, inputs))), params


def _simulation(quick: bool) -> tuple[Callable[[Any], jax.Array], Any]:
    """Return the height at the end of a chain of 24 bodies, all their equations written out.

    So many equations as one step of a simulated robot has (MuJoCo's in JAX: some thousands).
    """
    joints, steps = (6, 2) if quick else (24, 8)

    def height(params: Any) -> jax.Array:
        angles, speeds = list(params["angles"]), list(params["speeds"])
        for _ in range(steps):
            x = y = total = 0.0
            for joint in range(joints):
                total = total + angles[joint]
                x, y = x + jnp.cos(total), y - jnp.sin(total)
                pull = -0.1 * x * params["gravity"] - 0.2 * speeds[joint]
                speeds[joint] = speeds[joint] + 0.01 * pull
                angles[joint] = angles[joint] + 0.01 * speeds[joint]
        return y

    draw = jax.random.normal(jax.random.key(0), (2, joints))
    return height, {"angles": draw[0], "speeds": draw[1], "gravity": jnp.float32(9.81)}


ROWS = {"x-ray, ": verbs}
