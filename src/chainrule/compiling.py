"""What this package knows of JAX's compiler: its options, and where compiled programs are kept."""

import contextlib
import functools
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from chainrule import _require

__all__ = ["LOCK_SECONDS", "MAX_BYTES", "keep", "options"]
__dir__ = __all__.copy

MAX_BYTES = 2**28
"""How much is kept: beyond that, the least recently used programs are removed."""
LOCK_SECONDS = 1.0
"""How long the lock of the folder is waited for; JAX holds it for milliseconds."""
_ONEDNN: dict[str, bool | str] = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "",  # else that library takes what oneDNN would
}


def options() -> dict[str, bool | str]:
    """Return compiler options with which XLA hands convolutions and products to oneDNN on a CPU.

    That library, which PyTorch uses too, is inside jaxlib, and switched off. Whether a program is
    faster with it has to be measured: large convolutions and bfloat16 gain most, small networks can
    lose. Numbers agree but for rounding.

    JAX takes such options at the outermost ``jax.jit`` only; inside another trace it raises. What
    is compiled with them cannot be kept (`keep`): JAX warns, and the next process compiles it anew.

    Returns:
      The options for ``jax.jit(f, compiler_options=options())``; none where this jaxlib or device
      does not know them, which is tried once, on a small convolution.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from chainrule import compiling
      >>> product = jax.jit(jnp.matmul, compiler_options=compiling.options())
      >>> product(jnp.ones((2, 3)), jnp.ones((3, 2))).tolist()
      [[3.0, 3.0], [3.0, 3.0]]
    """
    import jax

    return dict(_ONEDNN) if _understood(jax.default_backend(), tuple(_ONEDNN.items())) else {}


@functools.cache
def _understood(backend: str, settings: tuple[tuple[str, bool | str], ...]) -> bool:
    import jax

    if backend != "cpu":
        return False
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolution = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1), padding="SAME", dimension_numbers=dimensions,
    )  # fmt: skip
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((1, 8, 8, 16), (3, 3, 16, 16))]
    whole = jax.jit(convolution, compiler_options=dict(settings))
    try:
        with warnings.catch_warnings(action="ignore"):  # it cannot be kept
            compiled = whole.lower(*shapes).compile()
    except jax.errors.JaxRuntimeError:  # no such option
        return False
    return "__onednn$" in (compiled.as_text() or "")


@contextlib.contextmanager
def keep(folder: pathlib.Path | None = None) -> Iterator[pathlib.Path | None]:
    """Keep the programs that JAX compiles in a block, for the next process that needs them.

    Importing this package changes no setting of JAX. Only this function does, and it restores them
    after the block. It does nothing if JAX has not been imported, if JAX's own
    ``JAX_COMPILATION_CACHE_DIR`` names another folder, if ``JAX_ENABLE_COMPILATION_CACHE=false``
    turns the cache off, or if the folder cannot be written. If another process holds the lock of
    the folder for longer than a second, it warns and keeps nothing: JAX would wait ten seconds for
    it at every program.

    Args:
      folder: where to keep them; by default ``chainrule/compiled`` in ``XDG_CACHE_HOME``, or in
        ``~/.cache``.

    Yields:
      The folder, or None if nothing is kept.
    """
    folder = _writable(folder if folder is None else _require.path("folder", folder))
    if folder is None:
        yield None
        return
    import jax

    settings = {
        "jax_compilation_cache_max_size": MAX_BYTES,
        # The many small programs take as long to compile as the few large ones.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_compilation_cache_dir": str(folder),
    }
    before = {name: getattr(jax.config, name) for name in settings}
    _set(settings)
    try:
        yield folder
    finally:
        _set(before)


def _writable(folder: pathlib.Path | None) -> pathlib.Path | None:
    """Return the folder, ready to be written, unless JAX's own settings say otherwise."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir is not None:
        return None
    with contextlib.suppress(OSError, RuntimeError):  # read-only; full; no home
        folder = folder or _home() / "chainrule" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) and _can_be_locked(folder):
            return folder
    return None


def _can_be_locked(folder: pathlib.Path) -> bool:
    import filelock

    lock = folder / ".lockfile"  # JAX's name for it
    try:
        with filelock.FileLock(lock, timeout=LOCK_SECONDS):
            return True
    except filelock.Timeout:
        warnings.warn(
            f"compiled programs are not kept: another process holds {lock}; end it, or remove the "
            "folder",
            stacklevel=5,
        )
        return False


def _set(settings: Mapping[str, Any]) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks for the folder once, and remembers


def _home() -> pathlib.Path:
    # The XDG specification says to ignore an empty or relative path.
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else pathlib.Path.home() / ".cache"
