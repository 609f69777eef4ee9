"""What a run ran on: versions, commit, machine and device."""

import contextlib
import functools
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys

from chainrule._files import JSON

__all__ = ["VERSIONS_OF", "surroundings"]
__dir__ = __all__.copy

VERSIONS_OF = ("chainrule", "jax", "jaxlib", "flax", "optax", "numpy", "matplotlib")
"""The packages whose versions ``run.json`` names."""


@functools.cache
def surroundings() -> dict[str, JSON]:
    """Return the fields of ``run.json`` that say where a run ran."""
    versions = {"python": platform.python_version()}
    for package in VERSIONS_OF:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"versions": versions, "commit": _commit(), "machine": _machine(), "device": _device()}


def _commit() -> str | None:
    """Return the commit of the code that ran, with a plus when the files differ from it."""
    here = pathlib.Path(__file__).parent
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        git = functools.partial(
            subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
        # An installed copy may lie inside somebody else's repository: ours tracks this file.
        git(["git", "ls-files", "--error-unmatch", pathlib.Path(__file__).name])
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        changed = git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
        return f"{commit}+" if changed else commit
    return None


def _machine() -> dict[str, JSON]:
    told = ""
    with contextlib.suppress(OSError):
        told = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"model name\s*:\s*(.+)", told)
    name = found.group(1) if found else platform.processor()
    flags = set(told.partition("flags")[2].partition("\n")[0].split())
    widest = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""
    own = f"{widest} and bfloat16" if {"avx512_bf16", "amx_bf16"} & flags else widest
    return {"system": platform.system(), "processor": name, "vectors": own, "cores": os.cpu_count()}


def _device() -> dict[str, JSON] | None:
    if "jax" not in sys.modules:
        return None
    devices = sys.modules["jax"].devices()
    return {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)}
