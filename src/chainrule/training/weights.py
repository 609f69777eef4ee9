"""Parameters in a file of named arrays (`chainrule.data.tensors`): nested dicts, leaf by leaf.

A leaf is stored under its path, ``"block3/conv2/kernel"``.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from chainrule import _require
from chainrule.data import tensors

__all__ = ["load_weights", "save_weights"]
__dir__ = __all__.copy


def save_weights(
    path: str | os.PathLike[str], params: PyTree, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Save parameters; a file of that name is replaced as a whole.

    Args:
      path: ends in ``.safetensors`` or ``.npz``.
      params: nested dicts of arrays of any dtype, byte order and layout.
      metadata: text by name to go with them, for example the preprocessing.

    Raises:
      ValueError: another ending, a container that is no dict, a name that is no text or contains
        ``"/"``, an empty dict, or a dtype that such a file cannot hold.
      OSError: the file cannot be written; one that was there is unchanged.

    Example:
      >>> import pathlib, tempfile
      >>> params = {"layer1": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder) / "weights.safetensors"
      ...     save_weights(file, params, metadata={"trained on": "digits"})
      ...     load_weights(file, params)["layer1"]["bias"], tensors.read(file).metadata
      (Array([0., 0., 0.], dtype=float32), {'trained on': 'digits'})
    """
    _require.instance("params", params, dict, "nested dicts of arrays")
    leaves = dict(_flatten("params", params))
    if not leaves:
        raise ValueError(f"nothing to save in {path}: params holds no array")
    tensors.write(path, leaves, metadata)


def load_weights(path: str | os.PathLike[str], like: PyTree = None) -> PyTree:
    """Load parameters.

    Args:
      path: ends in ``.safetensors`` or ``.npz``; the content must be of that kind too.
      like: the parameters to be replaced, or their shapes and dtypes as `jax.eval_shape` gives
        them. Without it, any names and shapes are accepted.

    Returns:
      Nested dicts of arrays.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, of another kind than its name says, or a pickle; leaves are
        missing, unexpected, of another shape or dtype than in ``like``, or hold NaN or infinities
        (the message lists all of them); or a dtype needs ``jax_enable_x64``.
    """
    _require.instance("like", like, dict | None, "nested dicts of arrays")
    leaves, wrong = tensors.read(path).arrays, []
    if like is not None:
        wrong += _differences(leaves, dict(_flatten("like", like)))
    for name, leaf in leaves.items():
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and (bad := np.sum(~np.isfinite(leaf))):
            wrong.append(f"{name} holds {bad} numbers of {leaf.size} that are not finite")
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            wrong.append(f"{name} is {leaf.dtype}, which needs jax_enable_x64")
    if wrong:
        raise ValueError(f"{path}{'' if like is None else ' against like'}: " + "; ".join(wrong))
    return _unflatten(leaves)


def _differences(here: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    wrong = [f"{name} is missing" for name in wanted.keys() - here.keys()]
    wrong += [f"{name} is not wanted" for name in here.keys() - wanted.keys()]
    for name in wanted.keys() & here.keys():
        a, b = here[name], wanted[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            wrong.append(f"{name} is {a.dtype}{list(a.shape)}, wanted {b.dtype}{list(b.shape)}")
    return sorted(wrong)


def _flatten(tree: str, params: PyTree, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    where = f"{tree}[{'/'.join(path)!r}]"
    if not isinstance(params, dict):
        if not hasattr(params, "dtype"):
            raise ValueError(f"{where} is {_require.kind(params)}: expected dicts of arrays")
        yield "/".join(path), params
        return
    if path and not params:
        raise ValueError(f"{where} is an empty dict, which a file cannot hold: leave it out")
    for name, child in params.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"{where} has the name {name!r}: expected text without '/'")
        yield from _flatten(tree, child, (*path, name))


def _unflatten(leaves: Mapping[str, np.ndarray]) -> PyTree:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or last in node:
            raise ValueError(f"{name!r} is below or above another leaf: these are no nested dicts")
        node[last] = jnp.asarray(leaf)
    return tree
