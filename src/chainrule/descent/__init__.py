r"""Gradient descent as data: one run, a sweep over learning rates, their verdicts and curvature.

A descent is a `Trace` of arrays, ``steps + 1`` long: entry ``t`` is taken at the parameters after
``t`` steps, before the next one, so that entry 0 is the start and the last entry is the end. A
sweep is the same trace with one more axis in front, a lane for each learning rate.

What can be predicted is the *edge*: near a point where the largest eigenvalue of the
Hessian, the `sharpness`, is ``s``, plain descent shrinks the error along that eigenvector only
while ``eta < 2 / s``. Beyond, it grows until the curvature changes.

References:
  Cohen, Kaur, Li, Kolter and Talwalkar, "Gradient descent on neural networks typically occurs at
  the edge of stability", ICLR 2021. Polyak, "Some methods of speeding up the convergence of
  iteration methods", 1964 (the edge with momentum).
"""

from chainrule.descent._arguments import Loss
from chainrule.descent.choosing import Choice, choose
from chainrule.descent.curvature import (
    Spectrum,
    Stability,
    edge,
    quadratic_model,
    sharpness,
    spectrum,
    stability,
)
from chainrule.descent.explaining import explain
from chainrule.descent.explanation import Explanation
from chainrule.descent.run import Rates, gradient_descent, sweep
from chainrule.descent.trace import Trace
from chainrule.descent.updates import OptimizerFactory
from chainrule.descent.verdicts import Lane, Verdict, summary, verdict
from chainrule.descent.watching import Watched, watch, watcher

__all__ = [
    "Choice",
    "Explanation",
    "Lane",
    "Loss",
    "OptimizerFactory",
    "Rates",
    "Spectrum",
    "Stability",
    "Trace",
    "Verdict",
    "Watched",
    "choose",
    "edge",
    "explain",
    "gradient_descent",
    "quadratic_model",
    "sharpness",
    "spectrum",
    "stability",
    "summary",
    "sweep",
    "verdict",
    "watch",
    "watcher",
]
__dir__ = __all__.copy
