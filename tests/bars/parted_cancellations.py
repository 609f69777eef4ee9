"""Programs in which most digits of float32 die at one line, each with that line's stable form.

The stable form stands below the line after ``#=``. All else of a program is the same in both, so
that what the stable form saves died at that line.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of digits: its name, the program, and what draws its arguments."""

    name: str
    text: str
    args: Callable[[np.random.Generator], tuple[Any, ...]]


def _floats(*arrays: Any) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(array, np.float32) for array in arrays)


HEAD = "import jax\nimport jax.numpy as jnp\nfrom jax import lax\n\n"

LAYER_NORM = (
    HEAD
    + """
def layer_norm(x, scale, bias, eps=1e-6):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.mean(x * x, axis=-1, keepdims=True) - mean**2
    #= var = jnp.mean((x - mean) ** 2, axis=-1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.abs(var) + eps) * scale + bias


def f(params, x):
    h = layer_norm(x, params["scale"], params["bias"])
    return jnp.sum(jnp.tanh(h) @ params["w"])
"""
)

BATCH_NORM = (
    HEAD
    + """
def statistics(x):
    count = x.shape[0]
    first, second = jnp.sum(x, axis=0) / count, jnp.sum(jnp.square(x), axis=0) / count
    centred = x - first
    return first, second - jnp.square(first)
    #= return first, jnp.sum(jnp.square(centred), axis=0) / count


@jax.jit
def f(x, gain):
    mean, var = statistics(x)
    return jnp.mean(jnp.maximum(gain * (x - mean) / jnp.sqrt(jnp.maximum(var, 1e-9)), 0.0))
"""
)

COVARIANCE = (
    HEAD
    + '''
def covariance(x, y):
    return jnp.mean(x * y) - jnp.mean(x) * jnp.mean(y)
    #= return jnp.mean((x - jnp.mean(x)) * (y - jnp.mean(y)))


def f(heights, weights):
    """Return the slope of a regression, fitted to columns far from zero."""
    spread = jnp.mean((heights - jnp.mean(heights)) ** 2)
    return covariance(heights, weights) / spread
'''
)

LOG_RETURN = (
    HEAD
    + '''
def f(returns, weights):
    """Return the logarithm of what a portfolio grows to."""
    daily = jnp.einsum("td,d->t", returns, weights)
    growth = jnp.log(1.0 + daily)
    #= growth = jnp.log1p(daily)
    return jnp.sum(growth)
'''
)

SOFTPLUS = (
    HEAD
    + '''
def nll(margins):
    return jnp.log(1.0 + jnp.exp(-margins))
    #= return jnp.log1p(jnp.exp(-margins))


def f(w, x, signs):
    """Return the logistic loss of rows that are classified well."""
    margins = signs * (x @ w)
    return jnp.mean(jax.vmap(nll)(margins))
'''
)

PENDULUM = (
    HEAD
    + '''
def potential(angle):
    return 9.81 * (1.0 - jnp.cos(angle))
    #= return 9.81 * 2.0 * jnp.sin(0.5 * angle) ** 2


def f(angles, speeds):
    """Return the energy of pendulums at rest, or nearly."""
    def step(total, state):
        angle, speed = state
        return total + potential(angle) + 0.5 * speed**2, None

    return lax.scan(step, jnp.zeros((), angles.dtype), (angles, speeds))[0]
'''
)

ELU = (
    HEAD
    + """
def elu(x):
    return jnp.where(x > 0.0, x, jnp.exp(x) - 1.0)
    #= return jnp.where(x > 0.0, x, jnp.expm1(x))


def f(params, x):
    return jnp.sum(elu(x * params["gain"]) @ params["w"])
"""
)

DISCOUNT = (
    HEAD
    + '''
def f(rates, times):
    """Return the interest of short terms at continuous rates."""
    exponents = rates[:, None] * times[None, :]
    earned = jnp.exp(exponents) - jnp.ones_like(exponents)
    #= earned = jnp.expm1(exponents)
    return earned.mean(axis=1)
'''
)

LOGSUMEXP = (
    HEAD
    + '''
def cross_entropy(scores, label):
    return jnp.log(jnp.sum(jnp.exp(scores))) - scores[label]
    #= return jax.nn.logsumexp(scores) - scores[label]


def f(w, x, labels):
    """Return a loss whose scores are near the largest that exp takes."""
    return jax.vmap(cross_entropy)(x @ w, labels).mean()
'''
)

SOFTMAX = (
    HEAD
    + """
def attend(q, k, v):
    scores = jnp.einsum("qd,kd->qk", q, k)
    weights = jnp.exp(scores) / jnp.sum(jnp.exp(scores), axis=-1, keepdims=True)
    #= weights = jax.nn.softmax(scores, axis=-1)
    return weights @ v


def f(q, k, v):
    return attend(q, k, v)
"""
)

HYPERBOLA = (
    HEAD
    + '''
def bend(x):
    return jnp.sqrt(x * x + 1.0) - x
    #= return 1.0 / (jnp.sqrt(x * x + 1.0) + x)


def f(x, w):
    """Return a squareplus unit on inputs that are far to its right."""
    return jnp.dot(bend(x), w)
'''
)

ROOTS = (
    HEAD
    + '''
def f(x, step):
    """Return the mean change of a square root over a small step."""
    change = jnp.sqrt(x + step) - jnp.sqrt(x)
    #= change = step / (jnp.sqrt(x + step) + jnp.sqrt(x))
    return change.mean()
'''
)

MOVING_SUM = (
    HEAD
    + '''
WINDOW = 4


def moving_average(signal):
    total = jnp.cumsum(signal)
    windows = total[WINDOW:] - total[:-WINDOW]
    #= windows = sum(signal[i + 1 : len(signal) - WINDOW + i + 1] for i in range(WINDOW))
    return windows / WINDOW


def f(signal):
    """Return a moving average's tail, after a burst long gone."""
    return moving_average(signal)[-8:]
'''
)

LARGE_SUMS = (
    HEAD
    + '''
def f(income, spent):
    """Return what is left of large sums that are nearly the same."""
    left = jnp.sum(income) - jnp.sum(spent)
    #= left = jnp.sum(income - spent)
    return left / len(income)
'''
)

QUADRATIC = (
    HEAD
    + '''
def nearest(a, b, c):
    root = jnp.sqrt(b * b - 4.0 * a * c)
    return (-b + root) / (2.0 * a)
    #= return -2.0 * c / (b + root)


def f(origin, direction, radius):
    """Return where rays that start just within a sphere leave it."""
    a = jnp.sum(direction**2, axis=-1)
    b = 2.0 * jnp.sum(origin * direction, axis=-1)
    return jax.vmap(nearest)(a, b, radius)
'''
)

COMPOUND = (
    HEAD
    + """
PERIODS = 12


def f(rates, capital):
    interest = (1.0 + rates) ** PERIODS - 1.0
    #= interest = jnp.expm1(PERIODS * jnp.log1p(rates))
    return jnp.vdot(capital, interest)
"""
)

DISTANCES = (
    HEAD
    + '''
def squared_distances(x, y):
    xx, yy = jnp.sum(x * x, axis=1), jnp.sum(y * y, axis=1)
    return xx[:, None] + yy[None, :] - 2.0 * x @ y.T
    #= return jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1)


def f(x, y):
    """Return a kernel's mean on points that lie far from the origin and near each other."""
    return squared_distances(x, y).mean()
'''
)

COSINE = (
    HEAD
    + '''
def unit(x):
    return x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))


@jax.jit
def f(anchor, positive):
    """Return the cosine distance of embeddings that are nearly the same."""
    u, v = unit(anchor), unit(positive)
    distance = 1.0 - jnp.sum(u * v, axis=-1)
    #= distance = 0.5 * jnp.sum((u - v) ** 2, axis=-1)
    return distance.mean()
'''
)

TANH_SLOPE = (
    HEAD
    + '''
def slope(x):
    return 1.0 - jnp.tanh(x) ** 2
    #= return 1.0 / jnp.cosh(x) ** 2


def f(x, g):
    """Return a gradient through saturated units, written by hand."""
    return jnp.sum(g * slope(x))
'''
)

SURE = (
    HEAD
    + '''
def f(w, x):
    """Return the chance that rows are not what they surely are."""
    scores = x @ w
    doubt = 1.0 - jax.nn.sigmoid(scores)
    #= doubt = jax.nn.sigmoid(-scores)
    return jnp.log(jnp.mean(doubt) + 1e-20)
'''
)

DIFFERENCE_QUOTIENT = (
    HEAD
    + '''
STEP = 1e-5


def curve(x):
    return x**3 + jnp.sin(x)


def f(xs):
    """Return the steepness of a curve, by central differences."""
    slopes = (curve(xs + STEP) - curve(xs - STEP)) / (2.0 * STEP)
    #= slopes = jax.vmap(jax.grad(curve))(xs)
    return slopes
'''
)

SINES = (
    HEAD
    + '''
def f(phase, delay):
    """Return how two waves beat that hardly differ in phase."""
    beat = jnp.sin(phase + delay) - jnp.sin(phase)
    #= beat = 2.0 * jnp.cos(phase + 0.5 * delay) * jnp.sin(0.5 * delay)
    return jnp.sum(jnp.abs(beat))
'''
)

HAZARD = (
    HEAD
    + '''
def f(hazard, times):
    """Return the chance of an early failure."""
    total = lax.map(lambda t: t * hazard, times)
    failed = 1.0 - jnp.exp(-total)
    #= failed = -jnp.expm1(-total)
    return jnp.mean(failed, axis=0)
'''
)

RECIPROCALS = (
    HEAD
    + '''
def f(n, strength):
    """Return the energies of transitions between high levels."""
    gap = 1.0 / n - 1.0 / (n + 1.0)
    #= gap = 1.0 / (n * (n + 1.0))
    return jnp.dot(strength, gap)
'''
)

HERON = (
    HEAD
    + '''
def area(sides):
    c, b, a = jnp.sort(sides)
    s = 0.5 * (a + b + c)
    return jnp.sqrt(jnp.abs(s * (s - a) * (s - b) * (s - c)))
    #= return 0.25 * jnp.sqrt((a + (b + c)) * (c - (a - b)) * (c + (a - b)) * (a + (b - c)))


def f(triangles):
    """Return the areas of slivers in a mesh."""
    return jax.vmap(area)(triangles)
'''
)

LOG_RATIO = (
    HEAD
    + '''
def f(new, old, advantage):
    """Return the gain of a policy that has hardly moved."""
    ratio = jnp.log(new) - jnp.log(old)
    #= ratio = jnp.log1p((new - old) / old)
    return jnp.mean(ratio * advantage)
'''
)

BIAS_CORRECTION = (
    HEAD
    + '''
def correction(one_minus_beta, step):
    return 1.0 - (1.0 - one_minus_beta) ** step
    #= return -jnp.expm1(step * jnp.log1p(-one_minus_beta))


def f(moment, one_minus_beta, steps):
    """Return a moving average's first steps, corrected for its start at zero."""
    return jax.vmap(lambda step: jnp.sum(moment / correction(one_minus_beta, step)))(steps)
'''
)

GREAT_CIRCLE = (
    HEAD
    + '''
def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def f(here, there):
    """Return the way along the globe between neighbours."""
    u, v = unit(here), unit(there)
    angle = jnp.arccos(jnp.minimum(jnp.sum(u * v, axis=-1), 1.0))
    #= angle = 2.0 * jnp.arcsin(0.5 * jnp.linalg.norm(u - v, axis=-1))
    return 6371.0 * jnp.sum(angle)
'''
)

ROTATION = (
    HEAD
    + '''
def coefficients(theta):
    first = jnp.sin(theta) / theta
    second = (1.0 - jnp.cos(theta)) / theta**2
    #= second = 0.5 * (jnp.sin(0.5 * theta) / (0.5 * theta)) ** 2
    return first, second


def f(axes, points):
    """Return points after small rotations, by the formula of Rodrigues."""
    theta = jnp.linalg.norm(axes, axis=-1, keepdims=True)
    first, second = coefficients(theta)
    once = jnp.cross(axes, points)
    return jnp.sum(first * once + 1e3 * second * jnp.cross(axes, once), axis=0)
'''
)

RESIDUALS = (
    HEAD
    + '''
def f(x, w, y):
    """Return what a good fit leaves, as a difference of squares."""
    fitted = x @ w
    left = jnp.sum(y**2) - jnp.sum(fitted**2)
    #= left = jnp.sum((y - fitted) * (y + fitted))
    return left
'''
)

TWO_TEMPERATURES = (
    HEAD
    + '''
def f(energy, shift):
    """Return how weights change when every energy moves a little."""
    change = jnp.exp(energy + shift) - jnp.exp(energy)
    #= change = jnp.exp(energy) * jnp.expm1(shift)
    return jnp.sum(change) / jnp.sum(jnp.exp(energy))
'''
)


def _layer_norm_args(rng: np.random.Generator) -> tuple[Any, ...]:
    offset = rng.uniform(300.0, 400.0)
    scale, bias, w, x = _floats(
        rng.uniform(0.8, 1.2, 8),
        rng.normal(0.0, 0.1, 8),
        rng.uniform(0.5, 1.5, (8, 3)) * np.linspace(-1.0, 2.0, 8)[:, None],
        offset + 0.5 * rng.normal(size=(3, 8)),
    )
    return {"scale": scale, "bias": bias, "w": w}, x


def _covariance_args(rng: np.random.Generator) -> tuple[Any, ...]:
    heights = 400.0 + rng.normal(size=16)
    return _floats(heights, 900.0 + 0.7 * heights + 0.1 * rng.normal(size=16))


def _elu_args(rng: np.random.Generator) -> tuple[Any, ...]:
    gain, w, x = _floats(
        rng.uniform(1e-3, 2e-3, 6), rng.uniform(0.5, 1.0, (6, 2)), -rng.uniform(1e-4, 1e-3, (4, 6))
    )
    return {"gain": gain, "w": w}, x


def _moving_sum_args(rng: np.random.Generator) -> tuple[Any, ...]:
    return _floats(np.concatenate([1e4 * rng.uniform(1.0, 2.0, 24), rng.uniform(0.01, 0.1, 24)]))


def _large_sums_args(rng: np.random.Generator) -> tuple[Any, ...]:
    income = np.round(1e4 * rng.uniform(1.0, 2.0, 64))
    return _floats(income, income - np.round(rng.uniform(1.0, 9.0, 64)) / 64)


def _quadratic_args(rng: np.random.Generator) -> tuple[Any, ...]:
    direction = rng.uniform(0.5, 1.0, (5, 3))
    return _floats(direction * 20.0, direction, -rng.uniform(1e-3, 1e-2, 5))


def _distances_args(rng: np.random.Generator) -> tuple[Any, ...]:
    centre = rng.uniform(50.0, 99.0, 4)
    return _floats(*(centre + 0.03 * rng.normal(size=(n, 4)) for n in (5, 6)))


def _cosine_args(rng: np.random.Generator) -> tuple[Any, ...]:
    anchor = rng.normal(size=(4, 6))
    return _floats(anchor, anchor + 1e-3 * rng.normal(size=(4, 6)))


def _heron_args(rng: np.random.Generator) -> tuple[Any, ...]:
    long = rng.uniform(5.0, 9.0, 5)
    return _floats(np.stack([long, long * (1.0 + 3e-6), long * rng.uniform(2e-5, 5e-5, 5)], axis=1))


def _log_ratio_args(rng: np.random.Generator) -> tuple[Any, ...]:
    old = rng.uniform(0.01, 0.2, 8).astype(np.float32)
    return _floats(old * (1.0 + 1e-5 * rng.uniform(0.5, 1.0, 8)), old, rng.uniform(0.5, 1.5, 8))


def _great_circle_args(rng: np.random.Generator) -> tuple[Any, ...]:
    here = rng.normal(size=(5, 3))
    return _floats(here, here + 2e-3 * rng.normal(size=(5, 3)))


def _residuals_args(rng: np.random.Generator) -> tuple[Any, ...]:
    x, w = _floats(np.round(rng.uniform(60.0, 500.0, (12, 3))), rng.integers(1, 5, 3))
    return x, w, (x @ w + np.round(rng.uniform(1.0, 3.0, 12)) / 64).astype(np.float32)


def _logsumexp_args(rng: np.random.Generator) -> tuple[Any, ...]:
    x = rng.uniform(0.99, 1.01, (3, 4))
    w = rng.uniform(22.25, 22.4, (4, 7))
    return (*_floats(w, x), rng.integers(0, 7, 3).astype(np.int32))


def _softmax_args(rng: np.random.Generator) -> tuple[Any, ...]:
    q, k = rng.uniform(4.6, 4.8, (3, 4)), rng.uniform(4.6, 4.8, (6, 4))
    return _floats(q, k, rng.normal(size=(6, 2)))


CANCELLATIONS = (
    Loss("variance by the mean of squares, in a layer norm", LAYER_NORM, _layer_norm_args),
    Loss(
        "variance by the mean of squares, in a batch norm",
        BATCH_NORM,
        lambda rng: _floats(300.0 + 0.3 * rng.normal(size=(12, 3)), rng.uniform(0.5, 1.5, 3)),
    ),
    Loss("covariance by the mean of products", COVARIANCE, _covariance_args),
    Loss(
        "log(1 + x) of small returns",
        LOG_RETURN,
        lambda rng: _floats(rng.uniform(1e-6, 1e-5, (5, 4)), rng.dirichlet(np.ones(4))),
    ),
    Loss(
        "log(1 + exp(-x)) of large margins",
        SOFTPLUS,
        lambda rng: (
            lambda signs, w: _floats(w, signs[:, None] * rng.uniform(3.0, 3.7, (6, 4)), signs)
        )(rng.choice([-1.0, 1.0], 6), np.ones(4)),
    ),
    Loss(
        "1 - cos x of small angles",
        PENDULUM,
        lambda rng: _floats(rng.uniform(1e-3, 4e-3, 6), rng.uniform(1e-4, 1e-3, 6)),
    ),
    Loss("exp(x) - 1 in an ELU", ELU, _elu_args),
    Loss(
        "exp(x) - 1 of short terms",
        DISCOUNT,
        lambda rng: _floats(rng.uniform(0.01, 0.05, 4), rng.uniform(1e-4, 1e-3, 3)),
    ),
    Loss("logsumexp without the maximum", LOGSUMEXP, _logsumexp_args),
    Loss("softmax without the maximum", SOFTMAX, _softmax_args),
    Loss(
        "sqrt(x * x + 1) - x",
        HYPERBOLA,
        lambda rng: _floats(rng.uniform(300.0, 900.0, 6), rng.uniform(0.5, 1.5, 6)),
    ),
    Loss(
        "sqrt(x + h) - sqrt(x)",
        ROOTS,
        lambda rng: _floats(rng.uniform(100.0, 900.0, 8), rng.uniform(1e-3, 9e-3, 8)),
    ),
    Loss("a moving average by running sums", MOVING_SUM, _moving_sum_args),
    Loss("the difference of large sums", LARGE_SUMS, _large_sums_args),
    Loss("the small root of a quadratic equation", QUADRATIC, _quadratic_args),
    Loss(
        "(1 + x)**n - 1",
        COMPOUND,
        lambda rng: _floats(rng.uniform(1e-6, 1e-5, 5), rng.uniform(0.5, 2.0, 5)),
    ),
    Loss("distances by |x|**2 + |y|**2 - 2xy", DISTANCES, _distances_args),
    Loss("1 - the cosine of two vectors", COSINE, _cosine_args),
    Loss(
        "1 - tanh(x)**2",
        TANH_SLOPE,
        lambda rng: _floats(rng.uniform(6.0, 8.0, 6), rng.uniform(0.5, 1.5, 6)),
    ),
    Loss(
        "1 - sigmoid(x)",
        SURE,
        lambda rng: _floats(rng.uniform(2.5, 3.0, 5), rng.uniform(0.9, 1.1, (4, 5))),
    ),
    Loss(
        "a difference quotient", DIFFERENCE_QUOTIENT, lambda rng: _floats(rng.uniform(0.5, 2.0, 6))
    ),
    Loss(
        "sin(x + h) - sin(x)",
        SINES,
        lambda rng: _floats(rng.uniform(0.1, 1.2, 6), rng.uniform(1e-6, 9e-6, 6)),
    ),
    Loss(
        "1 - exp(-x)",
        HAZARD,
        lambda rng: _floats(rng.uniform(1e-3, 5e-3, 4), rng.uniform(1e-4, 2e-3, 5)),
    ),
    Loss(
        "1/n - 1/(n + 1)",
        RECIPROCALS,
        lambda rng: _floats(np.round(rng.uniform(1e5, 3e5, 6)), rng.uniform(0.5, 1.5, 6)),
    ),
    Loss("the area of a sliver by its sides", HERON, _heron_args),
    Loss("log(x) - log(y)", LOG_RATIO, _log_ratio_args),
    Loss(
        "1 - beta**t",
        BIAS_CORRECTION,
        lambda rng: _floats(rng.normal(1.0, 0.1, 3), rng.uniform(1e-6, 9e-6, 3), np.arange(1, 5)),
    ),
    Loss("arccos of nearly 1", GREAT_CIRCLE, _great_circle_args),
    Loss(
        "(1 - cos x) / x**2",
        ROTATION,
        lambda rng: _floats(2e-3 * rng.normal(size=(4, 3)), rng.normal(size=(4, 3))),
    ),
    Loss("the difference of sums of squares", RESIDUALS, _residuals_args),
    Loss(
        "exp(x + h) - exp(x)",
        TWO_TEMPERATURES,
        lambda rng: _floats(rng.normal(size=8), rng.uniform(1e-6, 5e-6, 8)),
    ),
)
