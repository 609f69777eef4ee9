"""What all losses ask of their arrays: one shape, and something to take a mean of."""

import math
from typing import Any

from chainrule import _require


def check_mean(**arrays: Any) -> None:
    """Check that two arrays have one shape and are not empty, the first of floating-point numbers.

    Raises:
      ValueError: they differ, or there is no mean of them.
    """
    (first, one), *_ = arrays.items()
    _require.floats(**{first: one})
    _require.arrays(**arrays)
    _require.same_shape("reshape one of them", **arrays)
    if math.prod(one.shape) == 0:
        raise ValueError(f"{first} {one.shape}: an empty batch has no mean")
