"""What an audit says of a program, as data: rules, traps and margins, each with its line."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from chainrule.xray.words import below

__all__ = ["Purpose", "Reached", "Rule", "Trap", "place"]
__dir__ = __all__.copy

Purpose = Literal["", "straight-through", "surrogate", "reversed", "scaled", "clipped", "stopped"]
"""What a rule that differs from the derivative is for; "" where it is for nothing known."""


def place(line: str) -> str:
    """Return a line as a report names it: from the working folder, "" as an unknown line."""
    return below(line) or "an unknown line"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A custom rule that gives something else than the gradient of its function.

    Attributes:
      function: the name of the function that has the rule.
      line: ``file.py:line (function)`` in the rule, of what computes the wrong gradient; of a value
        that is wrong, where the function that goes forward is defined.
      parts: the functions of the rule, ``file.py:line (name)`` each, where they are defined.
      called: the line where the function is called.
      argument: the name of the input of which the gradient is wrong; "" where it is a value.
      why: what is wrong, in words.
      factor: how many times the gradient the rule gives, at the worst element; NaN if unknown.
      worst: the index of the worst element.
      by_rule: what the rule gives there.
      true: what the function has there.
      method: what the rule was compared with.
      purpose: what the rule is for, where that is recognised; such a rule is not wrong.
      cure: what was tried in its place, and held; "" if nothing did.
    """

    function: str
    line: str
    parts: tuple[str, ...]
    called: str
    argument: str
    why: str
    factor: float = float("nan")
    worst: tuple[int, ...] = ()
    by_rule: float = float("nan")
    true: float = float("nan")
    method: str = ""
    purpose: Purpose = ""
    cure: str = ""

    def __str__(self) -> str:
        rows = [place(self.line), f"  {self.why}"]
        if not math.isnan(self.by_rule):
            at = f" at {list(self.worst)}" if self.worst else ""
            times = f", {self.factor:.4g} times" if math.isfinite(self.factor) else ""
            rows.append(
                f"  worst{at}: {self.by_rule:.6g} by the rule, {self.true:.6g} by {self.method}"
                + times
            )
        rows.append(f"  the rule: {', '.join(map(place, self.parts)) or 'unknown'}")
        rows.append(f"  called at {place(self.called)}")
        if self.cure:
            rows.append(f"  cure: {self.cure}")
        return "\n".join(rows)


Reached = Literal["as called", "arguments", "operand"]
"""How a trap was provoked: with the numbers given, with others for the arguments, or by setting
what the operator takes, which was not reached from the arguments."""


_HEADINGS = (
    (("where trap",), "the-where-trap"),
    (("norm (or standard deviation)",), "equal-rows-and-constant-columns"),
    (("row is -inf",), "masks-that-leave-nothing"),
    (("eigenvalues", "matrix"), "matrices"),
    (("does not fit", "index out of range"), "integers-and-indices"),
    (("grows without bound",), "a-state-that-grows"),
    (("log", "division", "0 / 0", "root", "sqrt", "power"), "division-logarithm-and-root"),
)
"""Words of a reason, and the heading of the page of the book that explains it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trap:
    """Something that is about to break, and did when it was provoked.

    Attributes:
      op: the operator.
      line: ``file.py:line (function)`` in the user's code.
      within: the line inside an installed library, or of the loop around it; "" if none.
      why: what happens, in words.
      reached: how it was provoked.
      how: the input that provokes it, in words; "" of the one that was given.
      arguments: by the names of the arguments, those that are others than were given.
      tries: tries what to write instead, on the program with that input; None where nothing can be.
    """

    op: str
    line: str
    within: str
    why: str
    reached: Reached
    how: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    tries: Callable[[], str] | None = dataclasses.field(default=None, repr=False)

    def cure(self) -> str:
        """Return what to write instead, tried on the program as it was provoked; "" if unknown.

        The second call returns what the first one found.
        """
        if "_cure" not in self.__dict__:
            self.__dict__["_cure"] = self.tries() if self.tries is not None else ""
        found: str = self.__dict__["_cure"]
        return found

    @property
    def page(self) -> str:
        """Where the book explains it, as ``traps.html#the-where-trap``; "" if it does not."""
        for words, heading in _HEADINGS:
            if any(word in self.why for word in words):
                return f"traps.html#{heading}"
        return ""

    def __str__(self) -> str:
        how = {
            "as called": "with the numbers that were given",
            "arguments": f"with {self.how}",
            "operand": f"with {self.how}; not reached from the arguments",
        }[self.reached]
        rows = [place(self.line), f"  {self.op}: {self.why}", f"  provoked {how}"]
        if self.within and self.within != self.line:
            rows.append(f"  inside: {place(self.within)}")
        if cure := self.cure():
            rows.append(f"  write instead: {cure}")
        if self.page:
            rows.append(f"  more: {self.page} of the book")
        return "\n".join(rows)
