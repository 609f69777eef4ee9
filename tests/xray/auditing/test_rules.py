"""Custom rules: the wrong ones with their line and factor, those on purpose as such."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray
from chainrule.ops import convolution, pooling

X = jnp.array([0.4, 1.0, 2.0])
A = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)


def with_rule(f, forward, backward, **settings):
    """A function with a rule, as people write it: the rule is what the test is about."""
    made = jax.custom_vjp(f)
    made.defvjp(forward, backward, **settings)
    return made


def sine(backward, forward=lambda x: (jnp.sin(x), x)):
    return with_rule(lambda x: jnp.sin(x), forward, backward)


def product(backward):
    return with_rule(lambda a, b: a @ b, lambda a, b: (a @ b, (a, b)), backward)


def line_of(f, text):
    rows, start = inspect.getsourcelines(f)
    (offset,) = [k for k, row in enumerate(rows) if text in row]
    return f"test_rules.py:{start + offset} "


def test_a_factor_has_its_line_its_number_and_the_worst_element():
    def back(x, g):
        slope = jnp.cos(x)
        return (1.1 * g * slope,)  # the factor

    sin = sine(back)

    def loss(x):
        return jnp.sum(sin(x) * jnp.array([1.0, 2.0, 4.0]))  # the call

    (rule,) = xray.audit(loss, X).rules
    assert line_of(back, "# the factor") in rule.line
    assert line_of(loss, "# the call") in rule.called
    assert rule.why == "the rule of <lambda> gives x 1.1 times its gradient"
    assert rule.factor == pytest.approx(1.1, rel=1e-5)
    assert rule.worst == (2,)
    assert rule.true == pytest.approx(4 * np.cos(2.0), rel=1e-5)  # not derived from the package
    assert rule.by_rule == pytest.approx(1.1 * 4 * np.cos(2.0), rel=1e-5)
    assert rule.method == "autodiff and differences"
    assert rule.cure.endswith("agrees with differences here (tried)")
    text = str(rule)
    assert "worst at [2]: -1.83105 by the rule, -1.66459 by autodiff and differences" in text
    assert xray.audit(lambda x: jnp.sum(sine(lambda x, g: (g * jnp.cos(x),))(x)), X).healthy


@pytest.mark.parametrize(
    ("backward", "what"),
    [
        (lambda x, g: (-g * jnp.cos(x),), "the negative of its gradient"),
        (lambda x, g: (g * jnp.cos(x) * x,), "another gradient"),
        (lambda x, g: (jnp.zeros_like(x),), "no gradient, as if the function ignored it"),
        (lambda x, g: (jnp.roll(g * jnp.cos(x), 1),), "off by one step along axis 0"),
        (lambda x, g: ((g * jnp.cos(x))[::-1],), "reversed along axis 0"),
    ],
)
def test_what_a_rule_gives_instead_is_said(backward, what):
    (rule,) = xray.audit(lambda x: jnp.sum(sine(backward)(x) * jnp.arange(1.0, 4.0)), X).rules
    assert what in rule.why


def test_transposed_and_swapped_matrices_are_recognised():
    def loss(multiply):
        return lambda a, b: jnp.sum(multiply(a, b) ** 2)

    transposed = product(lambda kept, g: ((g @ kept[1].T).T, kept[0].T @ g))
    swapped = product(lambda kept, g: (kept[0].T @ g, g @ kept[1].T))
    (rule,) = xray.audit(loss(transposed), A, A + 1).rules
    assert rule.why.endswith("gives a its gradient transposed")
    first, second = xray.audit(loss(swapped), A, A + 1).rules
    assert first.why.endswith("gives a the gradient of its input 1")
    assert second.why.endswith("gives b the gradient of its input 0")


def test_a_residual_that_is_only_right_where_it_was_called_is_found_close_by():
    wrong = sine(lambda x, g: (g * jnp.cos(x),), lambda x: (jnp.sin(x), jnp.round(x, 1)))
    (rule,) = xray.audit(lambda x: jnp.sum(wrong(x)), jnp.array([0.5, 1.0])).rules
    assert rule.why.endswith("at the numbers it was called with it is right, close by it is wrong")


def test_another_value_under_differentiation_is_found():
    wrong = sine(lambda x, g: (g * jnp.cos(x),), lambda x: (1.1 * jnp.sin(x), x))
    (rule,) = xray.audit(lambda x: jnp.sum(wrong(x)), X).rules
    assert "has another value than without, 1.1 times" in rule.why


def test_a_rule_in_a_loop_and_in_a_branch_is_checked_at_what_it_takes_there():
    wrong = sine(lambda x, g: (1.1 * g * jnp.cos(x),))

    def loop(x):
        return jnp.sum(jax.lax.scan(lambda c, _: (wrong(c), c), x, None, 4)[0])

    def branch(x):
        return jax.lax.cond(x[0] > 0, lambda x: jnp.sum(wrong(x)), jnp.sum, x)

    for f in (loop, branch):
        (rule,) = xray.audit(f, X).rules
        assert rule.factor == pytest.approx(1.1, rel=1e-4)


def test_a_custom_jvp_is_checked_and_its_line_named():
    @jax.custom_jvp
    def f(x):
        return jnp.tanh(x)

    @f.defjvp
    def rule(primals, tangents):
        (x,), (dx,) = primals, tangents
        return jnp.tanh(x), dx * (1 - jnp.tanh(x))  # squared, it would be right

    (found,) = xray.audit(lambda x: jnp.sum(f(x)), X).rules
    assert line_of(rule, "# squared") in found.line


@pytest.mark.parametrize(
    ("f", "back", "purpose"),
    [
        (jnp.round, lambda x, g: (g,), "straight-through"),
        (jnp.sign, lambda x, g: (jnp.where(jnp.abs(x) < 1.5, g, 0.0),), "straight-through"),
        (jnp.sign, lambda x, g: (g / (1 + x**2),), "surrogate"),
        (lambda x: x, lambda x, g: (-0.5 * g,), "reversed"),
        (lambda x: x, lambda x, g: (jnp.clip(g, -0.1, 0.1),), "clipped"),
        (lambda x: x, lambda x, g: (jnp.zeros_like(g),), "stopped"),
        (jnp.tanh, lambda x, g: (jnp.clip(g * (1 - jnp.tanh(x) ** 2), -0.1, 0.1),), "clipped"),
    ],
)
def test_what_differs_on_purpose_is_recognised_and_is_not_wrong(f, back, purpose):
    own = with_rule(lambda x: f(x), lambda x: (f(x), x), back)
    found = xray.audit(lambda x: jnp.sum(3 * own(x)), X + 0.2)
    assert found.healthy
    assert [rule.purpose for rule in found.meant] == [purpose]
    assert f"on purpose, {purpose}" in str(found)


def test_a_rule_is_allowed_by_the_name_of_its_function():
    @jax.custom_vjp
    def guided(x):
        return jnp.maximum(x, 0.0)

    guided.defvjp(lambda x: (guided(x), x), lambda x, g: (jnp.where((x > 0) & (g > 0), g, 0.0),))

    def loss(x):
        return jnp.sum(guided(x) * jnp.array([1.0, -1.0, 1.0]))

    assert [rule.function for rule in xray.audit(loss, X).rules] == ["guided"]
    allowed = xray.audit(loss, X, ignore=("guided",))
    assert allowed.healthy
    assert "on purpose, ignored" in str(allowed)
    xray.assert_healthy(loss, X, ignore=["guided"])
    with pytest.raises(AssertionError, match=r"loss is not healthy\n\n.*test_rules.py"):
        xray.assert_healthy(loss, X)


def test_corners_are_no_errors():
    def loss(x, images, kernel):
        y = pooling.max_pool(jax.nn.relu(convolution.conv(images, kernel)), 2)
        return jnp.sum(jax.nn.relu(x)) + jnp.sum(y) + jnp.sum(jax.nn.softplus(x))

    found = xray.audit(loss, jnp.zeros(3), jnp.zeros((1, 6, 6, 1)), jnp.ones((3, 3, 1, 2)))
    assert found.healthy
    assert found.checked >= 2
    assert found.unknown == ()


def test_a_body_without_a_derivative_is_compared_with_differences_alone():
    def called(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda v: np.sin(v).astype(np.float32), shape, x)

    def loss(factor):
        f = with_rule(called, lambda x: (called(x), x), lambda x, g: (factor * g * jnp.cos(x),))
        return lambda x: jnp.sum(f(x))

    (rule,) = xray.audit(loss(1.1), X).rules
    assert rule.method == "differences alone"
    assert rule.factor == pytest.approx(1.1, rel=1e-2)
    assert xray.audit(loss(1.0), X).healthy

    def root(x):
        return jax.lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * x), (0, x))[1]

    power = with_rule(root, lambda x: (root(x), x), lambda x, g: (1.1 * 6 * g * x**5,))
    (rule,) = xray.audit(lambda x: jnp.sum(power(x)), X).rules
    assert rule.factor == pytest.approx(1.1, rel=1e-3)


def test_another_dtype_a_forgotten_symbolic_zero_and_a_raising_rule_are_found():
    def multiply(back, **settings):
        def forward(x, y):
            x, y = (x.value, y.value) if settings else (x, y)
            return (x * y, x + y), (x, y)

        f = with_rule(lambda x, y: (x * y, x + y), forward, back, **settings)
        return lambda x: jnp.sum(f(x, x)[0])

    half = multiply(lambda k, g: ((g[0] * k[1] + g[1]).astype(jnp.float16), g[0] * k[0] + g[1]))
    (rule,) = xray.audit(half, X).rules
    assert rule.why.endswith("gives x, float32, a gradient of another dtype, float16")

    forgets = multiply(lambda k, g: (g[0] * k[1] + g[1], g[0] * k[0] + g[1]), symbolic_zeros=True)
    (rule,) = xray.audit(forgets, X).rules
    assert "says symbolic_zeros=True and forgets them" in rule.why

    shape = multiply(lambda k, g: (g[0][:1], g[1]))
    (rule,) = xray.audit(shape, X).rules
    assert "raises ValueError: Custom VJP bwd rule" in rule.why


def test_what_has_no_gradient_or_cannot_be_traced_is_said_as_by_the_x_ray():
    with pytest.raises(ValueError, match=r"returns bool\[3\], and only floats have gradients"):
        xray.audit(lambda x: x > 1, X)
    with pytest.raises(ValueError, match="cannot be traced by JAX"):
        xray.audit(lambda x: x if x > 1 else -x, 1.0)
