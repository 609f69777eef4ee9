"""The arguments of a step in files: arrays by their paths, and how they make pytrees, as JSON.

Dicts, lists, tuples and named tuples are written down. Of anything else, a module say, the arrays
are, and its form comes from ``example_args()`` beside the function.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _files
from chainrule._files import JSON, printable
from chainrule.xray.recorder.calls import Call, enter, is_array
from chainrule.xray.recorder.shards import parts

__all__ = ["arrays", "build", "describe", "importable", "leaves"]
__dir__ = __all__.copy

_PLAIN = (bool, int, float, str, type(None))
_DEEPEST = 64
_DEFINE = "define example_args() beside the function, which returns arguments of the same form"


def arrays(call: Call) -> dict[str, np.ndarray]:
    """Return the arrays of a call by their paths, keys as their data."""
    found = {}
    for k in call.arrays:
        leaf = _data(call.leaves[k])
        for start, part in parts(leaf):  # of an array of several processes, what lies here
            more = "" if part.shape == np.shape(leaf) else f" from {list(start)}"
            found[call.names[k] + more] = part
    return found


def leaves(call: Call) -> list[JSON]:
    """Return of each leaf its path and what it is: an array, a key, or a plain value."""
    rows: list[JSON] = []
    for name, leaf in zip(call.names, call.leaves, strict=True):
        row: dict[str, JSON] = {"name": name}
        if is_array(leaf):
            key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            row["key" if key else "dtype"] = str(jax.random.key_impl(leaf) if key else leaf.dtype)
            row["host"] = not isinstance(leaf, jax.Array)
        elif type(leaf) in _PLAIN:
            row["value"] = leaf
        else:
            row["other"] = type(leaf).__name__
        rows.append(row)
    return rows


def describe(call: Call) -> JSON:
    """Return how the leaves make the arguments, as JSON; None where JSON cannot say it."""
    plain = all(is_array(leaf) or type(leaf) in _PLAIN for leaf in call.leaves)
    try:
        return _describe(call.tree, 0) if call.graph is None and plain else None
    except ValueError:
        return None


def _describe(tree: Any, depth: int) -> JSON:
    if (about := tree.node_data()) is None:
        return "leaf"
    kind, keys = about
    parts = [_describe(part, depth + 1) for part in tree.children()]
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if kind is dict and all(type(key) in (str, int) for key in keys):
        return {"dict": [[key, part] for key, part in zip(keys, parts, strict=True)]}
    if kind in (list, tuple, type(None)):
        return {kind.__name__: parts}
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return {"named": [kind.__module__, kind.__qualname__, list(kind._fields)], "parts": parts}
    raise ValueError(f"{kind.__name__} has a form of its own")


def build(
    step: Callable[..., Any],
    module: ModuleType,
    about: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> Call:
    """Return the call again, made of what a folder holds.

    Args:
      step: the function.
      module: where it stands: there may be ``example_args()``, and there are its named tuples.
      about: what the folder says.
      arrays: by their paths.

    Raises:
      ValueError: the form of the arguments is not known, or differs.
    """
    rows = about["leaves"]
    made = [_leaf(row, arrays) for row in rows]
    if about["tree"] is not None:
        whole = _build(about["tree"], iter(made), 0, module)
        if type(whole) is not tuple or list(map(type, whole)) != [tuple, dict]:
            raise TypeError("no arguments and keyword arguments")
        return enter(step, *whole)
    make = getattr(module, "example_args", None)
    if make is None:
        raise ValueError(f"the arguments hold objects that no folder can hold: {_DEFINE}")
    like = enter(step, make(), {})
    here = dict(zip(like.names, map(_kind, like.leaves), strict=True))
    there = {row["name"]: _kind(leaf) for row, leaf in zip(rows, made, strict=True)}
    for name in here | there:
        if here.get(name) != there.get(name):
            raise ValueError(
                "example_args() does not have the form of what failed: "
                f"{printable(name)} is {here.get(name, 'nothing')} there and "
                f"{there.get(name, 'nothing')} in the folder"
            )
    return like.replace({k: leaf for k, leaf in enumerate(made) if is_array(leaf)})


def _kind(leaf: Any) -> str:
    if is_array(leaf):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__


def _leaf(row: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    if "value" in row:
        return row["value"] if type(row["value"]) in _PLAIN else None
    if "other" in row:
        return None
    array = arrays[row["name"]]
    if "key" in row:
        return jax.random.wrap_key_data(jnp.asarray(array), impl=row["key"])
    return array if row["host"] is True else jnp.asarray(array)


def _build(tree: Any, given: Any, depth: int, module: ModuleType) -> Any:
    if tree == "leaf":
        return next(given)
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    name = next(iter(tree))
    if name == "dict":
        return {key: _build(part, given, depth + 1, module) for key, part in tree["dict"]}
    if name == "NoneType":
        return None
    parts = [
        _build(part, given, depth + 1, module)
        for part in tree["parts" if name == "named" else name]
    ]
    if name in ("list", "tuple"):
        return parts if name == "list" else tuple(parts)
    return _named(module, *tree["named"])(*parts)


def _named(beside: ModuleType, module: str, name: str, fields: Sequence[str]) -> Any:
    """Return a class of named tuples that is loaded already; nothing is imported for it."""
    found: Any = sys.modules.get(module, beside)  # that of a script has another name here
    for part in name.split("."):
        found = getattr(found, part, None)
    fields_there = getattr(found, "_fields", None)
    if not (isinstance(found, type) and issubclass(found, tuple)) or fields_there != tuple(fields):
        raise ValueError(f"no named tuple {printable(f'{module}.{name}')} is loaded: {_DEFINE}")
    return found


def importable(step: Callable[..., Any]) -> dict[str, JSON]:
    """Return where a function can be imported from and the SHA-256 of that file, or None twice."""
    raw = inspect.unwrap(step)
    name, module = (
        getattr(raw, "__qualname__", "."),
        sys.modules.get(getattr(raw, "__module__", "")),
    )
    found = getattr(module, name, None) if name.isidentifier() else None
    file = getattr(module, "__file__", None)
    if found is None or file is None or inspect.unwrap(found) is not raw:
        return {"spec": None, "sha256": None}
    try:
        return {"spec": f"{file}:{name}", "sha256": _files.sha256(file)}
    except (OSError, ValueError):
        return {"spec": None, "sha256": None}


def _data(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
