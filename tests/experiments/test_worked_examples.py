from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

# Where they are when the script is run.
import worked_examples
from worked import errata
from worked.claims import CLAIMS
from worked.examples import EXAMPLES, NEURON, SQUARED_LENGTH, Example, cube
from worked.printed import agrees, show
from worked.printouts import NETWORK, PERCEPTRON
from worked.programs import by_hand, by_jax
from worked.shapes import SHAPES

from chainrule import runs
from chainrule.ops.elementary import add, multiply, square
from tests.experiments import sources


def named(attribute):
    return lambda entry: getattr(entry, attribute).replace(" ", "_")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The script, run once with few steps: its folder and what it printed."""
    root = tmp_path_factory.mktemp("runs")
    config = worked_examples.Config(steps=6, every=3, samples=40, hidden=7, root=root)
    with worked_examples.CONSOLE.capture() as capture:
        path = worked_examples.main(config)
    return runs.load(path), capture.get()


@pytest.mark.parametrize("example", EXAMPLES, ids=named("name"))
def test_an_example_gives_the_printed_values_and_by_both_ways_the_printed_gradients(ran, example):
    result = ran[0].record["results"][example.name]
    assert (
        set(example.values) | set(example.grads) == set(result["value"]) == set(result["expected"])
    )
    assert example.grads
    for name, computed in result["value"].items():
        expected = result["expected"][name]
        assert expected == {
            "value": example.values.get(name, ""),
            "gradient": example.grads.get(name, ""),
        }
        if expected["value"]:
            assert agrees(computed["value"], expected["value"]), name
        if expected["gradient"]:
            assert agrees(computed["by hand"], expected["gradient"]), name
            assert agrees(computed["jax.grad"], expected["gradient"]), name
        np.testing.assert_allclose(
            computed["by hand"], computed["jax.grad"], rtol=1e-5, atol=1e-6, err_msg=name
        )
        assert np.shape(computed["by hand"]) == np.shape(computed["value"])


@pytest.mark.parametrize("claim", [*CLAIMS, *SHAPES], ids=named("name"))
def test_a_claim_is_shown_by_hand_and_by_jax(ran, claim):
    result = ran[0].record["results"][claim.name]
    assert result["value"]
    assert result["expected"] == claim.expected
    for side in result["value"].values():
        assert agrees(side, claim.expected), (side, claim.expected)


@pytest.mark.parametrize("slip", errata.ERRATA, ids=named("printed"))
def test_what_is_right_comes_out_right_and_as_printed_it_does_not(ran, slip):
    result = ran[0].record["results"][f"erratum: {slip.printed}"]
    assert result["expected"] == (slip.expected or None)
    printed, right = result["value"]["as printed"], result["value"]["right"]
    if slip.expected:
        assert agrees(right, slip.expected), (right, slip.expected)
        assert printed is None or not agrees(printed, slip.expected)
    assert show(printed) != show(right)


def test_the_script_marks_every_row_and_descends_twice(ran):
    loaded, printed = ran
    assert "✗" not in printed
    results = loaded.record["results"]
    counts = results["rows that agree with what is expected"]
    assert printed.count("✓") == counts["value"] == counts["expected"] > 80
    names = {entry.name for entry in (*EXAMPLES, *CLAIMS, *SHAPES)}
    assert len(names) == len(EXAMPLES) + len(CLAIMS) + len(SHAPES)
    trace = loaded.trace
    assert len(trace["by hand/loss"]) == 7
    np.testing.assert_allclose(trace["by hand/loss"], trace["jax.grad/loss"], rtol=1e-4)
    assert (np.diff(trace["by hand/loss"]) < 0).all()
    assert len(results["the same, pair by pair"]["value"]) == 2
    # What the notes print stands beside ours, as printed.
    assert "0.14268699288368225" in printed
    assert results["errors after 0 steps"]["expected"] == 93
    assert 0 <= results["errors after 0 steps"]["value"] <= 40
    assert {"traces.png", "traces.svg"} <= {file.name for file in loaded.path.iterdir()}


def test_the_errata_stand_in_the_run_folder_and_in_the_readme_of_the_notebooks(ran):
    page = (ran[0].path / "errata.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines()]
    assert len(rows) == 2 + len(errata.ERRATA)
    assert {len(row) for row in rows} == {5}
    readme = (Path(__file__).resolve().parents[2] / "notebooks" / "README.md").read_text()
    for row in rows[2:]:
        assert " | ".join(row[:2]) in readme
    # Without a code span or mathematics, these marks would vanish from the page.
    assert r"\|x3\|" in page
    assert r"u\_k" in page


def test_what_the_notes_printed_is_as_long_as_there_and_hangs_together():
    assert list(NETWORK) == list(range(0, 1001, 100))
    losses, errors = zip(*NETWORK.values(), strict=True)
    assert (np.diff(losses) < 0).all()
    assert (np.diff(errors) <= 0).all()
    assert [epoch.changes for epoch in PERCEPTRON] == [64, 24, 10, 6, 5, 4, 3, 2, 0]
    # Shares of 12,665 training and 2,115 test digits, to the two decimals that were printed.
    for epoch in PERCEPTRON:
        for share, digits in ((epoch.train, 12_665), (epoch.test, 2_115)):
            assert abs(100 * round(share * digits / 100) / digits - share) < 0.005


# The page of the book that lists all of the sources.


@pytest.fixture(scope="module")
def listed():
    return (sources.BOOK / "notes.md").read_text(encoding="utf-8")


def test_everything_that_the_page_of_the_sources_names_is_there_with_its_numbers(ran, listed):
    assert sources.complaints(listed, ran[0].record["results"]) == []
    assert len(list(sources.table(listed))) > 80


def test_every_row_and_erratum_stands_on_the_page_of_the_sources(listed):
    named = {kind: set() for kind in sources.KINDS}
    for *_, where in sources.table(listed):
        for kind, names in sources.places(where):
            named[kind].add(names[0].replace("\\|", "|"))
    assert set(sources.ROWS) - {sources.only(name, sources.ROWS) for name in named["row"]} == set()
    errata_named = {sources.only(name, sources.SLIPS) for name in named["erratum"]}
    assert set(sources.SLIPS) - errata_named == set()


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("0.4246, -0.4246", "0.4246, -0.4264", "nothing gives -0.4264"),
        ("309 and 333 errors", "308 and 333 errors", "nothing gives 308"),
        ("1, 4, 16 waves: 16, 64, 256", "1, 4, 16 waves: 16, 64, 258", "nothing gives 258"),
        ("-0.93 -2.23", "-0.93 2.23", "nothing gives 2.23"),
        ("row `sum t^2", "row `sum t^3", "0 begin with sum t^3 + sum log u"),
        ("picture `xor.png`", "picture `xnor.png`", "there is no xnor.png"),
        ("[4, Templates]", "[4, Stencils]", "Stencils"),
        ("[8, The table](08_vgg16", "[7, The table](08_vgg16", "is not notebook 7, The table"),
    ],
)
def test_a_planted_error_on_the_page_of_the_sources_is_found(ran, listed, right, wrong, complaint):
    assert listed.count(right) == 1
    found = sources.complaints(listed.replace(right, wrong), ran[0].record["results"])
    assert len(found) == 1
    assert found[0].endswith(complaint)


# Those of the slips whose right numbers nobody printed.


def test_with_the_transposes_the_graph_has_the_gradient_that_differences_see(ran):
    w1, w2, x0 = np.array([[1.0, 2.0], [0, 1]]), np.array([[0.0, 1], [-1, 3]]), np.array([1.0, -2])

    def q(x0):
        x1 = w1 @ x0
        return np.linalg.norm(w1 @ (x1 + x0 + w2 @ x1))

    steps = 1e-6 * np.eye(2)
    differences = [(q(x0 + step) - q(x0 - step)) / 2e-6 for step in steps]
    printed, right = erratum(ran, "backward through a graph")
    np.testing.assert_allclose(right, differences, rtol=1e-5)
    assert np.max(np.abs(printed - np.asarray(differences))) > 1


def erratum(ran, start):
    (slip,) = (slip for slip in errata.ERRATA if slip.printed.startswith(start))
    value = ran[0].record["results"][f"erratum: {slip.printed}"]["value"]
    return np.asarray(value["as printed"], float), np.asarray(value["right"], float)


def test_the_printed_rate_with_the_sum_diverges_and_with_the_mean_descends(ran):
    printed, right = erratum(ran, "w - eta times the sum")
    assert printed[0] == right[0]
    assert printed[1] > 100 * printed[0]
    assert not np.isfinite(printed[3])
    assert (np.diff(right) < 0).all()


def test_linear_hidden_units_fit_what_the_best_straight_line_fits_and_no_more(ran):
    (one, hundred), _ = erratum(ran, "the course: a single hidden linear layer")
    x = np.linspace(-1, 1, 201)
    line = np.polynomial.Polynomial.fit(x, x**2, 1)
    best = np.sqrt(np.mean((line(x) - x**2) ** 2))
    np.testing.assert_allclose([one, hundred], best, rtol=1e-4)


def test_uniform_weights_saturate_the_tanh_and_leave_no_gradient(ran):
    printed, right = erratum(ran, "a tanh network")
    assert printed[0] > 0.95
    assert printed[1] > 0.9999
    assert printed[2] < 1e-6
    assert right[2] > 0.01


def test_a_descent_comes_nearer_with_its_steps_and_not_to_the_best_fit(ran):
    _, right = erratum(ran, "the course: universal approximation")
    assert (np.diff(right) < 0).all()
    assert right[2] > 100 * right[3]


# The judges themselves.


@pytest.mark.parametrize(
    ("computed", "printed", "right"),
    [
        (0.7311, "0.73", True),
        (0.7361, "0.73", False),
        (-0.7311, "0.73", False),
        (12.0, "12", True),
        (12.4, "12", False),  # without decimals it is exact
        ([3.0, 12.0], "3 12", True),
        ([12.0, 3.0], "3 12", False),
        ([3.0, 12.0, 1.0], "3 12", False),
        ([[1.0, 2.0], [3.0, 4.0]], "1 2; 3 4", True),
        (np.nan, "0.73", False),
        (3.8655e10, "3.87e+10", True),
        (3.88e10, "3.87e+10", False),
        (154.6, "1.5e+02", True),
        (155.1, "1.5e+02", False),
        ("TypeError", "TypeError", True),
        ("ValueError", "TypeError", False),
    ],
)
def test_agreeing_is_rounding_to_the_printed_digits(computed, printed, right):
    assert agrees(computed, printed) == right


def test_numbers_are_shown_as_they_are_printed():
    assert show(np.array([[0.1, -0.25], [1 / 3, 12]])) == "0.1 -0.25; 0.33333 12"
    assert show(-0.0) == "0"
    assert show(np.array([157201, np.inf])) == "157201 inf"
    assert show(np.arange(8).reshape(1, 2, 2, 2)) == "0 1; 2 3; 4 5; 6 7"
    assert show(np.ones((1, 1, 3, 1))) == "1 1 1"
    assert (show(None), show("TypeError")) == ("", "TypeError")


def test_a_value_used_twice_gets_both_gradients_and_an_unused_one_none():
    x, y = jnp.array([2.0, 3.0]), jnp.array([5.0, 7.0])
    steps = {"a": (multiply, "x", "y"), "b": (multiply, "a", "x"), "c": (square, "y")}
    steps |= {"f": (add, "a", "b")}  # f = x y + x^2 y, c leads nowhere
    inputs = {"x": x, "y": y}
    for grads in (by_hand(steps, inputs), by_jax(steps, inputs)):
        np.testing.assert_array_equal(grads["x"], [5 + 20, 7 + 42])
        np.testing.assert_array_equal(grads["y"], [2 + 4, 3 + 9])
        np.testing.assert_array_equal(grads["a"], [1 + 2, 1 + 3])
        np.testing.assert_array_equal(grads["c"], [0, 0])


def slipped(x):
    return cube(x)


def slipped_backward(g, x):
    return 3.001 * g * x**2


def test_a_planted_error_is_marked(tmp_path, monkeypatch, capsys):
    example = Example(
        "planted", {"x": [2.0]}, {"f": (slipped, "x")}, {"f": "8"}, {"x": "12.0", "f": "1"}
    )
    monkeypatch.setattr(worked_examples, "EXAMPLES", (NEURON, example))
    with runs.start("planted", seed=0, arguments={}, root=tmp_path) as run:
        marks = worked_examples._examples(run)
    assert marks == [True] * 13 + [False, True]
    assert capsys.readouterr().out.count("✗") == 1


def test_the_rules_are_not_what_jax_grad_looks_at():
    steps, inputs = {"f": (slipped, "x")}, {"x": jnp.array(2.0)}
    assert float(by_jax(steps, inputs)["x"]) == 12.0
    np.testing.assert_allclose(by_hand(steps, inputs)["x"], 12.004, rtol=1e-6)


def test_steps_that_are_not_a_multiple_are_refused(tmp_path):
    with pytest.raises(ValueError, match="steps 10 is not a multiple of every 3"):
        worked_examples.main(worked_examples.Config(steps=10, every=3, root=tmp_path))


def test_the_squared_length_is_checked_against_the_matrices_written_out():
    values, hand, _ = SQUARED_LENGTH.run()
    w, x = np.array([[0.1, 0.5], [-0.3, 0.8]]), np.array([0.2, 0.4])
    np.testing.assert_allclose(values["f"], np.sum((w @ x) ** 2), rtol=1e-6)
    np.testing.assert_allclose(hand["W"], 2 * np.outer(w @ x, x), rtol=1e-6)
    assert jax.tree.map(jnp.shape, hand)["W"] == (2, 2)
