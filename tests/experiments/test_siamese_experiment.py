import json

import pytest

from chainrule import runs
from experiments import siamese


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    config = siamese.Config(
        samples=2400,
        epochs=4,
        batch=64,
        pairs=600,
        plane_steps=50,
        seeds=1,
        source="embedded",
        root=tmp_path_factory.mktemp("runs"),
    )
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


def test_the_run_folder_holds_the_figures_and_names_what_was_expected(loaded):
    assert {f"{n}.png" for n in ("error_rates", "plane", "shares")} <= {
        path.name for path in loaded.path.iterdir()
    }
    assert loaded.record["results"]["unseen, HOG: accuracy, mean"]["expected"] == 0.685
    assert json.loads((loaded.path / "run.json").read_text())["arguments"]["pairs"] == 600
