"""One function at one set of shapes, ready to run, and compiled where that is asked."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _custom, _jax
from chainrule.xray.graph import Graph, Slot, build
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
    if key not in known:
        while len(known) >= _REMEMBERED:
            del known[next(iter(known))]
        known[key] = _build(closed, names, wanted, keep, compiled, unroll)
    return known[key]


def _identity(value: Any) -> Any:
    """Return the content of a constant if it is small, else its identity.

    The graph that holds the constant keeps it alive, so that no other takes its identity.
    """
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
        for i, node in enumerate(graph.nodes):
            if node.kind != "operator":
                everything.values[i] = (next(given) if node.is_argument else node.constant,)
        for rows in everything:
            for i, row in enumerate(rows):  # in place, so that each array goes as it is measured
                rows[i] = tuple(_measured(x) for x in row)
        return _with_copies(graph, everything)

    return Program(graph, measured if keep == "stats" else whole, notes)


def _copies(graph: Graph) -> Iterator[tuple[int, Slot]]:
    """Yield each node whose result has the statistics of its input, and that input."""
    for i, node in enumerate(graph.nodes):
        if node.known.copies and math.prod(_shape(graph, node.inputs[0])) > 0:
            yield i, node.inputs[0]


def _passed(graph: Graph) -> Iterator[tuple[int, Slot]]:
    """Yield each node that only reorders its gradient on the way back, and the slot it goes to."""
    for i, node in enumerate(graph.nodes):
        if node.known.copies or node.op in ("add", "add_any"):
            for source in node.inputs:
                same = math.prod(_shape(graph, source)) == math.prod(node.avals[0].shape)
                if same and len(graph.readers[source]) == 1:
                    yield i, source


def _shape(graph: Graph, slot: Slot) -> tuple[int, ...]:
    return tuple(graph.nodes[slot.node].avals[slot.output].shape)


def _without_copies(graph: Graph, numbers: Numbers) -> Numbers:
    """Leave out arrays whose statistics follow from another's: nearly half of VGG's memory."""
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
