import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs, training
from experiments import lenet_mnist
from tests.oracles import rates_of

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = lenet_mnist.Config(
        recipe="fast", samples=1500, epochs=2, seeds=1, seed=3, root=tmp_path_factory.mktemp("runs")
    )
    return runs.load(lenet_mnist.main(config))


def test_it_learns_digits_and_says_which_it_confuses(loaded):
    results = {name: row["value"] for name, row in loaded.record["results"].items()}
    (error,) = results["test error"]
    assert error < 0.2  # 60 steps
    counts = np.asarray(results["confusion, seed 3: true by predicted"])
    assert counts.sum() == 1000
    assert 1 - np.trace(counts) / 1000 == pytest.approx(error)
    # A row is a true class: that many of each are in the embedded test digits.
    assert counts.sum(axis=1).tolist() == [85, 126, 116, 107, 110, 87, 87, 99, 89, 94]
    assert loaded.trace["seed=3/test_error"][-1] == pytest.approx(error)
    assert loaded.trace["seed=3/loss"].shape == (2,)
    assert loaded.record["compile_seconds"] > 0
    pictures = {"learning", "filters", "activations", "confusion", "mistakes", "sizes"}
    assert pictures == {file.stem for file in loaded.path.glob("*.svg")}


def test_a_run_that_was_stopped_is_gone_on_with_to_the_bit(loaded, tmp_path, monkeypatch):
    config = lenet_mnist.Config(
        recipe="fast",
        samples=1500,
        epochs=2,
        seeds=1,
        seed=3,
        figures=False,
        checkpoints=True,
        root=tmp_path,
    )
    shown = training.Progress.report

    def stop_at_the_second(self, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt
        shown(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(training.Progress, "report", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            lenet_mnist.main(config)
    (stopped,) = (tmp_path / "lenet_mnist").iterdir()
    assert stopped.suffix == ".partial"
    with pytest.raises(ValueError, match=r"recipe\.samples: 1500 in the checkpoint, 1450 here"):
        lenet_mnist.main(dataclasses.replace(config, resume=stopped, samples=1450))
    resumed = runs.load(lenet_mnist.main(dataclasses.replace(config, resume=stopped)))
    assert [record["step"] for record in resumed.metrics] == [30, 60]
    for name in ("seed=3/loss", "seed=3/error"):
        np.testing.assert_array_equal(resumed.trace[name], loaded.trace[name])
    assert resumed.record["results"]["test error"] == loaded.record["results"]["test error"]


def test_a_number_of_digits_or_epochs_that_cannot_be_is_refused(tmp_path):
    config = lenet_mnist.Config(source="embedded", root=tmp_path)
    with pytest.raises(ValueError, match=r"70000: there are 6000 train digits in source embedded"):
        lenet_mnist.main(dataclasses.replace(config, samples=70_000))
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        lenet_mnist.main(dataclasses.replace(config, epochs=0))
    assert not any(tmp_path.iterdir())


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = lenet_mnist.Recipe(3, 10, 0.5, rising=0.2, smoothing=0.0, pixels=0)
    rates = rates_of(lenet_mnist.make_optimizer(recipe, samples=109), 31)  # 10 steps an epoch
    found = [rates[step] for step in (0, 3, 6, 18, 30)]
    np.testing.assert_allclose(found, [0, 0.25, 0.5, 0.25, 0], atol=1e-5)


def test_smoothing_spreads_a_share_of_each_target_over_all_classes():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 10)), jnp.float32)
    labels = jnp.array([0, 3, 3, 9])
    loss = lenet_mnist.make_loss(lambda params, images: images, smoothing=0.2)
    value, (state, metrics) = loss({}, {}, {"images": logits, "labels": labels}, None)
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    expected = -(0.8 * logs[np.arange(4), labels] + 0.2 * logs.mean(axis=1)).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert state == {}
    assert metrics["error"] == np.mean(np.asarray(logits).argmax(axis=1) != labels)


def test_only_the_accurate_recipe_moves_digits():
    assert lenet_mnist.make_augment(lenet_mnist.RECIPES["fast"].pixels) is None
    augment = lenet_mnist.make_augment(lenet_mnist.RECIPES["accurate"].pixels)
    batch = {"images": jnp.ones((5, 28, 28, 1), jnp.uint8), "labels": jnp.arange(5)}
    moved = augment(jax.random.key(0), batch)
    assert moved["labels"] is batch["labels"]
    assert moved["images"].sum() < batch["images"].sum()
