import numpy as np
import pytest

from chainrule import runs
from chainrule.models import dag
from experiments import graphs


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The script, run once: its folder and what it printed."""
    root = tmp_path_factory.mktemp("runs")
    config = graphs.Config(samples=3, blocks=5, turns=1, at_least=0.0, source="embedded", root=root)
    with graphs.CONSOLE.capture() as capture:
        path = graphs.main(config)
    return runs.load(path), capture.get()


@pytest.fixture
def loaded(ran):
    return ran[0]


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


def test_each_use_in_the_loop_carries_its_index_and_the_uses_of_one_index_add_up(loaded):
    result = loaded.record["results"]["dq/dw of the loop, use by use"]
    uses = {name: np.array(part) for name, part in result["value"].items()}
    assert list(uses) == ["w[0]:u", "w[0]:v1", "w[1]:v2", "w[2]:v3"]
    assert all(part.shape == (10, 10) and part.any() for part in uses.values())
    together = [uses["w[0]:u"] + uses["w[0]:v1"], uses["w[1]:v2"], uses["w[2]:v3"]]
    np.testing.assert_allclose(together, result["expected"], rtol=1e-4, atol=1e-6)
    whole = loaded.record["results"]["dq/dw, loop"]
    np.testing.assert_allclose(whole["value"], together, rtol=1e-4, atol=1e-6)
    # v3 is the last turn: its share is (1 - v3^2) u times v2, of rank one, as every share is.
    assert all(np.linalg.matrix_rank(part, tol=1e-5) == 1 for part in uses.values())
    assert np.linalg.matrix_rank(together[0], tol=1e-5) == 2


def test_a_jacobian_and_a_gradient_have_signs_of_their_own(ran):
    lines = dag.equations(graphs.ELEMENTARY, "q").backward
    assert lines["x3"] == "dq/dx3 = J[q|x3]^T dq/dq"
    assert lines["x3"] in ran[1]  # with its brackets, which could be taken for markup
    shared = dag.equations(graphs.LOOP, "q").backward
    assert shared["w[0]:v1"] == "dq/dw[0]:v1 = J[v1|w[0]:v1]^T dq/dv1"
    assert shared["w"].count("J[w[0]:") == 2


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
    assert (loaded.path / "loop.png").stat().st_size > 10_000
    assert (loaded.path / "loop.svg").read_text(encoding="utf-8").startswith("<svg")
    for name in ("weighted", "elementary"):
        picture = (loaded.path / f"{name}.svg").read_text(encoding="utf-8")
        assert picture.startswith("<svg")
        assert "19.31" in picture  # q
        assert "22.2" in picture  # of dq/dw1
