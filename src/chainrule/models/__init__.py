"""The models: a module each, with ``init(key, ...) -> params`` and ``apply(params, inputs)``."""

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name == "torchvision":  # where it was, and where people import it from
        return importlib.import_module(f"{__name__}.pretrained.torchvision")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
