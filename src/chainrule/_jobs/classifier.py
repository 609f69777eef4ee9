"""A network, the names of its classes, and how files become its inputs: what classify runs."""

import dataclasses
import math
import os
import resource
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainrule.data import photos
from chainrule.models import reasons, torchvision, vgg
from chainrule.models.pretrained import names as _names
from chainrule.models.pretrained.preprocessing import DIGITS, Preprocessing, preprocess
from chainrule.models.stack import Conv, Norm, Pool, Tree

Path = str | os.PathLike[str]


class Classifier(NamedTuple):
    """A network with what is needed to ask it.

    Attributes:
      params: as `chainrule.models.vgg.init` draws them.
      state: the running statistics.
      preprocessing: with the sizes to which images are scaled and cropped.
      names: of its classes.
      notes: what was taken for granted, in words.
      inverts: whether images on a light ground are inverted, as digits on paper are.
    """

    params: Tree
    state: Tree
    preprocessing: Preprocessing
    names: Sequence[str]
    notes: tuple[str, ...] = ()
    inverts: bool = False

    def image(self, path: Path) -> np.ndarray:
        """Return a photograph as the network sees it, uint8 ``[side, side, channels]``."""
        ready = self.preprocessing
        pixels = photos.read(path, channels=len(ready.mean), shorter=ready.resize, crop=ready.crop)
        if self.inverts:
            border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            pixels = 255 - pixels if np.median(border) > 127 else pixels
        return pixels

    def inputs(self, images: np.ndarray) -> jax.Array:
        """Return inputs for images that are scaled and cropped."""
        plain = dataclasses.replace(self.preprocessing, resize=None, crop=None)
        return preprocess(images, plain)

    def probabilities(self, images: np.ndarray) -> jax.Array:
        """Return ``[batch, classes]``; images of one shape compile once."""
        return _probabilities(self.params, self.state, self.inputs(images))


@jax.jit
def _probabilities(params: Tree, state: Tree, inputs: jax.Array) -> jax.Array:
    return vgg.probabilities(params, inputs, state=state or None)


REASONS = ("gradient", "smoothed", "input x gradient", "Grad-CAM")
"""The names of the reasons."""


def make_reasons(network: Classifier, samples: int) -> Callable[..., dict[str, np.ndarray]]:
    """Return what makes all reasons of inputs, compiled once.

    Args:
      network: the classifier.
      samples: noisy copies for the smoothed gradient.

    Returns:
      ``reasons(inputs, classes, key) -> {name: [batch, height, width]}``; of the gradients the
      largest magnitude over the channels, of input times gradient the sum.
    """
    table = vgg.rows_of(network.params)
    last = [row.name for row in table if isinstance(row, Conv | Norm)][-1]

    @jax.jit
    def maps(params: Tree, state: Tree, inputs: Array, classes: Array, key: Array) -> list[Array]:
        def logits(images: Array) -> Array:
            found: Array = vgg.apply(params, images, state=state or None)  # type: ignore[assignment]
            return found

        body, head = reasons.halves(params, table, last, state=state or None)
        steepest = reasons.gradient(logits, inputs, classes)
        smooth = reasons.smoothed(logits, inputs, classes, key=key, samples=samples)
        shares = reasons.input_times_gradient(logits, inputs, classes)
        cam = reasons.grad_cam(head, body(inputs), classes)
        sides = inputs.shape[1:3]
        return [
            jnp.abs(steepest).max(axis=3),
            jnp.abs(smooth).max(axis=3),
            shares.sum(axis=3),
            reasons.enlarge(cam, *sides),
        ]

    def named(inputs: Array, classes: Array, key: Array) -> dict[str, np.ndarray]:
        made = maps(network.params, network.state, inputs, classes, key)
        return {name: np.asarray(values) for name, values in zip(REASONS, made, strict=True)}

    return named


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            held = next(line for line in file if line.startswith("VmHWM:"))
        return int(held.split()[1]) * 1024
    except (OSError, StopIteration):  # no Linux
        # On Linux this would count what the process held that started this one.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def digits() -> Classifier:
    """Return the network for digits that is in the package."""
    params, state = vgg.pretrained("digits")
    ready = dataclasses.replace(DIGITS, resize=28, crop=28)
    note = "digits, by the network in the package; dark ones on a light ground are inverted"
    return Classifier(params, state, ready, _names.DIGITS, (note,), inverts=True)


def from_file(path: Path, *, names: Path | None = None, size: int | None = None) -> Classifier:
    """Read a network from a file of weights.

    Args:
      path: as for `chainrule.models.pretrained.torchvision.load`.
      names: a file with the names of the classes, one a line.
      size: the side of the images that the network sees; else what the file says, or the smallest
        that fits.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: these are no weights of a VGG, a size or a number of names does not fit, or the
        images have neither one channel nor three.
    """
    weights = torchvision.load(path, None)
    params, notes = weights.params, []
    rows = vgg.rows_of(params)
    blocks = sum(isinstance(row, Pool) for row in rows)
    width = [row.features for row in rows if isinstance(row, Conv)][-1]
    least = math.isqrt(params["dense1"]["kernel"].shape[0] // width) << blocks
    side = size or (weights.preprocessing and weights.preprocessing.crop) or least
    if not least <= side < least + 2**blocks:
        raise ValueError(
            f"size {side}: {path} takes images of {least} to {least + 2**blocks - 1} pixels"
        )
    ready = weights.preprocessing
    if ready is None:
        mean, std = torchvision.IMAGENET.mean, torchvision.IMAGENET.std
        ready = Preprocessing(mean, std)
        notes.append("the file says no preprocessing: torchvision's for ImageNet is taken")
    channels = params["block1"]["conv1"]["kernel"].shape[2]
    if channels != len(ready.mean) or channels not in (1, 3):
        raise ValueError(
            f"{path} takes images of {channels} channels, and the preprocessing is for "
            f"{len(ready.mean)}: photographs have 1 or 3"
        )
    # As published: 256 for 224.
    ready = dataclasses.replace(ready, resize=ready.resize or side * 8 // 7, crop=side)
    found = _classes(path, rows[-1].features, names, notes)  # type: ignore[union-attr]  # a Dense
    return Classifier(params, weights.state, ready, found, tuple(notes))


def _classes(path: Path, classes: int, names: Path | None, notes: list[str]) -> Sequence[str]:
    if names is not None:
        found = _names.read(names)
        if len(found) != classes:
            raise ValueError(f"{names} has {len(found)} names, and {path} has {classes} classes")
        return found
    if classes == 1000:
        return _names.imagenet()
    notes.append(f"the names of its {classes} classes are not known: give --names FILE")
    return [str(index) for index in range(classes)]
