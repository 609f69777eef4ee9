"""Why an operator stops a gradient: read off what it took and made in this call."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.xray.arrivals import is_zero
from chainrule.xray.elements import numbers, plain
from chainrule.xray.stats import Stats
from chainrule.xray.stops import Stop

__all__ = ["why"]
__dir__ = __all__.copy


def why(stop: Stop) -> str:
    """Return why no gradient goes out of an operator, or next to none."""
    node = stop.node
    if stop.by_jumps or node.known.flat:
        kinds = " and ".join(dict.fromkeys(str(aval.dtype) for aval in node.avals))
        return node.known.stops or f"{kinds} can only jump: the derivative is 0"
    if stop.branch is not None:
        return f"the branch that was taken, number {stop.branch}, does not use what came in"
    known = not node.custom or node.known.activation
    rule = _saturated if node.known.ends is not None else _RULES.get(node.op if known else "")
    said = "" if rule is None else rule(stop)
    return said or _computed(stop)


def _computed(stop: Stop) -> str:
    """Say what is certain of any operator."""
    node, known = stop.node, stop.node.known
    if node.custom:
        return f"what the rule of {node.op} returns is exactly 0"
    if not known.elementwise:
        return "what it contributes there is exactly 0"
    inputs = ", ".join(_span(stop, k) for k in range(len(node.inputs)))
    return (
        f"its derivative times what comes in is 0 in {node.avals[0].dtype}: its input is {inputs}"
    )


def _values(stop: Stop, k: int) -> Any:
    """Return an input in the elements in which a gradient dies; None if those are no numbers."""
    slot = stop.node.inputs[k]
    x = stop.record.value(slot)
    if x is None or isinstance(x, Stats):
        return x
    array, where = numbers(x), stop.where
    together = array is not None and where is not None and array.shape == where.shape
    return array[where] if array is not None and together else array


def _ends(stop: Stop, k: int) -> tuple[float, float]:
    """Return the smallest and the largest element of an input there."""
    x = _values(stop, k)
    if isinstance(x, Stats):
        return float(x.min), float(x.max)
    if x is None or not x.size:
        return math.nan, math.nan
    x = np.abs(x) if x.dtype.kind == "c" else x
    return float(x.min()), float(x.max())


def _span(stop: Stop, k: int) -> str:
    low, high = _ends(stop, k)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _relu(stop: Stop) -> str:
    """Say of a ReLU over how many samples which of its units are 0."""
    k = stop.inputs[0]
    if not _ends(stop, k)[1] <= 0:
        return ""
    text = f"its inputs there are at most 0: {_span(stop, k)}"
    value = stop.node.value
    if isinstance(value, Stats) or np.ndim(value) < 2:
        return text
    rows = plain(value).reshape(-1, np.shape(value)[-1])
    dead = int((rows == 0).all(0).sum())
    return f"{text}; {dead} of {rows.shape[1]} units are 0 in all {len(rows)} samples"


def _larger(stop: Stop) -> str:
    k, other = stop.inputs[0], 1 - stop.inputs[0]
    if stop.node.op == "max" and _ends(stop, other) == (0, 0):
        return _relu(stop)
    side = "below" if stop.node.op == "max" else "above"
    return f"its input there, {_span(stop, k)}, lies {side} the other one, {_span(stop, other)}"


def _clipped(stop: Stop) -> str:
    low, high = _span(stop, 0), _span(stop, 2)
    return f"its input there, {_span(stop, 1)}, lies outside of {low} and {high}"


def _six(stop: Stop) -> str:
    return f"its input there, {_span(stop, 0)}, lies outside of 0 and 6"


def _rejected(stop: Stop) -> str:
    return "the condition chooses another branch there" if stop.inputs[0] else ""


def _saturated(stop: Stop) -> str:
    k = stop.inputs[0]
    text, part = f"saturated, at {_span(stop, k)}", stop.node.contributions[k]
    if is_zero(part) or isinstance(part, Stats):
        return f"{text}: its derivative there rounds to 0 in {stop.node.avals[0].dtype}"
    g, goes = (np.abs(plain(x))[stop.where] for x in (stop.node.cotangents[0], part))
    return f"{text}: its derivative there is at most {(goes / g).max():.1g}"


def _factor(stop: Stop) -> str:
    other = _ends(stop, 1 - stop.inputs[0])
    return "what it is multiplied by there is 0" if other == (0, 0) else ""


def _underflow(stop: Stop) -> str:
    dtype = stop.node.avals[0].dtype
    value = stop.node.value
    zero = is_zero(
        value if isinstance(value, Stats) or stop.where is None else plain(value)[stop.where]
    )
    return f"its value and its derivative round to 0 in {dtype} at {_span(stop, 0)}" if zero else ""


def _narrower(stop: Stop) -> str:
    source = stop.record.nodes[stop.node.inputs[0].node].avals[stop.node.inputs[0].output]
    return f"what comes in rounds to 0 in {source.dtype}"


_RULES: dict[str, Callable[[Stop], str]] = {
    "relu": _relu,
    "relu6": _six,
    "max": _larger,
    "min": _larger,
    "clamp": _clipped,
    "select_n": _rejected,
    "mul": _factor,
    "dot_general": _factor,
    "exp": _underflow,
    "exp2": _underflow,
    "convert_element_type": _narrower,
}
