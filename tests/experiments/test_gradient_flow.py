import pytest

from chainrule import runs
from experiments import gradient_flow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = gradient_flow.Config(
        hidden=3,
        width=64,
        samples=100,
        batch=50,
        epochs=2,
        seeds=2,
        source="embedded",
        root=tmp_path_factory.mktemp("runs"),
    )
    return gradient_flow.main(config)


@pytest.mark.parametrize(("gain", "g"), gradient_flow.GAINS.items())
def test_gradients_shrink_and_grow_as_they_ought_to(run, gain, g):
    result = runs.load(run).record["results"][f"ReLU, {gain}: first / last, median"]
    assert result["expected"] == pytest.approx(g**2 / 2)
    assert result["value"] == pytest.approx(result["expected"], rel=0.5)


def test_the_figures_are_there(run):
    assert {path.stem for path in run.glob("*.png")} == {"profiles", "flow", "along"}
