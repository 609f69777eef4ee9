"""``chainrule classify``: digits by the weights in the package, photographs by those of a file."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from chainrule import cli, data
from chainrule.data import photos, tensors
from chainrule.models import torchvision, vgg
from chainrule.models.pretrained import recognition

PHOTOS = pathlib.Path(sklearn.datasets.__file__).parent / "images"
NET = {"config": ((4,), (5, (3, 1))), "image_size": 20, "classes": 6, "hidden": (7,)}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Digits as files: five as MNIST has them, and one as on paper, dark on light and larger."""
    folder = tmp_path_factory.mktemp("digits")
    test = data.mnist("test", source="embedded")
    for index in range(6):
        image = Image.fromarray(test.images[index])
        if index == 5:
            image = Image.fromarray(255 - test.images[index]).resize((84, 84)).convert("RGBA")
        image.save(folder / f"{index}.png")
    return folder, [str(label) for label in test.labels[:6]]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A narrow network in torchvision's layout, without a preprocessing, as published ones are."""
    folder = tmp_path_factory.mktemp("photographs")
    params = vgg.init(jax.random.key(0), **NET)
    torchvision.save(folder / "narrow.safetensors", params, image_size=20)
    (folder / "names.txt").write_text("cat\ndog\nowl\nant\nbee\n\x1b[2Jelk\n", encoding="utf-8")
    return folder, params


def test_digits_are_read_by_the_weights_in_the_package(digits, capsys):
    folder, labels = digits
    assert cli.main(["classify", str(folder), "--json", "--batch", "4", "--top", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [pathlib.Path(one["image"]).name for one in found["answers"]] == [
        f"{index}.png" for index in range(6)
    ]
    assert [one["top"][0]["name"] for one in found["answers"]] == labels
    for one in found["answers"]:
        first, second = (entry["probability"] for entry in one["top"])
        assert first > 0.5 > second > 0
    assert "inverted" in found["notes"][0]
    assert found["images"] == 6
    assert found["seconds_an_image"] > 0
    assert 1e8 < found["memory_bytes"] < 1e11


def test_photographs_get_what_the_parts_give(photographs, capsys):
    folder, params = photographs
    paths = [PHOTOS / "china.jpg", PHOTOS / "flower.jpg"]
    weights = folder / "narrow.safetensors"
    call = ["classify", *map(str, paths), "--weights", str(weights), "--json", "--top", "6"]
    assert cli.main([*call, "--names", str(folder / "names.txt")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "torchvision's for ImageNet is taken" in found["notes"][0]
    for path, one in zip(paths, found["answers"], strict=True):
        with Image.open(path) as image:
            width, height = image.size  # wider than high
            scaled = np.asarray(image.resize((22 * width // height, 22), Image.Resampling.BILINEAR))
        left = round((scaled.shape[1] - 20) / 2)
        pixels = scaled[1:21, left : left + 20] / 255
        inputs = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        expected = vgg.probabilities(params, inputs[None].astype(np.float32))[0]
        names = ["cat", "dog", "owl", "ant", "bee", "\x1b[2Jelk"]
        answered = {entry["name"]: entry["probability"] for entry in one["top"]}
        np.testing.assert_allclose([answered[name] for name in names], expected, atol=1e-6)


def test_a_folder_with_something_else_in_it(digits, tmp_path, capsys):
    folder, labels = digits
    # Names that matplotlib or a terminal would read as something else.
    for index, name in enumerate(("0.png", "1$x_{$.png")):
        (tmp_path / name).write_bytes((folder / f"{index}.png").read_bytes())
    (tmp_path / "0b\x1b[2J.jpg").write_bytes(b"no photograph")
    picture, why = tmp_path / "classes.svg", tmp_path / "why"
    call = ["classify", str(tmp_path), "--top", "1", "--picture", str(picture), "--why", str(why)]
    assert cli.main(call) == 1
    printed = capsys.readouterr()
    head, *rows, last, reasons = printed.out.splitlines()
    assert reasons == f"reasons: {why}"
    assert sorted(path.name for path in why.iterdir()) == ["001-0.png", "002-1$x_{$.png"]
    assert head == "image\trank\tname\tprobability"
    assert [row.split("\t")[2] for row in rows] == labels[:2]
    assert last == f"picture: {picture}"
    assert "<svg" in picture.read_text(encoding="utf-8")
    assert "left out" in printed.err
    assert "0b\\x1b[2J.jpg is no photograph: it begins with" in printed.err
    assert "\x1b" not in printed.out + printed.err
    assert "2 images, " in printed.err


def test_in_a_terminal_it_is_a_table(photographs, capsys, monkeypatch):
    folder, _ = photographs
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    call = ["classify", str(PHOTOS / "china.jpg"), "--weights", str(folder / "narrow.safetensors")]
    assert cli.main([*call, "--names", str(folder / "names.txt"), "--top", "6"]) == 0
    printed = capsys.readouterr().out
    assert "china.jpg" in printed
    assert "\\x1b[2Jelk" in printed
    assert "GB of memory at most" in printed
    assert cli.main(call) == 0
    assert "the names of its 6 classes are not known: give --names FILE" in capsys.readouterr().out


BAD = {
    "no file": (["nothing.png"], "no file or folder nothing.png"),
    "an empty folder": (["empty"], "empty holds no file that ends in"),
    "one image that is none": (["names.txt"], "names.txt is no photograph: it begins with b'cat"),
    "names of nothing": (["0.png", "--names", "names.txt"], "give --weights FILE"),
    "a size of nothing": (["0.png", "--size", "28"], "names and size are those of a file"),
    "no class": (["0.png", "--top", "0"], "top must be an int from 1 to 10, not 0"),
    "too many classes": (["0.png", "--top", "11"], "top must be an int from 1 to 10, not 11"),
    "no batch": (["0.png", "--batch", "0"], "batch must be an int from 1 to 4096, not 0"),
    "another picture": (["0.png", "--picture", "a.gif"], "its name must end in .png, .svg or"),
    "a picture nowhere": (["0.png", "--picture", "no/a.png"], "no folder no for the picture"),
    "no weights": (["0.png", "--weights", "no.npz"], "no file no.npz"),
    "a pickle": (
        ["0.png", "--weights", "vgg16.pth"],
        "  safetensors.torch.save_file(weights, 'vgg",
    ),
    "a pickle by another name": (["0.png", "--weights", "p.safetensors"], "cannot be read as"),
    "another network": (
        ["0.png", "--weights", "other.npz"],
        "the shapes are of no weights of a VGG",
    ),
    "a layer missing": (["0.png", "--weights", "less.npz"], "features.0.bias is missing"),
    "weights of NaN": (["0.png", "--weights", "nan.npz"], "the probabilities are not finite"),
    "another size": (
        ["0.png", "--weights", "good.npz", "--size", "24"],
        "size 24: good.npz takes images of 20 to 23 pixels",
    ),
    "fewer names": (
        ["0.png", "--weights", "good.npz", "--names", "two.txt"],
        "two.txt has 2 names, and good.npz has 6 classes",
    ),
    "an empty name": (["0.png", "--weights", "good.npz", "--names", "gap.txt"], "line 2 is empty"),
    "four channels": (["0.png", "--weights", "four.npz"], "photographs have 1 or 3"),
}


@pytest.fixture(scope="module")
def furnished(digits, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("furnished")
    (folder / "0.png").write_bytes((digits[0] / "0.png").read_bytes())
    (folder / "empty").mkdir()
    arrays = tensors.read(photographs[0] / "narrow.safetensors").arrays
    np.savez(folder / "good.npz", **arrays)
    np.savez(folder / "other.npz", kernel=np.ones(3))
    np.savez(folder / "less.npz", **{k: v for k, v in arrays.items() if k != "features.0.bias"})
    np.savez(folder / "nan.npz", **arrays | {"features.0.bias": np.full(4, np.nan, np.float32)})
    four = np.ones((4, 4, 3, 3), np.float32)
    np.savez(folder / "four.npz", **arrays | {"features.0.weight": four})
    for name in ("vgg16.pth", "p.safetensors"):
        (folder / name).write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.")
    for name, lines in (("names.txt", "cat\ndog"), ("two.txt", "a\nb\n"), ("gap.txt", "a\n\nb\n")):
        (folder / name).write_text(lines)
    return folder


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_error(what, furnished, capsys, monkeypatch):
    arguments, message = BAD[what]
    monkeypatch.chdir(furnished)
    assert cli.main(["classify", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("chainrule: ")
    assert message in error
    assert "Traceback" not in error


def of_timm(arrays):
    """The same tensors under timm's names, the dense layers as convolutions."""
    ours, found = {theirs: timm for timm, theirs in recognition.TIMM.items()}, {}
    for name, array in arrays.items():
        stem, _, leaf = name.rpartition(".")
        if name == "classifier.0.weight":
            array = array.reshape(4096, 512, 7, 7)
        elif name == "classifier.3.weight":
            array = array[:, :, None, None]
        found[f"{ours.get(stem, stem)}.{leaf}"] = array
    return found


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_vgg16_at_full_size_takes_at_most_1200_megabytes(tmp_path):
    params = jax.jit(vgg.init)(jax.random.key(0))
    paths = [tmp_path / "torchvision.safetensors", tmp_path / "timm.safetensors"]
    torchvision.save(paths[0], params)
    tensors.write(paths[1], of_timm(tensors.read(paths[0]).arrays))
    pixels = photos.read(PHOTOS / "china.jpg", shorter=256, crop=224)
    ready = dataclasses.replace(torchvision.IMAGENET, resize=None, crop=None)
    inputs = torchvision.preprocess(pixels[None], ready)
    (expected,) = vgg.top(np.asarray(jax.jit(vgg.probabilities)(params, inputs)))
    environment = {k: v for k, v in os.environ.items() if k != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    for path in paths:
        call = ["classify", str(PHOTOS / "china.jpg"), "--weights", str(path), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "chainrule.cli", *call],
            capture_output=True, text=True, env=environment, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        assert found["memory_bytes"] <= 1.2e9
        (answer,) = found["answers"]
        assert [entry["name"] for entry in answer["top"]] == [name for name, _ in expected]
        got = [entry["probability"] for entry in answer["top"]]
        np.testing.assert_allclose(got, [p for _, p in expected], rtol=1e-3)
