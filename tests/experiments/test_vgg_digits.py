import pathlib

import jax
import numpy as np
import pytest
from rich.console import Console

from chainrule import data, export, runs
from chainrule.models import torchvision, vgg
from experiments import vgg_digits
from tests.oracles import rates_of

BLOCKS = ((4,),)

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = vgg_digits.Config(
        epochs=2,
        batch=50,
        blocks=BLOCKS,
        samples=400,
        seeds=2,
        vgg16=False,
        source="embedded",
        root=tmp_path_factory.mktemp("runs"),
    )
    return runs.load(vgg_digits.main(config))


def test_the_small_network_learns(loaded):
    results = loaded.record["results"]
    errors = results["small: test error by seed"]["value"]
    assert len(errors) == 2
    assert max(errors) < 0.8
    assert results["small: test error, mean"]["value"] == pytest.approx(np.mean(errors))
    # The aim is one for the full set.
    assert results["small: test error by seed"]["expected"] is None
    loss = loaded.trace["seed=0/loss"]
    assert loss[-1] < loss[0]


def test_its_files_hold_the_trained_network(loaded):
    results = loaded.record["results"]
    error = results["small: test error by seed"]["value"][0]
    assert results["small: test error from the program in the file"]["value"] == error

    path = pathlib.Path(loaded.path)
    weights = torchvision.load(
        path / "digits.safetensors", BLOCKS, 28, 1, 10, batch_norm=True, hidden=()
    )
    images = data.mnist("test", source="embedded").images[:7, ..., None]
    inputs = torchvision.preprocess(images, weights.preprocessing)
    np.testing.assert_allclose(
        jax.jit(vgg.probabilities)(weights.params, inputs, state=weights.state),
        export.load(path / "digits.stablehlo").call(images),
        atol=1e-5,
    )


def test_the_figures_are_there(loaded):
    names = {file.name for file in pathlib.Path(loaded.path).glob("*.png")}
    assert names == {"learning.png", "confusion.png", "mistakes.png", "activations.png"}


def test_the_steps_of_vgg16_on_a_narrow_one(tmp_path):
    digits = data.mnist("train", source="embedded")
    with runs.start("narrow", seed=0, arguments={}, root=tmp_path) as run:
        vgg_digits.few_steps(
            run,
            Console(quiet=True),
            digits,
            steps=10,
            eta=1e-3,
            image_size=8,
            config=((8,),),
            classes=20,
            hidden=(32,),
        )
    results = runs.load(run.path).record["results"]
    values = results["VGG16: loss by step"]["value"]
    assert len(values) == 10
    assert values[-1] < values[0]
    assert 0 < results["VGG16: probability of the right class"]["value"] < 1


def test_digits_are_enlarged_to_three_equal_channels():
    images = data.mnist("test", source="embedded").images[:2]
    inputs = vgg_digits.enlarge(images, 56)
    assert inputs.shape == (2, 56, 56, 3)
    np.testing.assert_array_equal(inputs[..., 0], inputs[..., 2])
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-4)


def test_held_out_digits_are_not_trained_on():
    config = vgg_digits.Config(held_out=1000, samples=4000, source="embedded")
    train, test = vgg_digits._digits(config)
    whole = data.mnist("train", source="embedded")
    np.testing.assert_array_equal(train.images, whole.images[:4000])
    np.testing.assert_array_equal(test.images, whole.images[5000:])


def test_the_rate_rises_and_falls_once():
    config = vgg_digits.Config(epochs=10, batch=10, peak=0.5)
    rates = rates_of(vgg_digits.make_optimizer(config, 100), 101)
    assert rates[0] == 0
    assert max(rates) == rates[20] == pytest.approx(0.5, rel=1e-6)
    assert rates[100] == pytest.approx(0, abs=1e-6)
    assert (np.diff(rates[:21]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()
