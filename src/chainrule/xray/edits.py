"""What could be written instead of an operator: expressions, which are tried as they are printed."""

import ast
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from chainrule.xray import source
from chainrule.xray.graph import Graph, Slot, Vertex

__all__ = ["Edit", "edits", "fused"]


def _guarded(call: str, domain: str, fill: str = "0.0") -> str:
    """Return the double where: an element outside the domain reaches neither operator nor gradient.

    Of a quotient the divisor is replaced, else the first operand.
    """
    name = "y" if call == "x / y" else "x"
    tree = _renamed(call, {name: f"jnp.where({domain}, {name}, 1.0)"})
    return f"jnp.where({domain}, {tree}, {fill})"


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """Return an expression with other expressions in the place of names."""

    class Names(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802
            new = names.get(node.id)
            return node if new is None else ast.parse(new, mode="eval").body

    return ast.unparse(Names().visit(ast.parse(text, mode="eval")))


_INSIDE = "jnp.clip(x, eps - 1, 1 - eps)"
_FINITE = "jnp.where(x == -jnp.inf, low, x)"
_RIDGE = "x + ridge * jnp.eye(x.shape[-1], dtype=x.dtype)"

# In the expressions x and y are what the operator takes, f is the operator, n its exponent or the
# size of the axis, eps the distance of 1 to the next number, small a number whose root and inverse
# are moderate, low the smallest number, top the largest that exp takes.
_INSTEAD: dict[str, tuple[str, ...]] = {
    "log": (_guarded("jnp.log(x)", "x > 0"), "jnp.log(jnp.maximum(x, small))", "jnp.log(x + tiny)"),
    "log1p": (_guarded("jnp.log1p(x)", "x > -1"), "jnp.log1p(jnp.maximum(x, eps - 1))"),
    "sqrt": (_guarded("jnp.sqrt(x)", "x > 0"), "jnp.sqrt(x + small)",
             "jnp.sqrt(jnp.maximum(x, small))"),
    "rsqrt": (_guarded("jax.lax.rsqrt(x)", "x > 0"), "jax.lax.rsqrt(x + small)",
              "jax.lax.rsqrt(jnp.maximum(x, small))"),
    "cbrt": (_guarded("jnp.cbrt(x)", "x != 0"),),
    "div": (_guarded("x / y", "y != 0"), _guarded("x / y", "y != 0", "1.0"),
            "x / jnp.maximum(y, small)"),
    "rem": (_guarded("jnp.fmod(x, y)", "y != 0"),),
    "pow": ("jnp.where(y == 0, 1.0, x ** jnp.where(y == 0, 1.0, y))", _guarded("x ** y", "x > 0"),
            _guarded("x ** y", "x != 0"), "jnp.maximum(x, small) ** y"),
    "integer_pow": (_guarded("x ** n", "x != 0"),),
    "acos": (f"jnp.arccos({_INSIDE})",),
    "asin": (f"jnp.arcsin({_INSIDE})",),
    "atanh": (f"jnp.arctanh({_INSIDE})",),
    "erf_inv": (f"jax.scipy.special.erfinv({_INSIDE})",),
    "acosh": ("jnp.arccosh(jnp.maximum(x, 1 + eps))",),
    "atan2": ("jnp.where((x == 0) & (y == 0), 0.0, jnp.arctan2(x, jnp.where((x == 0) & (y == 0), "
              "1.0, y)))",),
    "exp": ("jnp.exp(jnp.minimum(x, top))",),
    "exp2": ("jnp.exp2(jnp.minimum(x, top))",),
    "expm1": ("jnp.expm1(jnp.minimum(x, top))",),
    "mul": ("y * jnp.where(y == 0, 0.0, x)", "x * jnp.where(x == 0, 0.0, y)"),
    "sub": ("jnp.where(x == -jnp.inf, low, x) - jnp.where(y == -jnp.inf, low, y)",),
    "reduce_sum": (f"f({_FINITE})",),
    "gather": ("f(x, jnp.clip(y, 0, n - 1))", "jnp.nan_to_num(f(x, y))"),
    "cholesky": (f"f({_RIDGE})",),
    "custom": (f"f({_FINITE})", f"f({_RIDGE})"),
}  # fmt: skip
_FUSED = {
    "log(logistic(a))": "jax.nn.log_sigmoid(a)",
    "log(sub(1, logistic(a)))": "jax.nn.log_sigmoid(-a)",
    "log(sub(1, square(tanh(a))))": "2 * (jnp.log(2.0) - a - jax.nn.softplus(-2 * a))",
    "log(sub(1, integer_pow(tanh(a))))": "2 * (jnp.log(2.0) - a - jax.nn.softplus(-2 * a))",
    "log(add(1, exp(a)))": "jax.nn.softplus(a)",
    "log(reduce_sum(exp(a)))": "jax.nn.logsumexp(a, axis=axes)",
    "div(exp(a), reduce_sum(exp(a)))": "jax.nn.softmax(a, axis=axes)",
    "div(1, add(1, exp(neg(a))))": "jax.nn.sigmoid(a)",
    "log(div(exp(a), reduce_sum(exp(a))))": "jax.nn.log_softmax(a, axis=axes)",
    "log(add(b, 1))": "jnp.log1p(b)",
    "log(sub(1, b))": "jnp.log1p(-b)",
    "mul(a, log(b))": "jax.scipy.special.xlogy(a, b)",
    "mul(log(b), a)": "jax.scipy.special.xlogy(a, b)",
}
"""From operators that lose numbers together to one function that does not."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One expression in the place of one operator.

    Attributes:
      text: the expression in the program's own names, as far as its lines tell them.
      expression: the same in the names of ``names``.
      names: what each name of the expression is, besides what the operator takes.
      slots: what it reads beside that: name to slot.
    """

    text: str
    expression: str
    names: Mapping[str, Any]
    slots: Mapping[str, Slot]

    def __call__(self, operator: Any, inputs: Sequence[Any]) -> list[Any]:
        """Return what stands in for what an operator makes of its inputs."""
        own = inputs[: len(inputs) - len(self.slots)]
        more = dict(zip(self.slots, inputs[len(own) :], strict=True))
        taken = dict(zip("xy", own, strict=False)) | more

        def f(*some: Any) -> Any:
            outputs = operator(*some, *own[len(some) :])
            return outputs[0] if len(outputs) == 1 else outputs

        made = eval(self.expression, {"jax": jax, "jnp": jnp, "f": f} | self.names | taken)
        return made if isinstance(made, list) else [made]


def edits(graph: Graph, node: Vertex) -> Iterator[Edit]:
    """Yield what could stand in for one operator, by itself."""
    names = _numbers(graph, node)
    operands = source.operands(node.line, node.op)
    shown = {"x": "x", "y": "y"} | dict(zip("xy", operands, strict=False))
    shown |= {k: f"{v:.2g}" if isinstance(v, float) else str(v) for k, v in names.items()}
    for expression in _INSTEAD.get("custom" if node.custom else node.op, ()):
        yield Edit(_renamed(expression, shown | {"f": node.op}), expression, names, {})


def fused(graph: Graph, index: int) -> Iterator[tuple[int, Edit]]:
    """Yield the functions in which an operator is one part, each with what it would replace."""
    for pattern, expression in _FUSED.items():
        tree = ast.parse(pattern, mode="eval").body
        for i, node in enumerate(graph.nodes[index:], index):
            bound: dict[str, tuple[Slot, Vertex, int]] = {}
            seen: set[int] = set()
            if node.op == pattern.partition("(")[0] and _match(
                graph, Slot(i, 0), tree, bound, seen
            ):
                if index not in seen:
                    continue
                sums = [graph.nodes[k] for k in seen if graph.nodes[k].op == "reduce_sum"]
                names = {"axes": sums[0].equation.params["axes"]} if sums else {}
                shown = {
                    name: (source.operands(reader.line, reader.op) or [name] * 2)[position]
                    for name, (_, reader, position) in bound.items()
                } | {name: str(value) for name, value in names.items()}
                slots = {name: slot for name, (slot, _, _) in bound.items()}
                yield i, Edit(_renamed(expression, shown), expression, names, slots)


def _match(
    graph: Graph, slot: Slot, tree: Any, bound: dict[str, Any], seen: set[int], by: Any = ()
) -> bool:
    """Tell whether an array was made as a pattern says, and bind the names in it."""
    node = graph.nodes[slot.node]
    while isinstance(tree, ast.Call) and (node.known.copies or node.op == "stop_gradient"):
        slot = node.inputs[0]
        node = graph.nodes[slot.node]
    if isinstance(tree, ast.Name):
        return bound.setdefault(tree.id, (slot, *by))[0] == slot
    if isinstance(tree, ast.Constant):
        return node.kind == "constant" and bool(jnp.all(jnp.asarray(node.constant) == tree.value))
    if node.op != tree.func.id or node.kind != "operator":
        return False
    seen.add(slot.node)
    return all(
        _match(graph, s, part, bound, seen, (node, k))
        for k, (s, part) in enumerate(zip(node.inputs, tree.args, strict=False))
    )


def _numbers(graph: Graph, node: Vertex) -> dict[str, Any]:
    """Return the numbers that the expressions of an operator name."""
    dtype = node.avals[0].dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        return {}
    about = jnp.finfo(dtype)
    small = max(float(about.eps) ** 2, 1.01 * float(about.smallest_normal))
    found = {"eps": float(about.eps), "tiny": 1.01 * float(about.smallest_normal), "small": small}
    largest = float(jnp.log(jnp.asarray(about.max, jnp.promote_types(dtype, jnp.float32))))
    found |= {"low": float(about.min), "top": largest - 1, "ridge": float(about.eps) ** 0.5}
    if node.op == "integer_pow":
        found["n"] = node.equation.params["y"]
    if node.op == "gather":
        axes = node.equation.params["dimension_numbers"].start_index_map
        found["n"] = graph.nodes[node.inputs[0].node].avals[node.inputs[0].output].shape[axes[0]]
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
