import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs
from experiments import siamese

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = siamese.Config(
        only=("pairs", "pairs, not shared", "batch", "batch, distorted"),
        samples=1200,
        epochs=4,
        batch=64,
        pairs=300,
        plane_steps=50,
        seeds=1,
        source="embedded",
        root=tmp_path_factory.mktemp("runs"),
    )
    # One convolution is enough for what is claimed, and compiles faster than two.
    rows = [row for row in siamese.ROWS if row.name not in ("conv2", "pool2")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(siamese, "ROWS", tuple(rows))
        return runs.load(siamese.main(config))


def test_training_beats_what_is_done_by_hand_and_sharing_makes_symmetric(loaded):
    results = {name: entry["value"] for name, entry in loaded.record["results"].items()}
    seen = {m: results[f"seen, {m}: accuracy, mean"] for m in ("pixels", "HOG", "batch")}
    assert 0.5 < seen["pixels"] < seen["HOG"] < seen["batch"]
    assert results["seen, batch: AUC, mean"] > 0.9
    assert results["unseen, batch, distorted: AUC, mean"] > results["unseen, pixels: AUC, mean"]
    for method in ("pixels", "pairs", "batch"):
        assert results[f"seen, {method}: changed by swapping, mean"] == 0
    assert results["seen, pairs, not shared: changed by swapping, mean"] > 0.01


def test_the_gradient_of_the_shared_weights_is_the_sum_of_its_branches(loaded):
    name = "sum of the branches against jax.grad: largest difference, relative"
    assert loaded.record["results"][name]["value"] < 1e-4


def test_turned_digits_are_new_classes_but_no_half_turn_is():
    images = jnp.zeros((400, 28, 28, 1), jnp.uint8)
    batch = {"images": images, "labels": jnp.arange(400) % 3}
    method = siamese.trainings(siamese.Config())["unseen", "batch, turned"]
    labels = np.asarray(method.augment(jax.random.key(0), batch)["labels"])
    ones = {8 * digit + turn for digit in (0, 1) for turn in (0, 1)}
    twos = {16 + turn for turn in range(8) if turn != siamese.HALF_TURN}
    assert set(labels.tolist()) == ones | twos


def test_what_is_no_training_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"only names \['triplets'\]: there are \['pairs', .*"):
        siamese.trainings(siamese.Config(only=("triplets",)))


def test_the_run_folder_holds_the_figures_and_names_what_was_expected(loaded):
    assert {f"{n}.png" for n in ("error_rates", "plane", "shares")} <= {
        path.name for path in loaded.path.iterdir()
    }
    assert loaded.record["results"]["unseen, HOG: accuracy, mean"]["expected"] == 0.685
    assert json.loads((loaded.path / "run.json").read_text())["arguments"]["pairs"] == 300


def test_more_digits_than_there_are_are_refused(tmp_path):
    config = siamese.Config(samples=70_000, source="embedded", root=tmp_path)
    with pytest.raises(ValueError, match=r"70000: there are 6000 train digits in source embedded"):
        siamese.main(config)
    assert not any(tmp_path.iterdir())
