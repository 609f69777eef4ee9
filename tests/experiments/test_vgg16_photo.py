import jax
import numpy as np
import pytest
from PIL import Image

from chainrule import data, runs
from chainrule._jobs import classifier
from chainrule.models import vgg
from experiments import make_pretrained, vgg16_photo


def test_reasons_point_at_what_the_network_uses(tmp_path):
    config = vgg16_photo.Config(
        samples=3, shown=1, measured=30, root=tmp_path, source="embedded", seed=2
    )
    loaded = runs.load(vgg16_photo.main(config))
    names = {file.name for file in loaded.path.glob("*.png")}
    assert names == {"answers.png", "reasons_1.png"}
    results = {name: row["value"] for name, row in loaded.record["results"].items()}
    labels = data.mnist("test", source="embedded").labels[:6]
    assert [*results["the first classes"].values()] == [str(label) for label in labels]
    lost = {name.rpartition(": ")[2]: value for name, value in results.items() if ": " in name}
    for name in ("smoothed", "input x gradient"):
        assert lost[name] > lost["random"] > 0, name


def test_the_fall_is_that_of_the_ink_painted_black():
    network = classifier.digits()
    digits = data.mnist("test", source="embedded")
    images, classes = digits.images[:2, ..., None], digits.labels[:2].astype(int)
    # In reading order: what is painted is the last quarter of the ink.
    order = np.broadcast_to(np.arange(784.0).reshape(1, 28, 28), (2, 28, 28))
    lost = vgg16_photo.fall(network, images, classes, {"last": order}, seed=0)
    painted = images.copy()
    for image in painted:
        rows, columns = np.nonzero(image[..., 0])
        count = len(rows) // 4
        image[rows[-count:], columns[-count:]] = 0
    expected = fell(network, images, painted, classes)
    assert expected > 0
    assert lost["last"] == pytest.approx(expected, rel=1e-5)
    assert lost["random"] != lost["last"]


def fell(network, before, after, classes):
    logits = [
        np.asarray(jax.jit(vgg.apply)(network.params, network.inputs(images), state=network.state))
        for images in (before, after)
    ]
    return float(np.mean([a[c] - b[c] for a, b, c in zip(*logits, classes, strict=True)]))


def test_photographs_by_weights_that_are_drawn(tmp_path, monkeypatch):
    # In the place of VGG16 the small network: the path is the same.
    monkeypatch.setattr(vgg16_photo, "drawn", lambda seed: classifier.digits())
    image = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40).astype(np.uint8))
    image.save(tmp_path / "a.png")
    config = vgg16_photo.Config(photos=(tmp_path / "a.png",), samples=2, root=tmp_path / "runs")
    loaded = runs.load(vgg16_photo.main(config))
    assert {file.name for file in loaded.path.glob("*.png")} == {"answers.png", "reasons_1.png"}
    assert loaded.record["results"]["seconds a photograph, median"]["value"] > 0
    with pytest.raises(ValueError, match="weights are for photographs: give --photos FILES"):
        vgg16_photo.main(vgg16_photo.Config(weights=tmp_path / "a.npz", root=tmp_path / "runs"))


@pytest.mark.full
def test_weights_are_trained_written_and_read_back(tmp_path, full_mnist):
    path = make_pretrained.main("lenet", full_mnist, target=tmp_path, epochs=1, samples=1000)
    words = data.tensors.read(path).metadata
    assert words["trained on"] == "the first 1000 training digits of MNIST"
    assert words["by"].endswith("make_pretrained.py lenet, seed 0, 1 epochs")
