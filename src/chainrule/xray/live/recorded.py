"""A record as a program that a page runs: values, gradients, and what each use contributes."""

from collections.abc import Sequence
from typing import Any, TypedDict

import jax
import numpy as np

from chainrule.xray import passes
from chainrule.xray.live.equations import CannotLiveError, Program, in_base64, program, refused
from chainrule.xray.record import Edge, Record
from chainrule.xray.words import nearby

__all__ = ["Living", "living", "obstacle"]
__dir__ = __all__.copy


class Living(TypedDict):
    """What a living page needs besides the picture.

    Attributes:
      program: from the arguments to everything below.
      given: the bytes of each argument, little-endian, in base64.
      values: per node and output the number of the result, None where the page does not need it.
      gradients: as ``values``.
      parts: what each edge of the picture contributes, None where no gradient flows.
      wanted: the numbers of the arguments that were differentiated with respect to.
      results: per result of the function the number of its node and output, and the gradient that
        was given there, as a list of numbers; None where none was.
    """

    program: Program
    given: list[str]
    values: list[list[int | None]]
    gradients: list[list[int | None]]
    parts: list[int | None]
    wanted: list[int]
    results: list[tuple[int, int, list[float] | None]]


def obstacle(record: Record) -> str:
    """Return why the page of a record cannot live, "" if that is not known before it is traced."""
    if record.keep != "values":
        return "only statistics were kept"
    if not record.runs:
        return "a record that was read from a file cannot run again"
    if record.steps is not None:
        return f"it is the inside of a node, all {record.over} at once"
    for node in record.nodes:
        if node.kind == "operator" and (why := refused(node.equation)):
            return f"{why} ({node.label}, {nearby(node.line)})"
    return ""


def living(record: Record) -> Living:
    """Return a record as a program.

    Its rules backward are JAX's own, or the program's: the pass backward is traced, too, so that
    the page only has to know what each primitive computes.

    Args:
      record: with values.

    Raises:
      CannotLiveError: it cannot live in a page, and why.

    Example:
      >>> from chainrule import xray
      >>> made = living(xray.xray(lambda x, y: x * y, 3.0, -4.0).record)
      >>> [name for name, *_ in made["program"]["equations"]], made["wanted"]
      (['mul', 'mul', 'mul'], [0, 1])
    """
    if why := obstacle(record):
        raise CannotLiveError(why)
    given = [node for node in record.nodes if node.is_argument]
    uses = [edge for edge in record.edges if edge.target is not None]
    slots: list[Any] = []

    def everything(arguments: Sequence[Any]) -> list[Any]:
        numbers = passes.run(record, arguments, record.starts, record.wanted, {})
        slots[:] = [x for row in (*numbers.values, *numbers.cotangents) for x in row]
        slots.extend(_part(record, numbers, edge) for edge in uses)
        return [x for x in slots if x is not None]

    shapes = [jax.ShapeDtypeStruct(node.avals[0].shape, node.avals[0].dtype) for node in given]
    made = program(jax.make_jaxpr(everything)(shapes))
    numbers = iter(range(len(made["results"])))
    numbered = iter([None if x is None else next(numbers) for x in slots])
    rows = [[next(numbered) for _ in node.avals] for _ in range(2) for node in record.nodes]
    return {
        "program": made,
        "given": [in_base64(node.value, node.avals[0]) for node in given],
        "values": rows[: len(record.nodes)],
        "gradients": rows[len(record.nodes) :],
        "parts": [*numbered, *(None for _ in record.outputs)],
        "wanted": list(record.wanted),
        "results": [
            (*slot, None if g is None else np.asarray(g, np.float64).ravel().tolist())
            for slot, g in zip(record.outputs, record.starts, strict=True)
        ],
    }


def _part(record: Record, numbers: passes.Numbers, edge: Edge) -> Any:
    """Return what one use contributes; of a slot's only use that is its whole gradient."""
    assert edge.target is not None
    slot = record.nodes[edge.target].inputs[edge.position]
    if len(record.readers[slot]) == 1:
        return numbers.cotangents[slot.node][slot.output]
    row = numbers.contributions[edge.target]
    return row[edge.position] if row else None
