"""What makes a training fail: pieces of programs, the datum that breaks them, and healthy cousins.

A fault is text that stands in a training program (`tests.bars.failing_trainings`) and a change of
one sample, ``spoil``, without which the training stays finite. The line where the first bad number
is born ends in ``# BORN``. Functions take one sample or a batch of them: they count axes from the
end.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

FLAVOURS = ("fit", "linen", "nnx", "equinox", "jax")
OWN_LOOPS = FLAVOURS[1:]
Batch = dict[str, np.ndarray]
Spoil = Callable[[Batch, int], None]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A way to fail.

    Attributes:
      name: what it is called.
      kind: the group that it belongs to.
      phase: "forward", the loss is bad; "backward", only the gradient is; "update", only the new
        state is; "data", the batch is; "none", nothing is.
      helpers: functions that the program defines, in several spellings. ``$step`` is the step that
        fails, ``$wrap`` a place for a decorator.
      data: what a sample is: "table", "sequence", "tokens", "pairs" or "image".
      targets: "real", "positive", "label" or "binary".
      front: what is made of the inputs ``x`` before the first layer.
      hidden: what is made of its result ``h``.
      width: how many features ``hidden`` has, 0 for as many as ``h``.
      end: what is made of the outputs ``h``.
      objective: a loss of its own, "" for a usual one.
      optimizer: an optimizer of its own, "" for a usual one.
      spoil: breaks a row of a batch in place; None where no sample is to blame.
      all_rows: whether it must break the whole batch.
      coupled: whether the samples of the batch are mixed before the bad number is born.
      in_update: whether the line of the optimizer's update is the one.
      flavours: the libraries that it is written for.
      masked: whether the model is given a mask.
      clock: whether the objective is given the step.
      gain: whether the model has a scalar parameter that falls by 1/32 a step, to 0 at ``$step``.
      half: whether the model computes in float16.
      leaf: the leaf of the batch that is bad before anything runs.
    """

    name: str
    kind: str
    phase: str
    helpers: tuple[str, ...] = ("",)
    data: str = "table"
    targets: str = ""
    front: str = "x"
    hidden: str = "h"
    width: int = 0
    end: str = "h"
    objective: str = ""
    optimizer: str = ""
    spoil: Spoil | None = None
    all_rows: bool = False
    coupled: bool = False
    in_update: bool = False
    flavours: tuple[str, ...] = FLAVOURS
    masked: bool = False
    clock: bool = False
    gain: bool = False
    half: bool = False
    leaf: str = ""


def put(leaf: str, value: Any) -> Spoil:
    """Return what sets a whole row of a leaf."""

    def spoil(batch: Batch, row: int) -> None:
        batch[leaf][row] = value

    return spoil


def times(factor: float) -> Spoil:
    """Return what makes a row of the inputs an outlier."""

    def spoil(batch: Batch, row: int) -> None:
        batch["inputs"][row] *= factor

    return spoil


def one_number(value: float) -> Spoil:
    """Return what puts one bad number into a row of the inputs."""

    def spoil(batch: Batch, row: int) -> None:
        batch["inputs"][row].reshape(-1)[1] = value

    return spoil


def twins(batch: Batch, row: int) -> None:
    """Make the two halves of a pair the same."""
    batch["inputs"][row, 1] = batch["inputs"][row, 0]


def blank_patch(batch: Batch, row: int) -> None:
    """Blank a patch of an image."""
    batch["inputs"][row, 2:4, 4:6] = 0.0


def unknown_token(batch: Batch, row: int) -> None:
    """Put in a token that no table has."""
    batch["inputs"][row, 1] = 13


ZERO = put("inputs", 0.0)


SINGULAR = (
    Fault(
        "unit vectors",
        "singular value",
        "forward",
        (
            """$wrap
def unit(h):
    return h / jnp.linalg.norm(h, axis=-1, keepdims=True)  # BORN
""",
            """$wrap
def unit(h):
    return h / jnp.sqrt(jnp.sum(h**2, axis=-1, keepdims=True))  # BORN
""",
            """def length(h):
    return jnp.sqrt(jnp.einsum("...i,...i->...", h, h))  # BORN


$wrap
def unit(h):
    return h / length(h)[..., None]  # BORN
""",
        ),
        hidden="unit(h)",
        spoil=ZERO,
    ),
    Fault(
        "norm with room outside",
        "singular value",
        "backward",
        (
            """$wrap
def unit(h, eps=1e-6):
    return h / (jnp.linalg.norm(h, axis=-1, keepdims=True) + eps)  # BORN
""",
            """$wrap
def unit(h):
    length = jnp.sqrt(jnp.square(h).sum(-1, keepdims=True))  # BORN
    return h / jnp.maximum(length, 1e-6)
""",
        ),
        hidden="unit(h)",
        spoil=ZERO,
    ),
    Fault(
        "energy feature",
        "singular value",
        "backward",
        (
            """$wrap
def energy(h):
    total = jnp.sum(h * h, axis=-1, keepdims=True)
    return jnp.concatenate([h, jnp.sqrt(total)], axis=-1)  # BORN
""",
            """$wrap
def energy(h):
    total = jnp.sum(h * h, axis=-1, keepdims=True)
    return jnp.concatenate([h, total**0.5], axis=-1)  # BORN
""",
        ),
        hidden="energy(h)",
        width=9,
        spoil=ZERO,
    ),
    Fault(
        "guarded root",
        "singular value",
        "backward",
        (
            """$wrap
def signed_root(h):
    size = jnp.abs(h)
    return jnp.sign(h) * jnp.where(size > 0, jnp.sqrt(size), 0.0)  # BORN
""",
            """$wrap
def signed_root(h):
    root = jnp.power(jnp.square(h), 0.25)  # BORN
    return jnp.where(h > 0, root, -root)
""",
        ),
        hidden="signed_root(h)",
        spoil=ZERO,
    ),
    Fault(
        "layer norm without room",
        "singular value",
        "forward",
        (
            """$wrap
def layer_norm(h):
    centred = h - h.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True))  # BORN
""",
            """$wrap
def layer_norm(h):
    centred = h - jnp.mean(h, axis=-1, keepdims=True)
    return centred * lax.rsqrt(jnp.var(h, axis=-1, keepdims=True))  # BORN
""",
        ),
        hidden="layer_norm(h)",
        spoil=ZERO,
    ),
    Fault(
        "log energy",
        "singular value",
        "forward",
        (
            """def log_energy(h):
    return jnp.log(jnp.sum(jnp.abs(h), axis=-1, keepdims=True))  # BORN


$wrap
def features(h):
    return jnp.concatenate([h, log_energy(h)], axis=-1)
""",
            """$wrap
def features(h):
    power = jnp.mean(jnp.square(h), axis=-1, keepdims=True)
    decibel = 10.0 * jnp.log10(power)  # BORN
    return jnp.concatenate([h, 0.1 * decibel], axis=-1)
""",
        ),
        hidden="features(h)",
        width=9,
        spoil=ZERO,
    ),
    Fault(
        "polar coordinates",
        "singular value",
        "backward",
        (
            """$wrap
def polar(h):
    angle = jnp.arctan2(h[..., 0], h[..., 1])  # BORN
    return jnp.concatenate([h, angle[..., None]], axis=-1)
""",
            """$wrap
def polar(h):
    radius = jnp.hypot(h[..., 2], h[..., 3])  # BORN
    return jnp.concatenate([h, radius[..., None]], axis=-1)
""",
        ),
        hidden="polar(h)",
        width=9,
        spoil=ZERO,
    ),
    Fault(
        "distance of twins",
        "singular value",
        "backward",
        (
            """$wrap
def compare(h):
    left, right = h[..., 0, :], h[..., 1, :]
    distance = jnp.linalg.norm(left - right, axis=-1)  # BORN
    return jnp.concatenate([left * right, distance[..., None]], axis=-1)
""",
            """def euclidean(a, b):
    return jnp.sqrt(jnp.sum((a - b) ** 2, axis=-1, keepdims=True))  # BORN


$wrap
def compare(h):
    return jnp.concatenate([h[..., 0, :] + h[..., 1, :], euclidean(h[..., 0, :], h[..., 1, :])], -1)
""",
        ),
        data="pairs",
        hidden="compare(h)",
        width=9,
        spoil=twins,
    ),
    Fault(
        "generalized mean pooling",
        "singular value",
        "backward",
        (
            """$wrap
def pool(h, p=3.0):
    return jnp.mean(jnp.abs(h) ** p, axis=-2) ** (1.0 / p)  # BORN
""",
        ),
        data="sequence",
        hidden="pool(h)",
        spoil=ZERO,
    ),
    Fault(
        "log of counts",
        "singular value",
        "forward",
        (
            """$wrap
def prepare(x):
    return jnp.log(jnp.abs(x))  # BORN
""",
            """$wrap
def prepare(x):
    return jax.vmap(jnp.log2)(jnp.square(x))  # BORN
""",
        ),
        front="prepare(x)",
        spoil=ZERO,
    ),
    Fault(
        "relative error",
        "singular value",
        "forward",
        targets="positive",
        objective="""def objective(outputs, targets):
    relative = jnp.abs(outputs - targets) / targets  # BORN
    return jnp.mean(relative)
""",
        spoil=put("targets", 0.0),
    ),
    Fault(
        "log ratio",
        "singular value",
        "forward",
        targets="positive",
        objective="""def ratio(outputs, targets):
    return jnp.log(jax.nn.softplus(outputs)) - jnp.log(targets)  # BORN


def objective(outputs, targets):
    return jnp.square(ratio(outputs, targets)).mean(axis=-1).mean()
""",
        spoil=put("targets", 0.0),
    ),
)

LINEAR_ALGEBRA = (
    Fault(
        "determinant of the Gram matrix",
        "singular matrix",
        "forward",
        (
            """$wrap
def volume(h):
    gram = h @ jnp.swapaxes(h, -1, -2)
    logarithm = jnp.linalg.slogdet(gram)[1]  # BORN
    return jnp.concatenate([h[..., 0, :], logarithm[..., None]], axis=-1)
""",
            """$wrap
def volume(h):
    gram = jnp.einsum("...ti,...si->...ts", h, h)
    factor = jnp.linalg.cholesky(gram)  # BORN
    return jnp.concatenate([h[..., 0, :], factor[..., 1, :1]], axis=-1)
""",
        ),
        data="pairs",
        hidden="volume(h)",
        width=9,
        spoil=ZERO,
    ),
    Fault(
        "root with a rule of its own",
        "singular value",
        "backward",
        (
            """@jax.custom_vjp
def root(x):
    return jnp.sqrt(x)


def root_forward(x):
    y = jnp.sqrt(x)
    return y, y


def root_backward(y, g):
    return (g / (2.0 * y),)  # BORN


root.defvjp(root_forward, root_backward)


def features(h):
    total = jnp.sum(h * h, axis=-1, keepdims=True)
    return jnp.concatenate([h, root(total)], axis=-1)  # BORN
""",
        ),
        hidden="features(h)",
        width=9,
        spoil=ZERO,
    ),
    Fault(
        "Newton's root in a loop",
        "scan division",
        "forward",
        (
            """def newton(square, rounds=4):
    def improve(_, root):
        return 0.5 * (root + square / root)  # BORN

    return lax.fori_loop(0, rounds, improve, square)


$wrap
def rooted(h):
    return newton(jnp.abs(h))
""",
        ),
        hidden="rooted(h)",
        spoil=ZERO,
    ),
)

SATURATED = (
    Fault(
        "cross entropy of probabilities",
        "log of a saturated probability",
        "forward",
        targets="label",
        objective="""def objective(outputs, labels):
    wanted = jax.nn.one_hot(labels, outputs.shape[-1])
    p = jax.nn.hard_sigmoid(0.1 * outputs)
    fit = wanted * jnp.log(p) + (1 - wanted) * jnp.log1p(-p)  # BORN
    return -jnp.mean(jnp.sum(fit, axis=-1))
""",
        spoil=times(1e6),
    ),
    Fault(
        "entropy bonus",
        "log of a saturated probability",
        "forward",
        targets="label",
        objective="""def entropy(p):
    return -jnp.sum(p * jnp.log(p) + (1 - p) * jnp.log(1 - p), axis=-1)  # BORN


def objective(outputs, labels):
    fit = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return jnp.mean(fit - 0.01 * entropy(jnp.clip(0.5 + 0.02 * outputs, 0.0, 1.0)))
""",
        spoil=times(1e6),
    ),
    Fault(
        "binary cross entropy",
        "log of a saturated probability",
        "forward",
        targets="binary",
        objective="""def objective(outputs, targets):
    p = jax.nn.hard_sigmoid(0.1 * outputs[:, 0])
    return -jnp.mean(targets * jnp.log(p) + (1 - targets) * jnp.log(1 - p))  # BORN
""",
        spoil=times(1e6),
    ),
)

OVERFLOWS = (
    Fault(
        "softplus by hand",
        "exp overflow",
        "forward",
        (
            """$wrap
def softplus(h):
    return jnp.log(1.0 + jnp.exp(jnp.abs(h)))  # BORN
""",
            """$wrap
def softplus(h):
    return jnp.log1p(jnp.exp(h) + jnp.exp(-h))  # BORN
""",
        ),
        hidden="softplus(h)",
        spoil=times(1e4),
    ),
    Fault(
        "sigmoid by hand",
        "exp overflow",
        "backward",
        (
            """$wrap
def gate(h):
    return h / (1.0 + jnp.exp(jnp.abs(h)))  # BORN
""",
        ),
        hidden="gate(h)",
        spoil=times(1e4),
    ),
    Fault(
        "softmax by hand",
        "exp overflow",
        "forward",
        (
            """$wrap
def mix(h):
    e = jnp.exp(jnp.square(h))  # BORN
    return e / e.sum(axis=-1, keepdims=True)
""",
        ),
        hidden="mix(h)",
        spoil=times(1e4),
    ),
    Fault(
        "Poisson likelihood",
        "exp overflow",
        "forward",
        targets="positive",
        objective="""def objective(outputs, targets):
    rate = jnp.exp(jnp.abs(outputs))  # BORN
    return jnp.mean(rate - targets * outputs)
""",
        spoil=times(1e6),
    ),
    Fault(
        "Kullback-Leibler term",
        "exp overflow",
        "forward",
        targets="real",
        objective="""def kl(mean, log_variance):
    return 0.5 * jnp.sum(jnp.exp(log_variance**2) + mean**2 - 1.0 - log_variance, axis=-1)  # BORN


def objective(outputs, targets):
    mean, log_variance = outputs[:, :1], outputs[:, 1:]
    return jnp.mean(jnp.square(mean - targets[:, :1]).sum(-1) + 1e-3 * kl(mean, log_variance))
""",
        spoil=times(1e6),
    ),
)

ATTENTION_END = "    return jnp.mean(weights @ h, axis=-2)\n"
ATTENTION = (
    Fault(
        "attention with nothing to see",
        "empty mask",
        "forward",
        (
            """$wrap
def attend(h, mask):
    scores = h @ jnp.swapaxes(h, -1, -2) / h.shape[-1] ** 0.5
    scores = jnp.where(mask[..., None, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1)  # BORN
"""
            + ATTENTION_END,
            """$wrap
def attend(h, mask):
    scores = jnp.einsum("...ti,...si->...ts", h, h) * h.shape[-1] ** -0.5
    e = jnp.exp(jnp.tanh(scores)) * mask[..., None, :]
    weights = e / e.sum(axis=-1, keepdims=True)  # BORN
"""
            + ATTENTION_END,
            """NEGATIVE = float("-inf")


def bias(mask):
    return jnp.where(mask, 0.0, NEGATIVE)[..., None, :]


$wrap
def attend(h, mask):
    scores = jnp.matmul(h, h.mT) + bias(mask)
    top = jnp.max(scores, axis=-1, keepdims=True)
    e = jnp.exp(scores - top)  # BORN
    weights = e / jnp.sum(e, axis=-1, keepdims=True)
"""
            + ATTENTION_END,
        ),
        data="sequence",
        masked=True,
        hidden="attend(h, mask)",
        spoil=put("mask", False),
    ),
    Fault(
        "mean over no tokens",
        "empty mask",
        "forward",
        (
            """$wrap
def pool(h, mask):
    return jnp.sum(h * mask[..., None], axis=-2) / jnp.sum(mask, axis=-1)[..., None]  # BORN
""",
            """$wrap
def pool(h, mask):
    weights = mask.astype(h.dtype)
    total = weights.sum(-1, keepdims=True)
    return jnp.einsum("...t,...ti->...i", weights, h) / total  # BORN
""",
        ),
        data="sequence",
        masked=True,
        hidden="pool(h, mask)",
        spoil=put("mask", False),
    ),
    Fault(
        "maximum over no tokens",
        "empty mask",
        "forward",
        (
            """$wrap
def pool(h, mask):
    top = jnp.max(jnp.where(mask[..., None], h, -jnp.inf), axis=-2)
    return top - jnp.mean(top, axis=-1, keepdims=True)  # BORN
""",
        ),
        data="sequence",
        masked=True,
        hidden="pool(h, mask)",
        spoil=put("mask", False),
    ),
)

SCANS = (
    Fault(
        "recurrent state",
        "scan overflow",
        "forward",
        (
            """def cell(carry, x):
    carry = carry * jnp.exp(0.1 * x * x)  # BORN
    return carry, carry


$wrap
def recurrent(h):
    last, _ = lax.scan(cell, jnp.ones_like(h[..., 0, :]), jnp.swapaxes(h, 0, -2))
    return last
""",
            """def cell(carry, x):
    carry = x + 0.5 * carry * jnp.abs(carry)  # BORN
    return carry, None


$wrap
def recurrent(h):
    return lax.scan(jax.checkpoint(cell), 0.1 * h[..., 0, :], 0.1 * jnp.swapaxes(h, 0, -2))[0]
""",
        ),
        data="sequence",
        hidden="recurrent(h)",
        spoil=times(1e15),
    ),
    Fault(
        "differential equation",
        "scan overflow",
        "forward",
        (
            """def rhs(y):
    return jnp.square(y) - y  # BORN


$wrap
def flow(h):
    y, _ = lax.scan(lambda y, _: (y + 0.05 * rhs(y), None), 0.1 * h, None, length=12)
    return y
""",
            """def rhs(y):
    return y * (1.0 - y * y)  # BORN


$wrap
def flow(h):
    y, _ = lax.scan(lambda y, dt: (y + dt * rhs(y), None), h, jnp.full(9, 0.02))
    return y
""",
        ),
        hidden="flow(h)",
        spoil=times(1e6),
    ),
    Fault(
        "balanced in rounds",
        "scan division",
        "forward",
        (
            """def balance(weights, _):
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)  # BORN
    return jnp.sqrt(weights + 1e-3), None


$wrap
def balanced(h):
    return lax.scan(balance, jnp.square(h), None, length=4)[0]
""",
        ),
        hidden="balanced(h)",
        spoil=ZERO,
    ),
    Fault(
        "likelihood of a path",
        "scan underflow",
        "forward",
        (
            """def filter_step(alpha, x):
    alpha = alpha * jnp.exp(-0.5 * x**2)
    return 0.9 * alpha + 0.1 * jnp.mean(alpha, axis=-1, keepdims=True), None


$wrap
def path(h):
    alpha, _ = lax.scan(filter_step, jnp.ones_like(h[..., 0, :]), jnp.swapaxes(h, 0, -2))
    return jnp.log(alpha)  # BORN
""",
        ),
        data="sequence",
        hidden="path(h)",
        spoil=times(1e4),
    ),
)

DATA = (
    Fault(
        "NaN in the inputs",
        "bad datum",
        "data",
        leaf="inputs",
        flavours=OWN_LOOPS,
        spoil=one_number(np.nan),
    ),
    Fault(
        "infinite input",
        "bad datum",
        "data",
        leaf="inputs",
        flavours=OWN_LOOPS,
        data="image",
        front="jnp.reshape(x, (*x.shape[:-3], 64))",
        spoil=one_number(np.inf),
    ),
    Fault(
        "NaN as a missing target",
        "bad datum",
        "data",
        leaf="targets",
        flavours=OWN_LOOPS,
        targets="real",
        spoil=put("targets", np.nan),
    ),
    Fault(
        "blank image",
        "bad datum",
        "forward",
        (
            """$wrap
def standardize(x):
    x = jnp.reshape(x, (*x.shape[:-3], 64))
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)  # BORN
""",
            """AXES = (-3, -2, -1)


$wrap
def standardize(x):
    low, high = jnp.min(x, AXES, keepdims=True), jnp.max(x, AXES, keepdims=True)
    x = (x - low) / (high - low)  # BORN
    return x.reshape(*x.shape[:-3], -1)
""",
        ),
        data="image",
        front="standardize(x)",
        spoil=ZERO,
    ),
    Fault(
        "blank patch",
        "bad datum",
        "forward",
        (
            """def patches(x):
    return jnp.reshape(x, (*x.shape[:-3], 4, 2, 4, 2))


$wrap
def local_contrast(x):
    x = patches(x)
    x = x - x.mean((-3, -1), keepdims=True)
    x = x / x.std((-3, -1), keepdims=True)  # BORN
    return x.reshape(*x.shape[:-4], 64)
""",
        ),
        data="image",
        front="local_contrast(x)",
        spoil=blank_patch,
    ),
    Fault(
        "token out of range",
        "bad datum",
        "forward",
        (
            """EMBEDDINGS = np.random.default_rng(0).normal(size=(10, $features)).astype(np.float32)


def embed(tokens):
    return jnp.take(EMBEDDINGS, tokens, axis=0)  # BORN
""",
            """EMBEDDINGS = np.sin(np.arange(10.0 * $features)).reshape(10, -1).astype(np.float32)


def embed(tokens):
    table = jnp.asarray(EMBEDDINGS)
    return table.at[tokens].get(mode="fill")  # BORN
""",
        ),
        data="tokens",
        front="embed(x)",
        hidden="jnp.mean(h, axis=-2)",
        spoil=unknown_token,
    ),
    Fault(
        "label out of range",
        "bad datum",
        "forward",
        targets="label",
        objective="""def objective(outputs, labels):
    logs = jax.nn.log_softmax(outputs)
    return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=-1))  # BORN
""",
        spoil=put("targets", 7),
    ),
    Fault(
        "class weight out of range",
        "bad datum",
        "forward",
        targets="label",
        objective="""WEIGHTS = np.array([1.0, 0.5, 2.0], np.float32)


def objective(outputs, labels):
    weights = jnp.take(WEIGHTS, labels, axis=0)  # BORN
    fit = optax.softmax_cross_entropy(outputs, jax.nn.one_hot(labels, 3))
    return jnp.mean(weights * fit)
""",
        spoil=put("targets", 9),
    ),
)

HALF = (
    Fault(
        "sum in float16",
        "float16 overflow",
        "forward",
        (
            """$wrap
def centre(x):
    half = x.astype(jnp.float16)
    total = half @ jnp.ones((x.shape[-1],) * 2, jnp.float16)  # BORN
    return x - total.astype(jnp.float32) / x.shape[-1]
""",
        ),
        front="centre(x)",
        spoil=put("inputs", 6e4),
    ),
    Fault(
        "squared error in float16",
        "float16 overflow",
        "forward",
        targets="real",
        objective="""def objective(outputs, targets):
    error = outputs.astype(jnp.float16) - targets.astype(jnp.float16)
    return jnp.sum(error @ error.T * jnp.eye(len(error), dtype=jnp.float16)) / len(error)  # BORN
""",
        spoil=put("targets", 900.0),
    ),
    Fault(
        "scores in float16",
        "float16 overflow",
        "forward",
        (
            """$wrap
def attend(h):
    q = h.astype(jnp.float16)
    scores = jnp.einsum("...ti,...si->...ts", q, q)  # BORN
    weights = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
"""
            + ATTENTION_END,
        ),
        data="sequence",
        hidden="attend(h)",
        spoil=times(2e3),
    ),
    Fault(
        "cast to float16",
        "float16 overflow",
        "forward",
        (
            """$wrap
def halve(h):
    return jnp.tanh(h) + 1e-3 * (h * jnp.abs(h)).astype(jnp.float16)  # BORN
""",
        ),
        hidden="halve(h)",
        spoil=times(1e5),
    ),
    Fault(
        "scaled loss",
        "loss scaling",
        "backward",
        half=True,
        targets="real",
        objective="""SCALE = 2.0**10


def objective(outputs, targets):
    error = outputs.astype(jnp.float32) - targets  # BORN
    return SCALE * jnp.mean(jnp.square(error))
""",
        optimizer="optax.chain(optax.scale(1.0 / SCALE), optax.sgd(1e-3))",
        spoil=put("targets", 3e4),
    ),
    Fault(
        "scale doubled too often",
        "loss scaling",
        "update",
        (
            """class Scale(NamedTuple):
    scale: jax.Array
    count: jax.Array


def growing(interval):
    def init(params):
        return Scale(jnp.asarray($scale, jnp.float16), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        count = state.count + 1
        scale = jnp.where(count % interval == 0, state.scale * 2, state.scale)  # BORN
        return updates, Scale(scale, count)

    return optax.GradientTransformation(init, update)
""",
        ),
        optimizer="optax.chain(growing($interval), optax.sgd(1e-2))",
        flavours=OWN_LOOPS,
    ),
)

IGNORED = """def objective(outputs, labels):
    keep = labels >= 0
    fit = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.maximum(labels, 0))
    return jnp.sum(fit * keep) / jnp.maximum(jnp.sum(keep), 1)
"""
NO_LABELS = put("targets", -1)

UPDATES = (
    Fault(
        "schedule divides by zero",
        "schedule",
        "update",
        (
            """TOTAL = $step


def schedule(count):
    return 1e-3 / jnp.sqrt((TOTAL - count) / TOTAL)  # BORN
""",
            """TOTAL = $step


def schedule(count):
    left = TOTAL - count
    return 1e-2 / left  # BORN
""",
            """TOTAL = $step


def schedule(count):
    left = (TOTAL - count) / TOTAL
    return 1e-4 - 1e-3 * jnp.log(left)  # BORN
""",
        ),
        optimizer="optax.adam(schedule)",
    ),
    Fault(
        "schedule past its end",
        "schedule",
        "update",
        (
            """DECAY_STEPS = $before


def polynomial(count, power=0.9):
    return 1e-2 * ((DECAY_STEPS - count) / DECAY_STEPS) ** power  # BORN
""",
            """DECAY_STEPS = $before


def polynomial(count):
    return 1e-2 * jnp.sqrt((DECAY_STEPS - count) / DECAY_STEPS)  # BORN
""",
        ),
        optimizer="optax.sgd(polynomial, momentum=0.9)",
    ),
    Fault(
        "corrected momentum restarts",
        "optimizer",
        "update",
        (
            """class Momentum(NamedTuple):
    count: jax.Array
    mean: Any


def corrected_momentum(decay, period):
    def init(params):
        return Momentum(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        count = state.count + 1
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        correction = 1.0 - decay ** (count % period)
        return jax.tree.map(lambda m: m / correction, mean), Momentum(count, mean)  # BORN

    return optax.GradientTransformation(init, update)
""",
        ),
        optimizer="optax.chain(corrected_momentum(0.9, $after), optax.scale(-1e-3))",
    ),
    Fault(
        "normalized gradient",
        "optimizer",
        "update",
        (
            """def normalized():
    def update(updates, state, params=None):
        norm = optax.global_norm(updates)
        return jax.tree.map(lambda g: g / norm, updates), state  # BORN

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
""",
            """def clipped_up(updates, params=None):
    total = sum(jnp.vdot(g, g) for g in jax.tree.leaves(updates))
    factor = lax.rsqrt(total)  # BORN
    return jax.tree.map(lambda g: factor * g, updates)


def normalized():
    return optax.stateless(clipped_up)
""",
        ),
        targets="label",
        objective=IGNORED,
        spoil=NO_LABELS,
        all_rows=True,
        coupled=True,
        optimizer="optax.chain(normalized(), optax.sgd(1e-3))",
    ),
    Fault(
        "trust ratio",
        "optimizer",
        "update",
        (
            """def ratio(g, p):
    return g * (jnp.linalg.norm(p) / jnp.linalg.norm(g))  # BORN


def trust():
    return optax.stateless(lambda updates, params: jax.tree.map(ratio, updates, params))
""",
        ),
        targets="label",
        objective=IGNORED,
        spoil=NO_LABELS,
        all_rows=True,
        coupled=True,
        optimizer="optax.chain(trust(), optax.sgd(1e-3))",
    ),
    Fault(
        "update norm of the library",
        "optimizer",
        "update",
        targets="label",
        objective=IGNORED,
        spoil=NO_LABELS,
        all_rows=True,
        coupled=True,
        optimizer="optax.chain(optax.normalize_by_update_norm(eps=0.0), optax.sgd(1e-3))",
        in_update=True,
        flavours=OWN_LOOPS,
    ),
    Fault(
        "temperature reaches zero",
        "annealing",
        "forward",
        targets="label",
        clock=True,
        objective="""ANNEAL_STEPS = $step


def objective(outputs, labels, step):
    temperature = (ANNEAL_STEPS - step) / ANNEAL_STEPS
    logs = jax.nn.log_softmax(outputs / temperature)  # BORN
    return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], axis=1))
""",
        optimizer="optax.sgd(1e-5)",
    ),
    Fault(
        "gain drifts to zero",
        "parameter drift",
        "forward",
        (
            """$wrap
def shifted(h, gain):
    return h - jnp.log(gain)  # BORN
""",
            """$wrap
def shifted(h, gain):
    return h + 1.0 / gain  # BORN
""",
        ),
        gain=True,
        end="shifted(h, $gain)",
        targets="real",
        objective="""def objective(outputs, targets):
    return jnp.mean(jnp.square(outputs - targets - 5000.0))
""",
        optimizer="optax.chain(optax.clip(1.0), optax.sgd(2.0**-5))",
    ),
)

COUPLED = (
    Fault(
        "no labels in the batch",
        "batch",
        "forward",
        targets="label",
        objective="""def objective(outputs, labels):
    keep = labels >= 0
    fit = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.where(keep, labels, 0))
    return jnp.sum(fit * keep) / jnp.sum(keep)  # BORN
""",
        spoil=NO_LABELS,
        all_rows=True,
        coupled=True,
    ),
    Fault(
        "batch norm of a constant column",
        "batch",
        "forward",
        objective="""def whiten(targets):
    centred = targets - targets.mean(axis=0)
    return centred / centred.std(axis=0)  # BORN


def objective(outputs, targets):
    return jnp.mean(jnp.square(outputs - whiten(targets)))
""",
        targets="real",
        spoil=put("targets", 0.5),
        all_rows=True,
        coupled=True,
    ),
    Fault(
        "batch norm without room",
        "batch",
        "forward",
        (
            """def batch_norm(h):
    mean = jnp.mean(h, axis=0)
    return (h - mean) / jnp.sqrt(jnp.mean((h - mean) ** 2, axis=0))  # BORN
""",
        ),
        hidden="batch_norm(h)",
        spoil=ZERO,
        all_rows=True,
        coupled=True,
        flavours=("fit", "linen", "nnx", "jax"),
    ),
    Fault(
        "contrast of embeddings",
        "batch",
        "forward",
        objective="""def unit(h):
    return h / jnp.linalg.norm(h, axis=-1, keepdims=True)  # BORN


def objective(outputs, targets):
    similarity = unit(outputs) @ unit(targets).T
    return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(5.0 * similarity, axis=-1)))
""",
        targets="real",
        spoil=put("targets", 0.0),
        coupled=True,
    ),
)

FAULTS = (
    *SINGULAR,
    *LINEAR_ALGEBRA,
    *SATURATED,
    *OVERFLOWS,
    *ATTENTION,
    *SCANS,
    *DATA,
    *HALF,
    *UPDATES,
    *COUPLED,
)


def long_padding(batch: Batch, row: int) -> None:
    """Leave one token of a row."""
    batch["mask"][row] = False
    batch["mask"][row, 0] = True


HEALTHY = (
    Fault(
        "masked scores",
        "healthy",
        "none",
        ATTENTION[0].helpers,
        data="sequence",
        masked=True,
        hidden="attend(h, mask)",
        spoil=long_padding,
    ),
    Fault(
        "empty rows and a safe softmax",
        "healthy",
        "none",
        (
            """$wrap
def attend(h, mask):
    scores = h @ jnp.swapaxes(h, -1, -2)
    e = jnp.exp(jnp.tanh(scores)) * mask[..., None, :]
    weights = e / (e.sum(axis=-1, keepdims=True) + 1e-6)
"""
            + ATTENTION_END,
            """$wrap
def attend(h, mask):
    scores = jnp.where(mask[..., None, :], h @ h.mT, jnp.finfo(h.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
"""
            + ATTENTION_END,
        ),
        data="sequence",
        masked=True,
        hidden="attend(h, mask)",
        spoil=put("mask", False),
    ),
    Fault(
        "large loss",
        "healthy",
        "none",
        targets="real",
        spoil=put("targets", 1e15),
        optimizer="optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))",
    ),
    Fault(
        "two wheres",
        "healthy",
        "none",
        (
            """$wrap
def root(h):
    safe = jnp.where(h == 0, 1.0, jnp.abs(h))
    return jnp.where(h == 0, 0.0, jnp.sqrt(safe))
""",
            """$wrap
def root(h):
    return h * lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)
""",
        ),
        hidden="root(h)",
        spoil=ZERO,
    ),
    Fault(
        "infinity that is clipped",
        "healthy",
        "none",
        (
            """$wrap
def bounded(h):
    rate = jnp.minimum(jnp.exp(lax.stop_gradient(jnp.abs(h))), 10.0)
    return h / (1.0 + rate)
""",
        ),
        hidden="bounded(h)",
        spoil=times(1e3),
    ),
    Fault(
        "clipping of no gradient",
        "healthy",
        "none",
        (
            """def clipped(updates, params=None):
    factor = jnp.minimum(1.0, 1.0 / optax.global_norm(updates))
    return jax.tree.map(lambda g: factor * g, updates)
""",
        ),
        targets="label",
        objective=IGNORED,
        spoil=NO_LABELS,
        all_rows=True,
        optimizer="optax.chain(optax.stateless(clipped), optax.adam(1e-3))",
    ),
    Fault(
        "saturated and stable",
        "healthy",
        "none",
        targets="label",
        spoil=times(1e6),
        objective="""def objective(outputs, labels):
    logs = jax.nn.log_softmax(outputs, axis=-1)
    entropy = jnp.sum(jax.scipy.special.entr(jax.nn.softmax(outputs) + 1e-8), axis=-1)
    return jnp.mean(-jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0] - 0.01 * entropy)
""",
        optimizer="optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))",
    ),
    Fault(
        "best value so far",
        "healthy",
        "none",
        (
            """def last_seen(h):
    best, _ = lax.scan(lambda best, x: (jnp.maximum(best, x), None),
                       jnp.full_like(h[..., 0, :], -jnp.inf), jnp.swapaxes(h, 0, -2))
    return best
""",
        ),
        data="sequence",
        hidden="last_seen(h)",
        spoil=ZERO,
    ),
    Fault("plain half precision", "healthy", "none", half=True, spoil=ZERO),
)
