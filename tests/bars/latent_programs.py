"""Programs that work today: with wrong gradient rules, with latent traps, and healthy ones.

A program is a function out of `tests.bars.latent_rules` or `tests.bars.latent_traps` at a place in
somebody's loss: of plain JAX, flax or equinox, with a loss of optax or one by hand. It is written
to a file, as people's programs are. What is true of it follows from how it is made, and
`tests.bars.latent_truth` holds that against plain JAX.
"""

import dataclasses
import importlib.util
import itertools
import pathlib
import re
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from tests.bars import latent_rules, latent_traps
from tests.bars.latent_rules import Fault, Kernel
from tests.bars.latent_traps import ROWS, UNITS, Snare

Loss = Callable[..., Any]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that works today.

    Attributes:
      name: what it is made of.
      kind: what sort of rule or trap it has, or looks as if it had.
      f, args: the scalar loss, imported from its file, and its arguments.
      file: where it was written.
    """

    name: str
    kind: str
    f: Loss = dataclasses.field(repr=False)
    args: tuple[Any, ...] = dataclasses.field(repr=False)
    file: pathlib.Path


@dataclasses.dataclass(frozen=True)
class WrongRule(Program):
    """A program with one rule that is wrong.

    Attributes:
      line: where the mistake is.
      lines: all that may be named: where the function is called or defined, its rules, the mistake.
      factor: by what the gradient of at least one argument is multiplied, if that is the mistake.
    """

    line: int
    lines: tuple[int, ...]
    factor: float | None


@dataclasses.dataclass(frozen=True)
class Trap(Program):
    """A program that is finite at its arguments and has a trap.

    Attributes:
      line: where the trap is, the first of its lines.
      lines: all of its lines.
      provoke: arguments, each within its range widened once, at which it snaps.
    """

    line: int
    lines: tuple[int, ...]
    provoke: tuple[Any, ...] = dataclasses.field(repr=False)


class Place(NamedTuple):
    """Where the function is called.

    Attributes:
      call: the lines that make ``z``; ``$f`` is the function and ``$a`` its arguments, of which
        ``$rows`` go in row by row, as ``$axes`` says; ``$row`` calls it on one row.
      around: the lines of the module above the loss.
      rows: whether it goes row by row.
      exact: whether the function is called with ``h`` as it is.
    """

    call: str
    around: str = ""
    rows: bool = False
    exact: bool = True


PLACES = {
    "plain": Place("z = $f($a)"),
    "helper": Place("z = block($a)", "def block($a):\n    return 0.5 * h + $f($a)\n"),
    "two deep": Place(
        "z = outer($a)",
        "def inner($a):\n    y = $f($a)\n    return y - 0.1 * h\n\n\n"
        "@jax.jit\ndef outer($a):\n    return 0.9 * inner($a)\n",
    ),
    "jit": Place("z = jax.jit($f)($a)"),
    "remat": Place("z = jax.checkpoint($f)($a)"),
    "cond": Place("z = lax.cond(jnp.sum(h) < 90.0, $f, lambda $a: h, $a)"),
    "method": Place(
        "z = Mixer(0.8)($a)",
        "class Mixer:\n    def __init__(self, share):\n        self.share = share\n\n"
        "    def __call__(self, $a):\n        return self.share * $f($a)\n",
    ),
    "scope": Place('with jax.named_scope("mixing"):\n    z = $f($a)'),
    "vmap": Place("z = jax.vmap($f, in_axes=($axes,))($a)", rows=True),
    "vmap of a helper": Place(
        "z = jax.vmap(one, in_axes=($axes,))($a)",
        "def one($a):\n    return $f($a)\n",
        rows=True,
    ),
    "map": Place("z = lax.map(lambda row: $row, ($rows,))", rows=True),
    "scan": Place("_, z = lax.scan(lambda n, row: (n + 1, $row), 0, ($rows,))", rows=True),
    "remat in scan": Place(
        "step = jax.checkpoint(lambda n, row: (n, $row))\n_, z = lax.scan(step, None, ($rows,))",
        rows=True,
    ),
    "recurrent": Place(
        "def step(c, h):\n    c = $f(0.4 * c + h$rest)\n    return c, c\n\n"
        "_, z = lax.scan(step, jnp.zeros_like(h[0]), h)",
        rows=True,
        exact=False,
    ),
    "twice": Place("z = $f($a)\nz = $f(0.5 * z + h$rest)", exact=False),
    "twice, vmap": Place(
        "many = jax.vmap($f, in_axes=($axes,))\nz = many($a) - 0.5 * many(0.3 * h$rest)",
        rows=True,
        exact=False,
    ),
}

CONTEXTS = {
    "dict": """
def encode(params, x):
    return jnp.tanh(x @ params["first"])


def loss($args):
    h = encode(params, x)
    v, w = params["scale"], params["mix"]
    $call
    out = z @ params["head"]
    return $end


def parameters():
    rng = np.random.default_rng($seed)
    draw = lambda *shape: rng.normal(0.0, 0.5, shape).astype(np.float32)
    scale = np.linspace(0.5, 1.5, 4, dtype=np.float32)
    return {"first": draw(3, 4), "head": draw(4, 2), "mix": draw(4, 4), "scale": scale}
""",
    "named tuple": """
class Params(NamedTuple):
    layers: list
    scale: jax.Array
    mix: jax.Array
    head: jax.Array


@jax.jit
def layer(h, kernel):
    return jnp.tanh(h @ kernel)


def predict(params, x$extra):
    h = functools.reduce(layer, params.layers, x)
    v, w = params.scale, params.mix
    $call
    return jnp.dot(z, params.head)


def loss($args):
    out = predict(params, x$extra)
    return $end


def parameters():
    keys = iter(jax.random.split(jax.random.key($seed), 4))
    draw = lambda *shape: 0.6 * jax.random.normal(next(keys), shape)
    scale = jnp.linspace(1.5, 0.5, 4)
    return Params([draw(3, 5), draw(5, 4)], scale, draw(4, 4), draw(4, 2))
""",
    "linen": """
class Net(nn.Module):
    @nn.compact
    def __call__(self, x$extra):
        h = nn.tanh(nn.Dense(4, use_bias=False, name="first")(x))
        v = self.param("scale", lambda key: jnp.linspace(0.5, 1.5, 4))
        w = self.param("mix", nn.initializers.lecun_normal(), (4, 4))
        $call
        return nn.Dense(2)(z)


def loss($args):
    out = Net().apply(params, x$extra)
    return $end


def parameters($inputs):
    return Net().init(jax.random.key($seed), x$extra)
""",
    "linen setup": """
class Body(nn.Module):
    def setup(self):
        self.first = nn.Dense(5, use_bias=False)
        self.second = nn.Dense(4, use_bias=False)

    def __call__(self, x):
        return nn.tanh(self.second(nn.tanh(self.first(x))))


class Net(nn.Module):
    def setup(self):
        self.body = Body()
        self.head = nn.Dense(2)
        self.scale = self.param("scale", lambda key: jnp.linspace(0.5, 1.5, 4))
        self.mix = self.param("mix", nn.initializers.orthogonal(), (4, 4))

    def __call__(self, x$extra):
        h = self.body(x)
        v, w = self.scale, 1.0 * self.mix
        $call
        return self.head(z)


model = Net()


def loss($args):
    out = model.apply(params, x$extra)
    return $end


def parameters($inputs):
    return model.init({"params": jax.random.key($seed)}, x$extra)
""",
    "nnx": """
class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)
        self.scale = nnx.Param(jnp.linspace(0.5, 1.5, 4))
        self.mix = nnx.Param(0.5 * jax.random.normal(rngs.params(), (4, 4)))

    def __call__(self, x$extra):
        h = jnp.tanh(self.first(x))
        v, w = self.scale[...], self.mix[...]
        $call
        return self.head(z)


graph, state = nnx.split(Net(nnx.Rngs($seed)))


def loss($args):
    out = nnx.merge(graph, params)(x$extra)
    return $end


def parameters():
    return state
""",
    "equinox": """
class Net(eqx.Module):
    first: eqx.nn.Linear
    head: eqx.nn.Linear
    scale: jax.Array
    mix: jax.Array

    def __init__(self, key):
        one, two, three = jax.random.split(key, 3)
        self.first = eqx.nn.Linear(3, 4, use_bias=False, key=one)
        self.head = eqx.nn.Linear(4, 2, key=two)
        self.scale = jnp.linspace(0.5, 1.5, 4)
        self.mix = 0.5 * jax.random.normal(three, (4, 4))

    def __call__(self, x$extra):
        h = jax.vmap(self.first)(x)
        h = jnp.tanh(h)
        v, w = self.scale, self.mix
        $call
        return jax.vmap(self.head)(z)


def loss($args):
    out = params(x$extra)
    return $end


def parameters():
    return Net(jax.random.key($seed))
""",
    "equinox, partitioned": """
class Net(eqx.Module):
    layers: list
    scale: jax.Array
    mix: jax.Array
    squash: Callable

    def hidden(self, row):
        for layer in self.layers[:-1]:
            row = self.squash(layer(row))
        return row


def predict(model, x$extra):
    h = eqx.filter_vmap(model.hidden)(x)
    v, w = model.scale, model.mix
    $call
    return jax.vmap(model.layers[-1])(z)


def build(key):
    keys = jax.random.split(key, 4)
    sizes = [(3, 5), (5, 4), (4, 2)]
    layers = [eqx.nn.Linear(*s, use_bias=False, key=k) for s, k in zip(sizes, keys)]
    mix = 0.4 * jax.random.normal(keys[3], (4, 4))
    return Net(layers, jnp.linspace(0.5, 1.5, 4), mix, jnp.tanh)


weights, static = eqx.partition(build(jax.random.key($seed)), eqx.is_array)


def loss($args):
    out = predict(eqx.combine(params, static), x$extra)
    return $end


def parameters():
    return weights
""",
}

HEAD = """import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

"""

CONSTANTS = {
    "LABELS": "LABELS = np.array([0, 1, 1, 0, 1, 0])",
    "SIGNS": "SIGNS = np.array([[0, 1], [1, 1], [1, 0], [0, 0], [1, 0], [0, 1]], np.float32)",
    "KEEP": "KEEP = np.array([1, 1, 0, 1], np.float32)",
    "EDGES": "EDGES = np.array([1, 2, 2, 0, 2, 5], np.int32)",
}

ENDS = (
    "jnp.mean((out - t) ** 2)",
    "optax.l2_loss(out, t).mean()",
    "jnp.mean(optax.huber_loss(out, t, delta=0.7))",
    "optax.log_cosh(out, t).mean()",
    "optax.softmax_cross_entropy_with_integer_labels(out, LABELS).mean()",
    "-jnp.mean(jnp.sum(SIGNS * jax.nn.log_softmax(out), axis=-1))",
    "jnp.mean(jnp.square(out)) + 0.1 * jnp.sum(out * t)",
)
BOUNDED_ENDS = (
    "optax.sigmoid_binary_cross_entropy(out, SIGNS).mean()",
    "jnp.sum(jax.nn.softplus(-t * out))",
    "jnp.sum((jax.nn.sigmoid(out) - SIGNS) ** 2)",
)
TAILS = ("", "z = z * v", "z = z @ w", "z = z + h", "z = 0.5 * (z + h @ w)")
BESIDES = ("squash", "swish", "gelu", "rms_norm", "standardise", "lerp", "rotate")


def wrong_rules(seed: int, count: int, folder: pathlib.Path) -> Iterator[WrongRule]:
    """Yield programs in which one rule is wrong, of all kinds alike; the same for the same seed."""
    rng = np.random.default_rng(seed)
    pairs = [(kernel, fault) for kernel in latent_rules.KERNELS for fault in kernel.faults]
    drawn = _alike(pairs, lambda pair: pair[1].kind, rng)
    for number, (kernel, fault) in enumerate(itertools.islice(drawn, count)):
        yield wrong_rule(kernel, fault, rng, folder / f"wrong_{seed}_{number}.py")


def right_rules(seed: int, count: int, folder: pathlib.Path) -> Iterator[Program]:
    """Yield programs whose rules are right, or differ from the derivative on purpose."""
    rng = np.random.default_rng(seed)
    kernels = [*latent_rules.MEANT, *latent_rules.KERNELS]
    drawn = _alike(kernels, lambda kernel: kernel in latent_rules.MEANT, rng)
    for number, kernel in enumerate(itertools.islice(drawn, count)):
        yield right_rule(kernel, rng, folder / f"right_{seed}_{number}.py")


def traps(seed: int, count: int, folder: pathlib.Path) -> Iterator[Trap]:
    """Yield programs with a trap, of all kinds alike; the same for the same seed."""
    rng = np.random.default_rng(seed)
    drawn = _alike(latent_traps.SNARES, lambda snare: snare.kind, rng)
    for number, snare in enumerate(itertools.islice(drawn, count)):
        yield trap(snare, rng, folder / f"trap_{seed}_{number}.py")


def healthy(seed: int, count: int, folder: pathlib.Path) -> Iterator[Program]:
    """Yield programs that look as if they had a trap."""
    rng = np.random.default_rng(seed)
    drawn = _alike(latent_traps.SNARES, lambda snare: snare.kind, rng)
    for number, snare in enumerate(itertools.islice(drawn, count)):
        yield without_trap(snare, rng, folder / f"healthy_{seed}_{number}.py")


def wrong_rule(
    kernel: Kernel, fault: Fault, rng: np.random.Generator, file: pathlib.Path
) -> WrongRule:
    """Return a program in which the kernel has the fault."""
    code = latent_rules.broken(latent_rules.source(kernel, _spelling(rng)), fault)
    name, text = _with_rule(kernel, code, rng)
    marked = _marked(text, latent_rules.MARK)
    mentions = _mentions(text, (kernel.name, f"{kernel.name}_plain"))
    f, args = _written(text.replace(latent_rules.MARK, ""), file, rng, "")
    return WrongRule(
        name=f"{name} | {fault.kind}",
        kind=fault.kind,
        f=f,
        args=args,
        file=file,
        line=marked[0],
        lines=tuple(sorted({*marked, *mentions})),
        factor=fault.factor,
    )


def right_rule(kernel: Kernel, rng: np.random.Generator, file: pathlib.Path) -> Program:
    """Return a program in which the kernel is as it should be."""
    name, text = _with_rule(kernel, latent_rules.source(kernel, _spelling(rng)), rng)
    f, args = _written(text, file, rng, "")
    return Program(name, "meant" if kernel in latent_rules.MEANT else "right", f, args, file)


def trap(snare: Snare, rng: np.random.Generator, file: pathlib.Path) -> Trap:
    """Return a program with the trap, and with another function that looks like one."""
    name, text = _with_snare(snare, latent_traps.source(snare, safe=False), rng)
    lines = _marked(text, latent_traps.MARK)
    f, args = _written(text.replace(latent_traps.MARK, ""), file, rng, snare.extra)
    return Trap(
        name=name,
        kind=snare.kind,
        f=f,
        args=args,
        file=file,
        line=lines[0],
        lines=lines,
        provoke=_provoked(snare, args),
    )


def without_trap(snare: Snare, rng: np.random.Generator, file: pathlib.Path) -> Program:
    """Return a program with the twin of the trap."""
    name, text = _with_snare(snare, latent_traps.source(snare, safe=True), rng)
    f, args = _written(text, file, rng, snare.extra)
    return Program(name, snare.kind, f, args, file)


def _alike(things: Sequence[T], kind: Callable[[T], Any], rng: np.random.Generator) -> Iterator[T]:
    """Yield things without end, as many of one kind as of another, in an order drawn by chance."""
    kinds = list(dict.fromkeys(map(kind, things)))
    left: dict[Any, list[T]] = {one: [] for one in kinds}
    while True:
        for one in rng.permutation(len(kinds)):
            stack = left[kinds[one]]
            if not stack:
                same = [thing for thing in things if kind(thing) == kinds[one]]
                stack += [same[i] for i in rng.permutation(len(same))]
            yield stack.pop()


def _pick(rng: np.random.Generator, things: Sequence[T]) -> T:
    return things[int(rng.integers(len(things)))]


def _spelling(rng: np.random.Generator) -> int:
    return int(rng.integers(2))


def _with_rule(kernel: Kernel, code: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return the name and the text of a program with a rule, and maybe right rules beside it."""
    beside = [
        one
        for one in latent_rules.KERNELS
        if one.name in BESIDES and one.name != kernel.name and rng.random() < 0.2
    ]
    before = "".join(f"h = {one.name}({', '.join(one.takes.split())})\n" for one in beside)
    code = "\n\n".join([*(latent_rules.source(one, _spelling(rng)) for one in beside), code])
    is_loss = kernel.takes.startswith("out")
    end = _pick(rng, (*ENDS, *BOUNDED_ENDS))
    if is_loss:
        arguments = ", ".join(kernel.takes.split())
        end = _pick(rng, (f"{kernel.entry}({arguments})", f"jax.jit({kernel.entry})({arguments})"))
        place, around, call = "plain", "", "z = jnp.tanh(h * v) @ w"
    else:
        fitting = [place for place in PLACES if kernel.rows or not PLACES[place].rows]
        place = _pick(rng, fitting)
        around, call = _placed(PLACES[place], kernel.entry, kernel.takes.split())
    context = _pick(rng, list(CONTEXTS))
    lines = f"{before}{call}\n{_pick(rng, TAILS)}"
    text = _program(context, f"{code}\n\n{around}", lines, end, "", rng)
    return f"{kernel.name} | {place} | {context}", text


def _with_snare(snare: Snare, code: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return the name and the text of a program with a function and with a harmless one."""
    decoys = [
        one
        for one in latent_traps.SNARES
        if one.extra in ("", snare.extra) and one.name != snare.name
    ]
    decoy = _pick(rng, decoys)
    code += "\n\n" + latent_traps.source(decoy, safe=True)
    fitting = [
        name for name, place in PLACES.items() if place.exact and (snare.rows or not place.rows)
    ]
    place = _pick(rng, fitting)
    around, call = _placed(PLACES[place], snare.name, snare.takes.split())
    call += f"\nz = z + 0.1 * {decoy.name}({', '.join(decoy.takes.split())})"
    context = _pick(rng, list(CONTEXTS))
    lines = f"{call}\n{_pick(rng, TAILS)}"
    text = _program(context, f"{code}\n\n{around}", lines, _pick(rng, ENDS), snare.extra, rng)
    return f"{snare.name} | {place} | {context}", text


def _placed(place: Place, entry: str, takes: Sequence[str]) -> tuple[str, str]:
    """Return what stands above the loss and the lines in it, with the call at its place."""
    mapped = [name for name in takes if name in ("h", "u")]
    slots = {
        "f": entry,
        "a": ", ".join(takes),
        "rest": "".join(f", {name}" for name in takes[1:]),
        "axes": ", ".join("0" if name in mapped else "None" for name in takes),
        "rows": ", ".join(mapped),
    }
    one = [f"row[{mapped.index(name)}]" if name in mapped else name for name in takes]
    slots["row"] = f"{entry}({', '.join(one)})"
    around, call = (string.Template(text).substitute(slots) for text in (place.around, place.call))
    return around, call


def _program(
    context: str, code: str, call: str, end: str, extra: str, rng: np.random.Generator
) -> str:
    """Return the text of a program."""
    inputs = ["x", *(["t"] if re.search(r"\bt\b", end) else []), *(["u"] if extra else [])]
    body = re.sub(
        r"^( *)\$call$",
        lambda found: "\n".join((found[1] + line).rstrip() for line in call.strip().splitlines()),
        CONTEXTS[context],
        flags=re.MULTILINE,
    )
    slots = {
        "args": ", ".join(["params", *inputs]),
        "inputs": ", ".join(name for name in inputs if name != "t"),
        "extra": ", u" if extra else "",
        "end": end,
        "seed": str(int(rng.integers(1000))),
    }
    body = string.Template(body).substitute(slots)
    needed = [text for name, text in CONSTANTS.items() if name in code + body]
    parts = [*(["\n".join(needed)] if needed else []), code.strip(), body.strip()]
    return HEAD + "\n" + "\n\n\n".join(parts) + "\n"


def _written(
    text: str, file: pathlib.Path, rng: np.random.Generator, extra: str
) -> tuple[Loss, tuple[Any, ...]]:
    """Write a program, import it and return its loss and arguments."""
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arrays = {
        "x": rng.uniform(-2.0, 2.0, (ROWS, 3)).astype(np.float32),
        "t": rng.normal(0.0, 1.0, (ROWS, 2)).astype(np.float32),
        "u": latent_traps.extra(extra, rng) if extra else None,
    }
    takes = _parameters(module.loss)[1:]
    params = module.parameters(*(arrays[name] for name in _parameters(module.parameters)))
    return module.loss, (params, *(arrays[name] for name in takes))


def _parameters(function: Loss) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _provoked(snare: Snare, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments changed as the trap wants them."""
    arrays = {"x": args[1]} | ({"u": args[-1]} if snare.extra else {})
    for leaf in jax.tree.leaves(args[0]):
        if leaf.shape in ((UNITS,), (UNITS, UNITS)):
            arrays["v" if leaf.ndim == 1 else "w"] = np.asarray(leaf)
    changed = snare.provoke(arrays)
    named = {(UNITS,): "v", (UNITS, UNITS): "w"}
    params = jax.tree.map(lambda leaf: changed.get(named.get(leaf.shape), leaf), args[0])
    rest = [changed["x"], *args[2:]]
    if snare.extra:
        rest[-1] = changed["u"]
    return (params, *rest)


def _marked(text: str, mark: str) -> tuple[int, ...]:
    """Return the numbers of the marked lines."""
    return tuple(n for n, line in enumerate(text.splitlines(), 1) if line.endswith(mark))


def _mentions(text: str, names: Sequence[str]) -> set[int]:
    """Return the numbers of the lines that call a function or define it or its rules."""
    lines = text.splitlines()
    either = "|".join(f"{name}(?:_fwd|_bwd|_jvp)?" for name in names)
    found = {n for n, line in enumerate(lines, 1) if re.search(rf"\b(?:{either})\b", line)}
    return found | {n - 1 for n in found if n > 1 and lines[n - 2].startswith("@")}
