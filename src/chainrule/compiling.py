"""What this package knows of JAX's compiler: its options, and where compiled programs are kept."""

import contextlib
import functools
import os
import pathlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from chainrule import _require

__all__ = ["LOCK_SECONDS", "MAX_BYTES", "Options", "faster", "jit", "keep", "options"]
__dir__ = __all__.copy

MAX_BYTES = 2**28
"""How much is kept: beyond that, the least recently used programs are removed."""
LOCK_SECONDS = 1.0
"""How long the lock of the folder is waited for; JAX holds it for milliseconds."""
Options = Mapping[str, bool | str]
"""Options of XLA's compiler, by name."""
_WORTH_IT = 0.95
"""The part of the time from which on options are taken: programs with them cannot be kept."""
_F = TypeVar("_F", bound=Callable[..., Any])
_ONEDNN: dict[str, bool | str] = {
    "xla_cpu_experimental_onednn_custom_call": True,
    # Only the sums stay with XLA's other library: left alone, it takes what oneDNN would.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}


def options() -> dict[str, bool | str]:
    """Return compiler options with which XLA hands convolutions and products to oneDNN on a CPU.

    That library, which PyTorch uses too, is inside jaxlib, and switched off. Sums stay with XLA's
    own. `faster` tells whether a program gains. On two cores with AVX-512, of the time without:
    VGG16 forward 0.89, in bfloat16 0.45, a step of training in bfloat16 0.5, LeNet 0.96. With AVX2:
    VGG of 32 x 32 pixels 0.6 forward and 0.9 a step, LeNet 0.8 to 1.0, the 784-200-1 network 1.1 to
    1.2. Numbers agree but for rounding.

    JAX takes such options at the outermost ``jax.jit`` only, see `jit`. What is compiled with them
    cannot be kept (`keep`): JAX warns, and the next process compiles it anew.

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


def faster(f: Callable[..., Any], *args: Any, rounds: int = 5) -> dict[str, bool | str]:
    """Return `options` if the compiled ``f(*args)`` is faster with them, measured here and now.

    Both programs are compiled and then run in turn; the options are taken if the median ratio of
    their times is below 0.95. Other work on the same cores can decide it: measure once, when the
    machine is quiet, and write down the choice where results must repeat to the bit.

    Args:
      f: a function that `jax.jit` takes.
      args: what it is called with; nothing is donated.
      rounds: how often each program runs, at least 1.

    Returns:
      The options, or none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from chainrule import compiling
      >>> x = jnp.ones((64, 64))
      >>> found = compiling.faster(jnp.matmul, x, x)
      >>> product = jax.jit(jnp.matmul, compiler_options=found)
      >>> float(product(x, x)[0, 0])
      64.0
    """
    import jax

    _require.function("f", f, "of the arguments that follow")
    _require.count("rounds", rounds)
    if not (found := options()):
        return {}
    with warnings.catch_warnings(action="ignore"):  # it cannot be kept
        programs = [jax.jit(f, compiler_options=o).lower(*args).compile() for o in ({}, found)]

    def seconds(program: Callable[..., Any]) -> float:
        clock = time.perf_counter()
        jax.block_until_ready(program(*args))
        return time.perf_counter() - clock

    times = [[seconds(program) for program in programs] for _ in range(rounds + 1)]
    ratio = statistics.median(other / usual for usual, other in times[1:])
    return found if ratio < _WORTH_IT else {}


def jit(f: _F, *, compiler_options: Options, **settings: Any) -> _F:
    """Return ``jax.jit(f, compiler_options=..., **settings)`` that may be called anywhere.

    JAX refuses such options inside another trace (``jit``, ``scan``, a gradient within these): the
    function runs there without them.

    Args:
      f: the function.
      compiler_options: what `options` or `faster` returns; none are none.
      settings: as for ``jax.jit``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from chainrule import compiling
      >>> total = compiling.jit(jnp.sum, compiler_options=compiling.options())
      >>> float(total(jnp.ones(3))), float(jax.jit(total)(jnp.ones(3)))
      (3.0, 3.0)
    """
    import jax

    _require.instance("compiler_options", compiler_options, Mapping, "options by name")
    usual = jax.jit(f, **settings)
    if not compiler_options:
        return usual  # type: ignore[return-value]
    outermost = jax.jit(f, compiler_options=dict(compiler_options), **settings)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return outermost(*args, **kwargs)
        except ValueError as error:
            if "can only be passed to top-level" not in str(error):
                raise
        return usual(*args, **kwargs)

    return run  # type: ignore[return-value]


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
