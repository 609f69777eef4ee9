"""The models: a module each, with ``init(key, ...) -> params`` and ``apply(params, inputs)``."""

import importlib
from types import ModuleType

__all__ = [
    "dag",
    "lenet",
    "mlp",
    "perceptron",
    "pretrained",
    "reasons",
    "siamese",
    "stack",
    "threshold",
    "vgg",
]
__dir__ = __all__.copy
_MOVED = {"torchvision": "pretrained.torchvision"}
"""What people import from here though it has moved."""


def __getattr__(name: str) -> ModuleType:
    if name in __all__ or name in _MOVED:
        return importlib.import_module(f"{__name__}.{_MOVED.get(name, name)}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
