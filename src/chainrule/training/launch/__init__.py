"""Several processes on one machine as one training, supervised; imports no JAX."""

from chainrule.training.launch.supervisor import launch

__all__ = ["launch"]


def __dir__() -> list[str]:
    return sorted(__all__)
