"""The equation of an operator, forward and backward, in names and, for scalars, in numbers."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from chainrule.xray import _jax
from chainrule.xray.cells import number
from chainrule.xray.graph import Slot
from chainrule.xray.stats import Stats

if TYPE_CHECKING:
    from chainrule.xray.nodes import Node
    from chainrule.xray.record import Report

# Forward, then the gradient by each input: a, b, c are the inputs, y the output, g its gradient.
_RULES: dict[str, tuple[str, ...]] = {
    "add": ("a + b", "g", "g"),
    "add_any": ("a + b", "g", "g"),
    "sub": ("a − b", "g", "−g"),
    "mul": ("a · b", "g · b", "g · a"),
    "div": ("a / b", "g / b", "−g · y / b"),
    "neg": ("−a", "−g"),
    "max": ("max(a, b)", "g where a > b, g/2 where equal", "g where b > a, g/2 where equal"),
    "min": ("min(a, b)", "g where a < b, g/2 where equal", "g where b < a, g/2 where equal"),
    "pow": ("a ^ b", "g · b · a ^ (b − 1)", "g · y · log a"),
    "square": ("a²", "g · 2 · a"),
    "sqrt": ("√a", "g / (2 · y)"),
    "rsqrt": ("1 / √a", "−g · y / (2 · a)"),
    "cbrt": ("∛a", "g · y / (3 · a)"),
    "exp": ("exp a", "g · y"),
    "exp2": ("2 ^ a", "g · y · log 2"),
    "expm1": ("exp(a) − 1", "g · (y + 1)"),
    "log": ("log a", "g / a"),
    "log1p": ("log(1 + a)", "g / (1 + a)"),
    "sin": ("sin a", "g · cos a"),
    "cos": ("cos a", "−g · sin a"),
    "tan": ("tan a", "g · (1 + y²)"),
    "sinh": ("sinh a", "g · cosh a"),
    "cosh": ("cosh a", "g · sinh a"),
    "tanh": ("tanh a", "g · (1 − y²)"),
    "asin": ("asin a", "g / √(1 − a²)"),
    "acos": ("acos a", "−g / √(1 − a²)"),
    "atan": ("atan a", "g / (1 + a²)"),
    "logistic": ("σ(a)", "g · y · (1 − y)"),
    "erf": ("erf a", "g · 2/√π · exp(−a²)"),
    "abs": ("|a|", "g · sign a"),
    "sign": ("sign a", "0"),
    "stop_gradient": ("a, its gradient stopped", "0"),
    "copy": ("a", "g"),
    "convert_element_type": ("a, as another type", "g"),
    "reshape": ("a, reshaped", "g, reshaped back"),
    "squeeze": ("a, without axes of length 1", "g, with them"),
    "expand_dims": ("a, with axes of length 1", "g, without them"),
    "broadcast_in_dim": ("a, repeated", "g, summed over what was repeated"),
    "transpose": ("a, axes swapped", "g, axes swapped back"),
    "rev": ("a, reversed", "g, reversed"),
    "reduce_sum": ("Σ a", "g, repeated"),
    "reduce_max": ("max a", "g at the maximum, shared where equal"),
    "reduce_min": ("min a", "g at the minimum, shared where equal"),
    "reduce_prod": ("Π a", "g · y / a"),
    "cumsum": ("running sum of a", "running sum of g from the end"),
    "slice": ("some of a", "g in that part, 0 elsewhere"),
    "dynamic_slice": ("some of a", "g in that part, 0 elsewhere"),
    "gather": ("elements of a, at b", "g added up at the elements taken, 0 elsewhere"),
    "pad": ("a, padded", "g inside", "Σ g of the padding"),
    "sort": ("a, sorted", "g, put back in a's order"),
    "select_n": (
        "b where a is False, c where True",
        "0",
        "g where a is False",
        "g where a is True",
    ),
    "clamp": ("b, at least a and at most c", "g where b < a", "g where between", "g where b > c"),
    "dot_general": ("a · b, contracted", "g contracted with b", "a contracted with g"),
    "conv_general_dilated": ("a ∗ b", "g ∗ b, flipped", "a ∗ g, at every shift"),
    "reduce_window_max": ("max a in each window", "g at each window's maximum"),
    "reduce_window_sum": ("Σ a in each window", "g spread over each window"),
}
# Functions of JAX that have a rule of their own; of somebody else's only the name may be the same.
_LIBRARY: dict[str, tuple[str, ...]] = {
    "relu": ("max(a, 0)", "g where a > 0, 0 elsewhere"),
    "relu6": ("min(max(a, 0), 6)", "g where 0 < a < 6, 0 elsewhere"),
    "logaddexp": ("log(exp(a) + exp(b))", "g · exp(a − y)", "g · exp(b − y)"),
    "xlogy": ("a · log b", "g · log b", "g · a / b"),
}
# Contractions without batch axes: ranks of a and b, and which axes they share.
_PRODUCTS: dict[tuple[int, int, int, int], tuple[str, str, str]] = {
    (1, 1, 0, 0): ("a · b", "g · b", "g · a"),
    (2, 1, 1, 0): ("a @ b", "g ⊗ b", "aᵀ @ g"),
    (2, 1, 0, 0): ("aᵀ @ b", "b ⊗ g", "a @ g"),
    (1, 2, 0, 0): ("a @ b", "b @ g", "a ⊗ g"),
    (1, 2, 0, 1): ("b @ a", "bᵀ @ g", "g ⊗ a"),
    (2, 2, 1, 0): ("a @ b", "g @ bᵀ", "aᵀ @ g"),
    (2, 2, 1, 1): ("a @ bᵀ", "g @ b", "gᵀ @ a"),
    (2, 2, 0, 0): ("aᵀ @ b", "b @ gᵀ", "a @ g"),
    (2, 2, 0, 1): ("(b @ a)ᵀ", "bᵀ @ gᵀ", "gᵀ @ aᵀ"),
}
_LETTERS = "abcdefh"
_SYMBOL = re.compile(r"(?<![A-Za-z])[a-cgy](?![A-Za-z(.'])")


class Equation(NamedTuple):
    """What an operator computes.

    Attributes:
      forward: ``add_3 = x + y``.
      backward: one line for each input that a gradient flows to: ``∂x = ∂add_3 = −4``; with ``+=``
        where the input has other uses as well.
    """

    forward: str
    backward: tuple[str, ...]


def equation(report: "Report", node: "Node", uses: Callable[[Slot], int]) -> Equation:
    """Return the equations of an operator.

    Args:
      report: the report.
      node: one of its operators.
      uses: how often an array is used.

    Example:
      >>> from chainrule.xray import xray
      >>> report = xray(lambda x, y: x * y, 3.0, -4.0)
      >>> equation(report, report.nodes[2], lambda slot: 1)
      Equation(forward='mul_2 = x · y = 3 · (−4) = −12',
        backward=('∂x = ∂mul_2 · y = 1 · (−4) = −4', '∂y = ∂mul_2 · x = 1 · 3 = 3'))
    """
    names = [_name(report.nodes[slot.node], slot.output) for slot in node.inputs]
    forward, *rules = _rules(node, len(names))
    words = dict(zip(_LETTERS, names, strict=False)) | {"y": node.label, "g": f"∂{node.label}"}
    numbers = {
        letter: _scalar(report.nodes[slot.node].values[slot.output])
        for letter, slot in zip(_LETTERS, node.inputs, strict=False)
    } | {"y": _scalar(node.value), "g": _scalar(node.cotangent)}
    texts = {letter: "?" if x is None else _bracket(x) for letter, x in numbers.items()}

    def right(rule: str, result: float | None) -> str:
        parts = [_put(rule, words)]
        letters = set(_SYMBOL.findall(rule))
        plain = "," not in rule and " where " not in rule and rule not in letters
        if plain and letters and all(numbers.get(letter) is not None for letter in letters):
            parts.append(_put(rule, texts))
        return " = ".join(parts if result is None else [*parts, number(result)])

    lines = []
    for name, slot, rule, part in zip(names, node.inputs, rules, node.contributions, strict=False):
        if part is not None:
            sign = "+=" if uses(slot) > 1 else "="
            lines.append(f"∂{name} {sign} {right(rule, _scalar(part))}")
    return Equation(f"{node.label} = {right(forward, _scalar(node.value))}", tuple(lines))


def _rules(node: "Node", count: int) -> tuple[str, ...]:
    eqn = node.operator.equation
    if node.op == "dot_general":
        (left, right), (batch, _) = eqn.params["dimension_numbers"]
        ranks = tuple(len(v.aval.shape) for v in eqn.invars)
        if not batch and len(left) == 1 and (rule := _PRODUCTS.get((*ranks, *left, *right))):
            return rule
    if node.op == "integer_pow":
        n = eqn.params["y"]
        power = f"a ^ {_bracket(n - 1)}" if n != 2 else "a"
        return f"a ^ {_bracket(n)}" if n != 2 else "a²", f"g · {_bracket(n)} · {power}"
    if node.op == "concatenate":
        letters = ", ".join(_LETTERS[:count])
        return f"{letters} joined", *(["its part of g"] * count)
    body = _jax.rule_body(eqn)
    known = _RULES if body is None else _LIBRARY if _jax.is_library(body) else {}
    rules = known.get(node.op)
    flows = [k for k, part in enumerate(node.contributions) if part is not None]
    if rules is not None and len(rules) > max(flows, default=-1) + 1:  # indices have no gradient
        return rules
    inputs = ", ".join(_LETTERS[:count]) + (", …" if count > len(_LETTERS) else "")
    by = "jax.vjp" if body is None else "its own rule"
    return f"{node.op}({inputs})", *([f"g times the derivative of {node.op}, by {by}"] * count)


def _name(node: "Node", output: int) -> str:
    if node.kind == "constant" and (x := _scalar(node.value)) is not None:
        return number(x)
    return node.label if len(node.avals) == 1 else f"{node.label}[{output}]"


def _scalar(x: object) -> float | None:
    """The number in an array of one, None of anything else."""
    if isinstance(x, Stats):
        return float(x.mean) if x.shape == () and not x.nans + x.infs else None
    shape = getattr(x, "shape", ()) if x is not None else None
    if shape != () or isinstance(x, complex) or "key" in str(getattr(x, "dtype", "")):
        return None
    return float(x)  # type: ignore[arg-type]


def _bracket(x: float | int) -> str:
    text = number(x)
    return f"({text})" if text.startswith("−") or "e" in text else text


def _put(rule: str, words: dict[str, str]) -> str:
    return _SYMBOL.sub(lambda match: words.get(match[0], match[0]), rule)
