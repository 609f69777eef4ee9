"""The flow: norms written out, dead and saturated units, gradients that vanish or explode."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from chainrule import plots, training, xray
from chainrule.data.batches import Batches
from chainrule.models import mlp, stack
from chainrule.ops.activations import relu

INPUTS = jnp.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -3.0]])
PARAMS = {
    "first": {"kernel": jnp.array([[1.0, -1.0, 0.5], [0.5, -2.0, 1.0]]), "bias": jnp.zeros(3)},
    "second": {"kernel": jnp.array([[1.0], [3.0], [-2.0]]), "bias": jnp.ones(1)},
}


def network(params, x, activation=jax.nn.relu):
    h = activation(x @ params["first"]["kernel"] + params["first"]["bias"][None, :])
    return h @ params["second"]["kernel"] + params["second"]["bias"][None, :]


def loss(params, x):
    return jnp.mean(network(params, x) ** 2)


def test_norms_are_those_of_the_definitions():
    report = xray.xray(loss, PARAMS, INPUTS, argnums=0)
    first, second = report.flow().layers
    x, w1 = np.asarray(INPUTS, np.float64), np.asarray(PARAMS["first"]["kernel"], np.float64)
    w2 = np.asarray(PARAMS["second"]["kernel"], np.float64)
    h = np.maximum(x @ w1, 0)
    out = h @ w2 + 1
    g = 2 * out / 3
    assert (first.name, second.name) == ("first", "second")
    assert first.node.startswith(("relu", "max"))
    assert second.node.startswith("add")
    assert (first.shape, second.shape) == ((3, 3), (3, 1))
    expected = [np.sqrt(np.mean(h**2)), np.linalg.norm(h), np.linalg.norm(g @ w2.T)]
    got = [first.activation_rms, first.activation_norm, first.gradient_norm]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_allclose(second.gradient_norm, np.linalg.norm(g), rtol=1e-6)
    np.testing.assert_allclose(first.weight_norm, np.linalg.norm(w1), rtol=1e-6)
    np.testing.assert_allclose(second.weight_gradient_norm, np.linalg.norm(h.T @ g), rtol=1e-6)
    assert first.zeros == pytest.approx(np.mean(h == 0))
    assert first.flags == second.flags == ()


def test_a_unit_is_dead_if_it_is_zero_on_everything():
    params = jax.tree.map(jnp.copy, PARAMS)
    params["first"]["bias"] = jnp.array([0.0, -100.0, -100.0])
    first, second = xray.xray(loss, params, INPUTS, argnums=0).flow().layers
    assert (first.dead, second.dead) == (pytest.approx(2 / 3), None)
    assert "dead" in first.flags
    by_hand = lambda p, x: jnp.mean(network(p, x, lambda s: jnp.maximum(s, 0)) ** 2)  # noqa: E731
    assert xray.xray(by_hand, params, INPUTS, argnums=0).flow().layers[0].dead == first.dead
    kept = xray.xray(loss, params, INPUTS, argnums=0, keep="stats").flow().layers[0]
    assert (kept.dead, kept.zeros, kept.gradient_norm) == (None, first.zeros, first.gradient_norm)


def test_a_squashed_unit_is_saturated_near_its_ends():
    def f(params, x):
        return jnp.sum(network(params, x, lambda s: jnp.tanh(10 * s)))

    first, _ = xray.xray(f, PARAMS, INPUTS, argnums=0).flow().layers
    s = 10 * np.asarray(INPUTS) @ np.asarray(PARAMS["first"]["kernel"])
    assert first.saturated == pytest.approx(np.mean(np.abs(np.tanh(s)) > 0.99))
    assert "saturated" in first.flags


@pytest.mark.parametrize(
    ("scale", "flag"), [(0.01, "vanishing"), (1.0, None), (100.0, "exploding")]
)
def test_gradients_that_vanish_or_explode_are_flagged(scale, flag):
    params = {f"layer{k}": scale * jnp.eye(3) for k in range(4)}

    def f(params):
        h = jnp.ones((1, 3))
        for kernel in params.values():
            h = h @ kernel
        return jnp.sum(h)

    layers = xray.xray(f, params).flow().layers
    np.testing.assert_allclose(layers[0].gradient_norm, 3**0.5 * scale**3, rtol=1e-5)
    assert layers[0].flags == ((flag,) if flag else ())
    assert layers[-1].flags == ()


def test_what_is_not_finite_is_flagged():
    def f(w):
        return jnp.sum(jnp.log(jnp.ones((1, 2)) @ w["a"]))

    (row,) = xray.xray(f, {"a": jnp.array([[1.0, -1.0], [1.0, 1.0]])}).flow().layers
    assert row.flags == ("not finite",)


def test_a_layer_that_is_used_twice_stands_there_twice():
    def f(params, a, b):
        return jnp.sum((network(params, a) - network(params, b)) ** 2)

    names = [row.name for row in xray.xray(f, PARAMS, INPUTS, -INPUTS, argnums=0).flow().layers]
    assert names == ["first", "second", "first (2)", "second (2)"]


ROWS = (
    stack.Conv("conv", 4, kernel=3),
    stack.Pool("pool", 2, activation=relu),
    stack.Dense("dense", 3),
)


def test_scopes_name_the_layers_of_a_stack_and_hand_on_their_last_value():
    params = stack.init(jax.random.key(0), ROWS, (6, 6, 1))
    inputs = jax.random.normal(jax.random.key(1), (2, 6, 6, 1))
    report = xray.xray(
        lambda p, x: jnp.sum(stack.apply(p, x, ROWS) ** 2), params, inputs, argnums=0
    )
    flow = report.flow()
    # The ReLU behind the pool is the activation function of the convolution.
    assert [(row.name, row.shape) for row in flow.layers] == [
        ("conv", (2, 2, 2, 4)),
        ("dense", (2, 3)),
    ]
    assert report.node(flow.layers[0].node).op == "relu"
    shapes = {row.name: row.shape for row in flow.scopes}
    assert shapes == {"conv": (2, 4, 4, 4), "pool": (2, 2, 2, 4), "dense": (2, 3)}
    pooled = stack.features(params, inputs, ROWS)["pool"]
    (pool,) = [row for row in flow.scopes if row.name == "pool"]
    assert pool.activation_norm == pytest.approx(float(jnp.linalg.norm(pooled)), rel=1e-5)
    assert pool.gradient_norm == flow.layers[0].gradient_norm
    text = str(flow)
    assert "flow, per layer" in text
    assert "flow, per scope" in text
    assert "2 x 2 x 2 x 4" in text


def test_the_flow_along_a_training_joins_its_records():
    def with_state(params, state, batch, key):
        return jnp.mean(mlp.apply(params, batch) ** 2), (state, {})

    record = xray.probe(lambda params, x: jnp.mean(mlp.apply(params, x) ** 2), INPUTS)
    optimizer, kept = optax.sgd(0.1), []
    start = training.create(
        mlp.init(jax.random.key(0), (2, 4, 1)), optimizer, key=jax.random.key(1)
    )
    end = training.fit(
        start,
        with_state,
        optimizer,
        Batches(INPUTS, 3, key=jax.random.key(2)),
        2,
        evaluate=lambda state: record(state.params),
        report=kept.append,
    )
    norms = [row["gradient_norm/layer1"] for row in kept]
    assert norms[1] == record(end.params)["gradient_norm/layer1"] != norms[0]
    assert {"activation_rms/layer2", "dead/layer1"} <= kept[0].keys()


def test_the_figure_shows_the_numbers():
    flow = xray.xray(loss, PARAMS, INPUTS, argnums=0).flow()
    values, gradients, shares = plots.flow(flow).axes
    for ax, field in ((values, "activation_rms"), (gradients, "gradient_norm")):
        np.testing.assert_allclose(
            ax.lines[0].get_ydata(), [getattr(row, field) for row in flow.layers]
        )
    assert [bar.get_height() for bar in shares.patches] == [100 * flow.layers[0].dead, 0]
    assert [tick.get_text() for tick in shares.get_xticklabels()] == ["first", "second"]


def test_without_layers_and_scopes_every_operator_has_a_row():
    flow = xray.xray(lambda w: jnp.sum(jnp.round(w) ** 2), INPUTS).flow()
    assert [row.name for row in flow.operators] == ["round_1", "integer_pow_2", "reduce_sum_3"]
    assert flow.zero
    assert "every gradient is exactly 0: deaths() says where they die" in str(flow)
    assert str(xray.xray(lambda x: x, 1.0).flow()).strip() == "no operator makes a number"
    scoped = jax.named_scope("a")(lambda w: jnp.sum(w * 2))
    flow = xray.xray(scoped, INPUTS).flow()
    assert ([row.name for row in flow.scopes], flow.operators, flow.zero) == (["a"], (), False)


def test_parameters_may_be_plain_arrays():
    def f(first, bias, second, x):
        return jnp.sum(jax.nn.relu(x @ first + bias[None, :]) @ second)

    first, second = (PARAMS[name]["kernel"] for name in ("first", "second"))
    flow = xray.xray(f, first, jnp.array([-9.0, 0.0, 0.0]), second, INPUTS).flow()
    assert [(row.name, row.samples) for row in flow.layers] == [("first", 3), ("second", None)]
    assert flow.layers[0].dead == pytest.approx(1 / 3)
    assert "33 %, n = 3" in str(flow)


def test_a_gradient_explodes_if_it_is_large_and_not_because_the_last_one_is_0():
    params = {"first": jnp.eye(2), "second": jnp.eye(2), "last": jnp.eye(2)}

    def f(params, scale):
        h = jnp.ones((1, 2)) @ params["first"]
        return jnp.sum(h @ params["second"]) * scale + 0.0 * jnp.sum(h @ params["last"])

    flags = lambda scale: [  # noqa: E731
        row.flags for row in xray.xray(f, params, scale, argnums=0).flow().layers
    ]
    assert flags(1.0) == [(), (), ("zero",)]
    chain = lambda p: jnp.sum(1e-6 * (jnp.ones((1, 2)) @ p["a"] @ p["b"]))  # noqa: E731
    rows = xray.xray(chain, {"a": jnp.eye(2), "b": 2000 * jnp.eye(2)}).flow().layers
    assert rows[0].gradient_norm > 1000 * rows[1].gradient_norm
    assert rows[0].flags == ()  # grown, but not large


def test_without_a_layer_there_is_nothing_to_draw():
    flow = xray.xray(lambda x: jnp.sum(x**2), INPUTS).flow()
    assert flow.layers == ()
    with pytest.raises(ValueError, match="the flow has no layer: no product with a matrix"):
        plots.flow(flow)


@pytest.mark.parametrize(
    ("scale", "flags"),
    [(1001.0, ("exploding",)), (999.0, ()), (0.0011, ()), (0.00099, ("vanishing",))],
)
def test_the_limits_are_a_thousand_times_and_a_thousandth(scale, flags):
    def f(params, x):
        return jnp.sum((x @ params["first"]["kernel"]) @ params["last"]["kernel"])

    params = {"first": {"kernel": jnp.eye(1)}, "last": {"kernel": jnp.full((1, 1), scale)}}
    first, last = xray.xray(f, params, jnp.ones((1, 1)), argnums=0).flow().layers
    assert (first.flags, last.flags) == (flags, ())


def test_weights_of_zero_have_no_ratio():
    def f(params, x):
        return jnp.sum(network(params, x, jnp.tanh))

    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    flow = xray.xray(f, zeros, INPUTS, argnums=0).flow()
    assert {row.weight_norm for row in flow.layers} == {0}
    assert not {"inf", "nan"} & set(str(flow).split())


def test_layers_under_one_scope_are_named_by_their_parameters():
    def layer(w, x):
        with jax.named_scope("Linear"):
            return jnp.tanh(w @ x)

    def f(params, x):
        h = jax.vmap(lambda row: layer(params["in"]["w"], row))(x)
        return jnp.sum(jax.vmap(lambda row: layer(params["out"]["w"], row))(h))

    params = {"in": {"w": jnp.eye(2)}, "out": {"w": jnp.ones((2, 2))}}
    found = xray.xray(f, params, jnp.ones((3, 2))).flow()
    assert [layer.name for layer in found.layers] == ["in", "out"]
    assert [scope.name for scope in found.scopes] == ["Linear"]


def test_a_module_alone_is_a_layer_with_the_name_of_the_argument():
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    flow = xray.xray(lambda model, x: jnp.sum(model(x)), layer, jnp.ones((4, 3))).flow()
    assert [row.name for row in flow.layers] == ["model"]


def test_fields_of_a_named_tuple_are_layers_of_their_own():
    pair = collections.namedtuple("pair", ["inner", "outer"])(jnp.ones((3, 3)), jnp.ones((3, 2)))
    flow = xray.xray(lambda p, x: jnp.sum(x @ p.inner @ p.outer), pair, jnp.ones((4, 3))).flow()
    assert [row.name for row in flow.layers] == ["inner", "outer"]
