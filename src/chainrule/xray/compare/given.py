"""The array of a first program that stands for one of a second: it may be laid out otherwise."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.xray.graph import Slot

__all__ = ["Given", "Piece"]
__dir__ = __all__.copy


class Piece(NamedTuple):
    """One of equal parts of an array.

    Attributes:
      axis: along which it is cut.
      number: which part.
      parts: of how many.
    """

    axis: int
    number: int
    parts: int


class Given(NamedTuple):
    """The array of the first program that stands for one of the second.

    Attributes:
      slot: the array.
      axes: its axes in the order of the second program; None as they are.
      more: further arrays that come after it along an axis, where the second program computes at
        once what the first computes one by one.
      along: that axis, of the second's array.
      piece: the part of the array that it is, where it is the other way round; None for all of it.
      negative: whether it has the other sign.
    """

    slot: Slot
    axes: tuple[int, ...] | None = None
    more: tuple[Slot, ...] = ()
    along: int = 0
    piece: Piece | None = None
    negative: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All arrays that it is made of."""
        return (self.slot, *self.more)

    @property
    def whole(self) -> bool:
        """Whether it is one array of the first program, element by element."""
        return not (self.more or self.piece or self.negative)

    def size(self, shape: tuple[int, ...]) -> int:
        """Return of how many elements it is, if its arrays are of a shape."""
        count = 1 if self.piece is None else self.piece.parts
        return math.prod(shape) * len(self.slots) // count

    def array(self, value: Callable[[Slot], Any], shape: tuple[int, ...]) -> Any:
        """Return it in the layout of the second program.

        Args:
          value: returns an array of the first program, or its gradient, or None.
          shape: the second's; an array of another size keeps its own.
        """
        parts = [value(slot) for slot in self.slots]
        if any(x is None for x in parts):
            return None
        if not self.whole or self.axes is not None:
            parts = [self._turned(np.asarray(x)) for x in parts]
        if self.more:
            size = shape[self.along] // len(parts)
            part = (*shape[: self.along], size, *shape[self.along + 1 :])
            return np.concatenate([x.reshape(part) for x in parts], self.along)
        x = parts[0]
        theirs = np.shape(x)
        fits = theirs != tuple(shape) and math.prod(theirs) == math.prod(shape)
        return np.reshape(x, shape) if fits else x

    def _turned(self, x: np.ndarray) -> np.ndarray:
        if self.piece is not None:
            x = np.split(x, self.piece.parts, self.piece.axis)[self.piece.number]
        x = x if self.axes is None else np.transpose(x, self.axes)
        return -x if self.negative else x
