"""VGG's weights in the names and the layout of torchvision, read from a file and written to one.

Files are ``.safetensors`` or ``.npz``, see `chainrule.data.tensors`; those in timm's layout
(``vgg16.tv_in1k``) are read, too. Beside the weights a file keeps the `Preprocessing` that their
images need. Published files do not have it; those of torchvision's ``IMAGENET1K_V1`` need
`IMAGENET`:

.. code-block:: python

  weights = torchvision.load("vgg16.safetensors", "D", preprocessing=torchvision.IMAGENET)
  inputs = torchvision.preprocess(images, weights.preprocessing)
  vgg.probabilities(weights.params, inputs, state=weights.state)

A ``.pth`` is a pickle, and is never opened; with PyTorch two lines convert it:

.. code-block:: python

  weights = torch.load("vgg16.pth", weights_only=True)
  safetensors.torch.save_file(weights, "vgg16.safetensors")
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chainrule import _require
from chainrule.data import tensors
from chainrule.models import vgg
from chainrule.models.pretrained import layouts, recognition
from chainrule.models.pretrained.preprocessing import IMAGENET, Preprocessing, preprocess
from chainrule.models.stack import Conv, Dense, Norm, Row, Tree
from chainrule.models.stack.rows import checked

__all__ = ["IMAGENET", "Preprocessing", "Weights", "load", "names", "preprocess", "save"]
__dir__ = __all__.copy

_FIELD = "preprocessing"
_WANTED = "a Preprocessing, IMAGENET for example"


class Weights(NamedTuple):
    """The contents of a file.

    Attributes:
      params: as `chainrule.models.vgg.init` draws them.
      state: the running statistics; ``{}`` without batch normalisation.
      preprocessing: what images need; None if neither the file nor the caller gives it.
    """

    params: Tree
    state: Tree
    preprocessing: Preprocessing | None


def names(rows: Sequence[Row]) -> dict[str, str]:
    """Return torchvision's names of the layers of a VGG.

    Activations, pools and dropouts count among the modules of ``features`` and ``classifier``.

    Args:
      rows: as `chainrule.models.vgg.rows` makes them.

    Returns:
      The name of each row that has parameters.

    Example:
      >>> list(names(vgg.rows("D")).values())[-4:]
      ['features.28', 'classifier.0', 'classifier.3', 'classifier.6']
    """
    found, counts, part = {}, {"features": 0, "classifier": 0}, "features"
    for row in checked(rows):
        if isinstance(row, Dense):
            part = "classifier"
        if isinstance(row, Conv | Norm | Dense):
            found[row.name] = f"{part}.{counts[part]}"
        counts[part] += 1 + (getattr(row, "activation", None) is not None)
    return found


def load(
    path: str | os.PathLike[str],
    config: str | vgg.Blocks | None = "D",
    image_size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    batch_norm: bool = False,
    *,
    hidden: Sequence[int] = (4096, 4096),
    preprocessing: Preprocessing | None = None,
) -> Weights:
    """Read the weights of a VGG.

    Of a ``.safetensors`` a few rows are read at a time: beside the weights it takes little memory.

    Args:
      path: a file in torchvision's layout or timm's, ending in ``.safetensors`` or ``.npz``.
      config: as for `chainrule.models.vgg.init`, and so are the others; with None all of them are
        read off the file, see `chainrule.models.pretrained.recognition`.
      image_size: height and width of the images.
      channels: of the images.
      classes: how many outputs.
      batch_norm: whether there are batch normalisations.
      hidden: the widths of the dense layers before the last one.
      preprocessing: what images need, if the file does not have it.

    Returns:
      Parameters, running statistics and preprocessing.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, of another format or a pickle; it holds other weights (the
        error lists all that are missing, unexpected or of another shape); or it has another
        preprocessing.
    """
    if config is not None:  # before anything is read
        vgg.rows(config, classes=classes, hidden=hidden, batch_norm=batch_norm)
    _require.count("image_size", image_size, most=vgg.MOST)
    _require.count("channels", channels, most=vgg.MOST)
    _require.instance("preprocessing", preprocessing, (Preprocessing, type(None)), _WANTED)
    arrays, metadata = tensors.look(path)
    try:
        said = _parse(metadata[_FIELD]) if _FIELD in metadata else preprocessing
        if config is None:
            found = recognition.recognise({name: array.shape for name, array in arrays.items()})
            config, image_size, channels, classes, batch_norm, hidden = found.values()
        rows = vgg.rows(config, classes=classes, hidden=hidden, batch_norm=batch_norm)
        theirs = _timm(names(rows)) if "head.fc.weight" in arrays else names(rows)
        params, state = layouts.from_torch(arrays, theirs, rows, (image_size, image_size, channels))
    except ValueError as error:
        raise ValueError(f"{path}: {error}\n(config {config!r}, {image_size} pixels)") from error
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
    """Write the weights of a VGG for torchvision's ``load_state_dict``.

    Args:
      path: ends in ``.safetensors`` or ``.npz``.
      params: as `chainrule.models.vgg.init` draws them.
      state: the running statistics, with batch normalisation.
      image_size: height and width of the images.
      preprocessing: what images need.

    Raises:
      ValueError: the parameters are of another network or for another size, the state does not
        fit, or the path has another ending.

    Example:
      >>> import tempfile
      >>> import jax
      >>> params = vgg.init(jax.random.key(0), ((4,),), image_size=8, classes=3, hidden=())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/small.npz", params, image_size=8)
      ...     sorted(tensors.read(f"{folder}/small.npz").arrays)
      ['classifier.0.bias', 'classifier.0.weight', 'features.0.bias', 'features.0.weight']
    """
    rows = vgg.rows_of(params)
    _require.count("image_size", image_size, most=vgg.MOST)
    _require.instance("state", state, (dict, type(None)), "the dict that init_state returns")
    _require.instance("preprocessing", preprocessing, (Preprocessing, type(None)), _WANTED)
    channels = params["block1"]["conv1"]["kernel"].shape[2]
    image = (image_size, image_size, channels)
    try:
        statistics = {} if state is None else state
        arrays = layouts.to_torch(params, statistics, names(rows), rows, image)
    except ValueError as error:
        raise ValueError(f"image_size {image_size}: {error}") from error
    words = {} if preprocessing is None else {_FIELD: json.dumps(dataclasses.asdict(preprocessing))}
    tensors.write(path, arrays, words)


def _timm(theirs: Mapping[str, str]) -> dict[str, str]:
    """Return timm's names of the rows: its dense layers have names of their own."""
    ours = {torchvision: timm for timm, torchvision in recognition.TIMM.items()}
    dense = [row for row, name in theirs.items() if name.startswith("classifier")]
    last = {dense[-1]: "head.fc"}
    return {row: ours.get(name, name) for row, name in theirs.items()} | last


def _parse(text: str) -> Preprocessing:
    try:
        fields = json.loads(text)
        mean, std = (tuple(map(float, fields.pop(name))) for name in ("mean", "std"))
        return Preprocessing(mean, std, **fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"the {_FIELD} {text!r} is not one: {error}") from error
