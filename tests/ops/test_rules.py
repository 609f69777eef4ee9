"""Every operator and every loss with its rule, through one table of the same questions."""

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import losses
from chainrule.check import check_gradients
from chainrule.losses import metric, predictions
from chainrule.ops import NoRuleError, activations, backward_of, distances, elementary, linear
from tests import oracles


class Case(NamedTuple):
    operator: Callable[..., Any]
    value: Callable[..., Any]  # the oracle
    rule: Callable[..., Any]  # the oracle's gradients: a bare one, or one per array that has any
    arrays: tuple[np.ndarray, ...]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def elementwise(operator, value, slope, inputs=None):
    inputs = normal(0, 3, 4) if inputs is None else inputs
    return Case(operator, *oracles.elementwise_operator(value, slope), (inputs,))


def gate(operator, value, by_x, by_y):
    def rule(g, x, y):
        return oracles.elementwise(by_x, g, x, y), oracles.elementwise(by_y, g, x, y)

    return Case(
        operator,
        functools.partial(oracles.elementwise, value),
        rule,
        (normal(1, 3, 4), normal(2, 3, 4)),
    )


def loss(operator, value, slope, targets, scores=None):
    return Case(
        operator,
        functools.partial(oracles.mean_loss, value),
        functools.partial(oracles.mean_loss_backward, slope),
        (normal(3, 5, 2) if scores is None else scores, targets),
    )


def triplet_rule(g, positive, negative):
    gradient = oracles.mean_loss_backward(lambda p, n: p - n > -0.5, g, positive, negative)
    return gradient, -gradient


def squared_error_rule(g, predictions, targets):
    gradient = oracles.mean_loss_backward(lambda p, t: 2 * (p - t), g, predictions, targets)
    return gradient, -gradient


SIGNS = np.where(normal(4, 5, 2) > 0, 1, -1).astype(np.int32)
leaky = functools.partial(activations.leaky_relu, slope=0.2)
flat = functools.partial(activations.elu, alpha=0.5)
line = functools.partial(activations.affine, scale=-3.0, shift=0.5)
maxout3 = functools.partial(activations.maxout, pieces=3)
wide = functools.partial(losses.hinge, margin=0.7)

CASES = {
    "linear": Case(
        linear.linear,
        oracles.linear,
        oracles.linear_backward,
        (normal(0, 4, 3), normal(1, 3, 2), normal(2, 2)),
    ),
    "matvec": Case(
        linear.matvec, oracles.matvec, oracles.matvec_backward, (normal(0, 3, 4), normal(1, 4))
    ),
    "add": gate(elementary.add, lambda x, y: x + y, lambda g, x, y: g, lambda g, x, y: g),
    "multiply": gate(
        elementary.multiply, lambda x, y: x * y, lambda g, x, y: g * y, lambda g, x, y: g * x
    ),
    "maximum": gate(
        elementary.maximum, max, lambda g, x, y: g * (x >= y), lambda g, x, y: g * (x < y)
    ),
    "square": elementwise(elementary.square, lambda x: x * x, lambda x: 2 * x),
    "norm": Case(elementary.norm, oracles.norm, oracles.norm_backward, (normal(0, 3, 4),)),
    "plain_norm": Case(
        elementary.plain_norm, oracles.norm, oracles.norm_backward, (normal(0, 3, 4),)
    ),
    "affine": elementwise(line, lambda x: -3 * x + 0.5, lambda x: -3),
    "step": elementwise(activations.step, lambda x: x >= 0, lambda x: 0),
    "sigmoid": elementwise(
        activations.sigmoid,
        oracles.sigmoid,
        lambda x: math.exp(-abs(x)) / (1 + math.exp(-abs(x))) ** 2,
    ),
    "tanh": elementwise(activations.tanh, math.tanh, lambda x: math.cosh(x) ** -2),
    "relu": elementwise(activations.relu, lambda x: max(x, 0), lambda x: x > 0),
    "leaky_relu": elementwise(
        leaky, lambda x: x if x > 0 else 0.2 * x, lambda x: 1 if x > 0 else 0.2
    ),
    "elu": elementwise(
        flat,
        lambda x: x if x > 0 else 0.5 * (math.exp(x) - 1),
        lambda x: 1 if x > 0 else 0.5 * math.exp(x),
    ),
    "maxout": Case(
        maxout3,
        functools.partial(oracles.maxout, pieces=3),
        functools.partial(oracles.maxout_backward, pieces=3),
        (normal(0, 4, 6),),
    ),
    "squared_error": Case(
        losses.squared_error,
        functools.partial(oracles.mean_loss, lambda p, t: (p - t) ** 2),
        squared_error_rule,
        (normal(3, 5, 2), normal(4, 5, 2)),
    ),
    "cross_entropy": Case(
        losses.cross_entropy,
        oracles.cross_entropy,
        oracles.cross_entropy_backward,
        (normal(3, 5, 4), np.array([3, 0, 1, 3, 2], np.int32)),
    ),
    "binary_cross_entropy": loss(
        losses.binary_cross_entropy,
        lambda s, y: -y * math.log(oracles.sigmoid(s)) - (1 - y) * math.log(oracles.sigmoid(-s)),
        lambda s, y: oracles.sigmoid(s) - y,
        (SIGNS + 1) // 2,
    ),
    "hinge": loss(
        wide, lambda s, y: max(0.7 - y * s, 0), lambda s, y: -y if y * s <= 0.7 else 0, SIGNS
    ),
    "squared_hinge": loss(
        losses.squared_hinge,
        lambda s, y: max(1 - y * s, 0) ** 2,
        lambda s, y: -2 * y * max(1 - y * s, 0),
        SIGNS,
    ),
    "perceptron": loss(
        losses.perceptron, lambda s, y: max(-y * s, 0), lambda s, y: -y if y * s <= 0 else 0, SIGNS
    ),
    "euclidean": Case(
        distances.euclidean,
        oracles.euclidean,
        oracles.euclidean_backward,
        (normal(0, 3, 4), normal(1, 3, 4)),
    ),
    "pairwise": Case(
        distances.pairwise,
        oracles.pairwise,
        oracles.pairwise_backward,
        (normal(0, 3, 4), normal(1, 2, 4)),
    ),
    "unit": Case(distances.unit, oracles.unit, oracles.unit_backward, (normal(0, 3, 4),)),
    # The paper's Y is 0 for a pair that belongs together.
    "contrastive": loss(
        functools.partial(losses.contrastive, margin=0.7),
        lambda d, same: ((1 - (1 - same)) * d**2 + (1 - same) * max(0, 0.7 - d) ** 2) / 2,
        lambda d, same: d if same else -max(0, 0.7 - d),
        SIGNS > 0,
        np.abs(normal(3, 5, 2)),
    ),
    "triplet": Case(
        functools.partial(losses.triplet, margin=0.5),
        functools.partial(oracles.mean_loss, lambda p, n: max(p - n + 0.5, 0)),
        triplet_rule,
        (np.abs(normal(3, 5, 2)), np.abs(normal(4, 5, 2))),
    ),
    "supervised_contrastive": Case(
        functools.partial(losses.supervised_contrastive, temperature=0.5),
        functools.partial(oracles.supervised_contrastive, temperature=0.5),
        functools.partial(oracles.supervised_contrastive_backward, temperature=0.5),
        (normal(3, 5, 5), np.array([3, 0, 3, 0, 2], np.int32)),
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def bare(gradients):
    """One gradient is bare, also where the other arrays are labels."""
    real = jax.tree.leaves(gradients)
    return real[0] if len(real) == 1 else tuple(real)


def run(case, arrays, seed=9, transform=jax.jit):
    """The outputs, an incoming gradient of their shape, and what the rule makes of it."""
    outputs = transform(case.operator)(*arrays)
    g = jnp.asarray(normal(seed, *outputs.shape), outputs.dtype)
    return outputs, g, transform(backward_of(case.operator))(g, *arrays)


def assert_close(got, want, rtol, atol):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol)


def as_jax(case, dtype=jnp.float32):
    return tuple(
        jnp.asarray(array, dtype if array.dtype == np.float32 else None) for array in case.arrays
    )


@every_case
def test_values_and_gradients_are_those_of_the_naive_version(case):
    outputs, g, gradients = run(case, as_jax(case), transform=lambda function: function)
    assert_close(outputs, case.value(*case.arrays), rtol=2e-6, atol=1e-6)
    expected = case.rule(np.asarray(g), *case.arrays)
    assert_close(bare(gradients), expected, rtol=5e-6, atol=1e-6)
    # Compiled, they are the same.
    assert_close(run(case, as_jax(case)), (outputs, g, gradients), rtol=1e-6, atol=1e-6)


@every_case
def test_there_is_one_gradient_per_array_of_its_shape(case):
    arrays = as_jax(case)
    g = jax.eval_shape(case.operator, *arrays)
    gradients = jax.eval_shape(backward_of(case.operator), g, *arrays)
    assert isinstance(gradients, tuple) == (len(arrays) > 1)
    gradients = gradients if len(arrays) > 1 else (gradients,)
    for gradient, array in zip(gradients, arrays, strict=True):
        if jnp.issubdtype(array.dtype, jnp.floating):
            assert gradient.shape == array.shape
            assert gradient.dtype == array.dtype
        else:
            assert gradient is None


@every_case
@pytest.mark.usefixtures("unchecked")
def test_a_gradient_of_another_shape_than_the_output_is_refused(case):
    arrays = as_jax(case)
    shape = jax.eval_shape(case.operator, *arrays).shape
    # Each of them would broadcast, or be broadcast.
    others = [(1, *shape), (2, *shape), *[(1,) * len(shape), ()][: len(shape)]]
    for other in others:
        with pytest.raises(ValueError, match=r"^g \(.*\) for an output .* the shape of the output"):
            backward_of(case.operator)(jnp.ones(other), *arrays)


@every_case
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_array_is_refused_by_its_name(case):
    arrays = list(as_jax(case))
    g = jnp.ones(jax.eval_shape(case.operator, *arrays).shape)
    names = list(inspect.signature(case.operator).parameters)
    for index in range(len(arrays)):
        for wrong in ("x", [1.0], None):
            given = [*arrays[:index], wrong, *arrays[index + 1 :]]
            message = f"{names[index]} must be an array of numbers, not a "
            with pytest.raises(ValueError, match=message):
                case.operator(*given)
            with pytest.raises(ValueError, match=message):
                backward_of(case.operator)(g, *given)


@pytest.mark.parametrize(
    ("operator", "setting"),
    [
        (activations.affine, {"scale": "x"}),
        (activations.affine, {"shift": math.nan}),
        (activations.leaky_relu, {"slope": math.inf}),
        (activations.elu, {"alpha": None}),
        (activations.maxout, {"pieces": 2.0}),
        (activations.maxout, {"pieces": True}),
        (losses.hinge, {"margin": -1.0}),
        (losses.hinge, {"margin": math.nan}),
        (losses.contrastive, {"margin": math.inf}),
        (losses.contrastive, {"margin": 0}),
        (losses.triplet, {"margin": "x"}),
        (losses.triplet, {"margin": math.nan}),
        (losses.supervised_contrastive, {"temperature": 0.0}),
        (losses.supervised_contrastive, {"temperature": math.inf}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.usefixtures("unchecked")
def test_a_setting_out_of_its_range_is_refused_forward_and_backward(operator, setting):
    arrays = as_jax(CASES[operator.__name__])
    g = jnp.ones(jax.eval_shape(operator, *arrays).shape)
    ((name, value),) = setting.items()
    message = rf"{name} must be .*, not {re.escape(repr(value))}"
    with pytest.raises(ValueError, match=message):
        operator(*arrays, **setting)
    if setting != {"shift": value}:  # which has no part in the gradient
        with pytest.raises(ValueError, match=message):
            backward_of(operator)(g, *arrays, **setting)


@every_case
def test_the_rule_is_jax_grad_and_the_slope_of_the_function(case):
    arrays = as_jax(case)
    _, g, _ = run(case, arrays)

    def reference(*arrays):
        return jnp.sum(g * case.operator(*arrays))

    def mine(*arrays):
        return jax.jit(backward_of(case.operator))(g.astype(arrays[0].dtype), *arrays)

    report = check_gradients(mine, reference, *arrays)
    assert report.verdict == "equal", str(report)


@every_case
def test_vmap_is_the_loop(case):
    twice = tuple(np.stack([array, array[::-1]]) for array in as_jax(case))
    outputs, g, gradients = run(case, twice, transform=lambda f: jax.jit(jax.vmap(f)))
    for i in range(2):
        row = tuple(array[i] for array in twice)
        assert_close(outputs[i], jax.jit(case.operator)(*row), rtol=1e-6, atol=1e-6)
        expected = jax.jit(backward_of(case.operator))(g[i], *row)
        got = jax.tree.map(lambda leaf, i=i: leaf[i], gradients)
        assert_close(got, expected, rtol=1e-6, atol=1e-6)


@every_case
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("bfloat16", 0.06)])
def test_the_dtype_stays_what_it_is(case, dtype, tolerance, x64):
    arrays = as_jax(case, dtype)
    outputs, g, gradients = run(case, arrays)
    assert outputs.dtype == dtype
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(gradients))
    exact = [np.asarray(array, np.float64 if array.dtype == dtype else None) for array in arrays]
    assert_close(outputs, case.value(*exact), rtol=tolerance, atol=tolerance)
    expected = case.rule(np.asarray(g, np.float64), *exact)
    assert_close(bare(gradients), expected, rtol=tolerance, atol=tolerance)


@every_case
def test_nan_passes(case):
    first, *others = as_jax(case)
    outputs = case.operator(jnp.full_like(first, jnp.nan), *others)
    if case is CASES["step"]:  # a threshold answers 0 or 1
        assert jnp.all(outputs == 0)
    else:
        assert jnp.all(jnp.isnan(outputs))


def test_the_table_holds_every_operator():
    modules = (linear, elementary, activations, distances, predictions, metric)
    public = {
        name
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and f"{name}_backward" in vars(module)
    }
    assert public <= set(CASES)


def test_the_rule_of_a_function_without_one_is_refused():
    with pytest.raises(LookupError, match="no function cos_backward in module"):
        backward_of(jnp.cos)
    with pytest.raises(NoRuleError, match="write the rule beside the operator"):
        backward_of(functools.partial(elementary.add, jnp.ones(3)))


def test_the_rule_of_a_partial_has_its_settings():
    rule = backward_of(functools.partial(activations.leaky_relu, slope=0.25))
    assert float(rule(jnp.array(8.0), jnp.array(-1.0))) == 2.0
