"""What filters make of an image, what pools forgive, and how far an output sees.

    python experiments/convolution.py

**Filters**: the classical kernels on four digits; and one that is learned. From a picture and what
Sobel's horizontal kernel makes of it, descent finds the nine numbers of the kernel again.

**Windows**: what each output reads, for a stride, a padding, a dilation, groups, a transposed
convolution and a pool, found by the gradient. The run folder has a page for each, to be played.

**Shifts**: pooling is said to make a network invariant to shifts. It does not, but it helps: edges
of four orientations, pooled over cells of several sizes, are compared with those of the same digits
moved by a few pixels. The unit is the distance between two different digits, so that a small vector
has no advantage; the errors are those of the nearest of the training digits, which were not moved.

**Fields**: the gradient of one output with respect to the image is zero where the output cannot
see, and `chainrule.models.stack.describe` says where that is. Inside, it is far from uniform: in a
chain of equal blurs it is a bell, whose width grows with the root of the depth.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, OnDigits, command

from chainrule import data, descent, features, losses
from chainrule.models import lenet, stack
from chainrule.models.stack import Conv, Pool
from chainrule.ops.activations import relu
from chainrule.ops.convolution import conv, conv_transpose
from chainrule.ops.pooling import avg_pool, max_pool
from chainrule.plots import convolution as figures
from chainrule.plots import sliding
from chainrule.plots.features import shifts as draw_shifts

SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
KERNELS = {
    "identity": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "blur": np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
    "edges": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "Sobel, horizontal": SOBEL,
    "Sobel, vertical": SOBEL.T,
}
POOLS = {
    "edges": lambda edges: edges,
    "every 4th": functools.partial(max_pool, window=1, stride=4),
    "mean of 4 x 4": functools.partial(avg_pool, window=4),
    "max of 2 x 2": functools.partial(max_pool, window=2),
    "max of 4 x 4": functools.partial(max_pool, window=4),
    "max of 7 x 7": functools.partial(max_pool, window=7),
}
EDGE = jnp.asarray(SOBEL, jnp.float32)[:, :, None, None]
BOTH = jnp.asarray(np.stack([SOBEL, SOBEL.T], axis=-1), jnp.float32)
WINDOWS = {  # name to the shape of the inputs, and the operator
    "3 x 3": ((5, 6, 1), functools.partial(conv, kernel=EDGE)),
    "padded by 1": ((3, 4, 1), functools.partial(conv, kernel=EDGE)),
    "stride 2": ((7, 7, 1), functools.partial(conv, kernel=EDGE, stride=2)),
    "dilation 2": ((6, 6, 1), functools.partial(conv, kernel=EDGE, dilation=2)),
    "two channels": ((4, 4, 2), functools.partial(conv, kernel=BOTH[..., None])),
    "two groups": ((4, 4, 2), functools.partial(conv, kernel=BOTH[:, :, None], groups=2)),
    "transposed, stride 2": ((3, 3, 1), functools.partial(conv_transpose, kernel=EDGE, stride=2)),
    "largest of 2 x 2": ((4, 6, 1), functools.partial(max_pool, window=2)),
}
SHOWN = {  # in the figure, and which output
    "padded by 1": (0, 0, 0), "stride 2": (1, 1, 0), "dilation 2": (1, 1, 0),
    "two channels": (1, 1, 0), "transposed, stride 2": (4, 3, 0), "largest of 2 x 2": (1, 1, 0),
}  # fmt: skip
HEAVY = functools.partial(optax.sgd, momentum=0.9)
LARGEST_SHIFT = 4
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
SIDE = 81  # of the image that the chain of blurs sees: its deepest outputs see 68 pixels


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    samples: Count = 3000
    """How many training digits, the first ones, among which the nearest is sought."""
    tests: Count = 500
    """How many test digits, the first ones, are moved."""
    draws: Count = 100
    """How many untrained networks the gradients are averaged over."""
    depth: Count = 8
    """Convolutions in the chain."""
    seeds: Count = 5
    """How many kernels are learned, each from another start."""
    steps: Count = 300
    """Steps of the descent that learns one."""
    pages: bool = True
    """Whether to write the pages on which windows slide; they take some seconds."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    train = config.digits("train")
    test = config.digits("test")
    with config.start("convolution", about=__doc__) as run:
        run.note(data=train.provenance.to_dict())
        image = _filters(run, test.images[:4])
        console.print(_learned(run, config, image))
        _windows(run, config.pages)
        console.print(_shifts(run, config, train, test))
        console.print(_fields(run, config, test.images[:50]))
        console.print(_chain(run, config.depth))
    return run.path


def _filters(run, digits):
    image = np.block([[*digits[:2]], [*digits[2:]]]).astype(np.float32) / 255
    kernels = jnp.stack([jnp.asarray(k, jnp.float32) for k in KERNELS.values()], axis=-1)
    outputs = conv(jnp.asarray(image)[None, ..., None], kernels[:, :, None], padding=1)[0]
    made = {name: np.asarray(outputs[..., i]) for i, name in enumerate(KERNELS)}
    run.save_figure("filters", figures.filtered(image, KERNELS, made))
    run.result("identity: largest change", np.abs(made["identity"] - image).max(), 0)
    run.result("blur: sum of the image, relative", made["blur"].sum() / image.sum(), 1)
    ours = (made["Sobel, horizontal"], made["Sobel, vertical"])
    gap = max(
        np.abs(a - b).max() for a, b in zip(ours, features.sobel(jnp.asarray(image)), strict=True)
    )
    run.result("Sobel: largest difference from features.sobel", gap, 0)
    return jnp.asarray(image)[None, ..., None]


def _learned(run, config: Config, image) -> Table:
    """Learn the kernel that turns a picture into its edges, from nothing but the two pictures."""
    edges = conv(image, EDGE, padding=1)

    def loss(kernel):
        return losses.squared_error(conv(image, kernel, padding=1), edges)

    start = jnp.zeros((3, 3, 1, 1))
    sharpness = float(descent.sharpness(loss, start, key=jax.random.key(0)))
    eta = descent.edge(sharpness, HEAVY) / 2
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    starts = jax.vmap(lambda key: jax.random.normal(key, start.shape))(keys)

    @jax.jit
    @jax.vmap
    def learn(kernel):
        return descent.gradient_descent(loss, kernel, HEAVY(eta), config.steps, record_params=False)

    trace = learn(starts)
    found = np.asarray(trace.final_params)[..., 0, 0]
    off = np.abs(found - SOBEL).max(axis=(1, 2))
    run.result("learned kernel: largest difference from Sobel's, by seed", off, 0, per="seed")
    run.result("learned kernel: final loss, by seed", np.asarray(trace.loss[:, -1]), per="seed")
    table = Table(
        title=f"Sobel's kernel, learned in {config.steps} steps from {config.seeds} starts"
    )
    for column in ("weight", "Sobel's", "mean", "standard deviation"):
        table.add_column(column, justify="right")
    for place, weight in np.ndenumerate(SOBEL):
        values = found[:, *place]
        table.add_row(str(place), str(weight), f"{values.mean():.4f}", f"{values.std():.1e}")
    trace = descent.gradient_descent(loss, starts[0], HEAVY(eta), config.steps)
    steps = sorted({0, config.steps // 100, config.steps // 30, config.steps // 10, config.steps})
    shown = np.moveaxis(np.asarray(trace.params)[steps, ..., 0, 0], 0, -1)
    name = f"steps {', '.join(map(str, steps))}"
    run.save_figure("learned", figures.kernels({name: shown}, columns=len(steps)))
    return table


def _windows(run, pages: bool) -> None:
    """Draw what one output of each operator reads, and write the pages that play all of them."""
    rng, slides = np.random.default_rng(0), {}
    for name, (shape, operator) in WINDOWS.items():
        inputs = rng.integers(0, 10, shape).astype(np.float32)
        if "padded" in name:
            inputs = np.pad(inputs, ((1, 1), (1, 1), (0, 0)))

        def one(x, operator=operator):
            return operator(x[None])[0]

        @jax.jit
        def both(x, one=one):
            return one(x), jax.jacobian(one)(x)

        slides[name] = sliding.Slide(inputs, *both(inputs))
        if pages:
            page = sliding.animation(slides[name], f"What an output reads: {name}")
            run.save_text(f"window_{name.replace(', ', '_').replace(' ', '_')}.html", page)
    shown = {name: slides[name] for name in SHOWN}
    run.save_figure("windows", sliding.positions(shown, SHOWN))


def oriented_edges(images):
    """Return how much each of four edges there is at every pixel, ``[N, 28, 28, 4]``."""
    kernels = jnp.asarray(np.stack([SOBEL, -SOBEL, SOBEL.T, -SOBEL.T], axis=-1), jnp.float32)
    return relu(conv(images, kernels[:, :, None], padding=1))


def move(images, down: int, right: int):
    """Move ``[N, H, W, C]`` by whole pixels; what enters is background."""
    none = (0, 0, 0)
    return jax.lax.pad(images, 0.0, [none, (down, -down, 0), (right, -right, 0), none])


def _shifts(run, config: Config, train, test) -> Table:
    def scaled(images):
        return jnp.asarray(images[..., None], jnp.float32) / 255

    train, test = data.first(train, config.samples), data.first(test, config.tests)
    inputs, labels = scaled(train.images), train.labels
    here, answers = scaled(test.images), test.labels

    @functools.partial(jax.jit, static_argnames="pool")
    def flat(images, pool):
        seen = images if pool is None else pool(oriented_edges(images))
        return seen.reshape(len(images), -1)

    table = Table(title="moved by 1, 2, ... pixels: distance / that of two digits, error in %")
    table.add_column("what is compared")
    for pixels in range(LARGEST_SHIFT + 1):
        table.add_column(str(pixels), justify="right")
    distances, errors = {}, {}
    for name, pool in {"pixels": None, **POOLS}.items():
        known, before = np.asarray(flat(inputs, pool)), np.asarray(flat(here, pool))
        apart = np.linalg.norm(before - np.roll(before, 1, axis=0), axis=1).mean()
        far, wrong = np.zeros((2, LARGEST_SHIFT + 1, len(DIRECTIONS)))
        for pixels in range(LARGEST_SHIFT + 1):
            for i, (down, right) in enumerate(DIRECTIONS):
                after = np.asarray(flat(move(here, pixels * down, pixels * right), pool))
                far[pixels, i] = np.linalg.norm(after - before, axis=1).mean() / apart
                wrong[pixels, i] = (labels[nearest(known, after)] != answers).mean()
        distances[name], errors[name] = far.mean(axis=1), wrong.mean(axis=1)
        run.result(f"{name}: distance moved / between two digits, by pixels", distances[name])
        run.result(f"{name}: error of the nearest digit, by pixels", errors[name])
        cells = zip(distances[name], errors[name], strict=True)
        table.add_row(name, *(f"{d:.2f}, {100 * e:.1f}" for d, e in cells))
    run.save_figure("shifts", draw_shifts(np.arange(LARGEST_SHIFT + 1), distances, errors))
    return table


def nearest(known, sought):
    """Return which of the known vectors is nearest to each of those sought."""
    squares = (known**2).sum(axis=1)
    return (squares[None, :] - 2 * sought @ known.T).argmin(axis=1)


def _fields(run, config: Config, digits) -> Table:
    """How far the outputs of LeNet see: said by describe, and seen in the gradient."""
    described = stack.describe(lenet.ROWS, lenet.INPUT_SHAPE)
    layers = [layer for layer in described.layers if len(layer.outputs) == 3]
    keys = jax.random.split(jax.random.key(config.seed), config.draws)
    indices = np.arange(config.draws) % len(digits)
    images = jnp.asarray(digits[indices, None, ..., None], jnp.float32) / 128 - 1

    @jax.jit
    def gradients(keys, images):
        def one(key, image):
            params = lenet.init(key)

            def middle(image, name):
                maps = lenet.features(params, image)[name]
                return jnp.sum(maps[0, maps.shape[1] // 2, maps.shape[2] // 2])

            return {layer.name: jnp.abs(jax.grad(middle)(image, layer.name)) for layer in layers}

        return jax.tree.map(
            lambda leaf: jnp.mean(leaf, axis=0)[0, ..., 0],
            jax.lax.map(lambda pair: one(*pair), (keys, images)),
        )

    table = Table(title=f"LeNet: fields, and {config.draws} gradients averaged")
    for column in ("layer", "sees", "gradient is not 0", "half of it lies in"):
        table.add_column(column)
    means, boxes = jax.tree.map(np.asarray, gradients(keys, images)), {}
    for layer in layers:
        _, found = boxes[layer.name] = extent(means[layer.name])
        side = half(means[layer.name])
        run.result(f"{layer.name}: field", found, layer.receptive_field)
        run.result(f"{layer.name}: side of the square with half of the gradient", side)
        sees, seen = (f"{a} x {b}" for a, b in (layer.receptive_field, found))
        table.add_row(layer.name, sees, seen, f"{side} x {side}")
    in_order = {name: means[name] for name in boxes}  # jit sorts by name
    run.save_figure("fields", figures.fields(in_order, boxes))
    return table


def extent(gradient):
    """Return the first row and column that are not 0, and how many rows and columns there are."""
    lit = np.nonzero(gradient)
    first, last = [axis.min() for axis in lit], [axis.max() for axis in lit]
    return tuple(map(int, first)), tuple(int(b - a) + 1 for a, b in zip(first, last, strict=True))


def half(gradient) -> int:
    """Return the side of the smallest square around its middle that holds half of a gradient."""
    middle = [
        round((np.arange(n) * gradient.sum(axis=1 - i)).sum() / gradient.sum())
        for i, n in enumerate(gradient.shape)
    ]
    for reach in range(max(gradient.shape)):
        rows, columns = (slice(max(0, m - reach), m + reach + 1) for m in middle)
        if gradient[rows, columns].sum() >= gradient.sum() / 2:
            break
    return 2 * reach + 1


def _chain(run, depth: int) -> Table:
    """Convolutions of 3 x 3 with equal weights, with a pool after every other one and without."""
    depths = np.arange(1, depth + 1)
    table = Table(title="equal weights: what an output sees, and the deviation of its gradient")
    for column in ("convolutions", "sees", "deviation", "with pools: sees", "deviation"):
        table.add_column(column, justify="right")
    extents, deviations = {}, {}
    for name, pools in (("no pools", False), ("a pool after every second", True)):
        rows = chain(depth, pools)
        shape = (SIDE, SIDE, 1)
        params = jax.tree.map(
            lambda leaf: jnp.full(leaf.shape, 1 / 9 if leaf.ndim > 1 else 0.0),
            jax.eval_shape(
                functools.partial(stack.init, rows=rows, input_shape=shape), jax.random.key(0)
            ),
        )

        @jax.jit
        def gradients(image, rows=rows, params=params):
            def middle(image, name):
                maps = stack.features(params, image, rows)[name]
                return maps[0, maps.shape[1] // 2, maps.shape[2] // 2, 0]

            names = [f"conv{n}" for n in depths]
            return jnp.stack([jax.grad(middle)(image, name)[0, ..., 0] for name in names])

        found = np.asarray(gradients(jnp.zeros((1, *shape))))
        described = {layer.name: layer for layer in stack.describe(rows, shape).layers}
        extents[f"field, {name}"] = np.array([extent(g)[1][0] for g in found])
        deviations[f"deviation, {name}"] = np.array([deviation(g) for g in found])
        fields = [described[f"conv{n}"].receptive_field[0] for n in depths]
        run.result(f"{name}: field by depth", extents[f"field, {name}"], fields)
        # Each blur adds the variance of three equal weights, 2 / 3.
        expected = None if pools else np.sqrt(2 * depths / 3)
        run.result(f"{name}: deviation by depth", deviations[f"deviation, {name}"], expected)
    run.save_figure("spread", figures.spread(depths, extents, deviations))
    columns = [c for pair in zip(extents.values(), deviations.values(), strict=True) for c in pair]
    for n, *cells in zip(depths, *columns, strict=True):
        table.add_row(str(n), *(f"{cell:.3g}" for cell in cells))
    return table


def chain(depth: int, pools: bool) -> tuple[stack.Row, ...]:
    """Return that many convolutions, with a mean over 2 x 2 after every other one or without."""
    rows: list[stack.Row] = []
    for n in range(1, depth + 1):
        rows.append(Conv(f"conv{n}", 1, kernel=3))
        if pools and n % 2 == 0 and n < depth:
            rows.append(Pool(f"pool{n}", kind="avg"))
    return tuple(rows)


def deviation(gradient) -> float:
    """Return the standard deviation of the rows, weighted by a gradient that is not negative."""
    weights = gradient.sum(axis=1, dtype=np.float64)
    share, rows = weights / weights.sum(), np.arange(len(weights))
    return float(np.sqrt((share * rows**2).sum() - (share * rows).sum() ** 2))


if __name__ == "__main__":
    command(main, Config, __doc__)
