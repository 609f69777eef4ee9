"""The cotangents of the record are jax.grad's, function by function."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from chainrule import xray
from chainrule.xray import primitives

X = jnp.array([0.5, -1.5, 2.0, 0.25])
Y = jnp.array([1.5, 0.75, -0.5, 3.0])
M = jnp.array([[2.0, -0.5, 0.25], [0.75, 3.0, -1.0], [0.1, 0.4, 1.5]])
IMAGE = jnp.asarray(np.linspace(-1, 1, 2 * 6 * 6 * 3, dtype=np.float32).reshape(2, 6, 6, 3))
KERNEL = jnp.asarray(np.sin(np.arange(3 * 3 * 3 * 4, dtype=np.float32)).reshape(3, 3, 3, 4))
LABELS = jnp.array([2, 0, 1])
ONE_HOT = jnp.eye(3)
KEY = jax.random.key(0)


@jax.custom_jvp
def reversed_sine(x):
    return jnp.sin(x)


reversed_sine.defjvp(lambda p, t: (reversed_sine(p[0]), -t[0]))


@jax.custom_vjp
def clipped_gradient(x, limit):
    return x * 1.0


clipped_gradient.defvjp(
    lambda x, limit: (x * 1.0, limit),
    lambda limit, g: (jnp.clip(g, -limit, limit), jnp.zeros_like(limit)),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def power(x, n):
    return x**n


power.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (7.0 * g * n * x ** (n - 1),))


def rnn(w, xs):
    def step(h, x):
        h = jnp.tanh(w @ h + x)
        return h, jnp.sum(h**2)

    h, ys = jax.lax.scan(step, jnp.zeros(3), xs)
    return jnp.sum(h) + jnp.sum(ys)


def newton_schulz(w):
    return jnp.sum(jax.lax.fori_loop(0, 4, lambda i, y: 1.5 * y - 0.5 * y @ y.T @ y, w))


def attention(q, k, v):
    scores = q @ k.T / jnp.sqrt(3.0)
    mask = jnp.tril(jnp.ones((3, 3), bool))
    return jnp.sum(jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1) @ v)


def lstm(w, xs):
    def step(carry, x):
        h, c = carry
        i, f, o, u = jnp.split(w @ jnp.concatenate([h, x]), 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jnp.sum(jax.lax.scan(step, (jnp.zeros(2), jnp.ones(2)), xs)[1] ** 2)


def conv(x, k):
    return jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(5)(x))
        x = nn.LayerNorm()(x)
        return nn.Dense(2)(nn.gelu(x))


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(3)(x.reshape(len(x), -1))


NET, CONVNET = Net(), ConvNet()
ATTENTION = nn.MultiHeadDotProductAttention(num_heads=3)
LSTM = nn.RNN(nn.LSTMCell(4))


def drawn(module, inputs):
    """Return what draws the arguments of a module's loss: when its turn comes, not before."""
    return lambda: (jax.jit(module.init)(KEY, inputs), inputs)


@functools.cache
def nnx_split():
    layers = nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1))
    return nnx.split(nnx.Sequential(*layers))


def nnx_loss(state, x):
    return jnp.sum(nnx.merge(nnx_split()[0], state)(x) ** 2)


def dropout(x, key):
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x * 2.0, 0.0) ** 2)


def inner_grad(x):
    return jnp.sum(jax.grad(lambda z: jnp.sum(jnp.sin(z) * z**2))(x) ** 2)


def scoped(x, y):
    with jax.named_scope("outer"):
        z = x * y
        with jax.named_scope("inner"):
            return jnp.sum(jnp.exp(z))


CASES = {
    "product": (lambda x, y: jnp.sum(x * y), (X, Y)),
    "same use twice": (lambda x: jnp.sum(x * x), (X,)),
    "scalars": (lambda x, y: jnp.sin(x) / y, (0.5, 2.0)),
    "dictionaries": (lambda p: jnp.sum(p["a"]["b"] * p["c"][0]), ({"a": {"b": X}, "c": [Y]},)),
    "integer argument": (lambda x, i: x[i] ** 2, (X, jnp.int32(2))),
    "python integer": (lambda x, n: jnp.sum(x) * n, (X, 3)),
    "boolean mask": (lambda x, m: jnp.sum(jnp.where(m, x, -x)), (X, Y > 1)),
    "typed key": (dropout, (X, KEY)),
    "raw key": (dropout, (X, jax.random.PRNGKey(1))),
    "closed over": (lambda x: jnp.sum(x @ M @ x[::-1]), (X[:3],)),
    "numpy constant": (lambda x: jnp.sum(x * np.arange(4, dtype=np.float32)), (X,)),
    "unused argument": (lambda x, y: jnp.sum(x), (X, Y)),
    "constant result": (lambda x: jnp.float32(3.0), (X,)),
    "identity": (lambda x: x, (2.0,)),
    "jit": (jax.jit(lambda x: jnp.sum(jnp.exp(x))), (X,)),
    "jit in jit": (jax.jit(lambda x: jnp.sum(jax.jit(jnp.sin)(x) * jax.jit(jnp.sin)(x))), (X,)),
    "remat": (jax.checkpoint(lambda x: jnp.sum(jnp.sin(jnp.sin(x)))), (X,)),
    "remat with policy": (
        jax.checkpoint(
            lambda w, x: jnp.sum(jnp.tanh(w @ x)),
            policy=jax.checkpoint_policies.dots_saveable,
        ),
        (M, X[:3]),
    ),
    "named scopes": (scoped, (X, Y)),
    "custom jvp": (lambda x: jnp.sum(reversed_sine(x) * x), (X,)),
    "custom vjp": (lambda x: jnp.sum(clipped_gradient(x, 0.1) * Y), (X,)),
    "custom vjp with a setting": (lambda x: jnp.sum(power(x, 3)), (X,)),
    "jitted custom rule": (jax.jit(lambda x: jnp.sum(reversed_sine(x))), (X,)),
    "scan": (rnn, (M, jnp.sin(jnp.arange(15.0)).reshape(5, 3))),
    "scan in reverse": (
        lambda w, x: jnp.sum(jax.lax.scan(lambda c, v: (c * w + v, c), 1.0, x, reverse=True)[1]),
        (0.5, X),
    ),
    "lstm": (
        lstm,
        (jnp.sin(jnp.arange(32.0)).reshape(8, 4), jnp.cos(jnp.arange(6.0)).reshape(3, 2)),
    ),
    "loop of known length": (newton_schulz, (M / 4,)),
    "while of integers": (
        lambda x: jnp.sum(x) * jax.lax.while_loop(lambda i: i < 5, lambda i: i + 2, 0),
        (X,),
    ),
    "cond true": (lambda x: jax.lax.cond(x[0] > 0, jnp.sum, lambda v: jnp.sum(v**2), x), (X,)),
    "cond false": (lambda x: jax.lax.cond(x[1] > 0, jnp.sum, lambda v: jnp.sum(v**2), x), (X,)),
    "switch": (
        lambda x, i: jax.lax.switch(i, [jnp.sum, jnp.prod, lambda v: jnp.sum(jnp.exp(v))], x),
        (X, 1),
    ),
    "map": (lambda x: jnp.sum(jax.lax.map(jnp.sin, x)), (X,)),
    "associative scan": (lambda x: jnp.sum(jax.lax.associative_scan(jnp.multiply, x)), (X,)),
    "vmap": (lambda w, x: jnp.sum(jax.vmap(lambda row: jnp.tanh(w @ row))(x)), (M, M)),
    "vmap of scan": (
        lambda x: jnp.sum(jax.vmap(lambda r: jax.lax.scan(lambda c, v: (c * v, c), 1.0, r)[0])(x)),
        (M,),
    ),
    "gradient of a gradient": (inner_grad, (X,)),
    "hessian": (lambda x: jnp.sum(jax.hessian(lambda z: jnp.prod(z))(x) ** 2), (X,)),
    "jvp": (lambda x: jnp.sum(jax.jvp(jnp.tanh, (x,), (Y,))[1]), (X,)),
    "stop gradient": (lambda x: jnp.sum(jax.lax.stop_gradient(jnp.exp(x)) * x), (X,)),
    "stopped infinity": (lambda x: jnp.sum(jax.lax.stop_gradient(jnp.sqrt(x - x)) + x), (X,)),
    "straight through": (
        lambda x: jnp.sum((x + jax.lax.stop_gradient(jnp.round(x) - x)) ** 2),
        (X,),
    ),
    "sign of a root": (lambda x: jnp.sum(jnp.sign(jnp.sqrt(x - x)) + x), (X,)),
    "rounding": (lambda x: jnp.sum(jnp.floor(x) * x), (X,)),
    "through integers": (lambda x: jnp.sum(x.astype(jnp.int32).astype(jnp.float32) * x), (X,)),
    "half precision": (lambda x: jnp.sum((x.astype(jnp.float16) ** 2).astype(jnp.float32)), (X,)),
    "bfloat16": (lambda x: jnp.sum(jnp.tanh(x)), (X.astype(jnp.bfloat16),)),
    "complex inside": (lambda x: jnp.sum(jnp.abs(jnp.fft.fft(x)) ** 2 * Y), (X,)),
    "relu at zero": (lambda x: jnp.sum(jax.nn.relu(x)), (jnp.array([-1.0, 0.0, 2.0]),)),
    "maximum at a tie": (lambda x: jnp.sum(jnp.maximum(x, 0.0)), (jnp.array([-1.0, 0.0, 2.0]),)),
    "max": (lambda x: jnp.max(x) * jnp.min(x), (X,)),
    "sort": (lambda x: jnp.sum(jnp.sort(x) * Y), (X,)),
    "top k": (lambda x: jnp.sum(jax.lax.top_k(x, 2)[0] * Y[:2]), (X,)),
    "gather": (lambda x: jnp.sum(x[LABELS] * Y[:3]), (X,)),
    "scatter": (lambda x: jnp.sum(jnp.zeros(4).at[LABELS].add(x[:3]) ** 2), (X,)),
    "dynamic slice": (lambda x, i: jnp.sum(jax.lax.dynamic_slice(x, (i,), (2,)) ** 2), (X, 1)),
    "concatenate": (lambda x, y: jnp.sum(jnp.concatenate([x, y, x]) ** 3), (X, Y)),
    "cumulative sum": (lambda x: jnp.sum(jnp.cumsum(x) ** 2), (X,)),
    "cumulative product": (lambda x: jnp.sum(jnp.cumprod(x)), (X,)),
    "einsum": (lambda a, b: jnp.sum(jnp.einsum("ij,kj->ik", a, b) ** 2), (M, M)),
    "determinant": (lambda a: jnp.linalg.slogdet(a)[1], (M,)),
    "solve": (lambda a: jnp.sum(jnp.linalg.solve(a, X[:3])), (M,)),
    "cholesky": (lambda a: jnp.sum(jnp.linalg.cholesky(a @ a.T)), (M,)),
    "eigenvalues": (lambda a: jnp.linalg.eigvalsh(a + a.T)[0], (M,)),
    "singular values": (lambda a: jnp.sum(jnp.linalg.svd(a, compute_uv=False)), (M,)),
    "norm": (lambda x: jnp.linalg.norm(x), (X,)),
    "convolution": (lambda x, k: jnp.sum(conv(x, k) ** 2), (IMAGE, KERNEL)),
    "max pooling": (lambda x: jnp.sum(nn.max_pool(x, (2, 2), (2, 2)) ** 2), (jnp.sin(37 * IMAGE),)),
    "average pooling": (lambda x: jnp.sum(nn.avg_pool(x, (2, 2), (2, 2)) ** 2), (IMAGE,)),
    "softmax": (lambda x: jax.nn.softmax(x)[1], (X,)),
    "log softmax": (lambda x: jax.nn.log_softmax(x)[1], (X,)),
    "logsumexp": (lambda x: jax.nn.logsumexp(x), (X,)),
    "gelu": (lambda x: jnp.sum(jax.nn.gelu(x, approximate=False)), (X,)),
    "swish, elu, softplus": (lambda x: jnp.sum(nn.swish(x) + nn.elu(x) * nn.softplus(x)), (X,)),
    "masked attention": (attention, (M, M * 0.5, M + 1.0)),
    "special functions": (
        lambda x: jnp.sum(jax.scipy.special.gammaln(x) + jax.scipy.special.erf(x)),
        (jnp.abs(X),),
    ),
    "reparametrized normal": (
        lambda mu, sigma, key: jnp.sum((mu + sigma * jax.random.normal(key, (4,))) ** 2),
        (X, Y, KEY),
    ),
    "callback-free clip": (lambda x: jnp.sum(jnp.clip(x, -1.0, 1.0) ** 2), (X,)),
    "linen": (lambda p, x: jnp.sum(NET.apply(p, x) ** 2), drawn(NET, M)),
    "linen convolution": (lambda p, x: jnp.sum(CONVNET.apply(p, x) ** 2), drawn(CONVNET, IMAGE)),
    "linen attention": (
        lambda p, x: jnp.sum(ATTENTION.apply(p, x) ** 2),
        drawn(ATTENTION, M[None]),
    ),
    "linen lstm": (lambda p, x: jnp.sum(LSTM.apply(p, x) ** 2), drawn(LSTM, M[None])),
    "nnx": (nnx_loss, lambda: (nnx_split()[1], M)),
    "optax cross-entropy": (
        lambda z: jnp.mean(optax.softmax_cross_entropy_with_integer_labels(z, LABELS)),
        (M,),
    ),
    "optax one-hot cross-entropy": (
        lambda z: jnp.mean(optax.softmax_cross_entropy(z, ONE_HOT)),
        (M,),
    ),
    "optax sigmoid": (lambda z: jnp.mean(optax.sigmoid_binary_cross_entropy(z, Y > 1)), (X,)),
    "optax huber": (lambda z: jnp.mean(optax.huber_loss(z, Y)), (X,)),
    "optax cosine": (lambda z: optax.cosine_distance(z, Y), (X,)),
    "optax ctc": (
        lambda z: jnp.sum(
            optax.ctc_loss(z[None], jnp.zeros((1, 3)), jnp.array([[1, 2]]), jnp.zeros((1, 2)))
        ),
        (M,),
    ),
}


def loss_names(f, args):
    return tuple(
        i
        for i, arg in enumerate(args)
        if all(jnp.issubdtype(jax.typeof(x).dtype, jnp.inexact) for x in jax.tree.leaves(arg))
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_the_cotangents_are_those_of_jax_grad(case):
    f, args = CASES[case]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        args = args() if callable(args) else args
        argnums = loss_names(f, args)
        value, expected = jax.jit(jax.value_and_grad(f, argnums))(*args)
        report = xray.xray(f, *args)
    np.testing.assert_allclose(report.output, value, rtol=1e-5)
    got = tuple(report.grads[i] for i in argnums)
    # Gradients that cancel to 0, as a key's bias in attention, keep the rounding of their terms.
    largest = max([1.0, *(float(np.max(np.abs(e))) for e in jax.tree.leaves(expected) if e.size)])
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(
            np.asarray(g, np.float32), np.asarray(e, np.float32), rtol=2e-5, atol=1e-6 * largest
        ),
        got,
        expected,
    )


def test_the_table_covers_what_it_promises():
    assert len(CASES) >= 60


@pytest.mark.parametrize(
    "op", ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
           "atanh", "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "square",
           "logistic", "erf", "abs", "neg", "add", "sub", "mul", "div", "pow", "max", "min",
           "atan2", "integer_pow", "convert_element_type"],
)  # fmt: skip
def test_what_works_element_by_element_is_known_to(op):
    assert primitives.known(op).elementwise


@pytest.mark.parametrize(
    "op", ["dot_general", "reduce_sum", "cumsum", "sort", "gather", "transpose", "reshape"]
)
def test_what_does_not_is_not_taken_for_it(op):
    assert not primitives.known(op).elementwise
