import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data as photos
from skimage import feature, filters

from chainrule import features
from tests import oracles

KEY = jax.random.key(0)


def smooth_images(count, height, width, seed=0):
    """Bumpy images with every direction of gradient, brightest at no border in particular."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, height + 4, width + 4)).cumsum(axis=1).cumsum(axis=2)
    return noise[:, 2:-2, 2:-2].astype(np.float32)


# --- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_distinct_and_of_distinct_features():
    drawn = np.asarray(features.pairs(jax.random.key(0), features=150, count=10_000))
    assert drawn.dtype == np.int32
    assert drawn.min() >= 0
    assert drawn.max() <= 149
    assert np.all(drawn[:, 0] < drawn[:, 1])
    assert len(np.unique(drawn, axis=0)) == 10_000


def test_all_pairs_can_be_drawn_and_none():
    drawn = np.asarray(features.pairs(jax.random.key(0), features=5, count=10))
    everything = [(u, v) for u in range(5) for v in range(u + 1, 5)]
    assert sorted(map(tuple, drawn.tolist())) == everything
    assert features.pairs(jax.random.key(0), features=5, count=0).shape == (0, 2)


def test_fewer_pairs_are_the_first_of_more():
    few, many = (features.pairs(jax.random.key(3), features=20, count=n) for n in (7, 50))
    np.testing.assert_array_equal(few, many[:7])


def test_every_pair_is_as_likely():
    draws = 1_000
    draw = functools.partial(features.pairs, features=5, count=3)
    drawn = np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), draws)))
    counts = np.zeros((5, 5))
    np.add.at(counts, (drawn[..., 0], drawn[..., 1]), 1)
    counts = counts[np.triu_indices(5, 1)]
    # Each of the 10 is among the 3 with probability 0.3: five standard deviations.
    deviation = np.sqrt(draws * 0.3 * 0.7)
    assert np.all(np.abs(counts - 0.3 * draws) < 5 * deviation)


def test_the_key_decides():
    first, again, other = (
        np.asarray(features.pairs(jax.random.key(seed), features=20, count=20))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.parametrize(("n", "count"), [(5, 11), (1, 1)])
def test_pairs_that_do_not_exist(n, count):
    with pytest.raises(
        ValueError, match=rf"{count} pairs of {n} features.*{n * (n - 1) // 2} pairs"
    ):
        features.pairs(jax.random.key(0), features=n, count=count)


# --- pair products --------------------------------------------------------------------------------


def test_pair_products_value_and_gradient():
    inputs = jnp.array([[2.0, 3.0, 5.0], [-1.0, 4.0, 0.5]])
    pairs = jnp.array([[0, 1], [1, 2], [0, 1]])
    expected = [[6.0, 15.0, 6.0], [-4.0, 2.0, -4.0]]
    np.testing.assert_array_equal(features.pair_products(inputs, pairs), expected)
    np.testing.assert_array_equal(oracles.pair_products(np.asarray(inputs), pairs), expected)

    g = jnp.array([[1.0, 10.0, 100.0], [1.0, 0.0, 0.0]])
    grads = jax.jit(jax.grad(lambda x: jnp.sum(g * features.pair_products(x, pairs))))(inputs)
    np.testing.assert_array_equal(grads, [[303.0, 202.0 + 50.0, 30.0], [4.0, -1.0, 0.0]])


def test_pair_products_block_by_block_are_those_of_all():
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(12, 20)), jnp.float32)
    pairs = features.pairs(jax.random.key(0), features=20, count=100)
    expected = oracles.pair_products(np.asarray(inputs), np.asarray(pairs))
    np.testing.assert_array_equal(features.pair_products(inputs, pairs), expected)
    blocks = jax.jit(lambda x: jax.lax.map(lambda b: features.pair_products(b, pairs), x))
    np.testing.assert_array_equal(blocks(inputs.reshape(3, 4, 20)), expected.reshape(3, 4, 100))
    one_by_one = jax.vmap(features.pair_products, in_axes=(0, None))(inputs, pairs)
    np.testing.assert_array_equal(one_by_one, expected)


def test_bytes_do_not_wrap_around():
    pixels = jnp.array([[200, 255]], jnp.uint8)
    assert features.pair_products(pixels, jnp.array([[0, 1]])).tolist() == [[51_000.0]]
    horizontal, vertical = features.sobel(pixels)
    assert horizontal.tolist() == [[0.0, 0.0]]
    assert vertical.tolist() == [[220.0, 220.0]]
    image = np.asarray(smooth_images(1, 8, 8)[0] * 10, np.uint8)
    np.testing.assert_array_equal(
        features.hog(jnp.asarray(image), block=1),
        features.hog(jnp.asarray(image, jnp.float32), block=1),
    )


@pytest.mark.parametrize(("pair", "quoted"), [([0, 3], r"3 at index \(0, 1\)"), ([-1, 2], "-1 at")])
def test_pairs_outside_of_the_features(pair, quoted):
    with pytest.raises(ValueError, match=rf"at most 2, not {quoted}.*\(1, 3\) have 3 features"):
        features.pair_products(jnp.ones((1, 3)), jnp.array([pair]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: features.pairs(0, 5, 2), "key is int of shape None: pass one key"),
        (lambda: features.pairs(KEY, 5, -1), "count must be an int of at least 0, not -1"),
        (lambda: features.pairs(KEY, 5, 2.5), r"count must be an int .* not 2\.5"),
        (lambda: features.pairs(KEY, 10**9, 2), "features must be an int from 0 to 16384, not 100"),
        (
            lambda: features.pair_products(jnp.ones((1, 3)), jnp.array([0, 1])),
            r"pairs int32 \(2,\): they must be \[\.\.\., features\] and integers \[count, 2\]",
        ),
        (
            lambda: features.pair_products(jnp.ones((1, 3)), jnp.array([[0.0, 1.0]])),
            r"pairs float32 \(1, 2\): .* integers",
        ),
        (lambda: features.pair_products([[1.0]], jnp.array([[0, 0]])), "inputs must be an array"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_makes_no_pairs_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()


def test_the_product_makes_exclusive_or_linear():
    inputs = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    xor = jnp.array([0.0, 1.0, 1.0, 0.0])
    ones, product = jnp.ones((4, 1)), features.pair_products(inputs, jnp.array([[0, 1]]))
    flat = jnp.concatenate([inputs, ones], axis=1)
    # The best line says one half everywhere.
    np.testing.assert_allclose(flat @ jnp.linalg.lstsq(flat, xor)[0], 0.5, atol=1e-6)
    lifted = jnp.concatenate([inputs, product, ones], axis=1)
    weights = jnp.linalg.lstsq(lifted, xor)[0]
    np.testing.assert_allclose(weights, [1.0, 1.0, -2.0, 0.0], atol=1e-5)


# --- Sobel ----------------------------------------------------------------------------------------


def test_sobel_value_and_gradient():
    image = jnp.array([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 10.0]])
    horizontal, vertical = jax.jit(features.sobel)(image)
    # What the pixel at (1, 1) gives is the kernel, turned by half a turn; the corner counts twice
    # where the image goes on beyond it.
    np.testing.assert_array_equal(horizontal, [[1, 2, 1, 0], [0, 0, 10, 30], [-1, -2, 9, 30]])
    np.testing.assert_array_equal(vertical, [[1, 0, -1, 0], [2, 0, 8, 10], [1, 0, 29, 30]])

    rows, columns = jax.jit(jax.jacobian(features.sobel))(image)
    np.testing.assert_array_equal(rows[1, 1], [[-1, -2, -1, 0], [0, 0, 0, 0], [1, 2, 1, 0]])
    np.testing.assert_array_equal(columns[1, 2], [[0, -1, 0, 1], [0, -2, 0, 2], [0, -1, 0, 1]])
    np.testing.assert_array_equal(rows[0, 0], [[-3, -1, 0, 0], [3, 1, 0, 0], [0, 0, 0, 0]])


def test_sobel_is_that_of_loops_and_of_scikit_image():
    images = smooth_images(3, 7, 5)
    horizontal, vertical = jax.jit(features.sobel)(jnp.asarray(images))
    for n, image in enumerate(images.astype(np.float64)):
        expected = oracles.sobel(image)
        np.testing.assert_allclose(horizontal[n], expected[0], atol=1e-5)
        np.testing.assert_allclose(vertical[n], expected[1], atol=1e-5)
        # Theirs is divided by the sum of the smoothing weights.
        np.testing.assert_allclose(horizontal[n], 4 * filters.sobel_h(image), atol=1e-5)
        np.testing.assert_allclose(vertical[n], 4 * filters.sobel_v(image), atol=1e-5)


def test_a_colour_photo_has_the_edges_of_each_of_its_channels():
    photo = photos.astronaut()[::16, ::16]
    with pytest.raises(ValueError, match=r"or each of them, jnp\.moveaxis\(images, -1, -3\)"):
        features.sobel(photo)
    horizontal, vertical = features.sobel(jnp.moveaxis(photo, -1, -3))
    assert horizontal.shape == (3, 32, 32)
    for channel in range(3):
        image = photo[..., channel].astype(np.float64)
        np.testing.assert_allclose(horizontal[channel], 4 * filters.sobel_h(image), atol=1e-3)
        np.testing.assert_allclose(vertical[channel], 4 * filters.sobel_v(image), atol=1e-3)


def test_sobel_of_a_single_pixel_is_nothing():
    horizontal, vertical = jax.jit(features.sobel)(jnp.full((1, 1), 7.0))
    assert horizontal.tolist() == vertical.tolist() == [[0.0]]


def test_sobel_needs_images():
    with pytest.raises(ValueError, match=r"sobel: images of shape \(2, 0\)"):
        features.sobel(jnp.ones((2, 0)))


# --- histograms of oriented gradients -------------------------------------------------------------

SETTINGS = [
    {"cell": 4, "block": 2, "orientations": 9, "norm": "l2-hys"},
    {"cell": 7, "block": 1, "orientations": 6, "norm": "l2"},
    {"cell": 8, "block": 1, "orientations": 9, "norm": "none"},
    {"cell": 5, "block": 3, "orientations": 4, "norm": "l2-hys"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_hog_is_that_of_loops_and_of_scikit_image(settings):
    images = smooth_images(3, 28, 24)
    found = features.hog(jnp.asarray(images), **settings)
    for n, image in enumerate(images):
        cell = settings["cell"]
        rows, columns = -28 % cell, -24 % cell
        whole = np.pad(
            image, [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)], "edge"
        )
        np.testing.assert_allclose(found[n], oracles.hog(whole, **settings), rtol=1e-4, atol=1e-5)
        if settings["norm"] != "none":
            theirs = feature.hog(
                whole,
                orientations=settings["orientations"],
                pixels_per_cell=(cell, cell),
                cells_per_block=(settings["block"],) * 2,
                block_norm={"l2": "L2", "l2-hys": "L2-Hys"}[settings["norm"]],
            )
            np.testing.assert_allclose(found[n], theirs, rtol=1e-4, atol=1e-5)


def test_hog_value_and_gradient():
    image = jnp.zeros((3, 3)).at[2, 2].set(3.0)
    describe = functools.partial(features.hog, cell=3, block=1, norm="none")
    # One gradient points to the right, one downwards: 0 and 90 degrees, bins 0 and 4.
    np.testing.assert_allclose(describe(image), np.array([3, 0, 0, 0, 3, 0, 0, 0, 0]) / 9)
    jacobian = np.asarray(jax.jit(jax.jacobian(describe))(image))
    np.testing.assert_allclose(jacobian[0] * 9, [[0, 0, 0], [0, 0, 0], [-1, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(jacobian[4] * 9, [[0, 0, -1], [0, 0, 0], [0, 0, 1]], atol=1e-6)
    assert not jacobian[[1, 2, 3, 5, 6, 7, 8]].any()


@pytest.mark.parametrize("quarter", range(4))
def test_the_orientation_of_an_edge(quarter):
    """A ramp at every angle falls into the bin of that angle, and so does its negative."""
    for degrees in range(quarter * 45 + 1, quarter * 45 + 45, 4):
        angle = np.radians(degrees)
        rows, columns = np.mgrid[:8, :8]
        ramp = jnp.asarray(np.sin(angle) * rows + np.cos(angle) * columns, jnp.float32)
        # Of the inner cells: at the border one of the two differences is 0.
        inner = features.hog(jnp.stack([ramp, -ramp]), cell=2, block=1, norm="none")
        votes = inner.reshape(2, 4, 4, 9)[:, 1:3, 1:3]
        assert np.all(np.argmax(votes, axis=-1) == degrees // 20), degrees
        np.testing.assert_allclose(votes.sum(axis=-1), 2.0, rtol=1e-5)


def test_directions_between_two_bins():
    # 90 degrees of 4 bins belong to the bin that they begin, 180 degrees are 0.
    down = jnp.tile(jnp.arange(4.0)[:, None], (1, 4))
    votes = {
        name: features.hog(image, cell=2, block=1, orientations=4, norm="none").reshape(4, 4).sum(0)
        for name, image in {"down": down, "up": -down, "right": down.T, "left": -down.T}.items()
    }
    for name in ("down", "up"):
        assert np.flatnonzero(votes[name]).tolist() == [2]
    for name in ("right", "left"):
        assert np.flatnonzero(votes[name]).tolist() == [0]


def test_hog_gradient_is_that_of_differences(x64):
    image = jnp.asarray(smooth_images(1, 8, 12)[0], jnp.float64)
    g = jnp.asarray(np.random.default_rng(1).normal(size=72))
    loss = jax.jit(lambda x: jnp.sum(g * features.hog(x)))
    grads = jax.jit(jax.grad(loss))(image)
    assert grads.dtype == jnp.float64
    for row, column in [(0, 0), (3, 5), (4, 6), (7, 11), (2, 0)]:
        step = np.zeros(image.shape)
        step[row, column] = 1e-6
        difference = (loss(image + step) - loss(image - step)) / 2e-6
        np.testing.assert_allclose(grads[row, column], difference, rtol=1e-6, atol=1e-9)
        assert abs(difference) > 1e-4


def test_a_black_image_has_no_features_and_no_gradient():
    black = jnp.zeros((8, 8))
    assert not features.hog(black).any()
    grads = jax.jit(jax.grad(lambda x: features.hog(x).sum()))(black)
    np.testing.assert_array_equal(grads, 0)


def test_what_is_not_finite_stays_visible():
    image = jnp.asarray(smooth_images(1, 8, 8)[0]).at[4, 4].set(jnp.nan)
    assert jnp.isnan(features.hog(image)).any()
    assert jnp.isnan(features.hog(image, block=1, norm="none")).any()


def test_normalised_blocks_do_not_see_contrast():
    image = jnp.asarray(smooth_images(1, 12, 12)[0])
    plain, negative = features.hog(jnp.stack([image, 5 - 3 * image]))
    np.testing.assert_allclose(negative, plain, atol=1e-4)
    rough, tripled = features.hog(jnp.stack([image, 3 * image]), block=1, norm="none")
    np.testing.assert_allclose(tripled, 3 * rough, rtol=1e-4)


def test_hog_takes_any_leading_axes():
    images = jnp.asarray(smooth_images(130, 8, 8))  # one batch in the cache, and two more
    found = features.hog(images)
    assert found.shape == (130, 36)
    for n in (0, 127, 128, 129):
        np.testing.assert_allclose(found[n], features.hog(images[n]), atol=1e-6)
    np.testing.assert_allclose(
        features.hog(images.reshape(13, 10, 8, 8)), found.reshape(13, 10, 36)
    )
    np.testing.assert_allclose(jax.vmap(features.hog)(images), found, atol=1e-6)
    assert features.hog(images[:0]).shape == (0, 36)


@pytest.mark.parametrize(
    ("shape", "settings", "match"),
    [
        ((5, 3, 28), {}, r"\(5, 3, 28\).*at least 4 x 4"),
        ((10, 28, 28, 1), {}, r"\(10, 28, 28, 1\).*without an axis of channels.*4 x 4"),
        ((28, 20), {"cell": 8, "block": 4}, r"28 x 20 pixels has 4 x 3 cells of 8 x 8.*4 x 4"),
        ((28, 28), {"cell": 0}, r"cell must be an int of at least 1, not 0"),
        ((28, 28), {"block": 0}, r"block must be an int of at least 1, not 0"),
        ((28, 28), {"orientations": -9}, r"orientations must be an int from 1 to 360, not -9"),
        ((28, 28), {"orientations": 10**30}, r"orientations must be an int from 1 to 360"),
        ((28, 28), {"norm": "L2"}, r"unknown norm 'L2'"),
    ],
)
def test_hog_errors(shape, settings, match):
    with pytest.raises(ValueError, match=match):
        features.hog(jnp.ones(shape), **settings)


@pytest.mark.parametrize("shape", [(28, 28, 3), (28, 20, 1), (10, 28, 28, 4), (2, 9, 9, 3)])
def test_an_axis_of_channels_is_not_taken_for_the_width(shape, unchecked):
    message = r"sobel: images of shape .* have an axis of channels: .*images\.mean\(axis=-1\)"
    with pytest.raises(ValueError, match=message):
        features.sobel(jnp.ones(shape))
    with pytest.raises(ValueError, match=r"hog: images of shape .* axis of channels"):
        features.hog(jnp.ones(shape), cell=1, block=1)


@pytest.mark.parametrize("shape", [(28, 3), (3, 28, 4), (28, 4, 4), (2, 28, 28), (5, 5, 5)])
def test_narrow_images_and_small_batches_are_images(shape):
    horizontal, vertical = features.sobel(jnp.ones(shape))
    assert horizontal.shape == vertical.shape == shape


def test_images_have_two_axes(unchecked):
    with pytest.raises(ValueError, match=r"\(28,\).*\[..., height, width\]"):
        features.hog(jnp.ones(28))
