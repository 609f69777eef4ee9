"""What JAX keeps of a custom rule: who wrote it, what it takes, and whether its body is opaque."""

import inspect
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from chainrule._files import printable
from chainrule.xray import _jax

__all__ = [
    "RulePart",
    "asks_for_zeros",
    "identity",
    "input_names",
    "opaque",
    "rule_parts",
    "rules_in",
]
__dir__ = __all__.copy

_INSIDE_JAX = os.path.dirname(jax.__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_ANYBODYS = "custom_derivatives.py"  # of JAX: it wraps a rule that `jax.custom_gradient` is given


class RulePart(NamedTuple):
    """A function of a custom rule: its name, and the file and the line where it is defined."""

    name: str
    place: str


def rule_parts(eqn: Any) -> tuple[RulePart, ...]:
    """Return the functions that a custom rule is made of, the one that goes backward last."""
    found = []
    for key in ("fwd_jaxpr_thunk", "bwd", "jvp_jaxpr_fun"):
        info = getattr(eqn.params.get(key), "debug_info", None)
        name, _, place = (getattr(info, "func_src_info", None) or "").partition(" at ")
        if place:
            found.append(RulePart(printable(name), printable(place)))
    return tuple(found)


def input_names(eqn: Any) -> tuple[str, ...]:
    """Return what a function with a custom rule calls what it takes, "" where JAX does not know."""
    body, count = _jax.custom_rule(eqn), len(eqn.invars)
    infos = [None if body is None else body.jaxpr.debug_info]
    infos.append(getattr(eqn.params.get("fwd_jaxpr_thunk"), "debug_info", None))
    for info in infos:
        names = tuple(printable(str(n or "")) for n in getattr(info, "arg_names", None) or ())
        if any(names) and len(names) <= count:
            return ("",) * (count - len(names)) + names  # what is closed over comes first
    return ("",) * count


def asks_for_zeros(eqn: Any) -> bool:
    """Tell whether a custom rule has said that it handles symbolic zeros by itself."""
    return bool(eqn.params.get("symbolic_zeros"))


_OWN_DTYPE = ("pallas_call", "pure_callback", "io_callback", "ffi_call", "bitcast_convert_type")


def opaque(body: _jax.ClosedJaxpr) -> bool:
    """Tell whether a body has parts that compute in their own dtype only: kernels, callbacks."""
    for eqn in body.jaxpr.eqns:
        if eqn.primitive.name in _OWN_DTYPE:
            return True
        if any(map(opaque, _bodies(eqn))):
            return True
    return False


def _bodies(eqn: Any) -> Iterator[_jax.ClosedJaxpr]:
    """Yield the functions, traced, that an equation holds."""
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(one, "eqns") or hasattr(one, "jaxpr"):
                yield _jax.close(one)


def identity(eqn: Any) -> Any:
    """Return what is the same for two calls of one rule, as far as JAX tells; else the call."""
    backward = getattr(eqn.params.get("bwd"), "f", None)
    if backward is not None:
        return id(backward)
    places = tuple(part.place for part in rule_parts(eqn))
    body = _jax.custom_rule(eqn)
    info = "" if body is None else body.jaxpr.debug_info.func_src_info or ""
    place = info.partition(" at ")[2]
    known = place.startswith(_INSIDE_JAX) and places
    return (info, places, str(body)) if known else id(eqn)


def rules_in(body: _jax.ClosedJaxpr) -> tuple[Any, ...]:
    """Return what the text of a body leaves out: what the custom rules in it compute.

    Those of JAX and of this package never change; each of the others is traced.
    """
    found: list[Any] = []
    for eqn in body.jaxpr.eqns:
        if _jax.custom_rule(eqn) is not None and not _never_changes(eqn):
            found.append(_rule(eqn))
        for inner in _bodies(eqn):
            found.extend(rules_in(inner))
    return tuple(found)


def _never_changes(eqn: Any) -> bool:
    places = [part.place for part in rule_parts(eqn)]
    if _ANYBODYS in "".join(places):  # `jax.nn.relu` has such a rule
        places = list(_by_argument(eqn.params.get("jvp_jaxpr_fun")))
    return bool(places) and all(place.startswith((_INSIDE_JAX, _OURS)) for place in places)


def _by_argument(f: Any) -> Iterator[str]:
    """Yield the files of the rules that ``defjvps`` was given; nothing if they are not found.

    One that closes over something has no file: that may change.
    """
    f = getattr(f, "f", f)
    cells = inspect.getclosurevars(f).nonlocals if inspect.isfunction(f) else {}
    if getattr(f, "__qualname__", "").startswith("custom_jvp.defjvps"):
        for rule in filter(None, cells["jvps"]):
            alone = inspect.isfunction(rule) and not rule.__closure__
            yield rule.__code__.co_filename if alone else ""
    else:
        for inner in cells.values():
            if inspect.isfunction(inner) or hasattr(inner, "f_transformed"):
                yield from _by_argument(inner)


def _rule(eqn: Any) -> Any:
    """Return the text of a rule and what it closes over; what equals nothing if that fails."""

    def back(*inputs: Any) -> Any:
        outputs, pull = jax.vjp(_jax.function(eqn), *inputs)
        return pull([
            jnp.ones_like(y) if _jax.is_float(y) else np.zeros(y.shape, jax.dtypes.float0)
            for y in outputs
        ])  # fmt: skip

    try:
        inputs = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
        traced = jax.make_jaxpr(back)(*inputs)
        return str(traced.jaxpr), *(np.asarray(value).tobytes() for value in traced.consts)
    except Exception:  # whatever somebody else's rule raises, on other types than it has seen
        return object()
