"""What the x-ray knows of JAX's operators: one table, a row a primitive.

Everything else asks this table: the formulas of the equations, the symbols on the cards, which
operators work element by element, and why one of them makes a NaN.
"""

import dataclasses
from typing import NamedTuple

from chainrule.xray.causes import (
    Case,
    always,
    born_inf,
    born_nan,
    both_zero,
    first,
    negative,
    norm_at_zero,
    second,
)

__all__ = ["FUNCTIONS", "LIVE", "PRIMITIVES", "Pole", "Primitive", "known"]
__dir__ = __all__.copy


class Pole(NamedTuple):
    """A value at which an operator, or its derivative, is infinite or undefined.

    Attributes:
      input: the number of the input.
      value: the value of it.
      side: -1 where it is undefined below that value too, 1 above, 0 at the value only.
    """

    input: int
    value: float
    side: int = 0


@dataclasses.dataclass(frozen=True)
class Primitive:
    """One row: an operator, or a function of JAX that has a custom rule.

    Attributes:
      value: the formula of the result; a, b, c are the inputs, y is the result.
      gradients: the formula of the gradient with respect to each input; g is that of the result.
      symbol: what a card shows; "" for the name of the operator.
      groups: whether it only groups operators, as jit does, and is looked into.
      elementwise: whether an element of the result depends on that element of the inputs alone.
      flat: whether its derivative is 0 wherever there is one, so that no gradient passes.
      copies: whether the result has the elements of its first input, rearranged or each repeated
        equally often.
      part: whether the result is a part of its first input, or the same in another type.
      keeps_squares: whether a sum of squares among its inputs still is one in its result, perhaps
        scaled or shifted.
      product: whether it multiplies with a matrix of weights.
      activation: whether it is an activation function.
      ends: the smallest and the largest value of a squashing activation function.
      singular: whether there are points where it is infinite or undefined.
      poles: where it, or its derivative, is infinite or undefined.
      degenerate: whether it, or its derivative, is so for some matrices: singular ones, those with
        equal eigenvalues or singular values.
      of_matrix: whether it is infinite or undefined for a singular matrix, its first input.
      stops: why no gradient passes it, whatever its inputs are.
      forward: the known cases in which its value becomes NaN or Inf.
      backward: the known cases in which its gradient does.
    """

    value: str = ""
    gradients: tuple[str, ...] = ()
    symbol: str = ""
    groups: bool = False
    elementwise: bool = False
    flat: bool = False
    copies: bool = False
    part: bool = False
    keeps_squares: bool = False
    product: bool = False
    activation: bool = False
    ends: tuple[float, float] | None = None
    singular: bool = False
    poles: tuple[Pole, ...] = ()
    degenerate: bool = False
    of_matrix: bool = False
    stops: str = ""
    forward: tuple[Case, ...] = ()
    backward: tuple[Case, ...] = ()


def known(op: str, custom: bool = False) -> Primitive:
    """Return the row of an operator, an empty one of an unknown operator.

    Args:
      op: its name.
      custom: whether it is a function with a custom rule, and no primitive.

    Example:
      >>> known("sqrt").value, known("sqrt").singular, known("my_own").value
      ('√a', True, '')
    """
    return (FUNCTIONS if custom else PRIMITIVES).get(op, _UNKNOWN)


_UNKNOWN = Primitive()

_EXP_OVERFLOWS = Case(born_inf, "overflow of exp: its argument {x} is too large for {dtype}")
_INF_MINUS_INF = Case(born_nan, "inf - inf is NaN")
_ZERO_TIMES_INF = Case(born_nan, "0 * inf is NaN")
_LOG_OF_ZERO = Case(first(0), "log of 0 is -inf")
_LOG_OF_NEGATIVE = Case(negative, "the logarithm of a number outside its domain ({x})")
_ROOT_OF_NEGATIVE = Case(negative, "the root of a negative number ({x})")
_ROOT_AT_ZERO = Case(first(0), "sqrt at 0: its derivative there is inf")
_NORM_AT_ZERO = Case(
    norm_at_zero, "norm (or standard deviation) at 0: the derivative of sqrt at 0 is inf"
)
_DIVISION = Case(second(0), "division by 0")
_POWER_OF_ZERO = Case(first(0), "0 to a negative power is a division by 0")
_OUTSIDE_UNIT = Case(always, "arccos and arcsin live on [-1, 1], the argument is {x}")
_BEYOND_ENDS = Case(always, "the argument {x} is at or beyond the ends of [-1, 1]")
_AT_ENDS = Case(
    first(-1, 1), "at the ends of [-1, 1] the derivative 1 / sqrt(1 - x**2) is inf (x = {x})"
)
_STEP = "it jumps from step to step: between them its derivative is 0"
_POSITION = "a position only jumps when the numbers change: its derivative is 0"
_COMPARISON = "a comparison is true or false, and only jumps: its derivative is 0"
_EQUAL_EIGENVALUES = Case(
    always, "equal eigenvalues, or singular values equal or 0: the derivative divides by 0 there"
)
_AT_0 = (Pole(0, 0.0),)
_BELOW_0 = (Pole(0, 0.0, -1),)
_BELOW_1 = (Pole(0, 1.0, -1),)
_BELOW_MINUS_1 = (Pole(0, -1.0, -1),)
_DIVISOR = (Pole(1, 0.0),)
_ORIGIN = (Pole(0, 0.0), Pole(1, 0.0))
_UNIT = (Pole(0, -1.0, -1), Pole(0, 1.0, 1))

# fmt: off
PRIMITIVES: dict[str, Primitive] = {
    # arithmetic
    "add": Primitive("a + b", ("g", "g"), "+", elementwise=True, keeps_squares=True,
        forward=(_INF_MINUS_INF,)),
    "add_any": Primitive("a + b", ("g", "g"), "+", forward=(_INF_MINUS_INF,)),
    "sub": Primitive("a − b", ("g", "−g"), "−", elementwise=True, forward=(_INF_MINUS_INF,)),
    "mul": Primitive("a · b", ("g · b", "g · a"), "×", elementwise=True, keeps_squares=True,
        forward=(_ZERO_TIMES_INF,)),
    "div": Primitive("a / b", ("g / b", "−g · y / b"), "÷", elementwise=True, poles=_DIVISOR,
        keeps_squares=True,
        singular=True, forward=(Case(both_zero, "0 / 0 is NaN"), _DIVISION),
        backward=(
            Case(second(0), "division by 0: the derivative -n / d**2 there is infinite"),)),
    "rem": Primitive(elementwise=True, poles=_DIVISOR, singular=True, forward=(_DIVISION,)),
    "neg": Primitive("−a", ("−g",), "−x", elementwise=True),
    "abs": Primitive("|a|", ("g · sign a",), "|x|", elementwise=True),
    "sign": Primitive("sign a", ("0",), elementwise=True, flat=True, stops=_STEP),
    "max": Primitive("max(a, b)", ("g where a > b, g/2 where equal",
        "g where b > a, g/2 where equal"), elementwise=True),
    "min": Primitive("min(a, b)", ("g where a < b, g/2 where equal",
        "g where b < a, g/2 where equal"), elementwise=True),
    "clamp": Primitive("b, at least a and at most c",
        ("g where b < a", "g where between", "g where b > c"), elementwise=True),
    "select_n": Primitive("b where a is False, c where True",
        ("0", "g where a is False", "g where a is True"), "where", keeps_squares=True,
        forward=(
            Case(born_nan, "jnp.where chose a NaN that the program writes out"),)),
    "floor": Primitive("⌊a⌋", ("0",), elementwise=True, flat=True, stops=_STEP),
    "ceil": Primitive("⌈a⌉", ("0",), elementwise=True, flat=True, stops=_STEP),
    "round": Primitive("a, rounded", ("0",), elementwise=True, flat=True, stops=_STEP),
    "nextafter": Primitive(elementwise=True),

    # powers, roots, exponentials, logarithms
    "pow": Primitive("a ^ b", ("g · b · a ^ (b − 1)", "g · y · log a"), elementwise=True,
        poles=_BELOW_0,
        singular=True, forward=(
            _POWER_OF_ZERO,
            Case(negative, "a negative number to a power that is no integer ({x})")),
        backward=(
            Case(first(0), "x ** y at x = 0: the derivative y * x ** (y - 1), or with respect to y "
                "x ** y * log(x), is not finite there"),)),
    "integer_pow": Primitive(symbol="xⁿ", elementwise=True, poles=_AT_0, singular=True,
        forward=(_POWER_OF_ZERO,)),
    "square": Primitive("a²", ("g · 2 · a",), "x²", elementwise=True),
    "sqrt": Primitive("√a", ("g / (2 · y)",), "√", elementwise=True, poles=_BELOW_0, singular=True,
        forward=(_ROOT_OF_NEGATIVE,), backward=(_NORM_AT_ZERO, _ROOT_AT_ZERO)),
    "rsqrt": Primitive("1 / √a", ("−g · y / (2 · a)",), "1/√", elementwise=True, poles=_BELOW_0,
        singular=True,
        forward=(_ROOT_OF_NEGATIVE, Case(first(0), "1 / sqrt(0) is inf")),
        backward=(_ROOT_AT_ZERO,)),
    "cbrt": Primitive("∛a", ("g · y / (3 · a)",), elementwise=True, poles=_AT_0,
        backward=(_ROOT_AT_ZERO,)),
    "exp": Primitive("exp a", ("g · y",), elementwise=True, forward=(_EXP_OVERFLOWS,)),
    "exp2": Primitive("2 ^ a", ("g · y · log 2",), elementwise=True, forward=(_EXP_OVERFLOWS,)),
    "expm1": Primitive("exp(a) − 1", ("g · (y + 1)",), elementwise=True,
        forward=(_EXP_OVERFLOWS,)),
    "log": Primitive("log a", ("g / a",), elementwise=True, poles=_BELOW_0, singular=True,
        forward=(_LOG_OF_ZERO, _LOG_OF_NEGATIVE),
        backward=(Case(first(0), "log at 0: its derivative 1 / x there is inf"),)),
    "log2": Primitive("log₂ a", ("g / (a · log 2)",), elementwise=True, poles=_BELOW_0,
        singular=True, forward=(_LOG_OF_ZERO, _LOG_OF_NEGATIVE),
        backward=(Case(first(0), "log2 at 0: its derivative 1 / (x log 2) there is inf"),)),
    "log1p": Primitive("log(1 + a)", ("g / (1 + a)",), elementwise=True, poles=_BELOW_MINUS_1,
        singular=True,
        forward=(_LOG_OF_NEGATIVE,)),

    # trigonometric, hyperbolic and special functions
    "sin": Primitive("sin a", ("g · cos a",), elementwise=True),
    "cos": Primitive("cos a", ("−g · sin a",), elementwise=True),
    "tan": Primitive("tan a", ("g · (1 + y²)",), elementwise=True),
    "asin": Primitive("asin a", ("g / √(1 − a²)",), elementwise=True, poles=_UNIT,
        forward=(_OUTSIDE_UNIT,),
        backward=(_AT_ENDS,)),
    "acos": Primitive("acos a", ("−g / √(1 − a²)",), elementwise=True, poles=_UNIT,
        forward=(_OUTSIDE_UNIT,),
        backward=(_AT_ENDS,)),
    "atan": Primitive("atan a", ("g / (1 + a²)",), elementwise=True),
    "atan2": Primitive(elementwise=True, poles=_ORIGIN, backward=(
        Case(both_zero, "arctan2(0, 0): its derivative there is 0 / 0"),)),
    "sinh": Primitive("sinh a", ("g · cosh a",), elementwise=True, forward=(_EXP_OVERFLOWS,)),
    "cosh": Primitive("cosh a", ("g · sinh a",), elementwise=True, forward=(_EXP_OVERFLOWS,)),
    "tanh": Primitive("tanh a", ("g · (1 − y²)",), elementwise=True, activation=True,
        ends=(-1.0, 1.0)),
    "asinh": Primitive(elementwise=True),
    "acosh": Primitive(elementwise=True, poles=_BELOW_1, singular=True, forward=(
        Case(always, "arccosh lives on [1, inf), the argument is {x}"),)),
    "atanh": Primitive(elementwise=True, poles=_UNIT, singular=True, forward=(_BEYOND_ENDS,),
        backward=(_AT_ENDS,)),
    "logistic": Primitive("σ(a)", ("g · y · (1 − y)",), "σ", elementwise=True, activation=True,
        ends=(0.0, 1.0)),
    "erf": Primitive("erf a", ("g · 2/√π · exp(−a²)",), elementwise=True),
    "erfc": Primitive(elementwise=True),
    "erf_inv": Primitive(elementwise=True, poles=_UNIT, forward=(_BEYOND_ENDS,)),
    "lgamma": Primitive(elementwise=True),
    "digamma": Primitive(elementwise=True),

    # the same elements, or some of them
    "copy": Primitive("a", ("g",), copies=True),
    "reshape": Primitive("a, reshaped", ("g, reshaped back",), copies=True),
    "squeeze": Primitive("a, without axes of length 1", ("g, with them",), copies=True),
    "expand_dims": Primitive("a, with axes of length 1", ("g, without them",), copies=True),
    "broadcast_in_dim": Primitive("a, repeated", ("g, summed over what was repeated",),
        "broadcast", copies=True),
    "transpose": Primitive("a, axes swapped", ("g, axes swapped back",), copies=True),
    "rev": Primitive("a, reversed", ("g, reversed",), copies=True),
    "convert_element_type": Primitive("a, as another type", ("g",), "as type", elementwise=True,
        part=True, keeps_squares=True),
    "reduce_precision": Primitive(elementwise=True),
    "stop_gradient": Primitive("a, its gradient stopped", ("0",), elementwise=True, flat=True,
        stops="stop_gradient lets none through"),
    "slice": Primitive("some of a", ("g in that part, 0 elsewhere",), part=True),
    "dynamic_slice": Primitive("some of a", ("g in that part, 0 elsewhere",), part=True),
    "gather": Primitive("elements of a, at b",
        ("g added up at the elements taken, 0 elsewhere",)),
    "pad": Primitive("a, padded", ("g inside", "Σ g of the padding")),
    "sort": Primitive("a, sorted", ("g, put back in a's order",)),

    # sums, products, windows
    "reduce_sum": Primitive("Σ a", ("g, repeated",), "Σ", keeps_squares=True,
        forward=(_INF_MINUS_INF,)),
    "reduce_max": Primitive("max a", ("g at the maximum, shared where equal",), "max"),
    "reduce_min": Primitive("min a", ("g at the minimum, shared where equal",), "min"),
    "reduce_prod": Primitive("Π a", ("g · y / a",)),
    "cumsum": Primitive("running sum of a", ("running sum of g from the end",),
        forward=(_INF_MINUS_INF,)),
    "dot_general": Primitive("a · b, contracted", ("g contracted with b", "a contracted with g"),
        "@", product=True, forward=(_ZERO_TIMES_INF,)),
    "conv_general_dilated": Primitive("a ∗ b", ("g ∗ b, flipped", "a ∗ g, at every shift"),
        "conv", product=True),
    "reduce_window_max": Primitive("max a in each window", ("g at each window's maximum",),
        "max pool"),
    "reduce_window_sum": Primitive("Σ a in each window", ("g spread over each window",)),

    # decompositions
    "cholesky": Primitive(degenerate=True, forward=(
        Case(always, "the matrix is not positive definite"),)),
    "eigh": Primitive(degenerate=True, backward=(_EQUAL_EIGENVALUES,)),
    "lu": Primitive(degenerate=True),
    "eig": Primitive(degenerate=True, backward=(_EQUAL_EIGENVALUES,)),
    "svd": Primitive(degenerate=True, backward=(_EQUAL_EIGENVALUES,)),
} | {
    name: Primitive(stops=_COMPARISON)
    for name in ("eq", "ne", "lt", "le", "gt", "ge", "is_finite")
} | {
    name: Primitive(stops=_POSITION) for name in ("argmax", "argmin")
} | {
    name: Primitive(groups=True)
    for name in ("jit", "pjit", "closed_call", "core_call", "core_closed_call", "remat", "remat2",
                 "checkpoint", "eval_jaxpr")  # the last one: what jvp leaves of a checkpoint
}
"""JAX's primitives. What is in none of the rows is drawn and differentiated all the same."""

FUNCTIONS: dict[str, Primitive] = {
    "relu": Primitive("max(a, 0)", ("g where a > 0, 0 elsewhere",), activation=True),
    "relu6": Primitive("min(max(a, 0), 6)", ("g where 0 < a < 6, 0 elsewhere",), activation=True),
    "sigmoid": Primitive(activation=True, ends=(0.0, 1.0)),
    "tanh": Primitive(activation=True, ends=(-1.0, 1.0)),
    "logaddexp": Primitive("log(exp(a) + exp(b))", ("g · exp(a − y)", "g · exp(b − y)")),
    "xlogy": Primitive("a · log b", ("g · log b", "g · a / b")),
} | {
    name: Primitive(of_matrix=True, degenerate=True) for name in ("_slogdet_small",
        "_slogdet_lu", "_slogdet_qr")
} | {
    name: Primitive(activation=True)
    for name in ("gelu", "silu", "elu", "selu", "celu", "leaky_relu", "softplus", "hard_tanh")
}
"""Functions of JAX that have a custom rule. One of somebody else may only have the same name."""
# fmt: on

_COMPUTED = """
neg abs sign square sqrt rsqrt one_minus_square cbrt exp exp2 expm1 log log2 log1p sin cos tan asin
acos atan sinh cosh tanh asinh acosh atanh logistic floor ceil round is_finite erf erfc erf_inv
lgamma digamma add add_any sub mul div rem max min pow integer_pow atan2 eq ne lt le gt ge and or
xor not shift_left shift_right_logical shift_right_arithmetic clamp select_n polynomial
convert_element_type bitcast_convert_type reduce_precision

reshape squeeze broadcast_in_dim transpose rev slice pad concatenate split stack unstack tile iota
empty empty2 dynamic_slice dynamic_update_slice gather scatter scatter_add scatter_sub scatter_mul
scatter_min scatter_max sort top_k

reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or reduce_xor argmax argmin cumsum
cumprod cummax cummin cumlogsumexp dot_general conv_general_dilated reduce_window_sum
reduce_window_max reduce_window_min select_and_scatter_add cond while scan
"""  # element by element; the same elements, elsewhere; sums, products, windows, loops

LIVE = frozenset(_COMPUTED.split())
"""The primitives that a living page computes; a gradient is a program of the same ones."""
