"""``chainrule xray FILE.py:FUNCTION``: where NaNs are born, where gradients die, and pictures."""

import contextlib
import dataclasses
import inspect
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.text import Text

from chainrule.xray import lookup
from chainrule.xray.call import ones
from chainrule.xray.picture import shareable, shareable_deaths
from chainrule.xray.report import Report, xray
from chainrule.xray.words import shortened

__all__ = ["called", "failed", "files", "run"]
__dir__ = __all__.copy

_SHARE = 1 / 4  # of the memory, for the arguments: values and gradients take as much again, or more
_SHAPE = re.compile(r"(?P<dtype>[a-z]+[0-9]*)?\[(?P<sizes>[0-9, ]*)\]")


def run(
    spec: str,
    shapes: Sequence[str] = (),
    compiled: bool = True,
    keep: Literal["values", "stats"] = "values",
    table: bool = False,
) -> Report:
    """Record a function and print where NaNs are born, what cures them, and where gradients die.

    Args:
      spec: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``; see `lookup.function`.
      shapes: one per argument, as in ``float32[8,3]`` or ``[8,3]`` (float32): the function is
        called on normal numbers (integers: zeros) of these shapes, drawn with key 0. Without them
        on what ``example_args()`` beside it returns, a tuple.
      compiled: False runs operator by operator.
      keep: "stats" keeps a few numbers about each array, in little memory.
      table: whether to print all operators and the shared arguments, too.

    Returns:
      The report.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the spec, a shape or what ``example_args`` returns is malformed, or the function
        takes more or fewer arguments.
    """
    with called(spec, shapes) as (f, args):
        report = xray(f, *args, compiled=compiled, cotangent=ones, keep=keep)
    print(dataclasses.replace(report.nonfinite(), attempt=None))  # the cures follow
    if cures := _cures(report):
        print(f"\n{cures}")
    if deaths := _deaths(report):
        print(f"\n{deaths}")
    if table:
        Console().print("", report, sep="\n")
    return report


@contextlib.contextmanager
def called(
    spec: str, shapes: Sequence[str]
) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Import a function and make its arguments; while the context lasts, its imports are found.

    Args:
      spec: as for `run`.
      shapes: as for `run`.

    Yields:
      The function and its arguments.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: as for `run`.
    """
    with lookup.function(spec) as (f, module):
        args = _examples(shapes) if shapes else _example_args(module, spec)
        try:
            inspect.signature(f).bind(*args)
        except TypeError as error:
            given = " ".join(shapes) or f"the {len(args)} of example_args()"
            raise ValueError(
                f"{spec} cannot be called with {given}: {error}; give one shape for each argument "
                f"of {f.__name__}{inspect.signature(f)}"
            ) from None
        yield f, args


def failed(report: Report) -> bool:
    """Tell whether something bad reaches the result or a gradient, or was lost on the way there."""
    found = report.nonfinite()
    return bool(found.reaches) or any(birth.lost for birth in found.births)


def files(report: Report, live: bool = False) -> dict[str, str]:
    """Return the files that keep a report, without the folders of this machine: name to text.

    Args:
      report: the report.
      live: whether its page computes.
    """
    parts = str(shareable(report.nonfinite())), _cures(report), _deaths(report, True), str(report)
    return {
        "xray.html": report.to_html(live=live),
        "graph.svg": report.to_svg(),
        "graph.dot": report.to_dot(),
        "report.txt": "\n\n".join(filter(None, parts)) + "\n",
    }


def _deaths(report: Report, shared: bool = False) -> str:
    """Return where gradients die; "" where no argument lacks one."""
    if not report.record.wanted:
        return ""
    found = report.deaths()
    return str(shareable_deaths(found) if shared else found) if found.matter else ""


def _cures(report: Report) -> str:
    """Return the cures that were tried on the program; "" where nothing needs one, or can be run.

    While they are tried, stderr says which, if it is a terminal.
    """
    found = report.nonfinite()
    bad = found.data or not all(birth.harmless for birth in found.births)
    if not bad or report.keep != "values":
        return ""
    console = Console(stderr=True)
    with console.status("trying cures") as status:

        def tell(code: str) -> None:
            line = f"trying {' '.join(code.split())}"
            status.update(Text(shortened(line, console.width - 4)))

        cures = found.cures(tell)
    return f"write instead:\n\n{cures}" if cures else str(cures)


def _example_args(module: Any, spec: str) -> tuple[Any, ...]:
    make: Callable[[], Any] | None = getattr(module, "example_args", None)
    if make is None:
        raise ValueError(
            f"{spec}: define example_args() beside it, which returns the tuple of arguments, or "
            "give one shape per argument, as in float32[8,3]"
        )
    args = make()
    if not isinstance(args, tuple):
        raise ValueError(f"{spec}: example_args() returns a {type(args).__name__}, not a tuple")
    return args


def _examples(shapes: Sequence[str]) -> tuple[jax.Array, ...]:
    """Return an array for each shape, once all of them together are known to fit."""
    known = [_parse(shape) for shape in shapes]
    needed = sum(math.prod(sizes) * dtype.itemsize for sizes, dtype in known)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > _SHARE * memory:
        raise ValueError(
            f"{' '.join(shapes)} take {needed / 2**30:,.1f} GiB, more than "
            f"{_SHARE * memory / 2**30:,.1f}, a quarter of this machine's memory: give smaller "
            "shapes"
        )
    return tuple(_example(*shape, i) for i, shape in enumerate(known))


def _parse(shape: str) -> tuple[tuple[int, ...], np.dtype]:
    match = _SHAPE.fullmatch(shape.strip())
    if match is None:
        raise ValueError(f"{shape!r} is no shape: write float32[8,3], or [] for a scalar")
    sizes = tuple(int(n) for n in match["sizes"].replace(" ", "").split(",") if n)
    try:
        dtype = jnp.dtype(match["dtype"] or "float32")
    except TypeError:
        raise ValueError(f"{shape!r} has no known dtype: write float32, int32, bool, ...") from None
    kept = jax.dtypes.canonicalize_dtype(dtype)
    if kept != dtype:
        raise ValueError(
            f"{shape!r}: JAX would make {kept} of {dtype}: write {kept}, or set JAX_ENABLE_X64=1"
        )
    return sizes, dtype


def _example(sizes: tuple[int, ...], dtype: np.dtype, number: int) -> jax.Array:
    if not jnp.issubdtype(dtype, jnp.inexact):
        return jnp.zeros(sizes, dtype)
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), number), sizes, dtype)
