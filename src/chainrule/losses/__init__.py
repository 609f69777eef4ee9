"""The losses, each with its backward rule beside it.

Every loss returns one number and states its reduction. All of them are means over the batch, so
that repeating the batch changes neither the loss nor its gradient, and a learning rate means the
same at every batch size. Where predictions and targets have one shape, the mean runs over all
elements: ``D`` components make the gradient ``D`` times smaller than a sum over them would. The one
exception is `supervised_contrastive`, which compares the samples of a batch with one another.

Losses are operators: the rule of ``f`` is ``f_backward(g, predictions, targets)`` and gives one
gradient per array, which is None for labels and signs: those are not variables.

Those of predictions against targets stand in `chainrule.losses.predictions`, those of points that
shall be near or far in `chainrule.losses.metric`. They take distances and similarities, which
`chainrule.ops.distances` computes, and know nothing of who made them.
"""

from chainrule.losses.metric import (
    contrastive,
    contrastive_backward,
    supervised_contrastive,
    supervised_contrastive_backward,
    triplet,
    triplet_backward,
)
from chainrule.losses.predictions import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    cross_entropy,
    cross_entropy_backward,
    hinge,
    hinge_backward,
    perceptron,
    perceptron_backward,
    squared_error,
    squared_error_backward,
    squared_hinge,
    squared_hinge_backward,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "contrastive",
    "contrastive_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "hinge",
    "hinge_backward",
    "perceptron",
    "perceptron_backward",
    "squared_error",
    "squared_error_backward",
    "squared_hinge",
    "squared_hinge_backward",
    "supervised_contrastive",
    "supervised_contrastive_backward",
    "triplet",
    "triplet_backward",
]


def __dir__() -> list[str]:
    return sorted(__all__)
