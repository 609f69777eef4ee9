import concurrent.futures
import os
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from chainrule.data import tensors
from chainrule.models import mlp
from chainrule.training import load_weights, save_weights

KINDS = pytest.mark.parametrize("kind", [".safetensors", ".npz"])
PARAMS = {
    "block1": {
        "conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}
    },
    "file": np.float32([1, 2]),  # what numpy calls its first argument
}
PARAMS["block1"]["conv"]["bias"] = np.float32([0.5, -0.25, 3])


def equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@KINDS
def test_parameters_come_back_to_the_bit_with_their_words(tmp_path, kind):
    file = tmp_path / f"weights{kind}"
    save_weights(file, PARAMS, metadata={"preprocessing": "x / 255"})
    equal(load_weights(file), PARAMS)
    equal(load_weights(file, PARAMS), PARAMS)
    equal(load_weights(file, jax.eval_shape(lambda: jax.tree.map(jnp.asarray, PARAMS))), PARAMS)
    assert tensors.read(file).metadata == {"preprocessing": "x / 255"}
    assert os.listdir(tmp_path) == [file.name]


@KINDS
def test_a_network_goes_through_a_file(tmp_path, kind):
    params = mlp.init(jax.random.key(0), (4, 3, 2))
    save_weights(tmp_path / f"w{kind}", params)
    inputs = jnp.ones((5, 4))
    loaded = load_weights(tmp_path / f"w{kind}", params)
    np.testing.assert_array_equal(mlp.apply(loaded, inputs), mlp.apply(params, inputs))


@KINDS
@pytest.mark.parametrize(
    "leaf",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        np.arange(5, dtype=">f4"),
        np.arange(5, dtype=np.float16),
        np.asarray(3, np.int32),
        np.zeros((0, 2), np.float32),
        np.asarray([True, False]),
    ],
    ids=["transposed", "strided", "big-endian", "half", "scalar", "empty", "bool"],
)
def test_every_layout_byte_order_and_dtype_comes_back(tmp_path, kind, leaf):
    file = tmp_path / f"w{kind}"
    save_weights(file, {"leaf": leaf})
    back = load_weights(file)["leaf"]
    assert back.dtype == leaf.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, leaf)


@KINDS
def test_doubles_come_back_where_jax_has_them_and_are_refused_where_not(tmp_path, kind):
    file = tmp_path / f"w{kind}"
    save_weights(file, {"leaf": np.asarray([1 / 3, 1e-300])})
    with pytest.raises(ValueError, match=r"leaf is float64, which needs jax_enable_x64"):
        load_weights(file)
    with jax.enable_x64(True):
        assert load_weights(file)["leaf"].tolist() == [1 / 3, 1e-300]


def test_bfloat16_is_for_safetensors_only(tmp_path):
    params = {"leaf": np.asarray([1.5, -3.0], ml_dtypes.bfloat16)}
    save_weights(tmp_path / "w.safetensors", params)
    equal(load_weights(tmp_path / "w.safetensors"), params)
    with pytest.raises(ValueError, match=r"an \.npz cannot hold \['leaf'\]"):
        save_weights(tmp_path / "w.npz", params)


@KINDS
def test_a_file_that_others_wrote_is_read_without_a_checksum(tmp_path, kind):
    file = tmp_path / f"w{kind}"
    if kind == ".npz":
        np.savez(file, **{"a/kernel": np.float32([1, 2])})
    else:
        safetensors.numpy.save_file({"a/kernel": np.float32([1, 2])}, file)
    equal(load_weights(file), {"a": {"kernel": np.float32([1, 2])}})
    assert tensors.read(file).metadata == {}


# --- what does not fit -------------------------------------------------------------------------


@KINDS
def test_everything_that_does_not_fit_is_listed_at_once(tmp_path, kind):
    file = tmp_path / f"w{kind}"
    kernel = np.ones((2, 3), np.float32)
    kernel[1, 2] = np.nan
    save_weights(file, {"a": {"kernel": kernel}, "b": np.zeros(2, np.float32)})
    like = {"a": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)}}
    message = (
        r"a/bias is missing; a/kernel is float32\[2, 3\], wanted float32\[3, 2\]; "
        r"b is not wanted; a/kernel holds 1 numbers of 6 that are not finite"
    )
    with pytest.raises(ValueError, match=message):
        load_weights(file, like)
    with pytest.raises(ValueError, match=r"b is float32\[2\], wanted float16\[2\]"):
        load_weights(file, {"b": np.zeros(2, np.float16)})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"params holds no array"),
        ({"a": {}}, r"params\['a'\] is an empty dict"),
        ({"a": [np.ones(1)]}, r"params\['a'\] is a list: expected dicts of arrays"),
        ({"a": 1.0}, r"params\['a'\] is a float"),
        ({"a": {"b/c": np.ones(1)}}, r"params\['a'\] has the name 'b/c'"),
        ({"a": {1: np.ones(1)}}, r"params\['a'\] has the name 1: expected text"),
        ({"__metadata__": np.ones(1)}, r"an array '__metadata__' .*: the file has these names for"),
        ({"\ud800": np.ones(1)}, r"must be text in Unicode, not '\\ud800'"),
        ({"a": np.array(["b"])}, r"an \.npz cannot hold \['a'\]"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path, params, message):
    with pytest.raises(ValueError, match=message):
        save_weights(tmp_path / "w.npz", params)
    assert not os.listdir(tmp_path)


# --- damage ------------------------------------------------------------------------------------


@KINDS
def test_every_flipped_byte_of_the_numbers_is_noticed(tmp_path, kind):
    file = tmp_path / f"w{kind}"
    save_weights(file, PARAMS, metadata={"preprocessing": "none"})
    content = file.read_bytes()
    numbers = PARAMS["block1"]["conv"]["kernel"].tobytes()
    at = content.index(numbers)
    for offset in range(at, at + len(numbers)):
        broken = bytearray(content)
        broken[offset] ^= 0x10
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"is damaged|cannot be read as .*CRC"):
            load_weights(file)


@KINDS
@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path, kind, length):
    file = tmp_path / f"w{kind}"
    save_weights(file, PARAMS)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"w\{kind} cannot be read as \{kind}: "):
        load_weights(file)


def test_a_changed_word_is_noticed(tmp_path):
    file = tmp_path / "w.safetensors"
    save_weights(file, PARAMS, metadata={"preprocessing": "none"})
    file.write_bytes(file.read_bytes().replace(b"none", b"some"))
    with pytest.raises(ValueError, match=r"is damaged: its content has the SHA-256"):
        load_weights(file)


@KINDS
def test_a_failed_save_leaves_the_old_file(tmp_path, kind, monkeypatch):
    file = tmp_path / f"w{kind}"
    save_weights(file, PARAMS)
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(file, {"other": np.ones(1000, np.float32)})
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == [file.name]


@KINDS
@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b", "a/b/c")])
def test_leaves_below_other_leaves_are_refused_in_any_order(tmp_path, kind, names):
    tensors.write(tmp_path / f"w{kind}", {name: np.ones(1, np.float32) for name in names})
    with pytest.raises(ValueError, match=r"'a(/b)*(/c)?' is below or above another leaf"):
        load_weights(tmp_path / f"w{kind}")


@KINDS
def test_six_threads_save_to_one_path(tmp_path, kind):
    file = tmp_path / f"w{kind}"
    params = {"leaf": np.arange(10_000, dtype=np.float32)}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: save_weights(file, params), range(60)))
    equal(load_weights(file), params)
    assert os.listdir(tmp_path) == [file.name]


@KINDS
def test_a_link_is_replaced_and_not_followed(tmp_path, kind):
    other = tmp_path / "other"
    other.write_text("of somebody")
    file = tmp_path / f"w{kind}"
    for link in (file, *(tmp_path / f"w{kind}.{pid}.partial" for pid in (os.getpid(), 0))):
        link.symlink_to(other)
    save_weights(file, PARAMS)
    equal(load_weights(file), PARAMS)
    assert not file.is_symlink()
    assert other.read_text() == "of somebody"


def test_weights_that_others_pickled_are_refused(tmp_path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"kernel": [1.0]}))
    with pytest.raises(ValueError, match=r"no pickle \(\.pt, \.pth, \.pkl\) is ever opened"):
        load_weights(tmp_path / "w.pt")
