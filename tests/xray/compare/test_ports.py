"""Two programs that are laid out otherwise: the line that is wrong, or the lines that may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import xray

DRAW = np.random.default_rng(0)
W, V = (DRAW.normal(size=(5, 5)).astype(np.float32) for _ in range(2))
X, Y = (DRAW.normal(size=(3, 5)).astype(np.float32) for _ in range(2))


def encode(w, v, x, slope=1.0):
    return jnp.tanh(x @ w * slope) @ v


def twice(w, v, x, y, slope=1.0):
    one, two = encode(w, v, x, slope), encode(w, v, y, slope)
    return jnp.sum((one - two) ** 2)


def together(w, v, x, y, slope=1.0):
    both = jnp.tanh(jnp.concatenate([x, y]) @ w * slope) @ v
    gap = both[: len(x)] - both[len(x) :]
    return jnp.sum(gap * gap)


@pytest.mark.parametrize(("right", "wrong"), [(twice, together), (together, twice)])
def test_what_one_program_does_at_once_and_the_other_twice(right, wrong):
    def slower(*args):
        return wrong(*args, 0.9)

    assert xray.diff(right, wrong, W, V, X, Y).first is None
    found = xray.diff(right, slower, W, V, X, Y)
    assert (found.first.op, found.certain) == ("mul", True)
    assert found.first.own == pytest.approx(0.1, rel=1e-4)
    code = encode if wrong is twice else together
    assert f"({code.__name__})" in found.first.line


def pair_of_states(w, v, xs):
    def step(carry, x):
        h, trace = carry
        h = jnp.tanh(x @ w + h @ v)
        return (h, 0.5 * trace + 0.5 * h), h

    start = jnp.zeros(5), jnp.zeros(5)
    (_, trace), hs = jax.lax.scan(step, start, xs)
    return jnp.sum(trace * hs[-1])


def one_state(w, v, xs, keep=0.5):
    def step(carry, x):
        h = jnp.tanh(x @ w + carry[0] @ v)
        trace = keep * carry[1] + 0.5 * h
        return jnp.stack([h, trace]), h

    last, hs = jax.lax.scan(step, jnp.zeros((2, 5)), xs)
    return jnp.sum(last[1] * hs[-1])


def test_the_state_of_a_loop_that_is_laid_out_otherwise():
    assert xray.diff(pair_of_states, one_state, W, V, X).first is None
    found = xray.diff(pair_of_states, lambda *args: one_state(*args, 0.6), W, V, X)
    line = one_state.__code__.co_firstlineno + 3
    assert f"test_ports.py:{line} (one_state.step)" in found.first.line
    assert (found.first.op, found.first.step) == ("mul", 1)  # at first the trace is 0
    assert "scan" in found.first.label


def likelihood(w, x, y):
    gap = x @ w - y
    return -jnp.sum(jnp.log(jnp.cosh(gap)) * jnp.abs(y))


def other_sign(w, x, y):
    gap = y - x @ w
    cost = -jnp.log(jnp.cosh(gap))
    return jnp.sum(cost * jnp.abs(x))


def swapped(w, x, y):
    gap = y - x @ w
    return -jnp.sum(jnp.log1p(jnp.exp(gap)) * jnp.abs(y))


def kept(w, x, y):
    gap = x @ w - y
    return -jnp.sum(jnp.log1p(jnp.exp(gap)) * jnp.abs(y))


def test_another_sign_is_meant_or_is_the_mistake():
    meant = xray.diff(likelihood, other_sign, W, X, Y).first  # `gap` is right, the weights are not
    assert f":{other_sign.__code__.co_firstlineno + 3} (other_sign)" in meant.line
    found = xray.diff(kept, swapped, W, X, Y)
    assert f":{swapped.__code__.co_firstlineno + 1} (swapped)" in found.first.line
    assert not found.certain  # it might be meant, and another line wrong


def gate(w, x):
    h = x @ w
    return jnp.sum(1 / (1 + jnp.exp(-h)) * x)


def respelled(w, x):
    h = jnp.dot(x, w)
    half = jnp.tanh(0.5 * h)
    gate = 0.5 - 0.5 * jnp.cos(half)
    return jnp.sum(gate * x)


def test_of_lines_that_are_all_written_otherwise_none_is_called_the_first():
    found = xray.diff(gate, respelled, W, X)
    first = respelled.__code__.co_firstlineno
    lines = [int(line.partition(".py:")[2].partition(" ")[0]) for line in found.first.lines]
    assert lines == [first + 2, first + 3]
    assert not found.certain
    assert f"a lead is between tests/xray/compare/test_ports.py:{first + 2} (respelled) and" in str(
        found
    )
    assert "one of them is to blame" in str(found)


def test_where_an_operator_is_missing_two_lines_may_be_to_blame():
    def without(w, v, x):
        h = x @ w
        return jnp.sum(h @ v)

    found = xray.diff(lambda *args: jnp.sum(encode(*args)), without, W, V, X)
    assert len(found.first.lines) == 2
    assert found.first.op == "dot_general"
    assert "the first has operators there that it has not" in str(found.first)
    assert not found.certain


def waves(x, swapped=False):
    parts = jnp.sin(x), jnp.cos(x)
    return jnp.concatenate(parts[::-1] if swapped else parts, axis=-1)


def test_what_is_put_together_in_another_order_is_named():
    def there(w, x):
        return jnp.sum(jnp.tanh(waves(x)[None] + w))

    def here(w, x):
        return jnp.sum(jnp.tanh(waves(x, swapped=True)[None] + w))

    w = DRAW.normal(size=(2, 3, 10)).astype(np.float32)
    found = xray.diff(there, here, w, X)
    assert f":{waves.__code__.co_firstlineno + 2} (waves)" in found.first.line
    assert found.first.op == "concatenate"


@jax.custom_jvp
def halved(x):
    return x * jax.nn.sigmoid(0.5 * x)


halved.defjvp(lambda x, dx: (halved(*x), dx[0] * jax.grad(lambda y: jnp.sum(halved.fun(y)))(*x)))


def test_what_is_wrong_in_a_function_that_the_first_has_not_is_named_inside_it():
    def there(w, x):
        h = x @ w
        return jnp.sum((h / (1 + jnp.exp(-h))) @ w)

    def here(w, x):
        return jnp.sum(halved(x @ w) @ w)

    found = xray.diff(there, here, W, X).first
    assert f":{halved.__wrapped__.__code__.co_firstlineno + 2} (halved)" in found.line
    assert (found.op, found.phase) == ("halved", "forward")


def by_norm(w, x):
    h = x @ w
    return jnp.sum((h / jnp.sqrt(jnp.einsum("ij,ij->i", h, h)[:, None] + 1)) ** 3)


def by_norm_of_columns(w, x):
    h = x @ w
    size = jnp.sqrt((h**2).sum(axis=0, keepdims=True) + 1)
    return jnp.sum((h / size) ** 3)


def largest(w, x):
    h = (x @ w)[:, :4]
    return jnp.sum(h.reshape(3, 2, 2).max(axis=2) ** 3)


def largest_of_clipped(w, x):
    h = jnp.minimum((x @ w)[:, :4], 0.5)
    h = h.reshape(3, 2, 2)
    return jnp.sum(h.max(axis=2) ** 3)


def whitened(w, x):
    centred = x - jnp.sum(x, axis=1, keepdims=True) / 5
    power = jnp.mean(centred**2, axis=1, keepdims=True)
    return jnp.sum(jnp.tanh(centred * (power + 1e-5) ** -0.5 @ w))


def whitened_along_two_axes(w, x):
    mean = x.mean(axis=0, keepdims=True)
    var = x.var(axis=1, keepdims=True)
    h = (x - mean) / jnp.sqrt(var + 1e-5)
    return jnp.sum(jnp.tanh(h @ w))


def activated(w, x):
    h = x @ w / 6
    h = h * 0.5 * (1 + jax.lax.erf(h * 0.5**0.5))
    scores = jnp.tanh(h @ w / 3) @ w / 3
    scores -= jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    return -jnp.sum((scores - jnp.log(jnp.sum(jnp.exp(scores), -1, keepdims=True)))[:, 0]) / 3


def nearly_activated(w, x):
    h = x @ w / 6
    h = 0.5 * h * (1.0 + jnp.tanh(0.7978846 * (h + 0.044715 * h**3)))
    scores = jnp.tanh(h @ w / 3) @ w / 3
    return jnp.mean(jax.nn.logsumexp(scores, axis=-1) - scores[:, 0])


def standard(w, x):
    mean = jnp.mean(x)
    return jnp.sum(jnp.tanh((x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2) + 1e-5) @ w))


def standard_of_columns(w, x):
    mean = x.mean(axis=0, keepdims=True)
    h = (x - mean) / jnp.sqrt(x.var() + 1e-5)
    return jnp.sum(jnp.tanh(h @ w))


def nearly_gate(w, x):
    half = jnp.tanh(0.5 * jnp.dot(x, w))
    gate = 0.5 * (1.01 + half)
    return jnp.sum(gate * x)


def halves(w, x):
    one, two = jnp.split(jnp.concatenate([x, jnp.cos(x)]) @ w, 2)
    return jnp.sum(jnp.concatenate([one - two, one * two], axis=1) @ jnp.concatenate([w, w.T]))


def every_second(w, x):
    both = jnp.concatenate([x, jnp.cos(x)]) @ w
    one, two = both[::2], both[1::2]
    return jnp.sum((one - two) @ w + (one * two) @ w.T)


def sloped(w, x):
    h = x @ w
    slope = jnp.tanh(h) + h * jnp.cos(h)
    return jnp.sum(slope * jnp.sin(h))


def sloped_without(w, x):
    h = x @ w
    slope = jnp.tanh(h)
    return jnp.sum(slope * jnp.sin(h))


@pytest.mark.parametrize(
    ("there", "here", "line"),
    [
        (by_norm, by_norm_of_columns, 2),  # another shape, which spreads: the division is right
        (largest, largest_of_clipped, 1),  # what reorders, and the maximum, are right
        (whitened, whitened_along_two_axes, 1),  # the right mean is there too, of the variance
        (standard, standard_of_columns, 1),  # likewise, of another shape
        (gate, nearly_gate, 2),  # with another number there it is right
        (halves, every_second, 2),  # both parts are wrong, and right together
        (sloped, sloped_without, 2),  # an operator is missing, and the product is right
    ],
)
def test_of_what_is_spelled_otherwise_the_line_is_named_that_does_something_else(there, here, line):
    found = xray.diff(there, here, W, X)
    assert f":{here.__code__.co_firstlineno + line} ({here.__name__})" in found.first.line
    assert len(found.first.lines) == 2 * (here is sloped_without)
    if here is nearly_gate:
        assert "with 1 for 1.01 they agree" in str(found.first)
        assert not found.certain


def test_results_that_are_nearly_equal_by_chance_hide_no_value():
    found = xray.diff(activated, nearly_activated, W, X)
    assert found.results["the result"] < 1e-5 < found.results["the gradient of w"]
    assert found.first.phase == "forward"
    line = nearly_activated.__code__.co_firstlineno + 2
    assert any(f":{line} (" in one for one in (found.first.line, *found.first.lines))


def half_gradient(x):
    return 0.5 * x + jax.lax.stop_gradient(0.5 * x)


@jax.custom_vjp
def slowed(x):
    return x


slowed.defvjp(lambda x: (x, None), lambda _, g: (jnp.sign(g),))


def test_a_wrong_gradient_of_what_is_shared_out_otherwise_is_a_lead():
    def there(w, v, x, y):
        h = jnp.concatenate([x, y]) @ w + v[0][None]
        h = h - jnp.sum(h, axis=1, keepdims=True) / 5
        both = half_gradient(h / jnp.sqrt(jnp.mean(h * h, axis=1, keepdims=True) + 1e-5)) @ v
        return jnp.sum((both[:3] - both[3:]) ** 2)

    def encoded(w, v, x):
        h = x @ w + v[0][None]
        mean = jnp.mean(h, axis=1, keepdims=True)
        var = jnp.mean(jnp.square(h - mean), axis=1, keepdims=True)
        return slowed(jnp.copy((h - mean) * jax.lax.rsqrt(var + 1e-5))) @ v

    def here(w, v, x, y):
        return jnp.sum((encoded(w, v, x) - encoded(w, v, y)) ** 2)

    found = xray.diff(there, here, W, V, X, Y)
    assert found.results["the result"] < 1e-6
    assert (found.first.phase, found.first.op, found.certain) == ("backward", "slowed", False)
    assert f":{slowed.__wrapped__.__code__.co_firstlineno + 5} (" in found.first.line


def gated(w, v, xs):
    def step(carry, x):
        h, trace = carry
        new, keep = jnp.tanh(x @ w + h), jax.nn.sigmoid(h @ v)
        h = new + keep * (h - new)
        return (h, 0.5 * trace + 0.5 * h), h

    start = jnp.ones(5), jnp.zeros(5)
    (_, trace), hs = jax.lax.scan(step, start, xs)
    return jnp.sum(trace * hs[-1])


def gated_otherwise(w, v, xs, activation=jnp.tanh):
    def step(state, x):
        h = state[0]
        keep = 0.5 * (1 + jnp.tanh(0.5 * (h @ v)))
        new = activation(x @ w + h)
        h = keep * h + (1 - keep) * new
        return jnp.stack([h, 0.5 * state[1] + 0.5 * h]), h

    last, hs = jax.lax.scan(step, jnp.stack([jnp.ones(5), jnp.zeros(5)]), xs)
    return jnp.sum(last[1] * hs[-1])


def test_a_state_in_parts_is_known_where_the_second_loop_takes_less():
    def here(w, v, xs):
        def step(state, x):
            new = jnp.tanh(x @ w + state[0])
            h = new + jax.nn.sigmoid(state[0]) * (state[0] - new)
            return jnp.stack([h, 0.5 * state[1] + 0.5 * h]), h

        last, hs = jax.lax.scan(step, jnp.stack([jnp.ones(5), jnp.zeros(5)]), xs)
        return jnp.sum(last[1] * hs[-1])

    found = xray.diff(gated, here, W, V, X)
    line = here.__code__.co_firstlineno + 3
    assert f":{line} (" in found.first.line


def test_what_only_takes_a_state_apart_is_not_taken_for_what_is_made_of_it():
    assert xray.diff(gated, gated_otherwise, W, V, X).first is None
    found = xray.diff(gated, lambda *args: gated_otherwise(*args, jax.nn.relu), W, V, X)
    line = gated_otherwise.__code__.co_firstlineno + 4
    assert f"test_ports.py:{line} (gated_otherwise.step)" in found.first.line
    assert "relu" in found.first.label  # a function with a rule that the first has not, in a loop
