"""A folder of the four files: every spelling, everything that can be missing or mixed up."""

import hashlib

import numpy as np
import pytest

from chainrule.data.digits import files, idx

NAMES = [original.name for parts in files.ORIGINALS.values() for original in parts.values()]


def make(folder, train=6, test=4, suffix=".gz", dotted=False):
    """Write four files of made digits in one spelling; return the arrays by file name."""
    rng = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    arrays = {}
    for name, count in zip(NAMES, (train, train, test, test), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        arrays[name] = rng.integers(0, 10, shape, np.uint8)
        spelling = name.replace("-idx", ".idx") if dotted else name
        idx.write(folder / (spelling + suffix), arrays[name])
    return arrays


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_all_four_spellings(tmp_path, suffix, dotted):
    arrays = make(tmp_path, suffix=suffix, dotted=dotted)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        digits = files.read(tmp_path, split)
        np.testing.assert_array_equal(digits.images, arrays[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(digits.labels, arrays[f"{prefix}-labels-idx1-ubyte"])
        assert (digits.images.dtype, digits.labels.dtype) == (np.uint8, np.int32)


def test_each_file_may_have_its_own_spelling(tmp_path):
    arrays = make(tmp_path)
    for name, spelling in zip(NAMES, ("{}.gz", "{}", ".{}.gz", ".{}"), strict=True):
        (tmp_path / f"{name}.gz").unlink()
        new = spelling.format(name) if spelling[0] == "{" else spelling[1:].format(
            name.replace("-idx", ".idx"))  # fmt: skip
        idx.write(tmp_path / new, arrays[name])
    assert files.read(tmp_path, "train").provenance.sizes == {"train": 6, "test": 4}


def test_provenance_names_what_was_read(tmp_path):
    make(tmp_path, suffix="")
    record = files.read(tmp_path, "test").provenance
    paths = [tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"]
    assert record.files == tuple(map(str, paths))
    assert record.sha256 == {
        part: hashlib.sha256(path.read_bytes()).hexdigest()
        for part, path in zip(("images", "labels"), paths, strict=True)
    }
    assert record.sizes == {"train": 6, "test": 4}
    assert (record.source, record.split, record.order) == ("idx", "test", "original")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere: expected the four files"):
        files.read(tmp_path / "nowhere", "train")


def test_all_missing_files_are_listed_at_once(tmp_path):
    make(tmp_path)
    for name in (NAMES[0], NAMES[3]):
        (tmp_path / f"{name}.gz").unlink()
    (tmp_path / NAMES[0]).mkdir()  # a folder of that name is not the file
    with pytest.raises(FileNotFoundError, match=f"lacks 2 of the 4 .*: {NAMES[0]}, {NAMES[3]} "):
        files.read(tmp_path, "train")


def test_counts_that_differ(tmp_path):
    make(tmp_path)
    idx.write(tmp_path / f"{NAMES[1]}.gz", np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match=f"{NAMES[0]}.gz holds 6 images, .*{NAMES[1]}.gz holds 5"):
        files.read(tmp_path, "train")


def test_a_label_that_is_no_digit(tmp_path):
    make(tmp_path)
    idx.write(tmp_path / f"{NAMES[1]}.gz", np.array([0, 9, 9, 17, 0, 0], np.uint8))
    with pytest.raises(ValueError, match=f"{NAMES[1]}.gz holds the label 17 at row 3, expected 0"):
        files.read(tmp_path, "train")


def test_images_and_labels_swapped(tmp_path):
    make(tmp_path)
    images, labels = (tmp_path / f"{name}.gz" for name in NAMES[:2])
    images.rename(tmp_path / "aside")
    labels.rename(images)
    (tmp_path / "aside").rename(labels)
    with pytest.raises(ValueError, match=f"{NAMES[0]}.gz .* = 2049, .* starts with 2051.*swapped"):
        files.read(tmp_path, "train")


def test_images_of_another_size(tmp_path):
    make(tmp_path)
    idx.write(tmp_path / f"{NAMES[0]}.gz", np.zeros((6, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=f"{NAMES[0]}.gz holds items of 32 x 32, expected 28 x 28"):
        files.read(tmp_path, "train")


def test_as_many_items_as_mnist_but_not_its_content(tmp_path):
    make(tmp_path)
    idx.write(tmp_path / f"{NAMES[2]}.gz", np.zeros((10_000, 28, 28), np.uint8))
    idx.write(tmp_path / f"{NAMES[3]}.gz", np.zeros(10_000, np.uint8))
    wrong = idx.sha256(np.zeros((10_000, 28, 28), np.uint8))
    right = files.ORIGINALS["test"]["images"].sha256
    with pytest.raises(ValueError, match=f"{NAMES[2]}.gz holds 10000 .* {wrong}, MNIST's {right}"):
        files.read(tmp_path, "test")


@pytest.mark.full
def test_one_pixel_or_label_changed_in_the_full_files(tmp_path, full_mnist):
    digits = files.read(full_mnist, "test")
    good = {"images": digits.images, "labels": digits.labels.astype(np.uint8)}
    make(tmp_path)
    for part in good:
        arrays = {name: array.copy() for name, array in good.items()}
        arrays[part][9_999] ^= 1  # labels stay 0 to 9: 6 becomes 7
        for name, array in arrays.items():
            original = files.ORIGINALS["test"][name]
            (tmp_path / f"{original.name}.gz").unlink(missing_ok=True)
            idx.write(tmp_path / original.name, array)
        original = files.ORIGINALS["test"][part]
        with pytest.raises(ValueError, match=f"{original.name} .*MNIST's {original.sha256}"):
            files.read(tmp_path, "test")


@pytest.mark.full
def test_the_full_set(full_mnist):
    counts = {
        "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    }
    for split, expected in counts.items():
        digits = files.read(full_mnist, split)
        assert digits.images.shape == (sum(expected), 28, 28)
        np.testing.assert_array_equal(np.bincount(digits.labels), expected)
        assert digits.provenance.sizes == {"train": 60_000, "test": 10_000}
