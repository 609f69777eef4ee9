"""The arguments of a drawing function, checked against its annotations before it draws."""

import contextlib
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule._require import kind


class FigureError(ValueError):
    """What was given to a drawing function makes no figure."""


def checked(draw: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a drawing function with its arguments as NumPy's arrays.

    Raises:
      FigureError: an argument is of another kind than its annotation says; or what was given cannot
        be drawn, for example because the shapes do not fit, and they are all said.
    """
    bound = inspect.signature(draw).bind(*args, **kwargs)
    hints = _hints(draw)
    for name, value in bound.arguments.items():
        bound.arguments[name] = _converted(name, hints.get(name, Any), value)
    try:
        return draw(*bound.args, **bound.kwargs)
    except FigureError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {_shape(value)}" for name, value in bound.arguments.items())
        raise FigureError(f"{draw.__name__} cannot draw {shapes}: {error}") from error


def _hints(draw: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(draw)
    except NameError:  # a type that only the type checker imports
        return {}


def _converted(name: str, hint: Any, value: Any) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _converted(name, parts[0], value)
    if hint is np.ndarray or origin is np.ndarray:
        return _array(name, value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise FigureError(f"{name} must be a mapping by name, not {kind(value)}")
        return {k: _converted(f"{name}[{k!r}]", parts[1], item) for k, item in value.items()}
    if origin is Sequence:
        made = None
        if not isinstance(value, Mapping) and (parts[0] is str or not isinstance(value, str)):
            with contextlib.suppress(TypeError):  # some have a length, or a shape, and no elements
                made = list(value)
        if made is None:
            raise FigureError(f"{name} must be a sequence, not {kind(value)}")
        return [_converted(f"{name}[{i}]", parts[0], item) for i, item in enumerate(made)]
    if hint is str and not isinstance(value, str):
        raise FigureError(f"{name} must be text, not {kind(value)}")
    if hint in (int, float) and (isinstance(value, str) or not _is_number(value)):
        raise FigureError(f"{name} must be a number, not {value!r:.60}")
    if isinstance(hint, type) and hasattr(hint, "_fields") and not isinstance(value, hint):
        raise FigureError(f"{name} must be a {hint.__name__}, not {kind(value)}")
    return value


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise FigureError(f"{name} must be an array of real numbers, not {kind(value)}")
    return array


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()


def _shape(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shape(item)}" for name, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return str(value.shape)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"of {len(value)}"
    return repr(value)[:60]
