"""The losses, each with its backward rule beside it.

Every loss returns one number and states its reduction. All of them are means over the batch, so
that repeating the batch changes neither the loss nor its gradient, and a learning rate means the
same at every batch size. Where predictions and targets have one shape, the mean runs over all
elements: ``D`` components make the gradient ``D`` times smaller than a sum over them would. The one
exception is `supervised_contrastive`, which compares the samples of a batch with one another.

Losses are operators, and their rules are found as `chainrule.ops` says: ``f_backward(g,
predictions, targets)`` returns one gradient per array, None for labels and signs, which are not
variables.

Losses of predictions against targets are in `chainrule.losses.predictions`, losses of distances and
similarities, which `chainrule.ops.distances` computes, in `chainrule.losses.metric`.
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
__dir__ = __all__.copy
