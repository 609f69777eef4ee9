"""Deep learning from the threshold unit to VGG16, as pure JAX functions.

The contract, which every module keeps:

1. A model is two pure functions, ``init(key, ...) -> params`` and ``apply(params, inputs)``.
2. ``params`` is a plain pytree: nested dicts with string keys, a layer is ``{"kernel", "bias"}``.
3. Batch first; images ``[N, H, W, C]``, kernels ``[h, w, C, D]``, labels int32 ``[N]``, float32.
4. The rule of the operator ``f`` stands beside it as ``f_backward(g, *arrays, **settings)``.
5. A key is the first argument of ``init`` and a keyword elsewhere; without one nothing is random.
6. Every loss states its reduction; unless it compares samples, repeating the batch changes nothing.
7. A descent is data: a ``descent.Trace`` of arrays, ``steps + 1`` long, the start included.
8. Every numerical function works under ``jax.jit``, ``jax.vmap`` and ``jax.grad``.
9. Bad input raises one clear error with both values; nothing broadcasts or truncates in silence.
10. Importing this package imports neither jax nor matplotlib: submodules load when they are named.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBMODULES = (
    "check",
    "compiling",
    "data",
    "descent",
    "explorer",
    "features",
    "landscapes",
    "losses",
    "models",
    "ops",
    "plots",
    "runs",
    "training",
    "verification",
    "xray",
)
_MOVED = {"export": "training.export", "launch": "training.launch"}
"""What people import from here though it has moved."""


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES or name in _MOVED:
        return importlib.import_module(f"{__name__}.{_MOVED.get(name, name)}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_SUBMODULES]
