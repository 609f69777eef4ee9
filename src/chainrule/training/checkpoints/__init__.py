"""Checkpoints: the store on disk, the manifest that vouches for it, and the session of a loop."""

from chainrule.training.checkpoints.store import Checkpoints, Restored

__all__ = ["Checkpoints", "Restored"]
__dir__ = __all__.copy
