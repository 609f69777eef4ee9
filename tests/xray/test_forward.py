"""Forward only: any function of any results, a training step with its own gradient included."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainrule import xray

X = jnp.array([4.0, 0.0, 1.0])
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def loss(params, x):
    return jnp.sum(jnp.sqrt(params["w"] * x))  # root


def train_step(params, state, x):
    value, grads = jax.value_and_grad(loss)(params, x)
    updates, state = OPTIMIZER.update(grads, state, params)
    return optax.apply_updates(params, updates), state, {"loss": value}


def step_args():
    params = {"w": jnp.ones(3)}
    return params, OPTIMIZER.init(params), X


def line(function, text):
    lines, start = inspect.getsourcelines(function)
    return start + next(k for k, code in enumerate(lines) if text in code)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_training_step_names_the_forward_line_of_its_gradient(wrap, compiled):
    args = step_args()
    report = xray.xray(wrap(train_step), *args, gradients=False, compiled=compiled)
    expected = train_step(*args)
    jax.tree.map(np.testing.assert_allclose, report.output, expected)
    nonfinite = report.nonfinite()
    first = nonfinite.births[0]
    assert first.line.endswith(f"test_forward.py:{line(loss, '# root')} (loss)")
    assert (first.kind, first.phase, first.in_gradient, first.index) == (
        "Inf", "forward", True, (1,),
    )  # fmt: skip
    assert f"{first.kind} born in the gradient of this line, in {first.op}" in str(nonfinite)
    assert nonfinite.reaches == ("the result",)


def test_what_is_born_on_the_way_forward_is_not_said_to_be_in_a_gradient():
    def step(w):
        return jax.value_and_grad(lambda w: jnp.sum(jnp.log(w) ** 2))(w)

    births = xray.xray(step, jnp.zeros(2), gradients=False).nonfinite().births
    assert (births[0].op, births[0].in_gradient) == ("log", False)


def test_any_results_will_do_and_no_gradient_is_asked_for():
    report = xray.xray(lambda x: {"top": jnp.argmax(x), "x": x}, X, gradients=False)
    assert int(report.output["top"]) == 0
    assert report.grads == (None,)
    assert all(node.cotangent is None for node in report.nodes)
    assert not report.nonfinite()
    assert report.to_svg().startswith("<svg")
    assert "argmax" in str(report)
    assert xray.xray(lambda p: p["w"] > 0, {"w": X}, gradients=False).nodes[0].kind == "parameter"


def test_a_jitted_function_with_settings_of_its_own_is_looked_into():
    f = jax.jit(
        lambda x: jnp.sum(jnp.sin(x)), compiler_options={"xla_embed_ir_in_executable": True}
    )
    report = xray.xray(f, X)
    assert [node.op for node in report.nodes] == ["input", "sin", "reduce_sum"]
    np.testing.assert_allclose(report.grads[0], jnp.cos(X), rtol=1e-6)


def test_one_inside_that_jax_cannot_trace_is_one_clear_sentence():
    inner = jax.jit(jnp.sin, compiler_options={"xla_embed_ir_in_executable": True})
    with pytest.raises(
        ValueError, match=r"calls a function jitted with compiler_options at .*:\d+"
    ):
        xray.xray(lambda x: jnp.sum(inner(x)), X)


def test_a_cotangent_belongs_to_gradients():
    with pytest.raises(ValueError, match="gradients=False goes forward only: leave cotangent out"):
        xray.xray(jnp.sin, X, cotangent=X, gradients=False)


def test_what_a_checkpoint_leaves_of_a_function_is_looked_into():
    @jax.checkpoint
    def rounds(h):
        return jax.lax.scan(lambda c, _: (c / jnp.sum(c), None), h, None, length=2)[0]

    def step(h):
        return jax.grad(lambda h: jnp.sum(rounds(h)))(h)

    births = xray.xray(step, jnp.zeros(3), gradients=False).nonfinite().births
    assert births[0].op == "div"
    assert not any(birth.op == "eval_jaxpr" for birth in births)


@pytest.mark.parametrize("name", ["gradients", "has_aux", "compiled", "unroll"])
def test_a_setting_that_is_neither_true_nor_false_is_refused(name, unchecked):
    with pytest.raises(ValueError, match=f"{name} must be True or False, not 'no'"):
        xray.xray(jnp.sum, jnp.ones(3), **{name: "no"})
