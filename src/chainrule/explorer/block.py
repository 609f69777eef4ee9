"""All arrays of a page in one block of float32: rounded to a number of bits, and deflated.

Losses and counts keep 16 significant bits (off by at most 1 in 65,536), level lines 12. Losses
above a floor, which may differ from it only in their last digits, are kept whole.
"""

import base64
import zlib
from typing import Any

import numpy as np

__all__ = ["EXACT", "LINE", "VALUE", "Block", "rounded"]
__dir__ = __all__.copy

VALUE, LINE, EXACT = 16, 12, 24  #: significant bits


class Block:
    """The arrays of a page, one after the other."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.length = 0

    def add(self, values: Any, bits: int) -> int:
        """Append an array, rounded to so many significant bits, and return where it begins."""
        at = self.length
        self.parts.append(rounded(np.asarray(values, "<f4").ravel(), bits))
        self.length += self.parts[-1].size
        return at

    def packed(self) -> str:
        """Return the whole block as text."""
        whole = np.concatenate(self.parts)
        # First bytes first: the sign and exponent of neighbours are alike, their last bits not.
        planes = whole.view(np.uint8).reshape(whole.size, 4).T
        return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Round float32 to so many significant bits: the others are zeros, which pack to nothing."""
    spare = EXACT - bits
    if not spare:
        return values
    # In unsigned integers a carry out of the mantissa raises the exponent, as it should.
    whole = values.view(np.uint32)
    up = (whole.astype(np.uint64) + (1 << (spare - 1))) >> spare << spare
    kept = np.where(np.isfinite(values), up.astype(np.uint32), whole).view(np.float32)
    return np.where(np.isfinite(kept), kept, values)
