"""The page computes what JAX computes: every primitive, forward and backward, in QuickJS."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from chainrule import data, xray
from chainrule.models import lenet
from chainrule.xray.live.equations import program
from chainrule.xray.primitives import LIVE
from tests.xray.cases import as_others_run
from tests.xray.live import engine


def draw(*shape, key=0, low=-2.0, high=2.0):
    return jnp.asarray(np.random.default_rng(key).uniform(low, high, shape), jnp.float32)


A, B, C = draw(3, 4), draw(3, 4, key=1), draw(4, 2, key=2)
V, P = draw(6, key=3), draw(3, 4, key=4, low=0.2, high=3.0)
IMAGE, KERNEL = draw(2, 7, 6, 4, key=5), draw(3, 2, 4, 6, key=6)
NUMBERS = jnp.arange(-7, 8, dtype=jnp.int32)
WORDS = jnp.asarray([0, 1, 7, 2**31, 2**32 - 1], jnp.uint32)


def conv(x, k, dims=("NHWC", "HWIO", "NHWC"), **settings):
    stride = settings.pop("window_strides", (1, 1))
    padding = settings.pop("padding", ((0, 0), (0, 0)))
    return lax.conv_general_dilated(x, k, stride, padding, dimension_numbers=dims, **settings)


def pool(x, init, f, window, stride, padding):
    return lax.reduce_window(x, init, f, window, stride, padding)


def loop(x, w):
    return lax.scan(lambda h, a: (jnp.tanh(w @ h + a), h * a), jnp.ones(4), x)


def chosen(x, which):
    branches = [jnp.sin, lambda x: x * x, lambda x: -x]
    return lax.switch(which, branches, x)


@jax.custom_vjp
def doubtful(x):
    return x * x


doubtful.defvjp(lambda x: (x * x, x), lambda x, g: (7.0 * g * x,))

FUNCTIONS = {
    "product": (lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0),
    "neuron": (lambda w, x: 1 / (1 + jnp.exp(-(w[0] * x[0] + w[1] * x[1] + w[2]))), V[:3], V[3:5]),
    "norm": (lambda w, x: jnp.sum(jnp.square(w @ x)), A, V[:4]),
    "trigonometry": (lambda x: jnp.sin(x) * jnp.cos(x) + jnp.tan(x / 2), A),
    "arcs": (lambda x: jnp.arcsin(x / 3) + jnp.arccos(x / 3) + jnp.arctan(x), A),
    "hyperbolic": (lambda x: jnp.sinh(x) + jnp.cosh(x) * jnp.tanh(x), A),
    "areas": (lambda x: jnp.arcsinh(x) + jnp.arccosh(x + 1.5) + jnp.arctanh(x / 4), P),
    "exponentials": (lambda x: jnp.exp(x) + lax.exp2(x) + jnp.expm1(x), A),
    "logarithms": (lambda x: jnp.log(x) * jnp.log1p(x) + jnp.log2(x), P),
    "roots": (lambda x: jnp.sqrt(x) + lax.rsqrt(x) + lax.cbrt(x), P),
    "powers": (lambda x, y: lax.pow(x, y) + x**3 + lax.integer_pow(x, -2), P, A),
    "angle": (lambda x, y: jnp.arctan2(x, y), A, B),
    "special": (lambda x: lax.erf(x) + lax.erfc(x) + lax.erf_inv(x / 4) + lax.lgamma(x + 3), A),
    "digamma": (lambda x: lax.stop_gradient(lax.digamma(x)) * x, A),
    "logistic": (lambda x: jax.nn.sigmoid(x) + jax.nn.silu(x), A),
    "gelu": (lambda x: jax.nn.gelu(x) + jax.nn.gelu(x, approximate=False), A),
    "stacked": (lambda x, y: jnp.stack([x, y], 1) ** 2 * jnp.tile(x[0, 0], (3, 2, 4)), A, B),
    "first": (lambda x: lax.top_k(x, 2)[0] * lax.top_k(x, 2)[1].astype(jnp.float32), A),
    "softplus": (lambda x: jax.nn.softplus(x) + jax.nn.leaky_relu(x) + jax.nn.elu(x), A),
    "softmax": (lambda x: jax.nn.log_softmax(x)[:, 1] + jax.nn.softmax(x)[:, 0], A),
    "extremes": (lambda x, y: jnp.maximum(x, y) * jnp.minimum(x, y) + jnp.clip(x, -1, 1), A, B),
    "ties": (lambda x: jnp.maximum(x, x[::-1]) + jax.nn.relu(x - x[0]), V),
    "steps": (
        lambda x: (
            jnp.floor(x) + jnp.ceil(x) + jnp.round(x) + lax.round(x) + jnp.sign(x) * jnp.abs(x)
        ),
        A,
    ),
    "where": (lambda x, y: jnp.where(x > y, jnp.where(x != 0, x, y), 2.0 * y), A, B),
    "remainder": (lambda x, y: lax.rem(x, y), A, P),
    "product of all": (lambda x: jnp.prod(x, axis=1) + lax.square(x[:, 0]), A),
    "reductions": (lambda x: jnp.max(x, 0) + jnp.min(x, 0) + jnp.sum(x, 0) + jnp.mean(x), A),
    "running": (
        lambda x: jnp.cumsum(x) + jnp.cumprod(x) + lax.cummax(x) + lax.cummin(x, reverse=True),
        V,
    ),
    "running logarithm": (lambda x: lax.cumlogsumexp(x, axis=1), A),
    "running, as values": (  # with a gradient JAX writes them as other primitives
        lambda x: lax.stop_gradient(
            lax.cummax(x) - lax.cummin(x) + lax.cumprod(x, reverse=True) + lax.cumlogsumexp(x)
        ),
        V,
    ),
    "matrices": (lambda a, b, c: jnp.einsum("ij,jk,lj->ilk", a, c, b), A, B, C),
    "batches": (lambda a, b: jnp.matmul(a.reshape(2, 3, 2), b.reshape(2, 2, 3)), A, B),
    "moved": (lambda x: x.T[::-1, 1:] * jnp.pad(x, ((0, 1), (1, 0)))[:, :2].reshape(4, 2), A),
    "joined": (lambda x, y: jnp.concatenate([x[:, ::2], y], 1) ** 2, A, B),
    "split": (lambda x: lax.split(x, (1, 2, 3))[2] * lax.split(x, (3, 3))[0], V),
    "padded inside": (lambda x: lax.pad(x, jnp.float32(2), ((1, 0, 1), (-1, 2, 0))) ** 2, A),
    "taken": (
        lambda x, i: x[i] * x[2] + x[:, jnp.asarray([0, 0, 3, 1])][i],
        A,
        jnp.asarray([2, 0, 2]),
    ),
    "taken outside": (
        lambda x, i: x.at[i].get(mode="fill", fill_value=3.0),
        V,
        jnp.asarray([1, 9]),
    ),
    "taken along": (lambda x, i: jnp.take_along_axis(x, i, 1), A, jnp.asarray([[3], [0], [1]])),
    "put": (
        lambda x, y, i: x.at[i].set(y).at[1].add(y[0]).at[0].multiply(2.0).at[3].subtract(y[1]),
        V,
        V[:2] * 2,
        jnp.asarray([4, 2]),
    ),
    "put the least": (lambda x, y: x.at[1].min(y[0]).at[3].max(y[1]), V, V[4:]),
    "a window of it": (lambda x, i: lax.dynamic_slice(x, (i, 1), (2, 2)), A, jnp.int32(5)),
    "updated": (
        lambda x, y, i: lax.dynamic_update_slice(x, y, (i, 0)) ** 2,
        A,
        C[:2],
        jnp.int32(1),
    ),
    "sorted": (lambda x: jnp.sort(x) * jnp.arange(6.0) + x[jnp.argsort(x)], V),
    "best": (lambda x: x[jnp.argmax(x)] * x[jnp.argmin(x)], V),
    "conv": (
        lambda x, k: conv(x, k, padding=((1, 2), (0, 1)), window_strides=(2, 1)),
        IMAGE,
        KERNEL,
    ),
    "conv of groups": (
        lambda x, k: conv(x, k[:, :, :2], feature_group_count=2, rhs_dilation=(2, 1)),
        IMAGE,
        KERNEL,
    ),
    "conv dilated": (
        lambda x, k: conv(x, k, lhs_dilation=(2, 2), padding=((2, 0), (1, 1))),
        IMAGE,
        KERNEL,
    ),
    "conv in torch's order": (
        lambda x, k: conv(x, k, ("NCHW", "OIHW", "NCHW")),
        IMAGE.transpose(0, 3, 1, 2),
        KERNEL.transpose(3, 2, 0, 1),
    ),
    "max pool": (lambda x: pool(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME"), IMAGE),
    "mean pool": (lambda x: pool(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 2, 1), "VALID") / 4, IMAGE),
    "least": (lambda x: pool(x, jnp.inf, lax.min, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"), IMAGE),
    "loop": (loop, A, draw(4, 4, key=8)),
    "counted": (lambda x: lax.fori_loop(0, 3, lambda k, y: y * x + k.astype(jnp.float32), x), V),
    "while": (
        lambda x: (
            lax.stop_gradient(lax.while_loop(lambda s: jnp.sum(s) < 50, lambda s: s * 1.5 + 1, x))
            * x
        ),
        P,
    ),
    "branches": (lambda x, k: chosen(x, k) + lax.cond(k > 3, jnp.exp, jnp.cos, x), V, jnp.int32(1)),
    "own rule": (lambda x: jnp.sum(doubtful(x)) + jnp.sum(jax.checkpoint(jnp.sin)(x)), V),
    "logic": (lambda x: jnp.where((x > 0) & ~(x > 1) | (x < -1) ^ jnp.isfinite(x), x, 0.0), A),
    "all and any": (lambda x: jnp.where(jnp.any(x > 1) & jnp.all(x < 9), x, -x), A),
    "rounded bits": (lambda x: lax.reduce_precision(x, 5, 4) * x, A),
}

INTEGERS = {
    "division": lambda n, u: (lax.div(n, n[::-1]), lax.rem(n, n[::-1]), n // 3, n % 4, -n // 3),
    "overflow": lambda n, u: (n * 715827883, u * u, (n * 65536) * (n * 65537), n**9, jnp.abs(n)),
    "unsigned": lambda n, u: (u // 3, u % 7, -u, u.astype(jnp.float32), lax.div(u, u[::-1])),
    "bits": lambda n, u: (u << 3, u >> 1, n >> 1, n << 30, ~n, n & 5, n | 8, n ^ -1, u << 33),
    "types": lambda n, u: (
        n.astype(jnp.uint8),
        n.astype(bool),
        u.astype(jnp.int32),
        u.astype(jnp.int16),
    ),
    "sums": lambda n, u: (
        jnp.sum(n),
        jnp.prod(n[8:]),
        jnp.max(n),
        lax.cumsum(n),
        jnp.sort(n[::-1]),
    ),
    "folded bits": lambda n, u: (
        lax.reduce_and(n, (0,)),
        lax.reduce_or(n[8:], (0,)),
        lax.reduce_xor(u, (0,)),
    ),
    "products": lambda n, u: (
        n[:6].reshape(2, 3) @ n[6:12].reshape(3, 2),
        jnp.clip(n, -2, 3),
        lax.sign(n),
    ),
}


def together(functions):
    """Return one function of many, so that one program is compiled: each is a scope."""

    def all_of_them(arguments):
        total = 0.0
        for name, (f, *_) in functions.items():
            with jax.named_scope(re.sub(r"\W", "_", name)):
                total += sum(jnp.sum(y) for y in jax.tree.leaves(f(*arguments[name])))
        return total

    return all_of_them, {name: row[1:] for name, row in functions.items()}


def close(got, expected, about, tolerance=1e-6, each=False):
    if got is None or expected is None:
        assert got is expected is None, about
        return
    expected = np.asarray(expected, np.float64)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite], err_msg=about)
    sizes = np.maximum(np.abs(expected[finite]), 1.0)  # or the largest, of what is added up
    bound = tolerance * (sizes if each else sizes.max(initial=1.0))
    far = ~(np.abs(got[finite] - expected[finite]) <= bound)  # a NaN is far
    assert not far.any(), (about, got[finite][far], expected[finite][far])


def compare(record, tolerance=1e-6, each=False):
    values, gradients, parts, names = engine.results(record)
    for node in record.nodes:
        for k in range(len(node.avals)):
            about = f"{node.label}, {node.scope or node.name}, {node.line}"
            close(values[node.index][k], node.values[k], f"value of {about}", tolerance, each)
            close(
                gradients[node.index][k],
                node.cotangents[k],
                f"gradient of {about}",
                tolerance,
                each,
            )
    for edge, part in zip(record.edges, parts, strict=True):
        if edge.target is not None:
            close(part, edge.contribution, f"{edge.source} in {record.nodes[edge.target].label}")
    return names


def test_what_the_page_computes_is_the_table():
    rules = engine.context().eval("JSON.stringify(Object.keys(engine.rules))")
    assert set(json.loads(rules)) == LIVE


def test_functions():
    f, arguments = together(FUNCTIONS)
    with as_others_run():
        names = compare(xray.xray(f, arguments).record)
        integers = jax.make_jaxpr(lambda n, u: [f(n, u) for f in INTEGERS.values()])
        names |= engine.primitives(program(integers(NUMBERS, WORDS)))
    elsewhere = {*ONE.split(), *TWO.split()}
    newer = {"empty", "empty2", "one_minus_square", "polynomial", "stack", "unstack", "tile"}
    newer |= {
        "square",
        "bitcast_convert_type",
        "log2",
    }  # how newer versions of JAX write some of them
    assert names | elsewhere | newer >= LIVE


EDGES = jnp.asarray(
    [jnp.nan, jnp.inf, -jnp.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.3, -2.5, 3.5, 1e30, -1e30]
)
PAIRS = tuple(jnp.asarray(x.ravel()) for x in np.meshgrid(EDGES, EDGES))
ONE = """abs neg sign floor ceil square sqrt rsqrt cbrt exp exp2 expm1 log log1p sin cos tan
asin acos atan sinh cosh tanh asinh acosh atanh logistic erf erfc erf_inv lgamma is_finite"""
TWO = "add sub mul div rem max min pow atan2 eq ne lt le gt ge"


def at_the_edges():
    """Every elementwise primitive at NaN, the infinities, both zeros and beyond its domain."""
    wild = {name: (getattr(lax, name), EDGES) for name in ONE.split()}
    wild |= {name: (getattr(lax, name), *PAIRS) for name in TWO.split()}
    wild |= {f"to the {n}": (lambda x, n=n: lax.integer_pow(x, n), EDGES) for n in (-3, 0, 3)}
    wild["nearest"] = (lambda x: (lax.round(x, 0), lax.round(x, 1)), EDGES)
    wild["as integers"] = (
        lambda x: (x.astype(jnp.int32), x.astype(jnp.uint8), x.astype(bool), x.astype(jnp.uint32)),
        EDGES,
    )
    wild["of a row"] = (
        lambda x: (jnp.max(x), jnp.argmax(x), jnp.sum(x), jnp.prod(x), jnp.sort(x), lax.cummax(x)),
        EDGES,
    )
    wild["a product"] = (lambda x: (x[:4] @ x[4:8], x[:, None] @ x[None, 5:7]), EDGES)
    return wild


def test_nan_infinity_and_minus_zero():
    wild = at_the_edges()

    def everything(arguments):
        return {name: f(*arguments[name]) for name, (f, *_) in wild.items()}

    with as_others_run():
        arguments = {name: row[1:] for name, row in wild.items()}
        f = xray.xray(everything, arguments, gradients=False).record
        values, *_ = engine.results(f)
        for node in f.nodes:
            for k, y in enumerate(node.values):
                about = f"{node.label}, {node.line}"
                close(values[node.index][k], y, about, each=node.op != "dot_general")
                if node.op not in ("max", "min"):  # of both zeros either is the larger
                    signs = np.signbit(values[node.index][k]), np.signbit(np.asarray(y, float))
                    real = ~np.isnan(values[node.index][k])
                    np.testing.assert_array_equal(*(s[real] for s in signs), err_msg=about)


def test_gradients_at_the_edges():
    without = "of a row", "lgamma", "a product", "as integers"
    wild = {name: row for name, row in at_the_edges().items() if name not in without}
    f, arguments = together(
        {n: (lambda *x, f=r[0]: [y.astype(jnp.float32) for y in jax.tree.leaves(f(*x))], *r[1:])
         for n, r in wild.items()}
    )  # fmt: skip
    with as_others_run():
        compare(xray.xray(f, arguments).record, each=True)


def test_integers_wrap_and_divide_as_in_jax():
    def everything(n, u):
        return {name: f(n, u) for name, f in INTEGERS.items()}

    with as_others_run():
        record = xray.xray(everything, NUMBERS * 100_000_001, WORDS, gradients=False).record
        compare(record, tolerance=0)
        assert len(record.nodes) > 60


UNARY = (jnp.sin, jnp.tanh, jnp.square, jax.nn.relu, jax.nn.softplus, jnp.cumsum, jax.nn.softmax)
UNARY += (lambda x: x[::-1], lambda x: jnp.sqrt(x * x + 1), lambda x: jnp.sort(x), jax.nn.gelu)
BINARY = (jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, lambda x, y: jnp.where(x > y, x, 2 * y))


def expression(seed):
    draws = np.random.default_rng(seed)

    def f(x, y):
        found = [x, y]
        for _ in range(10):
            i, j = (int(k) for k in draws.integers(0, len(found), 2))
            one = bool(draws.integers(2))
            choices = UNARY if one else BINARY
            of = choices[int(draws.integers(len(choices)))]
            y = of(found[i]) if one else of(found[i], found[j])
            found.append(jnp.tanh(y) if one else y)
        return jnp.tanh(found[-1]) + jnp.tanh(found[-2])

    return f


@pytest.mark.parametrize("seeds", [range(10), pytest.param(range(40), marks=pytest.mark.soak)])
def test_random_expressions(x64, seeds):
    # In double precision: what cancels would differ in the last digits of 32 bits.
    x, y = V[:3].astype(float), V[3:].astype(float)
    f, arguments = together({f"seed {k}": (expression(k), x, y) for k in seeds})
    with as_others_run():
        compare(xray.xray(f, arguments).record, 1e-12)


def test_lenet_on_a_digit_in_a_page_of_less_than_a_megabyte_and_a_half():
    def digit(params, drawing, label):
        logits = lenet.apply(params, drawing[None, :, :, None])
        return -jax.nn.log_softmax(logits)[0, label], jax.nn.softmax(logits)[0]

    drawing = jnp.asarray(data.mnist("test", source="embedded").images[3], jnp.float32) / 255
    arguments = lenet.init(jax.random.key(0)), drawing, jnp.int32(3)
    report = xray.xray(digit, *arguments, argnums=1, has_aux=True)
    compare(report.record)
    page = report.to_html(live=True)
    assert 'id="live"' in page
    assert len(page) < 1_500_000
