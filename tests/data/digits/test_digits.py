"""The records, the check that every source passes through, the normalisation."""

import json

import numpy as np
import pytest

from chainrule import data
from chainrule.data.digits import record

PROVENANCE = data.Provenance(
    source="idx",
    split="train",
    files=("a.gz", "b.gz"),
    sha256={"images": "01", "labels": "23"},
    sizes={"train": 3, "test": 2},
    order="original",
)


def test_provenance_survives_json():
    record = PROVENANCE.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record == {
        "source": "idx",
        "split": "train",
        "files": ["a.gz", "b.gz"],
        "sha256": {"images": "01", "labels": "23"},
        "sizes": {"train": 3, "test": 2},
        "order": "original",
    }


def test_describe_says_everything():
    labels = np.array([1, 1, 9], np.int32)
    text = data.describe(data.Digits(np.zeros((3, 28, 28), np.uint8), labels, PROVENANCE))
    assert text.splitlines() == [
        "train: 3 digits of 28 x 28 pixels, source idx (train 3, test 2), order original",
        "  labels 0 to 9: 0 2 0 0 0 0 0 0 0 1",
        "  sha256 of the images: 01",
        "  sha256 of the labels: 23",
        "  read from a.gz",
        "  read from b.gz",
    ]


def _check(images_shape, labels):
    record.check(
        np.zeros(images_shape, np.uint8),
        np.array(labels, np.uint8),
        images_from="IMAGES",
        labels_from="LABELS",
    )


def test_check_accepts_digits():
    _check((3, 28, 28), [0, 9, 5])


@pytest.mark.parametrize(
    ("shape", "labels", "match"),
    [
        ((3, 28, 27), [1, 2, 3], "IMAGES holds images of 28 x 27 pixels, expected 28 x 28"),
        ((3, 28, 28), [1, 2], "IMAGES holds 3 images, LABELS holds 2 labels"),
        ((1, 28, 28), [1, 2], "IMAGES holds 1 images, LABELS holds 2 labels"),
        ((3, 28, 28), [1, 10, 255], "LABELS holds the label 10 at row 1, expected 0 to 9"),
        ((0, 28, 28), [], "LABELS holds 0 labels, expected at least 1"),
    ],
)
def test_check_names_the_file_and_both_values(shape, labels, match):
    with pytest.raises(ValueError, match=match):
        _check(shape, labels)


def test_standardize_written_out():
    # mean 3; squared distances 9 + 4 + 0 + 1 + 4 + 0 = 18; 18 / 5 unbiased
    images = np.array([[[0, 1, 3]], [[4, 5, 3]]], np.uint8)
    inputs, mean, std = data.standardize(images)
    mean_expected = 16 / 6
    squares = sum((x - mean_expected) ** 2 for x in (0, 1, 3, 4, 5, 3))
    assert mean == pytest.approx(mean_expected, rel=1e-15)
    assert std == pytest.approx((squares / 5) ** 0.5, rel=1e-15)
    expected = (np.array([[0, 1, 3], [4, 5, 3]]) - mean_expected) / (squares / 5) ** 0.5
    np.testing.assert_allclose(inputs, expected, rtol=1e-6)
    assert inputs.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1001, -3])
def test_more_digits_than_there_are_are_refused(count):
    digits = data.mnist("test", source="embedded")
    message = f"count must be .* 1 to 1000, not {count}: there are 1000 test digits in source embed"
    with pytest.raises(ValueError, match=message):
        data.first(digits, count)
    assert len(data.first(digits, 1000).images) == len(digits.labels) == 1000


def test_standardize_takes_statistics_of_bytes_only(unchecked):
    with pytest.raises(
        ValueError, match="images of dtype float32: the statistics are those of bytes"
    ):
        data.standardize(np.ones((2, 3, 3), np.float32))


def test_what_are_no_digits_is_refused(unchecked):
    with pytest.raises(ValueError, match=r"images must be a NumPy array \[N, H, W\], not of shape"):
        data.standardize(np.ones((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"images must be a NumPy array \[N, H, W\], not a list"):
        data.standardize([[[1, 2]]])
    for function in (data.describe, lambda digits: data.first(digits, 1)):
        with pytest.raises(
            ValueError, match=r"digits must be what data\.mnist returns, not an arr"
        ):
            function(np.ones((1, 28, 28), np.uint8))


def test_standardize_agrees_with_numpy_in_double_precision():
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)
    inputs, mean, std = data.standardize(images)
    reference = images.astype(np.float64)
    assert mean == pytest.approx(reference.mean(), rel=1e-14)
    assert std == pytest.approx(reference.std(ddof=1), rel=1e-13)
    assert std != pytest.approx(reference.std(), rel=1e-9)  # not the biased one
    expected = (reference.reshape(50, 784) - reference.mean()) / reference.std(ddof=1)
    np.testing.assert_allclose(inputs, expected, rtol=1e-4, atol=1e-6)


def test_standardize_takes_the_statistics_of_other_images():
    images = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    inputs, mean, std = data.standardize(images, mean=1.0, std=2.0)
    assert (mean, std) == (1.0, 2.0)
    np.testing.assert_allclose(inputs, (np.arange(16.0).reshape(2, 8) - 1) / 2)
    np.testing.assert_array_equal(images, np.arange(16).reshape(2, 2, 4))  # left as they were


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mean": 1.0}, "mean=1.0 and std=None: give both"),
        ({"std": 1.0}, "mean=None and std=1.0: give both"),
        ({"mean": 1.0, "std": 0.0}, "std must be a finite number above 0, not 0.0"),
        ({"mean": 1.0, "std": -2.0}, "std must be .*, not -2.0"),
        ({"mean": float("nan"), "std": 1.0}, "mean must be a finite number, not nan"),
        ({"mean": 0.0, "std": float("inf")}, "std must be .*, not inf"),
    ],
)
def test_standardize_refuses_statistics_that_are_none(settings, match):
    with pytest.raises(ValueError, match=match):
        data.standardize(np.ones((1, 2, 2), np.uint8), **settings)


def test_standardize_refuses_images_without_contrast():
    with pytest.raises(ValueError, match=r"std must be .*, not 0\.0: where all pixels are equal"):
        data.standardize(np.full((2, 3, 3), 7, np.uint8))
    with pytest.raises(ValueError, match="takes 2 pixels or more, got 1"):
        data.standardize(np.ones((1, 1, 1), np.uint8))
