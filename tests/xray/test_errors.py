"""One clear line for everything that cannot be recorded, and what to do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray

X = jnp.array([0.5, -1.5, 2.0])


def test_numpy_on_a_traced_array():
    def f(x):
        return np.sum(np.asarray(x))

    with pytest.raises(ValueError, match=r"f cannot be traced .*test_errors.py:\d+.*jax.numpy"):
        xray.xray(f, X)


def test_if_on_a_traced_array():
    def f(x):
        return x if x > 0 else -x

    with pytest.raises(ValueError, match=r"TracerBoolConversionError.*jax.lax.cond"):
        xray.xray(f, 1.0)


def test_a_mask_as_an_index():
    with pytest.raises(ValueError, match=r"jnp\.where"):
        xray.xray(lambda x: jnp.sum(x[x > 0]), X)


def test_a_shape_from_an_argument():
    with pytest.raises(ValueError, match=r"functools\.partial"):
        xray.xray(lambda x, n: jnp.sum(x[:n]), X, 2)


def test_a_mutable_array():
    def f(x):
        total = jax.new_ref(jnp.zeros(()))
        total[...] = x[0]
        return jax.jit(lambda y: y * 2.0)(total[...])

    with pytest.raises(ValueError, match=r"f writes to a mutable array .* pass the value on"):
        xray.xray(f, X)


def test_the_users_own_errors_pass_unchanged():
    def f(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        xray.xray(f, X)


@pytest.mark.parametrize("f", [lambda x: jnp.argmax(x), lambda x: None])
def test_no_float_in_the_result(f):
    with pytest.raises(ValueError, match="only floats have gradients"):
        xray.xray(f, X)


def test_no_scalar_and_no_cotangent():
    with pytest.raises(ValueError, match=r"float32\[3\], not one scalar.*cotangent="):
        xray.xray(jnp.sin, X)


def test_a_complex_result_needs_a_cotangent():
    def f(x):
        return jax.lax.complex(jnp.zeros(()), jnp.sum(x))

    with pytest.raises(ValueError, match="f returns complex64, and only a real number has a grad"):
        xray.xray(f, X)
    assert xray.xray(f, X, cotangent=1j).grads[0].tolist() == [-1.0] * 3


def test_several_results_name_has_aux():
    with pytest.raises(ValueError, match="has_aux=True"):
        xray.xray(lambda x: (jnp.sum(x), x), X)


def test_a_cotangent_of_another_shape():
    with pytest.raises(ValueError, match=r"cotangent has shape \[2\], the result of sin \[3\]"):
        xray.xray(jnp.sin, X, cotangent=jnp.ones(2))


def test_a_cotangent_of_another_tree():
    with pytest.raises(ValueError, match="give the same tree"):
        xray.xray(lambda x: {"a": x}, X, cotangent=X)


def test_an_argument_that_is_no_array():
    def f(params, x, mode):
        return jnp.sum(x)

    with pytest.raises(ValueError, match=r"mode of f is 'train', a str.*functools\.partial"):
        xray.xray(f, {"w": X}, X, "train")
    with pytest.raises(ValueError, match=r"params\['w'\] of f is 'train'"):
        xray.xray(f, {"w": "train"}, X, X)
    assert xray.xray(functools.partial(f, mode="train"), {"w": X}, X).grads[1].tolist() == [1.0] * 3


def test_an_argument_that_is_not_there():
    with pytest.raises(ValueError, match="argnums must be an int from -1 to 0, not 2"):
        xray.xray(jnp.sum, X, argnums=2)


def test_keep_is_one_of_two(unchecked):
    with pytest.raises(ValueError, match=r"unknown keep 'all': expected one of values, stats"):
        xray.xray(jnp.sum, X, keep="all")


def test_what_cannot_be_opened():
    report = xray.xray(lambda x: jnp.sum(jax.nn.relu(x)), X)
    with pytest.raises(ValueError, match="has no inside"):
        report.open("x")
    with pytest.raises(LookupError, match="no node has the name 'y': there are x, relu_1"):
        report.node("y")
    with pytest.raises(ValueError, match="keep='values'"):
        xray.xray(lambda x: jnp.sum(jax.nn.relu(x)), X, keep="stats").open("relu_1")


def test_a_step_belongs_to_a_loop():
    def f(x):
        return jax.lax.scan(lambda c, v: (jax.nn.relu(c * v), None), 1.0, x)[0]

    report = xray.xray(f, X)
    scan = report.open(next(node for node in report.nodes if node.op == "scan"))
    relu = next(node for node in scan.nodes if node.op == "relu")
    for step in (None, 3, -4):
        with pytest.raises(ValueError, match=f"step is {step}, .* a loop of 3 steps: name one"):
            scan.open(relu, step)
    with pytest.raises(ValueError, match="step is 0, x stands in no loop"):
        report.open("x", 0)
    assert float(scan.open(relu, 1).node("input 0").value) == -0.75


def test_a_loop_too_long_to_keep(monkeypatch):
    def f(x):
        return jnp.sum(jax.lax.fori_loop(0, 1000, lambda i, c: jnp.sqrt(c) - 1.0, x))

    monkeypatch.setattr("chainrule.xray.bodies._LARGEST", 2**12)
    report = xray.xray(f, jnp.ones(8))
    loop = next(node for node in report.nodes if node.op in ("scan", "while"))
    with pytest.raises(ValueError, match=r"the 1000 steps of .* GiB, more than .*: record a call"):
        report.open(loop)
    # Its births are then known to the line of the loop.
    assert [birth.op for birth in report.nonfinite().births if birth.phase == "forward"] == [
        loop.op
    ]


def pair(x):
    return jnp.sum(x), x, x


class Opaque:
    """No array."""


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: xray.xray(3, X), "f must be a function of arrays .*, not an int"),
        (lambda: xray.xray(pair), r"pair\(x\) cannot be called with 0 arguments: missing .*'x'"),
        (lambda: xray.xray(pair, X, X), r"pair\(x\) cannot be called with 2 arguments: too many"),
        (lambda: xray.xray(pair, X, argnums="x"), "argnums must be an int from -1 to 0, not 'x'"),
        (lambda: xray.xray(pair, X, argnums=0.5), "argnums must be an int .* not 0.5"),
        (lambda: xray.xray(pair, X, has_aux=True), "has_aux is True, but pair returns 3 parts"),
        (lambda: xray.xray(jnp.sum, X, has_aux=True), "has_aux is True, but sum returns no tuple"),
        (lambda: xray.xray(jnp.sum, X, has_aux="yes"), "has_aux must be True or False, not 'yes'"),
        (lambda: xray.xray(jnp.sum, X, compiled="no"), "compiled must be True or False, not 'no'"),
        (lambda: xray.xray(jnp.sum, X, unroll=3), "unroll must be True or False, not 3"),
        (lambda: xray.xray(jnp.sum, X, cotangent="a"), "cotangent is <U1, the result .* float32"),
        (lambda: xray.xray(jnp.sum, X, cotangent=1j), "cotangent is complex128, the result of sum"),
        (lambda: xray.xray(jnp.sum, np.array(["a"])), "argument .* is no array that JAX knows"),
        (lambda: xray.xray(jnp.sum, 2**70), "argument .* too large to convert"),
        (lambda: xray.xray(jnp.sum, jax.typeof(X)), "argument a of sum is "),
        (lambda: xray.xray(jnp.sum, jax.eval_shape(jnp.sin, X)), "is a shape, .* pass an array"),
        (lambda: xray.xray(lambda x: Opaque(), X), "<lambda> returns a .*Opaque: return arrays"),
        (lambda: xray.probe(3, X), "loss must be a function of the parameters .*, not an int"),
    ],
)
def test_arguments_of_a_wrong_kind(unchecked, call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_an_array_that_was_deleted():
    gone = jnp.ones(3) + 1.0
    gone.delete()
    with pytest.raises(ValueError, match="argument a of sum was deleted or donated: pass a copy"):
        xray.xray(jnp.sum, gone)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_inside_a_function_that_jax_traces(transform):
    with pytest.raises(ValueError, match="call it outside jit, grad, vmap and scan"):
        transform(lambda x: xray.xray(jnp.sum, x).output)(X)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda report: report.open(3), "node is 3: give a node of this record, or its label"),
        (lambda report: report.node(3), "name must be text, a str, not an int"),
        (lambda report: report.to_svg(open=3), "open is 3: give 'auto', 'all', 'none' or a list"),
        (lambda report: report.to_svg(direction="left"), "unknown direction 'left'.* right, down"),
        (lambda report: report.to_html(direction="up"), "unknown direction 'up'.* right, down"),
        (lambda report: report.save(3), "path must be a path, .* not an int"),
    ],
)
def test_questions_of_a_wrong_kind(unchecked, ask, match):
    with pytest.raises(ValueError, match=match):
        ask(xray.xray(jnp.sum, X))


def test_a_node_of_another_record_is_not_opened():
    first, second = xray.xray(jax.nn.relu, 1.0), xray.xray(jax.nn.relu, 2.0)
    with pytest.raises(ValueError, match="node is relu_1 of another record: give a node of this"):
        second.open(first.node("relu_1"))
