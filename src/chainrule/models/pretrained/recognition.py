"""Which VGG a file of weights is of, read off the names and the shapes of its tensors.

Two layouts are known: torchvision's (``features.0``, ``classifier.0``) and timm's, of
``vgg16.tv_in1k`` for example, which writes the dense layers as convolutions (``pre_logits.fc1``
with kernels ``[4096, 512, 7, 7]``, ``head.fc``).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from chainrule import _require
from chainrule._files import printable
from chainrule.models import vgg

__all__ = ["TIMM", "recognise"]
__dir__ = __all__.copy

TIMM = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}
"""The names of VGG's dense layers in timm, and in torchvision."""

Shape = tuple[int, ...]


def recognise(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return the settings of `chainrule.models.vgg.init` for the network of these tensors.

    Args:
      shapes: by the names of torchvision or timm, of every tensor of a file.

    Returns:
      ``config``, a letter of `chainrule.models.vgg.CONFIGS` or blocks, ``image_size``,
      ``channels``, ``classes``, ``batch_norm`` and ``hidden``. The size of the images is the
      smallest that fits: pools round down.

    Raises:
      ValueError: these are no tensors of a VGG.

    Example:
      >>> found = recognise({
      ...     "features.0.weight": (8, 3, 3, 3), "features.0.bias": (8,),
      ...     "features.3.weight": (16, 8, 3, 3), "features.3.bias": (16,),
      ...     "classifier.0.weight": (10, 16 * 7 * 7), "classifier.0.bias": (10,)})
      >>> found["config"], found["image_size"], found["classes"], found["hidden"]
      ([[8], [16]], 28, 10, [])
    """
    _require.instance("shapes", shapes, Mapping, "a mapping of names to shapes")
    known = {
        str(name): _require.sizes(f"shapes[{name!r}]", shape)
        for name, shape in shapes.items()
        if not str(name).endswith("num_batches_tracked")
    }
    convolutions = _numbered(known, r"features\.(\d+)\.weight", axes=4)
    dense = _dense(known)
    if not convolutions or not dense:
        first = ", ".join(printable(name) for name in list(known)[:3]) or "none"
        raise ValueError(
            "the shapes are of no weights of a VGG: expected tensors features.0.weight, "
            f"classifier.0.weight, ... as in torchvision, or head.fc.weight as in timm, not {first}"
        )
    batch_norm = f"features.{convolutions[0][0] + 1}.running_mean" in known
    # A convolution counts, its normalisation and its ReLU; a pool is one more.
    step = 3 if batch_norm else 2
    blocks: list[list[int | tuple[int, int]]] = [[]]
    for (index, (width, _, size, _)), (after, _) in zip(
        convolutions, [*convolutions[1:], (-1, ())], strict=True
    ):
        blocks[-1].append(width if size == 3 else (width, size))
        if after >= 0 and after - index != step:
            blocks.append([])
    config = next((name for name, known in vgg.CONFIGS.items() if _same(known, blocks)), blocks)
    positions = math.prod(dense[0][1:]) // convolutions[-1][1][0]
    return {
        "config": config,
        "image_size": math.isqrt(positions) * 2 ** len(blocks),
        "channels": convolutions[0][1][1],
        "classes": dense[-1][0],
        "batch_norm": batch_norm,
        "hidden": [shape[0] for shape in dense[:-1]],
    }


def _dense(known: Mapping[str, Shape]) -> list[Shape]:
    """Return the shapes of the dense layers' kernels in their order."""
    if "head.fc.weight" in known:
        return [known[f"{name}.weight"] for name in TIMM if f"{name}.weight" in known]
    return [shape for _, shape in _numbered(known, r"classifier\.(\d+)\.weight", axes=2)]


def _numbered(known: Mapping[str, Shape], pattern: str, axes: int) -> list[tuple[int, Shape]]:
    found = [
        (int(match[1]), shape)
        for name, shape in known.items()
        if (match := re.fullmatch(pattern, name, re.ASCII)) and len(shape) == axes
    ]
    return sorted(found)


def _same(config: vgg.Blocks, blocks: Sequence[Sequence[int | tuple[int, int]]]) -> bool:
    return [list(block) for block in config] == [list(block) for block in blocks]
