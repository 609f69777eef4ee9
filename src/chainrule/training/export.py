"""A model as a program in a file: StableHLO with its weights, which runs without this package.

The format is that of `jax.export`, followed by a checksum. To run it, only JAX is needed::

  program = jax.export.deserialize(bytearray(open("digits.stablehlo", "rb").read()))
  logits = program.call(images)

Example:
  >>> import pathlib, tempfile
  >>> import jax.numpy as jnp
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
from collections.abc import Callable, Sequence

import jax
from jax import export
from jaxtyping import PyTree

from chainrule import _files, _require

__all__ = ["PLATFORMS", "load", "save"]
__dir__ = __all__.copy

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""What a program can be saved for."""

_MARK = b"sha256:"
_TRAILER = len(_MARK) + hashlib.sha256().digest_size
"""The length of what follows the program: readers of the format stop before it."""


def save(
    path: str | os.PathLike[str],
    f: Callable[..., PyTree],
    *inputs: PyTree,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
) -> None:
    """Save a function of batches; a file of that name is replaced as a whole.

    Args:
      path: of the file.
      f: a function of arrays ``[batch, ...]``. What it closes over becomes a part of the program:
        bind the weights with a lambda or `functools.partial`.
      inputs: examples of its arguments, arrays or their shapes. All first axes are the same batch,
        of any size.
      platforms: what the program is to run on, some of `PLATFORMS`; none of them need be at hand.

    Raises:
      ValueError: there is no input, one has no axis for the batch, the shapes of the function do
        not follow from those of its inputs for every batch size, or a platform is unknown.
    """
    path = _require.path("path", path)
    _require.function("f", f, "of batches")
    some = f"a list of some of {', '.join(PLATFORMS)}"
    _require.instance("platforms", platforms, list | tuple, some)
    if not platforms:
        raise ValueError(f"platforms must be {some}, not empty")
    for platform in platforms:
        _require.one_of("platform", platform, PLATFORMS)
    _require.leaves("inputs", inputs, shapes=True)
    (batch,) = export.symbolic_shape("batch")
    shapes = [getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(inputs)]
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
      ValueError: it is something else, or damaged: JAX itself would crash, or compute other
        numbers.
    """
    path = _require.path("path", path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    with _files.open_regular(path) as file:
        # The end first: nothing else is read of a file that is no program.
        size = max(0, file.seek(0, os.SEEK_END) - _TRAILER)
        file.seek(size)
        trailer = file.read()
        if not trailer.startswith(_MARK):
            raise ValueError(f"{path} is no program that was saved here, or was cut off")
        file.seek(0)
        data = file.read(size)
    if trailer[len(_MARK) :] != hashlib.sha256(data).digest():
        raise ValueError(f"{path} is damaged: it does not have the checksum at its end")
    return export.deserialize(bytearray(data))
