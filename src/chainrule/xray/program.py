"""One function at one set of shapes, ready to run, and compiled where that is asked."""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _custom, _jax
from chainrule.xray.graph import Graph, build
from chainrule.xray.passes import Numbers, of_operators, run
from chainrule.xray.stats import Stats, is_number, stats

__all__ = ["Program", "program"]
__dir__ = __all__.copy

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
    """Return the program of a traced function; the same one for the same text, constants and rules.

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
    # The text of a custom rule is that of its function: how it differentiates may have changed.
    rules = _custom.rules_in(closed)
    key = (str(closed.jaxpr), constants, rules, names, wanted, keep, compiled, unroll)
    try:
        known = _programs.setdefault(f, {})
    except TypeError:  # such an f cannot be a key, so that the next call compiles again
        known = {}
    if key in known:
        return known[key]
    while len(known) >= _REMEMBERED:
        del known[next(iter(known))]
    graph = build(closed, names, unroll=unroll)
    notes: dict[int, str] = {}

    def numbers(arguments: Sequence[Any], cotangents: Sequence[Any]) -> Numbers:
        arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in arguments]
        return of_operators(graph, run(graph, arrays, cotangents, wanted, notes))

    whole = _jax.compile_whole(numbers) if compiled else _jax.quiet(numbers)

    def measured(arguments: Sequence[Any], cotangents: Sequence[Any]) -> Numbers:
        everything = whole(arguments, cotangents)
        given = iter(arguments)
        for i, node in enumerate(graph.nodes):
            if node.kind != "operator":
                everything.values[i] = (next(given) if node.is_argument else node.constant,)
        for rows in everything:
            for i, row in enumerate(rows):  # in place, so that each array goes as it is measured
                rows[i] = tuple(_measured(x) for x in row)
        return everything

    return known.setdefault(key, Program(graph, measured if keep == "stats" else whole, notes))


def _identity(value: Any) -> Any:
    """Return the content of a constant if it is small, else its identity.

    The graph that holds the constant keeps it alive, so that no other takes its identity.
    """
    if not is_number(value) or value.nbytes > _COMPARED:
        return id(value)
    return str(value.dtype), value.shape, np.asarray(value).tobytes()


def _measured(x: Any) -> Stats | None:
    if x is None or not is_number(x := x if hasattr(x, "size") else jnp.asarray(x)):
        return None
    return stats(x)
