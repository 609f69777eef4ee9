import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import data, losses
from chainrule.check import check_gradients
from chainrule.models import mlp
from chainrule.ops import activations
from tests import oracles


def normal(seed, *shape, scale=1.0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, scale, shape), jnp.float32)


def network(*sizes):
    """Parameters as `mlp.init` shapes them, without the time that compiling a generator takes."""
    return {
        f"layer{i + 1}": {
            "kernel": normal(2 * i, *sizes[i : i + 2], scale=sizes[i] ** -0.5),
            "bias": normal(2 * i + 1, sizes[i + 1]),
        }
        for i in range(len(sizes) - 1)
    }


def assert_close(got, want, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol)


def test_init_is_uniform_within_one_over_the_root_of_the_fan_in():
    params = mlp.init(jax.random.key(0), (400, 300, 1))
    assert jax.tree.map(jnp.shape, params) == {
        "layer1": {"kernel": (400, 300), "bias": (300,)},
        "layer2": {"kernel": (300, 1), "bias": (1,)},
    }
    kernel, bias = params["layer1"]["kernel"], params["layer1"]["bias"]
    for leaf in (kernel, bias):
        assert 0.99 * 0.05 < np.abs(leaf).max() <= 0.05
    # The variance of the uniform distribution over +-b is b^2 / 3; 120,000 draws.
    np.testing.assert_allclose(np.var(kernel), 0.05**2 / 3, rtol=0.02)
    np.testing.assert_allclose(np.mean(kernel), 0, atol=5e-4)
    assert np.abs(params["layer2"]["kernel"]).max() <= 1 / np.sqrt(300)
    # Another key, other numbers; the same key, the same.
    other = mlp.init(jax.random.key(1), (400, 300, 1))
    assert np.all(np.asarray(other["layer1"]["kernel"]) != kernel)
    again = mlp.init(jax.random.key(0), (400, 300, 1))
    np.testing.assert_array_equal(again["layer1"]["kernel"], kernel)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3,), r"sizes \(3,\): give two widths or more"),
        ((), r"sizes \(\): give two widths or more"),
        ((3, 0, 1), r"sizes\[1\] must be an int of at least 1, not 0"),
        ((3.0, 1), r"sizes\[0\] must be an int of at least 1, not 3\.0"),
        ((10**6, 10**6, 1), r"sizes \(1000000, .* make 1,000,001,000,000 weights, more than 2,1"),
        (3, "sizes must be a sequence of ints, not 3"),
        ("31", "sizes must be a sequence of ints, not '31'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_init_refuses_sizes_that_make_no_network(sizes, message):
    with pytest.raises(ValueError, match=message):
        mlp.init(jax.random.key(0), sizes)


@pytest.mark.parametrize("key", [0, None, jax.random.split(jax.random.key(0))])
@pytest.mark.usefixtures("unchecked")
def test_init_refuses_what_is_no_key(key):
    with pytest.raises(ValueError, match=r"pass one key made by jax\.random\.key"):
        mlp.init(key, (3, 1))


PARAMS = {
    "layer1": {
        "kernel": jnp.array([[1.0, 2.0, -1.0], [0.0, -1.0, 3.0]]),
        "bias": jnp.array([0.5, 0.0, -1.0]),
    },
    "layer2": {"kernel": jnp.array([[2.0], [1.0], [-1.0]]), "bias": jnp.array([0.25])},
}
INPUTS = jnp.array([[1.0, 2.0], [-1.0, 2.0]])


def test_forward_and_backward_on_numbers_written_out():
    values = jax.jit(mlp.forward)(PARAMS, INPUTS)
    np.testing.assert_array_equal(values.inputs, INPUTS)
    np.testing.assert_array_equal(values.s["layer1"], [[1.5, 0, 4], [-0.5, -4, 6]])
    np.testing.assert_array_equal(values.x["layer1"], [[1.5, 0, 4], [0, 0, 6]])
    np.testing.assert_array_equal(values.outputs, [[-0.75], [-5.75]])
    np.testing.assert_array_equal(values.s["layer2"], values.outputs)
    np.testing.assert_array_equal(jax.jit(mlp.apply)(PARAMS, INPUTS), values.outputs)

    # The second unit of the first sample is at the corner of the ReLU: nothing passes.
    grads, by = jax.jit(mlp.backward)(PARAMS, values, jnp.array([[1.0], [10.0]]))
    np.testing.assert_array_equal(by.x["layer2"], [[1], [10]])
    np.testing.assert_array_equal(by.x["layer1"], [[2, 1, -1], [20, 10, -10]])
    np.testing.assert_array_equal(by.s["layer1"], [[2, 0, -1], [0, 0, -10]])
    np.testing.assert_array_equal(by.inputs, [[3, -3], [10, -30]])
    np.testing.assert_array_equal(grads["layer2"]["kernel"], [[1.5], [0], [64]])
    np.testing.assert_array_equal(grads["layer2"]["bias"], [11])
    np.testing.assert_array_equal(grads["layer1"]["kernel"], [[2, 0, 9], [4, 0, -22]])
    np.testing.assert_array_equal(grads["layer1"]["bias"], [2, 0, -11])


def test_the_batch_is_the_sum_of_the_notes_equations_for_one_sample():
    params, inputs, g = problem((3, 5, 4, 2), batch=6)
    values = jax.jit(functools.partial(mlp.forward, activation=activations.tanh))(params, inputs)
    backward = functools.partial(mlp.backward, activation=activations.tanh)
    values, (grads, by) = jax.device_get((values, jax.jit(backward)(params, values, g)))

    names = ["layer1", "layer2", "layer3"]
    layers = [
        (np.asarray(params[name]["kernel"], np.float64).T, np.asarray(params[name]["bias"]))
        for name in names
    ]
    sums = {name: {"kernel": 0, "bias": 0} for name in names}
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    for n in range(6):
        s, x, by_w, by_b, by_s, by_x = oracles.mlp_one_sample(
            layers, np.asarray(inputs)[n], np.tanh, lambda s: 1 - np.tanh(s) ** 2, np.asarray(g)[n]
        )
        close(values.inputs[n], x[0])
        close(by.inputs[n], by_x[0])
        for index, name in enumerate(names):
            close(values.s[name][n], s[index])
            close(values.x[name][n], x[index + 1])
            close(by.s[name][n], by_s[index])
            close(by.x[name][n], by_x[index + 1])
            sums[name]["kernel"] += by_w[index].T
            sums[name]["bias"] += by_b[index]
    jax.tree.map(close, grads, sums)


NETWORKS = [
    ((4, 1), activations.relu),
    ((4, 7, 1), activations.relu),
    ((4, 7, 3), activations.sigmoid),
    ((3, 6, 5, 4, 2), activations.tanh),
    ((3, 6, 5, 4, 2), functools.partial(activations.leaky_relu, slope=0.3)),
    ((3, 6, 5, 2), activations.elu),
    ((2, *[3] * 11, 1), activations.tanh),  # layer10 sorts before layer2
]


def problem(sizes, batch=8):
    return network(*sizes), normal(100, batch, sizes[0]), normal(101, batch, sizes[-1])


def by_jax(params, inputs, targets, activation):
    def loss(params, inputs):
        return losses.squared_error(mlp.apply(params, inputs, activation=activation), targets)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, inputs)


def by_hand(params, inputs, targets, activation):
    values = mlp.forward(params, inputs, activation=activation)
    g, _ = losses.squared_error_backward(jnp.ones(()), values.outputs, targets)
    grads, by = mlp.backward(params, values, g, activation=activation)
    return grads, by.inputs


@pytest.mark.parametrize(("sizes", "activation"), NETWORKS)
def test_backward_is_jax_grad_leaf_by_leaf(sizes, activation):
    for double, tolerance in ((False, 1e-5), (True, 1e-13)):
        with jax.enable_x64(double):
            data = jax.tree.map(lambda leaf: np.asarray(leaf, float), problem(sizes))
            got, want = (
                jax.jit(functools.partial(function, activation=activation))(*data)
                for function in (by_hand, by_jax)
            )
            assert jax.tree.structure(got) == jax.tree.structure(want)
            for left, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
                assert left.dtype == (jnp.float64 if double else jnp.float32)
                largest = float(np.abs(right).max())
                np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance * largest)


def test_every_intermediate_is_checked_against_jax_grad_and_differences():
    params, inputs, targets = problem((3, 5, 4, 2))

    def reference(params, inputs, probes):
        values = mlp.forward(params, inputs, activation=activations.tanh, probes=probes)
        return losses.squared_error(values.outputs, targets)

    def mine(params, inputs, probes):
        values = mlp.forward(params, inputs, activation=activations.tanh)
        g, _ = losses.squared_error_backward(jnp.ones(()), values.outputs, targets)
        grads, by = mlp.backward(params, values, g, activation=activations.tanh)
        return grads, by.inputs, by

    shapes = jax.eval_shape(mlp.forward, params, inputs)
    probes = jax.tree.map(lambda one: jnp.asarray(np.zeros(one.shape, one.dtype)), shapes)
    report = check_gradients(mine, reference, params, inputs, probes)
    assert report.verdict == "equal", str(report)
    names = {row.name for row in report.rows}
    assert {"params.layer2.kernel", "inputs", "probes.s.layer2", "probes.x.layer3"} <= names
    assert len(names) == 6 + 1 + 1 + 3 + 3


def test_maxout_between_the_layers():
    # Its layer hands on half as many values as it has units.
    params = {"layer1": network(3, 8)["layer1"], "layer2": network(4, 2)["layer1"]}
    data = params, normal(100, 5, 3), normal(101, 5, 2)
    maxout = functools.partial(activations.maxout, pieces=2)
    got, want = (
        jax.jit(functools.partial(function, activation=maxout))(*data)
        for function in (by_hand, by_jax)
    )
    assert_close(got, want)


def test_a_step_by_hand_is_a_step_of_sgd():
    params, inputs, targets = problem((4, 7, 3))
    for loss, truth in (
        (losses.squared_error, targets),
        (losses.cross_entropy, jnp.argmax(targets, axis=1)),
        (losses.hinge, jnp.sign(targets)),
    ):
        step = functools.partial(mlp.gradient_step, activation=activations.tanh, loss=loss)
        new, value = jax.jit(step)(params, inputs, truth, 0.3)

        def whole(params, loss=loss, truth=truth):
            return loss(mlp.apply(params, inputs, activation=activations.tanh), truth)

        expected, grads = jax.jit(jax.value_and_grad(whole))(params)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        updates, _ = optax.sgd(0.3).update(grads, optax.sgd(0.3).init(params))
        assert_close(new, optax.apply_updates(params, updates), atol=1e-7)
    # Nothing happened to the parameters it was given.
    jax.tree.map(np.testing.assert_array_equal, params, network(4, 7, 3))


def test_the_step_is_a_mean_over_the_batch():
    params, inputs, targets = problem((4, 7, 3))
    step = jax.jit(mlp.gradient_step)
    once = step(params, inputs, targets, 0.3)
    twice = step(params, np.tile(inputs, (2, 1)), np.tile(targets, (2, 1)), 0.3)
    assert_close(once, twice)


def test_the_rate_is_an_argument_of_the_compiled_step():
    params, inputs, targets = problem((4, 7, 3))
    traces = []

    @jax.jit
    def step(params, eta):
        traces.append(eta)
        return mlp.gradient_step(params, inputs, targets, eta)

    first, _ = step(params, 0.1)
    second, _ = step(params, 0.2)
    assert len(traces) == 1
    moved = jax.tree.map(lambda new, old: 2 * (np.asarray(new) - old), first, params)
    assert_close(moved, jax.tree.map(lambda new, old: np.asarray(new) - old, second, params))


def test_many_steps_by_hand_stay_with_those_of_jax_grad():
    params, inputs, targets = problem((4, 9, 6, 1), batch=20)
    hand = auto = params
    step = jax.jit(mlp.gradient_step)
    grad = jax.jit(functools.partial(by_jax, activation=activations.relu))
    for _ in range(100):
        hand, _ = step(hand, inputs, targets, 0.05)
        grads, _ = grad(auto, inputs, targets)
        auto = jax.tree.map(lambda weight, g: np.asarray(weight) - 0.05 * g, auto, grads)
    assert_close(hand, auto, rtol=1e-4, atol=1e-5)
    assert jnp.any(hand["layer1"]["kernel"] != params["layer1"]["kernel"])


def test_compiled_the_gradient_by_the_inputs_costs_only_where_it_is_used():
    params, inputs, targets = problem((30, 20, 1), batch=50)

    def operations(function):
        return jax.jit(function).lower(params, inputs, targets).compile().cost_analysis()["flops"]

    grads = functools.partial(by_hand, activation=activations.relu)
    saved = operations(grads) - operations(lambda *data: grads(*data)[0])
    product = 2 * 50 * 20 * 30
    assert 0.99 * product <= saved <= 1.1 * product


def test_vmap_over_networks_is_the_loop():
    keys = jax.random.split(jax.random.key(0), 3)
    networks = jax.jit(jax.vmap(lambda key: mlp.init(key, (4, 5, 2))))(keys)
    inputs = normal(100, 6, 4)
    outputs = jax.jit(jax.vmap(mlp.apply, in_axes=(0, None)))(networks, inputs)
    for i in range(3):
        alone = jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], networks)
        assert_close(outputs[i], jax.jit(mlp.apply)(alone, inputs))


@pytest.mark.parametrize("settings", [{}, {"scale": -0.7, "shift": 0.4}])
def test_with_an_affine_activation_the_network_is_one_affine_map(settings):
    params, inputs, _ = problem((4, 9, 8, 3))
    layer = jax.jit(functools.partial(mlp.collapse, **settings))(params)
    assert jax.tree.map(jnp.shape, layer) == {"kernel": (4, 3), "bias": (3,)}
    flat = np.asarray(inputs) @ layer["kernel"] + layer["bias"][None, :]
    affine = functools.partial(activations.affine, **settings)
    assert_close(jax.jit(functools.partial(mlp.apply, activation=affine))(params, inputs), flat)
    # With a ReLU it is not.
    assert np.max(np.abs(jax.jit(mlp.apply)(params, inputs) - flat)) > 0.1


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    params, inputs, targets = problem((4, 7, 1))
    with pytest.raises(ValueError, match=r"inputs \(8, 3\), kernel \(4, 7\) and bias \(7,\)"):
        mlp.apply(params, inputs[:, :3])
    with pytest.raises(ValueError, match=r"layers are called \['layer1', 'layer3'\]: expected"):
        mlp.apply({"layer1": params["layer1"], "layer3": params["layer2"]}, inputs)
    with pytest.raises(ValueError, match=r"expected \['layer1'\]"):
        mlp.apply({}, inputs)
    with pytest.raises(ValueError, match=r"predictions \(8, 1\) against targets \(8,\)"):
        mlp.gradient_step(params, inputs, targets[:, 0], 0.1)
    with pytest.raises(ValueError, match=r"g \(8,\) for an output \(8, 1\)"):
        jax.eval_shape(lambda p: mlp.backward(p, mlp.forward(p, inputs), targets[:, 0]), params)
    with pytest.raises(ValueError, match=r"the dict of layers .*, not an array: they come first"):
        mlp.apply(inputs, params)
    with pytest.raises(
        ValueError, match=r"activation must be a function .*, not a str: give chain"
    ):
        mlp.apply(params, inputs, activation="relu")
    with pytest.raises(
        ValueError, match=r"layer2 holds \['kernel'\]: expected a kernel and a bias"
    ):
        mlp.apply(params | {"layer2": {"kernel": jnp.ones((7, 1))}}, inputs)
    with pytest.raises(ValueError, match="inputs must be an array of numbers, not a list"):
        mlp.apply(params, [[1.0] * 4])
    with pytest.raises(ValueError, match=r"eta must be a finite number above 0, not -0\.1"):
        mlp.gradient_step(params, inputs, targets, -0.1)
    with pytest.raises(ValueError, match="activations must be what forward returns, not an array"):
        mlp.backward(params, inputs, targets)
    with pytest.raises(ValueError, match="probes must be Activations, zeros like"):
        mlp.forward(params, inputs, probes=inputs)
    with pytest.raises(ValueError, match="loss must be a function of arrays with a rule beside it"):
        mlp.gradient_step(params, inputs, targets, 0.1, loss=3)
    with pytest.raises(ValueError, match="scale must be a finite number, not 'x'"):
        mlp.collapse(params, scale="x")
    with pytest.raises(ValueError, match="loss: no function cos_backward"):
        mlp.gradient_step(params, inputs, targets, 0.1, loss=jnp.cos)
    with pytest.raises(LookupError, match="activation: no function cos_backward"):
        mlp.gradient_step(params, inputs, targets, 0.1, activation=jnp.cos)


def test_a_thousand_steps_of_the_notes_network_by_hand_and_by_jax_grad_leave_one_trace():
    digits = data.mnist("train", source="embedded")
    pixels = digits.images[:100].reshape(100, 784).astype(np.float32)
    inputs = jnp.asarray((pixels - pixels.mean()) / pixels.std(ddof=1))
    targets = jnp.asarray((digits.labels[:100, None] == 5).astype(np.float32))

    def loss(params):
        return losses.squared_error(mlp.apply(params, inputs), targets)

    def by_jax(params, _):
        value, grads = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda weight, grad: weight - 0.01 * grad, params, grads), value

    def by_hand(params, _):
        return mlp.gradient_step(params, inputs, targets, 0.01)

    params = mlp.init(jax.random.key(0), (784, 200, 1))
    _, hand = jax.lax.scan(by_hand, params, length=1000)
    _, auto = jax.lax.scan(by_jax, params, length=1000)
    np.testing.assert_allclose(hand, auto, rtol=1e-3)
    assert hand[-1] < 0.01 < hand[0]
