"""VGG's weights as torchvision names and lays them out, from a file and into one.

Files are ``.safetensors`` or ``.npz``, see `chainrule.data.tensors`. What weights were trained on
is a part of them: with them a file keeps the `Preprocessing` that images need. Published files do
not say; those of torchvision's ``IMAGENET1K_V1`` need `IMAGENET`:

.. code-block:: python

  weights = torchvision.load("vgg16-397923af.safetensors", "D", preprocessing=torchvision.IMAGENET)
  inputs = torchvision.preprocess(images, weights.preprocessing)
  vgg.probabilities(weights.params, inputs, state=weights.state)

(PyTorch writes the first with ``safetensors.torch.save_file(state_dict, path)``.)
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from chainrule.data import tensors
from chainrule.models import vgg
from chainrule.models.pretrained import _torch
from chainrule.models.stack import Conv, Dense, Norm, Row, Tree

_FIELD = "preprocessing"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become inputs; all fields but the first two may be left out.

    Attributes:
      mean: of each channel, of values from 0 to 1; subtracted.
      std: of each channel; divided by.
      resize: the length that the shorter side is brought to first, linearly and with a filter
        where it shrinks; the other keeps the proportion.
      crop: the side of the square that is then cut from the middle.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError(
                f"mean {self.mean} and std {self.std}: one of each a channel, all std above 0"
            )


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256, crop=224)
"""What torchvision's weights need."""


class Weights(NamedTuple):
    """What is in a file.

    Attributes:
      params: as `chainrule.models.vgg.init` draws them.
      state: the running statistics; ``{}`` without batch normalisation.
      preprocessing: what images need; None when nobody said.
    """

    params: Tree
    state: Tree
    preprocessing: Preprocessing | None


def preprocess(
    images: UInt8[np.ndarray | Array, "batch _ _ channels"]
    | Float[np.ndarray | Array, "batch _ _ channels"],
    preprocessing: Preprocessing,
) -> Float[Array, "batch height width channels"]:
    r"""Make inputs of images: resize, crop the middle, standardise each channel.

    .. math::
      x = (\text{image} - \mu) / \sigma

    Args:
      images: of one size: uint8 from 0 to 255, or numbers from 0 to 1.
      preprocessing: what the weights need.

    Returns:
      The inputs.

    Raises:
      ValueError: another number of channels, or images smaller than the crop.

    Example:
      >>> black = np.zeros((1, 300, 400, 3), np.uint8)
      >>> inputs = preprocess(black, IMAGENET)
      >>> inputs.shape, [round(float(x), 3) for x in inputs[0, 0, 0]]
      ((1, 224, 224, 3), [-2.118, -2.036, -1.804])
    """
    batch, height, width, channels = images.shape
    if channels != len(preprocessing.mean):
        raise ValueError(
            f"images {images.shape} have {channels} channels, and the preprocessing is for "
            f"{len(preprocessing.mean)}"
        )
    inputs = jnp.asarray(images)
    if inputs.dtype == jnp.uint8:
        inputs = inputs.astype(jnp.float32) / 255
    if preprocessing.resize is not None:
        side, short = preprocessing.resize, min(height, width)
        height, width = side * height // short, side * width // short
        inputs = jax.image.resize(inputs, (batch, height, width, channels), "linear")
    if preprocessing.crop is not None:
        side = preprocessing.crop
        if min(height, width) < side:
            raise ValueError(
                f"images of {height} x {width} are smaller than the {side} x {side} to be cut from "
                "them: take larger ones, or a preprocessing that resizes"
            )
        top, left = round((height - side) / 2), round((width - side) / 2)
        inputs = inputs[:, top : top + side, left : left + side]
    mean, std = (
        jnp.asarray(values, inputs.dtype).reshape(1, 1, 1, channels)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (inputs - mean) / std


def names(rows: Sequence[Row]) -> dict[str, str]:
    """Return what torchvision calls the layers of a VGG.

    It counts activations, pools and dropouts among the modules of ``features`` and ``classifier``.

    Args:
      rows: as `chainrule.models.vgg.rows` makes them.

    Returns:
      Its name for each row that has parameters.

    Example:
      >>> list(names(vgg.rows("D")).values())[-4:]
      ['features.28', 'classifier.0', 'classifier.3', 'classifier.6']
    """
    found, counts, part = {}, {"features": 0, "classifier": 0}, "features"
    for row in rows:
        if isinstance(row, Dense):
            part = "classifier"
        if isinstance(row, Conv | Norm | Dense):
            found[row.name] = f"{part}.{counts[part]}"
        counts[part] += 1 + (getattr(row, "activation", None) is not None)
    return found


def load(
    path: str | os.PathLike[str],
    config: str | vgg.Blocks = "D",
    image_size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    batch_norm: bool = False,
    *,
    hidden: Sequence[int] = (4096, 4096),
    preprocessing: Preprocessing | None = None,
) -> Weights:
    """Read the weights of a VGG.

    Args:
      path: a file in torchvision's layout, ending in ``.safetensors`` or ``.npz``.
      config: as for `chainrule.models.vgg.init`, and so are the others.
      image_size: height and width of the images.
      channels: of the images.
      classes: how many outputs.
      batch_norm: whether there are batch normalisations.
      hidden: the widths of the dense layers before the last one.
      preprocessing: what images need, where the file does not say.

    Returns:
      Parameters, running statistics and preprocessing.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file that is damaged, that is something else or a pickle; that holds other
        weights, with a list of all that is missing, of all that is there besides and of all shapes
        that differ; or that says another preprocessing.
    """
    rows = vgg.rows(config, classes=classes, hidden=hidden, batch_norm=batch_norm)
    arrays, metadata = tensors.read(path)
    try:
        said = _parse(metadata[_FIELD]) if _FIELD in metadata else preprocessing
        params, state = _torch.from_torch(
            arrays, names(rows), rows, (image_size, image_size, channels)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if preprocessing not in (None, said):
        raise ValueError(f"{path} says {said}, not {preprocessing}: leave it out")
    return Weights(params, state, said)


def save(
    path: str | os.PathLike[str],
    params: Tree,
    state: Tree | None = None,
    *,
    image_size: int = 224,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write the weights of a VGG as torchvision's ``load_state_dict`` takes them.

    Args:
      path: ends in ``.safetensors`` or ``.npz``.
      params: as `chainrule.models.vgg.init` draws them.
      state: the running statistics, with batch normalisation.
      image_size: height and width of the images.
      preprocessing: what images need.

    Raises:
      ValueError: parameters of another network or for another size, a state that does not fit, a
        path with another ending.

    Example:
      >>> import tempfile
      >>> params = vgg.init(jax.random.key(0), ((4,),), image_size=8, classes=3, hidden=())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/small.npz", params, image_size=8)
      ...     sorted(tensors.read(f"{folder}/small.npz").arrays)
      ['classifier.0.bias', 'classifier.0.weight', 'features.0.bias', 'features.0.weight']
    """
    rows = vgg.rows_of(params)
    channels = params["block1"]["conv1"]["kernel"].shape[2]
    arrays = _torch.to_torch(
        params, state or {}, names(rows), rows, (image_size, image_size, channels)
    )
    words = {} if preprocessing is None else {_FIELD: json.dumps(dataclasses.asdict(preprocessing))}
    tensors.write(path, arrays, words)


def _parse(text: str) -> Preprocessing:
    try:
        fields = json.loads(text)
        mean, std = (tuple(map(float, fields.pop(name))) for name in ("mean", "std"))
        return Preprocessing(mean, std, **fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"the {_FIELD} {text!r} is not one: {error}") from error
