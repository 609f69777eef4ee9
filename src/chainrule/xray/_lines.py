"""Where an equation comes from: its lines, the functions and scopes around it, as JAX has them."""

import dis
import functools
import os
import sysconfig
from typing import Any, NamedTuple

import jax

from chainrule import _modules
from chainrule._files import printable

# Packages lie in more than one place where a virtual environment sees those of another.
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_STANDARD = sysconfig.get_path("stdlib") + os.sep
_HERE = os.path.dirname(__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_TOOLS = tuple(os.path.join(_OURS, name, "") for name in ("ops", "losses"))
_CALLERS = (_HERE, _modules.__file__)
_INSIDE_JAX = os.path.dirname(jax.__file__) + os.sep


def in_library(file: str) -> bool:
    """Tell whether a file belongs to an installed library or to Python.

    This package does not count as one, wherever it is installed: people look into its models.
    """
    if file.startswith(_OURS):
        return False
    return file.startswith((_STANDARD, "<frozen")) or any(name in file for name in _PACKAGES)


def _is_inner(file: str) -> bool:
    """Tell whether a file belongs to JAX or to Python."""
    packages = any(name in file for name in _PACKAGES)
    return file.startswith(_INSIDE_JAX) or (in_library(file) and not packages)


def scope(eqn: Any) -> str:
    """Return the named scopes around an equation, from the outermost, separated by slashes.

    That of a vmapped function is the function's.
    """
    stack = eqn.source_info.name_stack
    parts = (part for part in stack.stack if not (_is_transform(part) and part.name == "vmap"))
    return printable(type(stack)(tuple(parts)))


def transforms(eqn: Any) -> tuple[str, ...]:
    """Return the transformations of JAX that made an equation, outermost first: transpose, jvp."""
    return tuple(part.name for part in eqn.source_info.name_stack.stack if _is_transform(part))


def _is_transform(part: Any) -> bool:
    return type(part).__name__ == "Transform"


class _Frame(NamedTuple):
    """One call on the way to an equation.

    Attributes:
      file: of the function.
      function: its name.
      at: what ran in it, as ``file:line``.
      place: the same more exactly, in its code.
      loops: whether some of its code may run again.
    """

    file: str
    function: str
    at: str
    place: int
    loops: bool

    def __str__(self) -> str:
        return f"{self.at} ({self.function})"


@functools.lru_cache(256)  # every equation is asked for its line and for its functions
def _frames(traceback: Any) -> tuple[_Frame, ...]:
    """Return the calls on the way to an equation, outermost first, outside JAX and the x-ray.

    They begin with the function that JAX traced: who called that is not among them, so that a
    jitted function, which JAX traces once, never has the lines of its first caller.
    """
    codes, places = traceback.raw_frames() if traceback else ((), ())
    found: list[_Frame] = []
    for code, place in zip(codes, places, strict=True):  # innermost first
        if code.co_filename.startswith(_CALLERS):
            break
        if not _is_inner(code.co_filename):
            line = type(traceback).code_addr2location(code, place)[0]
            function = printable(code.co_qualname.replace(".<locals>", ""))
            at = printable(f"{code.co_filename}:{line}")
            found.append(_Frame(code.co_filename, function, at, place, _loops(code)))
    return tuple(reversed(found))


def lines(eqn: Any) -> tuple[str, str, str]:
    """Return the innermost line of the user's code, that outside JAX, and the user's outermost.

    Each is ``file:line (function)``, "" when none is known. The first two differ when the equation
    stands in another installed library; the last stands outside this package, too.
    """
    frames = _frames(eqn.source_info.traceback)
    own = [frame for frame in frames if not in_library(frame.file)]
    outer = [frame for frame in own if not frame.file.startswith(_OURS)]
    inner, innermost = (str(part[-1]) if part else "" for part in (own, frames))
    return inner, innermost, str(outer[0]) if outer else ""


class Call(NamedTuple):
    """A call of one of the user's functions on the way to an equation.

    Attributes:
      name: of the function.
      caller: the place of the call.
      place: in the function, of what ran there.
      straight: whether it has no loop, so that no place of it runs twice in one call.
      library: whether it is a library's, or an operator or a loss of this package.
    """

    name: str
    caller: str
    place: int
    straight: bool
    library: bool


def functions(eqn: Any) -> tuple[Call, ...]:
    """Return the calls of the user's functions around an equation, outermost first.

    They begin with the function that JAX traced. The last may be a library's that the user's calls:
    where no scope has a better name for it.
    """
    frames = _frames(eqn.source_info.traceback)
    own = [k for k, frame in enumerate(frames) if not in_library(frame.file)]
    named = any(not _is_transform(part) for part in eqn.source_info.name_stack.stack)
    last = own[-1] + 1 if own and not named else len(frames)
    own_and_last = [frames[k] for k in own] + list(frames[last : last + 1])
    callers = ["", *(f"{frame.at}:{frame.place}" for frame in own_and_last)]  # two may share a line
    # What is differentiated stands in the order of the way back.
    forward = not set(transforms(eqn)) - {"vmap"}
    return tuple(
        Call(
            _short(frame.function),
            caller,
            frame.place,
            forward and not frame.loops,
            in_library(frame.file) or frame.file.startswith(_TOOLS),
        )
        for k, (frame, caller) in enumerate(zip(own_and_last, callers, strict=False))
        # A module's scope has a better name.
        if not (k and named and frame.function.endswith(".__call__"))
    )


def _short(function: str) -> str:
    """Return the name of a function without its module; a module's call has that of its class."""
    return function.removesuffix(".__call__").rpartition(".")[2]


@functools.lru_cache(1024)
def _loops(code: Any) -> bool:
    return any("JUMP_BACKWARD" in one.opname for one in dis.get_instructions(code))
