"""What a descent leaves behind, as plain arrays."""

from typing import NamedTuple

from jaxtyping import Array, Float, PyTree

__all__ = ["Trace"]
__dir__ = __all__.copy


class Trace(NamedTuple):
    """The record of a descent; a sweep has a leading axis ``len(etas)`` on every leaf.

    Attributes:
      loss: ``[steps + 1]``, the loss after 0, 1, ..., ``steps`` steps.
      grad_norm: ``[steps + 1]``, the Euclidean norm of the whole gradient at the same points.
      params: the parameters at the same points, every leaf ``[steps + 1, ...]``; None when they
        were not recorded.
      final_params: the parameters after the last step.
      observed: what ``observe`` returned at the same points, every leaf ``[steps + 1, ...]``; None
        without ``observe``.
    """

    loss: Float[Array, "*lanes steps_and_start"]
    grad_norm: Float[Array, "*lanes steps_and_start"]
    params: PyTree
    final_params: PyTree
    observed: PyTree = None
