"""Where two executions part: the operator that makes the first error, or none."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainrule import cli, xray
from chainrule.data import tensors
from chainrule.xray.compare import errors
from chainrule.xray.compare.operators import recorded
from chainrule.xray.compare.ways import way

F32 = float(np.finfo(np.float32).eps)


@functools.cache
def arguments():
    draw = np.random.default_rng(0)
    params = {name: draw.normal(size=(8, 8)).astype(np.float32) for name in ("one", "two")}
    return params, draw.normal(size=(6, 8)).astype(np.float32)


def normalized(h, eps=1e-5):
    return (h - h.mean(-1, keepdims=True)) * jax.lax.rsqrt(h.var(-1, keepdims=True) + eps)


def network(params, x):
    h = jax.nn.relu(normalized(x @ params["one"]))
    return jnp.sum(jax.nn.softmax(h @ params["two"]) ** 2)


def another_epsilon(params, x):
    h = jax.nn.relu(normalized(x @ params["one"], 1e-3))
    return jnp.sum(jax.nn.softmax(h @ params["two"]) ** 2)


def in_halves(params, x):
    half = jnp.bfloat16
    h = normalized((x.astype(half) @ params["one"].astype(half)).astype(jnp.float32))
    return jnp.sum(jax.nn.softmax(jax.nn.relu(h) @ params["two"]) ** 2)


def transposed(params, x):
    h = jax.nn.relu(normalized(x @ params["one"]))
    return jnp.sum(jax.nn.softmax(h @ params["two"].T) ** 2)


def along_another_axis(params, x):
    h = jax.nn.relu(normalized(x @ params["one"]))
    return jnp.sum(jax.nn.softmax(h @ params["two"], axis=0) ** 2)


def without_activation(params, x):
    h = normalized(x @ params["one"])
    return jnp.sum(jax.nn.softmax(h @ params["two"]) ** 2)


def scaled(params, x):
    h = jax.nn.relu(1.01 * normalized(x @ params["one"]))
    return jnp.sum(jax.nn.softmax(h @ params["two"]) ** 2)


def exchanged(params, x):
    h = jax.nn.relu(normalized(x @ params["two"]))
    return jnp.sum(jax.nn.softmax(h @ params["one"]) ** 2)


def line_of(f, text):
    lines = pathlib.Path(f.__code__.co_filename).read_text(encoding="utf-8").split("\n")
    first = f.__code__.co_firstlineno
    return next(k for k in range(first, first + 12) if text in lines[k - 1])


@pytest.mark.parametrize(
    ("g", "ops", "text"),
    [
        (another_epsilon, ("add",), None),
        (in_halves, ("convert_element_type",), "astype(half)"),
        (transposed, ("transpose", "dot_general"), ".T)"),
        (along_another_axis, ("reduce_max",), "axis=0"),
        (without_activation, ("dot_general",), '@ params["two"]'),
        (scaled, ("mul",), "1.01"),
        (exchanged, ("dot_general",), 'x @ params["two"]'),
    ],
)
def test_the_first_operator_of_another_program_that_does_something_else(g, ops, text):
    found = xray.diff(network, g, *arguments())
    assert found.first is not None
    assert found.first.op in ops
    assert found.first.phase == "forward"
    line = line_of(normalized, "eps)") if text is None else line_of(g, text)
    assert f"test_diff.py:{line} (" in found.first.line
    assert found.certain == (g not in (without_activation, exchanged))
    lines = "" if g is not without_activation else f"between {found.first.lines[0]} and "
    shown = f"{lines}{found.first.line}".replace(f"{pathlib.Path.cwd()}/", "")
    assert str(found.first).startswith(shown)


@pytest.mark.parametrize("f", [network, in_halves, along_another_axis])
def test_one_program_in_two_ways_does_not_part(f):
    found = xray.diff(f, *arguments())
    assert found.first is None
    assert "nothing parts" in str(found)
    assert "jax.jit fuses" in str(found)


def refactored(params, x):
    h = x @ params["one"]
    centred = h - jnp.mean(h, axis=1)[:, None]
    scale = 1 / jnp.sqrt(jnp.mean(jnp.square(centred), axis=1)[:, None] + 1e-5)
    scores = jnp.maximum(centred * scale, 0) @ params["two"]
    weights = jnp.exp(scores - scores.max(axis=1)[:, None])
    shares = weights / weights.sum(axis=1)[:, None]
    return jnp.sum(shares * shares)


def test_a_refactoring_does_not_part():
    found = xray.diff(network, refactored, *arguments())
    assert found.first is None
    assert max(found.results.values()) < 1e-5
    assert all("dot_general" not in label for label in found.unmatched[1])


def test_own_and_inherited_errors_are_those_of_numpy():
    def f(x):
        return jnp.sum(jnp.exp(x * 1.5))

    def g(x):
        return jnp.sum(jnp.exp(x * 1.5 + 0.25))

    x = np.linspace(-1, 1, 7, dtype=np.float32)
    found = xray.diff(f, g, x)
    rows = {row.op: row for row in found.rows if row.phase == "forward"}
    true = np.exp(x.astype(np.float64) * 1.5)
    wrong = np.exp(x.astype(np.float64) * 1.5 + 0.25)
    assert found.first.op == "add"
    own = np.linalg.norm(wrong - true) / np.linalg.norm(true)
    assert rows["exp" if "exp" in rows else "add"].own == pytest.approx(own, rel=1e-4)
    assert found.results["the result"] == pytest.approx(np.exp(0.25) - 1, rel=1e-4)


def test_what_is_amplified_is_the_condition():
    def f(x):
        return jnp.sum(jnp.exp(x))

    x = np.float32([10.0, 10.0])
    report = xray.xray(f, x)
    found = xray.diff(report, f, np.float32([10.001, 10.001]))
    (row,) = [r for r in found.rows if r.op == "exp" and r.phase == "forward"]
    assert row.own == 0
    assert row.inherited == pytest.approx(np.exp(0.001) - 1, rel=2e-3)
    assert row.amplified == pytest.approx(np.log2(10), abs=0.02)  # the condition of exp is x
    assert found.first.op == "input"
    assert "called with other numbers" in str(found.first)


@jax.custom_vjp
def squared(x):
    return x * x


squared.defvjp(lambda x: (x * x, x), lambda x, g: (3 * x * g,))


def test_a_wrong_gradient_parts_backward():
    def f(x):
        return jnp.sum(jnp.sin(x * x))

    def g(x):
        return jnp.sum(jnp.sin(squared(x)))

    def h(x):
        return jnp.sum(jnp.sin(jax.lax.stop_gradient(x) * x))

    x = np.float32([0.5, 1.5, -2.0])
    right, wrong = (xray.diff(f, one, x) for one in (f, g))
    assert right.first is None
    assert wrong.results["the result"] == 0
    assert wrong.results["the gradient of x"] == pytest.approx(0.5)
    assert wrong.first.phase == "backward"
    line = squared.__wrapped__.__code__.co_firstlineno + 5
    assert f":{line} (" in wrong.first.line  # in the rule, which f has not
    stopped = xray.diff(f, h, x)
    assert stopped.results["the gradient of x"] == pytest.approx(0.5)


def recurrent(step):
    def f(params, xs):
        def body(h, x):
            h = step(params, h, x)
            return h, h

        last, _ = jax.lax.scan(body, jnp.zeros((2, 8)), xs)
        return jnp.sum(last**2)

    return f


def cell(params, h, x):
    return jnp.tanh(x @ params["one"] / 3 + h @ params["two"] / 3)


def cell_transposed(params, h, x):
    return jnp.tanh(x @ params["one"] / 3 + h @ params["two"].T / 3)


def test_inside_a_loop_the_first_step_is_named():
    params, x = arguments()
    xs = x.reshape(3, 2, 8)
    found = xray.diff(recurrent(cell), recurrent(cell_transposed), params, xs)
    assert found.first.op in ("dot_general", "transpose")
    assert found.first.step == 1  # the state is 0 at first
    line = cell_transposed.__code__.co_firstlineno + 1
    assert f"test_diff.py:{line} (cell_transposed)" in found.first.line
    assert " in scan_" in found.first.label
    assert xray.diff(recurrent(cell), params, xs, a="op by op", b="compiled").first is None


def test_a_while_and_a_branch_are_looked_into():
    def f(x, factor=0.5):
        def halve(state):
            return state[0] + 1, jnp.sin(state[1]) * factor

        _, y = jax.lax.while_loop(lambda s: s[0] < 3, halve, (0, x))
        return jax.lax.cond(y[0] > 0, lambda y: jnp.sum(y * factor), lambda y: jnp.sum(y), y)

    x = np.float32([1.0, 2.0])
    found = xray.diff(f, lambda x: f(x, 0.6), x, gradients=False)
    assert (found.first.op, found.first.step) == ("mul", 0)
    assert "while" in found.first.label
    assert any(row.parts and "cond" in row.label for row in found.rows)
    assert xray.diff(f, x, gradients=False).first is None


def test_a_record_of_yesterday_and_a_program_of_today(tmp_path):
    path = xray.xray(network, *arguments()).save(tmp_path / "net.xray")
    assert xray.diff(path, network, *arguments()).first is None
    assert xray.diff(xray.load(path), transposed, *arguments()).first.op in (
        "transpose",
        "dot_general",
    )


def test_two_records_of_which_nothing_runs(tmp_path):
    one = xray.load(xray.xray(network, *arguments()).save(tmp_path / "a.xray"))
    two = xray.load(xray.xray(another_epsilon, *arguments()).save(tmp_path / "b.xray"))
    found = xray.diff(one, two)
    assert found.first.op == "add"
    assert "nothing could run" in str(found)
    assert xray.diff(one, one).first is None


def test_statistics_are_enough_to_see_where_two_part(tmp_path):
    path = xray.xray(network, *arguments(), keep="stats").save(tmp_path / "a.xray")
    assert xray.diff(path, network, *arguments()).first is None
    assert xray.diff(path, another_epsilon, *arguments()).first.op == "add"


def channels_last(params, x):
    numbers = ("NHWC", "HWIO", "NHWC")
    h = jax.lax.conv_general_dilated(x, params["k"], (1, 1), "SAME", dimension_numbers=numbers)
    h = jax.nn.relu(h + params["b"][None, None, None])
    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return h.reshape(h.shape[0], -1) @ params["w"]


def channels_first(params, x):
    """Return activations by name, by NumPy and loops, as another library has them."""
    x, k = np.moveaxis(x, -1, 1).astype(np.float64), params["k"].astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    conv = np.zeros((2, 3, 4, 4))
    for i in range(4):
        for j in range(4):
            patch = padded[:, :, i : i + 3, j : j + 3]
            conv[:, :, i, j] = np.einsum("nchw,hwcd->nd", patch, k) + params["b"]
    relu = np.maximum(conv, 0)
    pool = relu.reshape(2, 3, 2, 2, 2, 2).max((3, 5))
    flat = pool.reshape(2, -1)
    weights = params["w"].reshape(2, 2, 3, 5).transpose(2, 0, 1, 3).reshape(12, 5)
    found = {"conv": conv, "relu": relu, "pool": pool, "flatten": flat, "out": flat @ weights}
    return {name: array.astype(np.float32) for name, array in found.items()}


def images():
    draw = np.random.default_rng(1)
    shapes = {"k": (3, 3, 2, 3), "b": (3,), "w": (12, 5)}
    params = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return params, draw.normal(size=(2, 4, 4, 2)).astype(np.float32)


def test_a_port_in_another_layout_that_is_right(tmp_path):
    params, x = images()
    found = xray.diff(channels_first(params, x), channels_last, params, x)
    assert found.first is None
    assert "with its axes in the order (0, 2, 3, 1)" in str(found)
    assert "holds the elements of flatten in another order" in str(found)
    tensors.write(tmp_path / "a.safetensors", channels_first(params, x))
    assert xray.diff(tmp_path / "a.safetensors", channels_last, params, x).first is None


@pytest.mark.parametrize(
    ("wrong", "text"),
    [("k", "conv_general_dilated"), ("b", "conv_general_dilated"), ("w", 'params["w"]')],
)
def test_a_port_with_a_wrong_array_parts_in_its_layer(wrong, text):
    params, x = images()
    other = {**params, wrong: params[wrong][::-1].copy()}
    found = xray.diff(channels_first(params, x), channels_last, other, x)
    assert f"test_diff.py:{line_of(channels_last, text)} (" in found.first.line


def variance(x):
    return jnp.mean(x * x) - jnp.mean(x) ** 2


def test_a_cancellation_is_no_own_error_and_loses_its_bits():
    x = 1000 + np.linspace(0, 1, 64, dtype=np.float32)
    assert xray.diff(variance, x).first is None
    found = xray.diff(variance, x, a="float32", b="float64")
    assert found.first.op == "sub"
    assert found.first.own < 1e-2 or found.first.own == 0
    true = np.var(x.astype(np.float64))
    off = abs(float(variance(x)) - true) / true
    assert found.results["the result"] == pytest.approx(
        abs(float(variance(x)) - true) / abs(float(variance(x))), rel=0.01
    )
    assert found.first.lost == pytest.approx(np.log2(min(off, 1) / F32), abs=2)
    assert xray.diff(lambda x: jnp.var(x), x, a="float32", b="float64").first is None


@pytest.mark.parametrize(
    ("f", "x", "stable"),
    [
        (variance, 1000 + np.linspace(0, 1, 64), "jnp.var(x, axis=(0,))"),
        (lambda x: jnp.sum(jnp.log(1 + x)), np.linspace(1e-6, 2e-6, 5), "jnp.log1p("),
        (lambda x: jnp.sum(1 - jnp.cos(x)), np.linspace(1e-3, 2e-3, 5), "jnp.sin(x / 2)"),
        (lambda x: jnp.sum(jnp.exp(x) - 1), np.linspace(1e-6, 2e-6, 5), "jnp.expm1(x)"),
    ],
)
def test_the_stable_form_of_a_cancellation_is_tried(f, x, stable):
    x = x.astype(np.float32)
    found = xray.diff(f, x, a="float32", b="float64")
    (death,) = [one for one in found.digits if one.text]
    assert stable in death.text
    assert death.after < 1e-5 < death.before
    assert death.result[1] < 1e-5
    assert "bits lost\n  write " in str(found)


def test_digits_that_die_inside_a_loop_are_named_there():
    def f(angles):
        def step(total, angle):
            near = 1 - jnp.cos(angle)
            return total + near, None

        return jax.lax.scan(step, jnp.zeros((), angles.dtype), angles)[0]

    found = xray.diff(f, np.linspace(1e-3, 4e-3, 6, dtype=np.float32), a="float32", b="float64")
    assert f":{f.__code__.co_firstlineno + 2} (" in found.first.line
    assert (found.first.op, found.digits[0].kind) == ("sub", "cancellation")
    assert 12 < found.first.lost < 24
    sound = np.linspace(1, 2, 6, dtype=np.float32)
    assert xray.diff(f, sound, a="float32", b="float64").first is None


def test_what_is_sliced_away_hides_no_lost_digits():
    def f(signal):
        total = jnp.cumsum(signal)
        windows = total[4:] - total[:-4]
        return (windows / 4)[-8:]

    signal = np.concatenate([np.linspace(1e4, 2e4, 24), np.linspace(0.01, 0.1, 24)])
    found = xray.diff(f, signal.astype(np.float32), a="float32", b="float64")
    assert found.first.op == "sub"
    assert found.first.lost > 10


def test_a_softmax_without_its_maximum_overflows_and_the_stable_form_holds():
    def f(x):
        return jnp.sum(jnp.exp(x) / jnp.sum(jnp.exp(x)) * jnp.arange(3.0))

    x = np.float32([100.0, 99.0, 1.0])
    found = xray.diff(f, x, a="float32", b="float64")
    assert found.first.op == "exp"
    assert "jax.nn.softmax(x, axis=(0,))" in str(found)


def test_overflow_in_a_narrower_type_is_where_it_begins():
    def f(x):
        return jnp.log(jnp.sum(jnp.exp(x)))

    x = np.float32([20.0, 1.0])
    found = xray.diff(f, x, a="float32", b="float16")
    assert found.first.op == "exp"
    assert "finite in one of them only" in found.first.note
    assert xray.diff(jax.nn.logsumexp, x, a="float32", b="float16").first is None


@pytest.mark.parametrize("b", ["float64", "bfloat16", "float16", "tensorfloat32", "cpu"])
def test_a_sound_program_does_not_part_in_any_way(b):
    found = xray.diff(network, *arguments(), b=b)
    assert found.first is None
    assert ("emulated" in str(found)) == (b == "tensorfloat32")


def test_tensorfloat32_rounds_what_products_take():
    x = np.float32([[1 + 2**-12]])
    found = xray.diff(lambda x: jnp.sum(x @ x), x, b="tensorfloat32")
    exact = (1 + 2.0**-12) ** 2
    assert found.results["the result"] == pytest.approx((exact - 1) / exact, rel=1e-3)


def test_a_function_with_a_rule_keeps_the_gradient_of_its_rule_in_another_dtype():
    x = np.float32([0.0, -1.0, 2.0])  # jnp.maximum has another gradient at 0
    found = xray.diff(lambda x: jnp.sum(jax.nn.relu(x)), x, a="float32", b="float64")
    assert found.first is None
    assert found.results["the gradient of x"] == 0


def test_random_keys_are_the_same():
    def f(key, x):
        return jnp.sum(jax.random.normal(key, (3,)) * x)

    found = xray.diff(f, jax.random.key(1), np.ones(3, np.float32))
    assert found.first is None
    assert xray.diff(f, f, jax.random.key(1), np.ones(3, np.float32)).first is None


def test_a_module_is_an_argument_though_it_can_be_called():
    @jax.tree_util.register_pytree_node_class
    class Module:
        def __init__(self, w):
            self.w = w

        def __call__(self, x):
            return jnp.sum(x @ self.w)

        def tree_flatten(self):
            return (self.w,), None

        @classmethod
        def tree_unflatten(cls, _, leaves):
            return cls(*leaves)

    found = xray.diff(lambda m, x: m(x), Module(np.eye(2, dtype=np.float32)), np.ones((1, 2)))
    assert found.names[1] == "op by op"


def test_the_page_shows_where_they_part(tmp_path):
    found = xray.diff(network, transposed, *arguments())
    text = found.save(tmp_path / "diff.html").read_text(encoding="utf-8")
    assert '"parts": true' in text
    assert "they part at" in text
    with pytest.raises(ValueError, match=r"diff\.svg ends in '\.svg': two executions are saved as"):
        found.save(tmp_path / "diff.svg")


def test_the_command_prints_it_and_writes_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("two.py").write_text(
        "import jax.numpy as jnp\n"
        "def f(x):\n    return jnp.sum(jnp.sqrt(x * x + 1))\n"
        "def g(x):\n    return jnp.sum(jnp.sqrt(x * x + 2))\n"
        "def example_args():\n    return (jnp.ones(3),)\n"
    )
    assert cli.main(["diff", "two.py:f", "--check"]) == 0
    assert "nothing parts" in capsys.readouterr().out
    more = ["--against", "two.py:g", "--page", "d.html", "--check"]
    assert cli.main(["diff", "two.py:f", *more]) == 1
    out = capsys.readouterr().out
    assert "they part at two.py:5 (g) [two.py:3 (f)] add_" in out
    assert "page: d.html" in out
    assert pathlib.Path("d.html").read_text().startswith("<!doctype html>")
    assert cli.main(["diff", "two.py:f", "[4]", "--b", "float46"]) == 2
    assert "did you mean 'float64'" in capsys.readouterr().err


def test_wrong_arguments_are_named(unchecked, tmp_path):
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="unknown b 'float46': did you mean 'float64'"):
        xray.diff(jnp.sum, x, b="float46")
    with pytest.raises(ValueError, match="a is 'float32' and b is 'compiled': two programs run"):
        xray.diff(jnp.sum, jnp.sum, x, a="float32")
    with pytest.raises(ValueError, match=r"first must be .*a report, arrays by name"):
        xray.diff(3, x)
    with pytest.raises(ValueError, match="a report comes first"):
        xray.diff(jnp.sum, xray.xray(jnp.sum, x))
    with pytest.raises(ValueError, match="give a function, or another report"):
        xray.diff(xray.xray(jnp.sum, x))
    with pytest.raises(ValueError, match="activation 'a' is no array of numbers"):
        xray.diff({"a": "text"}, jnp.sum, x)
    with pytest.raises(ValueError, match="gradients must be True or False"):
        xray.diff(jnp.sum, x, gradients=1)
    with pytest.raises(ValueError, match=r"b is 'tpu', and JAX has no such device here"):
        xray.diff(jnp.sum, x, b="tpu")
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.xray"):
        xray.diff(tmp_path / "none.xray", jnp.sum, x)


def test_the_fill_of_a_mask_hides_no_error():
    def f(x, scale=0.5):
        scores = jnp.where(jnp.tril(jnp.ones((4, 4), bool)), (x @ x.T) * scale, -1e9)
        return jnp.sum(jax.nn.softmax(scores, axis=-1) @ x)

    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3) ** 2
    found = xray.diff(f, lambda x: f(x, 0.6), x)
    assert found.first.op == "mul"
    assert found.differ


def test_a_first_that_is_not_certain_is_called_a_lead(tmp_path):
    found = xray.diff(network, transposed, *arguments())
    assert found.certain
    lead = dataclasses.replace(found, first=dataclasses.replace(found.first, sure=False))
    assert not lead.certain
    assert "a lead is tests/" in str(lead)
    assert "the difference may begin elsewhere" in str(lead)
    text = lead.save(tmp_path / "lead.html").read_text(encoding="utf-8")
    assert "a lead is" in text


def held(record):
    """Return the bytes of the arrays of a record; those that share memory count once."""
    rows = (row for n in record.nodes for row in (n.values, n.cotangents, n.contributions))
    arrays = [np.asarray(x) for row in rows for x in row if x is not None]
    return sum({x.ctypes.data: x.nbytes for x in arrays}.values())


def test_operators_that_only_reshape_hold_no_memory_of_their_own():
    def f(w, x):
        h = jnp.tanh(x @ w).reshape(64, 16, 32)[:, :, None]
        return jnp.sum(jnp.squeeze(h, 2).reshape(64, 512) ** 2)

    w, x = np.eye(512, dtype=np.float32), np.ones((64, 512), np.float32)
    base = xray.xray(f, w, x).record
    assert held(recorded(base, way("b", "op by op"))) <= 1.05 * held(base)


@pytest.mark.parametrize("cut", [np.s_[:, 0], np.s_[::-1, 1], np.s_[::2], np.s_[1, 2]])
def test_equal_bit_by_bit_wherever_the_numbers_lie(cut):
    table = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    assert errors.equal(table[cut], table[cut].copy())
    other = table.copy()
    other[cut] = np.nextafter(other[cut], np.float32(9))
    assert not errors.equal(table[cut], other[cut])
