import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule.models import threshold

GATES = {
    "OR": (threshold.OR, [0, 1, 1, 1], [1, 1], -0.5),
    "AND": (threshold.AND, [0, 0, 0, 1], [1, 1], -1.5),
    "NOT": (threshold.NOT, [1, 0], [-1], 0.5),
}
ALL_TABLES = [
    pytest.param(list(itertools.product([0, 1], repeat=2**n)), n, id=f"{2**2**n} of {n}")
    for n in (1, 2, 3)
]


@pytest.mark.parametrize("name", GATES)
def test_the_gates_have_the_weights_and_the_table_of_the_notes(name):
    params, table, weights, bias = GATES[name]
    assert params["layer1"]["kernel"][:, 0].tolist() == weights
    assert params["layer1"]["bias"].tolist() == [bias]
    outputs = threshold.apply(params, threshold.rows(len(weights)))
    assert outputs.tolist() == table
    assert outputs.dtype == jnp.int32


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_rows_count_with_the_first_input_most_significant(n):
    assert threshold.rows(n).tolist() == [list(row) for row in itertools.product([0, 1], repeat=n)]


@pytest.mark.parametrize(("tables", "n"), ALL_TABLES)
def test_every_function_of_few_inputs(tables, n):
    inputs = jnp.array(list(itertools.product([0, 1], repeat=n)))
    assert len(tables) == 2**2**n
    apply = jax.jit(threshold.apply)  # compiled once for each number of true rows
    for table in tables:
        assert apply(threshold.from_truth_table(table), inputs).tolist() == list(table)


@pytest.mark.parametrize("seed", range(5))
def test_random_functions_of_eight_inputs(seed):
    table = np.random.default_rng(seed).random(256) < [0.02, 0.3, 0.5, 0.7, 0.98][seed]
    inputs = jnp.array(list(itertools.product([0, 1], repeat=8)))
    params = threshold.from_truth_table(table)
    assert threshold.apply(params, inputs).tolist() == table.astype(int).tolist()


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_ten_inputs_are_exact_with_one_unit_per_true_row(share):
    table = np.random.default_rng(0).random(1024) < share
    params = threshold.from_truth_table(table)
    assert params["layer1"]["kernel"].shape == (10, table.sum())
    inputs = jnp.array(list(itertools.product([0, 1], repeat=10)))
    np.testing.assert_array_equal(threshold.apply(params, inputs), table)


def test_a_function_that_is_never_true_has_no_units():
    params = threshold.from_truth_table([0] * 8)
    assert params["layer1"]["kernel"].shape == (3, 0)
    assert threshold.apply(params, threshold.rows(3)).tolist() == [0] * 8


def test_which_unit_is_which():
    # Rows: a weight each; the join: one common weight, as in McCulloch and Pitts' unit.
    params = threshold.from_truth_table([0, 1, 0, 0, 0, 1, 1, 0])
    assert params["layer1"]["kernel"].T.tolist() == [[-1, -1, 1], [1, -1, 1], [1, 1, -1]]
    assert params["layer1"]["bias"].tolist() == [-0.5, -1.5, -1.5]
    assert params["layer2"]["kernel"].T.tolist() == [[1, 1, 1]]
    assert params["layer2"]["bias"].tolist() == [-0.5]


@pytest.mark.parametrize(
    "table",
    [
        [0, 1, 1, 0],
        (False, True, True, False),
        np.array([0.0, 1.0, 1.0, 0.0]),
        jnp.array([0, 1, 1, 0]),
    ],
)
def test_a_table_may_be_any_row_of_bits(table):
    xor = threshold.from_truth_table(table)
    assert threshold.apply(xor, threshold.rows(2)).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("dtype", [bool, jnp.uint8, jnp.int32, jnp.float32])
def test_apply_under_jit_and_vmap_and_with_any_dtype(dtype):
    xor = threshold.from_truth_table([0, 1, 1, 0])
    inputs = threshold.rows(2).astype(dtype)
    assert jax.jit(threshold.apply)(xor, inputs).tolist() == [0, 1, 1, 0]
    one = jax.vmap(lambda row: threshold.apply(xor, row[None, :])[0])
    assert one(inputs).tolist() == [0, 1, 1, 0]


@pytest.mark.usefixtures("x64")
def test_threshold_in_double_precision():
    inputs = threshold.rows(2).astype(jnp.float64)
    for params in (threshold.from_truth_table([0, 1, 0, 0]), threshold.descend([0, 1, 0, 0])):
        assert threshold.apply(params, inputs).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("table", [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 0, 1], [1, 0], [0] * 7 + [1]])
def test_descent_finds_the_tables_of_single_units(table):
    params = threshold.descend(table, eta=4.0, steps=200)
    assert threshold.apply(params, threshold.rows(len(table).bit_length() - 1)).tolist() == table


def test_descent_is_the_gradient_written_out():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    y = np.array([1, 1, 0, 1], float)
    w, b = np.zeros(2), 0.0
    for _ in range(30):
        # The derivative of the cross-entropy with respect to the logit is p - y.
        error = 1 / (1 + np.exp(-(x @ w + b))) - y
        w, b = w - 0.7 * x.T @ error / 4, b - 0.7 * error.mean()
    found = threshold.descend([1, 1, 0, 1], eta=0.7, steps=30)["layer1"]
    np.testing.assert_allclose(found["kernel"][:, 0], w, rtol=1e-5)
    np.testing.assert_allclose(found["bias"], [b], rtol=1e-5)
    assert not np.isclose(w[0], w[1])


def test_no_single_unit_computes_xor():
    found = threshold.descend([0, 1, 1, 0], eta=1.0, steps=1000)
    assert threshold.apply(found, threshold.rows(2)).tolist() != [0, 1, 1, 0]
    # The best that a sigmoid can do is to say one half everywhere.
    np.testing.assert_allclose(found["layer1"]["kernel"], 0, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 3, 6])
@pytest.mark.parametrize("build", [threshold.from_truth_table, threshold.descend])
def test_a_table_of_the_wrong_length(build, length):
    with pytest.raises(ValueError, match=rf"has 2\*\*n entries .* got shape \({length},\)"):
        build([0] * length)


def test_a_table_of_rows_is_no_table():
    with pytest.raises(ValueError, match=r"got shape \(2, 2\)"):
        threshold.from_truth_table([[0, 1], [1, 0]])


@pytest.mark.parametrize("entry", [2, -1, 0.5, float("nan")])
def test_a_table_that_is_not_boolean(entry):
    with pytest.raises(ValueError, match=rf"table must be 0 or 1, not {entry} at index 2"):
        threshold.from_truth_table([0, 1, entry, 0])


def test_inputs_that_are_not_boolean():
    with pytest.raises(ValueError, match=r"inputs must be 0 or 1, not 3 at index \(1, 0\)"):
        threshold.apply(threshold.OR, jnp.array([[0, 1], [3, 0]]))


def test_inputs_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"takes 2 inputs, got inputs of shape \(1, 3\)"):
        threshold.apply(threshold.AND, jnp.array([[0, 1, 0]]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: threshold.rows(64), "n must be an int from 1 to 20, not 64"),
        (lambda: threshold.rows(2.0), r"n must be an int from 1 to 20, not 2\.0"),
        (lambda: threshold.descend([0, 1], eta=0), "eta must be a finite number above 0, not 0"),
        (lambda: threshold.descend([0, 1], steps=2.5), r"steps must be an int .* not 2\.5"),
        (lambda: threshold.apply(threshold.OR, jnp.ones(2)), r"shape \(2,\): they must be \[batch"),
        (
            lambda: threshold.apply(3, jnp.ones((1, 2))),
            "params must be a dict of layers",
        ),
        (
            lambda: threshold.apply({"a": 1}, jnp.ones((1, 2))),
            r"\['a'\]: the first layer is",
        ),
        (lambda: threshold.descend([[0], [0, 1]]), "table must be an array of numbers: "),
        (lambda: threshold.apply(threshold.OR, [[0, 1]]), "inputs must be an array of numbers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_out_of_range_or_of_another_kind_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
