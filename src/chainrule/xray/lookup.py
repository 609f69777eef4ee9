"""A function looked up by its name: in a file, in a file of a package, in a module."""

import contextlib
import difflib
import importlib
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from chainrule.xray import _lines

__all__ = ["function"]
__dir__ = __all__.copy

_WRITE = "write FILE.py:FUNCTION or package.module:FUNCTION"
_ALONE = "__xray_main__"  # the name of a file that stands in no package, as a script has one


@contextlib.contextmanager
def function(spec: str) -> Iterator[tuple[Callable[..., Any], ModuleType]]:
    """Import a function by its name; while the context lasts, what it imports is found too.

    A file that stands in a package is imported as a module of that package, so that its relative
    imports work. The current folder is on the path.

    Args:
      spec: ``FILE.py:FUNCTION``, or ``package.module:FUNCTION`` as seen from the current folder.

    Yields:
      The function and its module.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the name is malformed, there is no such module or function, or the import fails.

    Example:
      >>> with function("json.encoder:py_encode_basestring") as (quote, module):
      ...     quote("two words"), module.__name__
      ('"two words"', 'json.encoder')
    """
    target, _, name = spec.rpartition(":")
    file = pathlib.Path(target).resolve() if target.endswith(".py") else None
    if not name.isidentifier() or not (file or all(map(str.isidentifier, target.split(".")))):
        raise ValueError(f"{spec!r} names no function: {_WRITE}")
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"no file {target}")
    root, dotted = (os.getcwd(), target) if file is None else _package(file)
    before = list(sys.path)
    sys.path[:0] = [root, os.getcwd()]
    try:
        module = _import(target, file, dotted)
        yield _find(target, module, name), module
    finally:
        sys.path[:] = before


def _package(file: pathlib.Path) -> tuple[str, str]:
    """Return the folder to import from and the name of the module; the file's own in no package."""
    folder, parts = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file():
        folder, parts = folder.parent, [folder.name, *parts]
    return str(folder), ".".join(parts) if folder != file.parent else _ALONE


def _import(target: str, file: pathlib.Path | None, dotted: str) -> ModuleType:
    try:
        if dotted == _ALONE:
            module = sys.modules[dotted] = ModuleType(dotted)
            module.__file__, module.__package__ = str(file), ""
            SourceFileLoader(dotted, str(file)).exec_module(module)
        else:
            module = importlib.import_module(dotted)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if file is None and missing and f"{dotted}.".startswith(f"{missing}."):
            raise ValueError(f"no module {missing} is found from {os.getcwd()}: {_WRITE}") from None
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{target} cannot be imported: {what}{_where(error)}") from error
    if file is not None and not os.path.samefile(str(module.__file__), file):
        raise ValueError(
            f"{target} is the module {dotted}, which Python has imported from {module.__file__}"
        )
    return module


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in frames
        if frame.filename != __file__ and not _lines.in_library(frame.filename)
    ]
    return f", at {lines[-1]}" if lines else ""


def _find(target: str, module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found
    names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    near = difflib.get_close_matches(name, names, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"it has {', '.join(sorted(names)) or 'no function'}"
    )
    raise ValueError(f"{target} defines no function {name}: {hint}")
