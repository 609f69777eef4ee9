"""The descent explorer: a page on which one plays with learning rates, from recorded sweeps."""

from chainrule.explorer.build import page
from chainrule.explorer.problem import Problem, Sweep

__all__ = ["Problem", "Sweep", "page"]


def __dir__() -> list[str]:
    return sorted(__all__)
