"""Programs in which a gradient dies on one line, each with a twin in which it lives.

A program is a killer at a place, among healthy lines that look like killers. It is written to
files, as people's programs are, and the line where the gradient dies is marked ``# DIES``. The twin
has a living expression on that line. That gradients die there is not computed here but measured in
plain JAX: parameters whose gradient the program lacks and the twin has. A program of which that is
not true is not used.
"""

import dataclasses
import pathlib
import random
import string
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from tests.bars import nan_truth

MARK = "# DIES"
ROWS, UNITS = 5, 4
VANISHED = 1e-3  # of what the twin's gradient is


class Killer(NamedTuple):
    """An expression out of which no gradient goes, or next to none.

    Attributes:
      name: what it is called.
      text: the expression; ``h`` goes in, ``v`` is a parameter, ``gate`` a mask.
      alive: what the twin has instead.
      bias: what is added to the units of ``h`` in which gradients die, and to the others.
      same: whether its result has the shape of ``h``.
      most: whether it may kill some units only.
    """

    name: str
    text: str
    alive: str = "0.5 * h"
    bias: tuple[float, float] = (0.0, 0.0)
    same: bool = True
    most: bool = False


KILLERS = (
    Killer("argmax", "0.3 * jnp.argmax(h, axis=-1)[..., None].astype(h.dtype)",
           "0.3 * jnp.max(h, axis=-1)[..., None]", same=False),
    Killer("one hot of argmax", "jax.nn.one_hot(jnp.argmax(h, axis=-1), 4)", "jax.nn.softmax(h)"),
    Killer("index by argmin", "v[jnp.argmin(h, axis=-1)][..., None]",
           "(jax.nn.softmax(h) @ v)[..., None]", same=False),
    Killer("argsort", "0.3 * jnp.argsort(h, axis=-1).astype(jnp.float32)", "jnp.sort(h, axis=-1)"),
    Killer("top k", "0.3 * lax.top_k(h, 2)[1].astype(jnp.float32).sum(-1)[..., None]",
           "0.3 * lax.top_k(h, 2)[0].sum(-1)[..., None]", same=False),
    Killer("round", "jnp.round(4.0 * h) / 4.0"),
    Killer("floor", "jnp.floor(3.0 * h)"),
    Killer("ceil", "jnp.ceil(h) + 0.25"),
    Killer("floor division", "(3.0 * h) // 1.0"),
    Killer("sign", "jnp.sign(h)"),
    Killer("heaviside", "jnp.heaviside(h, 0.5)"),
    Killer("comparison", "(h > 0.1).astype(h.dtype)", "jax.nn.sigmoid(h)"),
    Killer("choice by a comparison", "jnp.where(h > 0.1, 1.0, -0.5)"),
    Killer("count", "jnp.sum(h > 0.1, axis=-1, keepdims=True).astype(jnp.float32)",
           "jnp.sum(h, axis=-1, keepdims=True)", same=False),
    Killer("cast to integers", "(8.0 * h).astype(jnp.int32).astype(jnp.float32)"),
    Killer("digitize", "jnp.digitize(h, jnp.array([-0.5, 0.0, 0.5])).astype(jnp.float32)"),
    Killer("clip", "jnp.clip(h, -2.0, 2.0)", bias=(7.0, 0.0), most=True),
    Killer("clip below", "jnp.clip(h, -2.0, 2.0)", bias=(-7.0, 0.0), most=True),
    Killer("minimum", "jnp.minimum(h, 2.0)", bias=(7.0, 0.0), most=True),
    Killer("dead relu", "jax.nn.relu(h)", bias=(-6.0, 2.0), most=True),
    Killer("dead maximum", "jnp.maximum(h, 0.0)", bias=(-6.0, 2.0), most=True),
    Killer("relu6 above 6", "jax.nn.relu6(h)", bias=(12.0, 2.0), most=True),
    Killer("hard tanh", "jax.nn.hard_tanh(h)", bias=(6.0, 0.0), most=True),
    Killer("saturated tanh", "jnp.tanh(h)", bias=(9.0, 0.0), most=True),
    Killer("rounded off tanh", "jnp.tanh(h)", bias=(-25.0, 0.0), most=True),
    Killer("saturated sigmoid", "jax.nn.sigmoid(h)", bias=(-14.0, 0.0), most=True),
    Killer("saturated softmax", "jax.nn.softmax(4000.0 * h)", "jax.nn.softmax(h)"),
    Killer("exp underflows", "jnp.exp(h)", bias=(-200.0, 0.0), most=True),
    Killer("rejected branch", "jnp.where(gate, h, 0.3)", most=True),
    Killer("rejected by its own values", "jnp.where(h < 5.0, 0.3, h)"),
    Killer("lax.select", "lax.select(gate, h, jnp.full_like(h, 0.3))", most=True),
    Killer("times 0", "h * gate.astype(h.dtype) + 0.2", most=True),
    Killer("stop_gradient", "lax.stop_gradient(h)"),
    Killer("branch not taken", "lax.cond(jnp.any(v > 99.0), lambda h: h, jnp.ones_like, h)"),
)  # fmt: skip


class Place(NamedTuple):
    """Where the killer stands.

    Attributes:
      call: the lines of ``loss`` that make ``y``; ``$dies`` is the line of the killer.
      around: the lines of the module above ``loss``.
      helper: the text of a second file, "" if there is none.
      same: whether the killer must keep the shape of ``h``.
    """

    call: str
    around: str = ""
    helper: str = ""
    same: bool = False


OP = "def op(h, v, gate):\n    $dies\n    return y\n"
PLACES = {
    "plain": Place("$dies"),
    "function": Place("y = op(h, v, gate)", OP),
    "method": Place(
        "y = Layer(v)(h, gate)",
        "class Layer:\n    def __init__(self, v):\n        self.v = v\n\n"
        "    def __call__(self, h, gate):\n        v = self.v\n        $dies\n        return y\n",
    ),
    "named scope": Place('with jax.named_scope("head"):\n        y = op(h, v, gate)', OP),
    "jit": Place("y = jax.jit(op)(h, v, gate)", OP),
    "jit of jit": Place("y = jax.jit(lambda h: jax.jit(op)(h, v, gate))(h)", OP),
    "remat": Place("y = jax.checkpoint(op)(h, v, gate)", OP),
    "vmap": Place("y = jax.vmap(op, in_axes=(0, None, 0))(h, v, gate)", OP),
    "map": Place("y = lax.map(lambda row: op(row[0], v, row[1]), (h, gate))", OP),
    "scan": Place(
        "_, y = lax.scan(lambda c, row: (c + 1, op(row[0], v, row[1])), 0, (h, gate))", OP),
    "recurrent": Place(
        "step = lambda c, row: 2 * (op(0.1 * c + row[0], v, row[1]),)\n"
        "    _, y = lax.scan(step, jnp.zeros(4), (h, gate))",
        OP,
        same=True,
    ),
    "remat in scan": Place(
        "body = jax.checkpoint(lambda c, row: (c, op(row[0], v, row[1])))\n"
        "    _, y = lax.scan(body, None, (h, gate))",
        OP,
    ),
    "cond": Place(
        "y = lax.cond(jnp.all(v < 9.0), op, lambda h, v, gate: jnp.zeros_like(h), h, v, gate)",
        OP,
        same=True,
    ),
    "another file": Place("y = outer(h, v, gate)", "from $helper import outer\n",
        OP + "\n\n@jax.jit\ndef outer(h, v, gate):\n    h = h * 1\n    return op(h, v, gate)\n"),
}  # fmt: skip

# Healthy lines that look like killers: of their parameters, each keeps its gradient.
MORE = (
    "more = jax.nn.softmax(k)",
    "more = jax.nn.logsumexp(k, axis=-1, keepdims=True)",
    "more = jax.nn.relu(k)",
    "more = jax.nn.leaky_relu(k)",
    "more = jax.nn.gelu(k)",
    "more = jnp.clip(k, -9.0, 9.0)",
    "more = k + lax.stop_gradient(jnp.round(k) - k)",
    "more = (k - lax.stop_gradient(k.mean(0))) ** 2",
    "more = jnp.where(jnp.abs(k) < 3.0, k, jnp.sign(k))",
    "more = k * jnp.array([1.0, 0.0, 1.0, 1.0, 1.0])[:, None]",
    "more = jnp.max(k, axis=0)",
    "more = jnp.sort(k, axis=0)",
    "more = jax.nn.one_hot(ids, 4) * k",
    "more = k[jnp.argsort(ids)]",
    "more = jnp.where(jnp.argmax(k, axis=-1, keepdims=True) == ids[:, None], k, 2.0 * k)",
    "more = k / jnp.sqrt(jnp.mean(k * k, axis=-1, keepdims=True) + 1e-3)",
    "more = table[ids] * k",
    "more = jnp.tanh(k) + table[ids]",
    "more = k; hits = jnp.mean((jnp.argmax(k, axis=-1) == ids).astype(k.dtype))",
)
BEFORE = (
    "h = h + 0",
    "h = h[::-1][::-1]",
    "h = jnp.concatenate([h[:2], h[2:]])",
    "h = h.T.reshape(4, 5).T",
)
NAMES = ("w", "b", "v", "u", "table")


@dataclasses.dataclass(frozen=True)
class Program:
    """One program and its twin.

    Attributes:
      name: killer, place, how many units die, and how the parameters are passed.
      files: file name -> text; the first is the program, with ``loss`` and ``example_args``.
      dies: the marked line as ``file.py:line``.
      function, twin, args: the program, its twin and their arguments.
      killed: the number of each parameter that lacks gradient, and the share of its elements.
    """

    name: str
    files: dict[str, str]
    dies: str
    function: Any = dataclasses.field(repr=False)
    twin: Any = dataclasses.field(repr=False)
    args: tuple[Any, ...] = dataclasses.field(repr=False)
    killed: dict[int, float]


def programs(seed: int, count: int, folder: pathlib.Path) -> Iterator[Program]:
    """Yield programs of which it was measured that gradients die; the same for the same seed.

    Every killer comes once before any comes twice.
    """
    rng = random.Random(seed)
    deck: list[Killer] = []
    made = 0
    while made < count:
        deck = deck or rng.sample(KILLERS, len(KILLERS))
        name, files, twin = write(rng, f"death_{seed}_{made}", deck.pop())
        sources = {str(folder / file): text for file, text in files.items()}
        with nan_truth.plain_jax(False):
            for path, text in sources.items():
                pathlib.Path(path).write_text(text, encoding="utf-8")
            module = nan_truth.load(sources)
            living = nan_truth.load({str(folder / file): text for file, text in twin.items()})
            args = module.example_args()
            killed = measure(module.loss, living.loss, args)
        if killed:
            made += 1
            dies = marked(files)
            yield Program(name, files, dies, module.loss, living.loss, args, killed)


def measure(dead: Any, living: Any, args: tuple[Any, ...]) -> dict[int, float]:
    """Return of which parameters most elements have a gradient in the twin alone, and how many."""
    grads, twins = (parameters_gradients(f, args) for f in (dead, living))
    jitted = parameters_gradients(jax.jit(dead), args)
    found = {}
    for k, (g, compiled, twin) in enumerate(zip(grads, jitted, twins, strict=True)):
        gone = (abs(g) <= VANISHED * abs(twin)) & (abs(compiled) <= VANISHED * abs(twin))
        share = float((gone & (twin != 0)).mean())
        if share >= 0.5:
            found[k] = share
    return found


def parameters_gradients(f: Any, args: tuple[Any, ...]) -> list[np.ndarray]:
    """Return the gradient of every parameter, which are floats and come before the inputs."""
    count = len(args) - 3  # x, gate and ids
    return [np.asarray(g) for g in jax.tree.leaves(jax.grad(f, tuple(range(count)))(*args))]


def marked(files: dict[str, str]) -> str:
    """Return the marked line as ``file.py:line``."""
    (found,) = [
        f"{file}:{number}"
        for file, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if line.endswith(MARK)
    ]
    return found


def write(
    rng: random.Random, name: str, killer: Killer
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the name and the files of one program, and those of its twin."""
    where = rng.choice([key for key, place in PLACES.items() if killer.same or not place.same])
    place, tree, dying = PLACES[where], rng.random() < 0.6, rng.choice([3, 4]) if killer.most else 4
    bias = [killer.bias[0]] * dying + [killer.bias[1]] * (UNITS - dying)
    order = rng.sample(range(UNITS), UNITS)
    b = [round(bias[k] + rng.uniform(-0.4, 0.4), 2) for k in order]
    gate = [[k >= dying for k in order] for _ in range(ROWS)]

    def matrix(rows: int) -> str:
        return str([[round(rng.gauss(0.0, 0.6), 2) for _ in range(UNITS)] for _ in range(rows)])

    lines = [
        *([f"w, b, v, u, table = (params[name] for name in {NAMES})"] if tree else []),
        "h = x @ w + b",
        *rng.sample(BEFORE, rng.randrange(3)),
        place.call,
        "total = jnp.sum(y * v, axis=-1)",
        "k = x @ u",
    ]
    for more in rng.sample(MORE, 1 + rng.randrange(3)):
        lines += [*more.split("; "), "total = total + jnp.sum(more * 0.3, axis=-1)"]
    lines += [
        f"return {rng.choice(['jnp.mean((total - 1.0) ** 2)', 'jnp.sum(jnp.sin(0.3 * total))'])}"
    ]
    values = {
        "w": matrix(UNITS), "b": str(b), "v": str([round(rng.uniform(0.5, 1.5), 2) for _ in order]),
        "u": matrix(UNITS), "table": matrix(6),
    }  # fmt: skip
    given = ", ".join(f"jnp.array({values[key]})" for key in NAMES)
    if tree:
        given = "{" + ", ".join(f'"{k}": jnp.array({values[k]})' for k in NAMES) + "}"
    ids = [rng.randrange(4) for _ in range(ROWS)]
    text = (
        (f"{place.around}\n\n" if place.around else "")
        + f"def loss({'params' if tree else ', '.join(NAMES)}, x, gate, ids):\n    "
        + "\n    ".join(lines)
        + f"\n\n\ndef example_args():\n    x = jnp.array({matrix(ROWS)})\n"
        + f"    return {given}, x, jnp.array({gate}), jnp.array({ids})\n"
    )

    def filled(text: str, expression: str, mark: str) -> str:
        text = string.Template(text).substitute(dies=f"y = {expression}{mark}", helper=f"{name}_op")
        return f"import jax\nimport jax.numpy as jnp\nfrom jax import lax\n\n\n{text}"

    parts = {f"{name}.py": text} | ({f"{name}_op.py": place.helper} if place.helper else {})
    dead = {file: filled(part, killer.text, f"  {MARK}") for file, part in parts.items()}
    twin = {file: filled(part, killer.alive, "") for file, part in parts.items()}
    return f"{killer.name} | {where} | {dying} of 4 | {'tree' if tree else 'arrays'}", dead, twin
