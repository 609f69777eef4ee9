"""Names for a photograph, and why: VGG16 on files of yours, a small VGG on digits.

    python experiments/vgg16_photo.py                                   # digits, weights included
    python experiments/vgg16_photo.py --photos cat.jpg dog.png --weights vgg16.safetensors
    python experiments/vgg16_photo.py --photos cat.jpg                  # VGG16, weights drawn

For each image it draws the likeliest classes and four reasons for the first of them: the gradient
of its logit with respect to the image, the gradient smoothed by noise, input times gradient, and
Grad-CAM of the last convolution. Whether a reason points at what the network uses is measured on
digits: of the pixels with ink, the quarter with the largest reasons is painted black, and the logit
falls. To compare with, a quarter drawn at random is painted, too.

Weights for photographs are not shipped. Without a file VGG16's are drawn: then the names mean
nothing, and only seconds and memory do.
"""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from settings import Count, OnDigits, command

from chainrule import runs
from chainrule._jobs import classifier
from chainrule._jobs.classifier import Classifier
from chainrule.data import photos
from chainrule.models import torchvision, vgg
from chainrule.models.pretrained import names
from chainrule.plots import photographs

GIGABYTES = 1.2
"""For one photograph at a time, all included."""


@dataclasses.dataclass(frozen=True)
class Config(OnDigits):
    """The settings of the run."""

    photos: tuple[pathlib.Path, ...] = ()
    """JPEG or PNG files, or folders of them; digits unless given."""
    weights: pathlib.Path | None = None
    """A file of a VGG in torchvision's layout or timm's."""
    samples: Count = 25
    """Noisy copies for the smoothed gradient."""
    shown: Count = 3
    """How many digits get a picture of their reasons."""
    measured: Count = 200
    """On how many digits the reasons are compared."""


def main(config: Config) -> pathlib.Path:
    """Run the experiment and return its run folder."""
    console = Console()
    if config.weights is not None and not config.photos:
        raise ValueError("weights are for photographs: give --photos FILES")
    with config.start("vgg16_photo", about=__doc__) as run:
        if config.photos:
            _photographs(config, run, console)
        else:
            _digits(config, run, console)
    return run.path


def drawn(seed: int) -> Classifier:
    """Return VGG16 with weights drawn at random."""
    params = jax.jit(vgg.init)(jax.random.key(seed))
    note = "the weights are drawn at random: the names mean nothing"
    return Classifier(params, {}, torchvision.IMAGENET, names.imagenet(), (note,))


def _photographs(config: Config, run, console: Console) -> None:
    paths = photos.find(config.photos)
    clock = time.perf_counter()
    network = drawn(config.seed) if config.weights is None else classifier.from_file(config.weights)
    run.result("seconds to load", time.perf_counter() - clock)
    for note in network.notes:
        console.print(note, highlight=False)
    images = [network.image(path) for path in paths]
    seconds, found = [], []
    network.probabilities(images[0][None])  # compiles
    for image in images:
        clock = time.perf_counter()
        found.append(np.asarray(network.probabilities(image[None]))[0])
        seconds.append(time.perf_counter() - clock)
    run.result("seconds a photograph, median", np.median(seconds))
    if config.weights is not None:  # to draw them takes more than to read them
        peak = classifier.peak_memory() / 1e9
        run.result("memory until then, GB", peak, runs.AtMost(GIGABYTES))
    best = vgg.top(np.stack(found), min(5, len(network.names)), names=network.names)
    _answers(run, console, images, best, [path.name for path in paths])
    maps = classifier.make_reasons(network, config.samples)
    for number, (path, image, top) in enumerate(zip(paths, images, best, strict=True), start=1):
        clock = time.perf_counter()
        inputs = network.inputs(image[None])
        which = jnp.asarray([network.names.index(top[0][0])])
        made = maps(inputs, which, jax.random.key(config.seed))
        shown = {name: values[0] for name, values in made.items()}
        console.print(f"{path.name}: reasons in {time.perf_counter() - clock:.1f} s")
        title = f"{top[0][0]}, {100 * top[0][1]:.0f} %"
        run.save_figure(f"reasons_{number}", photographs.reasons(image, shown, title=title))


def _digits(config: Config, run, console: Console) -> None:
    network, digits = classifier.digits(), config.digits("test")
    run.note(data=digits.provenance.to_dict())
    images = digits.images[..., None]
    few = images[: max(6, config.shown)]
    best = vgg.top(np.asarray(network.probabilities(few)), 5, names=network.names)
    _answers(run, console, [*few[:6]], best[:6], [f"digit {i}" for i in range(1, 7)])

    maps, key = classifier.make_reasons(network, config.samples), jax.random.key(config.seed)
    for number in range(config.shown):
        label = np.asarray([int(best[number][0][0])])
        made = maps(network.inputs(few[number : number + 1]), label, key)
        shown = {name: values[0] for name, values in made.items()}
        title = f"{best[number][0][0]}, {100 * best[number][0][1]:.0f} %"
        figure = photographs.reasons(few[number], shown, title=title)
        run.save_figure(f"reasons_{number + 1}", figure)

    some = images[: config.measured]
    inputs = network.inputs(some)
    classes = np.asarray(network.probabilities(some)).argmax(axis=1)
    made = maps(inputs, classes, key)
    for name, lost in fall(network, some, classes, made, seed=config.seed).items():
        run.result(f"logit lost without a quarter of the ink, the first by: {name}", lost)
        console.print(f"{name}: the logit falls by {lost:.2f}")


def fall(
    network: Classifier, images: np.ndarray, classes: np.ndarray, maps, *, seed: int
) -> dict[str, float]:
    """Return by how much the logit falls when a quarter of the ink is painted black.

    Args:
      network: the classifier.
      images: bytes ``[batch, side, side, 1]``, with 0 for the ground.
      classes: whose logit, one an image.
      maps: name to ``[batch, side, side]``, the largest first.
      seed: of the pixels drawn for ``"random"``.
    """
    flat = images.reshape(len(images), -1)
    noise = np.random.default_rng(seed).uniform(size=flat.shape)

    run = jax.jit(vgg.apply)

    def logits(pixels):
        found = run(network.params, network.inputs(pixels), state=network.state or None)
        return np.asarray(found)[np.arange(len(classes)), classes]

    before, lost = logits(images), {}
    for name, values in {**maps, "random": noise}.items():
        painted = flat.copy()
        for row, reason in zip(painted, values.reshape(flat.shape), strict=True):
            ink = np.flatnonzero(row)
            row[ink[np.argsort(-reason[ink])][: len(ink) // 4]] = 0
        lost[name] = float(np.mean(before - logits(painted.reshape(images.shape))))
    return lost


def _answers(run, console: Console, images, best, titles) -> None:
    for title, top in zip(titles, best, strict=True):
        said = ", ".join(f"{name} {p:.1%}" for name, p in top)
        console.print(f"{title}: {said}", highlight=False, markup=False, soft_wrap=True)
    run.result("the first classes", {t: top[0][0] for t, top in zip(titles, best, strict=True)})
    figure = photographs.answers(
        images[:12],
        [[name for name, _ in top] for top in best[:12]],
        [np.array([p for _, p in top]) for top in best[:12]],
        titles=titles[:12],
    )
    run.save_figure("answers", figure)


if __name__ == "__main__":
    command(main, Config, __doc__)
