"""The gallery's pictures, run small."""

import pytest

from chainrule import runs
from experiments import xray_gallery
from experiments.xray_gallery import Config


def test_the_gallery_leaves_pages_and_pictures_beside_what_was_to_be_expected(tmp_path):
    path = xray_gallery.main(Config(only=("product", "siamese"), root=tmp_path))
    for name in ("product", "siamese"):
        assert (path / f"{name}.svg").read_text(encoding="utf-8").startswith("<svg")
        assert (path / f"{name}.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        assert (path / f"{name}.dot").read_text(encoding="utf-8").startswith("digraph")
    assert "Inf born backward" in (path / "siamese.svg").read_text(encoding="utf-8")
    results = runs.load(path).record["results"]
    assert len(results) == 8
    for name, entry in results.items():
        assert entry["value"] == entry["expected"], name


def test_every_drawing_is_there_and_computes_nothing_before_it_is_asked_to():
    drawings = xray_gallery.drawings(Config())
    assert list(drawings) == [
        "product", "neuron", "squared_length", "length", "tanh_network", "loop", "graph", "mlp",
        "siamese", "lenet", "vgg16",
    ]  # fmt: skip
    assert drawings["vgg16"].keep == "stats"


def test_an_unknown_drawing_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"only names \['resnet'\].*'vgg16'"):
        xray_gallery.main(Config(only=("resnet",), root=tmp_path))
