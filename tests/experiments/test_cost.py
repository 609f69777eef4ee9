import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import runs
from chainrule.models import mlp
from experiments import backward_cost, batch_processing


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    config = backward_cost.Config(
        widths=(8, 32),
        depths=(1, 3),
        batches=(16,),
        width=64,
        depth=2,
        batch=8,
        samples=20,
        turns=2,
        at_least=0.0,
        root=tmp_path_factory.mktemp("runs"),
    )
    return runs.load(backward_cost.main(config))


@pytest.mark.parametrize(
    ("what", "without", "tolerance"),
    [
        ("width 32", 3 / 2, 0.06),
        ("depth 1", 1, 0.1),
        ("depth 3", 5 / 3, 0.1),
        ("batch 16", 3 / 2, 0.1),
        ("notes 784-200-1", 1 + 200 / 157000, 0.02),
    ],
)
def test_by_operations_the_ratio_is_twice_the_forward_pass_without_the_first_product(
    costs, what, without, tolerance
):
    for which, expected in (("without", without), ("with", 2)):
        name = f"{what}, {which} the gradient of the inputs: backward / forward, operations"
        result = costs.record["results"][name]
        assert result["expected"] == pytest.approx(expected, rel=1e-6)
        assert result["value"] == pytest.approx(expected, abs=tolerance)


def test_times_are_recorded_by_turn_and_drawn(costs):
    name = "depth 3, with the gradient of the inputs: backward / forward, time by turn"
    assert len(costs.record["results"][name]["value"]) == 2
    assert (costs.path / "backward.png").is_file()


def test_most_operations_are_products_of_matrices(costs):
    share = {
        width: costs.record["results"][f"width {width}: share of the products, operations"]["value"]
        for width in (8, 32)
    }
    assert 0.75 < share[8] < share[32] < 1


def counted(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().cost_analysis()["flops"]


def test_the_products_that_are_predicted_are_those_that_are_compiled():
    sizes, batch = (5, 7, 3, 2), 4
    arrays = backward_cost.draw(0, sizes, batch)
    by_hand = 2 * batch * (5 * 7 + 7 * 3 + 3 * 2)
    below = 2 * batch * (7 * 3 + 3 * 2)
    predicted = backward_cost.operations(sizes, batch)
    assert predicted["forward"] == by_hand
    assert predicted["with"] == 3 * by_hand
    assert predicted["without"] == predicted["products"] == 2 * by_hand + below
    assert counted(backward_cost.products, *arrays) == predicted["products"]


def test_an_outer_product_has_nothing_to_add_up():
    sizes = (32, 32, 32)
    one, many = (
        counted(backward_cost.products, *backward_cost.draw(0, sizes, batch)) / batch
        for batch in (1, 8)
    )
    # Two kernels, a multiplication for each element in place of a multiplication and an addition.
    assert many - one == pytest.approx(2 * 32 * 32, rel=0.01)


def test_the_products_alone_are_a_network_without_bias_and_activation():
    params, inputs, targets = backward_cost.draw(3, (4, 3, 2), 5)
    outputs, (gradients,) = backward_cost.products(params, inputs, targets)
    kernels = [np.asarray(params[f"layer{i}"]["kernel"]) for i in (1, 2)]
    np.testing.assert_allclose(outputs, np.asarray(inputs) @ kernels[0] @ kernels[1], rtol=1e-4)
    by_hand = np.asarray(inputs).T @ np.asarray(targets) @ kernels[1].T
    np.testing.assert_allclose(gradients["layer1"]["kernel"], by_hand, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    config = batch_processing.Config(
        sizes=(6, 8, 4),
        batches=(1, 2, 8),
        looped=2,
        side=32,
        turns=2,
        at_least=0.0,
        root=tmp_path_factory.mktemp("runs"),
    )
    return runs.load(batch_processing.main(config))


def test_every_way_is_timed_at_every_size_it_is_asked_for(batches):
    results = batches.record["results"]
    timed = {name for name in results if name.endswith("seconds a sample, by turn")}
    assert timed == {
        f"{one}, {way} of {batch}: seconds a sample, by turn"
        for one in ("forward", "forward + backward")
        for way, sizes in (("batch", (1, 2, 8)), ("compiled loop", (1, 2)), ("Python loop", (1, 2)))
        for batch in sizes
    }
    assert all(len(results[name]["value"]) == 2 for name in timed)
    assert (batches.path / "batches.png").is_file()
    assert batches.record["compile_seconds"] > 0


def test_operations_and_bytes_are_those_of_the_network(batches):
    results = batches.record["results"]
    kernels, parameters = 6 * 8 + 8 * 4, 6 * 8 + 8 + 8 * 4 + 4
    moved = "bytes of parameters, and of their gradients, a batch"
    assert results[f"forward: {moved}"]["value"] == 4 * parameters
    assert results[f"forward + backward: {moved}"]["value"] == 8 * parameters
    # One bias and one comparison for each unit besides.
    assert 2 * kernels < results["forward: operations a sample"]["value"] < 2 * kernels + 30
    assert results["forward + backward: operations a sample"]["value"] > 2 * (3 * kernels - 6 * 8)


def test_all_ways_to_compute_a_batch_give_the_same_numbers(tmp_path):
    params = mlp.init(jax.random.key(0), (5, 4, 3))
    inputs = jax.random.normal(jax.random.key(1), (7, 5))
    targets = jax.random.normal(jax.random.key(2), (7, 3))
    with runs.start("ways", seed=0, arguments={}, root=tmp_path) as run:
        ways = batch_processing.at_once(run, params, inputs, targets)
        ways |= batch_processing.one_by_one(run, params, inputs, targets)
        answers = {name: call() for name, call in ways.items()}
    outputs = answers["forward", "batch"]
    np.testing.assert_allclose(answers["forward", "compiled loop"], outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        jnp.stack(answers["forward", "Python loop"]), outputs, rtol=1e-5, atol=1e-6
    )
    expected = jnp.sum((outputs - targets) ** 2) / 3
    for way in ("batch", "compiled loop", "Python loop"):
        total, gradients = answers["forward + backward", way]
        np.testing.assert_allclose(total, expected, rtol=1e-5)
        for one, other in zip(
            jax.tree.leaves(gradients),
            jax.tree.leaves(answers["forward + backward", "batch"][1]),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
