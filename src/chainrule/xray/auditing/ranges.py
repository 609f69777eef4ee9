"""What every array of a program can hold, given what its arguments can: intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from chainrule.xray import _jax
from chainrule.xray.auditing.origins import below_maximum, origin
from chainrule.xray.bodies import body_graph
from chainrule.xray.elements import plain
from chainrule.xray.graph import Graph, Slot, Vertex
from chainrule.xray.stats import is_number

__all__ = ["EVERYTHING", "Range", "of_array", "ranges", "widened"]
__dir__ = __all__.copy


class Range(NamedTuple):
    """The numbers that the elements of an array can be.

    Attributes:
      low: the smallest.
      high: the largest.
      never_zero: whether none of them is 0.
      free: whether they depend on an argument.
    """

    low: float | int
    high: float | int
    never_zero: bool = False
    free: bool = True

    def holds(self, value: float | int) -> bool:
        """Tell whether an element can be a number."""
        return self.low <= value <= self.high and not (value == 0 and self.never_zero)


EVERYTHING = Range(-math.inf, math.inf)
"""What may hold any number."""


def of_array(x: Any, free: bool = False) -> Range:
    """Return what an array holds."""
    if not is_number(jnp.asarray(x)):
        return EVERYTHING._replace(free=free)
    a = plain(x)
    a = np.abs(a) if a.dtype.kind == "c" else a
    known = a[~np.isnan(a)] if a.dtype.kind == "f" else a
    if not known.size:  # nothing, which adds nothing to a union
        return Range(math.inf, -math.inf, True, free)
    return Range(float(known.min()), float(known.max()), bool((known != 0).all()), free)


def widened(x: Any) -> Range:
    """Return what an argument can hold: its own range, once as wide again on either side.

    Of an array of one number, half of that on either side. What is never negative stays so, and
    what is never positive; truths are 0 and 1.
    """
    own = of_array(x, free=True)
    if jnp.asarray(x).dtype == jnp.bool_:
        return Range(0.0, 1.0)
    width = own.high - own.low or abs(own.high) / 2 or 1.0
    low = own.low - width if own.low < 0 else max(own.low - width, 0.0)
    high = own.high + width if own.high > 0 else min(own.high + width, 0.0)
    return Range(low, high) if own.low or own.high else Range(-1.0, 1.0)


def ranges(graph: Graph, arguments: Sequence[Range]) -> dict[Slot, Range]:
    """Return what every array of a graph can hold.

    Args:
      graph: the graph.
      arguments: what each of its arguments can hold.
    """
    found: dict[Slot, Range] = {}
    given = iter(arguments)
    for i, node in enumerate(graph.nodes):
        if node.is_argument:
            found[Slot(i, 0)] = next(given)
        elif node.kind == "constant":
            found[Slot(i, 0)] = of_array(node.constant)
        else:
            taken = [found[slot] for slot in node.inputs]
            free = any(one.free for one in taken)
            for k, one in enumerate(_made(graph, node, taken, found)):
                found[Slot(i, k)] = _rounded(one)._replace(free=free)
    return found


def _rounded(one: Range) -> Range:
    low, high = (-math.inf if one.low != one.low else one.low), one.high
    high = math.inf if high != high else high
    return one._replace(low=low, high=high, never_zero=one.never_zero or low > 0 or high < 0)


def _made(
    graph: Graph, node: Vertex, taken: list[Range], found: Mapping[Slot, Range]
) -> list[Range]:
    """Return what each output of an operator can hold."""
    count = len(node.avals)
    if node.custom and (body := _jax.custom_rule(node.equation)) is not None:
        return _of_body(body, node, taken)
    if node.op == "cond":
        bodies = map(_jax.close, node.equation.params["branches"])
        some = [_of_body(body, node, taken[1:]) for body in bodies]
        return [_union(one) for one in zip(*some, strict=True)]
    if node.op in _SPECIAL:
        return [_SPECIAL[node.op](graph, node, taken, found)]
    if node.op in _MONOTONE and count == 1:
        with np.errstate(all="ignore"):
            f, low, high = _MONOTONE[node.op], taken[0].low, taken[0].high
            return [Range(float(f(np.float64(low))), float(f(np.float64(high))))]
    if node.known.copies or node.op in _SAME:
        return [taken[0]] * count
    if node.op in _UNION:
        return [_union(taken)] * count
    return [_BOUNDED.get(node.op, EVERYTHING)] * count


def _of_body(body: _jax.ClosedJaxpr, node: Vertex, taken: Sequence[Range]) -> list[Range]:
    graph = body_graph(body, node.line)
    inner = ranges(graph, taken)
    return [inner[slot] for slot in graph.outputs]


def _union(some: Sequence[Range]) -> Range:
    low, high = min(one.low for one in some), max(one.high for one in some)
    return Range(low, high, all(one.never_zero for one in some))


def _float32(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function as float32 has it: the exponential of -200 is 0 there."""
    return lambda x: np.float32(f(x))


_MONOTONE: dict[str, Callable[[Any], Any]] = {
    "exp": _float32(np.exp), "exp2": _float32(np.exp2), "expm1": np.expm1,
    "log1p": lambda x: np.log1p(x) if x > -1 else -np.inf,
    "log": lambda x: np.log(x) if x > 0 else -np.inf,
    "log2": lambda x: np.log2(x) if x > 0 else -np.inf,
    "sqrt": lambda x: np.sqrt(max(x, 0.0)), "tanh": np.tanh, "asinh": np.arcsinh,
    "atan": np.arctan, "sinh": np.sinh, "floor": np.floor, "ceil": np.ceil, "round": np.round,
    "logistic": lambda x: np.float32(1 / (1 + np.exp(-x))), "sign": np.sign, "cbrt": np.cbrt,
    "erf": lambda x: math.erf(x) if math.isfinite(x) else math.copysign(1, x),
}  # fmt: skip
_SAME = {
    "convert_element_type", "slice", "dynamic_slice", "reduce_max", "reduce_min", "sort", "rev",
    "reduce_precision", "stop_gradient", "reduce_window_max", "optimization_barrier", "gather",
    "cummax", "cummin", "top_k", "split",
}  # fmt: skip
_UNION = {"concatenate", "pad", "dynamic_update_slice", "clamp", "scatter"}
_TRUTHS = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "is_finite", "reduce_or",
           "reduce_and", "eq_to", "lt_to", "le_to")  # fmt: skip
_BOUNDED = dict.fromkeys(_TRUTHS, Range(0, 1)) | {
    "sin": Range(-1, 1), "cos": Range(-1, 1), "erfc": Range(0, 2), "cosh": Range(1, math.inf),
    "random_bits": Range(0, 2.0**32),
}  # fmt: skip


def _product(a: float | int, b: float | int) -> float | int:
    return 0.0 if a == 0 or b == 0 else a * b


def _mul(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    a, b = taken
    if len(set(node.inputs)) == 1:
        return _even(a, 2)
    ends = [_product(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Range(min(ends), max(ends), a.never_zero and b.never_zero)


def _even(a: Range, power: int) -> Range:
    ends = [abs(a.low), abs(a.high)]
    low = 0.0 if a.low <= 0 <= a.high else min(ends)
    return Range(_pow(low, power), _pow(max(ends), power), a.never_zero)


def _pow(x: float | int, power: float | int) -> float:
    try:
        return float(x**power)
    except (OverflowError, ZeroDivisionError):
        return math.inf


def _integer_pow(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    power, a = node.equation.params["y"], taken[0]
    if power >= 0 and power % 2 == 0:
        return _even(a, power)
    if power >= 0:
        return Range(_pow(a.low, power), _pow(a.high, power), a.never_zero)
    if power % 2 == 0:
        return _quotient(Range(1, 1), _even(a, -power))
    odd = Range(_pow(a.low, -power), _pow(a.high, -power), a.never_zero)
    return _quotient(Range(1, 1), odd)


def _quotient(a: Range, b: Range) -> Range:
    if b.low <= 0 <= b.high:
        if a.low >= 0 and b.low >= 0:
            return Range(0.0 if not b.high else a.low / b.high, math.inf)
        return EVERYTHING
    ends = [x / y for x in (a.low, a.high) for y in (b.low, b.high) if y]
    ends = [x for x in ends if x == x]
    return Range(min(ends), max(ends), a.never_zero) if ends else EVERYTHING


def _div(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    return _quotient(*taken)


def _add(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    return Range(taken[0].low + taken[1].low, taken[0].high + taken[1].high)


def _sub(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    if node.inputs[0] == node.inputs[1]:
        return Range(0, 0)
    high = taken[0].high - taken[1].low
    if below_maximum(graph, node):
        high = 0.0
    return Range(min(taken[0].low - taken[1].high, high), high)


def _reduce_sum(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    source = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output]
    n = math.prod(source.shape) // max(math.prod(node.avals[0].shape), 1)
    low, high = _product(n, taken[0].low), _product(n, taken[0].high)
    below = graph.nodes[origin(graph, node.inputs[0]).node]
    if below.op == "exp":
        inner = graph.nodes[origin(graph, below.inputs[0]).node]
        if inner.op == "sub" and below_maximum(graph, inner):
            low = max(low, 1.0)  # the largest element is the maximum itself
    return Range(low, high, n > 0 and (low > 0 or high < 0))


def _dot(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    product = _mul(graph, node, taken, found)
    source = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output]
    if node.op == "dot_general":
        (axes, _), _ = node.equation.params["dimension_numbers"]
        n = math.prod(source.shape[k] for k in axes)
    else:
        other = graph.nodes[node.inputs[1].node].avals[node.inputs[1].output]
        n = math.prod(other.shape)
    if len(set(node.inputs)) == 1 and node.avals[0].shape:  # no sum of squares, off its diagonal
        product = Range(-product.high, product.high)
    return Range(_product(n, product.low), _product(n, product.high))


def _reduce_prod(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    source, a = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output], taken[0]
    n = math.prod(source.shape) // max(math.prod(node.avals[0].shape), 1)
    if node.op == "cumprod":
        n = max(source.shape, default=1)
    most = max(_pow(max(abs(a.low), abs(a.high)), n), abs(a.high), abs(a.low))
    return Range(min(_pow(a.low, n), a.low) if a.low >= 0 else -most, most, a.never_zero)


def _cumsum(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    (a,), n = taken, max(node.avals[0].shape, default=1)
    return Range(min(a.low, _product(n, a.low)), max(a.high, _product(n, a.high)))


def _max(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    return Range(max(a.low for a in taken), max(a.high for a in taken))


def _min(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    return Range(min(a.low for a in taken), min(a.high for a in taken))


def _clamp(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    low, x, high = taken
    return Range(max(x.low, low.low), min(max(x.high, low.low), high.high))


def _power(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    a, b = taken
    if a.low < 0:
        return EVERYTHING
    ends = [_pow(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Range(min(ends), max(ends), a.never_zero)


def _iota(graph: Graph, node: Vertex, taken: list[Range], found: Any) -> Range:
    return Range(0, max(node.avals[0].shape, default=1) - 1, free=False)


def _select(graph: Graph, node: Vertex, taken: list[Range], found: Mapping[Slot, Range]) -> Range:
    """Return the union of the branches, each as far as its condition lets it through."""
    test = graph.nodes[origin(graph, node.inputs[0]).node]
    some = []
    if test.op == "ne" and test.inputs[0] == test.inputs[1]:  # is NaN
        return taken[1]
    for k, branch in enumerate(taken[1:]):
        truth = bool(k)
        if len(taken) == 3 and test.op in _TESTS and len(test.inputs) == 2:
            left, right = (origin(graph, s) for s in test.inputs)
            here = origin(graph, node.inputs[1 + k])
            if here == left:
                branch = _where(branch, test.op, found[test.inputs[1]], truth)
            elif here == right:
                branch = _where(branch, _FLIPPED[test.op], found[test.inputs[0]], truth)
            elif (shift := _shift(graph, here, left, found)) is not None:
                inner = _where(found[test.inputs[0]], test.op, found[test.inputs[1]], truth)
                branch = Range(inner.low + shift, inner.high + shift)
        some.append(branch)
    some = [one for one in some if one.low <= one.high] or taken[1:]
    return _union(some)


def _shift(graph: Graph, slot: Slot, of: Slot, found: Mapping[Slot, Range]) -> float | int | None:
    """Return the number that was added to an array, as negative indices are; None if none was."""
    node = graph.nodes[slot.node]
    if node.op != "add" or origin(graph, node.inputs[0]) != of:
        return None
    other = found[node.inputs[1]]
    return other.low if other.low == other.high else None


_TESTS = ("gt", "ge", "lt", "le", "eq", "ne")
_FLIPPED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}
_NEGATED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}


def _where(x: Range, op: str, other: Range, truth: bool) -> Range:
    op = op if truth else _NEGATED[op]
    if op in ("gt", "ge"):
        open_at_zero = op == "gt" and other.low >= 0
        empty = op == "gt" and x.high <= other.low
        low = math.inf if empty else max(x.low, other.low)
        return Range(low, x.high, x.never_zero or open_at_zero)
    if op in ("lt", "le"):
        open_at_zero = op == "lt" and other.high <= 0
        empty = op == "lt" and x.low >= other.high  # nothing is below
        high = -math.inf if empty else min(x.high, other.high)
        return Range(x.low, high, x.never_zero or open_at_zero)
    if op == "eq":
        return Range(max(x.low, other.low), min(x.high, other.high), x.never_zero)
    return x._replace(never_zero=x.never_zero or (other.low == other.high == 0))


_SPECIAL: dict[str, Callable[[Graph, Vertex, list[Range], Any], Range]] = {
    "mul": _mul, "integer_pow": _integer_pow, "div": _div, "add": _add, "add_any": _add,
    "sub": _sub, "reduce_sum": _reduce_sum,
    "reduce_prod": _reduce_prod, "cumprod": _reduce_prod, "cumsum": _cumsum, "dot_general": _dot,
    "conv_general_dilated": _dot, "max": _max, "min": _min, "clamp": _clamp, "pow": _power,
    "iota": _iota, "select_n": _select,
    "neg": lambda g, n, t, f: Range(-t[0].high, -t[0].low, t[0].never_zero),
    "abs": lambda g, n, t, f: _even(t[0], 1),
    "square": lambda g, n, t, f: _even(t[0], 2),
    "rsqrt": lambda g, n, t, f: _quotient(
        Range(1, 1), Range(math.sqrt(max(t[0].low, 0)), math.sqrt(max(t[0].high, 0)))
    ),
}  # fmt: skip
