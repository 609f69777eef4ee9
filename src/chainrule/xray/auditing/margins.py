"""How many bits every array of a call is from overflow and underflow, and what float16 would do."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.auditing.findings import place
from chainrule.xray.auditing.walk import sites
from chainrule.xray.elements import numbers, plain
from chainrule.xray.graph import Slot
from chainrule.xray.record import Record

__all__ = ["Margin", "Margins", "measure"]
__dir__ = __all__.copy

_LOST = 0.01  # of the numbers of a gradient that are not 0: so many may become 0
_SHOWN = 5


class Margin(NamedTuple):
    """What one operator made in this call, or the gradient that came back to it.

    Attributes:
      op: the operator; of an argument its name.
      line: its line; "" of an argument.
      what: "value" or "gradient".
      dtype: of the array.
      largest: the largest modulus of its elements.
      smallest: the smallest one that is not 0.
      typical: of a hundred elements that are not 0, one is smaller; of few elements, the smallest.
    """

    op: str
    line: str
    what: Literal["value", "gradient"]
    dtype: str
    largest: float
    smallest: float
    typical: float

    def over(self, dtype: Any = None) -> float:
        """Return how many bits it is from overflow: less than 0 if it does.

        Args:
          dtype: in which dtype; None for its own.
        """
        return math.log2(float(jnp.finfo(dtype or self.dtype).max)) - math.log2(self.largest)

    def under(self, dtype: Any = None) -> float:
        """Return how many bits its smallest element is above the smallest normal number.

        Args:
          dtype: in which dtype; None for its own.
        """
        tiny = float(jnp.finfo(dtype or self.dtype).smallest_normal)
        return math.log2(self.smallest) - math.log2(tiny)


class _Written(NamedTuple):
    """A number that is written in the program, and the line that uses it."""

    value: float
    line: str


@dataclasses.dataclass(frozen=True)
class Margins:
    """The margins of one call.

    Attributes:
      rows: one for each value and each gradient, the nearest to overflow first.
      written: the numbers that are written in the program.
    """

    rows: tuple[Margin, ...]
    written: tuple[_Written, ...] = dataclasses.field(default=(), repr=False)

    @functools.cached_property
    def loss_scale(self) -> tuple[float, float]:
        """The smallest and the largest loss scale for float16, powers of 2.

        Below the smallest one, more than one in a hundred of the numbers of some gradient that are
        not 0 would become 0; above the largest, some gradient would overflow.
        """
        gradients = [row for row in self.rows if row.what == "gradient"]
        about = jnp.finfo(jnp.float16)
        least = float(about.smallest_subnormal)
        low = max((least / row.typical for row in gradients), default=1.0)
        high = min((float(about.max) / row.largest for row in gradients), default=math.inf)
        up = 2.0 ** math.ceil(math.log2(low))
        return max(up, 1.0), 2.0 ** math.floor(math.log2(high)) if high < math.inf else high

    @property
    def first(self) -> Margin | None:
        """The gradient that overflows first as the loss scale grows; None without gradients."""
        gradients = [row for row in self.rows if row.what == "gradient"]
        return max(gradients, key=lambda row: row.largest, default=None)

    def float16(self) -> str:
        """Return one line on whether the numbers of this call fit into float16.

        It is about their range, and about this call: a number has 11 bits there.
        """
        most = float(jnp.finfo(jnp.float16).max)
        values = [row for row in self.rows if row.what == "value"]
        worst = max(values, key=lambda row: row.largest, default=None)
        if worst is not None and worst.largest > most:
            return f"no: {worst.op}{_at(worst)} makes {worst.largest:.4g}, more than {most:.0f}"
        least = float(jnp.finfo(jnp.float16).smallest_subnormal) / 2
        for number in self.written:
            if 0 < abs(number.value) <= least:
                return f"no: {number.value:.3g}, written at {place(number.line)}, is 0 there"
        low, high = self.loss_scale
        if self.first is not None and low > high:
            return (
                f"no: against underflow the loss scale is at least {_power(low)}, and "
                f"the gradient of {self.first.op}{_at(self.first)} overflows above "
                f"{_power(high)}"
            )
        if self.first is None:
            return "yes, forward: the numbers of this call fit"
        need = (
            "without a loss scale" if low <= 1 else f"with a loss scale of at least {_power(low)}"
        )
        return (
            f"yes, {need} and at most {_power(high)}, where the gradient of {self.first.op} at "
            f"{place(self.first.line)} overflows"
        )

    def __str__(self) -> str:
        parts = [f"can this run in float16? {self.float16()}"]
        if self.rows:
            parts.append("nearest to overflow, in bits: as it is, in float16, in bfloat16")
        for row in self.rows[:_SHOWN]:
            bits = ", ".join(
                f"{row.over(dtype):.0f}" for dtype in (None, jnp.float16, jnp.bfloat16)
            )
            what = "" if row.what == "value" else "the gradient of "
            parts.append(f"  {bits}  {what}{row.op}{_at(row)}: {row.largest:.4g}")
        return "\n".join(parts)


def _at(row: Margin) -> str:
    return f" at {place(row.line)}" if row.line else ""


def _power(x: float) -> str:
    return f"2**{round(math.log2(x))}" if math.isfinite(x) else "any"


@_jax.quiet
def measure(record: Record) -> Margins:
    """Return the margins of every operator of a record, those in loops and branches too.

    Args:
      record: the record; it keeps values.
    """
    rows = [row for site in sites(record) for row in _rows(site.node)]
    rows += [row for node in record.nodes if node.is_argument for row in _rows(node)]
    rows.sort(key=lambda row: row.over())
    return Margins(tuple(rows), tuple(_written(record)))


def _rows(node: Any) -> Iterator[Margin]:
    kinds: tuple[Literal["value", "gradient"], ...] = ("value", "gradient")
    for what, arrays in zip(kinds, (node.values, node.cotangents), strict=True):
        for x, aval in zip(arrays, node.avals, strict=True):
            if x is None or not jnp.issubdtype(aval.dtype, jnp.floating):
                continue
            size = np.abs(plain(x))
            some = size[np.isfinite(size) & (size > 0)]
            if some.size:
                typical = np.partition(some, k)[k] if (k := int(_LOST * some.size)) else some.min()
                about = float(some.max()), float(some.min()), float(typical)
                yield Margin(node.name or node.op, node.line, what, str(aval.dtype), *about)


def _written(record: Record) -> Iterator[_Written]:
    for node in record.nodes:
        if node.kind == "constant" and not node.avals[0].shape:
            value = numbers(node.value)
            uses = record.readers[Slot(node.index, 0)]
            readers = [use.node for use in uses if use.node is not None]
            if value is not None and value.dtype.kind == "f" and np.isfinite(value) and readers:
                yield _Written(float(value), record.nodes[readers[0]].line)
