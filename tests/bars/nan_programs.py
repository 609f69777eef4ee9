"""Programs that make NaN or Inf, and healthy ones that look as if, each with its truth.

A program is an operator at a place, in a dtype, behind a masking. It is written to files, as
people's programs are, and the line where the bad value is born is marked ``# BORN``. What happens
to it is not computed here but measured in plain JAX (`tests.bars.nan_truth`), and a program whose
truth cannot be measured is not used.
"""

import dataclasses
import pathlib
import random
import string
from collections.abc import Iterator
from typing import Any

from tests.bars import nan_operators, nan_truth
from tests.bars.nan_operators import Limits, Operator

ROWS = 4
CLEAN_SHARE = 0.2
DATA_SHARE = 0.06

MASKS = {
    "none": "z = y",
    "where": "z = jnp.where(keep, y, 0.0)",
    "select": "z = lax.select(keep, y, jnp.zeros_like(y))",
    "times 0": "z = y * keep.astype(y.dtype)",
    "cut out": "z = jnp.concatenate([y[:$bad], jnp.zeros_like(y[:1]), y[$bad + 1:]])",
    "dropped by a scatter": (
        "z = jnp.zeros_like(y).at[jnp.where(keep, jnp.arange(4), 4)].add(y, mode='drop')"
    ),
    "branch not taken": "z = lax.cond(jnp.all(keep), lambda: y, lambda: jnp.zeros_like(y))",
    "frozen before": "z = y",
    "frozen before, where": "z = jnp.where(keep, y, 0.0)",
    "frozen after, where": "z = jnp.where(keep, lax.stop_gradient(y), 0.0)",
    "unused": "z = jnp.tanh(w)",
    "clipped": "z = jnp.clip(y, -3.0, 3.0)",
    "minimum": "z = jnp.minimum(y, 3.0)",
    "maximum": "z = jnp.maximum(y, -3.0)",
    "largest": "z = jnp.max(y) * w",
    "argmax": "z = w[jnp.argmax(y)] * jnp.ones_like(w)",
    "argmin": "z = w[jnp.argmin(y)] * jnp.ones_like(w)",
    "compared": "z = (y > 0.25).astype(y.dtype)",
    "reciprocal": "z = 1.0 / (3.0 + jnp.abs(y))",
    "square below": "z = 1.0 / (1.0 + y * y)",
    "root below": "z = lax.rsqrt(1.0 + jnp.abs(y))",
    "saturated": "z = jnp.tanh(y)",
    "softmax": "z = jax.nn.softmax(y)",
    "logsumexp": "z = jax.nn.logsumexp(y) * w",
    "nan_to_num": "z = jnp.nan_to_num(y, posinf=1.0, neginf=-1.0)",
}
_OFTEN = ("none", "where", "where", "select")
_BEFORE = {name: "x = lax.stop_gradient(x)" for name in MASKS if name.startswith("frozen before")}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the operator stands.

    Attributes:
      call: the lines of ``loss`` that make ``y``; ``$born`` is the line of the operator.
      around: the lines of the module above ``loss``.
      helper: the text of a second file, "" if there is none.
      fits: "any" operator, "loop" for those that are applied to their own result, "rule" for those
        of which one number makes one, "slope" for those with a bad derivative.
      floats: whether it differentiates ``x``, so that integers do not fit.
      masks: which maskings fit; empty for all.
      seen: whether every operator can be executed by itself, outside the place.
    """

    call: str
    around: str = ""
    helper: str = ""
    fits: str = "any"
    floats: bool = False
    masks: tuple[str, ...] = ()
    seen: bool = True


OP = "def op(x, w):\n    $born\n    return y\n"
PLACES = {
    "plain": Place("$born"),
    "function": Place("y = op(x, w)", OP),
    "lambda of a class": Place(
        "y = Layer(w)(x)",
        "class Layer:\n    def __init__(self, w):\n        self.w = w\n\n"
        "    def __call__(self, x):\n        w = self.w\n        $born\n        return y\n",
    ),
    "jit": Place("y = jax.jit(op)(x, w)", OP),
    "jit of jit": Place("y = jax.jit(lambda x: jax.jit(op)(x, w))(x)", OP),
    "remat": Place("y = jax.checkpoint(op)(x, w)", OP),
    "scan": Place("_, y = lax.scan(lambda c, row: (c + 1, op(row, w)), 0, x)", OP),
    "map": Place("y = lax.map(lambda row: op(row, w), x)", OP),
    "remat in scan": Place(
        "_, y = lax.scan(lambda c, row: (c, jax.checkpoint(op)(row, w)), None, x)", OP
    ),
    "fori_loop": Place(
        "y = lax.fori_loop(0, 4, lambda i, y: y.at[i].set(op(x[i], w)), jnp.zeros(4, $dtype))", OP
    ),
    "while_loop": Place(
        "frozen = lax.stop_gradient((x, w))\n"
        "    step = lambda s: (s[0] + 1, s[1].at[s[0]].set(op(frozen[0][s[0]], frozen[1])))\n"
        "    _, y = lax.while_loop(lambda s: s[0] < 4, step, (0, jnp.zeros(4, $dtype)))",
        OP,
        seen=False,
    ),
    "cond": Place(
        "y = lax.cond(jnp.all(w < 9.0), op, lambda x, w: jnp.zeros(4, $dtype), x, w)",
        OP,
        seen=False,
    ),
    "switch": Place(
        "y = lax.switch(jnp.sum(w > 0) - 3, [lambda x, w: jnp.zeros(4, $dtype), op], x, w)",
        OP,
        seen=False,
    ),
    "vmap": Place("y = jax.vmap(op, in_axes=(0, None))(x, w)", OP),
    "cond under vmap": Place(
        "y = jax.vmap(lambda row, k: lax.cond(k, lambda r: op(r, w), lambda r: jnp.zeros((), "
        "$dtype), row))(x, keep)",
        OP,
        masks=("none",),
        seen=False,
    ),
    "shard_map": Place(
        'mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))\n'
        '    cut = jax.P("i")\n'
        "    y = jax.shard_map(op, mesh=mesh, in_specs=(cut, jax.P()), out_specs=cut)(x, w)",
        OP,
        seen=False,
    ),
    "custom_jvp": Place(
        "y = op(x, w)",
        "@jax.custom_jvp\n" + OP + "\n\n@op.defjvp\ndef op_jvp(primals, tangents):\n"
        "    slope = jnp.cos(primals[0]) * tangents[0]\n"
        "    return op(*primals), slope.reshape(slope.shape[:1] + (-1,)).sum(-1)\n",
        floats=True,
    ),
    "custom_vjp": Place(
        "y = op(x, w)",
        "@jax.custom_vjp\n" + OP + "\n\ndef forward(x, w):\n    return op(x, w), (x, w)\n\n\n"
        "def backward(kept, g):\n    x, w = kept\n"
        "    return jnp.cos(x) * g.reshape(g.shape + (1,) * (x.ndim - 1)), jnp.zeros_like(w)\n\n\n"
        "op.defvjp(forward, backward)\n",
        floats=True,
    ),
    "rule of a custom_vjp": Place(
        "z = op(x, w)",
        "@jax.custom_vjp\ndef op(x, w):\n    return jnp.tanh(x)\n\n\n"
        "def forward(x, w):\n    return op(x, w), (x, w)\n\n\n"
        "def backward(kept, g):\n    x, w = kept\n    $born\n"
        "    return g * y, jnp.zeros_like(w)\n\n\nop.defvjp(forward, backward)\n",
        fits="rule",
        floats=True,
        masks=("none", "where"),
        seen=False,
    ),
    "gradient penalty": Place(
        "y = jax.vmap(jax.grad(op), in_axes=(0, None))(x, w)",
        OP,
        fits="slope",
        floats=True,
        masks=("none",),
    ),
    "carried by scan": Place(
        "y, _ = lax.scan(lambda c, _: (op(c, w), None), x, None, length=$steps)", OP, fits="loop"
    ),
    "carried by fori_loop": Place(
        "y = lax.fori_loop(0, $steps, lambda _, c: op(c, w), x)", OP, fits="loop"
    ),
    "another file": Place("y = op(x, w)", "from $helper import op\n", OP),
    "deep in another file": Place(
        "y = outer(x, w)",
        "from $helper import outer\n",
        "import functools\n\n\ndef logged(f):\n    @functools.wraps(f)\n"
        "    def call(*args):\n        return f(*args)\n\n    return call\n\n\n@logged\n"
        + OP
        + "\n\n@jax.jit\n@logged\ndef outer(x, w):\n    h = x * 1\n    return op(h, w)\n",
    ),
}

# Healthy lines around it: some leave x as it is, some add a number of their own to the result.
_SAME = (
    "x = x + 0",
    "x = x[::-1][::-1]",
    "x = jnp.concatenate([x[:1], x[1:]])",
    "x = jnp.stack([x, x])[1]",
    "x = x.reshape(-1).reshape(x.shape)",
    "x = jnp.roll(jnp.roll(x, 1, axis=0), -1, axis=0)",
)
_MORE = (
    "more = jnp.log(1.0 + jnp.exp(-w))",
    "more = jax.nn.softmax(w)",
    "more = w / jnp.sqrt(jnp.sum(w * w) + 0.01)",
    "more = jnp.where(keep, jnp.sqrt(w), 0.0)",
)
_ENDS = ("jnp.sum(w * z)", "jnp.dot(w, z)", "jnp.mean((w * z) ** 2)")


@dataclasses.dataclass(frozen=True)
class Program:
    """One program and what is true of it.

    Attributes:
      name: operator, place, dtype and masking.
      files: file name -> text; the first is the program, with ``loss`` and ``example_args``.
      born: the marked line as ``file.py:line``; "" of a healthy program.
      x64: whether it runs under `jax.enable_x64`.
      truth: what was measured.
      function, args: the program, imported from its file, and its arguments.
    """

    name: str
    files: dict[str, str]
    born: str
    x64: bool
    truth: nan_truth.Truth
    function: Any = dataclasses.field(repr=False)
    args: tuple[Any, ...] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Draft:
    """What a program is made of, and its files: file name -> text, ``loss`` in the first."""

    operator: Operator
    place: str
    dtype: str
    mask: str
    files: dict[str, str]

    @property
    def name(self) -> str:
        return " | ".join((self.operator.name, self.place, self.dtype, self.mask))


def programs(seed: int, count: int, folder: pathlib.Path) -> Iterator[Program]:
    """Yield programs whose truth was measured, written to ``folder``; the same for the same seed.

    A fifth of them are healthy.
    """
    rng = random.Random(seed)
    made = clean = 0
    while made < count:
        healthy = clean < round(CLEAN_SHARE * (made + 1))
        draft = draw(rng, f"nan_{seed}_{made}", healthy)
        sources = {str(folder / file): text for file, text in draft.files.items()}
        x64 = draft.dtype == "float64"
        with nan_truth.plain_jax(x64):
            truth = nan_truth.measure(sources, draft.operator, PLACES[draft.place], draft.dtype)
            if truth is None:
                continue
            for path, text in sources.items():
                pathlib.Path(path).write_text(text, encoding="utf-8")
            module = nan_truth.load(sources)
            args = module.example_args()
        made, clean = made + 1, clean + healthy
        born = nan_truth.marked(draft.files)
        yield Program(draft.name, draft.files, born, x64, truth, module.loss, args)


def draw(rng: random.Random, name: str, healthy: bool) -> Draft:
    """Draw operator, place, dtype and masking that fit each other, and write the program."""
    if healthy:
        table = nan_operators.CLEAN
    elif rng.random() < DATA_SHARE:
        table = nan_operators.DATA
    else:
        table = rng.choice([nan_operators.FORWARD, nan_operators.FORWARD, nan_operators.BACKWARD])
    operator = rng.choice(table)
    where = rng.choice([name for name, place in PLACES.items() if fits(operator, place)])
    mask = rng.choice(PLACES[where].masks or (*MASKS, *_OFTEN))
    return write(rng, name, operator, where, mask, rng.choice(operator.dtypes))


def fits(operator: Operator, place: Place) -> bool:
    """Tell whether an operator can stand at a place."""
    if operator.integer and place.floats:
        return False
    # A rule of our own hides the derivative that these are about.
    if place.floats and place.fits == "any" and operator.phase in ("backward", "data"):
        return False
    return {
        "any": operator.steps == 0,
        "loop": operator.steps > 0,
        "rule": operator.phase == "forward" and operator.rank == 0 and operator.steps == 0,
        "slope": operator.phase == "backward" and operator.rank == 0 and not operator.every,
    }[place.fits]


def write(
    rng: random.Random, name: str, operator: Operator, where: str, mask: str, dtype: str
) -> Draft:
    """Write one program: the operator at a place, behind a masking."""
    place = PLACES[where]
    bad = rng.randrange(ROWS)
    limits = Limits.of(dtype)
    x = [(operator.bad if i == bad else operator.good)(rng, limits) for i in range(ROWS)]
    keep = [i != bad for i in range(ROWS)]
    w = [round(rng.uniform(0.5, 1.5), 2) for _ in range(ROWS)]
    mark = "" if operator.phase == "none" else "  # BORN"
    lines = [
        *rng.sample(_SAME, rng.randrange(3)),
        *filter(None, [_BEFORE.get(mask)]),
        *(more := rng.sample(_MORE, rng.randrange(2))),
        place.call,
        *([] if place.fits == "rule" and mask == "none" else [_behind(place, mask)]),
        f"return {rng.choice(_ENDS)}" + (" + jnp.sum(more)" if more else ""),
    ]
    of_x = "jnp.int32" if operator.integer else "$dtype"
    text = (
        (f"{place.around}\n\n" if place.around else "")
        + "def loss(w, x, keep):\n    "
        + "\n    ".join(lines)
        + "\n\n\ndef example_args():\n"
        + f"    w = jnp.array({_literal(w)}, $dtype)\n"
        + f"    x = jnp.array({_literal(x)}, {of_x})\n"
        + f"    return w, x, jnp.array({keep})\n"
    )
    values = {
        "born": f"y = {operator.text}{mark}",
        "bad": bad,
        "steps": operator.steps,
        "helper": f"{name}_helper",
    }

    def filled(text: str) -> str:
        text = string.Template(text).safe_substitute(values)
        text = string.Template(text).substitute(dtype=f"jnp.{dtype}")
        imports = "import jax\nimport jax.numpy as jnp\nfrom jax import lax\n"
        imports += "import optax\n" if "optax." in text else ""
        return f"{imports}\n\n{text}"

    files = {f"{name}.py": filled(text)}
    if place.helper:
        files[f"{name}_helper.py"] = filled(place.helper)
    return Draft(operator, where, dtype, mask, files)


def _behind(place: Place, mask: str) -> str:
    if place.fits == "rule":
        return "z = jnp.where(keep, z, 0.0)"
    return MASKS[mask]


def _literal(value: Any) -> str:
    text = repr(value)
    return text.replace("nan", "jnp.nan").replace("inf", "jnp.inf")
