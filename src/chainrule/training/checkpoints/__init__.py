"""Checkpoints: the store on disk, the manifest that vouches for it, and the session of a loop."""

from chainrule.training.checkpoints.store import Checkpoints, Restored

__all__ = ["Checkpoints", "Restored"]


def __dir__() -> list[str]:
    return sorted(__all__)
