"""Limits on a result: at most, at least, below or above a number.

A limit stands in ``run.json`` as ``{"at most": 0.005}``, and the report says whether it was met.
"""

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from chainrule import _require
from chainrule._files import JSON

__all__ = ["LIMITS", "Above", "AtLeast", "AtMost", "Below", "Limit", "from_json", "to_json"]
__dir__ = __all__.copy


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a number has to keep; one of `AtMost`, `AtLeast`, `Below` and `Above`.

    Attributes:
      bound: a finite number.
    """

    bound: int | float
    word: ClassVar[str]
    compares: ClassVar[Callable[[Any, Any], bool]]
    upper: ClassVar[bool]

    def __post_init__(self) -> None:
        _require.real("bound", self.bound)

    def __str__(self) -> str:
        return f"{self.word} {self.bound:g}"

    def met_by(self, value: int | float) -> bool:
        """Tell whether a number keeps the limit."""
        return bool(type(self).compares(value, self.bound))


class AtMost(Limit):
    """The number may be the bound, and no more.

    Example:
      >>> str(AtMost(0.005)), AtMost(0.005).met_by(0.005), Below(0.005).met_by(0.005)
      ('at most 0.005', True, False)
    """

    word, compares, upper = "at most", operator.le, True


class Below(Limit):
    """The number must be smaller than the bound."""

    word, compares, upper = "below", operator.lt, True


class AtLeast(Limit):
    """The number may be the bound, and no less."""

    word, compares, upper = "at least", operator.ge, False


class Above(Limit):
    """The number must be larger than the bound."""

    word, compares, upper = "above", operator.gt, False


LIMITS = {kind.word: kind for kind in (AtMost, Below, AtLeast, Above)}
"""The four kinds by their words."""


def to_json(expected: JSON | Limit) -> JSON:
    """Return what is expected of a result as JSON holds it."""
    if isinstance(expected, Limit):
        return {expected.word: expected.bound}
    return expected


def from_json(expected: JSON) -> JSON | Limit:
    """Return a limit where JSON holds one, and anything else as it is.

    Example:
      >>> from_json({"at least": 0.992}), from_json(0.2)
      (AtLeast(bound=0.992), 0.2)
    """
    if isinstance(expected, Mapping) and len(expected) == 1:
        ((word, bound),) = expected.items()
        known = isinstance(bound, int | float) and not isinstance(bound, bool)
        if word in LIMITS and known and math.isfinite(bound):
            return LIMITS[word](bound)
    return expected
