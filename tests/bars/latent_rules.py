"""Hand-written gradient rules, right ones, and what people get wrong in them.

A kernel is a function with a rule that is right. A fault is a replacement of a few characters of
it, on one line, that makes the rule wrong and leaves the function as it is.
"""

from typing import NamedTuple

MARK = "  # WRONG"


class Fault(NamedTuple):
    """A mistake in a rule.

    Attributes:
      kind: what sort of mistake it is.
      old, new: the characters that are replaced, found once in the kernel's source, and by what.
      factor: by what a factor multiplies the gradient of at least one argument.
    """

    kind: str
    old: str
    new: str
    factor: float | None = None


class Kernel(NamedTuple):
    """A function with a rule.

    Attributes:
      name: of the function.
      takes: what the program calls it with: ``h``, ``v``, ``w``, or ``out`` for one that is a loss.
      params: its parameters.
      body: its lines, which make ``out``.
      rule: lines of the backward pass for the cotangent ``g``, ending in a ``return``; or, if
        ``kept`` is empty, lines of the forward rule that make ``dout`` of tangents such as ``dx``.
      kept: what the forward pass keeps, of the parameters and ``out``.
      faults: what can be wrong in it.
      wrap: an ordinary function that calls it, and that the program calls instead.
      static: the last of its parameters, if that is a Python number.
      rows: whether it can be called on one row of ``h``.
    """

    name: str
    takes: str
    params: str
    body: str
    rule: str
    kept: str
    faults: tuple[Fault, ...] = ()
    wrap: str = ""
    static: str = ""
    rows: bool = True

    @property
    def entry(self) -> str:
        """The name of the function that the program calls."""
        return self.wrap.removeprefix("def ").partition("(")[0] or self.name


KERNELS = (
    Kernel(
        "swish", "h v", "x, beta",
        "out = x * jax.nn.sigmoid(beta * x)",
        "s = jax.nn.sigmoid(beta * x)\n"
        "slope = s * (1 - s)\n"
        "dbeta = g * x * x * slope\n"
        "return g * (s + beta * x * slope), dbeta.reshape(-1, *beta.shape).sum(0)",
        "x, beta",
        (
            Fault("missing term", "g * (s + beta * x * slope)", "g * s"),
            Fault("missing term", "beta * x * slope)", "x * slope)"),
            Fault("ignored argument", "dbeta.reshape(-1, *beta.shape).sum(0)", "beta * 0"),
            Fault("wrong residual", "return out, (x, beta)", "return out, (out, beta)"),
            Fault("factor", "g * x * x", "2 * g * x * x", 2.0),
        ),
    ),
    Kernel(
        "rms_norm", "h v", "x, scale",
        "out = scale * x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-2)",
        "r = lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-2)\n"
        "y = x * r\n"
        "gs = g * scale\n"
        "dx = r * (gs - y * jnp.mean(gs * y, -1, keepdims=True))\n"
        "return dx, (g * y).reshape(-1, *scale.shape).sum(0)",
        "x, scale",
        (
            Fault("missing term", "r * (gs - y * jnp.mean(gs * y, -1, keepdims=True))", "r * gs"),
            Fault("sign", "gs - y * jnp.mean", "gs + y * jnp.mean"),
            Fault("missing term", "gs = g * scale", "gs = g"),
            Fault("wrong residual", "return out, (x, scale)", "return out, (out, scale)"),
            Fault("ignored argument", "(g * y).reshape(-1, *scale.shape).sum(0)",
                  "jnp.zeros_like(scale)"),
        ),
    ),
    Kernel(
        "standardise", "h", "x",
        "c = x - x.mean(-1, keepdims=True)\n"
        "out = c * lax.rsqrt(jnp.mean(c * c, -1, keepdims=True) + 0.05)",
        "c = x - x.mean(-1, keepdims=True)\n"
        "r = lax.rsqrt(jnp.mean(c * c, -1, keepdims=True) + 0.05)\n"
        "y = c * r\n"
        "dy = g - g.mean(-1, keepdims=True)\n"
        "return (r * (dy - y * jnp.mean(g * y, -1, keepdims=True)),)",
        "x,",
        (
            Fault("missing term", "dy - y * jnp.mean(g * y, -1, keepdims=True)", "dy"),
            Fault("missing term", "dy = g - g.mean(-1, keepdims=True)", "dy = g"),
            Fault("factor", "(r * (dy", "(1.1 * r * (dy", 1.1),
        ),
    ),
    Kernel(
        "attend", "h", "x",
        "e = jnp.exp(x - x.max(-1, keepdims=True))\n"
        "out = e / e.sum(-1, keepdims=True)",
        "return (out * (g - (g * out).sum(-1, keepdims=True)),)",
        "out,",
        (
            Fault("missing term", "(out * (g - (g * out).sum(-1, keepdims=True)),)", "(out * g,)"),
            Fault("sign", "g - (g * out)", "g + (g * out)"),
            Fault("wrong residual", "return out, (out,)", "return out, (x,)"),
            Fault("missing term", "(g * out).sum(", "g.sum("),
        ),
    ),
    Kernel(
        "lse", "h", "x",
        "top = x.max(-1, keepdims=True)\n"
        "out = jnp.log(jnp.exp(x - top).sum(-1)) + top[..., 0]",
        "return (g[..., None] * jnp.exp(x - out[..., None]),)",
        "x, out",
        (
            Fault("factor", "(g[..., None] *", "(1.1 * g[..., None] *", 1.1),
            Fault("sign", "(g[..., None] *", "(-g[..., None] *"),
            Fault("wrong residual", "return out, (x, out)", "return out, (x, x.max(-1))"),
        ),
        "def log_probs(x):\n    return x - lse(x)[..., None]\n",
    ),
    Kernel(
        "dense", "h w", "x, kernel",
        "out = x @ kernel",
        "return g @ kernel.T, x.T @ g",
        "x, kernel",
        (
            Fault("transposed", "g @ kernel.T", "g @ kernel"),
            Fault("transposed", "x.T @ g", "g.T @ x"),
            Fault("factor", "x.T @ g", "x.T @ g / x.shape[0]", 1 / 6),
            Fault("factor", "g @ kernel.T", "0.5 * g @ kernel.T", 0.5),
            Fault("ignored argument", "x.T @ g", "jnp.zeros_like(kernel)"),
            Fault("wrong residual", "return out, (x, kernel)", "return out, (out, kernel)"),
        ),
        rows=False,
    ),
    Kernel(
        "energy", "h w", "x, A",
        'out = jnp.einsum("...i,ij,...j->...", x, A, x)',
        "g = g[..., None]\n"
        "dx = g * (x @ A + x @ A.T)\n"
        'return dx, jnp.einsum("...i,...j->ij", g * x, x)',
        "x, A",
        (
            Fault("missing term", "x @ A + x @ A.T", "x @ A.T"),
            Fault("factor", "g * x, x)", "2 * g * x, x)", 2.0),
            Fault("missing term", "x @ A + x @ A.T", "2 * x @ A"),
        ),
        "def gate_by_energy(x, A):\n    return x * jnp.tanh(energy(x, A))[..., None]\n",
    ),
    Kernel(
        "unit", "h", "x",
        "out = x * lax.rsqrt((x * x).sum(-1, keepdims=True) + 0.1)",
        "r = lax.rsqrt((x * x).sum(-1, keepdims=True) + 0.1)\n"
        "y = x * r\n"
        "return (r * (g - y * (g * y).sum(-1, keepdims=True)),)",
        "x,",
        (
            Fault("missing term", "g - y * (g * y).sum(-1, keepdims=True)", "g"),
            Fault("missing term", "(r * (g - y", "((g - y"),
            Fault("wrong residual", "return out, (x,)", "return out, (out,)"),
        ),
    ),
    Kernel(
        "gelu", "h", "x",
        "out = 0.5 * x * (1 + jnp.tanh(0.79788456 * (x + 0.044715 * x**3)))",
        "t = jnp.tanh(0.79788456 * (x + 0.044715 * x**3))\n"
        "inner = 0.79788456 * (1 + 3 * 0.044715 * x**2)\n"
        "dout = (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner) * dx",
        "",
        (
            Fault("missing term", "(1 - t**2) * inner", "(1 - t**2)"),
            Fault("missing term", "0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner", "0.5 * (1 + t)"),
            Fault("sign", "(1 - t**2)", "(1 + t**2)"),
        ),
    ),
    Kernel(
        "soft_plus", "h", "x",
        "out = jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))",
        "dout = jax.nn.sigmoid(x) * dx",
        "",
        (
            Fault("sign", "jax.nn.sigmoid(x)", "jax.nn.sigmoid(-x)"),
            Fault("factor", "jax.nn.sigmoid(x) *", "1.1 * jax.nn.sigmoid(x) *", 1.1),
            Fault("wrong residual", "jax.nn.sigmoid(x)", "jax.nn.sigmoid(out)"),
        ),
    ),
    Kernel(
        "smooth_abs", "h", "x",
        "out = jnp.sqrt(x * x + 0.3)",
        "dout = x / out * dx",
        "",
        (
            Fault("factor", "x / out", "2 * x / out", 2.0),
            Fault("wrong residual", "x / out", "x / (out * out)"),
            Fault("sign", "x / out", "-x / out"),
        ),
    ),
    Kernel(
        "gated", "h v", "a, b",
        "out = a * jax.nn.sigmoid(b)",
        "s = jax.nn.sigmoid(b)\n"
        "dout = da * s + a * s * (1 - s) * db",
        "",
        (
            Fault("missing term", "da * s + a * s * (1 - s) * db", "da * s"),
            Fault("wrong argument", "s * (1 - s) * db", "s * (1 - s) * da"),
            Fault("missing term", "a * s * (1 - s) * db", "a * s * db"),
        ),
    ),
    Kernel(
        "radius", "h v", "a, b",
        "out = jnp.sqrt(a**2 + b**2 + 0.1)",
        "dout = (a * da + b * db) / out",
        "",
        (
            Fault("wrong argument", "a * da + b * db", "a * db + b * da"),
            Fault("factor", "(a * da + b * db)", "0.5 * (a * da + b * db)", 0.5),
            Fault("ignored argument", "a * da + b * db", "a * da + 0 * db"),
        ),
    ),
    Kernel(
        "power", "h v", "x, p",
        "out = (jnp.abs(x) + 0.2) ** p",
        "base = jnp.abs(x) + 0.2\n"
        "dout = p * base ** (p - 1) * jnp.sign(x) * dx + out * jnp.log(base) * dp",
        "",
        (
            Fault("missing term", " + out * jnp.log(base) * dp", " + 0 * dp"),
            Fault("missing term", "p * base ** (p - 1)", "base ** (p - 1)"),
            Fault("off by one step", "base ** (p - 1)", "base**p"),
            Fault("missing term", "jnp.sign(x) * dx", "dx"),
        ),
    ),
    Kernel(
        "squash", "h", "x",
        "out = jnp.tanh(x)",
        "return (g * (1 - out**2),)",
        "out,",
        (
            Fault("wrong residual", "return out, (out,)", "return out, (x,)"),
            Fault("factor", "1 - out**2", "1.1 - 1.1 * out**2", 1.1),
            Fault("missing term", "out**2", "out"),
        ),
    ),
    Kernel(
        "logistic", "h", "x",
        "out = 1 / (1 + jnp.exp(-x))",
        "return (g * out * (1 - out),)",
        "out,",
        (
            Fault("wrong residual", "return out, (out,)", "return out, (x,)"),
            Fault("sign", "(1 - out)", "(out - 1)"),
            Fault("missing term", "g * out * (1 - out)", "g * (1 - out)"),
        ),
    ),
    Kernel(
        "dropped", "h", "x",
        "out = x * KEEP / 0.8",
        "return (g * KEEP / 0.8,)",
        "x,",
        (
            Fault("factor", "(g * KEEP / 0.8,)", "(g * KEEP,)", 0.8),
            Fault("missing term", "(g * KEEP / 0.8,)", "(g / 0.8,)"),
        ),
    ),
    Kernel(
        "leaky", "h", "x",
        "out = jnp.where(x > 0, x, 0.2 * x)",
        "return (jnp.where(x > 0, g, 0.2 * g),)",
        "x,",
        (
            Fault("wrong argument", "jnp.where(x > 0, g", "jnp.where(g > 0, g"),
            Fault("sign", "jnp.where(x > 0, g", "jnp.where(x < 0, g"),
            Fault("missing term", "g, 0.2 * g)", "g, 0)"),
        ),
    ),
    Kernel(
        "softcap", "h", "x, cap",
        "out = cap * jnp.tanh(x / cap)",
        "return (g * (1 - (out / cap) ** 2),)",
        "out,",
        (
            Fault("factor", "(g * (1", "(g / cap * (1", 0.5),
            Fault("missing term", "(out / cap) ** 2", "out**2"),
            Fault("wrong residual", "return out, (out,)", "return out, (x,)"),
        ),
        "def capped(x):\n    return softcap(2 * x, 2.0)\n",
        static="cap",
    ),
    Kernel(
        "divergence", "h v", "mu, logvar",
        "out = 0.5 * (mu**2 + jnp.exp(logvar) - logvar - 1)",
        "dlogvar = 0.5 * g * (jnp.exp(logvar) - 1)\n"
        "return g * mu, dlogvar.reshape(-1, *logvar.shape).sum(0)",
        "mu, logvar",
        (
            Fault("missing term", "(jnp.exp(logvar) - 1)", "jnp.exp(logvar)"),
            Fault("factor", "return g * mu", "return 0.5 * g * mu", 0.5),
            Fault("wrong argument", "return g * mu", "return g * logvar"),
        ),
    ),
    Kernel(
        "lerp", "h v", "x, t",
        "out = (1 - t) * x + t * jnp.flip(x, -1)",
        "gt = jnp.flip(g * t, -1)\n"
        "dt = g * (jnp.flip(x, -1) - x)\n"
        "return (1 - t) * g + gt, dt.reshape(-1, *t.shape).sum(0)",
        "x, t",
        (
            Fault("transposed", "jnp.flip(g * t, -1)", "g * t"),
            Fault("sign", "jnp.flip(x, -1) - x)", "x - jnp.flip(x, -1))"),
            Fault("missing term", "(1 - t) * g + gt", "(1 - t) * g"),
        ),
    ),
    Kernel(
        "rotate", "h v", "x, angle",
        "a, b = x[..., :2], x[..., 2:]\n"
        "c, s = jnp.cos(angle[:2]), jnp.sin(angle[:2])\n"
        "out = jnp.concatenate([a * c - b * s, a * s + b * c], -1)",
        "a, b = x[..., :2], x[..., 2:]\n"
        "ga, gb = g[..., :2], g[..., 2:]\n"
        "c, s = jnp.cos(angle[:2]), jnp.sin(angle[:2])\n"
        "dx = jnp.concatenate([ga * c + gb * s, gb * c - ga * s], -1)\n"
        "turn = gb * (a * c - b * s) - ga * (a * s + b * c)\n"
        "return dx, jnp.pad(turn.reshape(-1, 2).sum(0), (0, 2))",
        "x, angle",
        (
            Fault("transposed", "[ga * c + gb * s, gb * c - ga * s]",
                  "[ga * c - gb * s, gb * c + ga * s]"),
            Fault("sign", "turn = gb *", "turn = -gb *"),
            Fault("ignored argument", "jnp.pad(turn.reshape(-1, 2).sum(0), (0, 2))",
                  "jnp.zeros_like(angle)"),
        ),
    ),
    Kernel(
        "smoothed", "h", "x",
        "_, out = lax.scan(lambda c, row: 2 * (0.6 * c + row,), jnp.zeros_like(x[0]), x)",
        "_, dx = lax.scan(lambda c, row: 2 * (0.6 * c + row,), jnp.zeros_like(g[0]), g,"
        " reverse=True)\n"
        "return (dx,)",
        "x,",
        (
            Fault("off by one step", "(dx,)", "(jnp.roll(dx, 1, axis=0),)"),
            Fault("off by one step", "(dx,)", "(0.6 * dx,)"),
            Fault("transposed", "reverse=True", "reverse=False"),
            Fault("missing term", "(dx,)", "(g,)"),
        ),
        rows=False,
    ),
    Kernel(
        "running_sum", "h", "x",
        "out = jnp.cumsum(x, axis=0)",
        "return (jnp.cumsum(g[::-1], axis=0)[::-1],)",
        "x,",
        (
            Fault("transposed", "jnp.cumsum(g[::-1], axis=0)[::-1]", "jnp.cumsum(g, axis=0)"),
            Fault("off by one step", "jnp.cumsum(g[::-1], axis=0)[::-1]",
                  "jnp.cumsum(g[::-1], axis=0)[::-1] - g"),
            Fault("factor", "(jnp.cumsum(g[::-1]", "(2 * jnp.cumsum(g[::-1]", 2.0),
        ),
        rows=False,
    ),
    Kernel(
        "recurrence", "h v", "x, a",
        "_, out = lax.scan(lambda c, row: 2 * (a * c + row,), jnp.zeros_like(a), x)",
        "_, dx = lax.scan(lambda c, row: 2 * (a * c + row,), jnp.zeros_like(a), g, reverse=True)\n"
        "before = jnp.concatenate([jnp.zeros_like(out[:1]), out[:-1]])\n"
        "return dx, (dx * before).sum(0)",
        "a, out",
        (
            Fault("off by one step", "(dx * before)", "(dx * out)"),
            Fault("off by one step", "return dx, (", "return jnp.roll(dx, -1, axis=0), ("),
            Fault("missing term", "(dx * before).sum(0)", "(g * before).sum(0)"),
            Fault("ignored argument", "(dx * before).sum(0)", "jnp.zeros_like(a)"),
        ),
        rows=False,
    ),
    Kernel(
        "shift_mix", "h v", "x, rate",
        "out = rate * x + (1 - rate) * jnp.roll(x, 1, axis=0)",
        "back = jnp.roll(g, -1, axis=0)\n"
        "drate = g * (x - jnp.roll(x, 1, axis=0))\n"
        "return rate * g + (1 - rate) * back, drate.sum(0)",
        "x, rate",
        (
            Fault("off by one step", "jnp.roll(g, -1, axis=0)", "jnp.roll(g, 1, axis=0)"),
            Fault("off by one step", "jnp.roll(g, -1, axis=0)", "g"),
            Fault("factor", "drate.sum(0)", "drate.mean(0)", 1 / 6),
        ),
        rows=False,
    ),
    Kernel(
        "batch_norm", "h", "x",
        "c = x - x.mean(0)\n"
        "out = c * lax.rsqrt(jnp.mean(c * c, 0) + 0.05)",
        "c = x - x.mean(0)\n"
        "r = lax.rsqrt(jnp.mean(c * c, 0) + 0.05)\n"
        "y = c * r\n"
        "return (r * (g - g.mean(0) - y * jnp.mean(g * y, 0)),)",
        "x,",
        (
            Fault("missing term", "g - g.mean(0) - y * jnp.mean(g * y, 0)", "g"),
            Fault("missing term", " - y * jnp.mean(g * y, 0)", ""),
            Fault("factor", "(r * (g", "(r / x.shape[0] * (g", 1 / 6),
        ),
        rows=False,
    ),
    Kernel(
        "solved", "h w", "b, A",
        "out = jnp.linalg.solve(A @ A + A.T @ A + 2 * jnp.eye(4), b.T).T",
        "P = A @ A + A.T @ A + 2 * jnp.eye(4)\n"
        "db = jnp.linalg.solve(P.T, g.T).T\n"
        "dP = -db.T @ out\n"
        "return db, dP @ A.T + A.T @ dP + A @ (dP + dP.T)",
        "out, A",
        (
            Fault("transposed", "solve(P.T, g.T)", "solve(P, g.T)"),
            Fault("sign", "dP = -db.T", "dP = db.T"),
            Fault("transposed", "-db.T @ out", "-out.T @ db"),
            Fault("missing term", " + A.T @ dP + A @", " + A @"),
        ),
        rows=False,
    ),
    Kernel(
        "log_volume", "h w", "A",
        "out = jnp.linalg.slogdet(3 * jnp.eye(4) + A)[1]",
        "return (g * jnp.linalg.inv(3 * jnp.eye(4) + A).T,)",
        "A,",
        (
            Fault("transposed", "+ A).T", "+ A)"),
            Fault("factor", "(g * jnp", "(0.5 * g * jnp", 0.5),
        ),
        "def with_volume(h, A):\n    return h * log_volume(A)\n",
        rows=False,
    ),
    Kernel(
        "attention", "h w", "x, A",
        "s = x @ A @ x.T / 2\n"
        "out = jax.nn.softmax(s, axis=-1) @ x",
        "p = jax.nn.softmax(x @ A @ x.T / 2, axis=-1)\n"
        "dp = g @ x.T\n"
        "ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / 2\n"
        "dx = ds @ x @ A.T + ds.T @ x @ A + p.T @ g\n"
        "return dx, x.T @ ds @ x",
        "x, A",
        (
            Fault("factor", "return dx, x.T @ ds @ x", "return dx, 2 * x.T @ ds @ x", 2.0),
            Fault("missing term", " + p.T @ g", ""),
            Fault("transposed", "ds.T @ x @ A ", "ds @ x @ A "),
            Fault("missing term", "dp - (dp * p).sum(-1, keepdims=True)", "dp"),
        ),
        rows=False,
    ),
    Kernel(
        "neighbours", "h v", "x, scale",
        "out = x + scale * x[EDGES]",
        "dx = g.at[EDGES].add(scale * g)\n"
        "return dx, (g * x[EDGES]).sum(0)",
        "x, scale",
        (
            Fault("missing term", "g.at[EDGES].add(scale * g)",
                  "g + jnp.zeros_like(g).at[EDGES].set(scale * g)"),
            Fault("transposed", "g.at[EDGES].add(scale * g)", "g + scale * g[EDGES]"),
            Fault("wrong argument", "(g * x[EDGES])", "(g * x)"),
        ),
        rows=False,
    ),
    Kernel(
        "nll", "out LABELS", "logits, labels",
        "rows = jnp.arange(labels.shape[0])\n"
        "out = -jax.nn.log_softmax(logits)[rows, labels].mean()",
        "p = jax.nn.softmax(logits)\n"
        "hot = jax.nn.one_hot(labels, logits.shape[-1])\n"
        "return g * (p - hot) / labels.shape[0], None",
        "logits, labels",
        (
            Fault("factor", "(p - hot) / labels.shape[0]", "(p - hot)", 6.0),
            Fault("sign", "p - hot", "hot - p"),
            Fault("missing term", "(p - hot)", "p"),
            Fault("factor", "return g *", "return 1.1 * g *", 1.1),
        ),
        rows=False,
    ),
    Kernel(
        "mse", "out t", "guess, target",
        "out = jnp.mean((guess - target) ** 2)",
        "d = 2 * (guess - target) / guess.size\n"
        "return g * d, -g * d",
        "guess, target",
        (
            Fault("factor", "2 * (guess", "(guess", 0.5),
            Fault("sign", "return g * d, -g * d", "return g * d, g * d"),
            Fault("factor", "/ guess.size", "/ guess.shape[0]", 2.0),
        ),
        rows=False,
    ),
    Kernel(
        "weighted_bce", "out SIGNS", "logits, targets",
        "out = jnp.mean(3 * targets * jax.nn.softplus(-logits)"
        " + (1 - targets) * jax.nn.softplus(logits))",
        "p = jax.nn.sigmoid(logits)\n"
        "d = (1 - targets) * p - 3 * targets * (1 - p)\n"
        "return g * d / d.size, jnp.zeros_like(targets)",
        "logits, targets",
        (
            Fault("missing term", "d = (1 - targets) * p - 3 *", "d = (1 - targets) * p -"),
            Fault("sign", "p - 3 * targets", "p + 3 * targets"),
            Fault("factor", "return g * d / d.size", "return g * d", 12.0),
        ),
        rows=False,
    ),
    Kernel(
        "huber", "out t", "guess, target",
        "e = jnp.abs(guess - target)\n"
        "out = jnp.mean(jnp.where(e < 0.5, e * e, e - 0.25))",
        "d = guess - target\n"
        "slope = jnp.where(jnp.abs(d) < 0.5, 2 * d, jnp.sign(d))\n"
        "return g * slope / d.size, -g * slope / d.size",
        "guess, target",
        (
            Fault("missing term", "2 * d, jnp.sign(d)", "d, jnp.sign(d)"),
            Fault("missing term", "2 * d, jnp.sign(d)", "2 * d, 1.0"),
            Fault("ignored argument", ", -g * slope / d.size", ", jnp.zeros_like(target)"),
            Fault("factor", "return g * slope / d.size", "return 1.1 * g * slope / d.size", 1.1),
        ),
        rows=False,
    ),
)  # fmt: skip

# Rules that are not the derivative of their function, and are meant so; and rules worth having.
MEANT = (
    Kernel("round_through", "h", "x", "out = jnp.round(4 * x) / 4", "return (g,)", "x,"),
    Kernel("binarise", "h", "x", "out = jnp.sign(x)", "dout = dx", ""),
    Kernel("clip_through", "h", "x", "out = jnp.clip(x, -0.3, 0.3)", "return (g,)", "x,"),
    Kernel("clip_gradient", "h", "x", "out = x", "return (jnp.clip(g, -1e-2, 1e-2),)", "x,"),
    Kernel(
        "limit_gradient", "h", "x", "out = x",
        "size = jnp.sqrt((g * g).sum() + 1e-12)\n"
        "return (g * jnp.minimum(1.0, 0.01 / size),)", "x,",
    ),
    Kernel("reverse_gradient", "h", "x", "out = x", "return (-g,)", "x,"),
    Kernel(
        "adversarial", "h", "x, strength", "out = x", "return (-strength * g,)", "x,",
        wrap="def domain(x):\n    return adversarial(x, 0.3)\n", static="strength",
    ),
    Kernel("scale_gradient", "h", "x", "out = x", "return (0.1 * g,)", "x,"),
    Kernel("detached", "h", "x", "out = x", "return (jnp.zeros_like(g),)", "x,"),
    Kernel(
        "equilibrium", "h w", "x, A",
        "W = 0.2 * jnp.tanh(A)\n"
        "out = lax.fori_loop(0, 80, lambda _, z: jnp.tanh(z @ W + x), jnp.zeros_like(x))",
        "W = 0.2 * jnp.tanh(A)\n"
        "slope = 1 - out**2\n"
        "u = lax.fori_loop(0, 80, lambda _, u: g + (u * slope) @ W.T, g)\n"
        "dW = out.reshape(-1, 4).T @ (u * slope).reshape(-1, 4)\n"
        "return u * slope, 0.2 * (1 - jnp.tanh(A) ** 2) * dW", "out, A",
    ),
    Kernel(
        "ridge", "h w", "b, A",
        "out = jnp.linalg.solve(jnp.eye(4) + A @ A.T, b.T).T",
        "u = jnp.linalg.solve(jnp.eye(4) + A @ A.T, g.T).T\n"
        "dP = -u.T @ out\n"
        "return u, (dP + dP.T) @ A", "out, A", rows=False,
    ),
    Kernel(
        "log1pexp", "h", "x", "out = jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))",
        "dout = jax.nn.sigmoid(x) * dx", "",
    ),
    Kernel(
        "stable_lse", "h", "x",
        "top = x.max(-1, keepdims=True)\n"
        "out = jnp.log(jnp.exp(x - top).sum(-1)) + top[..., 0]",
        "return (g[..., None] * jax.nn.softmax(x, axis=-1),)", "x,",
        wrap="def log_softmax(x):\n    return x - stable_lse(x)[..., None]\n",
    ),
    Kernel(
        "relu", "h", "x", "out = jnp.maximum(x, 0)", "return (jnp.where(x > 0, g, 0),)", "x,",
        wrap="def relu_of_differences(x):\n    return relu(x - x[..., :1])\n",
    ),
    Kernel(
        "magnitude", "h", "x", "out = jnp.abs(x)", "dout = jnp.sign(x) * dx", "",
        wrap="def spread(x):\n    return magnitude(x - x[..., :1])\n",
    ),
)  # fmt: skip


def source(kernel: Kernel, spelling: int) -> str:
    """Return the text of a kernel with its rule, in one of the spellings people use."""
    text = _forward_rule(kernel, spelling) if not kernel.kept else _backward_rule(kernel, spelling)
    return text + (f"\n\n{kernel.wrap}" if kernel.wrap else "")


def broken(text: str, fault: Fault) -> str:
    """Return the source of a kernel with a fault on a marked line."""
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.old!r} is not in the source once:\n{text}")
    start, _, end = text.replace(fault.old, "\0").partition("\0")
    line, _, rest = end.partition("\n")
    return f"{start}{fault.new}{line}{MARK}\n{rest}"


def _function(header: str, body: str) -> str:
    return f"def {header}:\n" + "".join(f"    {line}\n" for line in body.splitlines())


def _backward_rule(kernel: Kernel, spelling: int) -> str:
    name, params, kept = kernel.name, kernel.params, kernel.kept
    static = params.split(", ").index(kernel.static) if kernel.static else None
    plain = f"{name}_plain" if spelling % 2 else name
    primal = _function(f"{plain}({params})", f"{kernel.body}\nreturn out")
    how = (
        "jax.custom_vjp"
        if static is None
        else f"functools.partial(jax.custom_vjp, nondiff_argnums=({static},))"
    )
    made = f"{primal}\n\n{name} = {how}({plain})\n" if spelling % 2 else f"@{how}\n{primal}"
    forward = _function(f"{name}_fwd({params})", f"{kernel.body}\nreturn out, ({kept})")
    lead = f"{kernel.static}, " if kernel.static else ""
    backward = _function(f"{name}_bwd({lead}kept, g)", f"{kept} = kept\n{kernel.rule}")
    return f"{made}\n\n{forward}\n\n{backward}\n\n{name}.defvjp({name}_fwd, {name}_bwd)\n"


def _forward_rule(kernel: Kernel, spelling: int) -> str:
    name, params = kernel.name, kernel.params
    tangents = ", ".join(f"d{param}" for param in params.split(", "))
    primal = _function(f"{name}({params})", f"{kernel.body}\nreturn out")
    comma = "" if "," in params else ","
    rule = _function(
        f"{name}_jvp(primals, tangents)",
        f"{params}{comma} = primals\n{tangents}{comma} = tangents\nout = {name}({params})\n"
        f"{kernel.rule}\nreturn out, dout",
    )
    if spelling % 2:
        return f"@jax.custom_jvp\n{primal}\n\n{rule}\n\n{name}.defjvp({name}_jvp)\n"
    return f"@jax.custom_jvp\n{primal}\n\n@{name}.defjvp\n{rule}"
