import numpy as np
import pytest

from chainrule import runs
from experiments import graphs


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    config = graphs.Config(samples=3, blocks=5, turns=1, at_least=0.0, source="embedded", root=root)
    return runs.load(graphs.main(config))


@pytest.mark.parametrize("notation", ["weights of operators", "weights as inputs"])
def test_both_notations_have_the_gradients_of_the_flat_function(loaded, notation):
    # Times q = |x3| = sqrt(373): see the model's tests, where they are worked out.
    expected = {
        "w1": np.outer([25, -190], [1, -2]) + np.outer([-18, -7], [-4, -7]),
        "w2": np.outer([-18, -43], [-3, -2]),
        "x0": [7, -183],
    }
    for name, gradient in expected.items():
        result = loaded.record["results"][f"dq/d{name}, {notation}"]
        np.testing.assert_allclose(np.sqrt(373) * np.array(result["value"]), gradient, rtol=1e-5)
        np.testing.assert_allclose(result["value"], result["expected"], rtol=1e-5)
    uses = loaded.record["results"]["dq/w1, use by use"]
    assert sorted(uses["value"]) == ["x1", "x3"]
    np.testing.assert_allclose(sum(map(np.array, uses["value"].values())), uses["expected"], 1e-5)


@pytest.mark.parametrize("name", ["784-200-10", "LeNet"])
def test_the_networks_as_graphs_have_the_numbers_of_the_plain_functions(loaded, name):
    results = loaded.record["results"]
    loss = results[f"loss of {name} as a graph"]
    assert loss["value"] == pytest.approx(loss["expected"], rel=1e-6)
    gap = results[f"{name} as a graph: largest relative difference of a gradient"]["value"]
    assert 0 <= gap < 1e-5


def test_compiled_a_graph_costs_what_the_flat_function_costs(loaded):
    results = loaded.record["results"]
    operations = results["20 nodes, compiled: operations"]
    assert 0 < operations["value"] <= 1.1 * operations["expected"]
    assert results["20 nodes, compiled: largest relative difference of a gradient"]["value"] < 1e-5
    assert results["20 nodes, compiled: time over that of the flat function, median"]["value"] > 0


def test_the_graphs_are_drawn_with_values_and_gradients(loaded):
    assert (loaded.path / "uses.png").stat().st_size > 10_000
    for name in ("weighted", "elementary"):
        picture = (loaded.path / f"{name}.svg").read_text(encoding="utf-8")
        assert picture.startswith("<svg")
        assert "19.31" in picture  # q
        assert "22.2" in picture  # of dq/dw1
