"""Several processes on one machine as one training, supervised; imports no JAX."""

from chainrule.training.launch.supervisor import launch

__all__ = ["launch"]
__dir__ = __all__.copy
