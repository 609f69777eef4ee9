"""Preparing with tensorflow-datasets, reading it back, and what is said when that went wrong."""

import json
import shutil
import socket

import jax
import numpy as np
import PIL.Image
import pytest

from chainrule import data
from chainrule.data import batches
from chainrule.data.digits import files, idx, tfds

SIZES = {"train": 120, "test": 30}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder of four files with a few of the embedded digits."""
    folder = tmp_path_factory.mktemp("originals")
    for split, count in SIZES.items():
        digits = data.mnist(split, source="embedded")
        arrays = (digits.images[:count], digits.labels[:count].astype(np.uint8))
        for original, array in zip(files.ORIGINALS[split].values(), arrays, strict=True):
            idx.write(folder / f"{original.name}.gz", array)
    return folder


@pytest.fixture(scope="module")
def _prepared(originals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    data.prepare(originals, folder)
    return folder


@pytest.fixture
def prepared(_prepared, tmp_path):
    """A TFDS directory of one's own, to be damaged at will."""
    return shutil.copytree(_prepared, tmp_path / "tfds")


def _rows(digits):
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(digits.images, digits.labels, strict=True)
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_digits_in_another_order(originals, prepared, split):
    before = data.mnist(split, source="idx", data_dir=originals)
    after = data.mnist(split, source="tfds", data_dir=prepared)
    assert (after.images.dtype, after.labels.dtype) == (np.uint8, np.int32)
    assert _rows(after) == _rows(before)
    assert not np.array_equal(after.images, before.images)


def test_any_program_reads_it_as_the_stock_data_set(originals, prepared):
    import tensorflow_datasets

    source = tensorflow_datasets.data_source(
        "mnist:3.0.1", split="test", data_dir=prepared, download=False
    )
    labels = np.array([record["label"] for record in source.__getitems__(list(range(30)))])
    digits = data.mnist("test", source="tfds", data_dir=prepared)
    np.testing.assert_array_equal(digits.labels, labels)
    # And as the samples of a training, without all of them in memory.
    key = jax.random.key(0)
    batch = batches.Batches(source, 8, key=key)(5)
    rows = batches.Batches(digits.images, 8, key=key).indices(5)
    np.testing.assert_array_equal(batch["image"][..., 0], digits.images[rows])
    np.testing.assert_array_equal(batch["label"], digits.labels[rows])


def test_more_digits_than_one_request(originals, prepared, monkeypatch):
    whole = data.mnist("train", source="tfds", data_dir=prepared)
    monkeypatch.setattr(tfds, "_CHUNK", 50)  # two of 50 and one of 20
    np.testing.assert_array_equal(
        data.mnist("train", source="tfds", data_dir=prepared).images, whole.images
    )


def test_provenance(prepared):
    digits = data.mnist("train", source="tfds", data_dir=prepared)
    record = digits.provenance
    assert (record.source, record.split, record.sizes) == ("tfds", "train", SIZES)
    assert record.order == "shuffled by tfds mnist:3.0.1"
    shard = prepared / "mnist" / "3.0.1" / "mnist-train.array_record-00000-of-00001"
    assert record.files == (str(shard),)
    assert record.sha256 == {
        "images": idx.sha256(digits.images),
        "labels": idx.sha256(digits.labels.astype(np.uint8)),
    }


def test_the_directory_is_looked_for_where_tfds_looks(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert len(data.mnist("test", source="tfds").images) == 30
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", "/home/reader")
    assert str(tfds.directory()) == "/home/reader/tensorflow_datasets/mnist/3.0.1"


def test_preparing_leaves_nothing_else_behind(prepared):
    names = {path.name for path in prepared.rglob("*") if path.is_file()}
    shards = {f"mnist-{split}.array_record-00000-of-00001" for split in SIZES}
    assert names == shards | {"dataset_info.json", "features.json"}
    assert [path.name for path in prepared.iterdir()] == ["mnist"]


def test_preparing_twice_changes_nothing(originals, prepared):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert data.prepare(originals, prepared) == prepared / "mnist" / "3.0.1"
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_two_that_prepare_at_once_both_succeed(originals, tmp_path, monkeypatch):
    encode = PIL.Image.fromarray
    winners = []

    def overtaken(array):
        if not winners:
            winners.append(None)  # the other process starts later and is done first
            winners[0] = data.prepare(originals, tmp_path)
        return encode(array)

    monkeypatch.setattr(PIL.Image, "fromarray", overtaken)
    assert data.prepare(originals, tmp_path) == winners[0]
    assert [path.name for path in (tmp_path / "mnist").iterdir()] == ["3.0.1"]
    assert len(data.mnist("train", "tfds", tmp_path).images) == 120


def test_a_prepare_that_breaks_off_leaves_nothing_to_read(originals, tmp_path, monkeypatch):
    def fail(_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(PIL.Image, "fromarray", fail)
        with pytest.raises(OSError, match="disk full"):
            data.prepare(originals, tmp_path)
    with pytest.raises(FileNotFoundError, match="no prepared MNIST"):
        data.mnist("train", "tfds", tmp_path)
    data.prepare(originals, tmp_path)  # and the next one starts afresh
    assert len(data.mnist("train", "tfds", tmp_path).images) == 120


def test_other_digits_are_already_prepared(originals, prepared, tmp_path):
    other = shutil.copytree(originals, tmp_path / "other")
    idx.write(other / "t10k-labels-idx1-ubyte.gz", np.zeros(2, np.uint8))
    idx.write(other / "t10k-images-idx3-ubyte.gz", np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=r"already there with .*'test': 30.*holds .*'test': 2"):
        data.prepare(other, prepared)


def test_preparing_needs_good_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="lacks 4 of the 4"):
        data.prepare(tmp_path, tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


def test_nothing_prepared(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no prepared MNIST in .*mnist/3.0.1: `chainrule"):
        data.mnist("train", source="tfds", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_prepare_left_is_named(tmp_path):
    (tmp_path / "mnist" / "incomplete.AB12CD_3.0.1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"incomplete.AB12CD_3.0.1 is of a prepare that"):
        data.mnist("train", source="tfds", data_dir=tmp_path)


def test_a_folder_without_its_record(originals, prepared):
    (prepared / "mnist" / "3.0.1" / "dataset_info.json").unlink()
    for call in (
        lambda: data.mnist("train", "tfds", prepared),
        lambda: data.prepare(originals, prepared),
    ):
        with pytest.raises(FileNotFoundError, match=r"has no dataset_info.json: remove it"):
            call()


def _flip(path):
    content = bytearray(path.read_bytes())
    content[3000] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [_flip, lambda path: path.write_bytes(path.read_bytes()[:70_000]),
     lambda path: path.write_bytes(b""), lambda path: path.unlink()],
    ids=["flipped", "truncated", "empty", "missing"],
)  # fmt: skip
def test_a_damaged_shard_is_one_clear_line(prepared, damage):
    folder = prepared / "mnist" / "3.0.1"
    damage(folder / "mnist-train.array_record-00000-of-00001")
    with pytest.raises(
        ValueError, match=f"cannot read the 120 train digits that {folder}"
    ) as error:
        data.mnist("train", source="tfds", data_dir=prepared)
    assert "\n" not in str(error.value)
    assert len(data.mnist("test", source="tfds", data_dir=prepared).images) == 30  # it is whole


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda info: info["splits"][0].update(shardLengths=["130"]), "cannot read the 130 train"),
        (lambda info: info.update(fileFormat="tfrecord"), "cannot read the 120 train .*TFRECORD"),
        (lambda info: info["splits"].pop(0), "does not tell the sizes .*'train'"),
        (lambda info: info.pop("splits"), "does not tell the sizes .*'splits'"),
    ],
)
def test_a_record_that_does_not_fit(prepared, edit, match):
    path = prepared / "mnist" / "3.0.1" / "dataset_info.json"
    info = json.loads(path.read_text())
    edit(info)
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=match):
        data.mnist("train", source="tfds", data_dir=prepared)


def test_a_record_that_is_no_json(prepared):
    path = prepared / "mnist" / "3.0.1" / "dataset_info.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"dataset_info.json does not tell the sizes"):
        data.mnist("train", source="tfds", data_dir=prepared)
