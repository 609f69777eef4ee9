"""The descent explorer: a page on which one plays with learning rates."""

from chainrule.explorer.build import page
from chainrule.explorer.landscape import Landscape
from chainrule.explorer.problem import Problem, Sweep

__all__ = ["Landscape", "Problem", "Sweep", "page"]
__dir__ = __all__.copy
