"""The flight recorder: a training that ends in a NaN names its step, its line and its sample."""

from chainrule.xray.recorder.autopsy import Autopsy, NonFiniteError
from chainrule.xray.recorder.watching import Recorder

__all__ = ["Autopsy", "NonFiniteError", "Recorder"]
__dir__ = __all__.copy
