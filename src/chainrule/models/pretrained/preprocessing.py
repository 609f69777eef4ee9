"""How images become the inputs of a network: resized, cropped and standardised."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["DIGITS", "IMAGENET", "Preprocessing", "preprocess"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become inputs; ``resize`` and ``crop`` may be left out.

    Attributes:
      mean: of each channel, of values from 0 to 1; it is subtracted.
      std: of each channel, above 0; the values are divided by it.
      resize: the length to which the shorter side is scaled first, linearly and with an
        anti-aliasing filter where it shrinks; the other side keeps the proportion.
      crop: the side of the square that is then cut from the middle.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            _require.instance(name, values, tuple, "a tuple of one number a channel")
        if len(self.mean) != len(self.std) or not self.mean:
            raise ValueError(f"mean {self.mean} and std {self.std}: one of each a channel")
        for mean, std in zip(self.mean, self.std, strict=True):
            _require.real("mean", mean)
            _require.real("std", std, above=0)
        for name, side in (("resize", self.resize), ("crop", self.crop)):
            if side is not None:
                _require.count(name, side)


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256, crop=224)
"""What torchvision's weights need."""

DIGITS = Preprocessing((0.1307,), (0.3081,))
"""What the shipped weights for digits need: mean and deviation of all pixels of MNIST's 60,000
training digits.
"""


def preprocess(
    images: UInt8[AnyArray, "batch _ _ channels"] | Float[AnyArray, "batch _ _ channels"],
    preprocessing: Preprocessing,
) -> Float[Array, "batch height width channels"]:
    r"""Turn images into inputs: resize, crop the middle, standardise each channel.

    .. math::
      x = (\text{image} - \mu) / \sigma

    Args:
      images: of one size: uint8 from 0 to 255, or floating-point numbers from 0 to 1.
      preprocessing: what the weights need.

    Returns:
      The inputs.

    Raises:
      ValueError: the images are no batch or neither uint8 nor floating-point, have another number
        of channels, or are smaller than the crop.

    Example:
      >>> import numpy as np
      >>> black = np.zeros((1, 300, 400, 3), np.uint8)
      >>> inputs = preprocess(black, IMAGENET)
      >>> inputs.shape, [round(float(x), 3) for x in inputs[0, 0, 0]]
      ((1, 224, 224, 3), [-2.118, -2.036, -1.804])
    """
    _require.arrays(images=images)
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"images {images.shape}: they must be [batch, height, width, channels]; one image is "
            "a batch of one, image[None]"
        )
    if not isinstance(preprocessing, Preprocessing):
        raise ValueError(
            f"preprocessing must be a Preprocessing, not {_require.kind(preprocessing)}: "
            "give IMAGENET, for example"
        )
    batch, height, width, channels = images.shape
    if channels != len(preprocessing.mean):
        raise ValueError(
            f"images {images.shape} have {channels} channels, and the preprocessing is for "
            f"{len(preprocessing.mean)}"
        )
    inputs = jnp.asarray(images)
    if inputs.dtype == jnp.uint8:
        inputs = inputs.astype(jnp.float32) / 255
    _require.floats(images=inputs)
    if preprocessing.resize is not None:
        side, short = preprocessing.resize, min(height, width)
        height, width = side * height // short, side * width // short
        inputs = jax.image.resize(inputs, (batch, height, width, channels), "linear")
    if preprocessing.crop is not None:
        side = preprocessing.crop
        if min(height, width) < side:
            raise ValueError(
                f"images of {height} x {width} are smaller than the crop of {side} x {side}: take "
                "larger ones, or a preprocessing that resizes"
            )
        top, left = round((height - side) / 2), round((width - side) / 2)
        inputs = inputs[:, top : top + side, left : left + side]
    mean, std = (
        jnp.asarray(values, inputs.dtype).reshape(1, 1, 1, channels)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return (inputs - mean) / std
