import pathlib
import pickle

import jax
import numpy as np
import pytest
import safetensors.numpy

from chainrule.data import tensors
from chainrule.models import torchvision, vgg

CASES = {  # as in make_torch_vgg.py
    "plain": {"config": ((3,), (4, (5, 1))), "image_size": 13},
    "batch_norm": {"config": ((4, 3), (6,)), "image_size": 8, "batch_norm": True},
}
SETTINGS = {name: case | {"classes": 5, "hidden": (7, 7)} for name, case in CASES.items()}
HALF = torchvision.Preprocessing((0.4, 0.5, 0.3), (0.2, 0.3, 0.25), resize=10, crop=8)


@pytest.fixture(scope="module")
def stored():
    arrays = np.load(pathlib.Path(__file__).parent / "torch_vgg.npz")
    cases = {}
    for name in arrays.files:
        case, name_there = name.split("/")
        cases.setdefault(case, {})[name_there] = arrays[name]
    return cases


def weights(case):
    return {name: a for name, a in case.items() if name not in ("inputs", "logits")}


@pytest.fixture
def files(stored, tmp_path):
    """The two networks as PyTorch's users would convert them."""
    for name in CASES:
        safetensors.numpy.save_file(weights(stored[name]), tmp_path / f"{name}.safetensors")
    np.savez(tmp_path / "plain.npz", **weights(stored["plain"]))
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_pytorch(name, stored, files):
    read = torchvision.load(files / f"{name}.safetensors", **SETTINGS[name])
    assert read.preprocessing is None
    got = jax.jit(vgg.apply)(read.params, stored[name]["inputs"], state=read.state)
    np.testing.assert_allclose(got, stored[name]["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_what_pytorch_wrote(name, suffix, stored, files):
    settings = SETTINGS[name]
    read = torchvision.load(files / f"{name}.safetensors", **settings)
    path = files / f"again{suffix}"
    size = settings["image_size"]
    torchvision.save(path, read.params, read.state, image_size=size, preprocessing=HALF)
    written, theirs = tensors.read(path).arrays, weights(stored[name])
    # PyTorch's count of batches is optional to it, and unknown to us.
    assert written.keys() == {key for key in theirs if not key.endswith("num_batches_tracked")}
    for key, array in written.items():
        np.testing.assert_array_equal(array, theirs[key], strict=True)

    again = torchvision.load(path, **settings)
    assert again.preprocessing == HALF
    assert jax.tree.structure(again[:2]) == jax.tree.structure(read[:2])
    jax.tree.map(np.testing.assert_array_equal, again[:2], read[:2])


def test_an_npz_of_others_is_read(stored, files):
    one, other = (
        torchvision.load(files / f"plain{suffix}", **SETTINGS["plain"])
        for suffix in (".npz", ".safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_all_that_is_wrong_is_listed(stored, files):
    arrays = weights(stored["batch_norm"])
    del arrays["features.1.running_var"]
    arrays["classifier.6.weight"] = np.zeros((4, 7), np.float32)
    arrays["features.0.bias"] = np.zeros(4, np.int32)
    arrays["features.99.weight"] = np.zeros(1, np.float32)
    np.savez(files / "wrong.npz", **arrays)
    with pytest.raises(ValueError, match=r"wrong\.npz: 4 tensors do not fit") as caught:
        torchvision.load(files / "wrong.npz", **SETTINGS["batch_norm"])
    for line in (
        "features.1.running_var is missing",
        "features.99.weight is not expected",
        "classifier.6.weight is (4, 7), expected (5, 7)",
        "features.0.bias is int32, expected floating-point numbers",
    ):
        assert f"\n  {line}" in str(caught.value)


def test_another_configuration_is_refused_without_allocating_it(files):
    with pytest.raises(ValueError, match=r"classifier\.0\.weight is \(7, 45\), expected \(4096, 2"):
        torchvision.load(files / "plain.npz")
    with pytest.raises(ValueError, match="config 'F': expected one of A, B, C, D, E"):
        torchvision.load(files / "plain.npz", "F")


class Canary:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["vgg16.pth", "vgg16.safetensors", "vgg16.npz"])
def test_a_pickle_is_never_opened(name, tmp_path):
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle.dumps({"features.0.weight": Canary(canary)}))
    with pytest.raises(ValueError, match=f"{name} ends in '.pth'|{name} cannot be read as"):
        torchvision.load(tmp_path / name)
    assert not canary.exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*vgg16\.npz"):
        torchvision.load(tmp_path / "vgg16.npz")


def test_preprocessing_is_that_of_pytorch(stored):
    images = stored["preprocess"]["images"]
    assert images.shape == (2, 21, 16, 3)
    expected = stored["preprocess"]["inputs"]
    np.testing.assert_allclose(torchvision.preprocess(images, HALF), expected, atol=2e-6)
    halves = torchvision.preprocess(images.astype(np.float32) / 255, HALF)
    np.testing.assert_allclose(halves, expected, atol=2e-6)


def test_preprocessing_without_resizing_written_out():
    images = np.full((1, 2, 2, 1), 51, np.uint8)
    simple = torchvision.Preprocessing((0.1,), (0.5,))
    np.testing.assert_allclose(torchvision.preprocess(images, simple), 0.2, rtol=1e-6)


def test_a_file_that_does_not_say_its_preprocessing_can_be_told(stored, files):
    load = torchvision.load
    told = load(files / "plain.npz", **SETTINGS["plain"], preprocessing=HALF)
    assert told.preprocessing == HALF
    says = files / "says.npz"
    torchvision.save(says, told.params, image_size=13, preprocessing=HALF)
    assert load(says, **SETTINGS["plain"], preprocessing=HALF).preprocessing == HALF
    with pytest.raises(ValueError, match=r"says\.npz says Preprocessing\(mean=\(0\.4.*leave it"):
        load(says, **SETTINGS["plain"], preprocessing=torchvision.IMAGENET)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"mean": [1], "std": [0]}', '{"mean": [1], "std": [1], "size": 3}']
)
def test_a_preprocessing_that_is_none_is_refused(text, stored, files):
    tensors.write(files / "a.npz", weights(stored["plain"]), {"preprocessing": text})
    with pytest.raises(ValueError, match=r"a\.npz: the preprocessing .* is not one"):
        torchvision.load(files / "a.npz", **SETTINGS["plain"])


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((1, 8, 8, 1), HALF, r"\(1, 8, 8, 1\) have 1 channels, and the preprocessing is for 3"),
        (
            (1, 7, 9, 3),
            torchvision.Preprocessing((0.0,) * 3, (1.0,) * 3, crop=8),
            "images of 7 x 9 are smaller than the crop of 8 x 8: take",
        ),
    ],
)
def test_images_that_do_not_fit_the_preprocessing(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        torchvision.preprocess(np.zeros(shape, np.uint8), settings)


@pytest.mark.parametrize(
    ("images", "preprocessing", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), HALF, r"\(8, 8, 3\): .* a batch of one, image\[None\]"),
        (np.zeros((1, 0, 8, 3), np.uint8), HALF, r"images \(1, 0, 8, 3\): they must be"),
        (
            np.zeros((1, 8, 8, 3), np.int32),
            HALF,
            "images must be floating-point .* not int32",
        ),
        ([[[[0.0]]]], HALF, "images must be an array of numbers, not a list"),
        (np.zeros((1, 8, 8, 3)), None, "must be a Preprocessing, not a NoneType: give IMAGENET"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_batch_of_images_is_refused(images, preprocessing, message):
    with pytest.raises(ValueError, match=message):
        torchvision.preprocess(images, preprocessing)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (((0.5,), (1.0, 2.0)), r"mean \(0\.5,\) and std \(1\.0, 2\.0\): one of each"),
        (((), ()), r"mean \(\) and std \(\): one of each"),
        (((0.5,), (0.0,)), r"std must be a finite number above 0, not 0\.0"),
        (((float("nan"),), (1.0,)), "mean must be a finite number, not nan"),
        (((0.5,), (1.0,), 0), "resize must be an int of at least 1, not 0"),
        (((0.5,), (1.0,), None, 2.5), r"crop must be an int of at least 1, not 2\.5"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_preprocessing_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        torchvision.Preprocessing(*fields)


def test_what_save_refuses(files):
    read = torchvision.load(files / "batch_norm.safetensors", **SETTINGS["batch_norm"])
    with pytest.raises(ValueError, match="missing, expected") as caught:
        torchvision.save(files / "b.npz", read.params, image_size=8)
    assert str(caught.value).count("norm") == 6  # the mean and the variance of three
    with pytest.raises(ValueError, match=r"dense1/kernel is \(24, 7\), expected \(18816, 7\)"):
        torchvision.save(files / "b.npz", read.params, read.state)
    assert not (files / "b.npz").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 8.0}, r"image_size must be an int from 1 to 1048576, not 8\.0"),
        ({"channels": 0}, "channels must be an int from 1 to 1048576, not 0"),
        (
            {"preprocessing": 3},
            "preprocessing must be a Preprocessing, IMAGENET for .*, not an int",
        ),
        ({"classes": 9}, r"plain\.npz: .* tensors do not fit(.|\n)*\(config .* 13 pixels\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_load_refuses(files, settings, message):
    with pytest.raises(ValueError, match=message):
        torchvision.load(files / "plain.npz", **SETTINGS["plain"] | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "image_size must be an int from 1 to 1048576, not 0"),
        ({"image_size": 1}, "image_size 1: block1/pool: .* larger than inputs"),
        ({"state": 3}, "state must be the dict that init_state returns, not an int"),
        ({"state": {1: 2}}, r"state holds \[1\]: names must be text"),
        ({"preprocessing": "x"}, "preprocessing must be a Preprocessing, .* not a str"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_size_no_state_and_no_preprocessing_is_not_saved(files, settings, message):
    params = torchvision.load(files / "plain.npz", **SETTINGS["plain"]).params
    with pytest.raises(ValueError, match=message):
        torchvision.save(files / "c.npz", params, **{"image_size": 13} | settings)
    assert not (files / "c.npz").exists()
