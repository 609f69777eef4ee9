"""Where the compiled programs of the experiments are kept from one run to the next."""

import contextlib
import os
import pathlib
import sys

MAX_BYTES = 2**28
"""How much is kept: beyond, what was not used for longest goes."""


def keep(folder: pathlib.Path | None = None) -> pathlib.Path | None:
    """Keep the programs that JAX compiles from now on, for the next process that wants the same.

    `chainrule.runs.start` does so where a script runs an experiment of its own name, and nothing
    else does: a program of yours keeps its setting of JAX, and the import of the library touches
    none. Nothing happens either where JAX has not been imported; where
    ``JAX_COMPILATION_CACHE_DIR``, JAX's own setting, names another folder; or with
    ``JAX_ENABLE_COMPILATION_CACHE=false``, which turns it off. A folder that cannot be written is
    no failure.

    Args:
      folder: where; without it ``chainrule/compiled`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.

    Returns:
      The folder, or None where nothing is kept.
    """
    jax = sys.modules.get("jax")
    if jax is None or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir is not None:
        return None
    folder = folder or _home() / "chainrule" / "compiled"
    with contextlib.suppress(OSError, RuntimeError):  # read-only; full; no home
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return None
        from jax.experimental.compilation_cache import compilation_cache

        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        # Many small programs add up: all of them take as long as the few large ones.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        compilation_cache.reset_cache()  # it may have found before that there is none
        return folder
    return None


def _home() -> pathlib.Path:
    # An empty or relative one is to be ignored, says the specification.
    named = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else pathlib.Path.home() / ".cache"
