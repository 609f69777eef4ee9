"""The line of an operator is the user's innermost one, whoever called it, and in whatever body."""

import importlib.util
import inspect
import textwrap

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.ode import odeint

from chainrule import xray

LIBRARY = """
    import functools

    import jax
    import jax.numpy as jnp


    @functools.partial(jax.jit, static_argnums=0)
    def solve(field, y, steps=3):
        y = jnp.cos(y)  # of the library
        return jax.lax.fori_loop(0, 3, lambda _, y: y + field(y), y)


    def scanned(cell, h, xs):
        def step(h, x):
            return jnp.tanh(cell(h, x)), None

        return jax.lax.scan(step, h, xs)[0]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A package that is installed, with loops that call what they are given."""
    file = tmp_path_factory.mktemp("env") / "site-packages" / "solver.py"
    file.parent.mkdir()
    file.write_text(textwrap.dedent(LIBRARY))
    spec = importlib.util.spec_from_file_location("solver", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def at(function, text):
    """The place of a text in the source of a function, with the function's name."""
    lines, start = inspect.getsourcelines(function)
    number = start + next(k for k, code in enumerate(lines) if text in code)
    return f"test_lines.py:{number} ({function.__qualname__.replace('.<locals>', '')})"


def field(y):
    return -jnp.sqrt(y)  # the field


def test_in_the_loop_of_a_library_the_line_is_that_of_the_users_function(library):
    def f(x):
        first = library.solve(field, x)  # first call
        return first + library.solve(field, 2 * x)  # second call

    report = xray.xray(f, 0.1, gradients=False)
    own = [node for node in report.nodes if node.op == "cos"]
    assert [node.line.rpartition("/")[2] for node in own] == [at(f, "first"), at(f, "second")]
    assert {node.within.partition(" ")[0].rpartition("/")[2] for node in own} == {"solver.py:10"}
    loops = [node for node in report.nodes if node.op in ("scan", "while")]
    for loop in loops:
        inside = {node.op: node for node in report.open(loop).nodes}
        assert inside["sqrt"].line.endswith(at(field, "the field"))
        assert inside["sqrt"].within == inside["sqrt"].line


def test_unrolled_steps_of_a_library_have_the_users_lines(library):
    def cell(h, x):
        return h * x  # the cell

    def f(h):
        return library.scanned(cell, h, jnp.arange(2.0))  # the call

    report = xray.xray(f, 0.5, unroll=True)
    lines = {node.op: node.line.rpartition("/")[2] for node in report.nodes if node.line}
    assert (lines["mul"], lines["tanh"]) == (at(cell, "the cell"), at(f, "the call"))
    assert all("test_lines.py" in line for line in lines.values())


@jax.custom_jvp
def steep(x):
    return jnp.sqrt(x)


@steep.defjvp
def steep_rule(primals, tangents):
    (x,), (t,) = primals, tangents
    return steep(x), t / (2 * jnp.sqrt(x))  # the rule


@jax.custom_vjp
def rounded(x):
    return x * 1.0


def rounded_forward(x):
    return rounded(x), 1 / x  # the way forward


def rounded_backward(kept, g):
    return (jnp.log(kept - kept) * g,)  # the way back


rounded.defvjp(rounded_forward, rounded_backward)


def test_what_a_rule_makes_is_named_at_its_line_in_the_rule():
    births = xray.xray(lambda x: steep(x), 0.0).nonfinite().births
    assert [(b.kind, b.phase, b.line.rpartition("/")[2]) for b in births][:1] == [
        ("Inf", "backward", at(steep_rule, "the rule"))
    ]
    births = xray.xray(lambda x: rounded(x), 2.0).nonfinite().births
    first = births[0]
    assert (first.op, first.phase, first.in_gradient) == ("log", "backward", False)
    assert first.line.endswith(at(rounded_backward, "the way back"))
    births = xray.xray(lambda x: rounded(x), 0.0).nonfinite().births
    assert births[0].line.endswith(at(rounded_forward, "the way forward"))


def slow(y, t, k):
    return k * jnp.sqrt(y)  # the derivative is infinite


def test_in_the_backward_rule_of_odeint_the_users_line_is_named():
    def f(y, k):
        return odeint(slow, y, jnp.array([0.0, 1.0]), k, mxstep=4)[-1]

    birth = xray.xray(f, 0.0, 1.0).nonfinite().births[0]
    assert (birth.op, birth.phase) == ("sqrt", "backward")
    assert birth.line.endswith(at(slow, "infinite"))
    assert "sqrt at 0" in birth.cause.reason


def test_a_derivative_is_named_by_the_operator_that_has_it():
    def step(x):
        return jax.grad(lambda x: jnp.sum(jnp.sqrt(x)))(x)

    birth = xray.xray(step, jnp.zeros(2), gradients=False).nonfinite().births[0]
    assert (birth.op, birth.inputs, birth.in_gradient) == ("sqrt", ("0",), True)
    assert birth.cause.reason == "sqrt at 0: its derivative there is inf"
    # A division that the program writes is one, also where the line has a root of 0.
    written = xray.xray(lambda x: 1 / jnp.sqrt(x), 0.0, gradients=False).nonfinite().births[0]
    assert (written.op, written.cause.reason) == ("div", "division by 0")
