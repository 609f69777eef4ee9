import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.data.pairs import Tuples, by_class, pairs, triplets

# One class is ten times as large as another, and labels are any numbers.
LABELS = np.repeat([7, -2, 4], [30, 3, 2])[np.random.default_rng(0).permutation(35)]
MEMBERS = by_class(LABELS)
draw_pairs = jax.jit(pairs, static_argnums=2, static_argnames="identical")
draw_triplets = jax.jit(triplets, static_argnums=2, static_argnames="identical")


def test_members_are_the_samples_of_each_class():
    for i, label in enumerate([-2, 4, 7]):
        start, count = int(MEMBERS.starts[i]), int(MEMBERS.counts[i])
        found = MEMBERS.samples[start : start + count]
        np.testing.assert_array_equal(found, np.flatnonzero(label == LABELS))


def test_pairs_are_balanced_true_and_uniform():
    indices, same = map(np.asarray, draw_pairs(jax.random.key(0), MEMBERS, 12000))
    classes = LABELS[indices]
    np.testing.assert_array_equal(same, classes[:, 0] == classes[:, 1])
    assert same.sum() == 6000
    assert (indices[:, 0] != indices[:, 1]).all()
    # Every class is as frequent as another: a third of 6,000, of each sort of pairs, on each side.
    # One standard deviation is 37.
    for rows in (classes[same], classes[~same]):
        for side in rows.T:
            assert (abs(np.unique(side, return_counts=True)[1] - 2000) < 150).all()
    # The three samples of one class make six ordered pairs; each comes 333 times, give or take 18.
    of_three = indices[same & (classes[:, 0] == -2)]
    counts = np.unique(of_three, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert (abs(counts - 333) < 75).all()


def test_an_image_meets_itself_only_where_it_is_asked_for():
    members = by_class(np.array([0, 1, 1]), identical=True)
    indices, same = draw_pairs(jax.random.key(0), members, 400, identical=True)
    itself = np.asarray(indices[:, 0] == indices[:, 1])
    # Always in the class of one, and half of the time in that of two.
    assert 120 < itself.sum() < 180
    assert np.asarray(same)[itself].all()
    drawn = draw_triplets(jax.random.key(0), members, 400, identical=True)
    assert 250 < (drawn[:, 0] == drawn[:, 1]).sum() < 350


def test_triplets_are_an_anchor_its_like_and_another():
    drawn = np.asarray(draw_triplets(jax.random.key(1), MEMBERS, 6000))
    anchor, positive, negative = LABELS[drawn].T
    assert (anchor == positive).all()
    assert (anchor != negative).all()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for side in (anchor, negative):
        assert (abs(np.unique(side, return_counts=True)[1] - 2000) < 150).all()
    assert set(np.unique(drawn)) == set(range(35))


def test_the_same_key_draws_the_same_and_another_key_others():
    one, again, other = (draw_pairs(jax.random.key(seed), MEMBERS, 12000)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(axis=1).mean() > 0.5


@pytest.mark.parametrize(("draw", "branches"), [(pairs, 2), (triplets, 3)])
def test_batches_are_a_function_of_the_step(draw, branches):
    data = {"x": np.arange(35, dtype=np.int32), "labels": LABELS.astype(np.int32)}
    batches = Tuples(data, LABELS, 8, key=jax.random.key(5), draw=draw)
    assert batches.per_epoch == 4
    order = batches.order(2)
    assert order.shape == (4, 8, branches)
    # Step 9 is the second of epoch 2, whoever asks and in whatever order.
    drawn = jax.tree.leaves(draw(jax.random.fold_in(jax.random.key(5), 9), batches.members, 8))[0]
    np.testing.assert_array_equal(order[1], drawn)
    np.testing.assert_array_equal(batches.indices(9), drawn)
    batch = batches(9)
    np.testing.assert_array_equal(batch["x"], drawn)
    np.testing.assert_array_equal(batch["labels"], LABELS[np.asarray(drawn)])
    assert not np.array_equal(batches.indices(8), drawn)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, 3, 3], "all 3 labels are 3: pairs of different classes take two classes"),
        ([3, 3, 5, 6, 6, 8], "labels: 5, 8 has one sample: a pair within a class takes two"),
        ([], r"labels float64\[0\]: expected integers"),
        ([0.5, 0.5, 1.0], r"labels float64\[3\]: expected integers"),
        ([[1, 1], [2, 2]], r"labels int64\[2, 2\]: expected integers \[N\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_sets_without_pairs_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        by_class(np.array(labels))


@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="count must be even, not 3"):
        pairs(jax.random.key(0), MEMBERS, 3)
    with pytest.raises(ValueError, match="count must be an int from 1 to 67108864, not 0"):
        triplets(jax.random.key(0), MEMBERS, 0)
    with pytest.raises(ValueError, match="count must be an int from 2 to 67108864, not 1000000000"):
        pairs(jax.random.key(0), MEMBERS, 10**9)
    with pytest.raises(ValueError, match="key is NoneType"):
        pairs(None, MEMBERS, 2)
    for function in (pairs, triplets):
        with pytest.raises(ValueError, match="members must be what by_class returns, not an array"):
            function(jax.random.key(0), LABELS, 2)
    data = np.zeros(35, np.float32)
    with pytest.raises(ValueError, match=r"draw must be a function \(key, members, count"):
        Tuples(data, LABELS, 4, key=jax.random.key(0), draw=3)
    with pytest.raises(ValueError, match="draw fails with size 5: count must be even, not 5"):
        Tuples(data, LABELS, 5, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"34 labels for 35 samples: expected one each"):
        Tuples(data, LABELS[1:], 4, key=jax.random.key(0))


def test_pairs_train_in_the_loop():
    import optax

    from chainrule import losses, training
    from chainrule.models import siamese

    # Two noisy clouds far from each other along an axis that the embedding has to find.
    labels = np.tile(np.int32([0, 1]), 32)
    noise = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    points = noise * np.float32([2, 2, 0.1])
    points[:, 2] += labels
    batches = Tuples({"x": points, "y": labels}, labels, 16, key=jax.random.key(0))

    def loss(params, state, batch, key):
        distances = siamese.distances(params, batch["x"], lambda w, x: x @ w)
        return losses.contrastive(distances, batch["y"][:, 0] == batch["y"][:, 1]), (state, {})

    optimizer = optax.adam(0.05)
    start = training.create(jnp.ones((3, 1)), optimizer, key=jax.random.key(1))
    found = training.fit(start, loss, optimizer, batches, 30).params[:, 0]
    assert abs(found[2]) > 5 * jnp.abs(found[:2]).max()
