"""The equation of an operator, forward and backward, in names and, for scalars, in numbers."""

import re
from typing import NamedTuple

from chainrule.xray import _jax
from chainrule.xray.record import Entry, Record
from chainrule.xray.stats import Stats
from chainrule.xray.words import number

__all__ = ["Equation", "equation"]
__dir__ = __all__.copy

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
    """What an operator computes, in names and in numbers.

    Attributes:
      forward: ``add_3 = x + y``.
      backward: one line for each input that a gradient flows to: ``∂x = ∂add_3 = −4``; with ``+=``
        where the input has other uses as well.
    """

    forward: str
    backward: tuple[str, ...]


def equation(record: Record, node: Entry) -> Equation:
    """Return the equations of an operator.

    Args:
      record: the record.
      node: one of its operators.

    Example:
      >>> from chainrule import xray
      >>> record = xray.xray(lambda x, y: x * y, 3.0, -4.0).record
      >>> equation(record, record.nodes[2])
      Equation(forward='mul_2 = x · y = 3 · (−4) = −12',
        backward=('∂x = ∂mul_2 · y = 1 · (−4) = −4', '∂y = ∂mul_2 · x = 1 · 3 = 3'))
    """
    names = [_name(record.nodes[slot.node], slot.output) for slot in node.inputs]
    forward, *gradients = _formulas(node, len(names))
    words = dict(zip(_LETTERS, names, strict=False)) | {"y": node.label, "g": f"∂{node.label}"}
    numbers = {
        letter: _scalar(record.value(slot))
        for letter, slot in zip(_LETTERS, node.inputs, strict=False)
    } | {"y": _scalar(node.value), "g": _scalar(node.cotangent)}
    texts = {letter: "?" if x is None else _bracket(x) for letter, x in numbers.items()}

    def right(formula: str, result: float | None) -> str:
        parts = [_put(formula, words)]
        letters = set(_SYMBOL.findall(formula))
        plain = "," not in formula and " where " not in formula and formula not in letters
        if plain and letters and all(numbers.get(letter) is not None for letter in letters):
            parts.append(_put(formula, texts))
        return " = ".join(parts if result is None else [*parts, number(result)])

    lines = []
    rows = zip(names, node.inputs, gradients, node.contributions, strict=False)
    for name, slot, formula, part in rows:
        if part is not None:
            sign = "+=" if len(record.readers[slot]) > 1 else "="
            lines.append(f"∂{name} {sign} {right(formula, _scalar(part))}")
    return Equation(f"{node.label} = {right(forward, _scalar(node.value))}", tuple(lines))


def _formulas(node: Entry, count: int) -> tuple[str, ...]:
    """Return the formula of the result, then that of the gradient with respect to each input."""
    eqn = node.equation
    if node.op == "dot_general" and not node.custom and eqn is not None:
        (left, right), (batch, _) = eqn.params["dimension_numbers"]
        ranks = tuple(len(v.aval.shape) for v in eqn.invars)
        if not batch and len(left) == 1 and (known := _PRODUCTS.get((*ranks, *left, *right))):
            return known
    if node.op == "integer_pow" and not node.custom and eqn is not None:
        n = eqn.params["y"]
        power = f"a ^ {_bracket(n - 1)}" if n != 2 else "a"
        return f"a ^ {_bracket(n)}" if n != 2 else "a²", f"g · {_bracket(n)} · {power}"
    if node.op == "concatenate" and not node.custom:
        letters = ", ".join(_LETTERS[:count])
        return f"{letters} joined", *(["its part of g"] * count)
    flows = [k for k, part in enumerate(node.contributions) if part is not None]
    body = None if eqn is None else _jax.custom_rule(eqn)
    mine = body is not None and not _jax.is_library(body)  # only has the same name
    formulas = node.known.gradients
    # Indices have no gradient, and no formula for one.
    if node.known.value and not mine and len(formulas) > max(flows, default=-1):
        return node.known.value, *formulas
    inputs = ", ".join(_LETTERS[:count]) + (", …" if count > len(_LETTERS) else "")
    by = "its own rule" if node.custom else "jax.vjp"
    return f"{node.op}({inputs})", *([f"g times the derivative of {node.op}, by {by}"] * count)


def _name(node: Entry, output: int) -> str:
    if node.kind == "constant" and (x := _scalar(node.value)) is not None:
        return number(x)
    return node.label if len(node.avals) == 1 else f"{node.label}[{output}]"


def _scalar(x: object) -> float | None:
    """The number in an array of one, None of anything else."""
    if isinstance(x, Stats):
        return float(x.mean) if x.shape == () and not x.nans + x.infs else None
    shape = getattr(x, "shape", ()) if x is not None else None
    kind = str(getattr(x, "dtype", type(x).__name__))
    if shape != () or "complex" in kind or "key" in kind:
        return None
    return float(x)  # type: ignore[arg-type]


def _bracket(x: float | int) -> str:
    text = number(x)
    return f"({text})" if text.startswith("−") or "e" in text else text


def _put(formula: str, words: dict[str, str]) -> str:
    return _SYMBOL.sub(lambda match: words.get(match[0], match[0]), formula)
