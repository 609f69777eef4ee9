"""Augmentation: random changes of an image that keep its label."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from chainrule import _require
from chainrule._arrays import AnyArray

__all__ = ["affine", "shift", "turn"]
__dir__ = __all__.copy


def shift(
    key: PRNGKeyArray, images: Num[AnyArray, "batch height width channels"], *, pixels: int
) -> Num[Array, "batch height width channels"]:
    """Shift each image by whole pixels, vertically and horizontally, and pad with zeros.

    Args:
      key: draws both shifts of each image, uniform from ``-pixels`` to ``pixels``.
      images: with 0 for the background: shift before you standardize.
      pixels: the largest shift, from 0 to the longer side of the images.

    Returns:
      The shifted images.

    Raises:
      ValueError: ``pixels`` is negative, or the images have no axis of channels.

    Example:
      >>> images = jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1)
      >>> shift(jax.random.key(0), images, pixels=1)[0, ..., 0]
      Array([[0., 1.],
             [0., 3.]], dtype=float32)
    """
    _require.one_key(key)
    _check_images(images)
    _require.count("pixels", pixels, least=0, most=max(images.shape[1:3]))
    batch, *shape = images.shape
    side = (pixels, pixels)
    wide = jnp.pad(images, ((0, 0), side, side, (0, 0)))
    starts = jax.random.randint(key, (batch, 2), 0, 2 * pixels + 1)
    return jax.vmap(
        lambda image, start: jax.lax.dynamic_slice(image, (start[0], start[1], 0), shape)
    )(wide, starts)


def turn(
    images: Num[AnyArray, "batch side side channels"], turns: Int[AnyArray, " batch"]
) -> Num[Array, "batch side side channels"]:
    """Map each image by one of the eight symmetries of the square: rotations and reflections.

    A rotated shape may be another class: rotated classes can be trained on as new ones.

    Args:
      images: square.
      turns: 0 to 7, as bits: 1 transposes, then 2 reverses the rows, then 4 the columns. 0 is the
        identity, 6 a rotation by 180 degrees.

    Returns:
      The mapped images.

    Raises:
      ValueError: the images are not square, or ``turns`` is not one integer an image.

    Example:
      >>> image = jnp.arange(4).reshape(1, 2, 2, 1)
      >>> turn(image, jnp.array([6]))[0, ..., 0].tolist()
      [[3, 2], [1, 0]]
    """
    _check_images(images)
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images {images.shape}: only square ones can be turned")
    _require.arrays(turns=turns)
    if turns.shape != images.shape[:1] or not jnp.issubdtype(turns.dtype, jnp.integer):
        raise ValueError(
            f"turns must be one integer an image, of shape {images.shape[:1]}, not "
            f"{turns.dtype}{list(turns.shape)}"
        )
    bits = [(turns // bit % 2 == 1)[:, None, None, None] for bit in (1, 2, 4)]
    images = jnp.where(bits[0], jnp.swapaxes(images, 1, 2), images)
    images = jnp.where(bits[1], images[:, ::-1], images)
    return jnp.where(bits[2], images[:, :, ::-1], images)


def affine(
    key: PRNGKeyArray,
    images: Float[AnyArray, "batch height width channels"],
    *,
    rotation: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    pixels: float = 0.0,
) -> Float[Array, "batch height width channels"]:
    """Rotate, scale, shear and shift each image about its center by random amounts.

    Values between pixels are interpolated bilinearly; beyond the border they are 0.

    Args:
      key: draws the amounts of each image, uniform from minus the bound to the bound.
      images: with 0 for the background.
      rotation: the bound, in radians.
      scale: the bound of the logarithm of the scale, drawn for each axis.
      shear: the bound, in columns a row.
      pixels: the bound of the shift along each axis.

    Returns:
      The transformed images.

    Raises:
      ValueError: a bound is negative or not finite, or the images are no floating-point numbers
        with an axis of channels.

    Example:
      >>> images = jnp.arange(9.0).reshape(1, 3, 3, 1)
      >>> bool(jnp.allclose(affine(jax.random.key(0), images), images))
      True
    """
    _require.one_key(key)
    _check_images(images)
    _require.floating(images, "images")
    bounds = {"rotation": rotation, "scale": scale, "shear": shear, "pixels": pixels}
    rotation, scale, shear, pixels = (
        _require.real(name, bound, least=0, most=2**31) for name, bound in bounds.items()
    )
    batch, height, width, _ = images.shape
    u = jax.random.uniform(key, (batch, 6), images.dtype, -1, 1)
    cos, sin = jnp.cos(rotation * u[:, 0]), jnp.sin(rotation * u[:, 0])
    tall, wide = jnp.exp(scale * u[:, 1]), jnp.exp(scale * u[:, 2])
    # The inverse map: where each pixel of the result comes from.
    rows = [[cos * tall, -sin * wide + shear * u[:, 3]], [sin * tall, cos * wide]]
    matrices = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=1)
    middle = jnp.asarray([(height - 1) / 2, (width - 1) / 2], images.dtype)
    places = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
    offsets = places.reshape(2, -1).astype(images.dtype) - middle[:, None]
    sources = matrices @ jnp.broadcast_to(offsets, (batch, *offsets.shape))
    sources += (middle[None, :] + pixels * u[:, 4:])[:, :, None]

    corner = jnp.floor(sources)
    part = sources - corner
    corner = corner.astype(jnp.int32)
    # A border of one background pixel, from which everything further out is read.
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    lines = padded.reshape(batch, -1, images.shape[3])
    result = jnp.zeros((batch, height * width, images.shape[3]), images.dtype)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        y = jnp.clip(corner[:, 0] + down + 1, 0, height + 1)
        x = jnp.clip(corner[:, 1] + right + 1, 0, width + 1)
        weight = (part[:, 0] if down else 1 - part[:, 0]) * (
            part[:, 1] if right else 1 - part[:, 1]
        )
        index = (y * (width + 2) + x)[:, :, None]
        result += weight[:, :, None] * jnp.take_along_axis(lines, index, axis=1)
    return result.reshape(images.shape)


def _check_images(images: AnyArray) -> None:
    _require.arrays(images=images)
    if images.ndim != 4:
        raise ValueError(
            f"images {images.shape}: expected [batch, height, width, channels]; grey images get a "
            "channel with images[..., None]"
        )
