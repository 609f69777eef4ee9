"""A model as a program in a file: StableHLO, weights and all, that runs without this package.

What is written is `jax.export`'s own format, with a checksum behind its end. Whoever has the file
needs JAX and nothing else::

  program = jax.export.deserialize(bytearray(open("digits.stablehlo", "rb").read()))
  logits = program.call(images)

Example:
  >>> import pathlib, tempfile
  >>> from chainrule.models import mlp
  >>> params = mlp.init(jax.random.key(0), (4, 3, 2))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...     path = pathlib.Path(folder) / "mlp.stablehlo"
  ...     save(path, lambda inputs: mlp.apply(params, inputs), jnp.zeros((1, 4)))
  ...     program = load(path)
  >>> program.in_avals, program.platforms
  ((ShapedArray(float32[batch,4]),), ('cpu', 'cuda', 'tpu'))
  >>> program.call(jnp.zeros((5, 4))).shape
  (5, 2)
"""

import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import PyTree

from chainrule import _files

__all__ = ["load", "save"]

_MARK = b"sha256:"
_TRAILER = len(_MARK) + hashlib.sha256().digest_size
"""Bytes behind the program's: readers of the format stop before them."""


def save(
    path: str | os.PathLike[str],
    f: Callable[..., PyTree],
    *inputs: PyTree,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Save a function of batches; the file appears whole, in the place of one that was there.

    Args:
      path: where to.
      f: the function, of arrays ``[batch, ...]``. What it closes over, its weights, is a part of
        the program: bind them with a lambda or `functools.partial`.
      inputs: examples of its arguments, arrays or their shapes. All first axes stand for one batch,
        of any size.
      platforms: what the program is to run on; none of them need be at hand.

    Raises:
      ValueError: no input, one without an axis for the batch, or a function whose shapes do not
        follow from those of its inputs whatever the size of the batch.
    """
    (batch,) = export.symbolic_shape("batch")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if not shapes or () in shapes:
        raise ValueError(f"inputs of shapes {shapes}: the first axis of each must be the batch's")
    any_batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), inputs
    )
    try:
        program = export.export(jax.jit(f), platforms=platforms)(*any_batch)
    except jax.errors.InconclusiveDimensionOperation as error:
        raise ValueError(f"the function is not one of batches of any size: {error}") from error
    data = bytes(program.serialize())
    _files.write(path, data + _MARK + hashlib.sha256(data).digest())


def load(path: str | os.PathLike[str]) -> export.Exported:
    """Read a program back.

    Args:
      path: a file that `save` wrote.

    Returns:
      The program: ``program.call(inputs)`` runs it, ``program.mlir_module()`` is its text,
      ``program.in_avals`` and ``program.platforms`` say what it takes and where it runs.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is something else, or damaged: JAX itself would crash or run other numbers.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    content = path.read_bytes()
    data, trailer = content[:-_TRAILER], content[-_TRAILER:]
    if not trailer.startswith(_MARK):
        raise ValueError(f"{path} is no program that was saved here, or was cut off")
    if trailer[len(_MARK) :] != hashlib.sha256(data).digest():
        raise ValueError(f"{path} is damaged: it does not have the checksum at its end")
    return export.deserialize(bytearray(data))


def __dir__() -> list[str]:
    return sorted(__all__)
