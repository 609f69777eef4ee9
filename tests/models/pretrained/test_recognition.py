"""Which network a file is of, in either layout; and that reading one takes little memory."""

import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy

from chainrule.data import tensors
from chainrule.models import torchvision, vgg
from chainrule.models.pretrained import layouts, recognition


def theirs(settings):
    """The shapes of a network's tensors in torchvision's layout, from shapes alone."""
    rows = vgg.rows(*(settings[name] for name in ("config",)), **{
        name: settings[name] for name in ("classes", "hidden", "batch_norm")
    })  # fmt: skip
    side = settings["image_size"]
    found = layouts._tensors(torchvision.names(rows), rows, (side, side, settings["channels"]))
    return {name: tensor.theirs for name, tensor in found.items()}


def timms(shapes):
    """The same shapes under timm's names, its dense layers as convolutions."""
    found = {}
    for name, shape in shapes.items():
        stem, _, leaf = name.rpartition(".")
        other = {v: k for k, v in recognition.TIMM.items()}.get(stem, stem)
        if leaf == "weight" and other == "pre_logits.fc1":
            side = int((shape[1] / 512) ** 0.5)
            shape = (shape[0], 512, side, side)
        elif leaf == "weight" and other == "pre_logits.fc2":
            shape = (*shape, 1, 1)
        found[f"{other}.{leaf}"] = shape
    return found


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("letter", vgg.CONFIGS)
def test_every_configuration_is_told_from_its_shapes(letter, batch_norm):
    settings = {
        "config": letter, "image_size": 224, "channels": 3, "classes": 1000,
        "batch_norm": batch_norm, "hidden": [4096, 4096],
    }  # fmt: skip
    shapes = theirs(settings)
    assert recognition.recognise(shapes) == settings
    assert recognition.recognise(timms(shapes)) == settings


def test_other_networks_in_its_style_are_told_too():
    settings = {
        "config": [[16], [32, (32, 1)], [64, 64]], "image_size": 24, "channels": 1, "classes": 10,
        "batch_norm": True, "hidden": [],
    }  # fmt: skip
    # 28 pixels leave 3 x 3 positions, as 24 do.
    shapes = theirs(settings | {"image_size": 28})
    assert recognition.recognise(shapes | {"features.1.num_batches_tracked": ()}) == settings


def test_what_is_no_vgg_is_refused():
    with pytest.raises(ValueError, match=r"no weights of a VGG: .* not conv1\.weight, \\x1b\[2J$"):
        recognition.recognise({"conv1.weight": (3, 3), "\x1b[2J": (2,)})


CASES = {  # as in make_torch_vgg.py
    "plain": {"config": [[3], [4, (5, 1)]], "image_size": 12},
    "batch_norm": {"config": [[4, 3], [6]], "image_size": 8, "batch_norm": True},
}


@pytest.fixture(scope="module")
def stored():
    return np.load(pathlib.Path(__file__).parent / "torch_vgg.npz")


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_pytorchs_whichever_layout_and_nothing_said(name, layout, stored, tmp_path):
    arrays = {
        key.removeprefix(f"{name}/"): stored[key]
        for key in stored.files
        if key.startswith(f"{name}/")
    }
    inputs, logits = arrays.pop("inputs"), arrays.pop("logits")
    if layout == "timm":
        # Its dense layers are the same numbers, shaped as kernels of 3 x 3 or 2 x 2 and 1 x 1.
        first = arrays["classifier.0.weight"]
        side = {"plain": 3, "batch_norm": 2}[name]
        arrays["classifier.0.weight"] = first.reshape(len(first), -1, side, side)
        arrays["classifier.3.weight"] = arrays["classifier.3.weight"][:, :, None, None]
        ours = {v: k for k, v in recognition.TIMM.items()}
        parts = {key: key.rpartition(".") for key in arrays}
        arrays = {f"{ours.get(a, a)}.{c}": arrays[key] for key, (a, _, c) in parts.items()}
        assert "pre_logits.fc1.weight" in arrays
        assert "head.fc.bias" in arrays
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, path)
    weights = torchvision.load(path, None)
    got = jax.jit(vgg.apply)(weights.params, inputs, state=weights.state)
    np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-4)


def test_a_tensor_of_another_shape_is_refused_in_timms_layout_too(stored, tmp_path):
    arrays = {
        key.removeprefix("plain/"): stored[key] for key in stored.files if key.startswith("plain/")
    }
    del arrays["inputs"], arrays["logits"]
    arrays["features.0.bias"] = arrays["features.0.bias"][:, None, None]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=r"features\.0\.bias is \(3, 1, 1\), expected \(3,\)"):
        torchvision.load(tmp_path / "a.npz", None)


def test_an_array_in_its_file_is_read_by_rows_or_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    drawn = {
        "x": np.arange(24, dtype=np.float16).reshape(6, 4), "one": np.float32(3),
        "none": np.zeros((0, 5), np.float32), "b": np.array([True, False]),
    }  # fmt: skip
    tensors.write(path, drawn)
    monkeypatch.setattr(tensors, "_PIECE", 16)
    looked = tensors.look(path).arrays  # its checksum is compared by pieces
    for name, array in drawn.items():
        assert looked[name].dtype == array.dtype
        np.testing.assert_array_equal(looked[name].read(), array, strict=True)
    np.testing.assert_array_equal(looked["x"].read(2, 5), drawn["x"][2:5])
    assert [part.shape for part in tensors.pieces(looked["x"])] == [(2, 4), (2, 4), (2, 4)]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="changed while it was read"):
        [each.read() for each in looked.values()]


def test_a_flipped_bit_is_found_before_an_array_is_used(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors.write(path, {"x": np.ones(9)})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: its content has the SHA-256"):
        tensors.look(path)


def test_a_pickle_is_refused_with_the_two_lines_that_convert_it(tmp_path):
    (tmp_path / "vgg16.pth").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match=r"no pickle .* is ever opened") as caught:
        torchvision.load(tmp_path / "vgg16.pth", None)
    assert str(caught.value).endswith(
        "two lines convert the weights in it:\n"
        "  weights = torch.load('vgg16.pth', weights_only=True)\n"
        "  safetensors.torch.save_file(weights, 'vgg16.safetensors')"
    )
