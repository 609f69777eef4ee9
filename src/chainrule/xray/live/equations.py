"""A traced program as plain data: its equations with their settings, and every array as base64."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from chainrule._files import printable
from chainrule.xray import _jax
from chainrule.xray.primitives import LIVE

__all__ = ["MOST", "CannotLiveError", "Program", "in_base64", "program", "refused"]
__dir__ = __all__.copy

MOST = 5_000_000
"""How many numbers a living page may hold, the intermediate ones included."""

_TYPES = ("float32", "float64", "int32", "uint32", "int16", "uint16", "int8", "uint8", "bool")

# What hands its inputs on as they are.
_SAME = ("optimization_barrier", "stop_gradient", "copy", "copy_p", "name", "pvary")

# The settings that the page needs of each primitive; of the others it needs none.
_WINDOW = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
_SETTINGS: dict[str, tuple[str, ...]] = {
    "integer_pow": ("y",),
    "round": ("rounding_method",),
    "reduce_precision": ("exponent_bits", "mantissa_bits"),
    "broadcast_in_dim": ("broadcast_dimensions",),
    "transpose": ("permutation",),
    "rev": ("dimensions",),
    "slice": ("start_indices", "strides"),
    "pad": ("padding_config",),
    "concatenate": ("dimension",),
    "split": ("axis",),
    "stack": ("axis",),
    "unstack": ("axis",),
    "top_k": ("axis", "k"),
    "iota": ("dimension",),
    "dynamic_slice": ("slice_sizes",),
    "sort": ("dimension", "num_keys"),
    "dot_general": ("dimension_numbers",),
    "conv_general_dilated": (
        "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers",
        "feature_group_count", "batch_group_count",
    ),
    "select_and_scatter_add": ("window_dimensions", "window_strides", "padding", "select_prim"),
    "gather": ("dimension_numbers", "slice_sizes", "mode", "fill_value"),
} | {
    f"reduce_{name}": ("axes",) for name in ("sum", "prod", "max", "min", "and", "or", "xor")
} | {
    f"reduce_window_{name}": _WINDOW for name in ("sum", "max", "min")
} | {
    f"cum{name}": ("axis", "reverse") for name in ("sum", "prod", "max", "min", "logsumexp")
} | {
    f"arg{name}": ("axes",) for name in ("max", "min")
} | {
    f"scatter{name}": ("dimension_numbers", "mode")
    for name in ("", "_add", "_sub", "_mul", "_min", "_max")
}  # fmt: skip


# Elementwise primitives of several inputs; a scalar among these meets every element.
_SEVERAL = """
add add_any sub mul div rem max min pow atan2 eq ne lt le gt ge and or xor shift_left
shift_right_logical shift_right_arithmetic clamp select_n polynomial
"""


class CannotLiveError(Exception):
    """Why a program cannot live in a page."""


class Program(TypedDict):
    """A program.

    Attributes:
      types: dtype and shape of every array.
      constants: the numbers of an array, and its bytes, little-endian, in base64.
      arguments: the numbers of the arrays that it takes.
      equations: the primitive, the arrays that it takes and makes, and its settings.
      results: the numbers of the arrays that it returns.
    """

    types: list[tuple[str, list[int]]]
    constants: list[tuple[int, str]]
    arguments: list[int]
    equations: list[tuple[str, list[int], list[int], dict[str, Any]]]
    results: list[int]


def refused(eqn: Any) -> str:
    """Return why the page has no rule for an equation, "" where it has one.

    Args:
      eqn: the equation; what it groups or calls is looked into.
    """
    body = _jax.custom_rule(eqn) or _jax.group(eqn)
    if body is not None:
        return next(filter(None, map(refused, body.jaxpr.eqns)), "")
    name = _name(eqn)
    if name not in LIVE and name not in _SAME and name != "platform_index":
        return f"the page has no rule for the primitive {name}"
    return next(filter(None, (_strange(v.aval) for v in eqn.outvars)), "")


def program(closed: _jax.ClosedJaxpr) -> Program:
    """Return a traced program as data, without what its results do not need.

    Args:
      closed: the program.

    Raises:
      CannotLiveError: it has a primitive or a dtype that the page lacks, or more than `MOST`
        numbers.

    Example:
      >>> import jax
      >>> made = program(jax.make_jaxpr(lambda x: jax.numpy.sin(x) * 2)(3.0))
      >>> [(name, takes, makes) for name, takes, makes, _ in made["equations"]]
      [('sin', [0], [1]), ('mul', [1, 2], [3])]
    """
    return _Writer(0).whole(closed)


def in_base64(value: Any, aval: Any) -> str:
    """Return the bytes of an array of this type, little-endian, in base64."""
    array = np.asarray(value, aval.dtype)
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()


class _Platform(NamedTuple):
    """The input of a cond that chooses by the platform: which of its branches is meant for all."""

    branch: int


class _Writer:
    def __init__(self, used: int) -> None:
        self.used = used
        self.types: list[tuple[str, list[int]]] = []
        self.constants: dict[tuple[Any, ...], int] = {}
        self.equations: list[tuple[str, list[int], list[int], dict[str, Any]]] = []

    def whole(self, closed: _jax.ClosedJaxpr) -> Program:
        arguments = [self.slot(v.aval) for v in closed.jaxpr.invars]
        results = self.walk(closed, arguments)
        needed, kept = set(results), []
        for equation in reversed(self.equations):
            if needed.intersection(equation[2]):
                needed.update(equation[1])
                kept.append(equation)
        return {
            "types": self.types,
            "constants": [(k, key[-1]) for key, k in self.constants.items() if k in needed],
            "arguments": arguments,
            "equations": kept[::-1],
            "results": results,
        }

    def slot(self, aval: Any) -> int:
        """Return the number of a new array, if there is room for it."""
        if why := _strange(aval):
            raise CannotLiveError(why)
        self.used += math.prod(aval.shape)
        if self.used > MOST:
            raise CannotLiveError(f"it has more than {MOST:,} numbers, those on the way included")
        self.types.append((str(aval.dtype), list(aval.shape)))
        return len(self.types) - 1

    def constant(self, value: Any, aval: Any) -> int:
        if why := _strange(aval):
            raise CannotLiveError(why)
        key = (str(aval.dtype), tuple(aval.shape), in_base64(value, aval))
        if key not in self.constants:
            self.constants[key] = self.slot(aval)
        return self.constants[key]

    def walk(self, closed: _jax.ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        where: dict[Any, Any] = dict(zip(closed.jaxpr.invars, arguments, strict=True))
        for v, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
            where[v] = self.constant(value, v.aval)

        def take(v: Any) -> Any:
            return self.constant(v.val, v.aval) if isinstance(v, _jax.Literal) else where[v]

        for eqn in closed.jaxpr.eqns:
            outs = self.equation(eqn, [take(v) for v in eqn.invars])
            where.update(zip(eqn.outvars, outs, strict=True))
        return [take(v) for v in closed.jaxpr.outvars]

    def equation(self, eqn: Any, takes: list[Any]) -> list[Any]:
        body, name = _jax.custom_rule(eqn) or _jax.group(eqn), _name(eqn)
        if body is not None:
            return self.walk(body, takes)
        if name in _SAME:
            return takes
        if name == "platform_index":
            return [_Platform(_for_all(eqn.params["platforms"]))]
        if name == "cond" and isinstance(takes[0], _Platform):
            return self.walk(_jax.close(eqn.params["branches"][takes[0].branch]), takes[1:])
        if name not in LIVE:
            raise CannotLiveError(f"the page has no rule for the primitive {name}")
        settings = self.settings(name, eqn)
        if name == "bitcast_convert_type" and eqn.invars[0].aval.shape != eqn.outvars[0].aval.shape:
            raise CannotLiveError("the page has no rule for bits as numbers of another width")
        if name == "reshape" and (order := eqn.params.get("dimensions")) is not None:
            aval = eqn.invars[0].aval
            turned = jax.ShapeDtypeStruct([aval.shape[d] for d in order], aval.dtype)
            self.equations.append(
                ("transpose", takes, [self.slot(turned)], {"permutation": [*order]})
            )
            takes = self.equations[-1][2]
        if name in _SEVERAL.split():
            pairs = zip(takes, eqn.invars, strict=True)
            takes = [self.spread(k, v.aval, eqn.outvars[0].aval) for k, v in pairs]
        makes = [self.slot(v.aval) for v in eqn.outvars]
        self.equations.append((name, takes, makes, settings))
        return makes

    def spread(self, taken: int, aval: Any, over: Any) -> int:
        """Return an input of an elementwise primitive, repeated where an axis has length 1."""
        if aval.shape == over.shape or not aval.shape:
            return taken
        whole = self.slot(jax.ShapeDtypeStruct(over.shape, aval.dtype))
        axes = {"broadcast_dimensions": [*range(len(aval.shape))]}
        self.equations.append(("broadcast_in_dim", [taken], [whole], axes))
        return whole

    def settings(self, name: str, eqn: Any) -> dict[str, Any]:
        if name in ("cond", "while", "scan"):
            return _LOOPS[name](self, eqn)
        return {key: _plain(eqn.params.get(key)) for key in _SETTINGS.get(name, ())}

    def inner(self, body: Any) -> Program:
        writer = _Writer(self.used)
        made = writer.whole(_jax.close(body))
        self.used = writer.used
        return made


def _cond(writer: _Writer, eqn: Any) -> dict[str, Any]:
    return {"branches": [writer.inner(branch) for branch in eqn.params["branches"]]}


def _while(writer: _Writer, eqn: Any) -> dict[str, Any]:
    condition, body, first, second = _jax.while_layout(eqn)
    return {
        "condition": writer.inner(condition),
        "body": writer.inner(body),
        "condition_consts": first,
        "body_consts": second,
    }


def _scan(writer: _Writer, eqn: Any) -> dict[str, Any]:
    body, consts, carries, length, reverse = _jax.scan_layout(eqn)
    return {
        "body": writer.inner(body),
        "consts": consts,
        "carries": carries,
        "length": length,
        "reverse": reverse,
    }


_LOOPS: dict[str, Callable[[_Writer, Any], dict[str, Any]]] = {
    "cond": _cond,
    "while": _while,
    "scan": _scan,
}


def _name(eqn: Any) -> str:
    return printable(eqn.primitive.name).replace("-", "_")


def _strange(aval: Any) -> str:
    """Return why an array of this type cannot live, "" if it can."""
    dtype = str(getattr(aval, "dtype", aval))
    if dtype not in _TYPES:
        what = "random keys" if dtype.startswith("key") else f"numbers of type {dtype}"
        return f"a page has no {what}"
    return ""


def _for_all(platforms: Sequence[Any]) -> int:
    """Return the branch that is meant for any platform, else the first."""
    return next((k for k, one in enumerate(platforms) if one is None), 0)


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it."""
    if hasattr(value, "_asdict"):
        return {key: _plain(one) for key, one in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "name") and not isinstance(value, int):  # a mode of gathering, a primitive
        mode = str(value.name).lower()
        return {"fill_or_drop": "fill"}.get(mode, mode)
    x = float(value)
    if not math.isfinite(x):  # as a text, which JavaScript reads and JSON can hold
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return int(value) if x.is_integer() else x
