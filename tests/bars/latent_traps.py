"""Traps: lines that are finite today and are not for other values of the same arguments.

Each has a twin that computes the same today and cannot break, and a provocation: other values of
the arguments, none further outside of an array's range than the range is wide.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

MARK = "  # TRAP"
ROWS, UNITS = 6, 4

Arrays = Mapping[str, np.ndarray]


class Snare(NamedTuple):
    """A function with a trap, and one without.

    Attributes:
      kind: what sort of trap it is.
      name: of the function.
      takes: its parameters, of ``h`` (rows, units), odd in the rows of the argument ``x`` without a
        bias; the parameters ``v`` (units,) and ``w`` (units, units); and the argument ``u``.
      extra: which kind of array ``u`` is, "" for none.
      body: its lines; those that may be named are marked.
      safe: the lines of its twin.
      provoke: the arrays at which the trap snaps, of the arrays of today.
      rows: whether it can be called on one row of ``h`` and ``u``.
    """

    kind: str
    name: str
    takes: str
    extra: str
    body: str
    safe: str
    provoke: Callable[[Arrays], dict[str, np.ndarray]]
    rows: bool = True


def put(**changes: tuple[Any, Any]) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """Return the function that sets ``array[index] = value`` for each name=(index, value)."""

    def changed(arrays: Arrays) -> dict[str, np.ndarray]:
        made = {name: np.array(array) for name, array in arrays.items()}
        for name, (index, value) in changes.items():
            made[name][index] = value
        return made

    return changed


ALL = slice(None)
ZERO_U = put(u=((0, 0), 0.0))
NO_U = put(u=(0, 0.0))
LOW_U = put(u=((0, 1), -0.25))
ZERO_V = put(v=(2, 0.0))
ZERO_H = put(x=(0, 0.0))
SAME_H = put(x=(ALL, 0.0))
ROUND_W = put(w=((ALL, ALL), 0.25 * np.eye(UNITS)))
EMPTY = put(u=(0, 0))

WHERE = (
    Snare("where", "root_of_dose", "h u", "positive",
          "return h * jnp.where(u > 0, jnp.sqrt(u), 0.0)  # TRAP",
          "return h * jnp.where(u > 0.05, jnp.sqrt(jnp.where(u > 0.05, u, 1.0)), 0.0)", ZERO_U),
    Snare("where", "log_dose", "h u", "positive",
          "positive = u > 0.1\nlogs = jnp.log(u)  # TRAP\n"
          "return h + jnp.where(positive, logs, -2.3)  # TRAP",
          "positive = u > 0.1\nlogs = jnp.log(jnp.where(positive, u, 1.0))\n"
          "return h + jnp.where(positive, logs, -2.3)", ZERO_U),
    Snare("where", "safe_ratio", "h v", "",
          "ratio = h / v  # TRAP\nreturn jnp.where(v != 0, ratio, 0.0)  # TRAP",
          "used = jnp.abs(v) > 0.05\n"
          "return jnp.where(used, h / jnp.where(used, v, 1.0), 0.0)", ZERO_V),
    Snare("where", "curve", "h u", "positive",
          "return jnp.where(u > 0, u**0.3, 0.0) - h  # TRAP",
          "return jnp.where(u > 0.05, jnp.maximum(u, 0.05) ** 0.3, 0.0) - h", ZERO_U),
    Snare("where", "angle", "h u", "positive",
          "c = 0.5 * u\nreturn h * jnp.where(jnp.abs(c) < 1, jnp.arccos(c), 0.0)  # TRAP",
          "c = jnp.clip(0.5 * u, -0.99, 0.99)\nreturn h * jnp.arccos(c)", put(u=((1, 0), 2.0))),
    Snare("where", "direction", "h", "",
          "n = jnp.linalg.norm(h, axis=-1, keepdims=True)  # TRAP\n"
          "return jnp.where(n > 0, h / n, 0.0)  # TRAP",
          "n = jnp.sqrt((h * h).sum(-1, keepdims=True) + 1e-2)\nreturn h / n", ZERO_H),
    Snare("where", "hit_rate", "h u", "positive",
          "inside = 0.5 * u < 1.0\n"
          "return h + lax.select(inside, jnp.log1p(-0.5 * u), jnp.zeros_like(u))  # TRAP",
          "r = jnp.minimum(0.5 * u, 0.9)\nreturn h + jnp.log1p(-r)", put(u=((2, 2), 2.0))),
    Snare("where", "fisher", "h u", "positive",
          "r = 0.5 * u\nz = jnp.arctanh(r)  # TRAP\n"
          "z = jnp.where(jnp.abs(r) < 0.999, z, 0.0)  # TRAP\nreturn h + z",
          "return h + jnp.arctanh(jnp.clip(0.5 * u, -0.95, 0.95))", put(u=((0, 3), 2.0))),
    Snare("where", "inverse_root", "h u", "positive",
          "return h * jnp.where(u > 1e-3, lax.rsqrt(u), 0.0)  # TRAP",
          "return h * lax.rsqrt(jnp.maximum(u, 0.1))", ZERO_U),
    Snare("where", "cube_root", "h u", "positive",
          "return h + jnp.where(u > 0, jnp.cbrt(u), 0.0)  # TRAP",
          "return h + jnp.cbrt(jnp.maximum(u, 0.1))", ZERO_U),
    Snare("where", "surprise", "h u", "positive",
          "return h - jnp.where(u == 0, 0.0, u * jnp.log(u))  # TRAP",
          "some = jnp.maximum(u, 0.1)\nreturn h - some * jnp.log(some)", ZERO_U),
    Snare("where", "sinc", "h u", "positive",
          "wave = jnp.sin(u) / u  # TRAP\nreturn h * jnp.where(u == 0, 1.0, wave)  # TRAP",
          "nonzero = jnp.where(jnp.abs(u) < 0.05, 1.0, u)\n"
          "return h * jnp.where(jnp.abs(u) < 0.05, 1.0, jnp.sin(nonzero) / nonzero)", ZERO_U),
    Snare("where", "stiff_elu", "h u", "positive",
          "s = 40.0 * u\nsteep = jnp.expm1(s)  # TRAP\n"
          "return h + jnp.where(s > 10, s, steep)  # TRAP",
          "s = 40.0 * u\nreturn h + jnp.where(s > 0, s, jnp.expm1(jnp.minimum(s, 0.0)))",
          put(u=((3, 1), 3.0))),
    Snare("where", "pieces", "h u", "positive",
          "return h + jnp.select([u > 1.0, u > 0.0], [1.0 + jnp.log(u), jnp.sqrt(u)], 0.0)  # TRAP",
          "a = jnp.maximum(u, 0.2)\nreturn h + jnp.where(u > 1.0, 1.0 + jnp.log(a), jnp.sqrt(a))",
          LOW_U),
    Snare("where", "masked_power", "h u v", "positive",
          "p = jnp.power(u, v)  # TRAP\nreturn h + jnp.where(u > 0, p, 0.0)  # TRAP",
          "p = jnp.power(jnp.maximum(u, 0.1), v)\nreturn h + jnp.where(u > 0.1, p, 0.0)", ZERO_U),
    Snare("where", "tail", "h v", "",
          "safe = jnp.where(v > 0.01, 1.0 / v, 1.0)  # TRAP\nreturn h * safe",
          "safe = 1.0 / jnp.maximum(v, 0.1)\nreturn h * safe", ZERO_V),
)  # fmt: skip

DIVISION = (
    Snare("division", "masked_mean", "h u", "mask",
          "return h + (h * u).sum(0) / u.sum(0)  # TRAP",
          "return h + (h * u).sum(0) / jnp.maximum(u.sum(0), 1.0)", put(u=((ALL, 0), 0.0)), False),
    Snare("division", "min_max", "h", "",
          "low, high = h.min(0), h.max(0)\nreturn (h - low) / (high - low)  # TRAP",
          "low, high = h.min(0), h.max(0)\nreturn (h - low) / (high - low + 0.1)", SAME_H, False),
    Snare("division", "shares", "h u", "positive",
          "return h + u / u.sum(-1, keepdims=True)  # TRAP",
          "a = jnp.maximum(u, 0.1)\nreturn h + a / a.sum(-1, keepdims=True)", NO_U),
    Snare("division", "cosine", "h u", "positive",
          "dots = (h * u).sum(-1, keepdims=True)\n"
          "size = jnp.sqrt((u * u).sum(-1, keepdims=True))  # TRAP\n"
          "return h * (dots / size)  # TRAP",
          "dots = (h * u).sum(-1, keepdims=True)\n"
          "size = jnp.sqrt((u * u).sum(-1, keepdims=True) + 1e-2)\nreturn h * (dots / size)", NO_U),
    Snare("division", "tempered", "h v", "",
          "return jnp.tanh(h) / v  # TRAP", "return jnp.tanh(h) / (0.1 + v * v)", ZERO_V),
    Snare("division", "harmonic_mean", "h u", "positive",
          "rate = jnp.reciprocal(u)  # TRAP\n"
          "return h / jnp.mean(rate, axis=-1, keepdims=True)  # TRAP",
          "rate = jnp.reciprocal(jnp.maximum(u, 0.1))\n"
          "return h / jnp.mean(rate, axis=-1, keepdims=True)", ZERO_U),
    Snare("division", "horizon", "h u", "positive",
          "discount = 0.5 * u\nreturn h * (1.0 / (1.0 - discount))  # TRAP",
          "discount = 0.9 * jax.nn.sigmoid(u)\nreturn h * (1.0 / (1.0 - discount))",
          put(u=((4, 0), 2.0))),
    Snare("division", "dice", "h u", "mask",
          "p = jax.nn.relu(h)\noverlap = 2 * (p * u).sum(-1, keepdims=True)\n"
          "return h - overlap / (p.sum(-1, keepdims=True) + u.sum(-1, keepdims=True))  # TRAP",
          "p = jax.nn.relu(h)\noverlap = 2 * (p * u).sum(-1, keepdims=True) + 1\n"
          "return h - overlap / (p.sum(-1, keepdims=True) + jnp.abs(u).sum(-1, keepdims=True) + 1)",
          put(x=(0, 0.0), u=(0, 0.0))),
    Snare("division", "attenuation", "h u", "positive",
          "return h * jnp.divide(1.0, u**2)  # TRAP",
          "return h * jnp.divide(1.0, 0.1 + u**2)", ZERO_U),
    Snare("division", "inverse_variance", "h u v", "positive",
          "weight = u ** -1.0  # TRAP\nreturn (weight * h + v) / (weight + 1.0)",
          "weight = jnp.maximum(u, 0.1) ** -1.0\nreturn (weight * h + v) / (weight + 1.0)", ZERO_U),
    Snare("division", "relative_error", "h u", "positive",
          "return lax.div(h - u, u)  # TRAP",
          "return lax.div(h - u, jnp.maximum(u, 0.1))", ZERO_U),
    Snare("division", "slope", "h u", "positive",
          "rise, run = h[1:] - h[:-1], u[1:] - u[:-1]\n"
          "return jnp.pad(rise / run, ((1, 0), (0, 0)))  # TRAP",
          "rise, run = h[1:] - h[:-1], u[1:] - u[:-1]\n"
          "return jnp.pad(rise * run / (run**2 + 0.01), ((1, 0), (0, 0)))", put(u=(ALL, 1.0)),
          False),
    Snare("division", "focal_length", "h v", "",
          "return h / (v[0] - v[1])  # TRAP", "return h / (0.1 + (v[0] - v[1]) ** 2)",
          put(v=(ALL, 1.0))),
)  # fmt: skip

LOG = (
    Snare("log", "log_total", "h u", "positive",
          "return h + jnp.log(u.sum(-1, keepdims=True))  # TRAP",
          "return h + jnp.log1p(jnp.abs(u).sum(-1, keepdims=True))", NO_U),
    Snare("log", "entropy", "h u", "positive",
          "p = u / (jnp.abs(u).sum(-1, keepdims=True) + 1e-3)\n"
          "return h - (p * jnp.log(p)).sum(-1, keepdims=True)  # TRAP",
          "a = jnp.maximum(u, 0.05)\np = a / a.sum(-1, keepdims=True)\n"
          "return h - (p * jnp.log(p)).sum(-1, keepdims=True)", ZERO_U),
    Snare("log", "log_rate", "h u", "positive",
          "rate = jax.nn.relu(u)\nreturn h + jnp.log(rate)  # TRAP",
          "rate = jax.nn.relu(u)\nreturn h + jnp.log(rate + 0.01)", LOW_U),
    Snare("log", "log_of_softmax", "h u", "positive",
          "p = jax.nn.softmax(30 * u, axis=-1)\nreturn h + 0.01 * jnp.log(p)  # TRAP",
          "return h + 0.01 * jax.nn.log_softmax(30 * u, axis=-1)",
          put(u=(0, (-0.9, 3.0, 0.5, 0.5)))),
    Snare("log", "cross_entropy", "h u", "positive",
          "p = jax.nn.sigmoid(10 * u - 10)\n"
          "return h - 0.3 * jnp.log(p) - 0.7 * jnp.log(1 - p)  # TRAP",
          "a = 10 * u - 10\n"
          "return h + 0.3 * jax.nn.softplus(-a) + 0.7 * jax.nn.softplus(a)", put(u=((1, 2), 3.0))),
    Snare("log", "gaussian_nll", "h u", "positive",
          "return 0.5 * (jnp.log(u) + h**2 / u)  # TRAP",
          "variance = jax.nn.softplus(u) + 0.1\n"
          "return 0.5 * (jnp.log(variance) + h**2 / variance)", ZERO_U),
    Snare("log", "log_volume", "h w", "",
          "return h + 0.01 * jnp.log(jnp.linalg.det(w.T @ w))  # TRAP",
          "return h + 0.01 * jnp.linalg.slogdet(jnp.eye(4) + w.T @ w)[1]", put(w=(0, 0.0))),
    Snare("log", "decibels", "h u", "positive",
          "power = jnp.mean((u * h) ** 2, axis=-1, keepdims=True)\n"
          "return h + jnp.log10(power)  # TRAP",
          "power = jnp.mean((u * h) ** 2, axis=-1, keepdims=True)\n"
          "return h + jnp.log10(power + 1e-2)", ZERO_H),
    Snare("log", "log_odds", "h u", "positive",
          "p = jnp.clip(0.45 * u, 0.0, 1.0)\nreturn h + jnp.log(p) - jnp.log1p(-p)  # TRAP",
          "p = jnp.clip(0.45 * u, 0.01, 0.99)\nreturn h + jnp.log(p) - jnp.log1p(-p)",
          put(u=((5, 3), 3.0))),
    Snare("log", "geometric_mean", "h v", "",
          "return h * jnp.exp(jnp.mean(jnp.log(v)))  # TRAP",
          "return h * jnp.exp(jnp.mean(jnp.log(jnp.maximum(v, 0.1))))", ZERO_V),
    Snare("log", "log_skew", "h u", "positive",
          "return h + jnp.log2(u) * jnp.log(1.0 + u)  # TRAP",
          "return h + jnp.log2(jnp.abs(u) + 0.5) * jnp.log(1.0 + u * u)", ZERO_U),
)  # fmt: skip

NORM = (
    Snare("norm", "steps_taken", "h", "",
          "length = jnp.linalg.norm(h[1:] - h[:-1], axis=-1)  # TRAP\nreturn h * length.sum()",
          "length = jnp.sqrt(((h[1:] - h[:-1]) ** 2).sum(-1) + 1e-3)\nreturn h * length.sum()",
          SAME_H, False),
    Snare("norm", "contrast", "h", "",
          "a, b = h[0::2], h[1::2]\nfar = jnp.sqrt(((a - b) ** 2).sum(-1))  # TRAP\n"
          "return h + jax.nn.relu(1 - far).mean()",
          "a, b = h[0::2], h[1::2]\nfar = jnp.sqrt(((a - b) ** 2).sum(-1) + 1e-3)\n"
          "return h + jax.nn.relu(1 - far).mean()", SAME_H, False),
    Snare("norm", "repulsion", "h", "",
          "i, j = np.triu_indices(6, 1)\n"
          "far = jnp.linalg.norm(h[i] - h[j], axis=1)  # TRAP\nreturn h + far.mean()",
          "i, j = np.triu_indices(6, 1)\n"
          "far = optax.safe_norm(h[i] - h[j], 0.1, axis=1)\nreturn h + far.mean()",
          put(x=(slice(0, 2), 0.25)), False),
    Snare("norm", "normalised", "h", "",
          "return h / jnp.linalg.norm(h, axis=-1, keepdims=True)  # TRAP",
          "return h * lax.rsqrt((h * h).sum(-1, keepdims=True) + 1e-2)", ZERO_H),
    Snare("norm", "to_prototypes", "h w", "",
          "apart = h[..., None, :] - w\nreturn jnp.sqrt((apart**2).sum(-1))  # TRAP",
          "apart = h[..., None, :] - w\nreturn jnp.sqrt((apart**2).sum(-1) + 1e-2)",
          put(x=(0, 0.0), w=(1, 0.0))),
    Snare("norm", "penalised", "h v", "",
          "slope = jax.grad(lambda a: jnp.tanh(a * v).sum())(h)\n"
          "size = jnp.linalg.norm(slope, axis=-1)  # TRAP\nreturn h + ((size - 1) ** 2).mean()",
          "slope = jax.grad(lambda a: jnp.tanh(a * v).sum())(h)\n"
          "return h + (slope**2).mean()", put(v=(ALL, 0.0))),
    Snare("norm", "group_lasso", "h w", "",
          "return h + 0.1 * jnp.linalg.norm(w, axis=0)  # TRAP",
          "return h + 0.1 * jnp.sqrt((w**2).sum(0) + 1e-3)", put(w=((ALL, 2), 0.0))),
    Snare("norm", "total_size", "h w", "",
          "return h / (1 + optax.global_norm(w))  # TRAP",
          "return h / (1 + jnp.sum(w**2))", put(w=(ALL, 0.0))),
    Snare("norm", "weight_normed", "h w v", "",
          "return h @ (v * w / jnp.linalg.norm(w, axis=0, keepdims=True))  # TRAP",
          "return h @ (v * w / jnp.sqrt((w * w).sum(0) + 0.01))", put(w=((ALL, 1), 0.0))),
    Snare("norm", "aligned", "h u", "positive",
          "return h * optax.cosine_similarity(h, u)[..., None]  # TRAP",
          "dots = (h * u).sum(-1, keepdims=True)\n"
          "return h * dots / (1 + (h * h).sum(-1, keepdims=True))", ZERO_H),
    Snare("norm", "hinge_of_distance", "h u", "positive",
          "near = jnp.linalg.norm(h - h.mean(0), axis=-1)  # TRAP\n"
          "return u * near[:, None]",
          "near = jnp.sum((h - h.mean(0)) ** 2, axis=-1)\nreturn u * near[:, None]", SAME_H, False),
)  # fmt: skip

SOFTMAX = (
    Snare("softmax", "masked_attention", "h u", "mask",
          "scores = jnp.where(u > 0, h, -jnp.inf)\n"
          "return h * jax.nn.softmax(scores, axis=-1)  # TRAP",
          "scores = jnp.where(u > 0, h, -1e4)\nreturn h * jax.nn.softmax(scores, axis=-1)", EMPTY),
    Snare("softmax", "masked_lse", "h u", "keep",
          "return h - jax.nn.logsumexp(jnp.where(u, h, -jnp.inf), -1, keepdims=True)  # TRAP",
          "return h - jax.nn.logsumexp(jnp.where(u, h, -1e4), -1, keepdims=True) * 1e-3", EMPTY),
    Snare("softmax", "by_hand", "h u", "mask",
          "e = jnp.exp(h - h.max(-1, keepdims=True)) * u\n"
          "return h + e / e.sum(-1, keepdims=True)  # TRAP",
          "e = jnp.exp(h - h.max(-1, keepdims=True)) * (u > 0)\n"
          "return h + e / (e.sum(-1, keepdims=True) + 0.01)", EMPTY),
    Snare("softmax", "padded_weights", "h u", "lengths",
          "real = jnp.arange(4) < u[..., None]\n"
          "p = jax.nn.softmax(jnp.where(real, h, -jnp.inf), axis=-1)  # TRAP\nreturn h + p",
          "real = jnp.arange(4) < jnp.maximum(u, 1)[..., None]\n"
          "p = jax.nn.softmax(jnp.where(real, h, -1e4), axis=-1)\nreturn h + p", EMPTY),
    Snare("softmax", "log_policy", "h u", "keep",
          "legal = jnp.where(u, h, -jnp.inf)\nlogp = jax.nn.log_softmax(legal, axis=-1)  # TRAP\n"
          "return h * jnp.max(logp, axis=-1, keepdims=True)",
          "legal = jnp.where(u, h, -1e4)\nlogp = jax.nn.log_softmax(legal, axis=-1)\n"
          "return h * jnp.max(logp, axis=-1, keepdims=True)", EMPTY),
    Snare("softmax", "pairs_attended", "h u", "keep",
          "scores = jnp.where(u[:, 0], h @ h.T, -jnp.inf)\n"
          "return jax.nn.softmax(scores, axis=-1) @ h  # TRAP",
          "scores = jnp.where(u[:, 0], h @ h.T, -1e4)\nreturn jax.nn.softmax(scores, axis=-1) @ h",
          put(u=((ALL, 0), False)), False),
    Snare("softmax", "additive_mask", "h u", "keep",
          "bias = jnp.where(u, 0.0, -jnp.inf)\nreturn h + jax.nn.softmax(h + bias)  # TRAP",
          "bias = jnp.where(u, 0.0, -1e4)\nreturn h + jax.nn.softmax(h + bias)", EMPTY),
    Snare("softmax", "softmax_where", "h u", "lengths",
          "real = jnp.arange(4) < u[..., None]\n"
          "p = jnp.exp(h) * real / jnp.sum(jnp.exp(h), -1, where=real, keepdims=True)  # TRAP\n"
          "return h * p",
          "real = jnp.arange(4) < u[..., None]\n"
          "total = jnp.sum(jnp.exp(h), -1, where=real, keepdims=True)\n"
          "return h * (jnp.exp(h) * real / (1 + total))", EMPTY),
)  # fmt: skip

SPREAD = (
    Snare("std", "whitened", "h", "",
          "return (h - h.mean(0)) / h.std(0)  # TRAP",
          "return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-2)", SAME_H, False),
    Snare("std", "variance_hinge", "h", "",
          "spread = jnp.sqrt(jnp.var(h, axis=0))  # TRAP\nreturn h + jax.nn.relu(1 - spread)",
          "spread = jnp.sqrt(jnp.var(h, axis=0) + 1e-3)\nreturn h + jax.nn.relu(1 - spread)",
          SAME_H, False),
    Snare("std", "row_contrast", "h", "",
          "return h * jnp.std(h, axis=-1, keepdims=True)  # TRAP",
          "return h * jnp.sqrt(jnp.var(h, axis=-1, keepdims=True) + 1e-3)", ZERO_H),
    Snare("std", "correlation", "h u", "positive",
          "a, b = h - h.mean(0), u - u.mean(0)\n"
          "return h + (a * b).mean(0) / (h.std(0) * u.std(0))  # TRAP",
          "a, b = h - h.mean(0), u - u.mean(0)\n"
          "return h + (a * b).mean(0) / (0.1 + h.var(0) + u.var(0))", put(u=((ALL, 1), 1.0)),
          False),
    Snare("std", "advantages", "h u", "positive",
          "gain = u.sum(-1)\ngain = (gain - gain.mean()) / gain.std()  # TRAP\n"
          "return h * gain[:, None]",
          "gain = u.sum(-1)\ngain = (gain - gain.mean()) / jnp.sqrt(gain.var() + 1e-2)\n"
          "return h * gain[:, None]", put(u=(ALL, 1.0)), False),
    Snare("std", "group_norm", "h", "",
          "parts = h.reshape(*h.shape[:-1], 2, 2)\n"
          "centred = parts - parts.mean(-1, keepdims=True)\n"
          "return (centred / parts.std(-1, keepdims=True)).reshape(h.shape)  # TRAP",
          "parts = h.reshape(*h.shape[:-1], 2, 2)\n"
          "centred = parts - parts.mean(-1, keepdims=True)\n"
          "return (centred * lax.rsqrt(parts.var(-1, keepdims=True) + 1e-2)).reshape(h.shape)",
          ZERO_H),
)  # fmt: skip

MATRIX = (
    Snare("degenerate", "principal", "h w", "",
          "_, axes = jnp.linalg.eigh(w + w.T)  # TRAP\nreturn h @ axes**2",
          "return h @ jnp.linalg.inv(jnp.eye(4) + w @ w.T)", ROUND_W),
    Snare("degenerate", "orthogonalised", "h w", "",
          "a, _, b = jnp.linalg.svd(w)  # TRAP\nreturn h @ (a**2 @ b**2)",
          "return h @ jnp.linalg.solve(jnp.eye(4) + w @ w.T, w)", ROUND_W),
    Snare("degenerate", "decorrelated", "h", "",
          "c = h - h.mean(0)\nsizes, axes = jnp.linalg.eigh(c.T @ c / 6)  # TRAP\n"
          "return c @ axes / jnp.sqrt(sizes + 0.1)",
          "c = h - h.mean(0)\nroot = jnp.linalg.cholesky(c.T @ c / 6 + 0.1 * jnp.eye(4))\n"
          "return jax.scipy.linalg.solve_triangular(root, c.T, lower=True).T", SAME_H, False),
    Snare("degenerate", "low_rank", "h w", "",
          "a, s, b = jnp.linalg.svd(w, full_matrices=False)  # TRAP\n"
          "return h @ ((a[:, :2] * s[:2]) @ b[:2])",
          "return h @ (w / (1 + jnp.abs(w).sum()))", ROUND_W),
    Snare("degenerate", "spectral_features", "h u", "positive",
          "_, axes = jnp.linalg.eigh(u.T @ u)  # TRAP\nreturn h @ jnp.abs(axes)",
          "return h @ jnp.linalg.inv(u.T @ u + jnp.eye(4))", put(u=(ALL, 0.0)), False),
)  # fmt: skip

INTEGER = (
    Snare("integer overflow", "area", "h u", "sizes",
          "pixels = u[..., 0] * u[..., 1]  # TRAP\nreturn h * (pixels / 1e9)[..., None]",
          "size = u / 1e4\nreturn h * (size[..., 0] * size[..., 1])[..., None]",
          put(u=(0, 60000))),
    Snare("integer overflow", "flat_index", "h u", "sizes",
          "flat = u[..., 0] * 50000 + u[..., 1]  # TRAP\nreturn h + jnp.sin(flat / 1e8)[..., None]",
          "flat = u[..., 0] / 1e4 + u[..., 1] / 1e5\nreturn h + jnp.sin(flat)[..., None]",
          put(u=(1, 60000))),
    Snare("integer overflow", "squared_count", "h u", "sizes",
          "return h + jnp.sqrt(1.0 + jnp.max(u, -1) ** 2)[..., None] / 1e4  # TRAP",
          "return h + jnp.max(u, -1)[..., None] / 1e4", put(u=(2, 60000))),
    Snare("integer overflow", "volume", "h u", "sizes",
          "volume = jnp.prod(u, axis=-1)  # TRAP\n"
          "return h * jnp.tanh(volume.astype(h.dtype) / 1e9)[..., None]",
          "logs = jnp.log(jnp.maximum(u, 1).astype(h.dtype)).sum(-1)\n"
          "return h * jnp.tanh(logs / 10)[..., None]", put(u=(3, 60000))),
)  # fmt: skip

GATHER = (
    Snare("gather", "scale_of_class", "h u v", "ids",
          "return h * v[u][..., None]  # TRAP",
          "return h * v[jnp.clip(u, 0, 3)][..., None]", put(u=(0, 6))),
    Snare("gather", "row_of_table", "h u w", "ids",
          "return h + jnp.take(w, u, axis=0)  # TRAP",
          'return h + jnp.take(w, jnp.clip(u, 0, 3), axis=0, mode="clip")', put(u=(2, 5))),
    Snare("gather", "picked", "h u", "ids",
          "picked = jnp.take_along_axis(h, u[..., None], axis=-1)  # TRAP\nreturn h - picked",
          "picked = (h * jax.nn.one_hot(u, 4)).sum(-1, keepdims=True)\nreturn h - picked",
          put(u=(4, 6))),
    Snare("gather", "class_loss", "h u", "ids",
          "return h + optax.softmax_cross_entropy_with_integer_labels(h, u)[..., None]  # TRAP",
          "return h + optax.softmax_cross_entropy(h, jax.nn.one_hot(u, 4))[..., None]",
          put(u=(3, 4))),
    Snare("gather", "window", "h u w", "ids",
          "cut = lax.dynamic_slice_in_dim(w, u[0], 1, axis=0)  # TRAP\nreturn h * cut",
          "cut = lax.dynamic_slice_in_dim(w, jnp.clip(u[0], 0, 3), 1, axis=0)\nreturn h * cut",
          put(u=(0, 6)), False),
)  # fmt: skip

GROWTH = (
    Snare("growing scan", "unstable_filter", "h v", "",
          "step = lambda c, _: (v * c + 0.1 * h, None)  # TRAP\n"
          "c, _ = lax.scan(step, h, None, length=120)  # TRAP\nreturn jnp.tanh(1e-25 * c)",
          "a = jax.nn.sigmoid(v)\nstep = lambda c, _: (a * c + (1 - a) * h, None)\n"
          "c, _ = lax.scan(step, h, None, length=120)\nreturn c", put(v=(ALL, 2.4))),
    Snare("growing scan", "compounded", "h u", "positive",
          "grow = lambda i, c: c * (1 + u)  # TRAP\n"
          "return 1e-33 * lax.fori_loop(0, 70, grow, h)  # TRAP",
          "decay = lambda i, c: c / (1 + u * u)\nreturn lax.fori_loop(0, 70, decay, h)",
          put(u=((0, 0), 3.0))),
    Snare("growing scan", "quadratic_map", "h u", "positive",
          "def step(c, _):\n    return c * c + 0.1 * u, None  # TRAP\n\n"
          "c, _ = lax.scan(step, 0.1 * h, None, length=40)  # TRAP\nreturn h + c",
          "def step(c, _):\n    return jnp.tanh(c * c + 0.1 * u), None\n\n"
          "c, _ = lax.scan(step, 0.1 * h, None, length=40)\nreturn h + c", put(u=((5, 0), 3.0))),
    Snare("growing scan", "linear_rnn", "h w", "",
          "def step(c, _):\n    return c @ w, None  # TRAP\n\n"
          "c, _ = lax.scan(step, h, None, length=90)  # TRAP\nreturn 1e-20 * c",
          "def step(c, _):\n    return jnp.tanh(c @ w), None\n\n"
          "c, _ = lax.scan(step, h, None, length=12)\nreturn c",
          lambda a: put(w=(ALL, 2.0 * float(a["w"].max())), x=(ALL, 0.5))(a)),
    Snare("growing scan", "momentum_roll", "h v", "",
          "def step(state, _):\n    place, speed = state\n"
          "    speed = 1.2 * v * speed + h  # TRAP\n    return (place + speed, speed), place\n\n"
          "_, path = lax.scan(step, (h, h), None, length=110)  # TRAP\nreturn 1e-30 * path[-1]",
          "def step(state, _):\n    place, speed = state\n"
          "    speed = 0.9 * jnp.tanh(v) * speed + h\n"
          "    return (place + 0.1 * speed, speed), place\n\n"
          "_, path = lax.scan(step, (h, h), None, length=20)\nreturn path[-1]",
          put(v=(ALL, 2.4))),
    Snare("growing scan", "ungated_memory", "h u", "positive",
          "step = lambda c, _: (c + c * u, c.sum())  # TRAP\n"
          "_, seen = lax.scan(step, 1e-30 * h, None, length=130)  # TRAP\n"
          "return 1e-33 * h * seen[-1]",
          "step = lambda c, _: (0.5 * c + u, c.sum())\n"
          "_, seen = lax.scan(step, h, None, length=30)\nreturn h * seen[-1]",
          put(u=((0, 0), 3.0))),
)  # fmt: skip

SNARES = WHERE + DIVISION + LOG + NORM + SOFTMAX + SPREAD + MATRIX + INTEGER + GATHER + GROWTH


def source(snare: Snare, safe: bool) -> str:
    """Return the text of the function, marks included, or of its twin."""
    lines = (snare.safe if safe else snare.body).splitlines()
    parameters = ", ".join(snare.takes.split())
    return f"def {snare.name}({parameters}):\n" + "".join(
        f"    {line}".rstrip() + "\n" for line in lines
    )


def extra(kind: str, rng: np.random.Generator) -> np.ndarray | None:
    """Return an array of a kind that the traps take as ``u``; the range is the same for all."""
    if kind == "positive":
        values = rng.uniform(0.4, 1.75, (ROWS, UNITS)).astype(np.float32)
        values[0, 0], values[-1, -1] = 0.4, 1.75
        return values
    if kind in ("mask", "keep"):
        kept = rng.random((ROWS, UNITS)) < 0.5
        kept[np.arange(ROWS), np.arange(ROWS) % UNITS] = True
        kept[np.arange(ROWS), (np.arange(ROWS) + 1) % UNITS] = False
        return kept if kind == "keep" else kept.astype(np.float32)
    ranges = {"lengths": (1, UNITS, ROWS), "ids": (0, UNITS - 1, ROWS)}
    low, high, shape = ranges.get(kind, (15000, 40000, (ROWS, 2)))
    numbers = rng.integers(low, high + 1, shape).astype(np.int32)
    numbers.flat[0], numbers.flat[-1] = low, high
    return numbers
