"""Images and labels in IDX files that are not MNIST."""

import gzip
import struct

import numpy as np
import pytest

from chainrule import data
from chainrule.data.digits import idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 4, 3), np.uint8)
LABELS = np.array([0, 2, 1, 2, 0], np.uint8)


@pytest.fixture
def files(tmp_path):
    """The two files, written by hand from the description of the format."""
    images, labels = tmp_path / "images.gz", tmp_path / "labels"
    images.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 5, 4, 3) + IMAGES.tobytes()))
    labels.write_bytes(struct.pack(">2I", 0x801, 5) + LABELS.tobytes())
    return images, labels


def test_a_set_of_ones_own_is_read_with_its_names(files):
    found = data.labelled(*files, names=["cat", "dog", "cow"])
    np.testing.assert_array_equal(found.images, IMAGES)
    assert found.labels.dtype == np.int32
    assert [found.names[k] for k in found.labels] == ["cat", "cow", "dog", "cow", "cat"]
    assert found.files == tuple(map(str, files))
    assert data.labelled(*files).names == ("0", "1", "2")
    again = data.labelled(*files, sha256=found.sha256)
    np.testing.assert_array_equal(again.images, IMAGES)
    assert found.sha256["images"] == idx.sha256(IMAGES)


def test_the_classes_of_fashion_mnist_are_ten():
    assert len(set(data.FASHION)) == 10
    assert (data.FASHION[0], data.FASHION[9]) == ("T-shirt/top", "Ankle boot")


def test_images_may_have_channels(tmp_path, files):
    colours = RNG.integers(0, 256, (5, 4, 3, 3), np.uint8)
    idx.write(tmp_path / "colours", colours)
    found = data.labelled(tmp_path / "colours", files[1], channels=3)
    np.testing.assert_array_equal(found.images, colours)
    with pytest.raises(ValueError, match="colours has 3 channels, not 4"):
        data.labelled(tmp_path / "colours", files[1], channels=4)
    with pytest.raises(ValueError, match="where an IDX file of 3 dimensions starts with 2051"):
        data.labelled(tmp_path / "colours", files[1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["cat", "dog"]}, "holds the label 2 at row 1, and there are 2 names, of 0 to 1"),
        ({"names": ["cat", "dog", "cat"]}, "names: 'cat' stands there twice"),
        ({"names": "cat"}, "names must be a sequence of texts, one a class, not a str"),
        (
            {"sha256": {"labels": "0" * 64}},
            r"labels: the SHA-256 of its content is \w{64}, not 0000",
        ),
        ({"sha256": {"images": "short"}}, r"sha256\['images'\] must be 64 hexadecimal digits"),
        ({"sha256": {"image": "0" * 64}}, "unknown sha256 'image': did you mean 'images'"),
        ({"sha256": "0" * 64}, "sha256 must be a dict from 'images' and 'labels' to digests"),
        ({"channels": 0}, "where an IDX file of 4 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(files, settings, message):
    with pytest.raises(ValueError, match=message):
        data.labelled(*files, **settings)


def test_files_that_do_not_fit_each_other_are_refused(files, tmp_path):
    idx.write(tmp_path / "four", LABELS[:4])
    with pytest.raises(ValueError, match=r"holds images \(5, 4, 3\), .* holds 4 labels: one label"):
        data.labelled(files[0], tmp_path / "four")
    idx.write(tmp_path / "none", IMAGES[:0])
    idx.write(tmp_path / "no labels", LABELS[:0])
    with pytest.raises(ValueError, match="at least one image of a pixel"):
        data.labelled(tmp_path / "none", tmp_path / "no labels")
    files[1].write_bytes(struct.pack(">2I", 0x801, 2**31) + LABELS.tobytes())
    with pytest.raises(ValueError, match="promises 2147483648 items"):
        data.labelled(*files)
    with pytest.raises(FileNotFoundError, match="nothing"):
        data.labelled(tmp_path / "nothing", files[1])
