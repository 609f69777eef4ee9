"""The equations in the pictures are true: their right sides, computed, are the gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.xray.equations import _PRODUCTS, equation

lax = jax.lax
ONE = {
    "neg": jnp.negative, "square": lax.square, "sqrt": lax.sqrt, "rsqrt": lax.rsqrt,
    "cbrt": lax.cbrt, "exp": lax.exp, "exp2": lax.exp2, "expm1": lax.expm1, "log": lax.log,
    "log1p": lax.log1p, "sin": lax.sin, "cos": lax.cos, "tan": lax.tan, "sinh": lax.sinh,
    "cosh": lax.cosh, "tanh": lax.tanh, "asin": lax.asin, "acos": lax.acos, "atan": lax.atan,
    "logistic": lax.logistic, "erf": lax.erf, "abs": lax.abs,
    "integer_pow": lambda x: lax.integer_pow(x, -3),
}  # fmt: skip
TWO = {"add": lax.add, "sub": lax.sub, "mul": lax.mul, "div": lax.div, "pow": lax.pow}
NAMES = {name: getattr(np, name) for name in ("exp", "log", "sin", "cos", "sinh", "cosh", "sign")}


def compute(text):
    """The number that an equation says: ``2 · (1 − 0.5²)``."""
    for mark, code in (
        ("−", "-"), ("·", "*"), ("^", "**"), ("²", "**2"), ("√π", "np.sqrt(np.pi)"),
    ):  # fmt: skip
        text = text.replace(mark, code)
    text = re.sub(r"√(\([^)]*\)|[0-9.]+)", r"np.sqrt(\1)", text)
    text = re.sub(r"\b([a-z]+) (\(?-?[0-9.]+\)?)", r"\1(\2)", text)  # sin 2
    return eval(text, {"np": np, **NAMES})


def test_the_equations_of_scalar_operators_compute_their_gradients():
    def f(x, y):
        ones = [lax.sin(op(x)) for op in ONE.values()]
        return sum(ones + [lax.cos(op(x, y)) for op in TWO.values()])

    report = xray.xray(f, 0.75, 1.25)
    checked = set()
    for node in report.nodes:
        if not any(slot.node < 2 for slot in node.inputs):
            continue
        backward = equation(report.record, node).backward
        for text, part in zip(backward, node.contributions, strict=True):
            *_, computed, printed = text.replace(" += ", " = ").split(" = ")
            if computed != f"∂{node.label}":  # in a sum there is nothing to compute
                assert compute(computed) == pytest.approx(float(part), rel=2e-3), text
            assert compute(printed) == pytest.approx(float(part), rel=1e-3), text
        checked.add(node.op)
    assert checked == {*ONE, *TWO}


@pytest.mark.parametrize("case", _PRODUCTS)
def test_the_equation_of_a_product_computes_its_gradient(case):
    left, right, i, j = case
    sizes = [
        [3 if k == axis else free for k in range(rank)]
        for rank, axis, free in ((left, i, 2), (right, j, 4))
    ]
    a = np.sin(np.arange(np.prod(sizes[0]))).reshape(sizes[0])
    b = np.cos(np.arange(np.prod(sizes[1]))).reshape(sizes[1])

    def f(a, b):
        return lax.dot_general(a, b, (((i,), (j,)), ((), ())))

    y, pull = jax.vjp(f, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    g = np.asarray(jnp.cos(jnp.arange(float(y.size))).reshape(y.shape))

    def value(rule):
        first, outer, second = rule.partition(" ⊗ ")
        if outer:
            return np.outer(value(first), value(second))
        code = rule.replace("ᵀ", ".T").replace("·", "*" if "g" in rule else "@")
        return eval(code, {"a": a, "b": b, "g": g})

    forward, *backward = map(value, _PRODUCTS[case])
    np.testing.assert_allclose(forward, y, rtol=1e-5, atol=1e-6)
    for got, expected in zip(backward, pull(jnp.asarray(g)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_an_input_with_other_uses_is_added_to():
    report = xray.xray(lambda x, y: x * y + x, 2.0, -3.0, compiled=False)
    found = equation(report.record, report.nodes[2])
    assert found.backward == ("∂x += ∂mul_2 · y = 1 · (−3) = −3", "∂y = ∂mul_2 · x = 1 · 2 = 2")


def test_an_operator_without_a_rule_here_says_whose_rule_it_is():
    @jax.custom_jvp
    def twice(x):
        return 2 * x

    twice.defjvp(lambda p, t: (twice(p[0]), 2 * t[0]))
    report = xray.xray(lambda x: lax.lgamma(twice(x)), 1.5, compiled=False)
    texts = [equation(report.record, node) for node in report.nodes[1:]]
    assert (
        texts[0].backward[0].startswith("∂x = ∂twice_1 times the derivative of twice, by its own")
    )
    assert texts[1].forward.startswith("lgamma_2 = lgamma(twice_1) = ")
    assert "by jax.vjp" in texts[1].backward[0]


def test_the_rules_of_jax_are_known_and_those_of_others_not_mistaken_for_them():
    @jax.custom_jvp
    def relu(x):
        return x * 3

    relu.defjvp(lambda p, t: (relu(p[0]), 3 * t[0]))

    def line(f, *args):
        report = xray.xray(f, *args, compiled=False)
        return equation(report.record, report.nodes[len(args)]).backward[0]

    assert line(jax.nn.relu, 2.0) == "∂x = ∂relu_1 where x > 0, 0 elsewhere = 1"
    assert "by its own rule" in line(relu, 2.0)
    (left, right) = line(jnp.logaddexp, 0.5, 1.5).split(" = ")[-2:]
    assert compute(left) == pytest.approx(1 / (1 + np.exp(1.0)), rel=1e-3)
    assert compute(right) == pytest.approx(1 / (1 + np.exp(1.0)), rel=1e-3)
    assert line(jax.scipy.special.xlogy, 2.0, 3.0).endswith(" · log 3 = 1.099")


def test_what_is_taken_by_index_gets_its_gradient_back_there():
    report = xray.xray(lambda x, i: x[i], jnp.arange(3.0), 1, compiled=False)
    (node,) = (n for n in report.nodes if n.op in ("gather", "dynamic_slice"))
    (line,) = equation(report.record, node).backward
    assert " elsewhere" in line


def test_the_products_are_all_of_vectors_and_matrices_over_one_axis():
    ranks = [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert set(_PRODUCTS) == {(a, b, i, j) for a, b in ranks for i in range(a) for j in range(b)}


def test_a_constant_number_is_written_out_and_an_array_goes_by_its_name():
    both = jnp.array([2.0, 3.0])
    report = xray.xray(lambda x: jnp.sum(x * both * 4.0), jnp.ones(2))
    written = [equation(report.record, node).forward for node in report.nodes if node.op == "mul"]
    (name,) = (node.label for node in report.nodes if np.shape(node.value) == (2,) and not node.name
               and node.kind == "constant")  # fmt: skip
    assert name in written[0]
    assert "4" in written[1]
