"""The ways in which a program can run: compiled, operator by operator, in a dtype, elsewhere."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from chainrule import _require
from chainrule.xray import _jax
from chainrule.xray.graph import Vertex

__all__ = ["DTYPES", "Way", "way"]
__dir__ = __all__.copy

DTYPES = ("float64", "float32", "bfloat16", "float16", "tensorfloat32")
"""In which a program can run besides its own."""
_PLAIN = ("compiled", "op by op")
_TF32_EPS = 2.0**-10


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run a program.

    Attributes:
      name: as it is asked for.
      compiled: whether everything runs as one compiled program, or each operator by itself.
      dtype: of all floats; None for the program's own.
      device: where; None for the default.
    """

    name: str
    compiled: bool = True
    dtype: _jax.Into | None = None
    device: Any = None

    @property
    def wide(self) -> bool:
        """Whether JAX must allow float64 for it."""
        return self.dtype is not None and self.dtype.dtype == jnp.float64

    def eps(self, node: Vertex, output: int = 0) -> float:
        """Return the distance of 1 to the next number in which an operator computes."""
        own = node.avals[output].dtype if node.avals else jnp.float32
        if not jnp.issubdtype(own, jnp.inexact):
            return 0.0
        if self.dtype is _jax.TF32:
            exact = node.known.elementwise or node.known.copies
            return float(jnp.finfo(own).eps) if exact else _TF32_EPS
        return float(jnp.finfo(own if self.dtype is None else self.dtype.dtype).eps)

    @contextlib.contextmanager
    def context(self) -> Iterator[None]:
        """Run the block on the device, and with float64 where it is needed."""
        with contextlib.ExitStack() as stack:
            if self.wide:
                stack.enter_context(jax.enable_x64(True))
            if self.device is not None:
                stack.enter_context(jax.default_device(self.device))
            yield

    def put(self, tree: Any) -> Any:
        """Return arrays on the device."""
        return tree if self.device is None else jax.device_put(tree, self.device)


def way(name: str, value: Any) -> Way:
    """Return the way that an argument asks for.

    Args:
      name: of the argument.
      value: "compiled", "op by op", a dtype of `DTYPES`, a device or its platform.

    Raises:
      ValueError: there is no such way.

    Example:
      >>> way("a", "op by op").compiled
      False
    """
    if hasattr(value, "platform") and hasattr(value, "device_kind"):
        return Way(str(value), device=value)
    if isinstance(value, str) and value in ("cpu", "gpu", "tpu", "cuda", "rocm"):
        try:
            return Way(value, device=jax.devices(value)[0])
        except RuntimeError as error:
            raise ValueError(f"{name} is {value!r}, and JAX has no such device here") from error
    _require.one_of(name, value, (*_PLAIN, *DTYPES))
    if value in _PLAIN:
        return Way(value, compiled=value == "compiled")
    into = _jax.TF32 if value == "tensorfloat32" else _jax.Into(jnp.dtype(value))
    return Way(value, dtype=into)
