"""What the programs of the notes and the course printed, digit for digit.

Nobody printed the seeds: these numbers stand beside ours and are not compared to the last digit.
"""

from typing import NamedTuple

__all__ = ["LINEAR", "NETWORK", "NORM", "PERCEPTRON", "Epoch", "Row"]


class Row(NamedTuple):
    """A line of the notes' network: is it a 5?

    Attributes:
      loss: the mean squared error of 1,000 training digits.
      errors: how many of them are wrong.
    """

    loss: float
    errors: int


NETWORK = {
    0: Row(0.14268699288368225, 93),
    100: Row(0.03848343715071678, 45),
    200: Row(0.02569294534623623, 18),
    300: Row(0.0191640704870224, 12),
    400: Row(0.01507069543004036, 7),
    500: Row(0.012178068049252033, 4),
    600: Row(0.010016602464020252, 4),
    700: Row(0.008355352096259594, 2),
    800: Row(0.0070420484989881516, 1),
    900: Row(0.0060019539669156075, 0),
    1000: Row(0.005159074906259775, 0),
}
"""Step to line: 784-200-1, full batches, eta = 0.01."""


class Epoch(NamedTuple):
    """A line of the notes' perceptron, 0 against 1 on all digits.

    Attributes:
      changes: of the weights in the epoch.
      train: share of wrong training digits after it, in %.
      test: of wrong test digits, in %.
    """

    changes: int
    train: float
    test: float


PERCEPTRON = (
    Epoch(64, 0.23, 0.19),
    Epoch(24, 0.07, 0.00),
    Epoch(10, 0.06, 0.05),
    Epoch(6, 0.03, 0.14),
    Epoch(5, 0.03, 0.09),
    Epoch(4, 0.02, 0.14),
    Epoch(3, 0.01, 0.14),
    Epoch(2, 0.00, 0.14),
    Epoch(0, 0.00, 0.14),
)
"""A line an epoch."""

NORM = 11.2018
"""q = |x3| of the notes' graph, its two 5 x 5 weights uniform on [0, 1) and x normal."""

LINEAR = {
    "weight": (
        (-0.0033, 0.5535, 0.1779),
        (0.3713, -0.0790, 0.1122),
        (-0.0505, 0.1339, -0.5534),
        (0.3604, 0.5361, 0.1966),
        (-0.1884, -0.4768, 0.0522),
    ),
    "bias": (-0.0224, 0.2585, 0.4717, 0.1976, -0.4478),
}
"""The course's linear layer of 3 inputs and 5 outputs, as PyTorch drew it."""
