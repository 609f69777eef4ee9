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
    images = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4, 1)
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    possible = [wide[0, i : i + 3, j : j + 4].tolist() for i in range(3) for j in range(3)]
    by_one = jax.jit(functools.partial(shift, pixels=1))
    seen = {
        possible.index(np.asarray(by_one(jax.random.key(seed), images))[0].tolist())
        for seed in range(12)
    }
    assert len(seen) > 4
    np.testing.assert_array_equal(shift(jax.random.key(0), images, pixels=0), images)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_batch_of_images_is_refused():
    key, images = jax.random.key(0), jnp.zeros((2, 3, 3, 1))
    move, turn, affine = (inspect.unwrap(f) for f in (shift, augment.turn, augment.affine))
    with pytest.raises(ValueError, match=r"images \(2, 3, 3\): expected \[batch, height"):
        move(key, jnp.zeros((2, 3, 3)), pixels=1)
    for pixels in (-1, 1.5, 10**9):
        with pytest.raises(ValueError, match=rf"pixels must be an int from 0 to 3, not {pixels}"):
            move(key, images, pixels=pixels)
    with pytest.raises(ValueError, match=r"key is int of shape None: pass one key"):
        move(0, images, pixels=1)
    with pytest.raises(ValueError, match=r"images must be an array of numbers, not a list"):
        turn([[1]], jnp.zeros(1, jnp.int32))
    with pytest.raises(ValueError, match=r"images \(2, 3, 4, 1\): only square ones can be turned"):
        turn(jnp.zeros((2, 3, 4, 1)), jnp.zeros(2, jnp.int32))
    for turns in (jnp.zeros(3, jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((2, 1), jnp.int32)):
        with pytest.raises(
            ValueError, match=r"turns must be one integer an image, of shape \(2,\)"
        ):
            turn(images, turns)
    with pytest.raises(ValueError, match=r"of shape \(2,\), not float32\[2\]"):
        turn(images, jnp.zeros(2))
    for name in ("rotation", "scale", "shear", "pixels"):
        for bound in (-1.0, float("nan")):
            with pytest.raises(ValueError, match=rf"{name} must be .* at least 0 .*, not {bound}"):
                affine(key, images, **{name: bound})
        wide = functools.partial(affine, **{name: 2**31})  # no int32
        assert jax.eval_shape(wide, key, images).shape == images.shape
    with pytest.raises(ValueError, match=r"images is uint8"):
        affine(key, images.astype(jnp.uint8))


def test_the_eight_positions_of_a_square_are_those_of_numpy():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    turned = np.asarray(jax.jit(augment.turn)(np.tile(image, (8, 1, 1, 1)), np.arange(8)))[..., 0]
    square = np.asarray(image)[0, ..., 0]
    expected = [square, square.T]
    expected += [x[::-1] for x in expected]
    expected += [x[:, ::-1] for x in expected]
    np.testing.assert_array_equal(turned, expected)


def test_a_move_by_whole_pixels_is_a_shift_and_a_distortion_that_of_scipy():
    from scipy import ndimage

    image = np.random.default_rng(0).uniform(size=(1, 7, 6, 1)).astype(np.float32)
    key = jax.random.key(3)
    bounds = {"rotation": 0.4, "scale": 0.2, "shear": 0.3, "pixels": 1.5}
    found = jax.jit(functools.partial(augment.affine, **bounds))(key, image)[0, ..., 0]
    # The same amounts, drawn again: where each pixel of the result comes from.
    r, tall, wide, shear, down, right = np.asarray(jax.random.uniform(key, (6,), minval=-1))
    cos, sin = np.cos(0.4 * r), np.sin(0.4 * r)
    tall, wide = np.exp(0.2 * tall), np.exp(0.2 * wide)
    matrix = np.array([[cos * tall, -sin * wide + 0.3 * shear], [sin * tall, cos * wide]])
    middle = np.array([3.0, 2.5])
    offset = middle + 1.5 * np.array([down, right]) - matrix @ middle
    expected = ndimage.affine_transform(
        image[0, ..., 0], matrix, offset, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    same = jax.jit(augment.affine)(key, image)
    np.testing.assert_allclose(same, image, atol=1e-6)
