import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.data.batches import Batches

KEY = jax.random.key(0)


def test_an_epoch_takes_every_sample_at_most_once_and_drops_the_remainder():
    batches = Batches(np.arange(23, dtype=np.int32), 5, key=KEY)
    assert (batches.samples, batches.per_epoch) == (23, 4)
    first, second = (np.asarray(batches.order(epoch)) for epoch in (0, 1))
    for order in (first, second):
        assert order.shape == (4, 5)
        assert order.dtype == np.int32
        assert len(np.unique(order)) == 20
        assert order.min() >= 0
        assert order.max() <= 22
    assert (first != second).any()
    # What is dropped is drawn anew: three samples of 23 stay out each time.
    assert set(range(23)) - set(first.ravel()) != set(range(23)) - set(second.ravel())


def test_the_order_is_that_of_the_epoch_s_key():
    batches = Batches(np.zeros((6, 2), np.float32), 3, key=KEY)
    for epoch in (0, 7):
        order = jax.random.permutation(jax.random.fold_in(KEY, epoch), 6)
        np.testing.assert_array_equal(batches.order(epoch).ravel(), order)
    other = Batches(np.zeros((6, 2), np.float32), 3, key=jax.random.key(1))
    assert (other.order(0) != batches.order(0)).any()


def test_a_step_alone_tells_its_batch_also_under_jit():
    data = {"inputs": np.arange(14, dtype=np.float32).reshape(7, 2), "labels": np.arange(7, 14)}
    data["labels"] = data["labels"].astype(np.int32)
    batches = Batches(data, 2, key=KEY)
    indices = jax.jit(batches.indices)
    for step in (0, 2, 3, 8):
        rows = batches.order(step // 3)[step % 3]
        np.testing.assert_array_equal(batches.indices(step), rows)
        np.testing.assert_array_equal(indices(jnp.int32(step)), rows)
        batch = batches(step)
        np.testing.assert_array_equal(batch["inputs"][:, 0], 2 * rows)
        np.testing.assert_array_equal(batch["labels"], rows + 7)


@pytest.mark.parametrize("size", [0, 8, -1, 2.0, True])
def test_a_size_that_makes_no_batch_is_refused_with_the_number_of_samples(size, unchecked):
    with pytest.raises(
        ValueError, match=rf"size must be an int from 1 to 7, not {size}: there are 7 samples"
    ):
        Batches(np.zeros(7, np.float32), size, key=KEY)


def test_data_without_one_leading_axis_is_refused_with_all_shapes():
    with pytest.raises(ValueError, match=r"\{\"data\['a'\]\": \(3, 2\), \"data\['b'\]\": \(4,\)\}"):
        Batches({"a": np.zeros((3, 2)), "b": np.zeros(4)}, 1, key=KEY)
    with pytest.raises(ValueError, match=r"leading axis.*'data': \(\)"):
        Batches(np.float32(1), 1, key=KEY)
    with pytest.raises(ValueError, match=r"leading axis"):
        Batches({}, 1, key=KEY)


WIDE = {"x": np.array([0.5, 0.25]), "y": np.array([3, -(2**31)]), "z": np.ones(2, np.float32)}


def test_numpys_defaults_are_cast_with_a_warning_for_each_leaf():
    with pytest.warns(UserWarning, match="cast to") as warned:
        batches = Batches(WIDE, 2, key=KEY)
    assert [str(one.message).partition(":")[0] for one in warned] == [
        "data['x'] is float64, cast to float32",
        "data['y'] is int64, cast to int32",
    ]
    batch = batches(0)
    assert {name: leaf.dtype.name for name, leaf in batch.items()} == {
        "x": "float32", "y": "int32", "z": "float32",
    }  # fmt: skip
    order = batches.order(0)[0]
    for name in WIDE:
        np.testing.assert_array_equal(batch[name], WIDE[name][order])
    assert batches.data["z"] is WIDE["z"]


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "complex128"])
def test_wide_numbers_are_refused_where_they_are_to_be_kept(dtype, x64, unchecked):
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=rf"'x'\] is {dtype}: cast it to 32"),
    ):
        Batches({"x": np.zeros(3, dtype), "y": np.zeros(3, "f")}, 1, key=KEY, dtype="keep")
    for kept in ("keep", "narrow"):
        batches = Batches({"x": np.zeros(3, dtype)}, 1, key=KEY, dtype=kept)  # without a warning
        assert batches(0)["x"].dtype == dtype
    with pytest.raises(ValueError, match=r"unknown dtype 'float32': expected one of narrow, keep"):
        Batches(np.zeros(3), 1, key=KEY, dtype="float32")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1, 2**31]), r"data\['x'\]: integers from 1 to 2147483648 do not fit int32"),
        (np.array([-(2**31) - 1, 0]), r"integers from -2147483649 to 0 do not fit int32"),
        (np.array([2**32], np.uint64), r"integers from 4294967296 to 4294967296 do not fit uint32"),
        (np.array([1.0, 1e39, -1e300]), r"data\['x'\]: 2 numbers of 3 do not fit float32"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Batches({"x": values}, 1, key=KEY)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["a", "b"]), r"data\['x'\] is <U1: samples must be arrays of numbers"),
        (np.array([{}, None]), r"data\['x'\] is object"),
        (np.array(["2026-11-28"], "datetime64[D]"), r"data\['x'\] is datetime64\[D\]"),
        (np.zeros(2, [("a", "f4")]), r"data\['x'\] is \[\('a', '<f4'\)\]"),
        (np.zeros(2, np.longdouble), r"data\['x'\] is float128"),
        (jax.ShapeDtypeStruct((2,), np.float32), r"data\['x'\] is an array: samples must"),
    ],
)
def test_what_are_no_numbers_is_refused_with_the_leaf(values, message):
    with pytest.raises(ValueError, match=message):
        Batches({"x": values}, 1, key=KEY)


@pytest.mark.parametrize("module", [np, jnp])
def test_data_that_are_not_finite_are_refused_with_the_leaf_and_the_number(module):
    values = module.asarray([[1.0, np.nan], [np.inf, 2.0]], module.float32)
    with pytest.raises(ValueError, match=r"not finite in data\['x'\]: 2 numbers of 4"):
        Batches({"x": values, "y": np.zeros(2, np.int32)}, 1, key=KEY)


def test_what_is_no_key_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"key is int of shape None: pass one key"):
        Batches(np.zeros(3, np.float32), 1, key=0)
    with pytest.raises(ValueError, match=r"key is key<fry> of shape \(2,\)"):
        Batches(np.zeros(3, np.float32), 1, key=jax.random.split(KEY))


class Listed:
    """A source of samples: what a data source of tensorflow-datasets is."""

    def __init__(self, samples):
        self.samples = samples
        self.asked = []

    def __len__(self):
        return len(self.samples)

    def __getitems__(self, rows):
        self.asked += [list(rows)]
        return [self.samples[row] for row in rows]


def test_a_source_gives_the_batches_of_the_arrays_it_holds_and_only_these_are_read():
    images = np.arange(28, dtype=np.uint8).reshape(7, 2, 2)
    labels = np.arange(7, 14)  # int64, as tensorflow-datasets gives labels
    source = Listed([{"image": x, "label": y} for x, y in zip(images, labels, strict=True)])
    arrays = Batches({"image": images, "label": labels.astype(np.int32)}, 2, key=KEY)
    batches = Batches(source, 2, key=KEY)
    assert (batches.samples, batches.per_epoch, batches.in_memory) == (7, 3, False)
    for step in (4, 0):
        found, expected = batches(step), arrays(step)
        for name in ("image", "label"):
            np.testing.assert_array_equal(found[name], expected[name])
            assert found[name].dtype == expected[name].dtype
    assert source.asked == [arrays.indices(step).tolist() for step in (4, 0)]
    assert batches.read(np.array([[3, 1, 0]]))["image"].shape == (1, 3, 2, 2)


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        ([np.zeros(2), np.zeros(3)], "all input arrays must have the same shape"),
        ([2**40, 1], "data: integers from 1 to 1099511627776 do not fit int32"),
        ([{"a": 1}, {"b": 2}], "fails on 2 of them"),
    ],
)
def test_a_source_that_fails_is_named_with_what_it_was_asked_for(samples, match):
    batches = Batches(Listed(samples), 2, key=KEY)
    with pytest.raises(ValueError, match=rf"the data source, Listed of 2 samples, .*{match}"):
        batches(0)


def test_samples_of_a_source_are_checked_when_they_are_read():
    with pytest.raises(ValueError, match="the data are not finite in data: 1 numbers of 2"):
        Batches(Listed([np.float32(1), np.float32(np.nan)]), 2, key=KEY)(0)
    with pytest.raises(ValueError, match="data is float64: cast it to 32 bits"):
        Batches(Listed([1.5, 2.5]), 2, key=KEY, dtype="keep")(0)
    with pytest.warns(UserWarning, match="data is float64, cast to float32"):
        assert Batches(Listed([1.5, 2.5]), 2, key=KEY)(0).dtype == np.float32
