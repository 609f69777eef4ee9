"""One call of a function, recorded: traced, named, run."""

import inspect
import re
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _require
from chainrule._files import printable
from chainrule._modules import Fixed, Whole, split
from chainrule.xray import _jax, _lines
from chainrule.xray.graph import differentiable
from chainrule.xray.program import program
from chainrule.xray.record import LEAF, Record, Trees, entries

__all__ = ["argument_names", "incoming", "ones", "record", "trace"]
__dir__ = __all__.copy


@_jax.quiet
def record(
    f: Callable[..., Any],
    args: Sequence[Any],
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    cotangent: Any = None,
    keep: Literal["values", "stats"] = "values",
    compiled: bool = True,
    unroll: bool = False,
    gradients: bool | None = True,
) -> Record:
    """Record one call of a function; `chainrule.xray.xray` says what each argument means.

    ``cotangent`` may also be a function of the shapes of the result; ``gradients=None`` goes
    backward where the result has floats.
    """
    _require.function("f", f, "of arrays that JAX can trace")
    _require.one_of("keep", keep, ("values", "stats"))
    flags = {"has_aux": has_aux, "compiled": compiled, "unroll": unroll}
    flags |= {} if gradients is None else {"gradients": gradients}
    for name, value in flags.items():
        _require.flag(name, value)
    if gradients is False and cotangent is not None:
        raise ValueError("gradients=False goes forward only: leave cotangent out")
    _check_count(f, args)
    args, fixed = zip(*map(split, args), strict=True) if args else ((), ())
    named = argument_names(f, args)
    chosen = _wanted(args, argnums)
    closed, shapes = trace(f, args, fixed)
    result, aux = _parts(shapes, _name(f)) if has_aux else (shapes, ())
    if callable(cotangent):  # of the shapes, which are known only now
        cotangent = cotangent(result)
    if gradients is None:
        gradients = any(map(differentiable, jax.tree.leaves(result)))
    wanted = chosen if gradients else ()
    starts: list[Any] = [None] * len(jax.tree.leaves(shapes))
    if gradients:
        starts = incoming(result, cotangent, _name(f)) + [None] * len(jax.tree.leaves(aux))
    names, leaves = tuple(name for name, _ in named), [leaf for _, leaf in named]
    # A record holds values: what is being traced has none, also where JAX could run it.
    if not _require.is_concrete(*leaves, *closed.consts, *starts):
        raise ValueError(_jax.INSIDE)
    ready = program(f, closed, names, wanted, keep, compiled, unroll)
    numbers = ready.run(leaves, starts)
    held = [jax.tree.structure(arg) != LEAF for arg in args for _ in jax.tree.leaves(arg)]
    return Record(
        function=_name(f),
        nodes=entries(
            ready.graph,
            numbers,
            leaves,
            keep=keep,
            notes=ready.notes,
            parameters=[k for k in chosen if argnums is not None or held[k]],
        ),
        outputs=ready.graph.outputs,
        starts=tuple(starts),
        wanted=wanted,
        trees=Trees(tuple(map(jax.tree.structure, args)), jax.tree.structure(shapes), has_aux),
        keep=keep,
        compiled=compiled,
        program=ready.run,
    )


def _check_count(f: Callable[..., Any], args: Sequence[Any]) -> None:
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # some functions have none
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise ValueError(
            f"{_name(f)}{signature} cannot be called with {len(args)} arguments: {error}"
        ) from None


def _wanted(args: Sequence[Any], argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers of the leaves to differentiate with respect to."""
    if argnums is None:
        argnums = range(len(args))
    elif not isinstance(argnums, Sequence) or isinstance(argnums, str):
        argnums = [argnums]
    least, most = -len(args), len(args) - 1
    chosen = {_require.count("argnums", n, least=least, most=most) % len(args) for n in argnums}
    flat = [(i, leaf) for i, arg in enumerate(args) for leaf in jax.tree.leaves(arg)]
    return tuple(
        k for k, (i, x) in enumerate(flat) if i in chosen and differentiable(jax.typeof(x))
    )


def _parts(shapes: Any, name: str) -> tuple[Any, Any]:
    """Return the shapes of the result, and of what comes with it under ``has_aux``."""
    if not isinstance(shapes, tuple) or len(shapes) != 2:
        what = f"{len(shapes)} parts" if isinstance(shapes, tuple) else "no tuple"
        raise ValueError(f"has_aux is True, but {name} returns {what}: return (result, more)")
    return shapes


def trace(
    f: Callable[..., Any], args: Sequence[Any], fixed: Sequence[Fixed] = ()
) -> tuple[_jax.ClosedJaxpr, Any]:
    """Trace a function, and say plainly where that is impossible.

    Args:
      f: the function.
      args: its arguments, without what is fixed in them.
      fixed: of each argument, what is.

    Raises:
      ValueError: the function needs the numbers themselves while JAX traces it, returns something
        other than arrays, or keeps a mutable array.
    """
    if hasattr(f, "lower") and hasattr(f, "__wrapped__"):  # jax.jit, whose settings are its own
        f = f.__wrapped__
    try:
        closed, shapes = _jax.trace(Whole(f, tuple(fixed)), args)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, IndexError) as error:
        if type(error) is IndexError and "static" not in str(error):
            raise  # the user's own
        raise ValueError(
            f"{_name(f)} cannot be traced by JAX ({type(error).__name__} at {_culprit(error)}): "
            f"{_cure(error)}"
        ) from error
    except ValueError as error:
        if "compiler_options" not in str(error):
            raise  # the user's own
        raise ValueError(
            f"{_name(f)} calls a function jitted with compiler_options at {_culprit(error)}, which "
            "JAX cannot trace inside another: leave the options out there"
        ) from error
    except TypeError as error:
        if (found := _RETURNED.search(str(error))) is None:
            raise  # the user's own
        raise ValueError(f"{_name(f)} returns a {found[1]}: return arrays only") from error
    if _jax.mutates(closed):
        raise ValueError(
            f"{_name(f)} writes to a mutable array (jax.new_ref), which a record cannot hold: "
            "pass the value on as an argument and a result instead"
        )
    return closed, shapes


_RETURNED = re.compile(r"returned a value of type <class '(.*?)'>")  # says JAX


def _name(f: Callable[..., Any]) -> str:
    return printable(getattr(inspect.unwrap(f), "__name__", None) or type(f).__name__)


def _cure(error: Exception) -> str:
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "call jax.numpy there instead of numpy"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "replace if and while on an array by jnp.where, jax.lax.cond or jax.lax.while_loop"
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError):
        return "replace indexing by a mask with jnp.where"
    return "fix the arguments that decide shapes or branches with functools.partial"


def _culprit(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not _lines.in_library(f.filename) and f.filename != __file__]
    return printable(f"{own[-1].filename}:{own[-1].lineno}") if own else "an unknown line"


def argument_names(f: Callable[..., Any], args: Sequence[Any]) -> list[tuple[str, Any]]:
    """Return every leaf of the arguments with its path, as in ``params['layer1']['kernel']``.

    Raises:
      ValueError: a leaf is not an array with numbers in it.
    """
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = []
    for i, arg in enumerate(args):
        name = f"args[{i}]"
        if i < len(parameters) and parameters[i].kind is not inspect.Parameter.VAR_POSITIONAL:
            name = parameters[i].name
        elif parameters and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
            name = f"{parameters[-1].name}[{i - len(parameters) + 1}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg):
            named.append((printable(name + jax.tree_util.keystr(path)), leaf))
    for name, leaf in named:
        if not isinstance(leaf, (bool, int, float, complex)) and not hasattr(leaf, "dtype"):
            raise ValueError(
                f"argument {name} of {_name(f)} is {leaf!r}, a {type(leaf).__name__} and not an "
                "array: fix it with functools.partial, as f's own keyword arguments"
            )
        _check_leaf(f"argument {name} of {_name(f)}", leaf)
    return named


def _check_leaf(name: str, leaf: Any) -> None:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise ValueError(f"{name} is a shape, {leaf}, without numbers: pass an array")
    if isinstance(leaf, jax.Array) and _require.is_concrete(leaf) and leaf.is_deleted():
        raise ValueError(f"{name} was deleted or donated: pass a copy of it")
    try:
        jax.typeof(leaf)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{name} is no array that JAX knows: {error}") from None


def incoming(outputs: Any, cotangent: Any, name: str) -> list[Any]:
    """Return the cotangent of each result, flat; None for results that carry none.

    Args:
      outputs: shapes and dtypes of what the function returns, a pytree.
      cotangent: the same pytree of arrays (None for an integer), or None for a scalar.
      name: of the function.

    Raises:
      ValueError: there is no float result, or the cotangent does not fit.
    """
    leaves = jax.tree.leaves(outputs)
    tree: Any = jax.tree.structure(outputs)
    if not any(differentiable(leaf) for leaf in leaves):
        kinds = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or "nothing"
        raise ValueError(
            f"{name} returns {kinds}, and only floats have gradients: return a float "
            "(or astype(float) the result)"
        )
    if cotangent is None:
        if len(leaves) != 1 or leaves[0].shape:
            shapes = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
            raise ValueError(
                f"{name} returns {shapes}, not one scalar: reduce it, pass has_aux=True "
                "if it returns (scalar, more), or give cotangent= of the same shape as the result"
            )
        if jnp.iscomplexobj(leaves[0]):
            raise ValueError(
                f"{name} returns {leaves[0].dtype}, and only a real number has a gradient: return "
                "its real part or its modulus, or give cotangent="
            )
        return [jnp.ones((), leaves[0].dtype)]
    try:
        given = tree.flatten_up_to(cotangent)
    except ValueError:
        raise ValueError(
            f"cotangent is a {jax.tree.structure(cotangent)}, {name} returns a {tree}: give the "
            "same tree"
        ) from None
    for leaf, g in zip(leaves, given, strict=True):
        if differentiable(leaf):
            _check_cotangent(g, leaf, name)
    return [
        jnp.asarray(g, leaf.dtype) if differentiable(leaf) else None
        for leaf, g in zip(leaves, given, strict=True)
    ]


def _check_cotangent(g: Any, leaf: Any, name: str) -> None:
    try:
        given = None if g is None else list(np.shape(g))
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(f"cotangent is no array: {error}") from None
    if given != list(leaf.shape):
        raise ValueError(
            f"cotangent has shape {given}, the result of {name} {list(leaf.shape)}: give one "
            "number per element of the result"
        )
    dtype = g.dtype if hasattr(g, "dtype") else np.asarray(g).dtype
    kinds = (
        (jnp.number, jnp.bool_)
        if jnp.iscomplexobj(leaf)
        else (jnp.floating, jnp.integer, jnp.bool_)
    )
    if not any(jnp.issubdtype(dtype, kind) for kind in kinds):
        raise ValueError(
            f"cotangent is {dtype}, the result of {name} {leaf.dtype}: give {leaf.dtype}"
        )


def ones(shapes: Any) -> Any:
    """Return ones as the cotangent of a result that is no scalar, for the gradient of its sum."""
    leaves = jax.tree.leaves(shapes)
    if len(leaves) == 1 and not leaves[0].shape:
        return None
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
