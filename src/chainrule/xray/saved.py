"""Records in files, ``.xray``: one machine, one JAX version, one day writes, another reads.

The file is safetensors: the arrays, and in its header the graph as JSON, with lines and statistics.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import _files, _require
from chainrule._files import printable
from chainrule.data import tensors
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.passes import Numbers
from chainrule.xray.record import Record, Trees, entries
from chainrule.xray.stats import Stats
from chainrule.xray.words import nearby

__all__ = ["read", "write"]
__dir__ = __all__.copy

_FORMAT = 1
_HEADER = "xray"
_KEYS = {"key<fry>": "threefry2x32", "key<rbg>": "rbg", "key<urbg>": "unsafe_rbg"}
_NUMBERS = ("min", "mean", "max", "norm", "zeros", "nans", "infs")  # of statistics
_MOST = 2**40  # elements along an axis, steps: more is no record of a program that ran
_CONTAINERS = {list: "list", tuple: "tuple", dict: "dict", type(None): "none"}


def write(record: Record, path: str | os.PathLike[str]) -> None:
    """Write a record to a file; one of that name is replaced as a whole.

    Args:
      record: the record, with values or statistics.
      path: ends in ``.xray``.

    Raises:
      ValueError: the path has another ending, or an array is of a type that no such file holds.
      OSError: it cannot be written.

    Example:
      >>> import tempfile
      >>> from chainrule import xray
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write(xray.xray(lambda x: x * x, 3.0).record, f"{folder}/square.xray")
      ...     read(f"{folder}/square.xray").nodes[1].label
      'mul_1'
    """
    path = _checked(path)
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, int] = {}
    header = {
        "format": _FORMAT,
        "jax": jax.__version__,
        "function": record.function,
        "keep": record.keep,
        "compiled": record.compiled,
        "steps": record.steps,
        "over": record.over,
        "outputs": [list(slot) for slot in record.outputs],
        "wanted": list(record.wanted),
        "starts": [_put(x, None, f"s{k}", arrays) for k, x in enumerate(record.starts)],
        "arguments": [_tree(tree) for tree in record.trees.arguments],
        "result": _tree(record.trees.result),
        "has_aux": record.trees.has_aux,
        "nodes": [_node(record, i, arrays, places) for i in range(len(record.nodes))],
    }
    tensors.write(path, arrays, {_HEADER: _files.dumps(header, indent=None)})


def read(path: str | os.PathLike[str]) -> Record:
    """Read a record from a file.

    Its operators have no equations: nothing of it can run again, and what asks for that says so.
    Containers other than dicts, lists and tuples come back as tuples.

    Args:
      path: ends in ``.xray``.

    Returns:
      The record, its arrays on the host.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the path has another ending, or the file is damaged, larger than the memory, or
        no record.
    """
    path = _checked(path)
    arrays, words = tensors.read(path)
    try:
        return _record(_files.loads(words[_HEADER]), arrays)
    except (LookupError, TypeError, ValueError, RecursionError, OverflowError) as error:
        what = f"{type(error).__name__}: {printable(error)}"
        raise ValueError(f"{path} holds no record of the x-ray ({what})") from error


def _checked(path: str | os.PathLike[str]) -> pathlib.Path:
    path = _require.path("path", path)
    if path.suffix != ".xray":
        raise ValueError(f"{path} ends in {path.suffix!r}: a record is kept in a file .xray")
    return path


def _node(
    record: Record, index: int, arrays: dict[str, np.ndarray], places: dict[str, int]
) -> dict[str, Any]:
    node = record.nodes[index]
    kinds = [_kind(aval.dtype) for aval in node.avals]
    rows = zip(node.inputs, node.contributions, strict=True)
    return {
        **{name: getattr(node, name) for name in ("kind", "op", "custom", "name", "scope", "note")},
        "inputs": [list(slot) for slot in node.inputs],
        "avals": [[kind, list(a.shape)] for kind, a in zip(kinds, node.avals, strict=True)],
        "line": nearby(node.line),
        "within": nearby(node.within),
        "outer": nearby(node.outer),
        "calls": list(node.calls),
        # What tells two calls apart names folders of this machine: a number will do.
        "path": [
            [name, f"{place.partition(' ')[0]} {places.setdefault(place, len(places))}"]
            for name, place in node.path
        ],
        "transforms": list(node.transforms),
        "values": [
            _put(x, kind, f"v{index}.{k}", arrays)
            for k, (x, kind) in enumerate(zip(node.values, kinds, strict=True))
        ],
        "gradients": [
            _put(x, None, f"g{index}.{k}", arrays) for k, x in enumerate(node.cotangents)
        ],
        "parts": [
            _put(x, None, f"p{index}.{k}", arrays) if len(record.readers[slot]) > 1 else None
            for k, (slot, x) in enumerate(rows)
        ],
    }


def _put(x: Any, kind: str | None, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Add an array to those of the file, and return how the header names it."""
    if x is None:
        return None
    if isinstance(x, Stats):
        numbers = [getattr(x, key) for key in _NUMBERS]
        return {"shape": list(x.shape), "dtype": x.dtype, "numbers": [float(n) for n in numbers]}
    if kind in _KEYS:
        arrays[name] = np.asarray(jax.random.key_data(x))
    else:  # a number of Python has the type that JAX gave it
        arrays[name] = np.asarray(x) if kind is None else np.asarray(x, jnp.dtype(kind))
    return name


def _kind(dtype: Any) -> str:
    """Return the name of a type of arrays in the header."""
    return "float0" if dtype == jax.dtypes.float0 else str(dtype)


def _tree(tree: Any) -> Any:
    """Return the structure of a pytree as JSON; containers that JSON does not know as tuples."""
    if (about := tree.node_data()) is None:
        return "leaf"
    kind, keys = about
    name = _CONTAINERS.get(kind, "tuple")
    parts = [_tree(part) for part in tree.children()]
    if name == "dict" and all(isinstance(key, str) for key in keys):
        return {"dict": dict(zip(keys, parts, strict=True))}
    return {"tuple" if name == "dict" else name: parts}


def _record(header: Any, arrays: dict[str, np.ndarray]) -> Record:
    _want(header["format"] == _FORMAT, f"it has format {header['format']!r}, not {_FORMAT}")
    keep, steps = header["keep"], header["steps"]
    _want(keep in ("values", "stats") and header["over"] in ("steps", "devices"), "keep or over")
    _want(steps is None or _count(steps) >= 0, "steps")
    rows = header["nodes"]
    nodes = tuple(_vertex(row, i, rows) for i, row in enumerate(rows))
    graph = Graph(
        nodes=nodes, outputs=tuple(_slot(pair, len(nodes), nodes) for pair in header["outputs"])
    )
    count = sum(node.is_argument for node in nodes)
    _want(all(node.is_argument for node in nodes[:count]), "an argument after an operator")
    wanted = tuple(_count(i, count - 1) for i in header["wanted"])
    trees = Trees(
        tuple(_structure(tree) for tree in header["arguments"]),
        _structure(header["result"]),
        header["has_aux"] is True,
    )
    leaves = sum(tree.num_leaves for tree in trees.arguments), trees.result.num_leaves
    _want(leaves == (count, len(graph.outputs)), "trees that do not fit its arrays")

    def of(row: Sequence[Any], avals: Sequence[Any], lead: bool = True) -> tuple[Any, ...]:
        _want(len(row) == len(avals), "a row of another length")
        allowed = steps if lead else None
        return tuple(_take(x, a, arrays, allowed, keep) for x, a in zip(row, avals, strict=True))

    taken = [[nodes[s.node].avals[s.output] for s in node.inputs] for node in nodes]
    numbers = Numbers(
        [of(r["values"], n.avals, n.kind != "constant") for r, n in zip(rows, nodes, strict=True)],
        [of(r["gradients"], n.avals) for r, n in zip(rows, nodes, strict=True)],
        [of(r["parts"], avals) for r, avals in zip(rows, taken, strict=True)],
    )
    ends = [nodes[slot.node].avals[slot.output] for slot in graph.outputs]
    if keep == "values":
        _want(not any(x is None for row in numbers.values for x in row), "a node without a value")
        nodes = tuple(
            dataclasses.replace(node, constant=row[0]) if node.kind == "constant" else node
            for node, row in zip(nodes, numbers.values, strict=True)
        )
        graph = Graph(nodes=nodes, outputs=graph.outputs)
    made = entries(
        graph,
        numbers,
        [row[0] for row in numbers.values[:count]],
        keep=keep,
        notes={i: _text(row["note"]) for i, row in enumerate(rows) if row["note"]},
        parameters=[i for i, node in enumerate(nodes) if node.kind == "parameter"],
    )
    return Record(
        function=_text(header["function"]),
        nodes=made,
        outputs=graph.outputs,
        starts=tuple(
            _take(x, a, arrays, steps, "values")  # arrays, also where only statistics are kept
            for x, a in zip(header["starts"], ends, strict=True)
        ),
        wanted=wanted,
        trees=trees,
        keep=keep,
        compiled=header["compiled"] is True,
        steps=steps,
        over=header["over"],
    )


def _vertex(row: Any, index: int, rows: Sequence[Any]) -> Vertex:
    kind = row["kind"]
    _want(kind in ("parameter", "input", "constant", "operator"), "a node of no known kind")
    avals = tuple(_aval(*pair) for pair in row["avals"])
    _want(kind == "operator" or (len(avals) == 1 and not row["inputs"]), "an argument with inputs")
    return Vertex(
        kind=kind,
        op=_text(row["op"]),
        custom=row["custom"] is True,
        name=_text(row["name"]),
        inputs=tuple(_slot(pair, index, rows) for pair in row["inputs"]),
        avals=avals,
        line=_text(row["line"]),
        within=_text(row["within"]),
        outer=_text(row.get("outer", "")),
        scope=_text(row["scope"]),
        calls=tuple(map(_text, row["calls"])),
        path=tuple((_text(name), _text(place)) for name, place in row["path"]),
        transforms=tuple(map(_text, row["transforms"])),
    )


def _aval(kind: Any, shape: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(map(_count, shape)), _dtype(kind))


def _dtype(kind: Any) -> Any:
    if kind == "float0":
        return jax.dtypes.float0
    if kind in _KEYS:
        return jax.eval_shape(lambda: jax.random.key(0, impl=_KEYS[kind])).dtype
    found = np.dtype(jnp.dtype(_text(kind)))
    _want(str(found) == kind and found.kind in "biufcV" and found.names is None, "a type of arrays")
    return found


def _take(x: Any, aval: Any, arrays: dict[str, np.ndarray], steps: int | None, keep: str) -> Any:
    """Return what the header names, if it is as the graph says."""
    if x is None:
        return None
    shape = aval.shape if steps is None else (steps, *aval.shape)
    if isinstance(x, str):
        array: Any = arrays[x]
        _want(keep == "values", "an array among statistics")
        if str(aval.dtype) in _KEYS:
            _want(array.dtype == np.uint32, "a random key of another type")
            array = jax.random.wrap_key_data(array, impl=_KEYS[str(aval.dtype)])
        fits = array.shape in (aval.shape, shape) and array.dtype == aval.dtype
        _want(fits, f"{array.dtype}{list(array.shape)} for {aval.dtype}{list(shape)}")
        return array
    numbers = [float(n) for n in x["numbers"]]
    _want(keep == "stats" and len(numbers) == len(_NUMBERS), "statistics")
    _want(tuple(x["shape"]) in (aval.shape, shape), "statistics of another shape")
    known = dict(zip(_NUMBERS, numbers, strict=True))
    bad = {key: _count(int(known[key]), math.prod(shape)) for key in ("nans", "infs")}
    return Stats(tuple(x["shape"]), _text(x["dtype"]), **known | bad)


def _structure(tree: Any) -> Any:
    """Return the structure that `_tree` has written."""

    def build(tree: Any) -> Any:
        if tree == "leaf":
            return 0
        ((name, parts),) = tree.items()
        if name == "dict":
            return {printable(key): build(part) for key, part in parts.items()}
        _want(name in ("list", "tuple", "none"), f"a container {name!r}")
        return None if name == "none" else {"list": list, "tuple": tuple}[name](map(build, parts))

    return jax.tree.structure(build(tree))


def _slot(pair: Any, below: int, nodes: Sequence[Any]) -> Slot:
    node, output = pair
    _count(node, below - 1)
    of = nodes[node]
    count = len(of.avals if isinstance(of, Vertex) else of["avals"])
    return Slot(node, _count(output, count - 1))


def _count(n: Any, most: int = _MOST) -> int:
    _want(type(n) is int and 0 <= n <= most, f"{n!r}, not from 0 to {most}")
    return n


def _text(value: Any) -> str:
    _want(isinstance(value, str), f"{value!r} for a text")
    return printable(value)


def _want(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
