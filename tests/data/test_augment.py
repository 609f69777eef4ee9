import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.data import augment
from chainrule.data.augment import shift


def test_every_image_moves_by_itself_and_by_every_number_of_pixels():
    images = np.zeros((400, 9, 8, 2), np.uint8)
    images[:, 4, 3] = (7, 200)
    moved = np.asarray(jax.jit(functools.partial(shift, pixels=2))(jax.random.key(0), images))
    assert moved.dtype == np.uint8
    # Nothing but the one pixel, with both its channels.
    assert (moved.sum(axis=(1, 2)) == (7, 200)).all()
    _, rows, columns = np.nonzero(moved[..., 1])
    found, counts = np.unique(np.stack([rows - 4, columns - 3]), axis=1, return_counts=True)
    assert found.T.tolist() == [[down, right] for down in range(-2, 3) for right in range(-2, 3)]
    # 16 of each expected: a fair draw of 400 leaves none below 2 or above 40.
    assert counts.min() >= 2
    assert counts.max() <= 40


def test_zeros_come_in_and_what_leaves_is_gone():
    images = jnp.arange(1.0, 13.0).reshape(1, 3, 4, 1)
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    possible = [wide[0, i : i + 3, j : j + 4].tolist() for i in range(3) for j in range(3)]
    seen = {
        possible.index(shift(jax.random.key(seed), images, pixels=1)[0].tolist())
        for seed in range(12)
    }
    assert len(seen) > 4
    np.testing.assert_array_equal(shift(jax.random.key(0), images, pixels=0), images)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"images \(2, 3, 3\) by 1 pixels: they must be \[batch"):
        inspect.unwrap(shift)(jax.random.key(0), jnp.zeros((2, 3, 3)), pixels=1)
    with pytest.raises(ValueError, match=r"by -1 pixels: .* 0 pixels or more"):
        inspect.unwrap(shift)(jax.random.key(0), jnp.zeros((2, 3, 3, 1)), pixels=-1)


def test_the_eight_positions_of_a_square_are_those_of_numpy():
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    turned = np.asarray(augment.turn(jnp.tile(image, (8, 1, 1, 1)), jnp.arange(8)))[..., 0]
    square = np.asarray(image)[0, ..., 0]
    expected = [square, square.T]
    expected += [x[::-1] for x in expected]
    expected += [x[:, ::-1] for x in expected]
    np.testing.assert_array_equal(turned, expected)


def test_a_move_by_whole_pixels_is_a_shift_and_a_distortion_that_of_scipy():
    from scipy import ndimage

    image = jax.random.uniform(jax.random.key(0), (1, 7, 6, 1))
    key = jax.random.key(3)
    bounds = {"rotation": 0.4, "scale": 0.2, "shear": 0.3, "pixels": 1.5}
    found = augment.affine(key, image, **bounds)[0, ..., 0]
    # The same amounts, drawn again: where each pixel of the result comes from.
    r, tall, wide, shear, down, right = np.asarray(jax.random.uniform(key, (6,), minval=-1))
    cos, sin = np.cos(0.4 * r), np.sin(0.4 * r)
    tall, wide = np.exp(0.2 * tall), np.exp(0.2 * wide)
    matrix = np.array([[cos * tall, -sin * wide + 0.3 * shear], [sin * tall, cos * wide]])
    middle = np.array([3.0, 2.5])
    offset = middle + 1.5 * np.array([down, right]) - matrix @ middle
    expected = ndimage.affine_transform(
        np.asarray(image[0, ..., 0]), matrix, offset, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    same = augment.affine(key, image)
    np.testing.assert_allclose(same, image, atol=1e-6)
