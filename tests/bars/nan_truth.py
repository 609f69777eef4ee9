"""What is true of a program, measured in plain JAX and with nothing of the package.

Every claim rests on a run: the program itself, eager and jitted; the program with the marked line
replaced by a safe one; the program with the bad values replaced by finite ones behind that line;
and its operators one by one.
"""

import contextlib
import dataclasses
import pathlib
import re
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np

MARK = "# BORN"
# Calls that do what the program inside them does.
OPENED = {
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat",
    "remat2",
}
REPLACEMENTS = (-7.0, 0.0, 0.5, 1.0, 3.0)
_STATEMENT = re.compile(r"^( *)y = (.*?)(?:  # BORN)?$")


@dataclasses.dataclass(frozen=True)
class Truth:
    """What happens to the bad value.

    Attributes:
      fate: "clean", there is none; "reaches" the result or a gradient; "harmless", nothing
        changes when it is replaced by finite numbers; "lost", all is finite in the end and
        something else would come out of finite numbers; "data" that are bad reach the result or a
        gradient; "hidden", they do not.
      result: whether the result is bad.
      gradients: whether a gradient is bad, one flag for each argument of floats.
      phase: "forward" or "backward", where the first birth is; "" if there is none of an operator.
      kinds: what the first birth may be called.
    """

    fate: str
    result: bool
    gradients: tuple[bool, ...]
    phase: str = ""
    kinds: tuple[str, ...] = ()


@contextlib.contextmanager
def plain_jax(x64: bool) -> Iterator[None]:
    """JAX as people run it, whatever the tests around are run with."""
    with (
        jax.enable_x64(x64),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def load(sources: dict[str, str], **names: Any) -> types.ModuleType:
    """Import a program and its helper from their texts; ``names`` are known in both."""
    modules = []
    for path, text in reversed(sources.items()):
        module = types.ModuleType(pathlib.Path(path).stem)
        vars(module).update(names, __file__=path)
        sys.modules[module.__name__] = module
        modules.append(module)
        exec(compile(text, path, "exec"), vars(module))
    for module in modules:
        del sys.modules[module.__name__]
    return modules[-1]


def marked(files: dict[str, str]) -> str:
    """Return the marked line as ``file.py:line``, "" where there is none."""
    found = [
        f"{pathlib.Path(file).name}:{number}"
        for file, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if line.endswith(MARK)
    ]
    assert len(found) <= 1, found
    return found[0] if found else ""


def rewritten(sources: dict[str, str], expression: str) -> dict[str, str]:
    """Return the program with another expression in the marked line; ``{}`` is the one it has."""

    def line(text: str) -> str:
        if not text.endswith(MARK):
            return text
        indent, old = _STATEMENT.fullmatch(text).groups()
        return f"{indent}y = {expression.replace('{}', old)}"

    return {path: "\n".join(map(line, text.split("\n"))) for path, text in sources.items()}


def outcome(loss: Any, args: tuple[Any, ...], *, jit: bool = False) -> list[np.ndarray] | None:
    """Return the result and the gradient of every argument of floats, or None if it fails."""
    floats = tuple(i for i, x in enumerate(args) if jnp.issubdtype(x.dtype, jnp.floating))
    both = jax.value_and_grad(loss, argnums=floats)
    try:
        value, grads = (jax.jit(both) if jit else both)(*args)
    except (TypeError, ValueError, NotImplementedError):
        return None
    return [np.asarray(x.astype(jnp.promote_types(x.dtype, jnp.float32))) for x in (value, *grads)]


def bad(outcome: list[np.ndarray]) -> list[bool]:
    return [not np.isfinite(x).all() for x in outcome]


@jax.custom_jvp
def swap(y: jax.Array, value: float) -> jax.Array:
    """Replace what is bad by a finite number and leave the way back as it is."""
    return jnp.where(jnp.isfinite(y), y, jnp.asarray(value, y.dtype))


@swap.defjvp
def _swap_jvp(primals: Any, tangents: Any) -> Any:
    return swap(*primals), tangents[0]


class Notes:
    """Whether the marked line made something bad out of finite numbers, any time that it ran."""

    born = False

    def __call__(self, y: jax.Array, *given: jax.Array) -> jax.Array:
        finite = jnp.stack([jnp.all(jnp.isfinite(x)) for x in (y, *given)])
        jax.debug.callback(self._take, finite)
        return y

    def _take(self, finite: Any) -> None:
        result, *given = np.moveaxis(np.asarray(finite), -1, 0)
        self.born = self.born or bool(np.any(~result & np.all(given, axis=0)))


class Birth(NamedTuple):
    """An elementary operator that made something bad: NaN out of no NaN, or Inf out of finite."""

    line: str
    kind: str


def births(loss: Any, args: tuple[Any, ...], files: Iterable[str]) -> list[Birth]:
    """Return every birth in result and gradients, in order, with the innermost line of ``files``.

    Loops are unrolled, calls are opened, and the operators run one by one. What JAX does not open
    is one operator, at the line of its call.
    """
    floats = tuple(i for i, x in enumerate(args) if jnp.issubdtype(x.dtype, jnp.floating))
    with jax.disable_jit():
        closed = jax.make_jaxpr(jax.value_and_grad(loss, argnums=floats))(*args)
    found: list[Birth] = []

    def run(jaxpr: Any, consts: Any, args: Any, call: str) -> list[Any]:
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def read(var: Any) -> Any:
            return var.val if isinstance(var, jex.core.Literal) else values[var]

        for eqn in jaxpr.eqns:
            given = [read(v) for v in eqn.invars]
            line = _line(eqn.source_info, files) or call
            inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
            if eqn.primitive.name in OPENED:
                inside = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
                made = run(*inside, given, line)
            else:
                made = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
                made = made if eqn.primitive.multiple_results else [made]
                for kind in sorted(_kinds(made), reverse=True):
                    if not _kinds(given) & {"NaN", kind}:
                        found.append(Birth(line, kind))
            values.update(zip(eqn.outvars, made, strict=True))
        return [read(v) for v in jaxpr.outvars]

    run(closed.jaxpr, closed.consts, args, "")
    return found


def _kinds(arrays: Iterable[Any]) -> set[str]:
    floats = [x for x in map(jnp.asarray, arrays) if jnp.issubdtype(x.dtype, jnp.inexact)]
    tests = {"NaN": jnp.isnan, "Inf": jnp.isinf}
    return {kind for kind, test in tests.items() for x in floats if jnp.any(test(x))}


def _line(source: Any, files: Iterable[str]) -> str:
    frames = source.traceback.frames if source.traceback else ()
    names = {str(file): pathlib.Path(file).name for file in files}
    return next((f"{names[f.file_name]}:{f.line_num}" for f in frames if f.file_name in names), "")


def measure(sources: dict[str, str], operator: Any, place: Any, dtype: str) -> Truth | None:
    """Return what is true of a program, or None if it is not what it was made to be."""
    module = load(sources)
    args = module.example_args()
    eager = outcome(module.loss, args)
    jitted = outcome(module.loss, args, jit=True)
    if eager is None or jitted is None or bad(eager) != bad(jitted):
        return None
    result, *gradients = bad(eager)
    if operator.phase == "none":
        if any(bad(eager)) or births(module.loss, args, sources):
            return None
        return Truth("clean", False, tuple(gradients))

    # The marked line is the cause: all is well without it, ...
    safe = load(rewritten(sources, operator.safe.replace("$dtype", f"jnp.{dtype}")))
    if operator.phase != "data" and any(bad(outcome(safe.loss, args))):
        return None
    # ... it runs, and it makes what it is said to make out of finite numbers.
    notes = Notes()
    outcome(load(rewritten(sources, "note({}, x, w)"), note=notes).loss, args)
    jax.effects_barrier()
    phase = {"rule": "backward", "slope": "forward"}.get(place.fits, operator.phase)
    if operator.phase != "data" and (operator.phase == "forward") != notes.born:
        return None
    if place.seen and operator.phase != "data" and any(bad(eager)):
        first = next(iter(births(module.loss, args, sources)), Birth("", ""))
        if first.line != marked(sources) or first.kind not in operator.kinds:
            return None
    if operator.phase == "data":
        fate = "data" if any(bad(eager)) else "hidden"
        return Truth(fate, result, tuple(gradients), kinds=operator.kinds)
    fate = "reaches" if any(bad(eager)) else fate_of(sources, args, eager)
    if fate != "reaches" and operator.phase == "backward":
        return None  # nothing was born
    return Truth(fate, result, tuple(gradients), phase, operator.kinds)


def fate_of(sources: dict[str, str], args: tuple[Any, ...], all_finite: list[np.ndarray]) -> str:
    """Tell whether something else comes out if the bad values are replaced."""
    for value in REPLACEMENTS:
        other = load(rewritten(sources, f"swap({{}}, {value})"), swap=swap)
        found = outcome(other.loss, args)
        if not all(map(np.array_equal, all_finite, found)):
            return "lost"
    return "harmless"
