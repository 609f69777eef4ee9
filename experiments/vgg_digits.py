"""VGG for digits: a small one that makes few mistakes, and VGG16 itself.

    python experiments/vgg_digits.py --data-dir FOLDER        # at least 99.5 %, three times

The small one keeps VGG's plan, blocks of 3 x 3 convolutions that a pool ends and that double the
channels, with batch normalisation, on 28 x 28 pixels. It trains by Adam with a learning rate that
rises and falls once and with smoothed labels, and every digit moves at random by up to two pixels
in every batch. The trained network of the first seed goes into two files of the run folder: its
weights in torchvision's layout, and the whole of it as StableHLO, from which the test digits are
classified once more. Its activations are drawn too: the maps of the last convolutions glow along
their lower and right edge, because the pool of 2 leaves out the last row and column of 7 x 7, and
no loss ever sees what stands there.

VGG16, 138,357,544 parameters, takes ten steps with a batch of two digits, enlarged to 224 x 224 in
colour, and then classifies one. It needs 3 GB; ``--no-vgg16`` leaves it out.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from settings import Count, OnDigits, Positive, Repeated, Share, Some, command

from chainrule import data, losses, runs, training
from chainrule.data.augment import shift
from chainrule.data.batches import Batches
from chainrule.data.digits.record import CLASSES
from chainrule.models import stack, torchvision, vgg
from chainrule.plots import COLORS, classification, convolution

AT_MOST = 0.005
"""Test error of the small one on the full set."""
SECONDS = 600
"""For training it once, on two cores."""
TRAIN = "train, moved, during the epoch"


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    epochs: Count = 10
    """Passes through the training digits."""
    batch: Count = 100
    """Digits a step."""
    peak: Positive = 0.01
    """The largest learning rate."""
    smoothing: Share = 0.1
    """How much of each target is spread over all classes."""
    pixels: Some = 2
    """How far a digit is moved at most."""
    blocks: tuple[tuple[Count, ...], ...] = ((16,), (32, 32), (64, 64))
    """Channels of the small network's convolutions."""
    samples: Count | None = None
    """How many training digits, the first ones; all unless given."""
    held_out: Some = 0
    """How many training digits, the last ones, to test on instead of training on them."""
    seeds: Count = 3
    """How many initialisations, each with its own batches."""
    vgg16: bool = True
    """Whether VGG16 is trained a little."""
    steps: Count = 10
    """Its steps."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    train, test = _digits(config)
    with config.start("vgg_digits", about=__doc__) as run:
        run.note(data=train.provenance.to_dict())
        _small(config, run, console, train, test)
        if config.vgg16:
            few_steps(run, console, train, steps=config.steps)
    return run.path


def _digits(config: Config) -> tuple[data.Digits, data.Digits]:
    train = config.digits("train")
    test = config.digits("test")
    if config.held_out:
        last = slice(-config.held_out, None)
        test = train._replace(images=train.images[last], labels=train.labels[last])
        first = slice(0, -config.held_out)
        train = train._replace(images=train.images[first], labels=train.labels[first])
    return train if config.samples is None else data.first(train, config.samples), test


def preprocessing_of(images: np.ndarray) -> torchvision.Preprocessing:
    """Return the mean and the standard deviation of all pixels, of values from 0 to 1."""
    return torchvision.Preprocessing((float(images.mean()) / 255,), (float(images.std()) / 255,))


def make_optimizer(config: Config, samples: int) -> optax.GradientTransformation:
    """Return Adam, whose learning rate rises linearly up to the peak and falls to 0."""
    steps = max(1, config.epochs * (samples // config.batch))
    warmup = min(max(1, steps // 5), steps - 1)
    return training.optimizer(
        "adam", config.peak, schedule="linear", steps=steps, warmup=warmup, b2=0.99
    )


class Small(NamedTuple):
    """The small network and its training; made once, so that it compiles once for all seeds.

    Attributes:
      preprocessing: of the training digits.
      init: from a key to parameters.
      loss: as `chainrule.training.fit` takes it.
      augment: moves the images of a batch.
      optimizer: with its schedule.
      logits: from parameters and state, and images, to logits.
    """

    preprocessing: torchvision.Preprocessing
    init: Any
    loss: Any
    augment: Any
    optimizer: optax.GradientTransformation
    logits: Any


def make_small(
    config: Config, train: data.Digits, preprocessing: torchvision.Preprocessing | None = None
) -> Small:
    """Return the small network for these digits, standardised by their own statistics if not
    otherwise.
    """
    if preprocessing is None:
        preprocessing = preprocessing_of(train.images)

    def loss(params, state, batch, key):
        inputs = torchvision.preprocess(batch["images"], preprocessing)
        logits, state = vgg.apply(params, inputs, state=state, key=key, train=True)
        targets = optax.smooth_labels(jax.nn.one_hot(batch["labels"], CLASSES), config.smoothing)
        value = jnp.mean(optax.losses.softmax_cross_entropy(logits, targets))
        wrong = jnp.argmax(logits, axis=1) != batch["labels"]
        return value, (state, {"error": jnp.mean(wrong, dtype=jnp.float32)})

    def augment(key, batch):
        return batch | {"images": shift(key, batch["images"], pixels=config.pixels)}

    def logits(variables, images):
        params, state = variables
        return vgg.apply(params, torchvision.preprocess(images, preprocessing), state=state)

    init = functools.partial(
        vgg.init,
        config=config.blocks,
        image_size=28,
        channels=1,
        classes=CLASSES,
        batch_norm=True,
        hidden=(),
    )
    optimizer = make_optimizer(config, len(train.labels))
    return Small(preprocessing, jax.jit(init), loss, augment, optimizer, logits)


def _small(config: Config, run, console: Console, train: data.Digits, test: data.Digits) -> None:
    small = make_small(config, train)
    rows = vgg.rows_of(jax.eval_shape(small.init, jax.random.key(0)))
    described = stack.describe(rows, (28, 28, 1))
    console.print(str(described), highlight=False, soft_wrap=True)
    run.result("small: parameters", described.parameters)
    run.result("small: multiply-adds", described.multiply_adds)

    curves: dict[str, list[list[float]]] = {"loss": [], "error": [], "test_error": []}
    ends, seconds, end = [], [], None
    for seed in config.every_seed:
        clock = time.perf_counter()
        trained, records = fit(config, small, console, train, test, seed)
        seconds.append(time.perf_counter() - clock)
        ends.append(records[-1]["test_error"])
        console.print(f"seed {seed}: {ends[-1]:.2%} wrong, {seconds[-1]:.0f} s")
        for name in curves:
            curves[name].append([record[name] for record in records])
        end = trained if end is None else end
    console.print(_report(config, run, len(train.labels), curves, ends, seconds))
    _keep(run, console, end, small.preprocessing, test)


def fit(
    config: Config, small: Small, console: Console, train: data.Digits, test: data.Digits, seed: int
) -> tuple[training.TrainState, list[dict[str, Any]]]:
    """Train the small network from one seed; return how it ends, and a record an epoch."""
    keys = jax.random.split(jax.random.key(seed), 3)
    params = small.init(keys[0])
    digits = {"images": train.images[..., None], "labels": train.labels}
    state = vgg.init_state(params)
    start = training.create(params, small.optimizer, key=keys[2], state=state)
    records: list[dict[str, Any]] = []

    def evaluate(end):
        variables, images = (end.params, end.state), test.images[..., None]
        found = np.asarray(training.predict(small.logits, variables, images, size=500))
        return {"test_error": float(np.mean(found.argmax(axis=1) != test.labels))}

    with training.Progress(console) as progress:

        def report(record):
            records.append(record)
            progress.report(record)

        end = training.fit(
            start,
            small.loss,
            small.optimizer,
            Batches(digits, config.batch, key=keys[1]),
            config.epochs,
            augment=small.augment,
            evaluate=evaluate,
            report=report,
            tick=progress.tick,
        )
    return end, records


def _report(
    config: Config,
    run,
    samples: int,
    curves: dict[str, list[list[float]]],
    ends: list[float],
    seconds: list[float],
) -> Table:
    """Write down what came of all seeds, and return it as a table."""
    run.save_trace(
        {
            f"seed={seed}/{name}": runs.Series(rows[i], loss=name == "loss")
            for i, seed in enumerate(config.every_seed)
            for name, rows in curves.items()
        }
    )
    full = samples == 60_000
    at_most, limit = (runs.AtMost(AT_MOST), runs.AtMost(SECONDS)) if full else (None, None)
    run.result("small: test error by seed", ends, at_most, per="seed")
    run.result("small: test error, mean", np.mean(ends), at_most)
    if len(ends) > 1:
        run.result("small: test error, standard deviation", np.std(ends, ddof=1))
    run.result("small: seconds by seed", seconds, limit, per="seed")
    drawn = {TRAIN: np.stack(curves["error"]), "test": np.stack(curves["test_error"])}
    epochs, colors = np.arange(1, config.epochs + 1), (COLORS["train"], COLORS["test"])
    run.save_figure("learning", classification.learning(epochs, drawn, colors=colors))

    table = Table(title=f"{config.epochs} epochs of {samples:,} digits")
    for column in ("test accuracy, mean", "± std", "seeds", "seconds", "expected on all digits"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{1 - np.mean(ends):.2%}",
        f"{np.std(ends, ddof=1):.2%}" if len(ends) > 1 else "",
        str(len(ends)),
        f"{min(seconds):.0f} to {max(seconds):.0f}",
        f"at least {1 - AT_MOST:.1%} in {SECONDS} s",
    )
    return table


def _keep(run, console: Console, end, preprocessing, test: data.Digits) -> None:
    """Write the trained network to its files, classify from one of them, and draw."""
    params, state = end.params, end.state
    weights, program = run.path / "digits.safetensors", run.path / "digits.stablehlo"
    torchvision.save(weights, params, state, image_size=28, preprocessing=preprocessing)

    def probabilities(images):
        inputs = torchvision.preprocess(images, preprocessing)
        return vgg.probabilities(params, inputs, state=state)

    images = test.images[..., None]
    training.export.save(program, probabilities, images[:1])
    call = training.export.load(program).call
    found = np.concatenate(
        [np.asarray(call(images[first : first + 500])) for first in range(0, len(images), 500)]
    )
    answers = found.argmax(axis=1)
    run.result("small: test error from the program in the file", np.mean(answers != test.labels))
    for path in (weights, program):
        console.print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")

    counts = np.zeros((CLASSES, CLASSES), int)
    np.add.at(counts, (test.labels, answers), 1)
    run.save_figure("confusion", classification.confusion(counts))
    wrong = np.flatnonzero(answers != test.labels)
    worst = wrong[np.argsort(-found[wrong].max(axis=1))][:16]
    if len(worst):
        shown = (test.images, test.labels, answers, found.max(axis=1))
        run.save_figure("mistakes", classification.mistakes(*(array[worst] for array in shown)))
    inputs = torchvision.preprocess(images[:1], preprocessing)
    features = jax.jit(vgg.features)(params, inputs, state=state)
    # A dict that went through jit is sorted; behind a convolution its normalisation follows.
    names = [row.name for row in vgg.rows_of(params) if isinstance(row, stack.Norm | stack.Pool)]
    layers = {name: np.asarray(features[name][0]) for name in names}
    run.save_figure("activations", convolution.activations(test.images[0], layers))


def enlarge(images: np.ndarray, size: int) -> jax.Array:
    """Return digits as VGG16 takes images: ``[N, size, size, 3]``, standardised."""
    inputs = jnp.asarray(images[..., None], jnp.float32)
    inputs = jax.image.resize(inputs, (len(images), size, size, 1), "linear")
    return jnp.repeat((inputs - inputs.mean()) / inputs.std(), 3, axis=3)


def few_steps(
    run, console, digits: data.Digits, *, steps: int, eta=1e-4, image_size=224, **settings
) -> None:
    """Train a VGG, VGG16 unless the settings say another, on two digits, and time it on one."""
    batch = {
        "inputs": enlarge(digits.images[:2], image_size),
        "labels": jnp.asarray(digits.labels[:2]),
    }
    optimizer = optax.sgd(eta, momentum=0.9)

    def loss(params, state, batch, key):
        logits = vgg.apply(params, batch["inputs"], key=key, train=True)
        return losses.cross_entropy(logits, batch["labels"]), (state, {})

    keys = jax.random.split(jax.random.key(run.record["seed"]), 2)
    params = jax.jit(functools.partial(vgg.init, image_size=image_size, **settings))(keys[0])
    run.result("VGG16: parameters", sum(leaf.size for leaf in jax.tree.leaves(params)), 138_357_544)
    train_state = training.create(params, optimizer, key=keys[1])
    # The new weights take the memory of the old ones.
    step = jax.jit(training.make_step(loss, optimizer), donate_argnums=0)
    step = run.compile(step, train_state, batch)
    values, seconds = [], []
    for index in range(steps):
        clock = time.perf_counter()
        train_state, metrics = jax.block_until_ready(step(train_state, batch))
        seconds.append(time.perf_counter() - clock)
        values.append(float(metrics["loss"]))
        console.print(f"VGG16, step {index + 1}: loss {values[-1]:.4f}, {seconds[-1]:.1f} s")
    run.result("VGG16: loss by step", values)
    run.result("VGG16: seconds a step, median", np.median(seconds))

    params = train_state.params
    classify = run.compile(jax.jit(vgg.probabilities), params, batch["inputs"][:1])
    seconds = []
    for _ in range(9):
        clock = time.perf_counter()
        found = jax.block_until_ready(classify(params, batch["inputs"][:1]))
        seconds.append(time.perf_counter() - clock)
    run.result("VGG16: seconds for one image, median of 9 calls", np.median(seconds), runs.Below(1))
    run.result("VGG16: seconds for one image, least and most", [min(seconds), max(seconds)])
    run.result("VGG16: probability of the right class", found[0, digits.labels[0]])
    console.print(
        f"VGG16: one image in {np.median(seconds):.2f} s (median of 9, {min(seconds):.2f} to "
        f"{max(seconds):.2f}); {float(found[0, digits.labels[0]]):.1%} for the right one of "
        f"{found.shape[1]:,} classes"
    )


if __name__ == "__main__":
    command(main, Config, __doc__)
