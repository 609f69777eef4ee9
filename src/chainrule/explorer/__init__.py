"""The descent explorer: a page on which one plays with learning rates, from recorded sweeps."""

from chainrule.explorer.page import Problem, Sweep

__all__ = ["Problem", "Sweep"]
