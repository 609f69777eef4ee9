import os
import pickle
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from chainrule.data import tensors

ARRAYS = {
    "a/strided": np.arange(12.0, dtype=np.float32).reshape(3, 4).T,
    "a/scalar": np.float32(2.5),
    "allow_pickle": np.array([True, False]),
    "b/empty": np.zeros((0, 3), np.int32),
    "b/device": jnp.arange(6, dtype=jnp.int8).reshape(2, 3),
}


class Canary:
    """Whoever opens it as a pickle makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_what_is_written_is_read(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_text("in the way")
    tensors.write(path, ARRAYS, {"names": "of two"})
    arrays, metadata = tensors.read(path)
    assert metadata == {"names": "of two"}
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array, strict=True)
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_goes_into_safetensors_only(tmp_path):
    halves = {"a": jnp.arange(5, dtype=jnp.bfloat16)}
    tensors.write(tmp_path / "a.safetensors", halves)
    read = tensors.read(tmp_path / "a.safetensors").arrays["a"]
    np.testing.assert_array_equal(read, np.asarray(halves["a"]), strict=True)
    with pytest.raises(ValueError, match=r"an \.npz cannot hold \['a'\]: take \.safetensors"):
        tensors.write(tmp_path / "a.npz", halves)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    "dtype",
    ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz"],
)
def test_narrow_floats_are_read_as_they_were_written_or_refused(dtype, tmp_path):
    numbers = {"a": np.array([[0.5, 1.0, 2.0]]).astype(getattr(ml_dtypes, dtype))}
    tensors.write(tmp_path / "a.safetensors", numbers)
    read = tensors.read(tmp_path / "a.safetensors").arrays["a"]
    np.testing.assert_array_equal(read, numbers["a"], strict=True)
    with pytest.raises(ValueError, match=r"an \.npz cannot hold \['a'\]: take \.safetensors"):
        tensors.write(tmp_path / "a.npz", numbers)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64", "complex64"),
    ],
)
def test_every_dtype_is_read_as_it_was_written(suffix, dtype, tmp_path):
    numbers = np.arange(6).reshape(2, 3).astype(dtype)
    tensors.write(tmp_path / f"a{suffix}", {"a": numbers, "none": numbers[:0]})
    read = tensors.read(tmp_path / f"a{suffix}").arrays
    np.testing.assert_array_equal(read["a"], numbers, strict=True)
    assert read["none"].shape == (0, 3)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_names_that_the_file_needs_and_words_that_are_none_are_refused(suffix, tmp_path, unchecked):
    path, arrays = tmp_path / f"a{suffix}", {"a": np.ones(1)}
    with pytest.raises(ValueError, match=r"an array '__metadata__' or a metadata entry 'sha256'"):
        tensors.write(path, {"__metadata__": np.ones(1)})
    with pytest.raises(ValueError, match=r"an array '__metadata__' or a metadata entry 'sha256'"):
        tensors.write(path, arrays, {"sha256": "0"})
    for words in ({"a": 1}, {1: "a"}, {"a": "\ud800"}):
        with pytest.raises(ValueError, match=r"names and metadata must be text in Unicode, not"):
            tensors.write(path, arrays, words)
    with pytest.raises(
        ValueError, match=r"path must be a path, a str or a pathlib\.Path, not an int"
    ):
        tensors.write(3, arrays)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_pipe_and_a_file_of_holes_are_refused_unread(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"is no regular file: nothing is read from it"):
        tensors.read(path)
    path.unlink()
    path.touch()
    os.truncate(path, 50 * 2**30)
    with pytest.raises(ValueError, match=rf"cannot be read as \{suffix}: "):
        tensors.read(path)


def test_arrays_beyond_the_memory_are_refused_unread(tmp_path, monkeypatch):
    for suffix in (".npz", ".safetensors"):
        tensors.write(tmp_path / f"a{suffix}", {"a": np.zeros(10_000, np.int8)})
    monkeypatch.setattr(os, "sysconf", lambda name: 90)  # 90 pages of 90 bytes
    for suffix in (".npz", ".safetensors"):
        with pytest.raises(
            ValueError, match=r"arrays take 1\d{4} bytes, and this machine has 8100"
        ):
            tensors.read(tmp_path / f"a{suffix}")


def test_an_archive_of_two_arrays_of_one_name_is_refused(tmp_path):
    tensors.write(tmp_path / "a.npz", {"a": np.zeros(1)})
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "a.npz", "a") as archive,
    ):
        archive.writestr("a.npy", b"")
    with pytest.raises(ValueError, match=r"two arrays of one name"):
        tensors.read(tmp_path / "a.npz")


def test_files_of_others_need_no_checksum(tmp_path):
    safetensors.numpy.save_file({"a": np.ones(3)}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    for path in tmp_path.iterdir():
        assert tensors.read(path).metadata == {}
        np.testing.assert_array_equal(tensors.read(path).arrays["a"], np.ones(3))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_flipped_bit_and_a_torn_file_are_found(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    tensors.write(path, {"a": np.full(1000, 0.7)})
    whole = path.read_bytes()
    middle = whole.index(np.full(1000, 0.7).tobytes()) + 4001
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match=f"weights{suffix} (is damaged|cannot be read as .*CRC)"):
        tensors.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"weights{suffix} cannot be read as {suffix}: "):
        tensors.read(path)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.pkl", "a.npy", "a"])
def test_other_endings_are_refused_before_anything_is_opened(name, tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz files, and no pickle .* is ever"):
        tensors.read(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.safetensors or \.npz files"):
        tensors.write(tmp_path / name, {})
    assert not canary.exists()


def pickled(path, canary):
    path.write_bytes(pickle.dumps(Canary(canary)))


def pickled_in_an_archive(path, canary):
    """As PyTorch saves."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(canary)))


def pickled_in_an_array(path, canary):
    with open(path, "wb") as file:
        np.savez(file, a=np.array([Canary(canary)], dtype=object))


@pytest.mark.parametrize("make", [pickled, pickled_in_an_archive, pickled_in_an_array])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_pickle_under_a_good_name_is_refused_unopened(make, suffix, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / f"weights{suffix}"
    make(path, canary)
    with pytest.raises(ValueError, match=r"cannot be read as \.(safetensors|npz): "):
        tensors.read(path)
    assert not canary.exists()


def test_an_archive_under_the_name_of_the_other_format_is_called_one(tmp_path):
    pickled_in_an_archive(tmp_path / "weights.safetensors", tmp_path / "canary")
    with pytest.raises(ValueError, match=r"as \.safetensors: it is an archive, as of pickles"):
        tensors.read(tmp_path / "weights.safetensors")


def test_the_canary_sings(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*weights\.npz"):
        tensors.read(tmp_path / "weights.npz")
