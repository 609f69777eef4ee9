"""What is true of a program of another library, stated by hand beside it.

A line of a program that computes something is marked ``# OPERATOR``: the innermost line of its file
from which an operator comes. ``# OPERATOR: exp, log`` names some of them. A line that describes
what a library computes later, a distribution or a solver, and that may or may not make an array for
it, is marked ``# PERHAPS``.
"""

import dataclasses
import inspect
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_MARK = re.compile(r"# (OPERATOR|PERHAPS)(?:: ([\w, ]+))?$")


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """One program, and what its author knows of it.

    Attributes:
      name: file and function.
      build: returns the loss and its arguments; the first one is differentiated.
      layers: their names, as users of the library write them.
      shared: the parameters that are used more than once: the program names them twice, or a loop
        or a density uses them again.
      repeated: those that the program uses once, and the library more often for its own reasons;
        of these either answer is right.
      grad: the library's own `jax.grad`, by which the parameters are found in a module.
      unroll: whether every step of its scans is looked at.
      inside: whether its loops are opened.
      file: where it stands.
      operators: its marked lines, each with the operators that are named there.
      perhaps: the lines that may or may not make an array.
    """

    name: str
    build: Callable[[], tuple]
    layers: tuple[str, ...]
    shared: tuple[str, ...]
    repeated: tuple[str, ...]
    grad: Callable
    unroll: bool
    inside: bool
    file: pathlib.Path
    operators: dict[int, frozenset[str]]
    perhaps: frozenset[int]


def program(
    *,
    layers: tuple[str, ...] = (),
    shared: tuple[str, ...] = (),
    repeated: tuple[str, ...] = (),
    grad: Callable = jax.grad,
    unroll: bool = False,
    inside: bool = False,
) -> Callable[[Callable], Program]:
    """Make a program of the function that builds it, and read its marks."""

    def made(build: Callable) -> Program:
        path = pathlib.Path(inspect.getsourcefile(build))
        lines, first = inspect.getsourcelines(build)
        operators, perhaps = {}, set()
        for number, line in enumerate(lines, first):
            found = _MARK.search(line.rstrip())
            if found and found[1] == "PERHAPS":
                perhaps.add(number)
            elif found:
                operators[number] = frozenset((found[2] or "").split(", ")) - {""}
        name = f"{path.stem}.{build.__name__}"
        known = (layers, shared, repeated, grad, unroll, inside)
        return Program(name, build, *known, path, operators, frozenset(perhaps))

    return made


def words(name: str) -> tuple[str, ...]:
    """The keys and the attributes of a path, however it is written.

    The attribute under which nnx keeps the array of a variable is no part of what users write.
    """
    return tuple(re.findall(r"\w+", re.sub(r"\.(raw_)?value$", "", name)))


def ends(path: str, name: str) -> bool:
    """Whether a path ends in a name."""
    return words(path)[-len(words(name)) :] == words(name)


def arrays(tree: Any) -> dict[tuple[str, ...], np.ndarray]:
    """The arrays of floats in a pytree of gradients, by their paths."""
    return {
        words(jax.tree_util.keystr(path)): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.floating)
    }
