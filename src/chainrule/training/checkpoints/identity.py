"""What makes a training the one it is: its data, its keys, and the programs of loss and optimizer.

Two trainings with the same identity compute the same numbers, as far as can be seen. Each entry is
compared when a training resumes, and what differs is named.

What is seen: every byte of arrays (of a `chainrule.data.batches.Source`, a thousand samples,
evenly spaced), dtypes and shapes, the batch size, the keys, and every operation and constant of the
loss with its gradient, of the optimizer's update and of the augmentation, from their jaxprs.

What cannot be seen: what a host callback computes, the other samples of a source, flags of XLA, the
device, and state that an optimizer keeps as data, such as an injected learning rate (it is saved
and restored). Where one of these matters, name it:
``Checkpoints(folder, identity={"callback": "version 2"})``.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from chainrule._files import JSON
from chainrule.data.batches import Batches
from chainrule.descent import updates
from chainrule.training.checkpoints import manifest
from chainrule.training.step import Augment, TrainingLoss, TrainState

__all__ = ["CHANGEABLE", "PROGRAMS", "describe", "differences", "fingerprint"]
__dir__ = __all__.copy

PROGRAMS = ("loss", "optimizer", "augment")
"""The entries that are fingerprints of programs."""
CHANGEABLE = (*PROGRAMS, "accumulate", "compiler options")
"""The entries that may be accepted as changed; data, batches and keys may not."""

# Parameters of equations that say where and how a program runs, or what it is called: no numbers.
_NO_NUMBERS = frozenset(
    {
        *("name", "ctx_mesh", "in_shardings", "out_shardings", "in_layouts", "out_layouts"),
        *("donated_invars", "compiler_options_kvs", "keep_unused", "inline", "debug_info"),
    }
)


def describe(
    train_state: TrainState,
    batch: PyTree,
    batches: Batches,
    *,
    loss: TrainingLoss,
    optimizer: optax.GradientTransformation,
    augment: Augment | None,
    accumulate: int,
) -> dict[str, Any]:
    """Return the identity of a training, as JSON.

    Args:
      train_state: its state at any step.
      batch: one batch, or its shapes.
      batches: the samples, and the batch of every step.
      loss: see `chainrule.training.make_step`, as the three that follow.
      optimizer: as there.
      augment: as there.
      accumulate: as there.
    """

    def augmented(key: Array, batch: PyTree) -> PyTree:
        return batch if augment is None else augment(key, batch)

    def update(grads: PyTree, opt_state: PyTree, params: PyTree, value: Array, *rest: Any) -> Any:
        return updates.update(
            optimizer,
            grads,
            opt_state,
            params,
            value=value,
            value_fn=lambda params: loss(params, *rest)[0],
        )

    state, key = train_state, train_state.key
    rest = (state.state, jax.eval_shape(augmented, key, batch), key)
    value, _ = jax.eval_shape(loss, state.params, *rest)
    gradient = jax.value_and_grad(loss, has_aux=True)
    return {
        "batch size": batches.size,
        "samples": batches.samples,
        "key of the batches": jax.random.key_data(batches.key).tolist(),
        "key of the steps": jax.random.key_data(key).tolist(),
        "sha256 of the data": _data(batches),
        "accumulate": accumulate,
        "loss": fingerprint(gradient, state.params, *rest),
        "optimizer": fingerprint(update, state.params, state.opt_state, state.params, value, *rest),
        "augment": None if augment is None else fingerprint(augment, key, batch),
        "jax": jax.__version__,
    }


def differences(
    saved: Mapping[str, JSON], here: Mapping[str, JSON], accept: Collection[str] = ()
) -> list[str]:
    """List how the training that was saved differs from this one.

    Another version of JAX may trace another program of the same function. Programs that differ are
    then a warning.

    Args:
      saved: the identity in a checkpoint.
      here: that of this training.
      accept: entries that may differ.
    """
    ignored = {"jax", *accept}
    versions = (saved.get("jax"), here.get("jax"))
    if None not in versions and versions[0] != versions[1]:
        ignored.update(PROGRAMS)
        changed = [n for n in PROGRAMS if n not in accept and saved.get(n) != here.get(n)]
        if changed:
            warnings.warn(
                f"saved with JAX {versions[0]}, resumed with JAX {versions[1]}: whether "
                f"{', '.join(changed)} are the same programs cannot be told",
                stacklevel=2,
            )
    wrong = manifest.differences(
        {name: value for name, value in saved.items() if name not in ignored},
        {name: value for name, value in here.items() if name not in ignored},
    )
    changed = [n for n in CHANGEABLE if n not in ignored and saved.get(n) != here.get(n)]
    if changed and len(changed) == len(wrong):
        wrong.append(f"if that is intended: Checkpoints(..., accept={tuple(changed)})")
    return wrong


def fingerprint(f: Callable[..., PyTree], *args: PyTree) -> str:
    """Return a hash of the program that JAX traces of a function, its constants included.

    Names, source lines and shardings do not count: only what is computed.

    Args:
      f: any function that `jax.make_jaxpr` traces.
      args: its arguments, or their shapes and dtypes.

    Returns:
      32 hexadecimal digits.

    Example:
      >>> import jax.numpy as jnp
      >>> double = fingerprint(lambda x: 2 * x, jnp.ones(3))
      >>> double == fingerprint(lambda y: 2 * y, jnp.ones(3))
      True
      >>> double == fingerprint(lambda x: 3 * x, jnp.ones(3))
      False
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), _dtype(leaf)), args)
    digest = hashlib.sha256()
    _add_jaxpr(digest, jax.make_jaxpr(f)(*shapes))
    return digest.hexdigest()[:32]


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def _add_jaxpr(digest: Any, jaxpr: Any) -> None:
    """Add the equations of a jaxpr, closed or not: variables by number, constants by content."""
    for constant in getattr(jaxpr, "consts", ()):
        _add_array(digest, constant)
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    numbers: dict[Any, int] = {}

    def add_atom(atom: Any) -> None:
        if hasattr(atom, "val"):  # a literal
            _add_array(digest, atom.val)
        else:
            digest.update(f"{numbers.setdefault(atom, len(numbers))} {atom.aval};".encode())

    for atom in (*jaxpr.constvars, *jaxpr.invars):
        add_atom(atom)
    for eqn in jaxpr.eqns:
        digest.update(f"{eqn.primitive.name}(".encode())
        for name, value in sorted(eqn.params.items()):
            if name not in _NO_NUMBERS:
                digest.update(f"{name}=".encode())
                _add_parameter(digest, value)
        for atom in (*eqn.invars, *eqn.outvars):
            add_atom(atom)
    for atom in jaxpr.outvars:
        add_atom(atom)


def _add_parameter(digest: Any, value: Any) -> None:
    if hasattr(value, "eqns") or hasattr(value, "consts"):
        _add_jaxpr(digest, value)
    elif isinstance(value, tuple | list):
        for item in value:
            _add_parameter(digest, item)
    elif isinstance(value, np.ndarray | jax.Array):
        _add_array(digest, value)
    elif not callable(value):  # of a function only the address is known
        digest.update(re.sub(r"0x[0-9a-f]+", "", repr(value)).encode())


def _add_array(digest: Any, value: Any) -> None:
    if hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())


def _data(batches: Batches) -> dict[str, str]:
    # A source may be larger than the memory: a thousand samples of it, evenly spaced.
    rows = np.unique(np.linspace(0, batches.samples - 1, 1000).astype(int))
    data = batches.data if batches.in_memory else batches.read(rows)
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        array = np.asarray(leaf)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        found[f"data{jax.tree_util.keystr(path)}"] = f"{array.dtype}{list(array.shape)} {digest}"
    return found
