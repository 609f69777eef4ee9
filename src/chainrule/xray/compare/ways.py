"""The ways in which a program can run: compiled, operator by operator, in a dtype, elsewhere."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from chainrule import _require
from chainrule.xray import _jax
from chainrule.xray.graph import Vertex
from chainrule.xray.passes import Numbers, Operator, of_operators, run
from chainrule.xray.record import Record, entries
from chainrule.xray.rerun import in_dtype

__all__ = ["DTYPES", "Way", "recorded", "way"]
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
      compiled: whether everything runs as one compiled program, or operator by operator.
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

    def operator(self, node: Vertex) -> Operator:
        """Return an operator as a function that runs this way."""
        return in_dtype(node, self.dtype)

    def whole(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of arrays that runs this way."""
        ready = _jax.compile_whole(f) if self.compiled else _jax.quiet(f)

        def called(*args: Any) -> Any:
            with self.context():
                return ready(*args)

        return called

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


def recorded(base: Record, way: Way) -> Record:
    """Return the record of a program, run another way.

    Args:
      base: its record, as the program is; it keeps values.
      way: in a dtype or not, compiled or not, on a device.
    """
    if way.dtype is None and way.device is None and way.compiled == base.compiled:
        return base
    notes: dict[int, str] = {}
    operators = {i: way.operator(n) for i, n in enumerate(base.nodes) if n.kind == "operator"}

    def numbers(taken: Sequence[Any], starts: Sequence[Any]) -> Numbers:
        given = [_into(x, way) for x in taken], [_into(x, way) for x in starts]
        return of_operators(base, run(base, *given, base.wanted, notes, operators=operators))

    taken = [node.value for node in base.nodes if node.is_argument]
    arrays = [x if hasattr(x, "size") else jnp.asarray(x) for x in taken]
    found = way.whole(numbers)(way.put(arrays), way.put(list(base.starts)))
    parameters = [node.index for node in base.nodes if node.kind == "parameter"]
    nodes = entries(base, found, arrays, keep="values", notes=notes, parameters=parameters)
    return dataclasses.replace(base, nodes=nodes, compiled=way.compiled)


def _into(x: Any, way: Way) -> Any:
    return x if x is None or way.dtype is None else _jax.widen(x, way.dtype)
