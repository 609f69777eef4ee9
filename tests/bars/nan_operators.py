"""What the generated programs are made of: operators with a singularity, and healthy look-alikes.

Each operator is an expression in ``x``, one row of which is bad for it, and in ``w``, a vector of
healthy weights. It reduces a row to one number, whether it is given all rows or one.
"""

import dataclasses
import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

HALF = ("float16", "bfloat16")
SINGLE = ("float32",)
WIDE = ("float32", "float64")
ALL = (*WIDE, *HALF)

Draw = Callable[[random.Random, "Limits"], Any]


class Limits(NamedTuple):
    """What overflows in a dtype: the largest number, its root and its logarithm."""

    most: float
    root: float
    log: float

    @classmethod
    def of(cls, dtype: str) -> "Limits":
        most = float(jnp.finfo(dtype).max)
        return cls(most, math.sqrt(most), math.log(most))


def near(low: float, high: float) -> Draw:
    """Draw a number with few digits, which every dtype rounds to something near."""
    return lambda rng, limits: round(rng.uniform(low, high), 2)


def exactly(value: Any) -> Draw:
    return lambda rng, limits: value


def rows(low: float, high: float, size: int = 3) -> Draw:
    """Draw a row of numbers that differ by 0.1 at least, so that it has a spread."""

    def draw(rng: random.Random, limits: Limits) -> list[float]:
        step = (high - low) / size
        row = [round(low + step * (i + rng.uniform(0.1, 0.6)), 2) for i in range(size)]
        rng.shuffle(row)
        return row

    return draw


@dataclasses.dataclass(frozen=True)
class Operator:
    """One expression, the rows it is given, and what it makes of the bad one.

    Attributes:
      name: what is special about it.
      text: the expression; ``$dtype`` is the dtype of the program.
      good, bad: how a healthy row and the bad one are drawn.
      kinds: what the first birth may be called: "NaN", "Inf"; none of a healthy operator.
      phase: "forward" if the value is bad, "backward" if only a derivative is, "data" if what comes
        in is bad, "none" of a healthy operator.
      rank: how many axes a row has.
      dtypes: for which it is true.
      integer: whether ``x`` holds int32.
      every: whether every row is bad.
      steps: applied to its own result, it is bad after that many steps, and not before; else 0.
    """

    name: str
    text: str
    good: Draw
    bad: Draw
    kinds: tuple[str, ...] = ()
    phase: str = "none"
    rank: int = 0
    dtypes: tuple[str, ...] = ALL
    integer: bool = False
    every: bool = False
    steps: int = 0

    @property
    def safe(self) -> str:
        """An expression of the same shape that nothing finite can spoil."""
        row = ("x", "x[..., 0]", "x[..., 0, 0]")[self.rank]
        return f"jnp.tanh({row}.astype($dtype))"


def _forward(name: str, text: str, good: Draw, bad: Draw, kinds: str, **more: Any) -> Operator:
    return Operator(name, text, good, bad, tuple(kinds.split()), "forward", **more)


def _backward(name: str, text: str, good: Draw, bad: Draw, **more: Any) -> Operator:
    return Operator(name, text, good, bad, ("NaN", "Inf"), "backward", **more)


_positive, _inside, _row = near(0.5, 1.5), near(-0.6, 0.6), rows(0.3, 1.5)
_zero, _zeros = exactly(0.0), exactly([0.0, 0.0, 0.0])
_definite = exactly([[2.0, 0.5], [0.5, 1.0]])
_singular = exactly([[1.0, 2.0], [2.0, 4.0]])
_unit = exactly([[1.0, 0.0], [0.0, 1.0]])
_lost = exactly([-100.0, -100.0, -100.0])


def _past_exp(rng: random.Random, limits: Limits) -> float:
    return round(1.1 * limits.log + rng.uniform(1, 9), 1)


def _past_exps(rng: random.Random, limits: Limits) -> list[float]:
    return [round(1.1 * limits.log, 1), 1.0, 2.0]


def _past_root(rng: random.Random, limits: Limits) -> float:
    return 3 * limits.root


FORWARD = [
    _forward("log of 0", "jnp.log(x)", _positive, _zero, "Inf"),
    _forward("log below 0", "jnp.log(x)", _positive, near(-2, -0.5), "NaN"),
    _forward("log2 of 0", "jnp.log2(x)", _positive, _zero, "Inf"),
    _forward("log1p of -1", "jnp.log1p(x)", _inside, exactly(-1.0), "Inf"),
    _forward("log1p below -1", "jnp.log1p(x)", _inside, near(-3, -1.5), "NaN"),
    _forward("sqrt below 0", "jnp.sqrt(x)", _positive, near(-2, -0.5), "NaN"),
    _forward("rsqrt of 0", "lax.rsqrt(x)", _positive, _zero, "Inf"),
    _forward("rsqrt below 0", "lax.rsqrt(x)", _positive, near(-2, -0.5), "NaN"),
    _forward("1 / 0", "1.0 / x", _positive, _zero, "Inf"),
    _forward("0 / 0", "x / x", _positive, _zero, "NaN"),
    _forward("difference quotient", "(x * x - 1.0) / (x - 1.0)", near(2, 3), exactly(1.0), "NaN"),
    _forward("remainder by 0", "lax.rem(jnp.ones_like(x), x)", _positive, _zero, "NaN"),
    _forward("root as a power", "x ** 0.5", _positive, near(-2, -0.5), "NaN"),
    _forward("power of a negative", "jnp.power(x, 1.5)", _positive, near(-2, -0.5), "NaN"),
    _forward("0 to a negative power", "x ** -2", _positive, _zero, "Inf"),
    _forward("exp overflows", "jnp.exp(x)", _inside, _past_exp, "Inf"),
    _forward("expm1 overflows", "jnp.expm1(x)", _inside, _past_exp, "Inf"),
    _forward("sinh overflows", "jnp.sinh(x)", _inside, _past_exp, "Inf"),
    _forward("square overflows", "x * x", _inside, _past_root, "Inf"),
    _forward("cube overflows", "x ** 3", _inside, _past_root, "Inf"),
    _forward("scale overflows", "x * 16.0 * 16.0", _inside, lambda r, m: m.most / 16.0, "Inf"),
    _forward("sum of two overflows", "x + x", _inside, lambda r, m: 0.75 * m.most, "Inf"),
    _forward("arccos beyond 1", "jnp.arccos(x)", _inside, near(1.2, 2), "NaN"),
    _forward("arcsin beyond 1", "jnp.arcsin(x)", _inside, near(-2, -1.2), "NaN"),
    _forward("arctanh of 1", "jnp.arctanh(x)", _inside, exactly(1.0), "Inf"),
    _forward("arccosh below 1", "jnp.arccosh(x)", near(1.5, 3), near(-0.5, 0.5), "NaN"),
    _forward(
        "logit of 1", "jax.scipy.special.logit(x)", near(0.2, 0.8), exactly(1.0), "Inf NaN",
    ),
    _forward("erfinv of 1", "lax.erf_inv(x)", _inside, exactly(1.0), "Inf", dtypes=SINGLE),
    _forward("0 * exp", "0.0 * jnp.exp(x)", _inside, _past_exp, "Inf"),
    _forward("exp - exp", "jnp.exp(x) - jnp.exp(1.5 * x)", _inside, _past_exp, "Inf"),
    _forward(
        "tanh by hand", "(jnp.exp(x) - jnp.exp(-x)) / (jnp.exp(x) + jnp.exp(-x))", _inside,
        _past_exp, "Inf",
    ),
    _forward("softplus by hand", "jnp.log(1.0 + jnp.exp(x))", _inside, _past_exp, "Inf"),
    _forward(
        "log of sigmoid", "jnp.log(jax.nn.sigmoid(x))", _inside,
        lambda r, m: -round(1.3 * m.log + 20, 1), "Inf",
    ),
    _forward("log of 1 - tanh^2", "jnp.log(1.0 - jnp.tanh(x) ** 2)", _inside, near(25, 40), "Inf"),
    _forward(
        "tiny in the quotient", "x / (jnp.abs(x) + 1e-8)", _positive, _zero, "NaN",
        dtypes=("float16",),
    ),
    _forward(
        "tinier in the quotient", "x / (jnp.abs(x) + 1e-50)", _positive, _zero, "NaN",
        dtypes=("float32", "bfloat16"),
    ),
    _forward("tiny in the log", "jnp.log(x + 1e-9)", _positive, _zero, "Inf", dtypes=("float16",)),
    _forward(
        "absorbed in the log", "jnp.log(1.0 - x + 1e-50)", near(0.1, 0.8), exactly(1.0), "Inf",
        dtypes=("float32", "bfloat16"),
    ),
    _forward(
        "cast overflows", "x.astype(jnp.float16).astype($dtype)", _inside, near(1e5, 1e6), "Inf",
        dtypes=("float32", "float64", "bfloat16"),
    ),
    _forward("gammaln of 0", "lax.lgamma(x)", _positive, _zero, "Inf", dtypes=SINGLE),
    _forward(
        "density of no width", "jax.scipy.stats.norm.logpdf(0.5, 0.25, x)", _positive, _zero,
        "Inf NaN",
    ),
    # Integers have no gradient: only the weights do.
    _forward(
        "index out of range", 'jnp.take(w, x, mode="fill")', lambda r, m: r.randrange(4),
        lambda r, m: r.choice([4, 9, 70]), "NaN", integer=True,
    ),
    _forward(
        "lookup out of range", 'w.at[x].get(mode="fill", fill_value=jnp.nan)',
        lambda r, m: r.randrange(4), lambda r, m: r.choice([-9, 5]), "NaN", integer=True,
    ),
    _forward(
        "int square overflows", "jnp.sqrt((x * x).astype($dtype))", lambda r, m: r.randint(2, 90),
        exactly(50_000), "NaN", integer=True, dtypes=("float32", "float64", "bfloat16"),
    ),
    _forward(
        "int product overflows", "1.0 / (x * 65536).astype($dtype)",
        lambda r, m: r.randint(2, 90), exactly(65_536), "Inf", integer=True,
        dtypes=("float32", "float64", "bfloat16"),
    ),
    # Rows.
    _forward(
        "softmax of nothing",
        "jax.nn.softmax(jnp.where(x > -90.0, x, -jnp.inf), axis=-1)[..., 0]", _row, _lost, "NaN",
        rank=1,
    ),
    _forward(
        "log_softmax of nothing",
        "jax.nn.log_softmax(jnp.where(x > -90.0, x, -jnp.inf), axis=-1)[..., 0]", _row, _lost,
        "NaN", rank=1,
    ),
    _forward(
        "softmax by hand", "jnp.exp(x[..., 0]) / jnp.sum(jnp.exp(x), axis=-1)", _row, _past_exps,
        "Inf", rank=1,
    ),
    _forward(
        "logsumexp by hand", "jnp.log(jnp.sum(jnp.exp(x), axis=-1))", _row,
        lambda r, m: [-round(1.3 * m.log + 20, 1)] * 3, "Inf", rank=1,
    ),
    _forward(
        "shares of 0", "x[..., 0] / jnp.sum(x, axis=-1)", _row, exactly([1.0, -2.0, 1.0]), "Inf",
        rank=1,
    ),
    _forward(
        "unit vector of 0", "x[..., 0] / jnp.linalg.norm(x, axis=-1)", _row, _zeros, "NaN", rank=1,
    ),
    _forward(
        "standardized constant",
        "(x[..., 0] - jnp.mean(x, axis=-1)) / jnp.std(x, axis=-1)", _row, exactly([2.0] * 3), "NaN",
        rank=1,
    ),
    _forward(
        "standardize of jax", "jax.nn.standardize(x, axis=-1, epsilon=0.0)[..., 0]", _row,
        exactly([2.0] * 3), "Inf NaN", rank=1, dtypes=WIDE,
    ),
    _forward(
        "norm without epsilon",
        "(x[..., 0] - jnp.mean(x, -1)) * lax.rsqrt(jnp.var(x, -1))", _row, exactly([2.0] * 3),
        "Inf", rank=1,
    ),
    _forward("prod overflows", "jnp.prod(x, axis=-1)", _row, lambda r, m: [m.root] * 3, "Inf",
             rank=1),
    _forward("sum overflows", "jnp.sum(x, axis=-1)", _row, lambda r, m: [0.5 * m.most] * 3, "Inf",
             rank=1),
    _forward(
        "mean square overflows", "jnp.mean(x * x, axis=-1)", _row,
        lambda r, m: [2 * m.root] * 3, "Inf", rank=1,
    ),
    _forward(
        "product overflows", 'jnp.einsum("...i,...i->...", x, x)', _row,
        lambda r, m: [2 * m.root] * 3, "Inf", rank=1, dtypes=WIDE,
    ),
    _forward(
        "mean of no element", "jnp.mean(x, axis=-1, where=x > 0)", _row,
        exactly([-1.0, -2.0, -3.0]), "NaN", rank=1,
    ),
    _forward(
        "masked mean of nothing",
        "jnp.sum(x * (x > 0), axis=-1) / jnp.sum(x > 0, axis=-1).astype(x.dtype)", _row,
        exactly([-1.0, -2.0, -3.0]), "NaN", rank=1,
    ),
    _forward(
        "cross entropy of a masked class",
        "optax.losses.softmax_cross_entropy("
        "jnp.where(x > -90.0, x, -jnp.inf), jnp.eye(3, dtype=$dtype)[0])",
        _row, exactly([1.0, -100.0, 2.0]), "NaN", rank=1,
    ),
    _forward(
        "cosine of a zero vector", "optax.losses.cosine_similarity(x, x[..., ::-1])", _row, _zeros,
        "Inf NaN", rank=1,
    ),
    # Matrices.
    _forward(
        "cholesky", "jnp.linalg.cholesky(x)[..., 1, 1]", _definite,
        exactly([[1.0, 2.0], [2.0, 1.0]]), "NaN", rank=2, dtypes=WIDE,
    ),
    _forward("inv", "jnp.linalg.inv(x)[..., 0, 1]", _definite, _singular, "Inf NaN", rank=2,
             dtypes=WIDE),
    _forward(
        "solve", "jnp.linalg.solve(x, jnp.ones_like(x))[..., 0, 0]", _definite, _singular,
        "Inf NaN", rank=2, dtypes=WIDE,
    ),
    _forward("slogdet", "jnp.linalg.slogdet(x)[1]", _definite, _singular, "Inf", rank=2,
             dtypes=WIDE),
    # Applied again and again, in a loop that carries the result.
    _forward("squared again", "x * x", _inside, exactly(8.0), "Inf", steps=9),
    _forward("1 / (x - 1) again", "1.0 / (x - 1.0)", exactly(0.5), exactly(2.0), "Inf", steps=2),
    _forward("sqrt again", "jnp.sqrt(x) - 0.5", near(0.7, 0.9), near(0.02, 0.06), "NaN", steps=2),
    _forward("exp again", "jnp.exp(x)", exactly(-5.0), exactly(1.0), "Inf", steps=4,
             dtypes=SINGLE),
    _forward("arctanh again", "jnp.arctanh(x)", near(0.05, 0.1), near(0.85, 0.95), "NaN", steps=2),
]  # fmt: skip

BACKWARD = [
    _backward("sqrt of 0", "jnp.sqrt(x)", _positive, _zero),
    _backward("sqrt of a square", "jnp.sqrt(x * x)", _positive, _zero),
    _backward("power below 1", "x ** 0.5", _positive, _zero),
    _backward("power of a magnitude", "jnp.abs(x) ** 0.7", _positive, _zero),
    _backward("cube root", "jnp.cbrt(x)", _positive, _zero, dtypes=WIDE),
    _backward("arccos of 1", "jnp.arccos(x)", _inside, exactly(1.0)),
    _backward("arcsin of -1", "jnp.arcsin(x)", _inside, exactly(-1.0)),
    _backward("angle of 0", "jnp.arctan2(x, 2.0 * x)", _positive, _zero),
    _backward("x log x", "jax.scipy.special.xlogy(x, x)", _positive, _zero),
    _backward("entropy", "jax.scipy.special.entr(x)", _positive, _zero),
    _backward("tiny under the root", "jnp.sqrt(x + 1e-9)", _positive, _zero, dtypes=("float16",)),
    _backward(
        "where in one line", "jnp.where(x > 0, jnp.sqrt(x), 0.0)", _positive, _zero,
    ),
    _backward("maximum under the root", "jnp.sqrt(jnp.maximum(x, 0.0))", _positive, _zero),
    _backward(
        "small then large, half", "x * 1e-4 * 300.0 * 300.0", _inside, _inside, every=True,
        dtypes=("float16",),
    ),
    _backward(
        "small then large", "x * 1e-30 * 1e20 * 1e20", _inside, _inside, every=True,
        dtypes=("float32", "bfloat16"),
    ),
    _backward("norm of 0", "jnp.linalg.norm(x, axis=-1)", _row, _zeros, rank=1),
    _backward("norm by hand", "jnp.sqrt(jnp.sum(x * x, axis=-1))", _row, _zeros, rank=1),
    _backward("std of a constant", "jnp.std(x, axis=-1)", _row, exactly([2.0] * 3), rank=1),
    _backward(
        "powers of 0", "jnp.sum(x[..., :1] ** jnp.arange(3.0).astype($dtype), axis=-1)", _row,
        _zeros, rank=1,
    ),
    _backward(
        "distance of equals", "jnp.linalg.norm(x - x[..., ::-1], axis=-1)", _row,
        exactly([1.0, 2.0, 1.0]), rank=1,
    ),
    _backward("eigh", "jnp.linalg.eigh(x)[1][..., 0, 1]", _definite, _unit, rank=2, dtypes=WIDE),
    _backward("svd", "jnp.linalg.svd(x)[0][..., 0, 1]", _definite, _unit, rank=2, dtypes=WIDE),
]  # fmt: skip

_nan, _nans = exactly(math.nan), exactly([0.5, math.nan, 1.0])


def _data(name: str, text: str, bad: Draw, *, rank: int = 0) -> Operator:
    good = _row if rank else _positive
    return Operator(name, text, good, bad, ("NaN", "Inf"), "data", rank=rank)


DATA = [
    _data("product with NaN", "w[0] * x", _nan),
    _data("squared error of NaN", "(x - w[1]) ** 2", _nan),
    _data("tanh of NaN", "jnp.tanh(w[2] * x)", _nan),
    _data("product with infinity", "w[0] * x", exactly(math.inf)),
    _data("row with NaN", "jnp.sum(x * w[:3], axis=-1)", _nans, rank=1),
    _data("matrix product with NaN", "x @ w[:3]", _nans, rank=1),
]


def _clean(name: str, text: str, good: Draw, bad: Draw, **more: Any) -> Operator:
    return Operator(name, text, good, bad, **more)


# Healthy, although they look as the others do: nothing of theirs is ever bad.
CLEAN = [
    _clean("log with room", "jnp.log(x + 0.01)", _positive, _zero),
    _clean("log of an epsilon that counts", "jnp.log(1.0 - x + 1e-10)", near(0.1, 0.8), _zero),
    _clean("log1p of almost -1", "jnp.log1p(x)", _inside, exactly(-0.9375)),
    _clean("the double where", "jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)",
           _positive, near(-2, 0)),
    _clean("the double where of a root",
           "jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)", _positive, _zero),
    _clean("quotient with room", "x / (jnp.abs(x) + 0.001)", _positive, _zero),
    _clean("root with room", "jnp.sqrt(x * x + 0.001)", _positive, _zero),
    _clean("sinc of 0", "jnp.sinc(x)", _positive, _zero, dtypes=WIDE),
    _clean("exp underflows", "jnp.exp(x)", _inside, lambda r, m: -round(1.5 * m.log + 20, 1)),
    _clean("almost overflows", "jnp.exp(x)", _inside, lambda r, m: math.floor(0.5 * m.log)),
    _clean("softplus", "jax.nn.softplus(x)", _inside, _past_exp),
    _clean("log_sigmoid", "jax.nn.log_sigmoid(x)", _inside, near(-80, -60)),
    _clean("saturated tanh", "jnp.tanh(x)", _inside, near(50, 90)),
    _clean("saturated sigmoid", "jax.nn.sigmoid(x)", _inside, near(-90, -50)),
    _clean("square of 0", "x ** 2", _positive, _zero),
    _clean("relu at 0", "jax.nn.relu(x)", _inside, _zero),
    _clean("arctan of much", "jnp.arctan(x)", _inside, near(1e3, 1e4)),
    _clean("clipped before arccos", "jnp.arccos(jnp.clip(x, -0.9, 0.9))", _inside, near(1.2, 2)),
    _clean("bent before the log", "jnp.log(jnp.maximum(x, 0.01))", _positive, near(-2, 0)),
    _clean("index in range", 'jnp.take(w, x, mode="fill")', lambda r, m: r.randrange(4),
           exactly(3), integer=True),
    _clean("index clipped", 'jnp.take(w, x, mode="clip")', lambda r, m: r.randrange(4),
           exactly(9), integer=True),
    _clean("large integers", "jnp.sqrt((x * x).astype($dtype))", lambda r, m: r.randint(2, 90),
           exactly(46_000), integer=True, dtypes=WIDE),
    _clean("logsumexp of much", "jax.nn.logsumexp(x, axis=-1)", _row, _past_exps, rank=1),
    _clean("softmax of much", "jax.nn.softmax(x, axis=-1)[..., 0]", _row, _past_exps, rank=1),
    _clean("softmax with a mask",
           "jax.nn.softmax(jnp.where(x > -90.0, x, -jnp.inf), axis=-1)[..., 0]", _row,
           exactly([1.0, -100.0, 0.5]), rank=1),
    _clean("prod with a 0", "jnp.prod(x, axis=-1)", _row, exactly([0.0, 2.0, 3.0]), rank=1),
    _clean("hypot of 0", "jnp.hypot(x[..., 0], x[..., 1])", _row, _zeros, rank=1),
    _clean("mean of one", "jnp.mean(x, axis=-1)", _row, exactly([0.0, 0.0, 1.0]), rank=1),
    _clean("norm with room", "jnp.sqrt(jnp.sum(x * x, axis=-1) + 0.001)", _row, _zeros, rank=1),
    _clean("layer norm", "(x[..., 0] - jnp.mean(x, -1)) * lax.rsqrt(jnp.var(x, -1) + 0.001)", _row,
           exactly([2.0] * 3), rank=1),
    _clean("cross entropy of certainty",
           "optax.losses.softmax_cross_entropy_with_integer_labels("
           "x, jnp.zeros(x.shape[:-1], jnp.int32))",
           _row, exactly([90.0, -90.0, 0.0]), rank=1),
    _clean("determinant of a singular matrix",
           "x[..., 0, 0] * x[..., 1, 1] - x[..., 0, 1] * x[..., 1, 0]", _definite, _singular,
           rank=2),
    _clean("cholesky with a ridge",
           "jnp.linalg.cholesky(x + 2.0 * jnp.eye(2, dtype=$dtype))[..., 1, 1]", _definite,
           _singular, rank=2, dtypes=WIDE),
]  # fmt: skip
