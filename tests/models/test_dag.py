import functools
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import losses
from chainrule.models import dag, mlp
from chainrule.models.dag import Node, layer
from chainrule.ops.activations import leaky_relu, relu, sigmoid, tanh
from chainrule.ops.convolution import conv
from chainrule.ops.elementary import add, maximum, multiply, norm, square
from chainrule.ops.linear import linear, matvec

# The notes' example: x1 = w1 x0, x2 = x0 + w2 x1, x3 = w1 (x1 + x2), q = |x3|.
W1 = np.array([[1.0, 2.0], [0.0, 1.0]], np.float32)
W2 = np.array([[0.0, 1.0], [-1.0, 3.0]], np.float32)
X0 = np.array([1.0, -2.0], np.float32)


def notes(w1, w2, x0):
    x1 = w1 @ x0
    x2 = x0 + w2 @ x1
    x3 = w1 @ (x1 + x2)
    return jnp.sqrt(jnp.sum(x3**2))


# Every operator a node and the weights inputs; in no order.
ELEMENTARY = {
    "q": Node(layer(norm), ("x3",)),
    "x3": Node(layer(matvec), ("w1", "sum")),
    "sum": Node(layer(add), ("x1", "x2")),
    "x2": Node(layer(add), ("x0", "w2x1")),
    "w2x1": Node(layer(matvec), ("w2", "x1")),
    "x1": Node(layer(matvec), ("w1", "x0")),
}
# A weight belongs to its node, whose operator may be any function.
WEIGHTED = {
    "x1": Node(layer(matvec), ("x0",), "w1"),
    "x2": Node(lambda w, x0, x1: x0 + w @ x1, ("x0", "x1"), "w2"),
    "x3": Node(lambda w, x1, x2: w @ (x1 + x2), ("x1", "x2"), "w1"),
    "q": Node(layer(norm), ("x3",)),
}


def arrays(**named):
    return {name: jnp.asarray(value) for name, value in named.items()}


def run(graph, params, inputs, output):
    activations = dag.forward(graph, params, inputs)
    g = {output: jnp.ones_like(activations[output])}
    return activations, dag.backward(graph, params, activations, g)


def close(got, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), got, expected)


# --- the notes' example --------------------------------------------------------------------------


def test_the_notes_example_written_out():
    # x1 = (-3, -2), x2 = (1, -2) + (-2, -3) = (-1, -5), x1 + x2 = (-4, -7), x3 = (-18, -7).
    activations, grads = run(WEIGHTED, arrays(w1=W1, w2=W2), arrays(x0=X0), "q")
    assert activations["x1"].tolist() == [-3, -2]
    assert activations["x2"].tolist() == [-1, -5]
    assert activations["x3"].tolist() == [-18, -7]
    np.testing.assert_allclose(activations["q"], np.sqrt(373), rtol=1e-6)
    # Times q: dq/dx3 = (-18, -7), dq/dx2 = w1^T of it = (-18, -43),
    # dq/dx1 = (-18, -43) + w2^T (-18, -43) = (-18 + 43, -43 - 18 - 129) = (25, -190),
    # dq/dx0 = w1^T (25, -190) + (-18, -43) = (25 - 18, 50 - 190 - 43) = (7, -183).
    q = np.sqrt(373)
    expected = {"x3": [-18, -7], "x2": [-18, -43], "x1": [25, -190], "x0": [7, -183]}
    for name, gradient in expected.items():
        np.testing.assert_allclose(q * grads.activations[name], gradient, rtol=1e-5)
    first = np.outer([25, -190], [1, -2])
    last = np.outer([-18, -7], [-4, -7])
    np.testing.assert_allclose(q * grads.contributions["w1"]["x1"], first, rtol=1e-5)
    np.testing.assert_allclose(q * grads.contributions["w1"]["x3"], last, rtol=1e-5)
    np.testing.assert_allclose(q * grads.params["w1"], first + last, rtol=1e-5)
    np.testing.assert_allclose(q * grads.params["w2"], np.outer([-18, -43], [-3, -2]), rtol=1e-5)


def test_both_notations_give_the_gradients_of_the_flat_function():
    expected = jax.jit(jax.grad(notes, argnums=(0, 1, 2)))(*map(jnp.asarray, (W1, W2, X0)))
    _, grads = run(WEIGHTED, arrays(w1=W1, w2=W2), arrays(x0=X0), "q")
    close((grads.params["w1"], grads.params["w2"], grads.activations["x0"]), expected)
    _, grads = run(ELEMENTARY, {}, arrays(w1=W1, w2=W2, x0=X0), "q")
    close(tuple(grads.activations[name] for name in ("w1", "w2", "x0")), expected)
    assert grads.params == grads.contributions == {}


def test_the_equations_name_every_use_with_its_transposed_jacobian():
    equations = dag.equations(WEIGHTED, "q")
    assert list(equations.forward) == ["x1", "x2", "x3", "q"]
    assert equations.forward["x1"] == "x1 = matvec(x0; w1)"
    assert list(equations.backward) == ["q", "x3", "x2", "x1", "x0"]
    assert equations.backward["x1"] == "dq/dx1 = J[x3|x1]^T dq/dx3 + J[x2|x1]^T dq/dx2"
    assert equations.params["w1"] == "dq/dw1 = J[x3|w1]^T dq/dx3 + J[x1|w1]^T dq/dx1"
    assert "w1" in dag.equations(ELEMENTARY, "q").backward
    assert "q" not in dag.equations(WEIGHTED, "x2").backward
    with pytest.raises(ValueError, match=r"output 'p' is not among the nodes \['x1', 'x2'"):
        dag.equations(WEIGHTED, "p")


# --- branches, sharing ---------------------------------------------------------------------------


def test_branches_with_different_operators_that_rejoin():
    graph = {
        "left": Node(layer(tanh), ("x",)),
        "right": Node(layer(leaky_relu, slope=0.25), ("x",)),
        "low": Node(layer(multiply), ("left", "right")),
        "y": Node(layer(maximum), ("low", "x")),
        "twice": Node(layer(add), ("y", "y")),
    }

    def flat(x):
        y = jnp.maximum(jnp.tanh(x) * jnp.where(x > 0, x, 0.25 * x), x)
        return y + y

    x, g = jnp.array([-2.0, -0.5, 0.3, 3.0]), jnp.array([1.0, 10.0, 100.0, 1000.0])
    activations = dag.forward(graph, {}, {"x": x})
    grads = dag.backward(graph, {}, activations, {"twice": g})
    value, pull = jax.vjp(flat, x)
    close((activations["twice"], grads.activations["x"]), (value, *pull(g)))


def test_a_shared_layer_is_the_sum_of_its_untied_copies_and_its_name_may_be_nested():
    op = layer(linear)
    tied = {
        "a": Node(op, ("x",), "block/dense"),
        "h": Node(layer(relu), ("a",)),
        "y": Node(op, ("h",), "block/dense"),
        "kernel": Node(lambda kernel, y: y @ kernel, ("y",), "block/dense/kernel"),
    }
    dense = mlp.init(jax.random.key(0), (3, 3))["layer1"]
    x = jax.random.normal(jax.random.key(1), (4, 3))
    activations, grads = run(tied, {"block": {"dense": dense}}, {"x": x}, "kernel")
    names = ("a", "y", "kernel")
    untied = {**tied, "a": Node(op, ("x",), "a"), "y": Node(op, ("h",), "y")}
    untied["kernel"] = tied["kernel"]._replace(params="kernel/kernel")
    copies = dict.fromkeys(names, dense)
    apart, parts = run(untied, copies, {"x": x}, "kernel")
    close(activations, apart)
    total = jax.tree.map(lambda *leaves: sum(leaves), *(parts.params[name] for name in names))
    close(grads.params, {"block": {"dense": total}})
    close(grads.contributions["block/dense"], {name: parts.params[name] for name in ("y", "a")})
    assert list(grads.contributions) == ["block/dense/kernel", "block/dense"]


def test_two_outputs_each_with_its_gradient_and_what_none_reaches():
    graph = {
        "a": Node(layer(multiply), ("x",), "w"),
        "b": Node(layer(square), ("a",)),
        "aside": Node(layer(tanh), ("b",)),
    }
    params, inputs = arrays(w=[2.0, 3.0], unused=[1.0]), arrays(x=[5.0, 7.0], other=[1.0])
    activations = dag.forward(graph, params, inputs)
    grads = dag.backward(graph, params, activations, arrays(a=[1.0, 0.0], b=[0.0, 1.0]))
    # By a: 1 and 2 * 21; by w that times x.
    assert grads.activations["a"].tolist() == [1, 42]
    assert grads.params["w"].tolist() == [5, 294]
    assert grads.params["unused"].tolist() == grads.activations["other"].tolist() == [0]
    assert grads.activations["aside"].tolist() == [0, 0]


def test_integers_and_keys_have_no_gradient():
    def drop(key, x):
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)

    graph = {
        "dropped": Node(lambda _, key, x: drop(key, x), ("key", "x")),
        "count": Node(lambda _, x: jnp.sum(x > 0), ("dropped",)),
        "picked": Node(lambda table, i: table["rows"][i], ("labels",), "table"),
        "loss": Node(layer(losses.cross_entropy), ("picked", "labels")),
    }
    params = {"table": {"rows": jnp.arange(6.0).reshape(2, 3), "size": jnp.array(2)}}
    labels, key = jnp.array([1, 0]), jax.random.key(0)
    inputs = {"x": jnp.ones(4), "key": key, "labels": labels}
    activations = dag.forward(graph, params, inputs)
    g = {"loss": jnp.array(1.0), "dropped": jnp.ones(4)}
    grads = dag.backward(graph, params, activations, g)

    def flat(rows):
        return losses.cross_entropy(rows[labels], labels)

    close(grads.params["table"]["rows"], jax.jit(jax.grad(flat))(params["table"]["rows"]))
    assert grads.params["table"]["size"] is None
    names = ("key", "labels", "count")
    assert [grads.activations[name] for name in names] == [None] * 3
    np.testing.assert_array_equal(grads.activations["x"], activations["dropped"])
    with pytest.raises(ValueError, match=r"g of 'count': int32\[\] has no gradient"):
        dag.backward(graph, params, activations, {"count": jnp.array(1)})


# --- graphs in graphs, models as graphs ----------------------------------------------------------


def test_a_graph_is_an_operator_in_a_graph():
    gate = {
        "open": Node(layer(multiply), ("x",), "slope"),
        "gate": Node(layer(sigmoid), ("open",)),
        "out": Node(layer(multiply), ("gate", "y")),
    }
    inner = dag.operator(gate, ("x", "y"), "out")
    outer = {
        "a": Node(inner, ("u", "u"), "first"),
        "b": Node(inner, ("a", "u"), "second"),
        "c": Node(inner, ("b", "a"), "first"),
    }

    def flat(params, u):
        def swish(slope, x, y):
            return jax.nn.sigmoid(slope * x) * y

        a = swish(params["first"]["slope"], u, u)
        b = swish(params["second"]["slope"], a, u)
        return jnp.sum(swish(params["first"]["slope"], b, a))

    u = jnp.array([0.5, -1.0, 2.0])
    params = {"first": arrays(slope=[1.0, 2.0, 3.0]), "second": arrays(slope=[-1.0, 0.5, 2.0])}
    activations, grads = run(outer, params, {"u": u}, "c")
    value, expected = jax.jit(jax.value_and_grad(flat, argnums=(0, 1)))(params, u)
    close((activations["c"].sum(), (grads.params, grads.activations["u"])), (value, expected))
    assert inner.backward(u, {"slope": u}, u, u)[0]["slope"].shape == u.shape


def test_an_mlp_as_a_graph():
    graph = {
        "s1": Node(layer(linear), ("x",), "layer1"),
        "x1": Node(layer(tanh), ("s1",)),
        "s2": Node(layer(linear), ("x1",), "layer2"),
        "loss": Node(layer(losses.squared_error), ("s2", "targets")),
    }
    params = mlp.init(jax.random.key(0), (5, 4, 3))
    x, targets = (jax.random.normal(jax.random.key(k), (6, n)) for k, n in ((1, 5), (2, 3)))
    activations, grads = run(graph, params, {"x": x, "targets": targets}, "loss")
    by_hand = mlp.forward(params, x, activation=tanh)
    np.testing.assert_array_equal(activations["s2"], by_hand.outputs)
    g, _ = losses.squared_error_backward(jnp.array(1.0), by_hand.outputs, targets)
    expected = mlp.backward(params, by_hand, g, activation=tanh)
    close(grads.params, expected.params, atol=0)
    close(grads.activations["x"], expected.activations.inputs, atol=0)


# --- operators -----------------------------------------------------------------------------------


def test_a_layer_uses_the_rule_beside_the_operator_and_settings_go_to_both():
    graph = {"y": Node(layer(leaky_relu, slope=0.5), ("x",))}
    assert run(graph, {}, arrays(x=[-2.0, 3.0]), "y")[1].activations["x"].tolist() == [0.5, 1]

    class Lying:
        def __call__(self, params, x):
            return x * x

        def backward(self, g, params, x):
            return None, 2.001 * g * x

    _, grads = run({"y": Node(Lying(), ("x",))}, {}, arrays(x=[1.0, 10.0]), "y")
    np.testing.assert_allclose(grads.activations["x"], [2.001, 20.01], rtol=1e-6)


def test_a_layer_without_a_rule_falls_back_to_vjp():
    op = layer(jnp.outer)
    by_params, by_inputs = op.backward(jnp.ones((2, 3)), None, jnp.arange(2.0), jnp.arange(3.0))[1:]
    assert by_params.tolist() == [3, 3]
    assert by_inputs.tolist() == [1, 1, 1]


def test_weights_go_where_their_names_stand():
    kernel = jnp.arange(18.0).reshape(3, 2, 3)
    image = jnp.arange(10.0).reshape(1, 5, 2)
    assert layer(conv, padding=1)({"kernel": kernel}, image).shape == (1, 5, 3)
    by_params, by_inputs = layer(conv).backward(jnp.ones((1, 3, 3)), {"kernel": kernel}, image)
    assert by_params["kernel"].shape == kernel.shape
    assert by_inputs.shape == image.shape
    matrix = layer(matvec)({"matrix": jnp.eye(2)}, jnp.arange(2.0))
    assert matrix.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"linear takes \['inputs', 'kernel', 'bias'\].*'scale'"):
        layer(linear)({"kernel": kernel[0], "scale": kernel}, image)
    with pytest.raises(ValueError, match=r"no setting \['slop'\].*'inputs', 'slope'"):
        layer(leaky_relu, slop=0.1)


def test_a_rule_that_does_not_fit_is_named():
    class Wrong:
        def __call__(self, params, x):
            return x.sum()

        def backward(self, g, params, x):
            return None, g

    graph = {"y": Node(Wrong(), ("x",))}
    with pytest.raises(ValueError, match=r"node 'y': the rule of Wrong.*float32\[\].*float32\[2\]"):
        run(graph, {}, arrays(x=[1.0, 2.0]), "y")


def test_the_wrong_g_is_an_error():
    activations = dag.forward(WEIGHTED, arrays(w1=W1, w2=W2), arrays(x0=X0))

    def back(g, activations=activations):
        return dag.backward(WEIGHTED, arrays(w1=W1, w2=W2), activations, g)

    with pytest.raises(ValueError, match=r"g of 'x3' is float32\[1\]: it must be float32\[2\]"):
        back({"x3": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"g of 'x3' is float16\[2\]: it must be float32\[2\]"):
        back({"x3": jnp.ones(2, jnp.float16)})
    with pytest.raises(ValueError, match="g of 'p', which is not among"):
        back({"p": jnp.ones(2)})
    with pytest.raises(ValueError, match=r"no activations of \['x2'\]"):
        back({"q": jnp.array(1.0)}, {n: a for n, a in activations.items() if n != "x2"})


# --- check ---------------------------------------------------------------------------------------

VECTORS = {"x": np.ones(2, np.float32), "y": np.ones(3, np.float32)}


@pytest.mark.parametrize(
    ("graph", "outputs", "match"),
    [
        (
            {
                "a": Node(layer(add), ("x", "c")),
                "b": Node(layer(tanh), ("a",)),
                "c": Node(layer(tanh), ("b",)),
            },
            (),
            r"a cycle, (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c):",
        ),
        ({"a": Node(layer(tanh), ("a",))}, (), "a cycle, a -> a:"),
        (
            {"a": Node(layer(tanh), ("z",))},
            "a",
            r"node 'a' takes 'z', which is neither among the inputs \['x', 'y'\] nor .* \['a'\]",
        ),
        ({"x": Node(layer(tanh), ("y",))}, (), "node 'x' is named like an input: rename one"),
        ({"a": Node(layer(tanh), ("x",))}, "b", r"output 'b' is not among the nodes \['a'\]"),
        (
            {"a": Node(layer(tanh), (), "w"), "b": Node(layer(tanh), ("x",))},
            ("b", "a"),
            r"output 'a' is reached by none of the inputs \['x', 'y'\]",
        ),
        (
            {"a": Node(layer(add), ("x", "y"))},
            "a",
            r"node 'a', add\(x float32\[2\], y float32\[3\]\): x \(2,\) against y \(3,\)",
        ),
        (
            {"a": Node(layer(matvec), ("x",), "w"), "b": Node(layer(matvec), ("y",), "w")},
            "a",
            r"node 'b', matvec\(y float32\[3\]; w float32\[3,2\]\): .*"
            r"\(the weight 'w' is shared, and its shape fits node 'a'",
        ),
        (
            {"a": Node(lambda _, x, h: x * h, ("x", "h"))},
            "a",
            r"node 'a', <lambda>\(x float32\[2\], h float16\[2\]\): mixes float16 and float32",
        ),
        (
            {"a": Node(layer(tanh), ("x",), "v")},
            "a",
            r"node 'a' uses the weight 'v', which is not in params \['w'\]",
        ),
        ({"a": Node(layer(tanh), "x")}, "a", r"node 'a': its inputs are the string 'x'"),
        (
            {"a": Node(lambda _, x: (x, x), ("x",))},
            "a",
            r"returns \(float32\[2\], float32\[2\]\): it must return one array",
        ),
        ({"a": Node(relu, ("x",))}, "a", r"node 'a', relu\(x float32\[2\]\): .*argument"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_check_and_forward_name_the_problem(graph, outputs, match, unchecked):
    params = arrays(w=np.ones((3, 2), np.float32))
    inputs = {**VECTORS, "h": np.ones(2, np.float16)} if "mixes" in match else VECTORS
    with pytest.raises(ValueError, match="1 problem with the graph: .*" + match):
        dag.check(graph, params, inputs, outputs)
    if "output '" not in match:
        with pytest.raises(ValueError, match=match):
            dag.forward(graph, params, inputs)


def test_all_problems_come_at_once_and_those_of_an_inner_graph_with_them(unchecked):
    inner = dag.operator(
        {"s": Node(layer(add), ("u", "nobody")), "t": Node(layer(matvec), ("u",), "m")}, ("u",), "s"
    )
    graph = {
        "p": Node(layer(tanh), ("q",)),
        "q": Node(layer(tanh), ("p",)),
        "r": Node(layer(tanh), ("r",)),
        "merge": Node(layer(add), ("x", "y")),
        "after": Node(layer(tanh), ("merge",)),  # waits for what is wrong before it
        "inner": Node(inner, ("x",)),
    }
    with pytest.raises(ValueError, match="with the graph") as caught:
        dag.check(graph, {}, VECTORS, "lost")
    said = str(caught.value)
    assert said.startswith("5 problems with the graph:\n- a cycle")
    assert said.count("a cycle") == 2
    assert "- output 'lost' is not among" in said
    assert "node 'after'" not in said
    assert "- node 'inner', graph(x float32[2]): 2 problems with the graph:\n  - node 's'" in said
    with pytest.raises(ValueError, match=r"3 inputs for the 1 \('u',\)"):
        inner({}, *[jnp.ones(2)] * 3)
    with pytest.raises(ValueError, match=r"output 'v' is not among the nodes \['s'\]"):
        dag.operator({"s": Node(layer(tanh), ("u",))}, ("u",), "v")
    with pytest.raises(ValueError, match=r"inputs \('u', 'u'\): a name twice"):
        dag.operator({"s": Node(layer(tanh), ("u",))}, ("u", "u"), "s")


def test_a_cast_makes_mixed_dtypes_meet_and_shapes_are_enough():
    graph = {
        "wide": Node(lambda _, h: h.astype(jnp.float32), ("h",)),
        "y": Node(lambda w, x: x * w.astype(x.dtype), ("wide",), "w"),
    }
    shapes = {"h": jax.ShapeDtypeStruct((2,), jnp.bfloat16)}
    weights = {"w": jax.ShapeDtypeStruct((2,), jnp.float16)}
    found = dag.check(graph, weights, shapes, ("y", "wide"))
    assert list(found) == ["h", "wide", "y"]
    assert (found["y"].shape, found["y"].dtype) == ((2,), jnp.float32)


# --- any graph -----------------------------------------------------------------------------------

UNARY = {"tanh": tanh, "sigmoid": sigmoid, "square": square}
BINARY = {"add": add, "multiply": multiply}
FLAT = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "square": lambda x: x * x,
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "matvec": lambda w, x: w @ x,
    "vjp": lambda w, x, y: jnp.sin(w @ x) - y,
}
OPS = {name: layer(op) for name, op in (UNARY | BINARY | {"matvec": matvec}).items()}
OPS["vjp"] = FLAT["vjp"]

step = st.one_of(
    st.tuples(st.sampled_from([*UNARY]), st.none(), st.integers(0, 99)),
    st.tuples(st.sampled_from([*BINARY]), st.none(), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.just("matvec"), st.sampled_from("vw"), st.integers(0, 99)),
    st.tuples(st.just("vjp"), st.sampled_from("vw"), st.integers(0, 99), st.integers(0, 99)),
)
WEIGHTS = {
    "v": np.array([[0.5, -0.25], [0.75, 0.125]], np.float32),
    "w": np.array([[-0.5, 0.5], [0.25, 0.375]], np.float32),
}


def write(program):
    """Each step reads earlier values, by number modulo how many there are."""
    names, rows = ["x", "y"], []
    for index, (kind, weight, *reads) in enumerate(program):
        rows.append((f"n{index}", kind, weight, tuple(names[i % len(names)] for i in reads)))
        names.append(f"n{index}")
    return rows


@settings(max_examples=15, deadline=None, derandomize=True)
@given(program=st.lists(step, min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_random_graphs(program, order):
    rows = write(program)
    last = rows[-1][0]
    shuffled = order.sample(rows, len(rows))
    graph = {name: Node(OPS[kind], reads, weight) for name, kind, weight, reads in shuffled}
    params, inputs = arrays(**WEIGHTS), arrays(x=[0.5, -0.75], y=[-0.25, 1.0])

    def flat(params, inputs):
        values = dict(inputs)
        for name, kind, weight, reads in rows:
            first = () if weight is None else (params[weight],)
            values[name] = FLAT[kind](*first, *(values[read] for read in reads))
        return values[last].sum()

    activations, grads = run(graph, params, inputs, last)
    value, expected = jax.value_and_grad(flat, argnums=(0, 1))(params, inputs)
    by_inputs = {name: grads.activations[name] for name in inputs}
    close((activations[last].sum(), (grads.params, by_inputs)), (value, expected), 1e-4, 1e-5)

    # One copy of the weight for each use: the same values, and the parts of the sum.
    uses = {name: node.params for name, node in graph.items() if node.params is not None}
    untied = {
        name: node._replace(params=name) if name in uses else node for name, node in graph.items()
    }
    copies = {name: params[weight] for name, weight in uses.items()}
    apart, parts = run(untied, copies, inputs, last)
    close(apart, activations)
    for weight, gradient in grads.params.items():
        of = [name for name, used in uses.items() if used == weight]
        np.testing.assert_allclose(
            sum((parts.params[name] for name in of), jnp.zeros((2, 2))), gradient, 1e-4, 1e-5
        )
        for name, part in grads.contributions.get(weight, {}).items():
            np.testing.assert_allclose(part, parts.params[name], 1e-4, 1e-5)


# --- depth, compilation --------------------------------------------------------------------------


def chain(length):
    """Return alternating products and activations, with one weight."""
    scale, bend = layer(multiply), layer(tanh)
    names = ["x", *(f"n{index}" for index in range(length))]
    return {
        name: Node(bend, (before,)) if index % 2 else Node(scale, (before,), "w")
        for index, (before, name) in enumerate(itertools.pairwise(names))
    }


def test_more_nodes_in_a_row_than_calls_can_be_nested(unchecked):
    length = 3 * sys.getrecursionlimit()
    graph = chain(length)
    # From 0 nothing bends: the slope is w to the number of its uses.
    w = jnp.array([1.0001, 0.9999])
    _, grads = run(graph, {"w": w}, {"x": jnp.zeros(2)}, f"n{length - 1}")
    np.testing.assert_allclose(grads.activations["x"], w ** (length // 2), rtol=2e-3)
    assert len(grads.contributions["w"]) == length // 2


def test_compiled_a_graph_is_the_flat_function():
    graph, last = chain(200), "n199"

    def flat(params, x):
        for index in range(200):
            x = jnp.tanh(x) if index % 2 else params["w"] * x
        return x.sum()

    def by_graph(params, x):
        return run(graph, params, {"x": x}, last)[1].params

    params, x = {"w": jnp.array([1.1, 0.9])}, jnp.array([0.5, -2.0])
    ours, theirs = (jax.jit(f).lower(params, x).compile() for f in (by_graph, jax.grad(flat)))
    close(ours(params, x), theirs(params, x))
    assert ours.cost_analysis()["flops"] <= 1.1 * theirs.cost_analysis()["flops"]


def test_graphs_under_jit_and_vmap_and_grad():
    params, x0 = arrays(w1=W1, w2=W2), jnp.stack([X0, 2 * X0, -X0])

    def gradients(x0):
        return run(WEIGHTED, params, {"x0": x0}, "q")[1]

    eager = [gradients(x) for x in x0]
    close(jax.jit(gradients)(x0[0]), eager[0])
    close(jax.vmap(gradients)(x0), jax.tree.map(lambda *parts: jnp.stack(parts), *eager))

    def value(x0):
        return dag.forward(WEIGHTED, params, {"x0": x0})["q"]

    close(jax.jit(jax.grad(value))(x0[0]), eager[0].activations["x0"])


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (3, "graph must be a mapping of names to nodes, not an int"),
        ({"s": 3}, "node 's' is an int: make it a Node"),
        ({"s": Node(add, (1, 2))}, r"node 's': its inputs are \(1, 2\): write .*names"),
        ({"s": Node(add, ("x",), 3)}, "node 's': its weight is 3: write its name"),
        ({"s": Node(3, ("x",))}, "node 's': its operator is an int: no function"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_graph_is_refused(graph, message):
    for function in (
        lambda: dag.check(graph, {}, {"x": jnp.ones(2)}),
        lambda: dag.forward(graph, {}, {"x": jnp.ones(2)}),
        lambda: dag.backward(graph, {}, {}, {}),
        lambda: dag.equations(graph, "s"),
        lambda: dag.operator(graph, ("x",), "s"),
    ):
        with pytest.raises(ValueError, match=message):
            function()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda g: dag.check(g, {}, 3), "inputs must be a mapping of names to arrays, not an int"),
        (lambda g: dag.forward(g, "x", {"x": 1.0}), "params must be a mapping .*, not a str"),
        (lambda g: dag.forward(g, {}, {"x": "a"}), r"inputs\['x'\] must be an array, not a str"),
        (lambda g: dag.check(g, {}, {"x": 1.0}, [3]), r"outputs must be names of nodes, not \[3\]"),
        (lambda g: dag.backward(g, {}, {"x": 1.0, "s": 1.0}, 3), "g must be a mapping"),
        (lambda g: dag.backward(g, {}, {"x": 1.0, "s": 1.0}, {"s": "a"}), r"g\['s'\] must be an a"),
        (
            lambda g: dag.backward(
                {"s": Node(multiply, ("x",), "w")}, {}, {"x": 1.0, "s": 1.0}, {}
            ),
            "node 's' uses the weight 'w'.* not in params",
        ),
        (lambda g: dag.equations(g, ["s"]), r"output \['s'\] is not among the nodes"),
        (lambda g: dag.operator(g, "x", "s"), "inputs must be a tuple of names, not 'x'"),
        (lambda g: dag.layer(3), "operator must be a function of arrays, not an int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_mapping_no_name_and_no_operator_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function({"s": Node(layer(square), ("x",))})
