import json

import numpy as np
import pytest

from chainrule import runs
from experiments import perceptron


def test_the_embedded_zeros_and_ones_are_separated_and_the_notes_stand_beside(tmp_path, capsys):
    path = perceptron.main(perceptron.Config(shuffles=2, max_epochs=20, root=tmp_path))
    printed = capsys.readouterr().out
    assert "1263 training and 211 test digits" in printed
    for row in ("64 changes, 0.23 / 0.19", "5 changes, 0.03 / 0.09", "0 changes, 0.00 / 0.14"):
        assert row in printed
    assert {"weights.png", "toy.png", "toy.svg"} <= {file.name for file in path.iterdir()}
    loaded = runs.load(path)
    results = json.loads((path / "run.json").read_text())["results"]
    changes = loaded.trace["changes"]
    assert changes[-1] == 0
    assert (changes[:-1] > 0).all()
    assert results["epochs to zero changes"] == {"value": len(changes) - 1, "expected": 8}
    assert results["changes in all"]["value"] == changes.sum()
    assert changes.sum() <= results["bound on the changes, (R / margin)^2"]["value"]
    assert loaded.trace["train_error"][-1] == 0
    assert len(results["shuffled: test error, %, by seed"]["value"]) == 2


def test_a_digit_against_itself_is_refused(tmp_path):
    with pytest.raises(ValueError, match="negative and positive are both 3: name two digits"):
        perceptron.main(perceptron.Config(negative=3, positive=3, root=tmp_path))


def test_what_is_not_separated_is_not_said_to_be(tmp_path, capsys):
    config = perceptron.Config(negative=4, positive=9, max_epochs=2, shuffles=0, root=tmp_path)
    loaded = runs.load(perceptron.main(config))
    assert "not separated within 2 epochs" in " ".join(capsys.readouterr().out.split())
    assert loaded.record["results"]["epochs to zero changes"]["value"] is None
    assert (loaded.trace["changes"] > 0).all()
    assert np.isfinite(loaded.trace["test_error"]).all()
