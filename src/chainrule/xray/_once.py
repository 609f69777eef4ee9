"""Results of a program that are one array in several shapes: computed and kept once."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

_LARGE = 2**16
"""Bytes from which on sharing is worth its time, some microseconds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Where the results of a program are among the arrays that it returns.

    Attributes:
      tree: the structure of the results.
      places: of each result the number of the array, and its own shape.
    """

    tree: Any
    places: tuple[tuple[int, tuple[int, ...]], ...]


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Once:
    """What a program returns, each array once.

    Attributes:
      arrays: no two of them share their numbers because one is the other in another shape.
      plan: how the results are made of them.
    """

    arrays: Sequence[Any]
    plan: Plan

    def tree_flatten(self) -> tuple[Sequence[Any], Plan]:
        return self.arrays, self.plan

    @classmethod
    def tree_unflatten(cls, plan: Plan, arrays: Sequence[Any]) -> "Once":
        return cls(arrays, plan)

    def everything(self) -> Any:
        """Return the results."""
        found = [self.arrays[number] for number, _ in self.plan.places]
        other = [k for k, (_, shape) in enumerate(self.plan.places) if np.shape(found[k]) != shape]
        views = [_view(found[k], self.plan.places[k][1]) for k in other]
        # NumPy's views of arrays in the memory of the CPU: without a copy, and in one call.
        for k, view in zip(other, jax.device_put(views), strict=True):
            found[k] = view
        return jax.tree.unflatten(self.plan.tree, found)


def reshaped(array: Any, shape: tuple[int, ...]) -> jax.Array:
    """Return an array in another shape, on the CPU without a copy."""
    return jax.device_put(_view(array, shape))


def _view(array: Any, shape: tuple[int, ...]) -> Any:
    devices: set[Any] = getattr(array, "devices", set)()
    here = all(device.platform == "cpu" for device in devices) and len(devices) < 2
    return np.asarray(array).reshape(shape) if here else array.reshape(shape)


def only_reshapes(eqn: Any) -> bool:
    """Tell whether an equation hands on a large array, and only in another shape."""
    pairs = _same(eqn)
    return len(eqn.outvars) == len(pairs) == 1 and _shareable(*(v.aval for v in pairs[0]))


def planned(closed: Any, tree: Any) -> tuple[Any, Plan]:
    """Return a program that returns each array once, and how its results are made of these.

    Args:
      closed: the program, traced.
      tree: the structure of its results.
    """
    jaxpr = closed.jaxpr
    source: dict[Any, Any] = {}
    for eqn in jaxpr.eqns:
        for taken, made in _same(eqn):
            if not isinstance(taken, core.Literal) and _shareable(taken.aval, made.aval):
                source[made] = source.get(taken, taken)
    kept: dict[Any, int] = {}
    variables: list[Any] = []
    places = []
    for variable in jaxpr.outvars:
        first = variable
        if not isinstance(variable, core.Literal):
            first = source.get(variable, variable)
        key = id(first) if isinstance(first, core.Literal) else first
        if key not in kept:
            kept[key] = len(variables)
            variables.append(first)
        places.append((kept[key], tuple(variable.aval.shape)))
    names = jaxpr.debug_info.with_unknown_names()
    less = closed.replace(jaxpr=jaxpr.replace(outvars=variables, debug_info=names))
    return less, Plan(tree, tuple(places))


_SHAPES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    **dict.fromkeys(("squeeze", "expand_dims", "broadcast_in_dim", "copy"), lambda _: True),
    **dict.fromkeys(("split", "concatenate"), lambda _: True),
    "reshape": lambda params: params.get("dimensions") is None,
    "pad": lambda params: not any(map(any, params["padding_config"])),
    "slice": lambda params: params["strides"] is None,
}
"""Operators that leave all numbers in a row as they are, where as many go in as come out."""


def _same(eqn: Any) -> list[tuple[Any, Any]]:
    """Return the pairs of what an equation takes and makes that hold the same numbers in a row."""
    name = eqn.primitive.name
    if name == "optimization_barrier":
        return list(zip(eqn.invars, eqn.outvars, strict=True))
    if name in _SHAPES and _SHAPES[name](eqn.params):
        return [(eqn.invars[0], eqn.outvars[0])]
    return []


def _shareable(taken: Any, made: Any) -> bool:
    """Tell whether two arrays are as large, of one kind, and worth sharing."""
    kinds = {(aval.dtype, aval.weak_type, math.prod(aval.shape)) for aval in (taken, made)}
    if len(kinds) > 1 or jnp.issubdtype(taken.dtype, jax.dtypes.extended):
        return False
    large = math.prod(taken.shape) * taken.dtype.itemsize >= _LARGE
    return taken.shape == made.shape or (large and not taken.weak_type)
