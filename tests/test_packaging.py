"""The wheel: everything is in it, and it works away from the checkout."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = target.iterdir()
    return zipfile.ZipFile(path)


def test_no_file_of_the_package_is_left_out(wheel):
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "chainrule").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "chainrule/data/digits/embedded/train-images-idx3-ubyte.gz" in expected
    assert expected - set(wheel.namelist()) == set()


def test_all_licences_are_stated_and_enclosed(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    assert "License-Expression: Apache-2.0 AND CC-BY-SA-3.0 AND MIT AND BSD-3-Clause\n" in text
    folder = metadata.removesuffix("METADATA") + "licenses/"
    assert b"Apache License" in wheel.read(folder + "LICENSE")
    assert b"Chris Pettitt" in wheel.read(folder + "src/chainrule/xray/page/LICENSE.dagre")
    notice = wheel.read(folder + "src/chainrule/data/digits/embedded/LICENSE").decode()
    for needed in ("Yann LeCun and Corinna Cortes", "by-sa/3.0", "first 6,000", "NIST"):
        assert needed in notice
    pretrained = folder + "src/chainrule/models/pretrained/"
    assert b"CC BY-SA 3.0" in wheel.read(pretrained + "digits/LICENSE")
    assert b"Soumith Chintala" in wheel.read(pretrained + "imagenet/LICENSE")


def test_the_weights_in_the_wheel_are_at_most_a_megabyte(wheel):
    weights = [one for one in wheel.infolist() if one.filename.endswith(".safetensors")]
    assert len(weights) == 2
    assert sum(one.file_size for one in weights) <= 1_000_000


def test_the_wheel_works_elsewhere(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    code = (
        "import chainrule; from chainrule import data; "
        "print(chainrule.__file__, data.mnist('train').labels[:3], data.mnist('test').labels[:3])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "CHAINRULE_DATA": ""}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    expected = tmp_path / "site" / "chainrule" / "__init__.py"
    assert answer.stdout == f"{expected} [5 0 4] [7 2 1]\n"


def test_the_explorer_of_a_loss_works_from_the_wheel(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    (tmp_path / "own.py").write_text("def loss(w):\n    return (w - 1) ** 2\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "DISPLAY": ""}
    call = ["explore", "own.py:loss", "--start=3", "--rates", "3", "--steps", "2"]
    answer = subprocess.run(
        [sys.executable, "-m", "chainrule.cli", *call, "--optimizers", "sgd"],
        cwd=tmp_path, env=environment | {"WAYLAND_DISPLAY": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    (page,) = tmp_path.glob("runs/explore/*/explorer.html")
    assert '"title": "loss"' in page.read_text(encoding="utf-8")
