"""Which source is taken, that it says so, and that none of them goes to the network."""

import os
import socket
import subprocess
import sys
import zlib

import numpy as np
import pytest

from chainrule import data
from chainrule.data.digits import files, idx
from experiments import make_embedded_digits


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """No folder in the environment, no network."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)

    def refuse(*_, **__):
        raise RuntimeError("went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def folder(tmp_path):
    """Four files of a few digits, told from the embedded ones by their number."""
    for split, count in (("train", 5), ("test", 3)):
        digits = data.mnist(split, source="embedded")
        arrays = (digits.images[:count], digits.labels[:count].astype(np.uint8))
        for original, array in zip(files.ORIGINALS[split].values(), arrays, strict=True):
            idx.write(tmp_path / original.name, array)
    return tmp_path


def test_the_embedded_sample():
    train, test = (data.mnist(split, source="embedded") for split in ("train", "test"))
    assert (train.images.shape, test.images.shape) == ((6000, 28, 28), (1000, 28, 28))
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(train.labels[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    np.testing.assert_array_equal(test.labels[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    for digits in (train, test):
        assert digits.provenance.source == "embedded"
        assert digits.provenance.order == "original"
        assert digits.provenance.sizes == {"train": 6000, "test": 1000}
    assert train.provenance.sha256["images"] == (
        "2782ff6f3467f3487a520503c34fe99b761aa97623af029969e59716ac3585c3"
    )
    assert test.provenance.sha256["labels"] == idx.sha256(test.labels.astype(np.uint8))


def test_auto_without_a_folder_takes_the_embedded_sample_and_says_so(capsys):
    assert data.mnist("train").provenance.source == "embedded"
    out, err = capsys.readouterr()
    assert err == "MNIST: 6000 train digits from the embedded sample\n"
    assert out == ""


def test_auto_takes_the_folder_that_is_named_and_says_so(folder, monkeypatch, capsys):
    by_argument = data.mnist("test", data_dir=folder)
    monkeypatch.setenv("CHAINRULE_DATA", str(folder))
    by_environment = data.mnist("test")
    assert by_argument.provenance == by_environment.provenance
    assert by_argument.provenance.source == "idx"
    assert capsys.readouterr().err == 2 * f"MNIST: 3 test digits from the files in {folder}\n"


def test_a_source_taken_by_name_is_silent(folder, capsys):
    data.mnist("train", source="embedded")
    data.mnist("train", source="idx", data_dir=folder)
    assert capsys.readouterr() == ("", "")


def test_the_argument_goes_before_the_environment(folder, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", "/nowhere")
    assert len(data.mnist("train", source="idx", data_dir=folder).images) == 5
    assert len(data.mnist("train", source="embedded").images) == 6000


def test_an_empty_variable_names_no_folder(monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", "")
    assert data.mnist("test").provenance.source == "embedded"


def test_a_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(data.mnist("train", data_dir=f"~/{folder.name}").images) == 5


@pytest.mark.parametrize("source", ["auto", "idx"])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_named_folder_without_the_files_is_an_error(tmp_path, monkeypatch, source, by):
    if by == "environment":
        monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    data_dir = tmp_path if by == "argument" else None
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} lacks 4 of the 4"):
        data.mnist("train", source, data_dir)


def test_settings_that_make_no_sense(unchecked):
    for source in ("auto", "idx", "tfds"):
        with pytest.raises(ValueError, match=r"data_dir must be a path, .*, not an int"):
            data.mnist("train", source, data_dir=3)
    with pytest.raises(ValueError, match=r"unknown split 0: expected one of train, test"):
        data.mnist(0)
    with pytest.raises(
        ValueError, match=r"unknown split 'validation': expected one of train, test"
    ):
        data.mnist("validation")
    with pytest.raises(ValueError, match=r"unknown source 'web': expected one of auto, idx"):
        data.mnist("train", source="web")
    with pytest.raises(ValueError, match=r"source='idx' needs data_dir.*got data_dir=None"):
        data.mnist("train", source="idx")
    with pytest.raises(ValueError, match=r"source='embedded' reads no folder, got data_dir='/x'"):
        data.mnist("train", source="embedded", data_dir="/x")


def test_importing_is_cheap():
    code = (
        "import sys, chainrule.data\n"
        "heavy = ['jax', 'matplotlib', 'tensorflow_datasets', 'PIL', 'urllib.request']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "[]\n", answer.stderr


@pytest.mark.full
def test_the_embedded_digits_are_the_first_of_the_full_set(full_mnist):
    for split in ("train", "test"):
        full = data.mnist(split, source="idx", data_dir=full_mnist)
        sample = data.mnist(split, source="embedded")
        count = len(sample.images)
        np.testing.assert_array_equal(sample.images, full.images[:count])
        np.testing.assert_array_equal(sample.labels, full.labels[:count])


@pytest.mark.full
@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng packs into other bytes")
def test_the_script_makes_the_embedded_files_bit_for_bit(full_mnist, tmp_path, capsys):
    make_embedded_digits.main(full_mnist, tmp_path)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == sorted(
        f"{original.name}.gz" for parts in files.ORIGINALS.values() for original in parts.values()
    )
    embedded = os.path.join(os.path.dirname(files.__file__), "embedded")
    for path in made:
        with open(os.path.join(embedded, path.name), "rb") as committed:
            assert committed.read() == path.read_bytes(), path.name
    assert sum(path.stat().st_size for path in made) < 1_300_000
    assert capsys.readouterr().out.count("bytes\n") == 4


@pytest.mark.full
def test_the_normalisation_of_the_full_training_set(full_mnist):
    # 0.1307 and 0.3081 of 255, the two numbers in every MNIST tutorial
    _, mean, std = data.standardize(data.mnist("train", "idx", full_mnist).images)
    assert mean / 255 == pytest.approx(0.13066, abs=1e-5)
    assert std / 255 == pytest.approx(0.30811, abs=1e-5)
