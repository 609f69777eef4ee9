"""Programs of a user, each run as in a process of its own, without importing JAX anew for each."""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

import jax

_SERVER = multiprocessing.get_context("forkserver")
# Imported once, without the checks of the tests; nothing is computed before a program starts.
_SERVER.set_forkserver_preload(["jax.numpy", "flax.nnx", "optax", "chainrule.xray"])


def run(command, folder, **environment):
    """Run ``FILE ARGS`` or ``-m MODULE ARGS`` in a folder; return what `subprocess.run` does.

    What JAX reads of the environment when it is imported is not seen: that needs a process of its
    own from the start.
    """
    with tempfile.TemporaryDirectory() as outputs:
        paths = [pathlib.Path(outputs, name) for name in ("stdout", "stderr")]
        cache = jax.config.jax_compilation_cache_dir
        process = _SERVER.Process(
            target=_program, args=(list(command), str(folder), environment, paths, cache)
        )
        process.start()
        process.join()
        texts = [path.read_text(encoding="utf-8") for path in paths]
        return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _program(command, folder, environment, paths, cache):
    for path, stream in zip(paths, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    os.chdir(folder)
    os.environ.update(environment)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if command[0] == "-m":
        sys.path.insert(0, folder)
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(pathlib.Path(folder, command[0]).parent))
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
