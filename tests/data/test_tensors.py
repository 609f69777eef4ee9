import pickle
import zipfile

import jax.numpy as jnp
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
    with pytest.raises(ValueError, match=f"weights{suffix} is damaged"):
        tensors.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"weights{suffix} is damaged, or no {suffix} file"):
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
    with pytest.raises(ValueError, match=r"refused|no \.safetensors file|no \.npz file"):
        tensors.read(path)
    assert not canary.exists()


def test_the_canary_sings(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary"))).close()
    assert (tmp_path / "canary").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*weights\.npz"):
        tensors.read(tmp_path / "weights.npz")
