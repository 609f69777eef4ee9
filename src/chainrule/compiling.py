"""Where the compiled programs of the experiments are kept from one run to the next."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

MAX_BYTES = 2**28
"""How much is kept: beyond, what was not used for longest goes."""


@contextlib.contextmanager
def keep(folder: pathlib.Path | None = None) -> Iterator[pathlib.Path | None]:
    """Keep the programs that JAX compiles in a block, for the next process that wants the same.

    `chainrule.runs.start` does so where a script runs an experiment of its own name, and nothing
    else does: a program of yours keeps its setting of JAX, and the import of the library touches
    none. Nothing happens either where JAX has not been imported; where
    ``JAX_COMPILATION_CACHE_DIR``, JAX's own setting, names another folder; or with
    ``JAX_ENABLE_COMPILATION_CACHE=false``, which turns it off. A folder that cannot be written is
    no failure. After the block JAX's settings are what they were.

    Args:
      folder: where; without it ``chainrule/compiled`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.

    Yields:
      The folder, or None where nothing is kept.
    """
    folder = _writable(folder)
    if folder is None:
        yield None
        return
    import jax

    settings = {
        "jax_compilation_cache_max_size": MAX_BYTES,
        # Many small programs add up: all of them take as long as the few large ones.
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
    """Return the folder, made and ready, if JAX leaves it to us whether and where to keep."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir is not None:
        return None
    with contextlib.suppress(OSError, RuntimeError):  # read-only; full; no home
        folder = folder or _home() / "chainrule" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def _set(settings: Mapping[str, Any]) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it may have found a folder before, or that there is none


def _home() -> pathlib.Path:
    # An empty or relative one is to be ignored, says the specification.
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else pathlib.Path.home() / ".cache"
