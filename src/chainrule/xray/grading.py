"""Somebody's own pass backward against a record: which gradients are right, and which are not."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule import _require
from chainrule._files import printable
from chainrule.xray.graph import Slot
from chainrule.xray.record import Entry, Record
from chainrule.xray.words import below, number

__all__ = ["Grade", "Wrong", "grade"]
__dir__ = __all__.copy

_CLOSE = 1e-4  # of the largest number of the gradient; float32 rounds at some 1e-7


class Wrong(NamedTuple):
    """A gradient that is not what the record has.

    Attributes:
      name: of the node.
      element: the index of the one that is most wrong; ``()`` of a scalar, or where the shapes
        differ.
      given: that element of the rule's gradient, or the shape of it.
      right: that of the record's, or the shape of it.
      readers: the operators that take what the node makes: one of their rules is at fault.
      line: the node's line of source, "" of an argument.
    """

    name: str
    element: tuple[int, ...]
    given: Any
    right: Any
    readers: tuple[str, ...]
    line: str

    def __str__(self) -> str:
        given, right = (
            f"shape {x}" if isinstance(x, tuple) else number(x) for x in (self.given, self.right)
        )
        at = f"[{', '.join(map(str, self.element))}]" if self.element else ""
        line = f" ({below(self.line)})" if self.line else ""
        of = f": look at {' and '.join(self.readers)}" if self.readers else ""
        return f"∂{self.name}{at} is {given}, and should be {right}{line}{of}"


class Grade(NamedTuple):
    """How a pass backward did.

    Attributes:
      right: the names of the nodes whose gradient is right, in the order of the pass backward.
      wrong: those whose gradient is not, in that order: what follows the first may follow from it.
      missing: the nodes that have a gradient which was not given.
    """

    right: tuple[str, ...]
    wrong: tuple[Wrong, ...]
    missing: tuple[str, ...]

    @property
    def first(self) -> Wrong | None:
        """The first that is wrong, None where none is."""
        return self.wrong[0] if self.wrong else None

    def __bool__(self) -> bool:
        """Whether all that was given is right."""
        return not self.wrong

    def __str__(self) -> str:
        count = len(self.right) + len(self.wrong)
        lines = [f"{len(self.right)} of {count} gradients are right"]
        if self.first is not None:
            lines.append(f"the first that is not: {self.first}")
        if self.missing:
            lines.append(f"not given: {', '.join(self.missing)}")
        return "\n".join(lines)


def grade(record: Record, rule: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Grade:
    """Compare somebody's own pass backward with a record, gradient by gradient.

    Args:
      record: with values and gradients.
      rule: takes the value of every node by its name, and returns the gradient of the result with
        respect to as many of them as it likes.

    Returns:
      What is right, and what is not, from the result to the arguments.

    Raises:
      ValueError: the record holds no arrays or no gradients, the rule returns no mapping, or a
        gradient of what is no node or no array of numbers.
    """
    _require.function("rule", rule, "from values to gradients, both by the names of nodes")
    if record.keep != "values" or not record.wanted:
        kept = "only statistics" if record.keep != "values" else "no gradients"
        raise ValueError(f"the record holds {kept}: record the call with both, as xray does")
    given = rule({node.label: node.value for node in record.nodes})
    if not isinstance(given, Mapping):
        raise ValueError(
            f"rule returns a {type(given).__name__}: it returns a dictionary, from the name of a "
            "node to the gradient with respect to it"
        )
    known = {node.label: node for node in record.nodes}
    for name in given:
        if name not in known:
            labels = ", ".join([*known][:12])
            raise ValueError(
                f"rule gives a gradient of {printable(str(name))}, and no node has this name: "
                f"there are {labels}"
            )
    right, wrong, missing = [], [], []
    for node in reversed(record.nodes):
        if node.label not in given:
            if node.cotangent is not None and node.kind != "constant":
                missing.append(node.label)
        elif (slip := _slip(record, node, given[node.label])) is None:
            right.append(node.label)
        else:
            wrong.append(slip)
    return Grade(tuple(right), tuple(wrong), tuple(missing))


def _slip(record: Record, node: Entry, given: Any) -> Wrong | None:
    """Return what is wrong with the gradient that was given of a node, None if nothing is."""
    try:
        ours = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"rule gives a {type(given).__name__} as the gradient of {node.label}: give an array "
            "of numbers"
        ) from None
    shape = tuple(node.avals[0].shape)
    true = np.zeros(shape) if node.cotangent is None else np.asarray(node.cotangent, np.float64)
    uses = record.readers[Slot(node.index, 0)]
    readers = dict.fromkeys(record.nodes[use.node].label for use in uses if use.node is not None)
    about = tuple(readers), node.line
    if ours.shape != shape:
        return Wrong(node.label, (), ours.shape, shape, *about)
    same = (ours == true) | (np.isnan(ours) & np.isnan(true))
    finite = np.where(np.isfinite(true), np.abs(true), 0.0)
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(ours - true))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    if not gaps.size or gaps.max() <= _CLOSE * finite.max():
        return None
    worst = tuple(int(k) for k in np.unravel_index(gaps.argmax(), shape))
    return Wrong(node.label, worst, float(ours[worst]), float(true[worst]), *about)
