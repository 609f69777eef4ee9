"""Rows about curvature: how far a step is from its edge, against what one writes by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import descents
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from harness import Row, Scale

from chainrule import descent

ETA, SPECTRUM = 0.01, 4
TOLERANCE = 1e-3  # of a residual over its eigenvalue, on both sides


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Refuse answers that differ by more than the tolerance of the search allows."""
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-2)


def product(loss: Callable[[Any], jax.Array], params: Any) -> Callable[[jax.Array], jax.Array]:
    """Return the products with the Hessian, of flat vectors."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    slope = jax.grad(lambda w: loss(unravel(w)))
    return lambda v: jax.jvp(slope, (flat,), (v,))[1]


def powers(multiply: Callable[[jax.Array], jax.Array], v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the largest eigenvalue by power iteration, and its vector."""

    def once(carry: Any) -> Any:
        v, *_, count = carry
        image = multiply(v)
        value = v @ image
        length = jnp.linalg.norm(image)
        off = jnp.linalg.norm(image - value * v) > TOLERANCE * jnp.abs(value)
        return image / length, value, off, count + 1

    begin = (v / jnp.linalg.norm(v), jnp.float32(0), jnp.array(True), 0)
    v, value, *_ = jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < 1000), once, begin)
    return value, v


def stability(scale: Scale) -> Iterator[Row]:
    """Adam on the notes' network after 50 steps: both searches, ours and by hand."""
    case, optimizer = descents.notes(), optax.adam(0.001)
    loss, params, state = case.loss, case.params, optimizer.init(case.params)
    step = jax.jit(lambda p, s: optimizer.update(jax.grad(loss)(p), s, p))
    for _ in range(50):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)

    @jax.jit
    def by_hand(params: Any, nu: Any, v: jax.Array) -> jax.Array:
        multiply = product(loss, params)
        # At the next step, without a gradient: the average of squares fades, and is corrected.
        mean = 0.999 * jax.flatten_util.ravel_pytree(nu)[0] / (1 - 0.999**51)
        scaled = (jnp.sqrt(mean) + 1e-8) ** -0.5
        edge = 38 / 0.001 * (1 - 0.9**51)
        own, _ = powers(lambda v: scaled * multiply(scaled * v), v)
        return jnp.array([powers(multiply, v)[0], own / edge])

    start = jax.random.normal(jax.random.key(0), jax.flatten_util.ravel_pytree(params)[0].shape)

    def ours() -> np.ndarray:
        found = descent.stability(loss, params, optimizer, state)
        return np.array([found.sharpness, found.ratio])

    peers = {"power iteration": lambda: np.asarray(by_hand(params, state[0].nu, start))}
    yield Row("stability: Adam, the 784-200-1 network, after 50 steps", ours, peers, near)


def watch(scale: Scale) -> Iterator[Row]:
    """The notes' network, read every 50 steps: what the readings cost, and a loop by hand."""
    case, optimizer = descents.notes(), optax.sgd(ETA)
    loss, steps = case.loss, 200 if scale.quick else 1000

    def ours() -> np.ndarray:
        found = descent.watch(loss, case.params, optimizer, steps, every=50)
        return np.array([found.trace.loss[-1], *found.sharpness[-2:]])

    def plain() -> np.ndarray:
        trace = descent.gradient_descent(loss, case.params, optimizer, steps, record_params=False)
        return np.array([trace.loss[-1]])

    step = jax.jit(lambda p: jax.tree.map(lambda w, g: w - ETA * g, p, jax.grad(loss)(p)))
    read = jax.jit(lambda params, v: powers(product(loss, params), v))
    value = jax.jit(loss)

    def loop() -> np.ndarray:
        params, found = case.params, []
        v = jax.random.normal(jax.random.key(0), jax.flatten_util.ravel_pytree(params)[0].shape)
        for t in range(steps + 1):
            if t % 50 == 0:
                sharpness, v = read(params, v)
                found.append(sharpness)
            if t < steps:
                params = step(params)
        return np.array([value(params), *found[-2:]])

    name = f"watch: the 784-200-1 network, {steps} steps, a reading every 50"
    yield Row(name, ours, {"the descent without readings": plain}, near, 1.5)
    yield Row(f"{name}, by hand", ours, {"a loop with power iteration": loop}, near, 1.5)


def spectrum(scale: Scale) -> Iterator[Row]:
    """The largest eigenvalues at the start of the notes' network."""
    case = descents.notes()
    loss, k = case.loss, 2 if scale.quick else SPECTRUM
    size = jax.flatten_util.ravel_pytree(case.params)[0].size
    begin = jax.random.normal(jax.random.key(0), (size, k))

    @jax.jit
    def by_hand(params: Any, block: jax.Array) -> jax.Array:
        multiply = jax.vmap(product(loss, params), in_axes=1, out_axes=1)

        def once(carry: Any) -> Any:
            block, *_, count = carry
            block, _ = jnp.linalg.qr(block)
            images = multiply(block)
            values, turned = jnp.linalg.eigh(block.T @ images)
            off = jnp.linalg.norm(images @ turned - (block @ turned) * values[None, :], axis=0)
            return images @ turned, values[::-1], jnp.max(off) > TOLERANCE * values[-1], count + 1

        carry = (block, jnp.zeros(k), jnp.array(True), 0)
        return jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < 300), once, carry)[1]

    yield Row(
        f"spectrum: the {k} largest eigenvalues, the 784-200-1 network",
        lambda: np.asarray(descent.spectrum(loss, case.params, k).values),
        {"block power iteration": lambda: np.asarray(by_hand(case.params, begin))},
        near,
    )


ROWS = {"stability": stability, "watch": watch, "spectrum": spectrum}
