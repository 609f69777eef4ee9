"""Modules: what is no array in them stays as it is, in the x-ray and in descents."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import descent, xray
from chainrule._modules import Whole, split
from chainrule.descent import run


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: Any
    activation: Callable[..., Any]
    residual: Any = True
    mode: Any = "train"
    rate: Any = 0.5

    def __call__(self, x):
        assert self.mode == "train"  # what was given, and nothing traced
        y = self.rate * self.activation(x @ self.weight) if self.rate else x
        return x + y if self.residual else y


NET = {
    "first": Layer(jnp.array([[1.0, 2.0], [-1.0, 0.5]]), jnp.tanh),
    "layers": [Layer(jnp.eye(2), jax.nn.relu), None],
}
X = jnp.array([[0.5, -1.0], [2.0, 0.25]])


def loss(net, x=X):
    return jnp.mean(net["layers"][0](net["first"](x)) ** 2)


def of_weights(weights, x=X):
    layers = [Layer(w, f) for w, f in zip(weights, (jnp.tanh, jax.nn.relu), strict=True)]
    return loss({"first": layers[0], "layers": layers[1:]}, x)


WEIGHTS = (NET["first"].weight, NET["layers"][0].weight)


def test_a_tree_comes_apart_and_together_again():
    held, fixed = split(NET)
    np.testing.assert_array_equal(jax.tree.leaves(held), WEIGHTS)
    assert fixed == split(NET)[1]
    assert hash(fixed) == hash(split(NET)[1])
    whole = fixed.whole(jax.tree.map(lambda x: 2 * x, held))
    assert (whole["first"].activation, whole["first"].rate) == (jnp.tanh, 0.5)
    np.testing.assert_array_equal(whole["first"].weight, 2 * WEIGHTS[0])
    np.testing.assert_array_equal(Whole(loss, (fixed,))(held), loss(NET))


@pytest.mark.parametrize("tree", [{"w": 2.0}, [1, True], (X, None), 3.0, {"name": "train"}])
def test_where_there_is_no_module_nothing_stays(tree):
    held, fixed = split(tree)
    assert held is tree
    assert not fixed.leaves
    assert fixed.whole(held) is tree


def test_the_x_ray_takes_a_module_as_it_is():
    report = xray.xray(loss, NET, X)
    arguments = [node.label for node in report.nodes if node.is_argument]
    assert arguments == ["net['first'].weight", "net['layers'][0].weight", "x"]
    expected = jax.jit(jax.grad(of_weights))(WEIGHTS)
    found = report.grads[0]
    np.testing.assert_allclose(found["first"].weight, expected[0], rtol=1e-6)
    np.testing.assert_allclose(found["layers"][0].weight, expected[1], rtol=1e-6)
    assert found["first"].activation is None
    assert all("test_modules.py" in node.line for node in report.nodes if node.op == "tanh")


def test_a_text_in_a_dict_is_still_refused():
    with pytest.raises(ValueError, match=r"argument net\['mode'\] of .* is 'train', a str"):
        xray.xray(lambda net: net["w"], {"w": 2.0, "mode": "train"})


def test_a_sweep_moves_the_arrays_of_a_module_and_compiles_once():
    rates = jnp.array([0.1, 0.5])
    trace = descent.sweep(loss, NET, rates, 2, record_params=True)
    expected = descent.sweep(of_weights, WEIGHTS, rates, 2, record_params=True)
    np.testing.assert_allclose(trace.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(trace.params["first"].weight, expected.params[0], rtol=1e-6)
    final = trace.final_params["layers"][0]
    assert (final.activation, final.mode) == (jax.nn.relu, "train")
    np.testing.assert_allclose(final.weight, expected.final_params[1], rtol=1e-6)
    before = run._lanes._cache_size()
    descent.sweep(loss, NET, rates + 0.01, 2, record_params=True)
    assert run._lanes._cache_size() == before


def test_a_descent_observes_the_whole_module():
    seen = descent.gradient_descent(
        loss, NET, optax.sgd(0.1), 2, record_params=False, observe=lambda net: net["first"](X)[0, 0]
    )
    assert seen.params is None
    np.testing.assert_allclose(seen.observed[0], NET["first"](X)[0, 0], rtol=1e-6)


def test_integers_in_a_module_are_still_refused_where_they_would_be_moved():
    whole = {"first": dataclasses.replace(NET["first"], weight=jnp.arange(2))}
    with pytest.raises(ValueError, match=r"params\['first'\].weight is int32"):
        descent.sweep(loss, whole, jnp.array([0.1]), 1)
