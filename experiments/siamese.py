"""Are these two the same digit? Siamese networks, judged on pairs, on digits seen and never seen.

    python experiments/siamese.py

Embeddings on the unit sphere, by one network for all branches. The threshold is the best on pairs
of training digits that were held out, never on test pairs. Seen: all ten digits are trained on.

- pairs: the contrastive loss on balanced pairs;
- pairs, not shared: the same, with weights of its own for each branch;
- batch: the supervised contrastive loss, on all pairs of a batch: these are many more.

Unseen: trained on 0 to 6, judged on pairs of 7, 8 and 9. Training digits are distorted; "turned"
also makes new classes of them, by turning and mirroring. Half turns are left out unless asked for:
a 6 turned by half is nearly a 9, a digit that is to be judged.

Raw pixels and histograms of gradients are judged by the same rules.
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
from settings import Count, OnDigits, Positive, Repeated, command, now

from chainrule import data, features, losses, runs, training, verification
from chainrule.data import augment
from chainrule.data.batches import Batches
from chainrule.data.pairs import Tuples, by_class, pairs
from chainrule.models import dag, mlp, siamese, stack
from chainrule.models.dag import Node, layer
from chainrule.models.stack import Conv, Dense, Pool
from chainrule.ops.activations import relu
from chainrule.ops.distances import euclidean
from chainrule.plots import verification as figures

ROWS = (
    Conv("conv1", 16, kernel=5),
    Pool("pool1", 3, activation=relu),
    Conv("conv2", 64, kernel=5),
    Pool("pool2", 2, activation=relu),
    Dense("dense1", 200, activation=relu),
    Dense("dense2", 64),
)
MEAN = 0.13  # of the pixels of MNIST, from 0 to 1
SEEN = 7  # digits 0 to 6 are trained on where 7 to 9 are to be unseen
HALF_TURN = 6
TARGETS = {  # on all digits
    "batch": {"accuracy": runs.AtLeast(0.992), "equal error rate": runs.AtMost(0.008)}
}
EXPECTED = {"pixels": 0.628, "HOG": 0.685}  # accuracy on unseen digits


@dataclasses.dataclass(frozen=True)
class Config(OnDigits, Repeated):
    """The settings of the run."""

    only: tuple[str, ...] = ()
    """The names of what to train, such as "batch" or "batch, turned"; nothing for all."""
    epochs: Count = 4
    """Times that every image is seen, in all trainings."""
    batch: Count = 256
    """Images in a batch; half as many pairs."""
    eta: Positive = 2e-3
    """Learning rate of Adam at the start; it falls to 0 as a cosine."""
    margin: Positive = 1.0
    """Of the contrastive loss."""
    temperature: Positive = 0.1
    """Of the supervised contrastive loss."""
    samples: Count | None = None
    """How many training digits, the first ones, instead of all; a twelfth of them is held out."""
    pairs: Count = 20_000
    """Pairs to choose the threshold on, and pairs to judge; fixed."""
    plane_steps: Count = 1500
    """Steps of the small network that draws embeddings in the plane, rounded up to an epoch."""
    half_turns: bool = False
    """Whether a digit turned by half is one of the new classes."""
    seeds: Count = 3
    """How many initialisations."""


class Task(NamedTuple):
    """Images to train on, and images with fixed pairs: held out for the threshold, and to judge."""

    images: np.ndarray
    labels: np.ndarray
    held: tuple[np.ndarray, np.ndarray, np.ndarray]  # images, pairs, same
    test: tuple[np.ndarray, np.ndarray, np.ndarray]
    test_labels: np.ndarray


class Method(NamedTuple):
    """How a network is trained.

    Attributes:
      loss: as `chainrule.training.fit` takes it; one function each, so that it compiles once.
      init: from a key to parameters.
      augment: what happens to the images of a batch.
      in_pairs: whether a batch is one of pairs.
    """

    loss: Any
    init: Any
    augment: Any
    in_pairs: bool


class Judged(NamedTuple):
    """The numbers of one method, and its curve."""

    numbers: dict[str, float]
    curve: verification.Roc


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    train = config.digits("train")
    if config.samples is not None:
        train = data.first(train, config.samples)
    test = config.digits("test")
    tasks = {
        "seen": make_task(config, train, test, range(10), range(10)),
        "unseen": make_task(config, train, test, range(SEEN), range(SEEN, 10)),
    }
    with config.start("siamese", about=__doc__) as run:
        run.note(data=train.provenance.to_dict())
        judged: dict[str, dict[str, list[Judged]]] = {"seen": {}, "unseen": {}}
        for name, task in tasks.items():
            for method, describe in (("pixels", flat), ("HOG", hog)):
                now(f"{name}, {method}, nothing trained")
                judged[name][method] = [judge(config, task, describe, describe, 0)]
        methods = trainings(config)
        for seed in config.every_seed:
            for (name, method), trained in methods.items():
                now(f"seed {seed}, {name}, {method}")
                clock = time.perf_counter()
                params = fit(config, tasks[name], seed, trained)
                embeds = [functools.partial(outputs, branch) for branch in branches(params)]
                found = judge(config, tasks[name], embeds[0], embeds[-1], seed)
                judged[name].setdefault(method, []).append(found)
                numbers = found.numbers
                console.print(
                    f"seed {seed}, {name}, {method}: accuracy {numbers['accuracy']:.4f}, "
                    f"equal error rate {numbers['equal error rate']:.4f}, "
                    f"{time.perf_counter() - clock:.0f} s"
                )
                if numbers["spread"] < 0.05:
                    console.print("[red]collapsed: all images have nearly one embedding")
                if seed == config.seed and method == "batch":
                    draw_plane(run, config, tasks["seen"], params)
                if seed == config.seed and method == "pairs":
                    console.print(show_shares(run, config, tasks["seen"], params))
        targets = TARGETS if len(tasks["seen"].images) == 55_000 else {}
        for name, rows in judged.items():
            console.print(report(run, config, name, rows, targets))
        run.save_figure(
            "error_rates",
            figures.error_rates(
                {
                    f"{name} digits": {
                        method: (found[0].curve.false_accept, found[0].curve.true_accept)
                        for method, found in rows.items()
                    }
                    for name, rows in judged.items()
                }
            ),
        )
    return run.path


def make_task(config: Config, train, test, trained, judged) -> Task:
    """Keep the digits that are trained on and those to judge; hold out a twelfth of the former."""
    use = np.isin(train.labels, trained)
    cut = len(use) * 11 // 12
    rows, held = np.flatnonzero(use[:cut]), cut + np.flatnonzero(use[cut:])
    sought = np.flatnonzero(np.isin(test.labels, judged))

    def fixed(images, labels, seed):
        indices, same = pairs(jax.random.key(seed), by_class(labels), config.pairs)
        return images, np.asarray(indices), np.asarray(same)

    return Task(
        images=train.images[rows][..., None],
        labels=train.labels[rows],
        held=fixed(train.images[held], train.labels[held], 1),
        test=fixed(test.images[sought], test.labels[sought], 2),
        test_labels=test.labels[sought],
    )


def embed(params, images):
    """Return unit vectors of images from 0 to 1, ``[N, 28, 28, 1]``."""
    return siamese.on_sphere(functools.partial(stack.apply, rows=ROWS))(params, images - MEAN)


def trainings(config: Config) -> dict[tuple[str, str], Method]:
    """Return every method, by its task and its name."""
    turns = [t for t in range(8) if config.half_turns or t != HALF_TURN]
    init = functools.partial(stack.init, rows=ROWS, input_shape=(28, 28, 1))

    def on_pairs(apply):
        def loss(params, state, batch, key):
            z, labels = apply(params, batch["images"], embed), batch["labels"]
            same = labels[:, 0] == labels[:, 1]
            value = losses.contrastive(euclidean(z[:, 0], z[:, 1]), same, config.margin)
            return value, (state, {})

        return loss

    def on_batch(params, state, batch, key):
        z = embed(params, batch["images"])
        value = losses.supervised_contrastive(z @ z.T, batch["labels"], config.temperature)
        return value, (state, {})

    def shifted(key, batch):
        images = batch["images"].astype(jnp.float32) / 255
        moved = augment.shift(key, images.reshape(-1, 28, 28, 1), pixels=2)
        return batch | {"images": moved.reshape(images.shape)}

    def distorted(key, batch):
        images = batch["images"].astype(jnp.float32) / 255
        bounds = {"rotation": 0.4, "scale": 0.25, "shear": 0.4, "pixels": 2.0}
        return batch | {"images": augment.affine(key, images, **bounds)}

    def turned(key, batch):
        first, second = jax.random.split(key)
        labels = batch["labels"]
        drawn = jax.random.randint(first, labels.shape, 0, len(turns))
        turn = jnp.asarray(turns, jnp.int32)[drawn]
        images = augment.turn(distorted(second, batch)["images"], turn)
        # A 0 or a 1 mirrored is itself: for them only lying and standing are two classes.
        turn = jnp.where(labels <= 1, turn % 2, turn)
        return {"images": images, "labels": 8 * labels + turn}

    untied = functools.partial(siamese.init_untied, init=init, branches=2)
    there = {
        ("seen", "pairs"): Method(on_pairs(siamese.apply), init, shifted, True),
        ("seen", "pairs, not shared"): Method(
            on_pairs(siamese.apply_untied), untied, shifted, True
        ),
        ("seen", "batch"): Method(on_batch, init, shifted, False),
        ("unseen", "batch, distorted"): Method(on_batch, init, distorted, False),
        ("unseen", "batch, turned"): Method(on_batch, init, turned, False),
    }
    unknown = set(config.only) - {method for _, method in there}
    if unknown:
        names = [method for _, method in there]
        raise ValueError(f"only names {sorted(unknown)}: there are {names}")
    return {key: parts for key, parts in there.items() if not config.only or key[1] in config.only}


def fit(config: Config, task: Task, seed: int, method: Method):
    """Train from one seed; a pair is two images, so that pairs get half as many steps."""
    keys = jax.random.split(jax.random.key(seed), 3)
    samples = {"images": task.images, "labels": task.labels}
    if method.in_pairs:
        batches: Batches = Tuples(samples, task.labels, config.batch // 2, key=keys[0])
    else:
        batches = Batches(samples, config.batch, key=keys[0])
    # An epoch of N pairs shows 2 N images.
    epochs = max(1, config.epochs // 2) if method.in_pairs else config.epochs
    steps = epochs * batches.per_epoch
    optimizer = training.optimizer("adam", config.eta, schedule="cosine", steps=steps)
    begin = training.create(method.init(keys[1]), optimizer, key=keys[2])
    return training.fit(
        begin, method.loss, optimizer, batches, epochs, augment=method.augment
    ).params


def branches(params) -> list[Any]:
    """Return the parameters of each branch: once the shared ones."""
    return list(params.values()) if "branch1" in params else [params]


def outputs(params, images: np.ndarray) -> np.ndarray:
    """Return the embeddings of raw images."""
    scaled = images[..., None].astype(np.float32) / 255
    return np.asarray(training.predict(embed, params, scaled, size=500))


def flat(images: np.ndarray) -> np.ndarray:
    """Return the pixels."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def hog(images: np.ndarray) -> np.ndarray:
    """Return the histograms of gradients."""
    return np.asarray(features.hog(jnp.asarray(images, jnp.float32) / 255))


def judge(config: Config, task: Task, left, right, seed: int) -> Judged:
    """Choose the threshold on held-out pairs and judge the test's, embedded by two branches."""

    def measure(images, indices):
        a = left(images)
        b = a if right is left else right(images)
        distances = np.linalg.norm(a[indices[:, 0]] - b[indices[:, 1]], axis=1)
        swapped = np.linalg.norm(a[indices[:, 1]] - b[indices[:, 0]], axis=1)
        return a, distances, swapped

    images, indices, same = task.held
    threshold = verification.best_threshold(measure(images, indices)[1], same)
    images, indices, same = task.test
    z, distances, swapped = measure(images, indices)
    curve = verification.roc(distances, same)
    ways = min(5, len(np.unique(task.test_labels)))
    key = jax.random.key(seed)
    spread = verification.spread(z)
    return Judged(
        {
            "accuracy": verification.accuracy(distances, same, threshold),
            "AUC": verification.area(curve),
            "equal error rate": verification.equal_error_rate(curve),
            f"{ways}-way one-shot": verification.one_shot(
                z, task.test_labels, ways=ways, episodes=5000, key=key
            ),
            "changed by swapping": float(
                ((distances <= threshold) != (swapped <= threshold)).mean()
            ),
            "spread": spread.ratio,
            "dimensions": spread.dimensions,
        },
        curve,
    )


def draw_plane(run, config: Config, task: Task, params) -> None:
    """Bring the embeddings down to two dimensions by a small network, trained on pairs as well."""
    z = outputs(params, task.images[..., 0])
    batches = Tuples({"z": z, "labels": task.labels}, task.labels, 128, key=jax.random.key(0))

    def loss(params, state, batch, key):
        near = siamese.distances(params, batch["z"], mlp.apply)
        same = batch["labels"][:, 0] == batch["labels"][:, 1]
        return losses.contrastive(near, same, 1.0), (state, {})

    optimizer = optax.adam(3e-3)
    start = mlp.init(jax.random.key(1), (z.shape[1], 64, 2))
    begin = training.create(start, optimizer, key=jax.random.key(2))
    epochs = -(-config.plane_steps // batches.per_epoch)
    small = training.fit(begin, loss, optimizer, batches, epochs).params
    points = np.asarray(mlp.apply(small, jnp.asarray(outputs(params, task.test[0]))))
    run.save_figure("plane", figures.plane(points, task.test_labels))


def show_shares(run, config: Config, task: Task, params) -> Table:
    """Show the gradient of the shared weights for one real pair as the sum over its two uses."""
    images, indices, _ = task.test
    pair = jnp.asarray(images[indices[:1]][..., None], jnp.float32) / 255  # of one class
    graph = {
        "z1": Node(embed, ("x1",), "w"),
        "z2": Node(embed, ("x2",), "w"),
        "d": Node(layer(euclidean), ("z1", "z2")),
    }

    def loss_of(distance):
        return losses.contrastive(distance, jnp.array([True]), config.margin)

    @jax.jit
    def both_ways(params):
        weights, inputs = {"w": params}, {"x1": pair[:, 0], "x2": pair[:, 1]}
        activations = dag.forward(graph, weights, inputs)
        g = jax.grad(loss_of)(activations["d"])
        uses = dag.backward(graph, weights, activations, {"d": g}).contributions["w"]
        return uses, jax.grad(lambda w: loss_of(siamese.distances(w, pair, embed)))(params)

    uses, whole = both_ways(params)
    table = Table(title=f"one test pair of a {task.test_labels[indices[0, 0]]}: gradient norms")
    for column in ("kernel", "branch 1", "branch 2", "their sum", "jax.grad", "largest difference"):
        table.add_column(column, justify="right")
    worst = 0.0
    for name in params:
        one, two, both = (
            np.asarray(tree[name]["kernel"]) for tree in (uses["z1"], uses["z2"], whole)
        )
        gap = np.abs(one + two - both).max() / (np.abs(both).max() or 1.0)
        worst = max(worst, float(gap))
        norms = (np.linalg.norm(x) for x in (one, two, one + two, both))
        table.add_row(name, *(f"{norm:.4g}" for norm in norms), f"{gap:.1e}")
    run.result("sum of the branches against jax.grad: largest difference, relative", worst, 0)
    parts = {
        f"branch {b}": np.asarray(uses[f"z{b}"]["conv1"]["kernel"])[:, :, 0, :6] for b in (1, 2)
    }
    shown = {f"branch {b + 1}": np.asarray(pair[0, b, ..., 0]) for b in range(2)}
    total = np.asarray(whole["conv1"]["kernel"])[:, :, 0, :6]
    run.save_figure("shares", figures.shares(shown, parts, total))
    return table


def report(run, config: Config, task: str, rows: dict[str, list[Judged]], targets) -> Table:
    """Write down the results of one task, and return them as a table."""
    names = list(next(iter(rows.values()))[0].numbers)
    short = {"equal error rate": "EER", "changed by swapping": "swapped", "dimensions": "dims"}
    table = Table(
        title=f"{task} digits, {runs.counted(config.seeds, 'seed')} (spreads in the run folder)"
    )
    for column in ("method", *(short.get(name, name) for name in names)):
        table.add_column(column, justify="right")
    for method, found in rows.items():
        cells = []
        for name in names:
            values = np.array([one.numbers[name] for one in found])
            expected = targets.get(method, {}).get(name)
            if task == "unseen" and name == "accuracy":
                expected = EXPECTED.get(method)
            run.result(f"{task}, {method}: {name}, mean", values.mean(), expected)
            if len(values) > 1:
                spread = values.std(ddof=1)
                run.result(f"{task}, {method}: {name}, standard deviation", spread)
            cells.append(f"{values.mean():.4g}")
        table.add_row(method, *cells)
    return table


if __name__ == "__main__":
    command(main, Config, __doc__)
