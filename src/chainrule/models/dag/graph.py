"""A graph as data: operators by name, and the names of what each of them takes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxtyping import Array

__all__ = ["Graph", "Node"]
__dir__ = __all__.copy


class Node(NamedTuple):
    """One operator of a graph.

    Attributes:
      op: called as ``op(params, *inputs)``; returns one array. `layer` and `operator` make some.
      inputs: the names of what it takes, nodes or inputs of the graph.
      params: the name of its weight, ``"w1"`` or ``"block1/conv2"``, an array or a whole layer;
        without one the operator gets None.
    """

    op: Callable[..., Array]
    inputs: tuple[str, ...]
    params: str | None = None


Graph = Mapping[str, Node]
"""Nodes by name, in any order."""
