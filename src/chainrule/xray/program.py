"""One function at one set of shapes, ready to run: traced, and compiled where that is asked."""

import dataclasses
import inspect
import math
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.graph import Graph, Slot, build, differentiable
from chainrule.xray.passes import Numbers, of_operators, run
from chainrule.xray.stats import Stats, is_number, stats

_COMPARED = 2**20  # bytes of a constant
_REMEMBERED = 16  # programs of one function


@dataclasses.dataclass(frozen=True)
class Program:
    """A graph and the function that runs it.

    Attributes:
      graph: the operators.
      run: from the arguments and the cotangents, both flat, to `Numbers`.
      notes: node number to the reason why no gradient passes it, filled by the first run.
    """

    graph: Graph
    run: Callable[[Sequence[Any], Sequence[Any]], Numbers]
    notes: dict[int, str]


_programs: weakref.WeakKeyDictionary[Any, dict[Any, Program]] = weakref.WeakKeyDictionary()


def program(
    f: Callable[..., Any],
    closed: _jax.ClosedJaxpr,
    names: tuple[str, ...],
    wanted: tuple[int, ...],
    keep: str,
    compiled: bool,
    unroll: bool,
) -> Program:
    """Return the program of a traced function; the same one for the same text and constants.

    Args:
      f: the function.
      closed: the function, traced.
      names: of its arguments, flat.
      wanted: which arguments to differentiate with respect to.
      keep: "values" or "stats".
      compiled: whether one jit goes around the whole.
      unroll: whether scans are replaced by their steps.

    Returns:
      The program.
    """
    constants = tuple(_identity(value) for value in closed.consts)
    key = (str(closed.jaxpr), constants, names, wanted, keep, compiled, unroll)
    try:
        known = _programs.setdefault(f, {})
    except TypeError:  # such an f cannot be a key, so that the next call compiles again
        known = {}
    if key not in known:
        while len(known) >= _REMEMBERED:
            del known[next(iter(known))]
        known[key] = _build(closed, names, wanted, keep, compiled, unroll)
    return known[key]


def _identity(value: Any) -> Any:
    """A constant's content if it is small, else which one it is; its graph keeps it alive."""
    if not is_number(value) or value.nbytes > _COMPARED:
        return id(value)
    return str(value.dtype), value.shape, np.asarray(value).tobytes()


def _build(
    closed: _jax.ClosedJaxpr,
    names: tuple[str, ...],
    wanted: tuple[int, ...],
    keep: str,
    compiled: bool,
    unroll: bool,
) -> Program:
    graph = build(closed, names, unroll=unroll)
    notes: dict[int, str] = {}

    def numbers(arguments: Sequence[Any], cotangents: Sequence[Any]) -> Numbers:
        arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in arguments]
        everything = of_operators(graph, run(graph, arrays, cotangents, wanted, notes))
        return everything if keep == "values" else _without_copies(graph, everything)

    whole = _jax.compile_whole(numbers) if compiled else _jax.quiet(numbers)

    def measured(arguments: Sequence[Any], cotangents: Sequence[Any]) -> Numbers:
        everything = whole(arguments, cotangents)
        given = iter(arguments)
        for i, node in enumerate(graph.operators):
            if node.kind != "operator":
                everything.values[i] = (next(given) if node.kind == "input" else node.value,)
        for rows in everything:
            for i, row in enumerate(rows):  # in place, so that each array goes as it is measured
                rows[i] = tuple(_measured(x) for x in row)
        return _with_copies(graph, everything)

    return Program(graph, measured if keep == "stats" else whole, notes)


# The result has the elements of the input, in another order or each as often as the others.
_COPIES = frozenset(
    {"reshape", "squeeze", "expand_dims", "transpose", "rev", "copy", "broadcast_in_dim"}
)


def _copies(graph: Graph) -> Iterator[tuple[int, Slot]]:
    """Yield the nodes whose result has the statistics of what they take, and that."""
    for i, node in enumerate(graph.operators):
        if node.op in _COPIES and math.prod(_shape(graph, node.inputs[0])) > 0:
            yield i, node.inputs[0]


def _passed(graph: Graph) -> Iterator[tuple[int, Slot]]:
    """Yield what has the gradient of the one node that reads it, but for the order, and that."""
    for i, node in enumerate(graph.operators):
        if node.op in _COPIES or node.op in ("add", "add_any"):
            for source in node.inputs:
                same = math.prod(_shape(graph, source)) == math.prod(node.avals[0].shape)
                if same and graph.uses[source] == 1:
                    yield i, source


def _shape(graph: Graph, slot: Slot) -> tuple[int, ...]:
    return tuple(graph.operators[slot.node].avals[slot.output].shape)


def _without_copies(graph: Graph, numbers: Numbers) -> Numbers:
    """Leave out what has the statistics of something else: nearly half of VGG's memory."""
    values, cotangents = list(numbers.values), [list(row) for row in numbers.cotangents]
    for i, _ in _copies(graph):
        values[i] = (None,)
    for _, source in _passed(graph):
        cotangents[source.node][source.output] = None
    return numbers._replace(values=values, cotangents=[tuple(row) for row in cotangents])


def _with_copies(graph: Graph, numbers: Numbers) -> Numbers:
    """Put the statistics back that `_without_copies` left out."""
    values, cotangents = list(numbers.values), [list(row) for row in numbers.cotangents]

    def like(known: Stats | None, slot: Slot) -> Stats | None:
        return None if known is None else known.repeated(_shape(graph, slot))

    for i, source in _copies(graph):
        values[i] = (like(values[source.node][source.output], Slot(i, 0)),)
    for i, source in reversed(list(_passed(graph))):
        cotangents[source.node][source.output] = like(cotangents[i][0], source)
    return numbers._replace(values=values, cotangents=[tuple(row) for row in cotangents])


def _measured(x: Any) -> Stats | None:
    if x is None or not is_number(x := x if hasattr(x, "size") else jnp.asarray(x)):
        return None
    return stats(x)


def trace(f: Callable[..., Any], args: Sequence[Any]) -> tuple[_jax.ClosedJaxpr, Any]:
    """Trace a function, and say plainly why that is impossible.

    Raises:
      ValueError: the function needs the numbers themselves while JAX traces it, or keeps a
        mutable array.
    """
    try:
        closed, shapes = _jax.trace(f, args)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, IndexError) as error:
        if type(error) is IndexError and "static" not in str(error):
            raise  # the user's own
        raise ValueError(
            f"{_name(f)} cannot be traced by JAX ({type(error).__name__} at {_culprit(error)}): "
            f"{_cure(error)}"
        ) from error
    if _jax.mutates(closed):
        raise ValueError(
            f"{_name(f)} writes to a mutable array (jax.new_ref), which is no value that could "
            "stand on a graph: pass the value on as an argument and a result instead"
        )
    return closed, shapes


def _name(f: Callable[..., Any]) -> str:
    return getattr(inspect.unwrap(f), "__name__", None) or type(f).__name__


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
    own = [f for f in frames if not _jax.in_library(f.filename) and f.filename != __file__]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "an unknown line"


def argument_names(f: Callable[..., Any], args: Sequence[Any]) -> list[tuple[str, Any]]:
    """Return every leaf of the arguments with its path, as in ``params['layer1']['kernel']``.

    Raises:
      ValueError: a leaf is not an array.
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
            named.append((name + jax.tree_util.keystr(path), leaf))
    for name, leaf in named:
        if not isinstance(leaf, (bool, int, float, complex)) and not hasattr(leaf, "dtype"):
            raise ValueError(
                f"argument {name} of {_name(f)} is {leaf!r}, a {type(leaf).__name__} and not an "
                "array: fix it with functools.partial, as f's own keyword arguments"
            )
    return named


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
        return [jnp.ones((), leaves[0].dtype)]
    try:
        given = tree.flatten_up_to(cotangent)
    except ValueError:
        raise ValueError(
            f"cotangent is a {jax.tree.structure(cotangent)}, {name} returns a {tree}: give the "
            "same tree"
        ) from None
    for leaf, g in zip(leaves, given, strict=True):
        if differentiable(leaf) and (g is None or np.shape(g) != leaf.shape):
            given_shape = None if g is None else list(np.shape(g))
            raise ValueError(
                f"cotangent has shape {given_shape}, the result of {name} "
                f"{list(leaf.shape)}: give one number per element of the result"
            )
    return [
        jnp.asarray(g, leaf.dtype) if differentiable(leaf) else None
        for leaf, g in zip(leaves, given, strict=True)
    ]
