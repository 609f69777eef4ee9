"""More samples from those there are: what changes an image and not its label."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray


def shift(
    key: PRNGKeyArray, images: Num[Array, "batch height width channels"], *, pixels: int
) -> Num[Array, "batch height width channels"]:
    """Move every image by whole pixels of its own, up or down and left or right; zeros come in.

    Args:
      key: draws both numbers, uniform from ``-pixels`` to ``pixels``.
      images: 0 where there is paper: shift first, standardize then.
      pixels: how far at most, at least 0.

    Returns:
      The images, moved.

    Raises:
      ValueError: ``pixels`` is negative, or the images have no axis of channels.

    Example:
      >>> images = jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1)
      >>> shift(jax.random.key(0), images, pixels=1)[0, ..., 0]
      Array([[0., 1.],
             [0., 3.]], dtype=float32)
    """
    if pixels < 0 or images.ndim != 4:
        raise ValueError(
            f"shift: images {images.shape} by {pixels} pixels: they must be [batch, height, width, "
            "channels], by 0 pixels or more"
        )
    batch, *shape = images.shape
    side = (pixels, pixels)
    wide = jnp.pad(images, ((0, 0), side, side, (0, 0)))
    starts = jax.random.randint(key, (batch, 2), 0, 2 * pixels + 1)
    return jax.vmap(
        lambda image, start: jax.lax.dynamic_slice(image, (start[0], start[1], 0), shape)
    )(wide, starts)
