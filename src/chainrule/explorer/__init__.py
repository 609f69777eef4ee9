"""The descent explorer: a page on which one plays with learning rates, from recorded sweeps."""

from chainrule.explorer.build import page
from chainrule.explorer.problem import Problem, Sweep

__all__ = ["Problem", "Sweep", "page"]
__dir__ = __all__.copy
