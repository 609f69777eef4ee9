import json

import numpy as np
import pytest

# Where they are when the script is run.
from chainrule import runs
from experiments import descent, mlp_digits


def test_the_main_job_leaves_a_run_folder_with_its_pictures_numbers_and_traces(tmp_path):
    config = descent.Config(
        steps=8, seeds=2, samples=60, hidden=10, sweep_rates=3, sweep_steps=4, root=tmp_path
    )
    path = descent.main(config)
    names = {file.name for file in path.iterdir()}
    pictures = {"two_well", "two_well_sweep", "digits", "digits_sweep"}
    assert {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")} <= names
    assert {"run.json", "trace.csv", "two_well.html"} <= names
    record = json.loads((path / "run.json").read_text())
    results = record["results"]
    assert results["two_well, eta 0.5 from -0.5: verdict"]["value"] == "oscillating"
    assert results["two_well, eta 0.125 from 0.5: final w"]["value"] == pytest.approx(
        0.9392, abs=1e-4
    )
    assert results["two_well: edge at the start"]["value"] == "inf"
    assert results["two_well: edge at the lowest point reached"]["value"] == pytest.approx(
        2 / 4.5732, rel=1e-3
    )
    assert len(results["digits: edge at the start, by seed"]["value"]) == 2
    assert record["data"]["source"] == "embedded"
    trace = runs.load(path).trace
    assert len(trace["two_well/eta=0.125/start=-0.5/loss"]) == 12
    assert len(trace["digits/eta=0.5/seed=1/grad_norm"]) == 9
    starts = {trace[f"digits/eta={eta}/seed=0/loss"][0] for eta in (0.01, 0.125, 0.5)}
    assert len(starts) == 1


def test_other_losses_optimizers_and_rates(tmp_path):
    config = descent.Config(
        losses=("quadratic", "rosenbrock", "coupled"),
        optimizer="momentum",
        etas=(0.001, 0.0001),
        steps=5,
        root=tmp_path,
    )
    loaded = runs.load(descent.main(config))
    results = loaded.record["results"]
    assert results["quadratic: edge at the start"]["value"] == pytest.approx(2 * 1.9)
    assert results["coupled: edge at the start"]["value"] == pytest.approx(2 * 1.9 / 6, rel=1e-4)
    assert len(loaded.trace["rosenbrock/eta=0.0001/loss"]) == 6


def test_the_network_of_the_notes_prints_its_table_and_repeats_over_seeds(tmp_path, capsys):
    config = mlp_digits.Config(
        steps=6, every=3, seeds=2, samples=50, hidden=8, eta=0.02, root=tmp_path
    )
    loaded = runs.load(mlp_digits.main(config))
    assert "0.14269" in capsys.readouterr().out
    start = loaded.record["results"]["errors after 0 steps"]
    assert start["expected"] == 93
    assert len(start["value"]) == 2
    losses = np.stack([loaded.trace[f"seed={seed}/loss"] for seed in (0, 1)])
    assert losses.shape == (2, 7)
    assert (np.diff(losses, axis=1) < 0).all()
    mean = loaded.record["results"]["loss after 6 steps, mean"]["value"]
    assert mean == pytest.approx(losses[:, -1].mean(), rel=1e-5)


def test_a_table_that_does_not_fit_the_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match="steps 10 is not a multiple of every 3"):
        mlp_digits.main(mlp_digits.Config(steps=10, every=3, root=tmp_path))
